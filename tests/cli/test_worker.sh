#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The worker without a broker: modules built as a user builds them, what is
# wrong with one, configuration, signals, the supervisor.
. "$(cd "$(dirname "$0")" && pwd)/lib.sh"
top=$(cd "$tests_dir/../.." && pwd)
nowhere=amqp://u:geheim@127.0.0.1:1/

# module NAME: from standard input, or of a file
build() {
	# shellcheck disable=SC2086  # a command and its options
	${CC:-cc} -shared -fPIC -Wall -Wextra -Werror -o "$1" "$2" \
		-I"$top" -I"$top/include" ${WB_TEST_CPPFLAGS-}
}
module() {
	cat >"$1.c"
	build "$1.so" "$1.c"
}
build hello.so "$top/examples/hello/hello.c"
is "the example compiles" 0 $?
build tally.so "$tests_dir/modules/tally.c"

run "$worker" --help
is "help is an answer" 0 $code
has "help names the keys" "--calls-drain-ms" "$out"
has "help names what is the worker's alone" "--module FILE" "$out"
is "but not how to declare more queues" 0 \
	"$(printf %s "$out" | grep -c 'delivery_limit=N')"
run "$worker" --version
has "version" "waybill-worker " "$out"

# ---- what is wrong with a module -------------------------------------------
check() {
	run "$worker" --store s --amqp $nowhere --check "$@"
}
check
is "no module is wrong usage" 2 $code
has "it says so" "which handlers? give --module FILE" "$err"
check --module hello.so
is "a sound module" 0 $code
check --module ./hello.so --module "$dir/tally.so"
is "two of them" 0 $code
check --module ./nowhere.so
is "no such file" 2 $code
has "by its name" "module ./nowhere.so cannot be loaded: " "$err"
echo "this is text" >text.so
check --module ./text.so
is "not a shared object" 2 $code
has "the loader's reason" "file too short" "$err"

module none <<'EOF'
int some_other_symbol = 1;
EOF
check --module ./none.so
is "no wb_module" 2 $code
has "the symbol is named" "module ./none.so has no symbol wb_module" "$err"

module lost <<'EOF'
extern int not_to_be_found(void);
int wb_module(void) { return not_to_be_found(); }
EOF
check --module ./lost.so
is "a symbol that is nowhere" 2 $code
has "is named at once" "undefined symbol: not_to_be_found" "$err"

# header ABI SIZE COUNT
header() {
	module "$1" <<EOF
#include <waybill/module.h>
static const wb_handler handler = {
	.size = ${5-sizeof(wb_handler)}, .name = "${6-a}",
	.types = (const char *const[]){"${7-a.#}", NULL}};
static const wb_handler *const handlers[] = {&handler};
WB_MODULE_EXPORT const struct wb_module wb_module = {
	.abi = $2, .size = $3, .name = "x", .handlers = handlers,
	.handler_count = $4};
EOF
	check --module "./$1.so"
}
header newer 99 'sizeof(struct wb_module)' 1
is "a newer ABI" 2 $code
has "with both numbers" "is built for ABI 99, waybill-worker" "$err"
has "and ours" "has ABI 1: use a newer waybill-worker" "$err"
header older 0 'sizeof(struct wb_module)' 1
has "an older ABI" "is built for ABI 0" "$err"
has "its cure" "compile the module anew" "$err"
header small 1 8 1
is "too small" 2 $code
has "by how much" "wb_module.size is 8, at least 32 is needed" "$err"
header large 1 1000 1
has "too large" "wb_module.size is 1000, this waybill-worker" "$err"
header empty 1 'sizeof(struct wb_module)' 0
is "no handlers" 2 $code
has "says so" "module ./empty.so has no handlers, projections, flows, sagas or participants" "$err"
header handler 1 'sizeof(struct wb_module)' 1 7
has "a handler of another size" "handler a: its size is 7, not" "$err"
header nothing 1 'sizeof(struct wb_module)' 1
has "a handler without a call" "handler 'a': it has types, and no function to handle them" "$err"
header Name 1 'sizeof(struct wb_module)' 1 'sizeof(wb_handler)' 'A b'
has "a bad name" "handler 1: 'A b' is no name for one" "$err"

cp hello.so again.so
check --module ./hello.so --module ./again.so
is "two handlers of one name" 2 $code
has "both modules are named" \
	"two handlers are named hello, in module ./hello.so and in module ./again.so" "$err"

# ---- parts in sagas --------------------------------------------------------
for name in shop stock; do
	cp "$tests_dir/modules/$name.c" .
	build $name.so $name.c
done
check --module ./shop.so
is "a flow and a saga" 0 $code
has "the flow is told" "flow order: service shop has 3 of its 4 rows" "$out"
has "the saga is told" "saga trip: 4 steps: note book pay finish" "$out"
check --module ./stock.so
is "participants" 0 $code
has "are told" "participant hotel: hotel.book hotel.cancel" "$out"
check --module ./shop.so --module ./stock.so
is "a flow is one service's" 2 $code
has "both modules are named" \
	"two handlers are named flow.order, in module ./shop.so and in module ./stock.so (a flow)" "$err"
# wrong SED-EXPRESSION: the stock with a mistake
wrong() {
	sed "$1" stock.c >wrong.c
	build wrong.so wrong.c
	check --module ./wrong.so
}
wrong 's/.name = "card",/.name = "hotel",/'
is "two participants of one name" 2 $code
has "are named" "two handlers are named hotel, in module ./wrong.so" "$err"
wrong 's/hotel = {.size = sizeof(wb_participant)/hotel = {.size = 7/'
is "a participant of another size" 2 $code
has "is named" "participant hotel: its size is 7, not" "$err"
wrong 's/"hotel.cancel", NULL/NULL, NULL/'
is "a command without a function" 2 $code
has "is named" "participant hotel: command 1 (hotel.book)" "$err"
wrong 's/.count = 1};/.count = 0};/'
is "a row without its function" 2 $code
has "is named" "flow order: step take of service stock has no function" "$err"
wrong 's/.service = "stock"/.service = "store"/'
is "a service that has no row" 2 $code
has "is named" 'flow order: no row is of service "store"' "$err"
sed 's/, .undo = "hotel.cancel"//' shop.c >wrong.c
build wrong.so wrong.c
check --module ./wrong.so
is "a saga that cannot be taken back" 2 $code
has "is named, with the rule" "saga trip: no-undo: " "$err"
check --module ./stock.so --route type=card.charge.reply,exchange=x
is "a route of one's own" 0 $code
check --module ./stock.so --route 'type=#' --route type=card.charge.reply
is "but none behind the last" 2 $code
"$waybill" init --store s9 --service other >/dev/null
run "$worker" --store s9 --amqp $nowhere --module ./stock.so
is "a store of another service" 1 $code
has "is named" 'the part of service "stock", the store is of "other"' "$err"

# ---- configuration ---------------------------------------------------------
cat >good.yaml <<EOF
store: $dir/s
amqp: $nowhere
modules: [$dir/hello.so]
queue: greetings
bind: [greeting.*]
backoff_min_ms: 10
restart_min_ms: 10
EOF
run "$worker" -n -c good.yaml
is "a file" 0 $code
run "$worker" -n -c good.yaml --bind 'a.b*' --threads 65
is "a number out of range" 2 $code
run env WAYBILL_MODULES="$dir/tally.so;$dir/hello.so" "$worker" -n -c good.yaml
is "modules from the environment" 0 $code
run "$worker" --store s --amqp $nowhere --module ./hello.so
is "a store that is not there" 1 $code
has "is said" "No such file or directory" "$err"
run "$waybill" init --store s --service shop
is "init" 0 $code
run "$worker" -c good.yaml --bind 'a.b*'
is "a pattern that is none" 1 $code
has "is named" 'bind: "a.b*"' "$err"

# ---- running and ending ----------------------------------------------------
start() {
	: >log
	"$worker" -c good.yaml "$@" >log 2>&1 </dev/null &
	pid=$!
}
end() { # NAME SIGNAL CODE
	began=$(now_ms)
	kill -"$2" $pid
	wait $pid
	is "$1: exit" "$3" $?
	tests=$((tests + 1))
	[ $(($(now_ms) - began)) -lt 2000 ] || is "$1: under 2 s" yes no
}
child_of() {
	cat /proc/"$1"/task/*/children | tr -d ' '
}
has_child() {
	[ -n "$(child_of $pid)" ]
}
said() {
	wait_for 10 grep -q "$1" log || is "it says: $1" yes "$(cat log)"
}

start
said "no connection"
is "no password in the process list" 0 \
	"$(tr '\0' '\n' </proc/$pid/cmdline | grep -c geheim)"
is "no password in the log" 0 "$(grep -c geheim log)"
first=$pid
mv log log1
start
said "process $(child_of $first) works on $dir/s already"
second=$pid
pid=$first
end "the first of two" TERM 0
pid=$second
said "taking over"
end "the second of two" INT 0

start --no-supervisor --no-relay
said "no relay"
is "--no-supervisor is one process" "" "$(child_of $pid)"
end "--no-supervisor" TERM 0

start
said "no connection"
kill -KILL "$(child_of $pid)"
said "ended by Killed; no call was in progress"
said "starting it again in"
wait_for 10 has_child || is "it is started again" yes no
end "after a kill" TERM 0

start
said "no connection"
child=$(child_of $pid)
kill -KILL $pid
wait $pid 2>/dev/null
gone() {
	! kill -0 "$child" 2>/dev/null
}
wait_for 10 gone || is "the worker ends with its supervisor" yes no

start --until-idle --no-relay
said "no connection"
end "stopped before it was idle" TERM 3
start --until-idle --give-up 1
given_up() {
	! kill -0 $pid 2>/dev/null
}
wait_for 10 given_up || is "without a broker it gives up" yes no
wait $pid
is "and says so" 3 $?
has "and why" "nothing got further for 1 s, down: no connection" "$(cat log)"

done_testing
