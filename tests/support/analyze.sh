#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# What looks at the code without running it, and a short round under valgrind
# and the thread sanitizer. Usage: analyze.sh SRCDIR BUILDDIR [PART...]; parts:
# cppcheck fanalyzer tidy valgrind threads. Each must find nothing; where a tool
# is wrong, analyze.known says why, by file and check, or a comment in the code
# does. Last line: the figure.
set -u
src=$(cd "$1" && pwd)
build=$(cd "$2" && pwd)
shift 2
[ $# -gt 0 ] || set -- cppcheck fanalyzer tidy valgrind threads
cd "$src" || exit 1
sources=$(find lib outbox inbox saga projections broker-adapters cli \
	-name '*.c' | sort)
include="-Iinclude -I. -I$build"
export srcdir="$src"
bad=0
ran=

missing() { ! command -v "$1" >/dev/null && echo "$2: no $1, not run"; }

# None of the three sees that a callee fills what it returns WB_OK for: what is
# not initialised is left to the compilers' own warnings and to valgrind.

# judge PART PATTERN LOG: what is not known is a finding.
judge() {
	grep "$2" "$3" | awk -v known="$src/tests/support/analyze.known" '
		BEGIN {
			while ((getline line < known) > 0)
				if (line ~ /^[a-z]/ && split(line, w, " ") > 2)
					why[++n] = w[1] " " w[2]
		}
		{
			for (i = 1; i <= n; i++) {
				split(why[i], w, " ")
				if (index($0, w[1]) && index($0, w[2])) next
			}
			print
		}' >"$out/found"
	set -- "$1" . "$out/found"
	count=$(grep -c "$2" "$3")
	echo "$1: $count findings"
	grep "$2" "$3" | head -20
	bad=$((bad + count))
	ran="$ran $1"
}

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
for part; do
	case $part in
	cppcheck)
		missing cppcheck "$part" && continue
		cppcheck -q --std=c11 --enable=warning,portability \
			--inline-suppr --suppress=missingIncludeSystem \
			--suppress=uninitvar --suppress=ctuuninitvar \
			--suppress=uninitStructMember \
			$include $sources >"$out/log" 2>&1
		judge cppcheck ': \(error\|warning\|portability\):' "$out/log"
		;;
	fanalyzer)
		missing gcc "$part" && continue
		for file in $sources; do
			gcc -std=gnu11 -fanalyzer -O1 -c -o /dev/null \
				-Wno-analyzer-use-of-uninitialized-value \
				$include "$file" 2>&1
		done >"$out/log"
		judge fanalyzer '\[-Wanalyzer' "$out/log"
		;;
	tidy)
		missing clang-tidy "$part" && continue
		for file in $sources; do
			clang-tidy --quiet "$file" -- -std=gnu11 $include 2>/dev/null
		done >"$out/log"
		judge tidy ': \(warning\|error\):' "$out/log"
		;;
	valgrind)
		missing valgrind "$part" && continue
		: >"$out/log"
		for test in lib/event/test_record lib/store/test_store \
			outbox/test_relay inbox/test_dispatch; do
			(cd "$build" && libtool=./libtool &&
				$libtool --mode=execute valgrind -q \
					--error-exitcode=99 --leak-check=full \
					--errors-for-leak-kinds=definite \
					"tests/$test" >/dev/null 2>"$out/one") ||
				echo "== tests/$test ends otherwise" >>"$out/log"
		done
		judge valgrind '^== ' "$out/log"
		;;
	threads)
		mkdir -p "$build/threads-build" && cd "$build/threads-build" || exit 1
		[ -f Makefile ] || "$src/configure" -q CC=gcc CFLAGS="-O1 -g" \
			--enable-sanitize=thread >configure.log 2>&1
		tests="tests/inbox/test_dispatch_external tests/outbox/test_relay_loop \
			tests/projections/test_read"
		make -s -j2 $tests >make.log 2>&1
		: >"$out/log"
		for test in $tests; do
			"$test" >/dev/null 2>>"$out/log" ||
				echo "WARNING: $test ends otherwise" >>"$out/log"
		done
		cd "$src" || exit 1
		judge threads 'WARNING: ' "$out/log"
		;;
	*) echo "no part $part"; exit 2 ;;
	esac
done
echo "analyze:$ran: $bad findings"
[ "$bad" = 0 ]
