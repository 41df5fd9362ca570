#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
#
# The example of orchestration on a real broker: orchestrator and participants,
# each the shipped worker with the example's module, all three killed again and
# again at calls of the store, of files and of sockets (tests/crash/killpoint.c,
# before, after and half way), while customers book. Then they are left alone,
# and it is counted: every saga has ended; of the bookings of a slot at most one
# is completed, and the slot reserved for that one; nothing is blocked; what is
# gone from an account is what its completed bookings cost.
#
#   saga_kills.sh KILLS     in the build tree; WAYBILL_TEST_AMQP names the broker
set -u
export LC_ALL=C
kills=${1-100}
e=$PWD/examples/orchestration
preload=$PWD/tests/crash/.libs/killpoint.so
[ -n "${WAYBILL_TEST_AMQP-}" ] || {
	echo "saga_kills.sh: WAYBILL_TEST_AMQP names no broker" >&2
	exit 2
}
dir=$(mktemp -d "${TMPDIR:-/tmp}/waybill-saga.XXXXXX") || exit 1
export BOOKING_STORE=$dir/booking BILLING_STORE=$dir/billing \
	PARKING_STORE=$dir/parking WAYBILL_AMQP=$WAYBILL_TEST_AMQP
x=sk-$$
RANDOM=${WAYBILL_FAULTS_SEED:-1}
services='booking billing parking'
trap 'for j in $(jobs -p); do kill -9 "$j" 2>/dev/null; done' EXIT

fail() {
	echo "FAILED: $*"
	echo "stores and logs are in $dir"
	exit 1
}

# worker NAME: the command, in the array `worker`.
worker_of() {
	worker=("$PWD/waybill-worker" --store "$dir/$1" --no-supervisor
		--module "$e/.libs/$1_module.so" --exchange "$x"
		--commands "$x-commands" --queue "$x-$1"
		--delivery-limit 1000000 --backoff-min-ms 5)
}

# doom NAME: its workers, killed one after another at a call each.
doom() {
	local name=$1 i n when pid worker
	RANDOM=$2
	worker_of "$name"
	for ((i = 0; i < kills; i++)); do
		# Some at once, most while there is something to do.
		n=$((1 + RANDOM % (i % 4 == 0 ? 400 : 3000)))
		when=$(set -- before after partial; shift $((RANDOM % 3)); echo "$1")
		LD_PRELOAD=$preload KILLPOINT_N=$n KILLPOINT_WHEN=$when \
			KILLPOINT_LOG=$dir/$name.kills "${worker[@]}" \
			>>"$dir/$name.log" 2>&1 &
		pid=$!
		(sleep 4; kill -9 $pid) 2>/dev/null &
		wait $pid 2>/dev/null
		kill %% 2>/dev/null
	done
}

for s in $services; do
	"$PWD/waybill" init --store "$dir/$s" --service "$s" >/dev/null ||
		fail "no store of $s"
done
"$e/billing" create-account rich 1000000 at-once || fail "no account"
"$e/billing" create-account poor 99.99 at-once || fail "no account"

# Once whole, so that every queue is there.
for s in $services; do
	worker_of "$s"
	"${worker[@]}" --until-idle >>"$dir/$s.log" 2>&1 ||
		fail "$s does not run; see $dir/$s.log"
done

dooms=()
for s in $services; do
	doom "$s" $RANDOM &
	dooms+=($!)
done
slots=0 booked=0
alive() {
	local p
	for p in "${dooms[@]}"; do kill -0 "$p" 2>/dev/null && return; done
	return 1
}
while alive; do
	slots=$((slots + 1))
	"$e/parking" create-slot "S$slots" || fail "no slot"
	for account in rich poor rich; do
		"$e/booking" create-booking "S$slots" $account >/dev/null ||
			fail "no booking"
		booked=$((booked + 1))
	done
	sleep 0.1
done
wait "${dooms[@]}"

# Now they are left alone.
pids=()
for s in $services; do
	worker_of "$s"
	"${worker[@]}" >>"$dir/$s.log" 2>&1 &
	pids+=($!)
done
open() {
	"$PWD/waybill" saga ls --store "$BOOKING_STORE" --limit 1 --json 2>/dev/null |
		grep -q '"sagas":\[{'
}
for ((i = 0; i < 600; i++)); do
	open || break
	sleep 0.2
done
! open || fail "not every saga has ended: $("$PWD/waybill" saga ls \
	--store "$BOOKING_STORE" | head -5)"
kill "${pids[@]}"
wait "${pids[@]}"

"$e/booking" bookings >"$dir/bookings"
"$e/parking" slots >"$dir/slots"
completed=$(grep -c '  completed ' "$dir/bookings")
failed=$(grep -c '  failed ' "$dir/bookings")
reserved=$(grep -c '  reserved ' "$dir/slots")
balance=$("$e/billing" account rich | sed 's/^rich  //; s/ .*//')
[ $((completed + failed)) = "$booked" ] ||
	fail "$booked booked, $completed completed, $failed failed"
[ "$completed" = "$reserved" ] ||
	fail "$completed completed, $reserved slots reserved"
! grep -q '  blocked ' "$dir/slots" || fail "a slot is blocked"
sed -n 's/^\(.*\)  completed .*/\1/p' "$dir/bookings" | sort >"$dir/a"
sed -n 's/^.*  reserved \([^ ]*\) .*/\1/p' "$dir/slots" | sort >"$dir/b"
cmp -s "$dir/a" "$dir/b" || fail "slots are reserved for others"
[ "$balance" = "$((1000000 - 100 * completed)).00" ] ||
	fail "$completed completed, and $balance is left of 1000000.00"
[ "$("$e/billing" account poor)" = "poor  99.99 at-once" ] ||
	fail "the poor have paid"
for s in $services; do
	"$PWD/waybill" fsck --store "$dir/$s" >/dev/null || fail "fsck $s"
	[ "$("$PWD/waybill" dead ls --store "$dir/$s" --json)" = \
		'{"letters":[]}' ] || fail "dead letters of $s"
done
died=$(cat "$dir"/*.kills | wc -l)
in_txn=$(awk '$4 > 0' "$dir"/*.kills | wc -l)
points=$(for s in $services; do awk -v s="$s" '{ print s, $2, $3 }' \
	"$dir/$s.kills"; done | sort -u | wc -l)
[ "$died" -gt "$kills" ] || fail "only $died died at a call"
echo "sagas: $booked started, $completed completed, $failed undone;" \
	"$reserved slots reserved, 0 blocked; $died kills at $points points," \
	"$in_txn inside a write transaction; lost 0, doubled 0"
rm -rf "$dir"
