#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Does the simulator see a bug? Plants each of these in a copy of the tree,
# builds nothing but the simulator there, and runs seeds until one goes red.
# Usage: planted-bugs.sh SRCDIR [NAME...]; exit code 1: one was not seen, or there
# is none of that name. The last line is the figure.
set -eu
src=$(cd "$1" && pwd)
shift
only=" $* "
work=$(mktemp -d)
stores=$(mktemp -d -p /dev/shm 2>/dev/null || mktemp -d)
trap 'rm -rf "$work" "$stores"' EXIT
trap 'exit 130' INT TERM
seeds=1000
sim=waybill-sim
missed=0
planted=0
seen=0

say() { printf '%-44s %s\n' "$1" "$2"; }

# bug NAME FILE SED [FILE SED]: plant, build, run, take it out again.
bug() {
	case $only in "  " | *" $1 "*) ;; *) return 0 ;; esac
	planted=$((planted + 1))
	cp "$work/src/$2" "$work/sound.c"
	sed "$3" "$work/sound.c" >"$work/src/$2"
	if [ $# -gt 3 ]; then
		cp "$work/src/$4" "$work/sound.too"
		sed "$5" "$work/sound.too" >"$work/src/$4"
	fi
	if cmp -s "$work/sound.c" "$work/src/$2"; then
		say "$1" "cannot be planted: $2 has changed"
		missed=1
		return 0
	fi
	if ! make -C "$work/build" -s "tests/sim/$sim" \
		>"$work/make.log" 2>&1; then
		say "$1" "does not build"
		tail -5 "$work/make.log"
		missed=1
	else
		timeout 900 "$work/build/tests/sim/$sim" --failures 1 \
			--seeds $seeds --jobs 2 --dir "$stores" >"$work/out" 2>&1 || :
		red=$(sed -n 's/^FAILED seed \([0-9]*\): \(.*\): repeat .*/\1: \2/p' \
			"$work/out" | sort -n | head -n 1)
		say "$1" "${red:-NOT SEEN in $seeds seeds}"
		[ -n "$red" ] && seen=$((seen + 1)) || missed=1
	fi
	cp "$work/sound.c" "$work/src/$2"
	[ $# -le 3 ] || cp "$work/sound.too" "$work/src/$4"
}

echo "building a copy"
mkdir "$work/src" "$work/build"
(cd "$src" && tar cf - --exclude=.git .) | (cd "$work/src" && tar xf -)
(cd "$work/build" && ../src/configure -q >"$work/make.log" 2>&1 &&
	make -s -j2 tests/sim/waybill-sim tests/sim/waybill-sim-orchestration \
		>>"$work/make.log" 2>&1) || {
	tail -20 "$work/make.log"
	exit 1
}
say "bug" "first red seed: what it saw"

bug cursor-past-an-unconfirmed-event outbox/relay_commit.c \
	'/^static wb_code commit_cursor/,/^}/s/low = wbi_window_low(window);/low = wbi_window_low(window) + (wbi_window_high(window) > wbi_window_low(window));/'
bug return-taken-for-delivery outbox/relay.c \
	'/^static wb_code relay_settle/,/^}/s/switch (event->kind) {/switch (event->kind == WB_BROKER_RETURNED ? WB_BROKER_ACKED : event->kind) {/'
bug nack-taken-for-ack outbox/relay.c \
	'/^static wb_code relay_settle/,/^}/s/switch (event->kind) {/switch (event->kind == WB_BROKER_NACKED ? WB_BROKER_ACKED : event->kind) {/'
bug two-unconfirmed-events-of-one-key outbox/relay_send.c \
	'/^static wb_code lane_take/,/^}/s/wbi_window_add(lane->window, hash, exchange)/wbi_window_add(lane->window, 0, exchange)/'
bug follower-overtakes-its-parked-key outbox/relay_send.c \
	'/^static wb_code send_key_is_parked/,/^}/s/\*ret = true;/*ret = false;/'
bug retry-that-overtakes outbox/relay_send.c \
	'/^static wb_code send_key_is_parked/,/^}/s/\*ret = true;/*ret = row.state != WBI_PARKED_RELEASED;/'
bug lost-sends-marked-done outbox/window.c \
	'/^void wbi_window_lost/,/^}/{s/slot->state = WBI_SLOT_READY;/wbi_window_mark_done(window, at);/;s/window->sent--;//;}'
bug commit-taken-as-done-before-it-is outbox/relay_commit.c \
	'/^wb_code wbi_relay_commit(/,/^}/s/^\tcode = commit_write(relay, &parked, &why);/&\n\tcode = WB_OK;/'
bug hold-from-one-position-too-late outbox/relay_hold.c \
	'/^static void hold_exchange/,/^}/s/exchange->first = first;/exchange->first = first + 1;/'
bug drain-ends-before-it-has-caught-up outbox/relay_hold.c \
	'/^void wbi_relay_drain_check/,/^}/s/wbi_window_low(drain->window) !=/wbi_window_high(drain->window) !=/'
bug released-row-deleted-when-it-is-sent outbox/relay_release.c \
	'/^static wb_code release_next/,/^}/s/r->state = RELAY_RELEASE_SENT;/&\n\t\tr->done = position;/'
bug headers-lost-on-a-retry outbox/relay_send.c \
	'/^wb_code wbi_relay_send/,/^}/s/code = send_headers(relay, event, record, err);/{\n\t\tif (RELAY_TOKEN_LANE(token) == RELAY_RELEASE)\n\t\t\tevent->header_count = 0;\n\t\tcode = send_headers(relay, event, record, err);\n\t}/'
bug full-room-stops-a-retry outbox/relay_release.c \
	's/wbi_relay_room(relay, relay->release_exposed == 0)/wbi_relay_room(relay, false)/'

# ---- the worker ------------------------------------------------------------
bug ack-before-commit inbox/ingest_batch.c \
	's/^\t\tcode = wbi_txn_commit(w.txn, err);/\t{\n\t\t(void)wb_broker_ack(ingest->broker, batch->items[w.at - 1].delivery, true, NULL);\n\t\twb_broker_flush(ingest->broker);\n&\n\t}/'
bug dedupe-mark-not-written inbox/ingest_batch.c \
	'/^static wb_code write_item(/,/^}/s/code = wbi_seen_add(/code = WB_OK;\n\t\tif (0)\n\t\t\tcode = wbi_seen_add(/'
bug dedupe-mark-in-a-commit-of-its-own inbox/ingest_batch.c \
	's/code = wbi_seen_finish(w->seen, w->age_us, err);/code = WB_OK;/
	s/^\t\tcode = wbi_txn_commit(w.txn, err);/\t{\n&\n\tif (code == WB_OK)\n\t\tcode = wbi_txn_begin(wb_store_env(ingest->store), true, \&w.txn, err);\n\tif (code != WB_OK)\n\t\treturn code;\n\tcode = wbi_seen_open(ingest->store, w.txn, \&w.seen, err);\n\tfor (uint32_t i = batch->done; code == WB_OK \&\& i < w.at; i++) {\n\t\tuint64_t known;\n\t\tif (!batch->items[i].dead)\n\t\t\tcode = wbi_seen_add(w.seen, batch->events[i].source, batch->events[i].id, w.head, \&known, err);\n\t\tcode = code == WB_EEXISTS ? WB_OK : code;\n\t}\n\tif (code == WB_OK)\n\t\tcode = wbi_seen_finish(w.seen, w.age_us, err);\n\twbi_seen_close(w.seen);\n\tif (code == WB_OK)\n&\n\t}/'
bug follower-overtakes-a-retry inbox/dispatch_batch.c \
	's/if (keyed && c->has_group)/if (keyed \&\& c->has_group \&\& 0)/'
bug cursor-in-a-commit-of-its-own inbox/dispatch.c \
	'/^wb_code wbi_dispatch_commit(/,/^}/s/^\twb_code code = wbi_dispatch_put_rows(d, err);/\twb_code code = wbi_txn_commit(txn, err);\n\n\td->txn = NULL;\n\tif (code == WB_OK)\n\t\tcode = wbi_txn_begin(wb_store_env(d->store), true, \&txn, err);\n\tif (code != WB_OK)\n\t\treturn code;\n\td->txn = txn;\n\tcode = wbi_dispatch_put_rows(d, err);/' \
	inbox/dispatch_join.c 's/^\tif (!join_can(d, before))/\tif (before < head)/'
bug attempt-charged-to-a-neighbour inbox/dispatch_recover.c \
	'/^static wb_code recover_event(/,/^}/s/noted->id.position}/noted->id.position + 1}/'
bug headers-lost-on-a-later-call inbox/dispatch_due.c \
	'/^static wb_code due_decode/,/^}/s/if (code == WB_OK && event->header_count > 0)/event->header_count = 0;\n\tif (0)/'
bug effects-of-a-failed-call-stay inbox/dispatch_call.c \
	's/if (end != WBI_END_TROUBLE && !apart && call->touched)/if (0)/'

# ---- projections -----------------------------------------------------------
bug flip-before-sync projections/fill.c \
	'/^static wb_code fill_make_ready/,/^}/s/wb_code code = wbi_env_make_safe(p->fill.gen->env, err);/wb_code code = WB_OK;/'
bug checkpoint-behind-its-effects projections/track.c \
	'/^wb_code wbi_track_commit(/,/^}/s/at.position = track->position;/at.position = track->position - (track->position > at.position);/'
bug known-before-it-is-committed projections/track.c \
	'/^wb_code wbi_track_commit(/,/^}/s/^\t\twbi_origins_forget(track->origins);/\t\t(void)0;/'
bug aside-as-if-it-had-been-committed projections/track.c \
	'/^wb_code wbi_track_commit(/,/^}/s/^\twbi_track_forget(track);/\twbi_track_abort(track);/'

# ---- choreography ----------------------------------------------------------
bug step-without-its-barrier saga/react.c \
	'/^static wb_code react_do(/,/^}/s/if (answer != WBI_BARRIER_GO)/if (answer != WBI_BARRIER_GO \&\& old.tombstone)/'
# It is written with the next call of the service, and not with the step.
bug barrier-not-in-the-transaction-of-its-step saga/react.c \
	'/^static wb_code react_acted(/,/^}/s/code = wbi_barrier_acted(&scope->barrier, id, &row, err);/code = WB_OK;\n\twb_choreography *c = scope->choreography;\n\tif (f->pending || row.reply_to.len > 0)\n\t\tcode = wbi_barrier_acted(\&scope->barrier, id, \&row, err);\n\telse if (id->saga.len < 200 \&\& id->step.len < 200) {\n\t\tc->late = true;\n\t\tc->late_saga_len = id->saga.len;\n\t\tc->late_step_len = id->step.len;\n\t\tmemcpy(c->late_saga, id->saga.ptr, id->saga.len);\n\t\tmemcpy(c->late_step, id->step.ptr, id->step.len);\n\t}/
	/^wb_code wbi_flow_handle(/,/^}/s/code = wbi_barrier_prune(&scope.barrier, WBI_FLOW_PRUNE, err);/code = WB_OK;\n\tif (c->late) {\n\t\twbi_barrier_id id = {wb_str_n(c->late_saga, c->late_saga_len), wb_str_n(c->late_step, c->late_step_len), WBI_BARRIER_DO};\n\t\twbi_barrier row = {.state = WB_STEP_DONE};\n\t\tcode = wbi_barrier_acted(\&scope.barrier, \&id, \&row, err);\n\t\tc->late = false;\n\t}\n\tif (code == WB_OK)\n\t\tcode = wbi_barrier_prune(\&scope.barrier, WBI_FLOW_PRUNE, err);/' \
	saga/react.h 's/^\tbool own\[WBI_FLOW_ROWS_MAX\];/&\n\tbool late;\n\tchar late_saga[200], late_step[200];\n\tsize_t late_saga_len, late_step_len;/'

# ---- sagas by orchestration ---------------------------------------------------
sim=waybill-sim-orchestration
bug command-carried-out-twice saga/barrier.c \
	'/^static wb_code barrier_ask_do(/,/^}/s/WBI_BARRIER_DUPLICATE/WBI_BARRIER_GO/'
bug undo-leaves-no-tombstone saga/barrier.c \
	'/^static wb_code barrier_nothing(/,/^}/s/if (no_action)/if (no_action \&\& 0)/'
bug what-is-pending-is-not-undone saga/barrier.c \
	'/^static wb_code barrier_ask_undo(/,/^}/s/(ret->state == WB_STEP_DONE || ret->state == WB_STEP_PENDING)/ret->state == WB_STEP_DONE/'
bug duplicate-is-not-answered saga/participant.c \
	'/^static wb_code command_again(/,/^{/s/^{/{\n\tif (c->op == COMMAND_UNDO)\n\t\treturn WB_OK;/'
bug unknown-step-is-not-undone saga/machine.c \
	'/^static bool move_took_effect(/,/^}/s/ || step->at == WBI_AT_UNKNOWN//'
bug first-step-is-not-undone saga/machine.c \
	'/^static void move_back(/,/^}/s/i-- > 0;/i-- > 1;/'
bug no-deadline-is-set saga/run.c \
	'/case WBI_ACTION_DEADLINE:/,/case /s/if (r->local)/if (step)/'
[ $planted -gt 0 ] || missed=1
echo "planted-bugs: $seen of $planted seen, each in under $seeds seeds"
exit $missed
