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
	cc=$1
	shift
	if ! $cc $strict -I"$srcdir/include" ${WB_TEST_CPPFLAGS:-} "$@" \
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
	compile "$name as C11" "$CC" -std=c11 "$work/a.c"
	# shellcheck disable=SC2086
	[ -z "$CXX" ] || compile "$name as C++11" "$CXX" -std=c++11 "$work/a.cc"
	lines=$(wc -l < "$header")
	if [ "$lines" -gt 300 ]; then
		echo "$name: $lines lines, a public header has 300 at most"
		failed=1
	fi
done
# The macros that stand for values, used.
{
	for header in "$srcdir"/include/waybill/*.h; do
		echo "#include <waybill/$(basename "$header")>"
	done
	echo 'int main(void) { wb_error e = WB_ERROR_INIT;'
	echo 'wb_limits l = WB_LIMITS_DEFAULT; wb_str s = WB_STR_NULL;'
	sed -n 's/^#define \(WB_[A-Z_]*_INIT\) WB_SIZED_INIT(\(.*\))$/\1 \2/p' \
		"$srcdir"/include/waybill/*.h | while read -r init type; do
		echo "{ $type o = $init; if (o.size != sizeof($type)) return 1; }"
	done
	echo 'return (int)e.code + (int)s.len + (l.key_bytes != 255); }'
} > "$work/use.c"
cp "$work/use.c" "$work/use.cc"
# shellcheck disable=SC2086
compile "the macros as C11" "$CC" -std=c11 "$work/use.c"
# shellcheck disable=SC2086
[ -z "$CXX" ] || compile "the macros as C++11" "$CXX" -std=c++11 "$work/use.cc" \
	-Wno-missing-field-initializers
[ "$failed" = 0 ] && echo "every public header stands alone"
