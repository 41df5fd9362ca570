#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Projections by command: run, look, rebuild, promote, go back, heal, remove.
# Needs no broker.
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"
cc=${CC:-cc}
command -v ${cc%% *} >"$dir/out" || { echo "SKIP: no C compiler"; exit 77; }

# module NAME OPTIONS...: NAME.so from tests/cli/modules/slots.c
module() {
	name=$1
	shift
	$cc ${WB_TEST_CPPFLAGS:-} -I"$here/../../include" -shared -fPIC \
		-o "$name.so" "$@" "$here/modules/slots.c" || exit 1
}
export WAYBILL_STORE="$dir/shop"
p="$waybill projection"
put() { run "$waybill" append --type slot.changed --key "$1" --data "$2"; }
project() { run $p run --module "./$1.so" --until-idle --log-level error; }

module slots
run "$waybill" init --service shop
for n in 1 2 3 4; do put "A-$n" free; done
put A-2 reserved
put A-3 poison
put A-3 free

# ---- before anything is projected -----------------------------------------
run $p ls --json
is "no model yet" 0 $code
is "and none is listed" "0" "$(at projections)"
run $p status slots
is "a status of nothing" 1 $code
has "says who makes it" "it is made by whoever runs it first" "$err"
run $p get slots A-1
is "nor a row" 1 $code
run $p run
is "run wants modules" 2 $code
has "and says how" "--module" "$err"

# ---- projected --------------------------------------------------------------
project slots
is "run until idle" 0 $code
run $p get slots A-2
is "a row" "reserved" "$out"
run $p get slots A-3
is "a row of a quarantined key" "free" "$out"
has "says so" "quarantined" "$err"
run $p get slots B-9
is "no such row" 3 $code
run $p get slots A-1 --json
is "with its position" "7" "$(at position)"
run $p get slots 412d31 --hex
is "in hex" "66726565" "$out"
for key in 0x41 +f " f" 4 4g; do
	run $p get slots "$key" --hex
	is "'$key' is no hex" 2 $code
done
run $p scan slots --index by_state --equal free
is "by index" "free	A-1	free
free	A-3	free
free	A-4	free" "$out"
run $p scan slots --prefix A- --limit 3 --json
is "a page" "A-3" "$(at rows.2.key)"
cursor=$(at cursor)
run $p scan slots --prefix A- --limit 3 --json --cursor "$cursor"
is "the next" "A-4" "$(at rows.0.key)"
is "is the last" "" "$(at cursor)"
run $p scan slots --from A-2 --to A-4 --reverse --json --cursor "$cursor"
is "a cursor of another query" 1 $code
run $p scan slots --from A-2 --to A-4 --reverse
is "a range, backwards" "A-3	free
A-2	reserved" "$out"
run $p scan slots --index by_name
is "no such index" 1 $code
has "is named" 'no index "by_name"' "$err"
run $p wait slots 7 --timeout 100
is "a wait for what is there" 0 $code
run $p wait slots 8 --timeout 50
is "a wait for what is not" 3 $code
has "says where it is" "it is at 7" "$err"

run $p status slots --json
is "status with quarantine" 3 $code
is "position" "7" "$(at projections.0.position)"
is "lag" "0" "$(at projections.0.lag_events)"
is "quarantined keys" "1" "$(at projections.0.quarantined_keys)"
is "quarantined events" "2" "$(at projections.0.quarantined_events)"
is "which" "A-3" "$(at projections.0.keys.0.key)"
is "why" "poison" "$(at projections.0.keys.0.error)"
run $p status --prometheus
has "metrics" 'waybill_projection_position{projection="slots"} 7' "$out"
put A-1 reserved
run $p status slots --json
is "lag is of now" "1" "$(at projections.0.lag_events)"

# ---- rebuild, compare, promote, go back --------------------------------------
run $p rebuild slots --module ./slots.so --log-level error
is "a rebuild here" 0 $code
has "is ready" "generation 2 is ready" "$out"
run $p diff slots
is "the two are alike" 0 $code
has "and were compared" "0 differ" "$out"
run $p promote slots --json
is "promote is asked" 0 $code
is "of nobody" "false" "$(at taken)"
run $p promote slots
is "not twice" 1 $code
has "says why" "waits already" "$err"
project slots
run $p ls --json
is "promoted" "2" "$(at projections.0.generation)"
run $p rollback slots
project slots
run $p ls --json
is "rolled back" "1" "$(at projections.0.generation)"
run $p remove slots --generation 1
is "the live one is not removed" 1 $code
run $p remove slots --generation 2
is "another is" 0 $code
run $p remove slots
is "remove wants to know what" 2 $code

# ---- heal by new code, and a new version --------------------------------------
module mended -DMENDED
project mended
run $p status slots
is "new code has healed" 0 $code
run $p get slots A-3
is "in order" "free" "$out"
module second -DMENDED -DSLOTS_VERSION=2
project second
run $p ls --json
is "a new version is built and promoted" "3" "$(at projections.0.generation)"
run $p rollback slots
project second
is "back to the old one: stuck for this code" 3 $code
run $p status slots
has "which says so" "rolled back" "$out"
run $p rebuild slots --promote --module ./second.so --log-level error
is "a rebuild mends that" 0 $code
has "it is live" "generation 4 is live" "$out"

# ---- a projector that runs ------------------------------------------------------
$p run --module ./second.so --log-level error &
pid=$!
trap 'kill $pid 2>/dev/null; rm -rf "$dir"' EXIT
runs() { [ "$($p ls --json | tr -d ' \n' | grep -c '"state":"running"')" = 1 ]; }
wait_for 5 runs
put A-9 new
run $p wait slots "${out##* }" --timeout 5000
is "what is appended is projected" 0 $code
run $p get slots A-9
is "and read" "new" "$out"
run $p pause slots
put A-9 newer
run $p wait slots "${out##* }" --timeout 300
is "paused, it stands" 3 $code
run $p resume slots
run $p wait slots 10 --timeout 5000
is "resumed, it goes on" 0 $code
run $p rebuild slots --promote --json
is "a rebuild is taken up" "true" "$(at taken)"
promoted() { [ "$($p ls --json | tr -d ' \n' | grep -c '"generation":5')" = 1 ]; }
is "and promoted" "" "$(wait_for 5 promoted || echo no)"
run $p remove slots --all
is "not removed while it runs" 1 $code
has "says who runs it" "$pid" "$err"
kill $pid
wait $pid
is "it ends well" 0 $?
run $p remove slots --all
is "then it is" 0 $code
run $p ls --json
is "and gone" "0" "$(at projections)"
project second
run $p get slots A-9
is "it comes back" "newer" "$out"
done_testing
