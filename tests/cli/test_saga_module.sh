#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Sagas of modules without a broker: what cannot work is found and explained,
# each service's alone and all together; drawings; starting one by hand.
. "$(cd "$(dirname "$0")" && pwd)/lib.sh"
top=$(cd "$tests_dir/../.." && pwd)

# module NAME FROM [SED-EXPRESSION]: one of the tests' modules, with a mistake
module() {
	sed "${3-}" "$tests_dir/modules/$2.c" >"$1.c"
	# shellcheck disable=SC2086  # a command and its options
	${CC:-cc} -shared -fPIC -Wall -Wextra -Werror -o "$1.so" "$1.c" \
		-I"$top" -I"$top/include" ${WB_TEST_CPPFLAGS-}
}
module shop shop
module stock stock
check() {
	run "$waybill" saga check "$@"
}

# ---- check -----------------------------------------------------------------
check
is "no module is wrong usage" 2 $code
check ./nowhere.so
is "no such file" 2 $code
check ./shop.so
is "one service alone" 0 $code
has "its flow" "flow order: 4 rows, sound" "$out"
has "its saga" "saga trip: 4 steps, sound; 2 warnings" "$out"
has "a doubt" "saga trip: warning: unprobed-pivot: pay is the pivot without" "$out"
has "and what could not be looked at" "give the participants' modules too" "$out"
check ./shop.so stock.so --json
is "both services together" 0 $code
is "nothing is wrong" true "$(at sound)"
is "all of it is looked at" 4 "$(at checked)"
is "a finding has its rule" unprobed-pivot "$(at checked.1.findings.0.rule)"
is "and its step" pay "$(at checked.1.findings.0.step)"

# wrong RULE MODULE FROM SED-EXPRESSION WORDS [OTHER-MODULE...]
wrong() {
	rule=$1 name=$2 from=$3 sed=$4 words=$5
	shift 5
	module "$name" "$from" "$sed"
	check "./$name.so" "$@"
	is "$rule: the exit status" 3 $code
	has "$rule: it is found" ": error: $rule: " "$out"
	has "$rule: it is explained" "$words" "$out"
}
wrong no-participant other shop 's/card.charge/card.debit/' \
	"pay sends card.debit, which no participant" ./stock.so
wrong other-undo other stock \
	's/"hotel.cancel"/"hotel.free"/; s/"card.charge", NULL/"card.charge", "hotel.cancel"/; s/on_charge, NULL/on_charge, on_unbook/' \
	"book undoes hotel.book by hotel.cancel, participant hotel by hotel.free" ./shop.so
wrong two-participants other stock \
	's/"card.charge", NULL/"hotel.book", NULL/' \
	"hotel.book is answered by hotel too"
wrong no-undo other shop 's/, .undo = "hotel.cancel"//' "book has no undo"
wrong participant other stock 's/"hotel.cancel", NULL/NULL, NULL/' \
	"command 1 (hotel.book) needs"
wrong part other shop 's/.step = "cancel"/.step = "cancle"/' \
	'binding 2: "cancle" is no step of service shop'
wrong two-parts other stock 's/other/other/' \
	"two modules have the part of service stock" ./stock.so
sed 's/600000/500/' "$tests_dir/modules/order.h" >order.h
wrong two-tables other stock 's,tests/cli/modules/order.h,order.h,' \
	"the modules of stock and shop have different tables of it, from row 1 on" ./shop.so
sed 's/, .undoes = "place"//' \
	"$tests_dir/modules/order.h" >order.h
wrong not-undone other stock 's,tests/cli/modules/order.h,order.h,' ""

# ---- graph -----------------------------------------------------------------
run "$waybill" saga graph ./stock.so
is "the only one needs no name" 0 $code
has "as Mermaid" "flowchart" "$out"
run "$waybill" saga graph ./shop.so
is "of two one must be named" 2 $code
has "they are listed" "there is: order trip" "$err"
run "$waybill" saga graph shop.so trip --format dot
is "a saga" 0 $code
has "for Graphviz" "digraph" "$out"
run "$waybill" saga graph shop.so nothing
is "one that is not there" 2 $code

# ---- start -----------------------------------------------------------------
"$waybill" init --store shop --service shop >/dev/null
start() {
	run "$waybill" saga start --store shop --module ./shop.so "$@"
}
start trip '{"to":"Rome"}' --id t1 --json
is "a saga is started" 0 $code
is "its id" t1 "$(at id)"
start trip '{"to":"Rome"}' --id t1
is "not twice" 1 $code
has "it says so" "there is a saga t1 already" "$err"
start trip '{"to":'
is "no JSON" 2 $code
has "where it is wrong" "the data is no JSON" "$err"
start trip '<trip/>' --content-type text/xml --dry-run
is "other data is not looked into" 0 $code
start tripp '{}'
is "no such kind" 2 $code
has "is named" 'no saga of kind "tripp"' "$err"
start trip '{}'
is "an id is made up" 36 "$(printf %s "$out" | wc -c | tr -d ' ')"
run "$waybill" saga start --store shop --module ./stock.so trip '{}'
is "no saga in the module" 2 $code
run "$waybill" saga graph t1 --store shop
is "a saga of the store" 0 $code
has "is drawn from what it is pinned to" "hotel.book" "$out"
run "$waybill" saga graph t2 --store shop
is "one that is not there" 3 $code
run "$waybill" fsck --store shop
is "the store is sound" 0 $code
done_testing
