/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The relay's step: hear the broker, keep the connection, send what may be
 * sent, commit.
 *
 * It only reads the store. Its own environment holds the cursor and whatever
 * was set aside, and is written in one place (relay_commit.c). A crash at any
 * point loses at most what was settled since that commit, and those events,
 * `window` of them at most, are sent once more, in the same order: nothing is
 * ever taken as delivered before the broker has said so, and nothing that an
 * earlier event of its key has not cleared the way for is ever sent.
 *
 * A relay belongs to the thread that steps it; wb_relay_stop() alone may come
 * from elsewhere.
 */
#include "outbox/relay_internal.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/log.h"

/* ---- small things the parts share --------------------------------------- */

void wbi_relay_trouble(wb_relay *relay, wb_log_level level, const char *format,
		       ...)
{
	char before[sizeof(relay->why)];
	va_list args;

	memcpy(before, relay->why, sizeof(before));
	va_start(args, format);
	vsnprintf(relay->why, sizeof(relay->why), format, args);
	va_end(args);
	/* What goes on is said once: until it is over, or something else. */
	if (strcmp(before, relay->why) == 0)
		return;
	relay->status_dirty = true;
	wbi_log(relay->log, level, "relay: %s", relay->why);
}

/* What was said last is true no more. */
void wbi_relay_trouble_over(wb_relay *relay)
{
	relay->why[0] = '\0';
	relay->status_dirty = true;
}

static void relay_set_state(wb_relay *relay, wb_relay_state state)
{
	if (relay->state == state)
		return;
	relay->state = state;
	relay->since_us = relay->clock->real_us(relay->clock->ctx);
	relay->status_dirty = true;
	wbi_log(relay->log, WB_LOG_DEBUG, "relay: %s",
		wbi_relay_state_name(state));
}

int64_t wbi_relay_nack_due(wb_relay *relay, uint32_t nacks)
{
	wbi_backoff backoff = {RELAY_NACK_MIN_MS, RELAY_NACK_MAX_MS, nacks};

	return relay->now_us + wbi_backoff_next_us(&backoff, relay->random);
}

/* The type of an event that is accepted unrouted is counted with the commit;
 * beyond RELAY_UNROUTED_MAX types in between, under one name for the rest. */
void wbi_relay_count_unrouted(wb_relay *relay, wb_str type)
{
	size_t i = 0;

	while (i < relay->unrouted_count &&
	       !wb_str_eq(wb_str_from(relay->unrouted[i].type), type))
		i++;
	if (i >= RELAY_UNROUTED_MAX - 1) {
		i = RELAY_UNROUTED_MAX - 1;
		type = wb_str_from("(other)");
	}
	WB_ASSERT(type.len < sizeof(relay->unrouted[i].type));
	if (i == relay->unrouted_count) {
		relay->unrouted_count++;
		relay->unrouted[i].count = 0;
		memcpy(relay->unrouted[i].type, type.ptr, type.len);
		relay->unrouted[i].type[type.len] = '\0';
	}
	relay->unrouted[i].count++;
	relay->stat.unrouted++;
}

/* ---- open and close ----------------------------------------------------- */

static void relay_set_defaults(wb_relay_options *o)
{
	const wb_limits limits = WB_LIMITS_DEFAULT;

	if (o->window == 0)
		o->window = 2000;
	if (o->commit_ms == 0)
		o->commit_ms = 100;
	if (o->batch_bytes == 0)
		o->batch_bytes = 48 * 1024;
	if (o->poll_ms == 0)
		o->poll_ms = 50;
	if (o->backoff_min_ms == 0)
		o->backoff_min_ms = 100;
	if (o->backoff_max_ms == 0)
		o->backoff_max_ms = 10000;
	if (o->confirm_timeout_ms == 0)
		o->confirm_timeout_ms = 120000;
	if (o->probe_ms == 0)
		o->probe_ms = 5000;
	if (o->drain_ms == 0)
		o->drain_ms = 800;
	if (o->parked_max_bytes == 0)
		o->parked_max_bytes = (uint64_t)1 << 30;
	if (o->limits.body_bytes == 0)
		o->limits.body_bytes = limits.body_bytes;
}

static wb_code relay_check_options(const wb_relay_options *options,
				   wb_error *err)
{
	if (options && options->size != sizeof(*options))
		return WBI_FAIL(err, WB_EINVAL,
				"wb_relay_options.size is %zu, not %zu: "
				"initialise it with WB_RELAY_OPTIONS_INIT",
				options->size, sizeof(*options));
	if (options && options->window > 65536)
		return WBI_FAIL(err, WB_EINVAL,
				"window is %u: at most 65536 positions",
				options->window);
	return WB_OK;
}

static wb_code relay_alloc(wb_relay *relay, wb_error *err)
{
	wb_code code;

	relay->exchanges = calloc(RELAY_EXCHANGES_MAX,
				  sizeof(*relay->exchanges));
	relay->actions = calloc((size_t)relay->options.window * 2,
				sizeof(*relay->actions));
	if (!relay->exchanges || !relay->actions)
		return WBI_FAIL(err, WB_ENOMEM, "no memory for a relay");
	/* From the start: wb_relay_stop() reads it in another thread. */
	code = wbi_loop_hang_bell(&relay->loop, err);
	if (code != WB_OK)
		return code;
	for (size_t i = 0; i < WBI_COUNT(relay->lanes); i++) {
		relay->lanes[i].id = (relay_lane_id)i;
		code = wbi_window_new(relay->options.window, 0,
				      &relay->lanes[i].window, err);
		if (code != WB_OK)
			return code;
	}
	relay->lanes[RELAY_MAIN].active = true;
	if (!relay->routes) {
		code = wb_routes_new(NULL, 0, &relay->own_routes, err);
		if (code != WB_OK)
			return code;
		relay->routes = relay->own_routes;
	}
	return wbi_relay_describe_routes(relay, err);
}

wb_code wb_relay_open(wb_store *store, wb_broker *broker,
		      const wb_relay_options *options, wb_relay **ret,
		      wb_error *err)
{
	wb_relay *relay;
	wb_code code = relay_check_options(options, err);

	if (code != WB_OK)
		return code;
	if (!store || !broker || !ret)
		return WBI_FAIL(err, WB_EINVAL, "a relay needs a store and a "
						"broker");
	relay = calloc(1, sizeof(*relay));
	if (!relay)
		return WBI_FAIL(err, WB_ENOMEM, "no memory for a relay");
	if (options)
		relay->options = *options;
	relay_set_defaults(&relay->options);
	relay->store = store;
	relay->broker = broker;
	relay->routes = relay->options.routes;
	relay->clock = relay->options.clock ? relay->options.clock
					    : wbi_store_clock(store);
	relay->random = relay->options.random ? relay->options.random
					      : wbi_store_random(store);
	relay->log = relay->options.log ? relay->options.log
					: wbi_store_log(store);
	relay->journal = wbi_journal_of(store, WBI_OUTBOX);
	relay->env = wbi_store_relay_env(store);
	relay->random->fill(relay->random->ctx, &relay->hash_seed,
			    sizeof(relay->hash_seed));
	relay->owner_fd = -1;
	wbi_loop_init(&relay->loop);
	relay->reopen_at_us = INT64_MAX;
	relay->look_at_us[0] = relay->look_at_us[1] = INT64_MAX;
	relay->look_pause_us = RELAY_LOOK_MIN_US;
	relay->connect_backoff = (wbi_backoff){relay->options.backoff_min_ms,
					       relay->options.backoff_max_ms,
					       0};
	relay->channel_backoff = relay->connect_backoff;
	relay->now_us = relay->clock->mono_us(relay->clock->ctx);
	code = relay_alloc(relay, err);
	if (code == WB_OK)
		code = wbi_relay_own(relay, err);
	if (code != WB_OK && code != WB_EBUSY) {
		wb_relay_close(relay);
		return code;
	}
	*ret = relay;
	return WB_OK;
}

void wb_relay_close(wb_relay *relay)
{
	if (!relay)
		return;
	wbi_relay_disown(relay);
	wbi_loop_fini(&relay->loop);
	for (size_t i = 0; i < WBI_COUNT(relay->lanes); i++)
		wbi_window_free(relay->lanes[i].window);
	wb_routes_free(relay->own_routes);
	free(relay->exchanges);
	free(relay->actions);
	free(relay->names);
	free(relay->routes_text);
	free(relay);
}

/* ---- what the broker says ------------------------------------------------ */

void wbi_relay_lost(wb_relay *relay)
{
	for (size_t i = 0; i < WBI_COUNT(relay->lanes); i++)
		wbi_window_lost(relay->lanes[i].window);
	wbi_relay_release_lost(relay);
}

/* Unroutable: its route says whether that parks it. The record is read again,
 * since a return is rare and the window keeps no copies. */
static wb_code relay_returned(wb_relay *relay, relay_lane *lane,
			      uint64_t position, uint16_t reply_code,
			      wb_error *err)
{
	const wb_route *route;
	uint64_t stored;
	wb_event event;
	wb_str record;
	MDB_txn *txn;
	wb_code code = wbi_txn_begin(wb_store_env(relay->store), false, &txn,
				     err);

	if (code != WB_OK) { /* what it says is lost: send it again */
		wbi_window_mark_nacked(lane->window, position,
				       wbi_relay_nack_due(relay, 0));
		return code;
	}
	code = wbi_journal_get(&relay->journal, txn, position, &record, err);
	if (code == WB_OK)
		code = wbi_record_decode(record.ptr, record.len, &event,
					 &stored, err);
	if (code == WB_OK) {
		route = wb_routes_match(relay->routes, event.type);
		if (route->unroutable == WB_UNROUTABLE_ACCEPT) {
			wbi_relay_count_unrouted(relay, event.type);
			wbi_window_mark_done(lane->window, position);
		} else {
			wbi_window_mark_park(lane->window, position,
					     WBI_PARK_UNROUTABLE, reply_code,
					     WBI_PARK_FOLLOWER);
		}
	}
	wbi_txn_abort(txn);
	return code;
}

static wb_code relay_settle(wb_relay *relay, const wb_broker_event *event,
			    wb_error *err)
{
	relay_lane_id id = RELAY_TOKEN_LANE(event->token);
	uint64_t at = RELAY_TOKEN_AT(event->token);
	relay_lane *lane;

	relay->progress_us = relay->now_us;
	relay->channel_backoff.count = 0;
	if (relay->careful > 0)
		relay->careful--;
	if (event->kind == WB_BROKER_NACKED)
		relay->stat.nacks++;
	if (event->kind == WB_BROKER_RETURNED)
		relay->stat.returns++;
	/* Nothing else may change for long: an operator has to see it. */
	if (event->kind != WB_BROKER_ACKED)
		relay->status_dirty = true;
	if (id == RELAY_RELEASE) {
		wbi_relay_release_settle(relay, (size_t)at, event);
		return WB_OK;
	}
	WB_ASSERT(id == RELAY_MAIN || id == RELAY_DRAIN);
	lane = &relay->lanes[id];
	switch (event->kind) {
	case WB_BROKER_ACKED:
		wbi_window_mark_done(lane->window, at);
		relay->stat.delivered++;
		return WB_OK;
	case WB_BROKER_NACKED:
		wbi_window_mark_nacked(
			lane->window, at,
			wbi_relay_nack_due(
				relay,
				wbi_window_slot(lane->window, at)->nacks));
		return WB_OK;
	default:
		return relay_returned(relay, lane, at, event->reply_code, err);
	}
}

static void relay_up(wb_relay *relay)
{
	relay->up = relay->channel_open = true;
	relay->connecting = relay->blocked = false;
	relay->connect_backoff.count = 0;
	relay->reopen_at_us = INT64_MAX;
	relay->progress_us = relay->now_us;
	relay->stat.connects++;
	wbi_relay_trouble_over(relay);
	wbi_log(relay->log, WB_LOG_INFO, "relay: connected, cursor at %llu",
		(unsigned long long)wbi_window_durable(
			relay->lanes[RELAY_MAIN].window));
}

static void relay_down(wb_relay *relay, const wb_error *reason)
{
	bool closing = relay->stopped_closing;

	relay->up = relay->channel_open = false;
	relay->connecting = relay->blocked = false;
	relay->reopen_at_us = INT64_MAX;
	wbi_relay_lost(relay);
	wbi_relay_holds_lost(relay);
	relay->connect_at_us =
		relay->now_us +
		wbi_backoff_next_us(&relay->connect_backoff, relay->random);
	if (!closing)
		wbi_relay_trouble(relay, WB_LOG_WARN, "no connection: %s",
				  reason->text);
}

static void relay_blocked(wb_relay *relay, wb_str reason)
{
	relay->blocked = true;
	wbi_relay_trouble(relay, WB_LOG_WARN,
			  "the broker has blocked publishers: %.*s",
			  (int)reason.len, reason.ptr ? reason.ptr : "");
}

static wb_code relay_handle(wb_relay *relay, const wb_broker_event *event,
			    wb_error *err)
{
	if (!relay->up && event->kind != WB_BROKER_UP &&
	    event->kind != WB_BROKER_DOWN)
		return WB_OK; /* left over from an earlier user of it */
	switch (event->kind) {
	case WB_BROKER_ACKED:
	case WB_BROKER_NACKED:
	case WB_BROKER_RETURNED:
		return relay_settle(relay, event, err);
	case WB_BROKER_UP:
		relay_up(relay);
		break;
	case WB_BROKER_DOWN:
		relay_down(relay, &event->error);
		break;
	case WB_BROKER_BLOCKED:
		relay_blocked(relay, event->text);
		break;
	case WB_BROKER_UNBLOCKED:
		relay->blocked = false;
		relay->progress_us = relay->now_us;
		wbi_relay_trouble_over(relay);
		break;
	case WB_BROKER_CHANNEL_CLOSED:
		relay->channel_open = false;
		relay->progress_us = relay->now_us;
		relay->stat.channel_closes++;
		relay->reopen_at_us =
			relay->now_us +
			(relay->channel_backoff.count++ == 0
				 ? 0
				 : wbi_backoff_next_us(&relay->channel_backoff,
						       relay->random));
		wbi_relay_channel_closed(relay, event);
		break;
	case WB_BROKER_CHANNEL_OPEN:
		relay->channel_open = true;
		break;
	case WB_BROKER_DECLARED:
	case WB_BROKER_DECLARE_FAILED:
		wbi_relay_probe_answer(relay, event);
		break;
	default:
		break; /* nothing else was asked for */
	}
	return WB_OK;
}

static wb_code relay_hear(wb_relay *relay, wb_error *err)
{
	wb_broker_event event;
	wb_code code = WB_OK;

	wb_broker_step(relay->broker);
	for (int i = 0; i < RELAY_EVENTS_PER_STEP && code == WB_OK; i++) {
		if (!wb_broker_next(relay->broker, &event))
			break;
		code = relay_handle(relay, &event, err);
	}
	return code;
}

/* ---- keeping the connection ---------------------------------------------- */

static void relay_connect(wb_relay *relay)
{
	const wb_relay_options *options = &relay->options;
	wb_error err = WB_ERROR_INIT;
	wb_code code;

	relay->connecting = true;
	if (options->prepare &&
	    options->prepare(options->prepare_ctx, &err) != WB_OK) {
		/* It may have taken long: the pause begins now. Else the next
		 * attempt would be due at once, and nobody else get a turn. */
		relay->now_us = relay->clock->mono_us(relay->clock->ctx);
		relay_down(relay, &err);
		return;
	}
	code = wb_broker_connect(relay->broker, &err);
	if (code == WB_OK)
		return;
	/* It is up already, by someone else's doing: what was sent there is
	 * none of ours. */
	if (code == WB_ESTATE)
		wb_broker_close(relay->broker);
	relay_down(relay, &err);
}

static void relay_reopen(wb_relay *relay)
{
	wb_error err = WB_ERROR_INIT;

	relay->reopen_at_us = INT64_MAX;
	if (wb_broker_reopen(relay->broker, &err) != WB_OK)
		wb_broker_close(relay->broker);
}

static void relay_link(wb_relay *relay)
{
	int64_t limit_us = (int64_t)relay->options.confirm_timeout_ms * 1000;

	if (!relay->up) {
		if (!relay->connecting && relay->now_us >= relay->connect_at_us)
			relay_connect(relay);
		return;
	}
	if (relay->now_us >= relay->reopen_at_us)
		relay_reopen(relay);
	if (relay->blocked || (wbi_relay_sent(relay) == 0 &&
			       relay->suspects == 0 && relay->channel_open))
		return;
	if (relay->now_us - relay->progress_us < limit_us)
		return;
	wbi_relay_trouble(relay, WB_LOG_WARN,
			  "no answer for %u ms: connecting again",
			  relay->options.confirm_timeout_ms);
	relay->progress_us = relay->now_us;
	wb_broker_close(relay->broker);
}

static wb_relay_state relay_link_state(const wb_relay *relay)
{
	if (!relay->up)
		return WB_RELAY_DOWN;
	return relay->blocked ? WB_RELAY_BLOCKED : WB_RELAY_RUNNING;
}

/* ---- stopping ------------------------------------------------------------ */

/*
 * Draining ends when nothing is unconfirmed, when its time is up, or when it
 * is asked for twice. Then the cursor is committed, and the broker closed.
 */
static wb_code relay_stopping(wb_relay *relay, wb_error *err)
{
	int asked = atomic_load(&relay->stop_asked);
	wb_code code;

	if (relay->state != WB_RELAY_DRAINING) {
		relay_set_state(relay, WB_RELAY_DRAINING);
		relay->stop_deadline_us =
			relay->now_us + (int64_t)relay->options.drain_ms * 1000;
	}
	if (!relay->stopped_closing) {
		if (asked < 2 && relay->up && wbi_relay_sent(relay) > 0 &&
		    relay->now_us < relay->stop_deadline_us)
			return WB_OK;
		code = wbi_relay_commit(relay, err);
		if (code != WB_OK && wb_code_class(code) == WB_CLASS_STOP)
			return code;
		relay->stopped_closing = true;
		relay->stop_deadline_us = relay->now_us + RELAY_CLOSE_US;
		wb_broker_close(relay->broker);
		wb_broker_step(relay->broker);
	}
	if (relay->up && asked < 2 && relay->now_us < relay->stop_deadline_us)
		return WB_OK;
	relay_set_state(relay, WB_RELAY_STOPPED);
	relay->why[0] = '\0';
	if (relay->owner)
		(void)wbi_relay_commit(relay, NULL);
	return WB_OK;
}

void wb_relay_stop(wb_relay *relay)
{
	atomic_fetch_add(&relay->stop_asked, 1);
	wbi_loop_ring(&relay->loop);
}

/* ---- the step ------------------------------------------------------------ */

/* Another process may have released or discarded parked events. */
static wb_code relay_refresh(wb_relay *relay, wb_error *err)
{
	uint64_t last = wbi_env_last_txn(relay->env), bytes;
	wb_code code;
	MDB_txn *txn;

	if (last == relay->env_txn)
		return WB_OK;
	code = wbi_txn_begin(relay->env, false, &txn, err);
	if (code != WB_OK)
		return code;
	code = wbi_table_size(txn,
			      wbi_store_relay_tables(relay->store)->keys,
			      &bytes, &relay->parked_keys, err);
	relay->release_more = true;
	relay->park_full = false;
	if (code == WB_OK)
		relay->env_txn = wbi_txn_id(txn); /* perhaps not yet `last` */
	wbi_txn_abort(txn);
	return code;
}

/* inotify may tell of a commit just before it can be seen: after a wake that
 * found nothing new, look again after 1 and 5 ms. */
static void relay_look(wb_relay *relay, bool wake)
{
	bool behind = wbi_window_high(relay->lanes[RELAY_MAIN].window) <
		      relay->head;

	if (wake) {
		relay->look = true;
		relay->look_pause_us = RELAY_LOOK_MIN_US;
	}
	if (wake && !behind) {
		relay->look_at_us[0] = relay->now_us + 1000;
		relay->look_at_us[1] = relay->now_us + 5000;
	}
	for (size_t i = 0; i < WBI_COUNT(relay->look_at_us); i++) {
		if (relay->now_us < relay->look_at_us[i])
			continue;
		relay->look = true;
		relay->look_at_us[i] = INT64_MAX;
	}
}

static int64_t relay_min(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* While it drains only the broker and the end of its time matter. */
static int64_t relay_stop_deadline(const wb_relay *relay)
{
	if (relay->state == WB_RELAY_STOPPED)
		return INT64_MAX;
	return relay_min(relay->stop_deadline_us,
			 wb_broker_deadline_us(relay->broker));
}

static int64_t relay_work_deadline(const wb_relay *relay)
{
	int64_t at = relay->now_us + (int64_t)relay->options.poll_ms * 1000;

	if (relay->again ||
	    (!relay->choked && wbi_relay_release_can_go(relay)))
		return relay->now_us;
	at = relay_min(at, relay->look_at_us[0]);
	at = relay_min(at, relay->look_at_us[1]);
	at = relay_min(at, wb_broker_deadline_us(relay->broker));
	at = relay_min(at, relay->reopen_at_us);
	if (!relay->up && !relay->connecting)
		at = relay_min(at, relay->connect_at_us);
	for (size_t i = 0; i < WBI_COUNT(relay->lanes); i++)
		at = relay_min(at, wbi_window_due_us(relay->lanes[i].window));
	at = relay_min(at, wbi_relay_commit_due_us(relay));
	return relay_min(at, wbi_relay_release_due_us(relay));
}

static void relay_check_readers(wb_relay *relay)
{
	if (relay->now_us < relay->readers_at_us)
		return;
	relay->readers_at_us =
		relay->now_us + (int64_t)RELAY_READERS_MS * 1000;
	(void)wb_store_check_readers(relay->store, NULL, NULL);
}

static wb_code relay_work(wb_relay *relay, bool wake, wb_error *err)
{
	wb_code code;

	relay->again = relay->choked = false;
	code = relay_hear(relay, err);
	if (code != WB_OK)
		return code;
	if (atomic_load(&relay->stop_asked) > 0)
		return relay_stopping(relay, err);
	relay_look(relay, wake);
	code = relay_refresh(relay, err);
	if (code != WB_OK)
		return code;
	relay_link(relay);
	relay_set_state(relay, relay_link_state(relay));
	wbi_relay_probe(relay);
	for (size_t i = 0; i < WBI_COUNT(relay->lanes); i++)
		wbi_window_tick(relay->lanes[i].window, relay->now_us);
	code = wbi_relay_pump(relay, err);
	if (code != WB_OK)
		return code;
	wbi_relay_drain_check(relay);
	relay_check_readers(relay);
	return wbi_relay_commit_if_due(relay, err);
}

/* An error of a step: the end, or said once and tried again a little later. */
static wb_code relay_stumble(wb_relay *relay, const wb_error *why,
			     wb_error *err)
{
	if (wb_code_class(why->code) == WB_CLASS_STOP) {
		relay_set_state(relay, WB_RELAY_FAILED);
		return WBI_FAIL(err, why->code, "%s", why->text);
	}
	if (strncmp(relay->why, why->text, sizeof(relay->why) - 1) != 0)
		wbi_relay_trouble(relay, WB_LOG_ERROR, "%s", why->text);
	relay->deadline_us =
		relay->now_us + (int64_t)relay->options.poll_ms * 1000;
	if (!relay->owner)
		relay->deadline_us = relay->own_at_us;
	return WB_OK;
}

wb_code wb_relay_step(wb_relay *relay, bool wake, wb_error *err)
{
	wb_error why = WB_ERROR_INIT;
	wb_code code = WB_OK;

	relay->deadline_us = INT64_MAX;
	if (relay->state == WB_RELAY_STOPPED)
		return WB_OK;
	if (relay->state == WB_RELAY_FAILED)
		return WBI_FAIL(err, WB_ESTATE,
				"the relay has failed: close it");
	relay->now_us = relay->clock->mono_us(relay->clock->ctx);
	if (!relay->owner && atomic_load(&relay->stop_asked) > 0) {
		relay_set_state(relay, WB_RELAY_STOPPED);
		return WB_OK;
	}
	if (!relay->owner && relay->now_us >= relay->own_at_us)
		code = wbi_relay_own(relay, &why);
	if (relay->owner)
		code = relay_work(relay, wake, &why);
	if (code != WB_OK && code != WB_EBUSY)
		return relay_stumble(relay, &why, err);
	if (!relay->owner)
		relay->deadline_us = relay->own_at_us;
	else if (relay->state >= WB_RELAY_DRAINING)
		relay->deadline_us = relay_stop_deadline(relay);
	else
		relay->deadline_us = relay_work_deadline(relay);
	return WB_OK;
}

int64_t wb_relay_deadline_us(const wb_relay *relay)
{
	return relay->deadline_us;
}

/* Is all that stands in the lane's window settled and committed, or to be
 * parked, and can it look no further? */
static bool relay_lane_halts(const wb_relay *relay, relay_lane_id id, bool end)
{
	const wbi_window *window = relay->lanes[id].window;

	return wbi_window_low(window) == wbi_window_durable(window) &&
	       wbi_window_queued(window) == 0 &&
	       wbi_window_due_us(window) == INT64_MAX &&
	       (end || wbi_window_full(window) ||
		(wbi_relay_may_send(relay) && !wbi_relay_room(relay, false)));
}

/* There is no room to park what must be parked, and nothing else to do. */
static bool relay_is_halted(const wb_relay *relay)
{
	const relay_lane *lane = relay->lanes;
	uint64_t high = wbi_window_high(lane[RELAY_MAIN].window);

	return relay->park_full && !relay->commit_refused &&
	       relay_lane_halts(relay, RELAY_MAIN,
				!relay->look && high == relay->head) &&
	       (!lane[RELAY_DRAIN].active ||
		relay_lane_halts(relay, RELAY_DRAIN,
				 wbi_window_high(lane[RELAY_DRAIN].window) ==
					 high));
}

static bool relay_is_done(const wb_relay *relay)
{
	const wbi_window *window = relay->lanes[RELAY_MAIN].window;

	return !relay->look && wbi_window_durable(window) == relay->head &&
	       !relay->lanes[RELAY_DRAIN].active &&
	       !wbi_relay_hold_undecided(relay);
}

static bool relay_is_idle(const wb_relay *relay)
{
	return relay->owner && relay->look_at_us[1] == INT64_MAX &&
	       (relay_is_done(relay) || relay_is_halted(relay)) &&
	       wbi_relay_sent(relay) == 0 && relay->suspects == 0 &&
	       !wbi_relay_release_active(relay) &&
	       relay->unrouted_count == 0;
}

wb_relay_stat wb_relay_get_stat(const wb_relay *relay)
{
	wb_relay_stat stat = relay->stat;

	stat.state = relay->state;
	stat.head = relay->head;
	stat.cursor = wbi_window_durable(relay->lanes[RELAY_MAIN].window);
	stat.unconfirmed = wbi_relay_sent(relay);
	stat.idle = relay_is_idle(relay);
	for (size_t i = 0; i < relay->exchange_count; i++)
		stat.held += relay->exchanges[i].state >= RELAY_HELD;
	return stat;
}
