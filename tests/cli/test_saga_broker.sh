#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Sagas through a real broker, by two waybill-workers and no line of
# configuration that says where commands and replies go: orders by choreography
# and trips by orchestration, of which some complete and some are taken back.
if [ -z "${WAYBILL_TEST_AMQP:-}" ]; then
	echo "skipped: WAYBILL_TEST_AMQP names no broker"
	exit 77
fi
. "$(cd "$(dirname "$0")" && pwd)/lib.sh"
top=$(cd "$tests_dir/../.." && pwd)
export WAYBILL_AMQP="$WAYBILL_TEST_AMQP"
x=s$$-$(date +%s)

# config NAME SERVICE
config() {
	"$waybill" init --store "$1" --service "$2" --keep-all >/dev/null
	{
		echo "store: $dir/$1"
		echo "modules: [$dir/$2.so]"
		echo "exchange: $x"
		echo "commands: $x-commands"
		echo "queue: $x-$1"
		echo "routes: [{exchange: $x, unroutable: accept}]"
		echo "commit_ms: 10"
	} >"$1.yaml"
}
for name in shop stock; do
	# shellcheck disable=SC2086  # a command and its options
	${CC:-cc} -shared -fPIC -Wall -Wextra -Werror \
		-o $name.so "$tests_dir/modules/$name.c" \
		-I"$top" -I"$top/include" ${WB_TEST_CPPFLAGS-}
	config $name $name
done
config spare stock
"$waybill" init --store door --service door >/dev/null
printf 'store: %s\nroutes: [{exchange: %s}]\n' "$dir/door" "$x" >door.yaml

# ---- what is missing is named ----------------------------------------------
watch() { # a worker that only checks, until it says what it misses
	"$worker" -c spare.yaml --declare check "$@" >log 2>&1 </dev/null &
	pid=$!
	wait_for 20 grep -q "$missing" log ||
		is "it says: $missing" yes "$(cat log)"
	kill -TERM $pid
	wait $pid
}
missing="exchange '$x' is missing, and declare is check"
watch
"$waybill" setup --exchange "name=$x" >/dev/null
missing="queue '$x-spare' is missing, and declare is check"
watch
"$waybill" setup --queue "name=$x-spare,bind=$x:order.#" >/dev/null
missing="exchange '$x-commands' is missing, by which the commands"
watch
has "with the cure" "bind queue '$x-spare' to it, once for each type" \
	"$(cat log)"

# ---- all of it -------------------------------------------------------------
start() {
	"$worker" -c "$1.yaml" >"$1.log" 2>&1 </dev/null &
}
takes() {
	grep -q "takes from queue" "$1.log"
}
start shop
shop=$!
start stock
stock=$!
wait_for 20 takes shop || is "the shop runs" yes "$(cat shop.log)"
wait_for 20 takes stock || is "the stock runs" yes "$(cat stock.log)"
i=0
while [ $i -lt 20 ]; do
	case $((i % 4)) in 0) name=x ;; *) name=o ;; esac
	echo '{"type":"door.order","key":"'$name$i'"}'
	echo '{"type":"door.trip","key":"'$name$i'-trip","data":"100.00",' \
		'"datacontenttype":"text/plain"}'
	i=$((i + 1))
done | "$waybill" append -c door.yaml >/dev/null
"$relay" -c door.yaml --until-empty 2>relay.log || cat relay.log

# How many events of a type a service has sent.
count() {
	"$waybill" outbox ls -c "$1.yaml" --state delivered --limit 1000 \
		--type "$2" --json | "$json_at" events
}
ended() {
	[ "$(count shop trip.finished)" -ge 15 ] &&
		[ "$(count shop trip.forgotten)" -ge 5 ] &&
		[ "$(count shop seen.finished)" -ge 15 ] &&
		[ "$(count shop seen.cancelled)" -ge 5 ]
}
wait_for 30 ended || is "all sagas end" yes "$(cat shop.log stock.log)"
is "orders that are finished" 15 "$(count shop seen.finished)"
is "and cancelled" 5 "$(count shop seen.cancelled)"
is "trips that are finished" 15 "$(count shop trip.finished)"
is "and taken back" 5 "$(count shop trip.forgotten)"
is "rooms that were booked" 20 "$(count stock seen.booked)"
is "and given back" 5 "$(count stock seen.unbooked)"
is "cards that were charged" 15 "$(count stock seen.charged)"
run "$waybill" timer ls --store shop --json
is "no timer is left" 0 "$(at timers)"
kill -TERM $shop $stock
wait $shop
is "the shop ends well" 0 $?
wait $stock
is "the stock ends well" 0 $?
for name in shop stock; do
	run "$waybill" outbox stat -c $name.yaml --json
	is "$name: nothing waits in the outbox" 0 "$(at backlog.events)"
	is "$name: nothing is parked" 0 "$(at parked.events)"
	run "$waybill" dead ls --store $name --json
	is "$name: no dead letters" 0 "$(at letters)"
	run "$waybill" fsck --store $name
	is "$name: the store is sound" 0 $code
done
done_testing
