#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Command and daemon against a real broker, if the environment names one.
if [ -z "${WAYBILL_TEST_AMQP:-}" ]; then
	echo "skipped: WAYBILL_TEST_AMQP names no broker"
	exit 77
fi
. "$(cd "$(dirname "$0")" && pwd)/lib.sh"
export WAYBILL_AMQP="$WAYBILL_TEST_AMQP" WAYBILL_STORE="$dir/s"
x=x$$-$(date +%s)
"$waybill" init --service shop >/dev/null

# config EXCHANGE KEY LIMIT: one exchange, one queue bound by KEY
config() {
	cat >relay.yaml <<EOF
exchanges:
  - name: $1
routes:
  - exchange: $1
queues:
  - name: $x-q
    delivery_limit: $3
    bind: [{exchange: $1, key: '$2'}]
EOF
}
config "$x" 'order.#' 5
export WAYBILL_CONFIG="$dir/relay.yaml" WAYBILL_PROBE_MS=100

# ---- topology --------------------------------------------------------------
run "$waybill" setup --declare check
is "check of what is missing" 1 $code
has "says so" "is missing; create it" "$out"
run "$waybill" setup --json
is "setup" 0 $code
is "setup of all six" 6 "$(at topology)"
is "declared" declared "$(at topology.5.outcome)"
run "$waybill" setup
is "setup again changes nothing" 0 $code
run "$waybill" setup --declare check
is "check of what is there" 0 $code
config "$x" 'order.#' 6
run "$waybill" setup
is "another delivery limit is a mismatch" 1 $code
has "which is explained" "exists and is different" "$out"
has "in the broker's words too" "x-delivery-limit" "$out"
run "$relay" --until-empty
is "the relay says so and runs on" 0 $code
has "the relay's log" "exists and is different" "$err"
config "$x" 'order.#' 5

# ---- delivered, parked, retried, discarded ---------------------------------
i=0
while [ $i -lt 200 ]; do
	echo '{"type":"order.placed","key":"'$((i % 5))'","data":'$i'}'
	i=$((i + 1))
done | "$waybill" append >/dev/null
run "$relay" --until-empty
is "all delivered" 0 $code
run "$waybill" outbox stat --json
is "no backlog" 0 "$(at backlog.events)"
is "delivered by the relay" 200 "$(at relay.delivered)"
is "the relay has stopped" stopped "$(at relay.state)"
run "$waybill" outbox ls --state delivered --json --limit 1000
run "$waybill" append --type bill.paid --key a --id lost
run "$waybill" append --type order.placed --key a --id behind
run "$waybill" append --type bill.paid --key b --id wrong
run "$relay" --until-empty
is "unroutable events park" 3 $code
has "and the daemon says so" "3 events are parked" "$err"
run "$waybill" outbox ls --json
is "the parked are listed" 3 "$(at events)"
is "with their state" parked "$(at events.0.state)"
run "$waybill" outbox show lost --json
is "show: why it is parked" unroutable "$(at parked.reason)"
is "show: the broker's code" 312 "$(at parked.reply_code)"
has "show: the cure" "bind a queue" "$(at why)"
run "$waybill" outbox show behind
has "show: it waits for its key" "follower" "$out"
run "$waybill" outbox stat --json
is "stat: parked keys" 2 "$(at parked.keys)"
is "stat: by reason" 2 "$(at parked.by_reason.unroutable)"
run "$waybill" outbox stat
has "stat lists them for people" "unroutable" "$out"
run "$waybill" outbox discard wrong --dry-run --json
is "discard, tried" "would be discarded" "$(at events.0.outcome)"
run "$waybill" outbox discard wrong --reason "a test" --json
is "discard" 0 $code
is "one event" 1 "$(at events)"
run "$waybill" outbox show wrong --json
is "show: it is discarded" discarded "$(at state)"
is "show: why it is" "a test" "$(at discarded.why)"
run "$waybill" outbox show wrong
has "show for people" "discarded by $(id -un) at 2" "$out"
run "$waybill" outbox ls --state discarded --json
is "ls: discarded" wrong "$(at events.0.id)"
run "$waybill" outbox ls --state delivered --limit 1000 --json
is "ls: it is not delivered" 0 "$(grep -c wrong "$dir/out")"
config "$x" '#' 5
run "$waybill" setup
run "$waybill" outbox retry --key a --reason "bound now"
is "retry" 0 $code
has "the whole key" "released" "$out"
run "$waybill" outbox audit --json
is "the audit: the discard" discard "$(at audit.0.what)"
is "the audit: of which event" wrong "$(at audit.0.id)"
is "the audit: the retry" retry "$(at audit.1.what)"
is "the audit: of which key" a "$(at audit.1.key)"
is "the audit: who" "$(id -un)" "$(at audit.1.who)"
run "$waybill" outbox audit --limit 1
has "the newest comes last" "bound now" "$(tail -n 1 "$dir/out")"
has "older ones are counted" "(1 older ones: --limit)" "$err"
run "$relay" --until-empty
is "all that was parked is delivered" 0 $code
run "$waybill" outbox ls --json
is "nothing is open" 0 "$(at events)"
yes '{"type":"order.more"}' | head -n 300 | "$waybill" append >/dev/null
run "$relay" --until-empty
is "more is delivered" 0 $code
run "$waybill" outbox show wrong
has "a discarded event that has left the journal is remembered" \
	"a test" "$out"
run "$waybill" outbox show 203 --json
is "by its position too" wrong "$(at id)"

# ---- a missing exchange ----------------------------------------------------
config "$x-late" '#' 5
run "$waybill" append --type order.late --key z
run "$relay" --until-empty --declare never
is "events for a missing exchange are held" 3 $code
run "$waybill" outbox stat --json
is "stat: held" "$x-late" "$(at held.0.exchange)"
is "stat: events held" 1 "$(at held.0.events)"
has "stat: for so long" . "$(at held.0.oldest_age_seconds)"
run "$waybill" outbox ls --state held --json
is "ls: held" 1 "$(at events)"
run "$waybill" outbox stat --prometheus
has "metrics: held" \
	"waybill_outbox_held_events{service=\"shop\",exchange=\"$x-late\"} 1" \
	"$out"
is "a scraper has no complaint" "" "$(metrics_complaints)"
run "$relay" --until-empty
is "declared and delivered" 0 $code
run "$waybill" outbox stat --json
is "nothing is held" 0 "$(at held)"

# ---- accepted unrouted -----------------------------------------------------
config "$x-none" 'nothing' 5
sed -i "s/- exchange: $x-none\$/- {exchange: $x-none, unroutable: accept}/" \
	relay.yaml
printf '%s\n' '{"type":"a\"b\\\\c.d"}' '{"type":"plain"}' '{"type":"plain"}' |
	"$waybill" append >/dev/null
run "$relay" --until-empty
is "unrouted events are accepted" 0 $code
run "$waybill" outbox stat --json
is "stat: unrouted of a type" 2 "$(at unrouted.plain)"
is "stat: unrouted in all" 3 "$(at relay.unrouted)"
run "$waybill" outbox stat
has "stat for people: unrouted" "plain" "$out"
run "$waybill" outbox stat --prometheus
has "metrics: unrouted" 'service="shop",type="plain"} 2' "$out"
has "metrics: a label is escaped" 'type="a\"b\\\\c.d"} 1' "$out"
is "a scraper has no complaint" "" "$(metrics_complaints)"

# ---- a running daemon ------------------------------------------------------
"$relay" >log 2>&1 </dev/null &
pid=$!
running() {
	"$waybill" outbox stat --json | "$json_at" relay.state | grep -q running
}
wait_for 15 running || is "it runs" yes no
"$waybill" append --type order.now --id now >/dev/null
delivered() {
	[ "$("$waybill" outbox show now --json | "$json_at" state)" = delivered ]
}
wait_for 10 delivered || is "it delivers what is appended" yes no
if [ -n "${WAYBILL_TEST_RABBITMQCTL:-}" ]; then
	"$WAYBILL_TEST_RABBITMQCTL" -q eval "rabbit_exchange:delete(
		rabbit_misc:r(<<\"/\">>, exchange, <<\"$x-none\">>),
		false, <<\"test\">>)." >"$dir/out"
	is "the exchange is taken away" ok "$(cat "$dir/out")"
	"$waybill" append --type order.again --id again >/dev/null
	again() {
		[ "$("$waybill" outbox show again --json |
			"$json_at" state)" = delivered ]
	}
	wait_for 20 again || is "it is declared again and goes on" yes no
	has "it was missed" "is held no more" "$(cat log)"
fi
began=$(now_ms)
kill -TERM $pid
wait $pid
is "SIGTERM ends it well" 0 $?
tests=$((tests + 1))
[ $(($(now_ms) - began)) -lt 1000 ] || is "in under a second" yes no
run "$waybill" fsck
is "the store is sound" 0 $code

done_testing
