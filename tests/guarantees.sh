#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Every test that docs/guarantees.md names must exist, and every guarantee must
# name one.
set -eu
cd "${srcdir:-.}"
page=docs/guarantees.md
missing=0

for name in $(sed -n 's/^- `\([a-z0-9_]*\)`$/\1/p' $page | sort -u); do
	if ! grep -rqw "void $name(void" tests; then
		echo "$page names $name, which is no test"
		missing=$((missing + 1))
	fi
done
awk '/^## G/ { if (promise && !tests) exit 1; promise = $2; tests = 0; n++ }
	/^- `/ { tests++ }
	END { exit !(promise && tests && n == 7) }' $page || {
	echo "$page: each of G1 to G7 must name a test"
	missing=$((missing + 1))
}
exit $((missing > 0))
