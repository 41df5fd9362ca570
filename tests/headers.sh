#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Each public header compiles on its own, twice included, as strict C11 and as
# C++11, without a warning; none has more than 300 lines.
set -eu
srcdir=${srcdir:-.}
: "${CC:=cc}" "${CXX:=c++}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
strict="-Wall -Wextra -Wshadow -Wundef -pedantic-errors -Werror -fsyntax-only"
failed=0

compile() { # what, compiler and language..., file
	what=$1
	shift
	# shellcheck disable=SC2086  # options are words
	if ! "$@" $strict -I"$srcdir/include" ${WB_TEST_CPPFLAGS:-} \
			> "$work/log" 2>&1; then
		echo "$what:"
		sed 's/^/  /' "$work/log"
		failed=1
	fi
}

command -v "${CXX%% *}" > /dev/null 2>&1 || {
	echo "no C++ compiler: $CXX (set CXX)"
	CXX=
}
for header in "$srcdir"/include/waybill/*.h; do
	name=waybill/$(basename "$header")
	printf '#include <%s>\n#include <%s>\n' "$name" "$name" > "$work/a.c"
	cp "$work/a.c" "$work/a.cc"
	# shellcheck disable=SC2086
	compile "$name as C11" $CC -std=c11 "$work/a.c"
	# shellcheck disable=SC2086
	[ -z "$CXX" ] || compile "$name as C++11" $CXX -std=c++11 "$work/a.cc"
	lines=$(wc -l < "$header")
	if [ "$lines" -gt 300 ]; then
		echo "$name: $lines lines, a public header has 300 at most"
		failed=1
	fi
done
[ "$failed" = 0 ] && echo "every public header stands alone"
