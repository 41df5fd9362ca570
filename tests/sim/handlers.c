/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The handlers of the second service. Each leaves a trace of its effects in a
 * table of its own, one row per effect, in the transaction of the call; the
 * external one in memory, which stands for the world outside. They fail, stop
 * and crash by the service's randomness, and heal when all is calm.
 *
 * A crash in a call cannot end the simulator: so the worker's connections are
 * dropped, what it commits from then on is not, and the page of calls in
 * progress is put back to what it was, once the worker is gone.
 */
#include "tests/sim/service.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/sim/content.h"
#include "tests/sim/world.h"

enum { HANDLERS_TIMER_MAX_US = 1500000, HANDLERS_STRANGE = SIM_EVENTS_MAX / 2 };

const char *const sim_handler_names[SIM_HANDLERS] = {
	[SIM_COUNT] = "count",     [SIM_FLAKY] = "flaky",
	[SIM_PICKY] = "picky",     [SIM_OUTSIDE] = "outside",
	[SIM_TIMERS] = "timers",
};

static const char *const handlers_all[] = {"#", NULL};
static const char *const handlers_some[] = {"order.#", "stock.*", NULL};
static const char *const handlers_stock[] = {"stock.moved", NULL};

/* Ids are "e12" of the first service, "x12" of the stranger. */
size_t sim_event_number(wb_str id)
{
	size_t n = 0;

	if (id.len < 2 || id.len > 8 || (id.ptr[0] != 'e' && id.ptr[0] != 'x'))
		return SIM_EVENTS_MAX;
	for (size_t i = 1; i < id.len; i++)
		n = n * 10 + (size_t)(id.ptr[i] - '0');
	if (n >= HANDLERS_STRANGE)
		return SIM_EVENTS_MAX;
	return id.ptr[0] == 'x' ? n + HANDLERS_STRANGE : n;
}

wb_str sim_event_source(size_t number)
{
	return wb_str_from(number >= HANDLERS_STRANGE ? "stranger" : "/sim");
}

static bool handlers_begins(wb_str type, const char *with)
{
	size_t len = strlen(with);

	return type.len >= len && !memcmp(type.ptr, with, len);
}

bool sim_handler_wants(sim_handler h, wb_str type)
{
	if (h == SIM_FLAKY)
		return handlers_begins(type, "order.") ||
		       handlers_begins(type, "stock.");
	if (h == SIM_TIMERS)
		return wb_str_eq(type, wb_str_from("stock.moved"));
	return true;
}

/* ---- what every call does ------------------------------------------------ */

static sim_service *handlers_service(const wb_call *call)
{
	return wb_call_handler(call)->ctx;
}

/* The page of calls in progress, as this call finds it. */
static void handlers_keep_page(sim_service *s)
{
	char path[PATH_MAX + 8];
	FILE *file;
	long len;

	snprintf(path, sizeof(path), "%s/calls", wb_store_dir(s->store));
	file = fopen(path, "rb");
	if (!file)
		return; /* there is none: nothing to recover from */
	if (fseek(file, 0, SEEK_END) == 0 && (len = ftell(file)) > 0 &&
	    (s->page = malloc((size_t)len)) != NULL) {
		rewind(file);
		s->page_len = fread(s->page, 1, (size_t)len, file);
	}
	fclose(file);
}

static void handlers_crash(sim_service *s, const char *name, wb_str id)
{
	s->crashed = true;
	s->tally.crashes_in_calls++;
	handlers_keep_page(s);
	kit_mortal_kill(s->stepping->consumer);
	sim_log(s->world, "a worker crashes in %s(%.*s)", name, (int)id.len,
		id.ptr);
}

/* An attempt is counted only where a call of this event by this handler has
 * failed: that is what the note knows. A crash in the call is counted again by
 * whoever dies before the page of calls is clear; an external call's attempt
 * is counted before it is made, so that a death behind that may cost one. */
static void handlers_check_attempt(sim_service *s, const wb_call *call,
				   const sim_note *note, wb_str id)
{
	const wb_handler *handler = wb_call_handler(call);
	uint64_t most = 1 + note->failures;

	if (handler->kind == WB_EXTERNAL || note->crashed)
		most += s->tally.worker_deaths;
	if (wb_call_attempt(call) > most)
		sim_fail(s->world, "%s(%.*s): attempt %u after %u failures",
			 handler->name, (int)id.len, id.ptr,
			 wb_call_attempt(call), note->failures);
}

/* True: the call is to go on. */
static bool handlers_enter(sim_service *s, wb_call *call, sim_note *note,
			   wb_str id)
{
	const char *name = wb_call_handler(call)->name;

	if (kit_mortal_is_dead(s->stepping->consumer))
		return false;
	s->tally.calls++;
	handlers_check_attempt(s, call, note, id);
	if (s->world->calm ||
	    !seeded_random_chance(&s->random, s->call_crash))
		return true;
	note->failures++;
	note->crashed = true;
	handlers_crash(s, name, id);
	return false;
}

static wb_code handlers_fail(sim_service *s, sim_note *note, wb_error *err)
{
	note->failures++;
	s->tally.failures++;
	return wb_retry(err, "by chance");
}

static bool handlers_unlucky(sim_service *s, uint16_t permille)
{
	return !s->world->calm && seeded_random_chance(&s->random, permille);
}

/* One more row in a log. */
static wb_code handlers_log(MDB_txn *txn, MDB_dbi log, wb_str id, wb_error *err)
{
	MDB_val key, value = {id.len, (void *)(uintptr_t)id.ptr};
	size_t number = 0;
	MDB_cursor *cursor;
	int rc = mdb_cursor_open(txn, log, &cursor);

	if (rc != 0)
		return wb_store_error(rc, err, "a log");
	rc = mdb_cursor_get(cursor, &key, &value, MDB_LAST);
	if (rc == 0)
		memcpy(&number, key.mv_data, sizeof(number));
	number++;
	key = (MDB_val){sizeof(number), &number};
	value = (MDB_val){id.len, (void *)(uintptr_t)id.ptr};
	if (rc == 0 || rc == MDB_NOTFOUND)
		rc = mdb_cursor_put(cursor, &key, &value, MDB_APPEND);
	mdb_cursor_close(cursor);
	return wb_store_error(rc, err, "a log");
}

static wb_code handlers_emit(wb_call *call, char letter, const wb_event *event,
			     wb_error *err)
{
	char id[SIM_ID_MAX];
	wb_event e = {.type = wb_str_from("result.told"), .key = event->key};
	sim_content content;

	snprintf(id, sizeof(id), "%c%.*s", letter, (int)event->id.len,
		 event->id.ptr);
	e.id = wb_str_from(id);
	sim_content_fill(&e, event->id.len * 11 % 50, &content);
	return wb_emit(call, &e, err);
}

/* ---- the handlers -------------------------------------------------------- */

static sim_note *handlers_note(sim_service *s, sim_handler h,
			       const wb_event *event)
{
	size_t number = sim_event_number(event->id);
	const char *changed =
		number < HANDLERS_STRANGE ? sim_content_differs(event) : NULL;

	if (changed)
		sim_fail(s->world, "%s: '%.*s' has changed on its way: %s",
			 sim_handler_names[h], (int)event->id.len,
			 event->id.ptr, changed);
	if (number < SIM_EVENTS_MAX)
		return &s->notes[h][number];
	sim_fail(s->world, "%s: nobody sent '%.*s'", sim_handler_names[h],
		 (int)event->id.len, event->id.ptr);
	return NULL;
}

static wb_code handlers_add(MDB_txn *txn, MDB_dbi table, wb_str key,
			    wb_error *err)
{
	MDB_val k = {key.len, (void *)(uintptr_t)key.ptr}, v;
	uint64_t count = 0;
	int rc;

	if (key.len == 0)
		k = (MDB_val){1, (void *)(uintptr_t) "-"};
	rc = mdb_get(txn, table, &k, &v);
	if (rc == 0)
		memcpy(&count, v.mv_data, sizeof(count));
	count++;
	v = (MDB_val){sizeof(count), &count};
	if (rc == 0 || rc == MDB_NOTFOUND)
		rc = mdb_put(txn, table, &k, &v, 0);
	return wb_store_error(rc, err, "counts");
}

static wb_code handlers_count(wb_call *call, const wb_event *event,
			      wb_error *err)
{
	sim_service *s = handlers_service(call);
	sim_note *note = handlers_note(s, SIM_COUNT, event);
	MDB_txn *txn = wb_call_txn(call);
	wb_code code;

	if (!note || !handlers_enter(s, call, note, event->id))
		return WB_OK;
	code = handlers_log(txn, s->logs[SIM_COUNT], event->id, err);
	if (code == WB_OK)
		code = handlers_add(txn, s->counts, event->key, err);
	return code == WB_OK ? handlers_emit(call, 'c', event, err) : code;
}

/* It writes, and emits, before it fails: nothing of that may stay. */
static wb_code handlers_flaky(wb_call *call, const wb_event *event,
			      wb_error *err)
{
	sim_service *s = handlers_service(call);
	sim_note *note = handlers_note(s, SIM_FLAKY, event);
	wb_code code;

	if (!note || !handlers_enter(s, call, note, event->id))
		return WB_OK;
	code = handlers_log(wb_call_txn(call), s->logs[SIM_FLAKY], event->id,
			    err);
	if (code != WB_OK || (!handlers_unlucky(s, s->fail) &&
			      !handlers_unlucky(s, s->stop)))
		return code;
	code = handlers_emit(call, 'f', event, err);
	if (code != WB_OK)
		return code;
	if (!handlers_unlucky(s, s->stop))
		return handlers_fail(s, note, err);
	note->failures++;
	return wb_stop(err, "by chance");
}

static wb_code handlers_picky(wb_call *call, const wb_event *event,
			      wb_error *err)
{
	sim_service *s = handlers_service(call);
	sim_note *note = handlers_note(s, SIM_PICKY, event);
	bool dislikes;
	wb_code code;

	if (!note || !handlers_enter(s, call, note, event->id))
		return WB_OK;
	code = handlers_log(wb_call_txn(call), s->logs[SIM_PICKY], event->id,
			    err);
	dislikes = sim_event_number(event->id) % 7 == 0 &&
		   (!note->revived || handlers_unlucky(s, 300));
	if (code != WB_OK || !dislikes)
		return code;
	note->failures++;
	s->tally.failures++;
	return wb_reject(err, "not to my liking");
}

static wb_code handlers_outside(wb_call *call, const wb_event *event,
				wb_error *err)
{
	sim_service *s = handlers_service(call);
	sim_note *note = handlers_note(s, SIM_OUTSIDE, event);
	size_t *more;

	if (!note || !handlers_enter(s, call, note, event->id))
		return WB_OK;
	if (handlers_unlucky(s, s->fail))
		return handlers_fail(s, note, err);
	if (s->outside_count == s->outside_room) {
		s->outside_room = s->outside_room ? 2 * s->outside_room : 1024;
		more = realloc(s->outside, s->outside_room * sizeof(*more));
		if (!more)
			return wb_retry(err, "out of memory");
		s->outside = more;
	}
	s->outside[s->outside_count++] = sim_event_number(event->id);
	return handlers_emit(call, 'o', event, err);
}

static wb_code handlers_timers(wb_call *call, const wb_event *event,
			       wb_error *err)
{
	sim_service *s = handlers_service(call);
	sim_note *note = handlers_note(s, SIM_TIMERS, event);
	int64_t due_us;
	wb_code code;

	if (!note || !handlers_enter(s, call, note, event->id))
		return WB_OK;
	due_us = wb_call_now_us(call) +
		 (int64_t)seeded_random_below(&s->random,
					      HANDLERS_TIMER_MAX_US);
	code = handlers_log(wb_call_txn(call), s->logs[SIM_TIMERS], event->id,
			    err);
	return code == WB_OK ? wb_timer_set(call, event->id, due_us, event->id,
					    err)
			     : code;
}

static wb_code handlers_timer(wb_call *call, const wb_timer *timer,
			      wb_error *err)
{
	sim_service *s = handlers_service(call);
	size_t number = sim_event_number(timer->name);
	sim_note *note;

	if (number >= SIM_EVENTS_MAX || !wb_str_eq(timer->name, timer->data)) {
		sim_fail(s->world, "timer '%.*s' was never set",
			 (int)timer->name.len, timer->name.ptr);
		return WB_OK;
	}
	note = &s->timer_notes[number];
	if (!handlers_enter(s, call, note, timer->name))
		return WB_OK;
	/* A later attempt goes by its own backoff, though the wall clock may
	 * have been set back since the first. */
	if (wb_call_attempt(call) == 1 && !note->revived && !note->failures &&
	    wb_call_now_us(call) < timer->due_us)
		sim_fail(s->world, "timer '%.*s' fires %lld us too early",
			 (int)timer->name.len, timer->name.ptr,
			 (long long)(timer->due_us - wb_call_now_us(call)));
	s->tally.timers_fired++;
	if (handlers_unlucky(s, s->fail))
		return handlers_fail(s, note, err);
	return handlers_log(wb_call_txn(call), s->fired, timer->name, err);
}

/* ---- their tables -------------------------------------------------------- */

static int handlers_table(MDB_txn *txn, const char *name, unsigned flags,
			  MDB_dbi *ret)
{
	return mdb_dbi_open(txn, name, MDB_CREATE | flags, ret);
}

static wb_code handlers_open(const wb_handler *self, wb_store *store,
			     MDB_txn *txn, void **ret_state, wb_error *err)
{
	sim_service *s = self->ctx;
	size_t h = (size_t)(self - s->handlers);
	char name[32];
	int rc;

	(void)store;
	snprintf(name, sizeof(name), "log.%s", self->name);
	rc = handlers_table(txn, name, MDB_INTEGERKEY, &s->logs[h]);
	if (rc == 0 && h == SIM_TIMERS)
		rc = handlers_table(txn, "fired", MDB_INTEGERKEY, &s->fired);
	if (rc == 0 && h == SIM_COUNT)
		rc = handlers_table(txn, "counts", 0, &s->counts);
	*ret_state = s;
	return wb_store_error(rc, err, "a handler's table");
}

void sim_handlers_init(sim_service *s)
{
	static const struct {
		const char *const *types;
		wb_code (*handle)(wb_call *, const wb_event *, wb_error *);
	} what[SIM_HANDLERS] = {
		[SIM_COUNT] = {handlers_all, handlers_count},
		[SIM_FLAKY] = {handlers_some, handlers_flaky},
		[SIM_PICKY] = {handlers_all, handlers_picky},
		[SIM_OUTSIDE] = {handlers_all, handlers_outside},
		[SIM_TIMERS] = {handlers_stock, handlers_timers},
	};
	uint32_t attempts = seeded_random_chance(&s->random, 500) ? 3 : 12;
	bool wait = seeded_random_chance(&s->random, 500);

	for (size_t h = 0; h < SIM_HANDLERS; h++) {
		wb_handler *handler = &s->handlers[h];

		*handler = (wb_handler)WB_HANDLER_INIT;
		handler->name = sim_handler_names[h];
		handler->types = what[h].types;
		handler->handle = what[h].handle;
		handler->open = handlers_open;
		handler->attempts_max = attempts;
		handler->backoff_min_ms = 5;
		handler->backoff_max_ms = 200;
		handler->followers = wait ? WB_FOLLOWERS_WAIT
					  : WB_FOLLOWERS_GO_ON;
		handler->ctx = s;
		s->handler_list[h] = handler;
	}
	s->handlers[SIM_OUTSIDE].kind = WB_EXTERNAL;
	s->handlers[SIM_TIMERS].timer = handlers_timer;
}
