#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
#
# The faults: kills at every call, then what brokers and disks do. Each part has
# a private broker of its own. Run in the build tree by `make faults-short` and
# `make faults`; the last line says how it went, and so does the exit code.
set -u

here=${srcdir:-$(dirname "$0")/../..}
node=$here/tests/support/rabbitmq-node
case ${1-} in
short)
	kills=300 worker_kills=150 life=400 attempts=20000 town=sample
	saga_kills=10
	bookings='100 40 10'
	;;
long)
	kills=2000 worker_kills=3000 life=3600 attempts=100000 town=all
	saga_kills=300
	bookings='3000 10000 100'
	;;
*)
	echo "Usage: run.sh short|long" >&2
	exit 2
	;;
esac
passed=0
failed=0
told=$(mktemp) || exit 1 # of what failed, for the end
trap 'rm -f "$told"' EXIT

# part COMMAND...: its cmocka tests count, or it counts as one; a program that
# failed without a failed test is one more failure. What it said is said again
# at the end.
part() {
	local out p f status
	out=$(mktemp) || exit 1
	echo "== $* =="
	timeout "$life" "$node" run --life "$life" - -- "$@" 2>&1 | tee "$out"
	status=${PIPESTATUS[0]}
	p=$(grep -c '^\[       OK \]' "$out")
	f=$(grep -E '^\[  (FAILED|SKIPPED) *\] [a-z_0-9]+$' "$out" |
		sort -u | wc -l)
	grep -q '^\[=' "$out" || p=$((status == 0))
	[ "$status" = 0 ] || [ "$f" -gt 0 ] || f=1
	passed=$((passed + p))
	failed=$((failed + f))
	[ "$status" = 0 ] && [ "$f" = 0 ] || {
		echo "--- $*: exit $status"
		grep -avE '^\[ *(RUN|OK|=+|-+|PASSED) *\]|^\(' "$out" | tail -n 25
	} >>"$told"
	rm -f "$out"
}

part tests/crash/crash "$kills"
part tests/crash/worker_crash "$worker_kills"
WAYBILL_CRASH_KILLS=all part tests/crash/test_stream_crash
WAYBILL_RACE_ATTEMPTS=$attempts part tests/outbox/test_stream_race
[ "$1" = short ] || # make check has a sample of them
	TEST_SAGA_KILLS=all part "$here/tests/cli/test_saga.sh"
part "$here/tests/faults/saga_kills.sh" "$saga_kills"
WAYBILL_FAULTS=$1 part tests/saga/test_booking_faults
part tests/faults/test_service_faults
part tests/faults/test_broker_faults
part tests/faults/test_worker_faults
WAYBILL_TOWN=$town part tests/examples/choreography/test_choreography
# shellcheck disable=SC2086  # three numbers
part tests/faults/choreography_faults $bookings
part tests/faults/choreography_faults --naive 100 40 10

cat "$told"
echo "faults: $passed passed, $failed failed"
[ "$failed" = 0 ]
