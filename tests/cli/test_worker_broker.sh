#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The worker against a real broker: load and signals, poison, two workers, two
# stores. Each call of the handler "tally" leaves one event in its own commit,
# so what is in the outbox is what was handled.
if [ -z "${WAYBILL_TEST_AMQP:-}" ]; then
	echo "skipped: WAYBILL_TEST_AMQP names no broker"
	exit 77
fi
. "$(cd "$(dirname "$0")" && pwd)/lib.sh"
top=$(cd "$tests_dir/../.." && pwd)
export WAYBILL_AMQP="$WAYBILL_TEST_AMQP"
x=w$$-$(date +%s)
build() {
	# shellcheck disable=SC2086  # a command and its options
	${CC:-cc} -shared -fPIC -Wall -Wextra -Werror -o "$1" "$2" \
		-I"$top/include" ${WB_TEST_CPPFLAGS-}
}
build hello.so "$top/examples/hello/hello.c"
build tally.so "$tests_dir/modules/tally.c"
build effect.so "$tests_dir/modules/effect.c"

cat >door.yaml <<EOF
store: $dir/door
routes: [{exchange: $x}]
EOF
cat >shop.yaml <<EOF
store: $dir/shop
modules: [$dir/tally.so, $dir/effect.so]
exchange: $x
queue: $x-q
routes: [{exchange: $x, unroutable: accept}]
restart_min_ms: 1
restart_max_ms: 50
commit_ms: 10
EOF
"$waybill" init --store door --service door >/dev/null
"$waybill" init --store shop --service shop >/dev/null

# send COUNT TYPE [KEY]: events of ten keys, or of one, onto the exchange
send() {
	i=0
	while [ $i -lt "$1" ]; do
		echo '{"type":"'"$2"'","key":"'"${3-$((i % 10))}"'"}'
		i=$((i + 1))
	done | "$waybill" append -c door.yaml >/dev/null
	"$relay" -c door.yaml --until-empty 2>relay.log || cat relay.log
}
# How many calls were committed.
effects() {
	"$waybill" outbox stat -c shop.yaml --json | "$json_at" head
}
worker() {
	run timeout 60 "$worker" -c shop.yaml "$@"
}
start() {
	: >log
	"$worker" -c shop.yaml "$@" >log 2>&1 </dev/null &
	pid=$!
}
said() {
	wait_for 20 grep -q "$1" log || is "it says: $1" yes "$(cat log)"
}
child_of() {
	cat /proc/"$1"/task/*/children | tr -d ' '
}

# ---- all of it once --------------------------------------------------------
worker --until-idle
is "an empty queue is idle" 0 $code
send 300 order.placed
worker --until-idle
is "until idle" 0 $code
is "each event is handled once" 300 "$(effects)"
has "none came twice" "300 received, 0 of them known" "$err"
run "$waybill" outbox stat -c shop.yaml --json
is "what was emitted is relayed" 0 "$(at backlog.events)"

# ---- SIGTERM under load ----------------------------------------------------
send 3000 order.placed
start
some() {
	[ "$(effects)" -gt 500 ]
}
wait_for 20 some || is "it works" yes no
kill -TERM $pid
wait $pid
is "SIGTERM under load: it ends well" 0 $?
worker --until-idle
is "the next one goes on" 0 $code
is "each event is handled once, again" 3300 "$(effects)"
has "nothing that was committed came again" " 0 of them known" "$err"

# ---- killed under load -----------------------------------------------------
send 2000 order.placed
start
some() {
	[ "$(effects)" -gt 3500 ]
}
wait_for 20 some || is "it works" yes no
kill -KILL "$(child_of $pid)"
said "starting it again"
all() {
	[ "$(effects)" -ge 5300 ]
}
wait_for 30 all || is "all is handled" yes no
kill -TERM $pid
wait $pid
is "killed under load: each event is handled once" 5300 "$(effects)"

# ---- poison ----------------------------------------------------------------
# poison TYPE ATTEMPTS WORDS: one among 250; the process ends each time
poison() {
	before=$(effects)
	send 120 order.placed
	send 1 "$1" "$1"
	send 129 order.placed
	: >log
	timeout 60 "$worker" -c shop.yaml --until-idle >log 2>&1 </dev/null
	is "$1: there is a dead letter" 3 $?
	has "$1: it is said what happened" "$3" "$(cat log)"
	is "$1: so many attempts" "$2" "$(grep -c 'starting it again' log)"
	is "$1: 249 others are handled once" 249 $(($(effects) - before))
}
poison order.crash 3 "ended by Segmentation fault"
has "whose fault it was" "; handler tally, event " "$(cat log)"
poison order.abort 3 "ended by Aborted"
poison order.hang 3 "is past its deadline of 700 ms: ending the worker"
poison effect.abort 2 "; handler effect, event "
poison effect.hang 2 "handler effect, event "
send 1 order.bad bad
before=$(effects)
worker --until-idle
is "a rejected event is a dead letter" 3 $code
has "with those before it" "6 dead letters" "$err"
is "and has no effect" "$before" "$(effects)"

# ---- a call that does not end, and a second signal --------------------------
send 1 stall.now
start
said stalling
kill -TERM $pid
said "draining, a second one ends at once"
began=$(now_ms)
kill -TERM $pid
wait $pid
is "a second signal kills what does not end" 3 $?
tests=$((tests + 1))
[ $(($(now_ms) - began)) -lt 3000 ] || is "within 3 s" yes no
start
said stalling
is "that was not the event's fault" 0 "$(grep -c 'counts as an attempt' log)"
kill -KILL "$(child_of $pid)"
said "position .*counts as an attempt"
wait_for 10 grep -q "dead letter" log || is "a kill in its call is" yes no
kill -TERM $pid
wait $pid

# ---- two workers on one store ----------------------------------------------
send 1000 order.placed
start
mv log log1
first=$pid
wait_for 20 grep -q "waybill-worker" log1
start
said "works on $dir/shop already"
kill -KILL "$first"
said "taking over"
sent=$((before + 1000))
all() {
	[ "$(effects)" -ge $sent ]
}
wait_for 30 all || is "the second goes on" $sent "$(effects)"
kill -TERM $pid
wait $pid
is "the second ends well" 0 $?
is "each event is handled once, by one of them" $sent "$(effects)"

# ---- another store on the same queue ---------------------------------------
"$waybill" init --store other --service other >/dev/null
worker --store other --until-idle
is "another store is refused" 1 $code
has "and told whose the queue is" "$x-q" "$err"

# ---- the example -----------------------------------------------------------
"$waybill" init --store hello --service hello >/dev/null
hello() {
	run timeout 60 "$worker" --store hello --module ./hello.so \
		--exchange "$x" --queue "$x-hello" --until-idle \
		--route "exchange=$x,unroutable=accept"
}
hello
is "the example runs" 0 $code
send 3 greeting.said ada
send 1 greeting.said bob
hello
is "the example handles" 0 $code
run "$waybill" outbox ls --store hello --state delivered --json
is "it greets" 4 "$(at events)"
run "$waybill" outbox show 3 --store hello
has "and counts" "hello.counted" "$out"
run "$waybill" fsck --store shop
is "the store is sound" 0 $code

done_testing
