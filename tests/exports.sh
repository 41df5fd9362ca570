#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The dynamic symbols of each library are exactly the calls that its public
# headers declare: no more (that would be a promise nobody made), no less. Those
# of the test kit are wb_test_..., and the two of liblmdb that it stands before.
set -eu
export LC_ALL=C
srcdir=${srcdir:-.}
library=.libs/libwaybill.so
kit=.libs/libwaybill-test.so
: "${NM:=nm}"

if [ ! -e "$library" ]; then
	echo "SKIP: $library is not there (configured without shared libraries)"
	exit 77
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# "WB_API type name(arguments)", over as many lines as it takes. `#define
# WB_API` itself is no declaration.
for header in "$srcdir"/include/waybill/*.h; do
	sed 's/^#.*//' "$header" | tr '\n\t' '  ' | tr ';{}' '\n\n\n' |
	sed -n 's/.*WB_API[^(]*[ *]\(wb_[a-z0-9_]*\) *(.*/\1/p'
done | sort -u > "$work/all"
grep -v '^wb_test_' "$work/all" > "$work/declared"
{ grep '^wb_test_' "$work/all"; echo mdb_txn_begin; echo mdb_txn_commit; } |
	sort > "$work/kit-declared"

# shellcheck disable=SC2086  # a command and its options
exported() { # LIBRARY
	$NM -D --defined-only "$1" | awk '$2 != "A" { print $3 }' |
		sed 's/@.*//' | sort -u
}
exported "$library" > "$work/exported"
exported "$kit" > "$work/kit-exported"
diff "$work/kit-declared" "$work/kit-exported" || {
	echo "$kit: < is declared, > is exported"
	exit 1
}

comm -13 "$work/declared" "$work/exported" > "$work/extra"
comm -23 "$work/declared" "$work/exported" > "$work/missing"
count=$(wc -l < "$work/declared")
[ "$count" -ge 50 ] || {
	echo "only $count declarations found: does this test still read the headers?"
	exit 1
}
sed 's/^/exported, but in no public header: /' "$work/extra"
sed 's/^/declared with WB_API, but not exported: /' "$work/missing"
[ ! -s "$work/extra" ] && [ ! -s "$work/missing" ]
echo "$count calls declared and exported"
