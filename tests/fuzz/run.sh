#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Runs the fuzz targets under libFuzzer, with ASan and UBSan. Needs clang.
# Usage: run.sh SRCDIR SECONDS [TARGET...]. Builds in ./fuzz-build, which is
# kept: found inputs in fuzz-build/found/TARGET, crashes in fuzz-build/crashes.
# What adds coverage is merged into SRCDIR/tests/fuzz/corpus/TARGET unless
# FUZZ_KEEP=no. Last line: the figure.
set -eu
src=$(cd "$1" && pwd)
seconds=${2:-60}
[ -n "$seconds" ] || seconds=60
shift 2
clang=${FUZZ_CC:-clang}
command -v "$clang" >/dev/null || {
	echo "fuzz: $clang is not installed (Debian: clang)"
	exit 1
}
mkdir -p fuzz-build/src fuzz-build/build fuzz-build/crashes
top=$(cd fuzz-build && pwd)
# A copy: the tree itself may be configured in place. Times are kept, so that
# only what has changed is built.
(cd "$src" && tar cf - --exclude=.git --exclude='./build-[!a]*' \
	--exclude=./build --exclude=fuzz-build --exclude='*.o' \
	--exclude=./config.status --exclude=./config.h .) |
	(cd "$top/src" && tar xf -)
cd "$top/build"
[ -f Makefile ] || ../src/configure -q CC="$clang" CFLAGS="-O1 -g" \
	--disable-shared --enable-fuzz --enable-sanitize=address,undefined --without-systemd \
	>configure.log 2>&1 || { tail configure.log; exit 1; }
make -s -j2 fuzz-programs >make.log 2>&1 || { tail -20 make.log; exit 1; }

[ $# -gt 0 ] || set -- $(ls "$src/tests/fuzz/corpus")
runs=0
crashed=0
for name in "$@"; do
	found=$top/found/$name
	corpus=$src/tests/fuzz/corpus/$name
	mkdir -p "$found" "$corpus"
	status=0
	# No detect_leaks: each target frees what it makes, and the corpus is
	# replayed with leak detection in the tests.
	ASAN_OPTIONS=detect_leaks=${FUZZ_LEAKS:-1}:handle_abort=1 \
		nice -n 19 "tests/fuzz/fuzz_$name" "$found" "$corpus" \
		-max_total_time="$seconds" -max_len=4096 -timeout=20 \
		-rss_limit_mb=2048 -print_final_stats=1 -verbosity=1 \
		-artifact_prefix="$top/crashes/$name-" \
		>"$top/$name.log" 2>&1 || status=$?
	n=$(sed -n 's/^stat::number_of_executed_units: *//p' "$top/$name.log")
	cover=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$top/$name.log" | tail -n 1)
	printf '%-10s %10s runs, %s edges, status %d\n' "$name" "${n:-0}" \
		"${cover:-?}" "$status"
	runs=$((runs + ${n:-0}))
	[ "$status" = 0 ] || crashed=$((crashed + 1))
	[ "${FUZZ_KEEP:-yes}" = no ] ||
		"tests/fuzz/fuzz_$name" -merge=1 -use_counters=0 -max_len=4096 "$corpus" \
			"$found" >"$top/$name.merge.log" 2>&1 || :
done
echo "fuzz: $runs runs of $# targets, $seconds s each, $crashed broke a promise"
[ "$crashed" = 0 ]
