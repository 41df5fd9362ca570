#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The operator's verbs on the inbox, without a broker: what a worker left in a
# store on a bad night is seen, retried, discarded, forgotten; and the same while
# a worker runs.
here=$(cd "$(dirname "$0")" && pwd)
make_inbox=$PWD/tests/cli/make_inbox
. "$here/lib.sh"

new_store() { # NAME [LETTERS]
	"$waybill" init --store "$1" --service shop >/dev/null 2>&1
	"$make_inbox" "$@" || echo "make_inbox failed"
}

# ---- inbox stat ------------------------------------------------------------
new_store s
run "$waybill" inbox stat --store s
is "stat" 0 $code
has "stat shows the worker" "not running" "$out"
has "stat shows the queue" "shop of vhost /" "$out"
has "stat shows duplicates" "2 known already" "$out"
has "stat shows a handler that stopped" "no smarthost" "$out"
has "stat shows rows by state" "1 waiting, 1 behind" "$out"
run "$waybill" inbox stat --store s --json
is "head" 6 "$(at head)"
is "received" 9 "$(at received)"
is "first handler" billing "$(at handlers.0.handler)"
is "its backlog" 3 "$(at handlers.0.backlog)"
is "its rows" 3 "$(at handlers.0.rows.total)"
is "its waiting row" 1 "$(at handlers.0.rows.waiting)"
is "its timers" 1 "$(at handlers.0.timers)"
is "its dead letters" 1 "$(at handlers.0.dead_letters)"
is "the other one's error" 'no smarthost' "$(at handlers.1.error)"
is "dead letters in all" 3 "$(at dead.letters)"
is "refused ones" 1 "$(at dead.refused)"
is "by reason" 1 "$(at dead.by_reason.exhausted)"
is "the worker does not run" 'not running' "$(at worker.state)"
case $(at handlers.0.lag_seconds) in
36[0-9][0-9]*) is "lag is the age of the oldest" 1 1 ;;
*) is "lag is the age of the oldest" "3600 s" "$(at handlers.0.lag_seconds)" ;;
esac
run "$waybill" inbox stat --store s --prometheus
is "metrics" "" "$(metrics_complaints)"
has "by handler" 'waybill_inbox_handler_backlog_events{service="shop",handler="billing"} 3' "$out"
has "by reason" 'waybill_inbox_dead_letters{service="shop",reason="rejected"} 1' "$out"
has "stopped" 'waybill_inbox_handler_stopped{service="shop",handler="mail"} 1' "$out"
has "duplicates" 'waybill_inbox_duplicates_total{service="shop"} 2' "$out"
has "the worker" 'waybill_worker_up{service="shop"} 0' "$out"
"$waybill" init --store empty --service shop
run "$waybill" inbox stat --store empty
is "an inbox that was never used" 0 $code
has "says so" "never ran" "$out"
run "$waybill" inbox stat --store empty --prometheus
is "and its metrics are in order" "" "$(metrics_complaints)"

# ---- inbox ls and show -----------------------------------------------------
run "$waybill" inbox ls --store s --json
is "ls" 0 $code
is "a waiting event" waiting "$(at events.0.state)"
is "of a handler" billing "$(at events.0.handler)"
is "with its attempts" 2 "$(at events.0.attempts)"
is "with why" 'bank is down' "$(at events.0.note)"
is "its follower" behind "$(at events.1.state)"
is "a dead one" dead "$(at events.2.state)"
has "and which letter it is, and why" "dead letter 2, rejected: " \
	"$(at events.2.note)"
run "$waybill" inbox ls --store s --state pending --json
is "pending begins behind the lowest cursor" 4 "$(at events.0.position)"
is "and names who has not reached it" billing "$(at events.0.handler)"
run "$waybill" inbox ls --store s --state all --handler mail --key b --json
is "by handler and key" dead "$(at events.0.state)"
is "what it has passed" passed "$(at events.1.state)"
run "$waybill" inbox ls --store s --limit 1
has "more is said" "there are more" "$err"

run "$waybill" inbox show --store s 2
is "show" 0 $code
has "a follower says what it waits for" "behind: an earlier event of its key" "$out"
has "and its id" "e-2" "$out"
run "$waybill" inbox show --store s e-3 --json
is "by id" 3 "$(at position)"
is "the other has not" passed "$(at handlers.0.state)"
is "how each handler is with it" dead "$(at handlers.1.state)"
is "and which letter" 1 "$(at handlers.1.dead_letter)"
run "$waybill" inbox show --store s e-5
has "pending" "1 events before it" "$out"
run "$waybill" inbox show --store s 2 --data
is "data only" '{"n":1}' "$out"
run "$waybill" inbox show --store s none
is "no such event" 3 $code
run "$waybill" outbox show --store s e-4
is "an event of the inbox is not in the outbox" 3 $code
has "but outbox show says where it is" "position 4 of the inbox" "$err"

# ---- dead ls and show ------------------------------------------------------
run "$waybill" dead ls --store s --json
is "dead ls" 0 $code
is "in order of numbers" 1 "$(at letters.0.number)"
is "with the reason" exhausted "$(at letters.0.reason)"
is "the refused one has no handler" null "$(at letters.2.handler)"
run "$waybill" dead ls --store s --handler billing --json
is "by handler" 2 "$(at letters.0.number)"
run "$waybill" dead ls --store s --handler - --json
is "by none" 3 "$(at letters.0.number)"
run "$waybill" dead ls --store s --reason malformed --json
is "by reason" 3 "$(at letters.0.number)"
run "$waybill" dead ls --store s --key b --json
is "by key" 1 "$(at letters.0.number)"
run "$waybill" dead ls --store s --id e-1 --json
is "by event" 2 "$(at letters.0.number)"
run "$waybill" dead ls --store s --after 20m --json
is "what died lately" 3 "$(at letters.0.number)"
run "$waybill" dead ls --store s --before 20m --since 2 --json
is "the next page" 2 "$(at letters.0.number)"
run "$waybill" dead ls --store s --after yesterday
is "no time" 2 $code
has "says what is one" "90m" "$err"
run "$waybill" dead ls --store s --limit 2
has "more is said" "there are more" "$err"

run "$waybill" dead show --store s 1
is "dead show" 0 $code
has "why" "no such address" "$out"
has "what to do" "waybill dead retry" "$out"
has "attempts" "attempts         10" "$out"
has "when first" "first failure" "$out"
has "followers" "0 events of its key wait" "$out"
has "the event" "order.placed" "$out"
has "its data" '{"n":1}' "$out"
run "$waybill" dead show --store s 1 --json
is "as JSON" e-3 "$(at event.id)"
is "with its data" '{"n":1}' "$(at event.data)"
run "$waybill" dead show --store s 3
has "a refused message's headers" "x-tried          often" "$out"
has "its bytes in hexadecimal" "ff fe 00 72 61 77" "$out"
run "$waybill" dead show --store s 3 --json
is "and in base64" //4AcmF3 "$(at message.body_base64)"
"$waybill" dead show --store s 3 --data >"$dir/raw"
is "and as they are" "377 376 000 162 141 167" \
	"$(od -An -to1 "$dir/raw" | tr -s ' ' | sed 's/^ //')"
run "$waybill" dead show --store s 99
is "no such letter" 3 $code
run "$waybill" dead show --store s e-1
is "a letter has a number" 2 $code

# ---- dead retry and discard ------------------------------------------------
run "$waybill" dead retry --store s
is "which ones?" 2 $code
run "$waybill" dead retry --store s --all --dry-run --json
is "a dry run" 0 $code
is "shows what it would do" 'would be retried' "$(at letters.0.outcome)"
run "$waybill" dead ls --store s --json
is "and does nothing" 1 "$(at letters.0.number)"
run "$waybill" dead retry --store s 1 99 --why "address mended" --who kim --json
is "retry by number" 0 $code
is "what is meant is what is there" 1 "$(at meant)"
is "and is done" 1 "$(at retried)"
run "$waybill" inbox show --store s 3 --json
is "it waits again" waiting "$(at handlers.1.state)"
is "with no attempts" 0 "$(at handlers.1.attempts)"
run "$waybill" dead retry --store s 3
is "what is still no event" 1 $code
has "says why" "dead letter 3:" "$err"
run "$waybill" dead retry --store s 3 --id-from-body
is "is taken in with an id of its body" 0 $code
run "$waybill" inbox stat --store s --json
is "as a new event" 7 "$(at head)"
run "$waybill" dead discard --store s 2
is "discard wants a reason" 2 $code
run "$waybill" dead discard --store s 2 --why "test order"
is "discard" 0 $code
has "says how many" "discarded 1 of 1" "$out"
run "$waybill" dead discard --store s 2 --why again
is "only once" 3 $code
run "$waybill" dead ls --store s --json
is "nothing is left" 0 "$(at letters)"
run "$waybill" inbox audit --store s --json
is "the audit has each act" 'dead retry' "$(at audit.0.what)"
is "by whom" kim "$(at audit.0.who)"
is "why" 'address mended' "$(at audit.0.why)"
is "of which handler" mail "$(at audit.0.handler)"
is "which letter" 1 "$(at audit.0.letter)"
is "which event" e-3 "$(at audit.0.id)"
is "and the last one" 'dead discard' "$(at audit.2.what)"
run "$waybill" fsck --store s
is "fsck has no complaint" 0 $code

# ---- many ------------------------------------------------------------------
new_store many 1200
run "$waybill" dead retry --store many --reason hung --limit 1000 --progress --json
is "a thousand at once" 1000 "$(at retried)"
has "with progress" "retried 1000" "$err"
start=$(now_ms)
run "$waybill" dead retry --store many --reason hung --rate 400 --json
is "the rest" 200 "$(at retried)"
took=$(($(now_ms) - start))
is "no faster than asked for" 1 $((took >= 400))
run "$waybill" inbox audit --store many --limit 1 --json
is "each has its row" 1200 "$(at audit.0.number)"
run "$waybill" fsck --store many
is "fsck has no complaint about it" 0 $code

# ---- timers ----------------------------------------------------------------
run "$waybill" timer ls --store s --json
is "timer ls" remind-1 "$(at timers.0.name)"
is "its state" set "$(at timers.0.state)"
run "$waybill" timer move --store s --handler billing --name remind-1 \
	--to 2030-01-01T00:00:00Z --why holiday
is "timer move" 0 $code
run "$waybill" timer ls --store s --json
is "it is moved" 2030-01-01T00:00:00.000000Z "$(at timers.0.due)"
run "$waybill" timer cancel --store s --handler billing --name remind-1
is "timer cancel" 0 $code
run "$waybill" timer cancel --store s --handler billing --name remind-1
is "no such timer" 3 $code
run "$waybill" timer move --store s --handler billing --name x
is "to when?" 2 $code
run "$waybill" inbox audit --store s --limit 1 --json
is "it is in the audit" 'timer cancel' "$(at audit.0.what)"

# ---- forget ----------------------------------------------------------------
run "$waybill" inbox forget --store s mail
is "forgetting wants a reason" 2 $code
run "$waybill" inbox forget --store s nobody --yes
is "nobody" 3 $code
run flock s/worker "$waybill" inbox forget --store s billing --yes
is "not while a worker is active" 1 $code
has "says what to do" "stop it first" "$err"
run "$waybill" inbox forget --store s billing --why "replaced" --json
is "forget" 0 $code
is "what it had begun is kept" 2 "$(at dead_letters)"
is "what it had not reached is said" 4 "$(at not_reached)"
run "$waybill" dead ls --store s --reason no-handler --json
is "as dead letters" billing "$(at letters.0.handler)"
run "$waybill" dead retry --store s --reason no-handler
is "which wait for their handler" 1 $code
has "and say so" "'billing' is not known to this store" "$err"
run "$waybill" inbox forget-queue --store s --why moved
is "forget-queue" 0 $code
run "$waybill" inbox forget-queue --store s --why moved
is "only once" 3 $code
run "$waybill" fsck --store s
is "fsck has still no complaint" 0 $code

# ---- beside a running worker -----------------------------------------------
# What an operator does is seen at once: the worker has no broker, six events
# in its inbox, and a handler that rejects all while the gate is closed.
top=$(cd "$tests_dir/../.." && pwd)
# shellcheck disable=SC2086  # a command and its options
${CC:-cc} -shared -fPIC -Wall -Wextra -Werror -o gate.so \
	"$tests_dir/modules/gate.c" -I"$top/include" ${WB_TEST_CPPFLAGS-}
is "the module compiles" 0 $?
"$waybill" init --store live --service shop >/dev/null 2>&1
"$make_inbox" live --events || echo "make_inbox failed"
: >closed
"$worker" --store live --amqp amqp://127.0.0.1:1/ --module ./gate.so \
	>log 2>&1 </dev/null &
worker_pid=$!
letters() { # COUNT
	run "$waybill" dead ls --store live --json
	[ "$(at letters)" = "$1" ]
}
emitted() { # COUNT
	run "$waybill" outbox ls --store live --json
	[ "$(at events)" = "$1" ]
}
in_order() { # KEY: subjects of what was emitted for it
	run "$waybill" outbox tail --store live --lines 100 --json
	sed -n "s/.*\"subject\":\"\([^\"]*\)\",\"key\":\"$1\".*/\1/p" "$dir/out" |
		tr '\n' ' '
}
wait_for 10 letters 3 || is "the head of each key is a dead letter" 3 "$(at letters)"
run "$waybill" inbox stat --store live --json
is "a worker is active" true "$(at worker.active)"
is "what is behind waits" 3 "$(at handlers.0.rows.behind)"
run "$waybill" inbox forget --store live gate --yes
is "its handler is not forgotten" 1 $code
rm closed
run "$waybill" dead retry --store live --all --why "the gate is open"
is "retry while it runs" 0 $code
wait_for 10 emitted 6 || is "all six are handled" 6 "$(at events)"
is "in the order of their key" "e-1 e-2 e-5 " "$(in_order a)"
is "and of the other" "e-3 e-6 " "$(in_order b)"
run "$waybill" timer ls --store live --json
is "a timer is set" later "$(at timers.0.name)"
run "$waybill" timer move --store live --handler gate --name later --to 1s
is "it is moved while it runs" 0 $code
wait_for 10 emitted 7 || is "and fires" 7 "$(at events)"
kill -TERM $worker_pid
wait $worker_pid
is "the worker ends" 0 $?
run "$waybill" inbox forget --store live gate --yes
is "now it can be forgotten" 0 $code
run "$waybill" fsck --store live
is "and all is sound" 0 $code

done_testing
