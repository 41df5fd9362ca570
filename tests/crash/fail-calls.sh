#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Every public call that can fail, which is one that returns a wb_code, is made by
# some work of alloc-points and store-points: so a new one has to be, too.
set -eu
export LC_ALL=C
srcdir=${srcdir:-.}
: "${NM:=nm}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Calls that need not be, with the reason.
sort > "$work/excepted" <<'END'
wb_stop	as wb_retry and wb_reject it writes only into the caller's error
END

for header in "$srcdir"/include/waybill/*.h; do
	sed 's/^#.*//' "$header" | tr '\n\t' '  ' | tr ';{}' '\n\n\n' |
	sed -n 's/.*WB_API wb_code *\(wb_[a-z0-9_]*\) *(.*/\1/p'
done | sort -u > "$work/declared"
cut -f1 "$work/excepted" > "$work/exempt"
$NM -u tests/crash/fail_points-fail_works_*.o |
	sed -n 's/^ *U \(wb_[a-z0-9_]*\)$/\1/p' | sort -u > "$work/made"

comm -12 "$work/exempt" "$work/made" |
	sed 's/^/excepted, but made by a work: /' > "$work/wrong"
sort -u "$work/exempt" "$work/made" | comm -23 "$work/declared" - |
	sed 's/^/can fail, but no work makes it fail: /' >> "$work/wrong"
comm -23 "$work/exempt" "$work/declared" |
	sed 's/^/excepted, but not public: /' >> "$work/wrong"
cat "$work/wrong"
[ ! -s "$work/wrong" ]
count=$(wc -l < "$work/declared")
[ "$count" -ge 100 ] || {
	echo "only $count calls found: does this test still read the headers?"
	exit 1
}
echo "$count public calls can fail; $(wc -l < "$work/exempt") excepted"
