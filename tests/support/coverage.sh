#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Branch coverage of the library by its tests. Builds with --coverage in
# ./coverage-build and runs `make check` there, a round of the simulator, of
# crash points and of failed allocations, and, with a private RabbitMQ node
# where there is one, the tests that want a broker and a short round of faults.
# gcovr counts; the last line is the figure. Exit code 1: a directory is below
# the goal, 90 % of its branches. What failed on the way is told and counted.
#
# Usage: coverage.sh SRCDIR. By the environment:
#   COVERAGE_TESTS="tests/lib/test_config ..."  only these, in addition to what
#                      was counted before: quick, for who writes a test
#   COVERAGE_TESTS=-   no test at all, only the report
#   COVERAGE_DIRS="lib outbox"                  report only these directories
#   COVERAGE_HTML=DIR  pages to look at;  COVERAGE_CC="ccache gcc"
# coverage-build/files.txt has the branches of each file, json.gz every branch.
#
# Not counted: the branch of an assertion that never fails (WB_ASSERT), and what
# the compiler itself marks as unreachable.
set -eu
src=$(cd "$1" && pwd)
dirs=${COVERAGE_DIRS:-lib outbox inbox saga projections broker-adapters}
command -v gcovr >/dev/null || {
	echo "coverage: gcovr is not installed (Debian: gcovr)"
	exit 1
}
mkdir -p coverage-build
cd coverage-build
build=$(pwd)

# What ends by _exit() counts, too. The library once, position independent.
${COVERAGE_CC:-gcc} -O1 -fPIC -c "$src/tests/support/coverage_exit.c" \
	-o coverage_exit.o
[ -f Makefile ] || "$src/configure" -q --disable-hardening --disable-static \
	CC="${COVERAGE_CC:-gcc}" \
	CFLAGS="-O0 -g1 --coverage -fprofile-update=atomic" \
	LDFLAGS="-Wl,$build/coverage_exit.o" >configure.log 2>&1 || {
	tail configure.log
	exit 1
}
# Nothing here has to outlive the machine.
[ -n "${TMPDIR:-}" ] || [ ! -w /dev/shm ] || export TMPDIR=/dev/shm
# More of the rows that fsck walks than a sample.
export WAYBILL_DAMAGE_EACH=5
make -s -j2 >make.log 2>&1 && make -s -j2 check TESTS= >>make.log 2>&1 || {
	tail make.log
	exit 1
}

failed=0

# round NAME COMMAND...: its last line is told, a failure does not end this.
round() {
	round_log=$1.log
	shift
	timeout 3600 "$@" >"$round_log" 2>&1 || {
		echo "coverage: failed: $*"
		failed=$((failed + 1))
	}
	tail -n 1 "$round_log"
}

# check MAKE-ARGUMENT...: `broker` is empty or what gives it one.
broker=
check() {
	$broker make -k check "$@" >check.log 2>&1 || {
		grep -E '^(FAIL|ERROR):' check.log || :
		failed=$((failed + 1))
	}
	awk '/^# (PASS|SKIP|FAIL|ERROR):/ { s = s " " $2 " " $3 }
		END { print "coverage: tests:" s }' check.log
}

run_all() {
	find . -name '*.gcda' -exec rm -f {} +
	[ -n "${WAYBILL_TEST_AMQP:-}" ] || [ ! -d /usr/lib/rabbitmq ] ||
		broker="$src/tests/support/rabbitmq-node run --tls --life 3600 - --"
	check
	round sim tests/sim/waybill-sim --seeds 100
	round town tests/sim/waybill-sim-orchestration --seeds 40
	round crash-points tests/crash/crash-points -n 23
	round alloc-points tests/crash/fail-points alloc -n 3
	round store-points tests/crash/fail-points store -n 3
	round system-points tests/crash/fail-points system
	[ ! -d /usr/lib/rabbitmq ] || round faults make faults-short
}

case ${COVERAGE_TESTS:-all} in
all) run_all ;;
-) ;;
*) check TESTS="$COVERAGE_TESTS" ;;
esac

# report OPTION...: the objects of the library only; the tests have some too.
report() {
	for dir in $dirs; do
		set -- "$@" --filter "$src/$dir/"
	done
	# shellcheck disable=SC2086  # a list of directories
	gcovr -r "$src" -j 2 --gcov-ignore-parse-errors \
		--exclude-unreachable-branches \
		--exclude-branches-by-pattern '.*WB_ASSERT.*' "$@" $dirs
}
report --json json.gz --json-summary summary.json --json-summary-pretty \
	--print-summary --branches >files.txt 2>gcovr.log || {
	tail gcovr.log
	exit 1
}
[ -z "${COVERAGE_HTML:-}" ] || {
	mkdir -p "$COVERAGE_HTML"
	gcovr -r "$src" -a json.gz --html-details "$COVERAGE_HTML/index.html"
}
# By directory, from the summary's lines "filename", "branch_covered", ...
awk -F'[:,]' '
	/"branch_covered"/ { covered = $2 }
	/"branch_total"/ { total = $2 }
	/"filename"/ {
		split($2, path, "\""); split(path[2], part, "/")
		name[part[1]] = 1; file = part[1]
	}
	/^ *}/ && file != "" {
		c[file] += covered; t[file] += total; file = ""
	}
	END { for (d in name) printf "%-16s %6.1f %% of %d branches%s\n", d,
		100 * c[d] / (t[d] ? t[d] : 1), t[d],
		10 * c[d] < 9 * t[d] ? ": below the goal" : "" }' \
	summary.json | sort | tee directories.txt
awk -v failed="$failed" '/^lines:/ { l = $2 } /^branches:/ { b = $2; n = $3 " " $4 " " $5 " " $6 }
	END { print "coverage: " b " of branches " n ", " l " of lines" \
		(failed ? "; rounds that failed: " failed : "") }' files.txt
! grep -q ': below the goal' directories.txt
