#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Runs the fuzz targets under libFuzzer, with ASan and UBSan. Needs clang.
# Usage: run.sh SRCDIR SECONDS [TARGET...]: so many seconds of processor time for
# each target, in rounds, at the lowest priority; a machine that gives it less
# than an eighth of a processor is not waited for. Builds in ./fuzz-build, which
# is kept: found inputs in fuzz-build/found/TARGET, crashes in
# fuzz-build/crashes, and a line of fuzz-build/spent for each round, so that what
# was interrupted is not lost. What adds coverage is merged into
# SRCDIR/tests/fuzz/corpus/TARGET unless FUZZ_KEEP=no. Last line: the figure.
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

# Sets now: the seconds of processor time that all commands so far have used (a
# subshell's `times` would know of its own only).
spend() {
	times >"$top/times"
	now=$(sed -n '2s/[ms]/ /gp' "$top/times" |
		awk '{ printf "%d\n", $1 * 60 + $2 + $3 * 60 + $4 }')
}

# fuzz TARGET SECONDS: one round of at most that long; sets status.
fuzz() {
	status=0
	# handle_abort: a broken promise ends in abort(), with its stack.
	ASAN_OPTIONS=detect_leaks=${FUZZ_LEAKS:-1}:handle_abort=1 \
		nice -n 19 "tests/fuzz/fuzz_$1" "$top/found/$1" \
		"$src/tests/fuzz/corpus/$1" \
		-max_total_time="$2" -max_len=4096 -timeout=20 \
		-rss_limit_mb=2048 -print_final_stats=1 -verbosity=1 \
		-artifact_prefix="$top/crashes/$1-" \
		>"$top/$1.log" 2>&1 || status=$?
	runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$top/$1.log")
	cover=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$top/$1.log" | tail -n 1)
}

[ $# -gt 0 ] || set -- $(ls "$src/tests/fuzz/corpus")
all=0
crashed=0
for name in "$@"; do
	corpus=$src/tests/fuzz/corpus/$name
	mkdir -p "$top/found/$name" "$corpus"
	of=0
	cpu=0
	spend
	began=$now
	give_up=$(($(date +%s) + 8 * seconds + 60))
	while :; do
		left=$((seconds - cpu))
		[ "$left" -lt 300 ] || left=300
		before=$cpu
		fuzz "$name" "$left"
		spend
		cpu=$((now - began))
		of=$((of + ${runs:-0}))
		printf '%s %s %s\n' "$name" "$((cpu - before))" "${runs:-0}" \
			>>"$top/spent"
		[ "$status" = 0 ] && [ "$cpu" -lt "$seconds" ] &&
			[ "$(date +%s)" -lt "$give_up" ] || break
	done
	printf '%-10s %10s runs, %s edges, %s s of processor time, status %d\n' \
		"$name" "$of" "${cover:-?}" "$cpu" "$status"
	all=$((all + of))
	[ "$status" = 0 ] || crashed=$((crashed + 1))
	[ "${FUZZ_KEEP:-yes}" = no ] ||
		"tests/fuzz/fuzz_$name" -merge=1 -use_counters=0 -max_len=4096 \
			"$corpus" "$top/found/$name" >"$top/$name.merge.log" 2>&1 || :
done
echo "fuzz: $all runs of $# targets, $crashed broke a promise; in all so far:" \
	"$(awk '{ s += $2 } END { print s + 0 }' "$top/spent") s of processor time"
[ "$crashed" = 0 ]
