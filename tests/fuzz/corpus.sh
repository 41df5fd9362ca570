#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Replays every corpus through its fuzz target; the last line is the figure.
set -eu
corpus=${srcdir:-.}/tests/fuzz/corpus
all=0
targets=0
for dir in "$corpus"/*/; do
	name=$(basename "$dir")
	said=$("tests/fuzz/fuzz_$name" "$dir") || {
		echo "FAILED: tests/fuzz/fuzz_$name $dir" \
			"(WAYBILL_FUZZ_VERBOSE=1 says at which)"
		exit 1
	}
	count=$(printf '%s\n' "$said" | tail -n 1)
	printf '%-10s %s\n' "$name" "$count"
	all=$((all + ${count%% *}))
	targets=$((targets + 1))
done
echo "fuzz-corpus: $all inputs through $targets targets, none broke a promise"
