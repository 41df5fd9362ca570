#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The CQRS example, as its README walks it: a write side, a read model
# elsewhere, one's own writes read, a rebuild under a reader, and a read side
# that is lost and comes back. Needs no broker.
parking=$PWD/examples/cqrs/parking
slots=$PWD/examples/cqrs/slots
. "$(cd "$(dirname "$0")" && pwd)/../cli/lib.sh"
top=$(cd "$tests_dir/../.." && pwd)
cc=${CC:-cc}
command -v ${cc%% *} >"$dir/out" || { echo "SKIP: no C compiler"; exit 77; }
export PARKING_STORE="$dir/parking" SLOTS_DIR="$dir/read"
mkdir -m 700 "$SLOTS_DIR"
# shellcheck disable=SC2086
$cc -shared -fPIC -Wall -Wextra -Werror -o slots.so -I"$top/include" \
	${WB_TEST_CPPFLAGS-} "$top/examples/cqrs/slots_module.c"
is "the projection compiles as a user's" 0 $?
p="$waybill projection"
serve() {
	$p run --store "$PARKING_STORE" --dir "$SLOTS_DIR" --module ./slots.so \
		--log-level error &
	pid=$!
}
trap 'kill $pid 2>/dev/null; rm -rf "$dir"' EXIT

# ---- commands, and their own writes -----------------------------------------
run "$parking" create-slot A1
is "a slot" "created A1 at position 1" "$out"
run "$parking" create-slot A1
is "not twice" 3 $code
run "$slots" show A1
is "nothing is projected yet" 1 $code
serve
made() { "$slots" lag >"$dir/out" 2>&1; }
wait_for 5 made
run "$slots" --at-least 1 show A1
is "it is read" '{"state":"free","booking":"","changes":"1"}' "$out"
for n in 2 3 4 5 6 7 8; do
	run "$parking" create-slot "A$n"
done
run "$parking" reserve A1 b7
token=${out##* }
run "$slots" --at-least "$token" show A1
is "my own write" '{"state":"reserved","booking":"b7","changes":"2"}' "$out"
run "$parking" reserve A1 b8
is "the rules are the write side's" 3 $code
run "$slots" ls reserved
has "by the index" "A1	{" "$out"
is "nobody else" 1 "$(echo "$out" | wc -l | tr -d ' ')"
run "$slots" totals
is "in one snapshot they add up" "free 7
reserved 1" "$out"
run "$slots" show B1
is "no such slot" 3 $code

# ---- the lag -----------------------------------------------------------------
run "$slots" lag
has "the lag" "generation 1, position 9 of 9, 0.000 s behind" "$out"
kill $pid
wait $pid
run "$parking" release A1
run $p status slots --dir "$SLOTS_DIR" --store "$PARKING_STORE" --json
is "the lag of a read side that stands" "1" "$(at projections.0.lag_events)"
run "$slots" show A1
has "it answers all the same" '"reserved"' "$out"
serve
run "$slots" --at-least 10 show A1
has "and catches up" '"free"' "$out"

# ---- a rebuild while it is read -------------------------------------------------
(while [ ! -e "$dir/done" ]; do
	"$slots" ls || exit 1
done) >"$dir/seen" 2>&1 &
reader=$!
run $p rebuild slots --dir "$SLOTS_DIR" --promote
is "a rebuild" 0 $code
second() { "$slots" lag | grep -q '^generation 2,'; }
is "is live" "" "$(wait_for 5 second || echo no)"
: >"$dir/done"
wait $reader
is "no reader failed meanwhile" 0 $?
is "each saw every slot" "" "$(cut -f1 "$dir/seen" | sort | uniq -c |
	awk '{ if (NR > 1 && $1 != n) print; n = $1 }')"
run $p diff slots --dir "$SLOTS_DIR" --a 1 --b 2
is "and it is the same model" 0 $code
run $p rollback slots --dir "$SLOTS_DIR"
first() { "$slots" lag | grep -q '^generation 1,'; }
is "back again" "" "$(wait_for 5 first || echo no)"

# ---- the read side is lost --------------------------------------------------------
"$slots" ls >"$dir/before"
kill $pid
wait $pid
rm -r "$SLOTS_DIR/projections"
run "$slots" ls
is "without it there is no answer" 1 $code
serve
wait_for 5 made
run "$slots" --at-least 10 ls
is "it comes back" "$(cat "$dir/before")" "$out"
kill $pid
wait $pid
is "it ends well" 0 $?
done_testing
