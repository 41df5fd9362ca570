#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Branch coverage of the library by its tests: builds with --coverage in
# ./coverage-build, runs `make check` with a private RabbitMQ node where there is
# one, a round of the simulator, and lets gcovr count. The last line is the
# figure. Usage: coverage.sh SRCDIR; COVERAGE_HTML=DIR for pages to look at.
#
# Not counted: the branch of an assertion that never fails (WB_ASSERT).
set -eu
src=$(cd "$1" && pwd)
command -v gcovr >/dev/null || {
	echo "coverage: gcovr is not installed (Debian: gcovr)"
	exit 1
}
mkdir -p coverage-build
cd coverage-build
[ -f Makefile ] || "$src/configure" -q --disable-hardening \
	CC=gcc CFLAGS="-O0 -g --coverage -fprofile-update=atomic" >configure.log 2>&1 || {
	tail configure.log
	exit 1
}
find . -name '*.gcda' -exec rm -f {} +
# Shared libraries, too: examples and tests have modules.
make -s -j2 >make.log 2>&1 && make -s -j2 check TESTS= >>make.log 2>&1 || {
	tail make.log
	exit 1
}
run=
[ -n "${WAYBILL_TEST_AMQP:-}" ] || ! ls /usr/lib/rabbitmq >/dev/null 2>&1 ||
	run="$src/tests/support/rabbitmq-node run --tls --life 1800 - --"
$run make -k check >check.log 2>&1 || grep '^FAIL' check.log || :
tests/sim/waybill-sim --seeds 100 >sim.log 2>&1 || tail -n 3 sim.log

report() {
	gcovr -r "$src" --object-directory . -j 2 --gcov-ignore-parse-errors \
		--exclude-unreachable-branches \
		--exclude-branches-by-pattern '.*WB_ASSERT.*' \
		--filter "$src/lib/" --filter "$src/outbox/" \
		--filter "$src/inbox/" --filter "$src/saga/" \
		--filter "$src/projections/" --filter "$src/broker-adapters/" \
		"$@"
}
report --json-summary summary.json --json-summary-pretty --print-summary \
	--branches >files.txt 2>gcovr.log || { tail gcovr.log; exit 1; }
[ -z "${COVERAGE_HTML:-}" ] || {
	mkdir -p "$COVERAGE_HTML"
	report --html-details "$COVERAGE_HTML/index.html" >/dev/null 2>&1
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
	END { for (d in name) printf "%-16s %6.1f %% of %d branches\n", d,
		100 * c[d] / (t[d] ? t[d] : 1), t[d] }' summary.json | sort
awk '/^lines:/ { l = $2 } /^branches:/ { b = $2; n = $3 " " $4 " " $5 " " $6 }
	END { print "coverage: " b " of branches " n ", " l " of lines" }' files.txt
