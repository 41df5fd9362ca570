/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See bytes.h. Every run is the same up to its trouble: the clock, the ids and
 * the broker's answers depend on nothing but what was done before. One thread;
 * nothing outlives bytes_run().
 */
#include "tests/sim/bytes.h"

#include <stdio.h>
#include <stdlib.h>

#include <waybill/outbox.h>
#include <waybill/relay.h>

#include "broker-adapters/amqp/adapter.h"
#include "tests/sim/operator.h"
#include "tests/kit/scratch.h"
#include "tests/support/amqp_pipe.h"
#include "tests/support/fake_clock.h"
#include "tests/support/seeded_random.h"

enum {
	BYTES_WINDOW = 6,
	BYTES_FIRST_BATCH = 9,
	BYTES_SECOND_BATCH_TURN = 12,
	BYTES_TURNS = 4000,
	BYTES_HEARTBEAT_S = 5,
	BYTES_BEAT_US = 2500000,
	BYTES_CUT_LIMIT_US = 5000000, /* of simulated time */
	BYTES_STALL_LIMIT_US = 40000000
};

/* What is appended; the id is its place in here. */
static const struct {
	const char *type, *key;
	amqp_peer_verdict first; /* the answer to its first copy */
} bytes_events[] = {
	{"stock.moved", "a", AMQP_PEER_ACK},
	{"stock.moved", "b", AMQP_PEER_NACK},
	{"stock.moved", "a", AMQP_PEER_ACK},
	{"stock.moved", "c", AMQP_PEER_RETURN},
	{"stock.moved", "c", AMQP_PEER_ACK},
	{"stock.moved", "b", AMQP_PEER_ACK},
	{"order.placed", "d", AMQP_PEER_ACK},
	{"order.paid", "d", AMQP_PEER_ACK},
	{"stock.moved", "", AMQP_PEER_ACK},
	{"stock.moved", "c", AMQP_PEER_ACK},
	{"order.sent", "d", AMQP_PEER_ACK},
	{"stock.moved", "a", AMQP_PEER_ACK},
};

enum { BYTES_EVENTS = sizeof(bytes_events) / sizeof(bytes_events[0]) };

typedef struct bytes_world {
	const bytes_trouble *trouble;
	bytes_result *result;
	fake_clock clock;
	seeded_random random;
	char dir[PATH_MAX];
	wb_store *store;
	wb_outbox *outbox;
	wb_routes *routes;
	amqp_peer *peer;
	amqp_pipe pipe;
	wb_broker *broker;
	wb_relay *relay;
	checker *checker;
	size_t appended;
	uint64_t positions[BYTES_EVENTS];
	unsigned copies[BYTES_EVENTS]; /* that the broker has read whole */
	bool exchange_exists;
	bool troubled; /* it has happened */
	bool wake;     /* the store has changed */
	bool stopping; /* all is done: the relay is to end */
	size_t heard;  /* to_peer when something last came ... */
	int64_t heard_us, beat_us;
	wb_error err;
} bytes_world;

static bool bytes_fail(bytes_world *w, const char *what)
{
	if (w->result->why[0] == '\0')
		snprintf(w->result->why, sizeof(w->result->why), "%s: %.400s",
			 what, w->err.text);
	return false;
}

/* ---- the broker --------------------------------------------------------- */

static amqp_peer_verdict bytes_judge(void *ctx, const amqp_published *message)
{
	bytes_world *w = ctx;
	size_t i = (size_t)atoi(message->message_id.ptr + 1);
	amqp_peer_verdict verdict = AMQP_PEER_ACK;

	if (wb_str_eq(message->exchange, wb_str_from("orders")) &&
	    !w->exchange_exists)
		return AMQP_PEER_MISSING;
	if (i < BYTES_EVENTS && w->copies[i]++ == 0)
		verdict = bytes_events[i].first;
	if (verdict == AMQP_PEER_ACK &&
	    !checker_arrived(w->checker, message->message_id))
		bytes_fail(w, "out of memory");
	return verdict;
}

/* The missing exchange is there once it has been asked for. */
static uint16_t bytes_refuse(void *ctx, const char *what)
{
	bytes_world *w = ctx;
	bool missing = !w->exchange_exists &&
		       !strcmp(what, "exchange.declare orders passive");

	w->exchange_exists = w->exchange_exists || missing;
	return missing ? 404 : 0;
}

/* A broker sends heartbeats, and drops a client that it does not hear. */
static void bytes_beat(bytes_world *w)
{
	int64_t now_us = w->clock.mono_us;

	if (w->pipe.to_peer != w->heard || w->pipe.port == 0) {
		w->heard = w->pipe.to_peer;
		w->heard_us = now_us;
	}
	if (w->trouble->kind != BYTES_SILENCE &&
	    now_us - w->heard_us > INT64_C(2000000) * BYTES_HEARTBEAT_S)
		w->pipe.cut_to_peer = 0;
	if (!amqp_peer_is_open(w->peer) || now_us < w->beat_us)
		return;
	w->beat_us = now_us + BYTES_BEAT_US;
	amqp_peer_heartbeat(w->peer);
}

/* ---- building ------------------------------------------------------------ */

static bool bytes_make_store(bytes_world *w)
{
	wb_store_options options = WB_STORE_OPTIONS_INIT;
	char path[PATH_MAX + 8];

	options.service = "sim";
	options.map_bytes = 16 << 20;
	options.clock = &w->clock.clock;
	options.random = &w->random.random;
	snprintf(path, sizeof(path), "%s/store", w->dir);
	if (wb_store_create(path, &options, &w->err) == WB_OK &&
	    wb_store_open(path, &options, &w->store, &w->err) == WB_OK &&
	    wb_outbox_open(w->store, NULL, &w->outbox, &w->err) == WB_OK)
		return true;
	return bytes_fail(w, "store");
}

static void bytes_set_trouble(bytes_world *w)
{
	const bytes_trouble *t = w->trouble;
	bool stall = t->kind == BYTES_STALL || t->kind == BYTES_SILENCE;

	if (t->kind == BYTES_NOTHING)
		return;
	if (stall && t->to_broker)
		w->pipe.stall_to_peer = t->at;
	else if (stall)
		w->pipe.stall_to_adapter = t->at;
	else if (t->to_broker)
		w->pipe.cut_to_peer = t->at;
	else
		w->pipe.cut_to_adapter = t->at;
}

static bool bytes_start_relay(bytes_world *w)
{
	wb_amqp_options amqp = WB_AMQP_OPTIONS_INIT;
	wb_relay_options options = WB_RELAY_OPTIONS_INIT;

	amqp_pipe_init(&w->pipe);
	w->pipe.peer[1] = w->peer;
	amqp.uri = "amqp://guest:guest@127.0.0.1:1";
	amqp.clock = options.clock = &w->clock.clock;
	amqp.random = options.random = &w->random.random;
	amqp.heartbeat_s = BYTES_HEARTBEAT_S;
	options.routes = w->routes;
	options.window = BYTES_WINDOW;
	options.commit_ms = 5;
	options.backoff_min_ms = 5;
	options.backoff_max_ms = 100;
	options.probe_ms = 20;
	options.confirm_timeout_ms = 15000;
	if (wbi_amqp_new_with_transport(&amqp, amqp_pipe_transport(&w->pipe),
					&w->broker, &w->err) == WB_OK &&
	    wb_relay_open(w->store, w->broker, &options, &w->relay, &w->err) ==
		    WB_OK)
		return true;
	return bytes_fail(w, "relay");
}

static void bytes_kill_relay(bytes_world *w)
{
	wb_relay_close(w->relay);
	wb_broker_free(w->broker);
	w->relay = NULL;
	w->broker = NULL;
}

static bool bytes_init(bytes_world *w, const char *base,
		       const bytes_trouble *trouble, bytes_result *result)
{
	static const wb_route route = {.type = "order.#", .exchange = "orders"};
	const amqp_peer_options options = {.heartbeat_s = BYTES_HEARTBEAT_S,
					   .judge = bytes_judge,
					   .refuse = bytes_refuse,
					   .ctx = w};

	memset(w, 0, sizeof(*w));
	memset(result, 0, sizeof(*result));
	w->trouble = trouble;
	w->result = result;
	fake_clock_init(&w->clock);
	seeded_random_init(&w->random, 1);
	w->checker = checker_new();
	w->peer = amqp_peer_new(&options);
	if (!w->checker || !kit_scratch_make(base, w->dir))
		return bytes_fail(w, "no directory");
	if (wb_routes_new(&route, 1, &w->routes, &w->err) != WB_OK)
		return bytes_fail(w, "routes");
	if (!bytes_make_store(w) || !bytes_start_relay(w))
		return false;
	bytes_set_trouble(w);
	return true;
}

static void bytes_fini(bytes_world *w)
{
	bytes_kill_relay(w);
	amqp_peer_free(w->peer);
	wb_outbox_close(w->outbox);
	wb_store_close(w->store);
	wb_routes_free(w->routes);
	checker_free(w->checker);
	kit_scratch_remove(w->dir);
}

/* ---- what happens -------------------------------------------------------- */

static bool bytes_append_one(bytes_world *w, MDB_txn *txn, size_t i)
{
	char id[24];
	wb_event event = {.type = wb_str_from(bytes_events[i].type),
			  .key = wb_str_from(bytes_events[i].key),
			  .data = wb_str_from("{}")};

	snprintf(id, sizeof(id), "e%02zu", i);
	event.id = wb_str_from(id);
	return wb_outbox_append(w->outbox, txn, &event, &w->positions[i],
				&w->err) == WB_OK &&
	       checker_appended(w->checker, event.id, event.key,
				w->positions[i], CHECKER_COMMITTED);
}

static bool bytes_append(bytes_world *w, size_t end)
{
	MDB_txn *txn;

	if (wb_store_begin(w->store, &txn, &w->err) != WB_OK)
		return bytes_fail(w, "begin");
	w->wake = true;
	while (w->appended < end && bytes_append_one(w, txn, w->appended))
		w->appended++;
	if (wb_store_commit(w->store, txn, &w->err) == WB_OK &&
	    w->appended == end)
		return true;
	return bytes_fail(w, "append");
}

/* The trouble has done its work: it happens to one connection only. */
static bool bytes_heal(bytes_world *w)
{
	amqp_pipe *pipe = &w->pipe;
	bool cut = pipe->to_peer >= pipe->cut_to_peer ||
		   pipe->to_adapter >= pipe->cut_to_adapter;
	bool over = pipe->shuts > 0;

	if (w->troubled || w->trouble->kind == BYTES_NOTHING)
		return true;
	if (w->trouble->kind == BYTES_DEATH && cut && pipe->port != 0) {
		w->troubled = true;
		bytes_kill_relay(w);
		if (!bytes_start_relay(w))
			return false;
		if (w->stopping)
			wb_relay_stop(w->relay);
		return true;
	}
	if (w->trouble->kind == BYTES_SILENCE &&
	    (pipe->to_peer >= pipe->stall_to_peer ||
	     pipe->to_adapter >= pipe->stall_to_adapter))
		pipe->stall_to_peer = pipe->stall_to_adapter = 0;
	if (!over)
		return true;
	w->troubled = true;
	pipe->cut_to_peer = pipe->cut_to_adapter = SIZE_MAX;
	pipe->stall_to_peer = pipe->stall_to_adapter = SIZE_MAX;
	return true;
}

static void bytes_wait(bytes_world *w, size_t carried)
{
	int64_t until_us = w->clock.mono_us + 50000;

	if (carried != w->pipe.to_peer + w->pipe.to_adapter)
		until_us = w->clock.mono_us + 1000;
	else if (wb_relay_deadline_us(w->relay) < until_us)
		until_us = wb_relay_deadline_us(w->relay);
	if (until_us <= w->clock.mono_us)
		until_us = w->clock.mono_us + 100;
	fake_clock_advance_to_us(&w->clock, until_us);
}

static bool bytes_turn(bytes_world *w)
{
	size_t carried = w->pipe.to_peer + w->pipe.to_adapter;

	bytes_beat(w);
	if (wb_relay_step(w->relay, w->wake, &w->err) != WB_OK)
		return bytes_fail(w, "relay");
	w->wake = false;
	bytes_wait(w, carried);
	return bytes_heal(w);
}

/* True: all is sent, nothing is parked, nothing held. */
static bool bytes_rest(bytes_world *w)
{
	sim_parked_list list;
	uint64_t held;

	if (!wb_relay_get_stat(w->relay).idle || w->appended < BYTES_EVENTS)
		return false;
	if (sim_operator_held(w->store, &held, &w->err) != WB_OK ||
	    sim_operator_list(w->store, &list, &w->err) != WB_OK ||
	    (list.count > 0 && sim_operator_retry(w->store, &list.rows[0],
						  &w->err) != WB_OK))
		return bytes_fail(w, "operator");
	return held == 0 && list.total == 0;
}

static bool bytes_live(bytes_world *w)
{
	int turn = 0;

	if (!bytes_append(w, BYTES_FIRST_BATCH))
		return false;
	for (; turn < BYTES_TURNS && !bytes_rest(w); turn++) {
		if (turn == BYTES_SECOND_BATCH_TURN &&
		    !bytes_append(w, BYTES_EVENTS))
			return false;
		if (!bytes_turn(w) || w->result->why[0] != '\0')
			return false;
	}
	w->stopping = true;
	wb_relay_stop(w->relay);
	for (; turn < BYTES_TURNS &&
	       wb_relay_get_stat(w->relay).state != WB_RELAY_STOPPED;
	     turn++)
		if (!bytes_turn(w))
			return false;
	w->err.text[0] = '\0';
	return turn < BYTES_TURNS || bytes_fail(w, "it does not end");
}

static bool bytes_judge_run(bytes_world *w, int64_t start_us)
{
	bytes_result *r = w->result;
	bool waits = w->trouble->kind == BYTES_STALL ||
		     w->trouble->kind == BYTES_SILENCE;
	int64_t limit_us = waits ? BYTES_STALL_LIMIT_US : BYTES_CUT_LIMIT_US;

	r->counts = checker_count(w->checker);
	r->took_us = w->clock.mono_us - start_us;
	r->to_broker = w->pipe.to_peer;
	r->to_client = w->pipe.to_adapter;
	w->err.text[0] = '\0';
	if (amqp_peer_look(w->peer)->error[0] != '\0')
		return bytes_fail(w, "the client broke the protocol");
	if (!checker_is_clean(&r->counts) ||
	    r->counts.delivered != BYTES_EVENTS)
		return bytes_fail(w, "not each event, or not in order");
	if (r->counts.duplicate > BYTES_WINDOW)
		return bytes_fail(w, "more repeats than the window");
	if (r->took_us > limit_us)
		return bytes_fail(w, "it took too long");
	return true;
}

bool bytes_run(const char *base, const bytes_trouble *trouble,
	       bytes_result *ret)
{
	bytes_world *w = malloc(sizeof(*w));
	int64_t start_us;
	bool good;

	if (!w)
		return false;
	good = bytes_init(w, base, trouble, ret);
	start_us = w->clock.mono_us;
	good = good && bytes_live(w) && bytes_judge_run(w, start_us);
	bytes_fini(w);
	free(w);
	return good && ret->why[0] == '\0';
}
