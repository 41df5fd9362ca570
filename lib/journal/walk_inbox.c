/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The inbox's tables in a check: each row is whole, and rows that speak of
 * each other agree. All of them, and the journals, are of one snapshot, so a
 * running worker is no excuse. Reads only; state is the walk's.
 */
#include "lib/journal/walk_internal.h"

#include <inttypes.h>
#include <stdio.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/text.h"
#include "lib/event/raw.h"
#include "lib/event/record.h"
#include "lib/journal/inbox_rows.h"
#include "lib/journal/parked.h"

/* ---- consumers ---------------------------------------------------------- */

static void describe_consumer(wb_str key, char *ret, size_t size)
{
	char name[100];
	bool outbox = key.len > 0 && key.ptr[0] == 'o';

	wbi_text_show(key.len > 0 ? wb_str_n(key.ptr + 1, key.len - 1) : key,
		      name, sizeof(name));
	snprintf(ret, size, "consumer %s of the %s", name,
		 outbox ? "outbox" : "inbox");
}

/* It says how many rows it has in `work`: whoever adds one counts on that. */
static wb_code consumer_check_counts(const wbi_walk *w, wb_str name,
				     const wbi_consumer *c, wb_error *err)
{
	uint64_t waiting = 0, timers = 0;
	uint8_t prefix[1 + WBI_CONSUMER_NAME_MAX];
	wb_str key = wb_str_n(prefix, 1 + name.len), row;
	wbi_move move = WBI_SEEK;
	wbi_cursor *cursor;
	wb_code code = wbi_cursor_open(w->txn, w->tables.work, &cursor, err);

	if (code != WB_OK)
		return code;
	prefix[0] = (uint8_t)name.len;
	memcpy(prefix + 1, name.ptr, name.len);
	for (;; move = WBI_NEXT) {
		code = wbi_cursor_move(cursor, move, &key, &row, err);
		if (code != WB_OK || key.len <= 1 + name.len ||
		    memcmp(key.ptr, prefix, 1 + name.len) != 0)
			break;
		if (key.ptr[1 + name.len] == WBI_LANE_TIMER)
			timers++;
		else
			waiting++;
	}
	wbi_cursor_close(cursor);
	if (code != WB_OK && code != WB_ENOTFOUND)
		return code;
	if (waiting != c->waiting || timers != c->timers)
		return WBI_FAIL(err, WB_ECORRUPT,
				"it has %" PRIu64 " rows and %" PRIu64
				" timers in work, and says %" PRIu64
				" and %" PRIu64,
				waiting, timers, c->waiting, c->timers);
	return WB_OK;
}

static wb_code walk_consumer(wbi_walk *w, wb_str key, wb_str row, wb_error *err)
{
	const wbi_walk_journal *j;
	const char *origin;
	wbi_consumer c;
	wb_str name;
	char journal;
	wb_code code = wbi_consumer_decode(key, row, &journal, &name, &c, err);

	if (code != WB_OK)
		return code;
	j = journal == 'i' ? &w->inbox : &w->outbox;
	origin = journal == 'i' ? w->info.inbox_origin : w->info.outbox_origin;
	if (strcmp(c.origin, origin) != 0) {
		/* After a restore a projection is behind or ahead of the store
		 * it read: it finds that out by this, and is rebuilt. */
		if (c.kind == WBI_CONSUMER_PROJECTION)
			return WB_OK;
		return WBI_FAIL(err, WB_ECORRUPT,
				"its position is of origin %s, the journal is "
				"%s",
				c.origin, origin);
	}
	if (c.position > j->head)
		return WBI_FAIL(err, WB_ECORRUPT,
				"its position %" PRIu64 " is past the "
				"journal's head %" PRIu64,
				c.position, j->head);
	if (j->first > c.position + 1)
		return WBI_FAIL(err, WB_ECORRUPT,
				"the journal begins at %" PRIu64 ", its "
				"position is %" PRIu64 " only",
				j->first, c.position);
	return journal == 'i' ? consumer_check_counts(w, name, &c, err) : WB_OK;
}

/* ---- work and due ------------------------------------------------------- */

static void describe_id(const wbi_work_id *id, char *ret, size_t size)
{
	char consumer[100], ordering[100];

	wbi_text_show(id->consumer, consumer, sizeof(consumer));
	wbi_text_show(id->key, ordering, sizeof(ordering));
	snprintf(ret, size,
		 "consumer %s, lane %c, key \"%s\", position %" PRIu64,
		 consumer, id->lane, ordering, id->position);
}

static void describe_work(wb_str key, char *ret, size_t size)
{
	wbi_work_id id;

	if (wbi_work_key_parse(key, &id, NULL) == WB_OK)
		describe_id(&id, ret, size);
	else
		snprintf(ret, size, "a row with %zu bytes of key", key.len);
}

static void describe_due(wb_str key, char *ret, size_t size)
{
	wbi_work_id id;
	int64_t due_us;

	if (wbi_due_key_parse(key, &due_us, &id, NULL) == WB_OK)
		describe_id(&id, ret, size);
	else
		snprintf(ret, size, "a row with %zu bytes of key", key.len);
}

static bool work_is_head(const wbi_walk *w, const wbi_work_id *id)
{
	wbi_row_key prefix = wbi_work_group_prefix(id);

	return w->before.len < prefix.len ||
	       memcmp(w->before.ptr, prefix.bytes, prefix.len) != 0;
}

/* What the rules of groups (inbox/work.h) say of all rows of one. */
static wb_code work_check_group(const wbi_walk *w, wb_str first,
				const wbi_work_id *id, wb_error *err)
{
	wbi_row_key prefix = wbi_work_group_prefix(id);
	unsigned waiting_behind = 0, active = 0, queued_first = 0;
	wbi_move move = WBI_SEEK;
	wb_str key = first, row;
	wbi_cursor *cursor;
	wb_code code = wbi_cursor_open(w->txn, w->tables.work, &cursor, err);

	if (code != WB_OK)
		return code;
	for (;; move = WBI_NEXT) {
		bool is_first = move == WBI_SEEK;
		wbi_work work;

		code = wbi_cursor_move(cursor, move, &key, &row, err);
		if (code != WB_OK || key.len != first.len ||
		    memcmp(key.ptr, prefix.bytes, prefix.len) != 0)
			break;
		if (wbi_work_decode(key, row, &work, NULL) != WB_OK)
			continue; /* that row speaks for itself */
		active += work.state == WBI_WORK_WAITING ||
			  work.state == WBI_WORK_RUNNING;
		waiting_behind += work.state == WBI_WORK_WAITING && !is_first;
		queued_first += work.state == WBI_WORK_QUEUED && is_first;
	}
	wbi_cursor_close(cursor);
	if (code != WB_OK && code != WB_ENOTFOUND)
		return code;
	if (active > 1)
		return WBI_FAIL(err, WB_ECORRUPT,
				"%u rows of its key are to be called, not one",
				active);
	if (waiting_behind > 0)
		return WBI_FAIL(err, WB_ECORRUPT,
				"it is the first of its key, yet a later one "
				"is to be called");
	if (queued_first > 0 && active == 0)
		return WBI_FAIL(err, WB_ECORRUPT,
				"it waits behind nothing: it will never be "
				"called");
	return WB_OK;
}

static wb_code work_check_state(const wbi_walk *w, wb_str key,
				const wbi_work_id *id, const wbi_work *work,
				wb_error *err)
{
	bool grouped = id->lane == WBI_LANE_KEYED || id->lane == WBI_LANE_TIMER;

	if (grouped)
		return work_is_head(w, id) ? work_check_group(w, key, id, err)
					   : WB_OK;
	if (work->state != WBI_WORK_WAITING && work->state != WBI_WORK_RUNNING)
		return WBI_FAIL(err, WB_ECORRUPT,
				"it is in state %u, though it waits for no "
				"other",
				work->state);
	return WB_OK;
}

/* Its event, or none where there is none to have. */
static wb_code work_check_record(const wbi_work_id *id, const wbi_work *work,
				 wb_error *err)
{
	uint64_t inside;
	wb_event event;
	wb_code code;

	if (id->lane == WBI_LANE_TIMER)
		return WB_OK; /* a timer's data is its handler's */
	if (id->lane == WBI_LANE_CRASHED || work->state == WBI_WORK_DEAD) {
		if (work->record.len > 0)
			return WBI_FAIL(err, WB_ECORRUPT,
					"it has an event where none belongs");
		return WB_OK;
	}
	code = wbi_walk_record(work->record, &event, &inside, err);
	if (code != WB_OK)
		return code;
	if (inside != id->position)
		return WBI_FAIL(err, WB_ECORRUPT,
				"it has the event of position %" PRIu64,
				inside);
	if (id->lane == WBI_LANE_KEYED && !wb_str_eq(event.key, id->key))
		return WBI_FAIL(err, WB_ECORRUPT,
				"its event has another ordering key");
	return WB_OK;
}

/* A DEAD row and the dead letter it stands for. */
static wb_code work_check_dead(const wbi_walk *w, const wbi_work_id *id,
			       const wbi_work *work, wb_error *err)
{
	wbi_dead dead;
	wb_code code =
		wbi_dead_get(w->txn, w->tables.dead, work->dead, &dead, err);

	if (code == WB_ENOTFOUND)
		return WBI_FAIL(err, WB_ECORRUPT,
				"it waits for dead letter %" PRIu64 ", which "
				"is not there",
				work->dead);
	if (code != WB_OK)
		return code;
	if (!dead.blocks || dead.lane != id->lane ||
	    dead.position != id->position || !wb_str_eq(dead.key, id->key) ||
	    !wb_str_eq(dead.consumer, id->consumer))
		return WBI_FAIL(err, WB_ECORRUPT,
				"it waits for dead letter %" PRIu64 ", which "
				"is another's",
				work->dead);
	return WB_OK;
}

static wb_code walk_work(wbi_walk *w, wb_str key, wb_str row, wb_error *err)
{
	wbi_work_id id = {.lane = 0};
	wbi_work work;
	wb_code code = wbi_work_decode(key, row, &work, err);

	if (code == WB_OK)
		code = wbi_work_key_parse(key, &id, err);
	if (code == WB_OK)
		code = work_check_record(&id, &work, err);
	if (code == WB_OK && id.lane == WBI_LANE_TIMER)
		code = wbi_walk_saga_timer(w, &id, &work, err);
	if (code != WB_OK || id.lane == WBI_LANE_CRASHED)
		return code;
	code = work_check_state(w, key, &id, &work, err);
	if (code != WB_OK || work.state == WBI_WORK_QUEUED)
		return code;
	if (work.state == WBI_WORK_DEAD)
		return work_check_dead(w, &id, &work, err);
	code = wbi_due_check(w->txn, w->tables.due, work.due_us, &id, err);
	if (code == WB_ENOTFOUND)
		return WBI_FAIL(err, WB_ECORRUPT,
				"it waits for a time that has no row in due");
	return code;
}

static wb_code walk_due(wbi_walk *w, wb_str key, wb_str row, wb_error *err)
{
	wbi_work_id id;
	wbi_work work;
	int64_t due_us;
	wb_code code = wbi_due_decode(key, row, &due_us, &id, err);

	if (code == WB_OK)
		code = wbi_work_get(w->txn, w->tables.work, &id, &work, err);
	if (code == WB_ENOTFOUND)
		return WBI_FAIL(err, WB_ECORRUPT,
				"a time for what is not in work");
	if (code != WB_OK)
		return code;
	if (work.due_us != due_us ||
	    (work.state != WBI_WORK_WAITING && work.state != WBI_WORK_RUNNING))
		return WBI_FAIL(err, WB_ECORRUPT,
				"due at %" PRId64 ", but the row in work is in "
				"state %u until %" PRId64,
				due_us, work.state, work.due_us);
	return WB_OK;
}

/* ---- dead letters ------------------------------------------------------- */

static wb_code dead_check_bytes(const wbi_dead *dead, wb_error *err)
{
	wb_header headers[WBI_RECORD_HEADERS_MAX];
	wb_message message;
	uint64_t inside;
	wb_event event;
	wb_code code;

	if (dead->lane == WBI_LANE_TIMER)
		return WB_OK;
	if (dead->lane != 0)
		return wbi_walk_record(dead->bytes, &event, &inside, err);
	code = wbi_raw_decode(dead->bytes, headers, WBI_COUNT(headers),
			      &message, err);
	/* That it has too many may be why it was refused. */
	if (code == WB_ELIMIT) {
		wb_error_clear(err);
		return WB_OK;
	}
	return code;
}

/* What blocks its group has the DEAD row that does it. */
static wb_code dead_check_block(const wbi_walk *w, uint64_t number,
				const wbi_dead *dead, wb_error *err)
{
	wbi_work_id id = {dead->consumer, dead->lane, dead->key,
			  dead->position};
	wbi_work work;
	wb_code code;

	if (dead->lane == 0 || dead->consumer.len == 0 ||
	    dead->consumer.len > WBI_CONSUMER_NAME_MAX || dead->key.len > 255)
		return WBI_FAIL(err, WB_ECORRUPT,
				"it blocks, but has no consumer and key");
	code = wbi_work_get(w->txn, w->tables.work, &id, &work, err);
	if (code == WB_ENOTFOUND ||
	    (code == WB_OK &&
	     (work.state != WBI_WORK_DEAD || work.dead != number)))
		return WBI_FAIL(err, WB_ECORRUPT,
				"it blocks position %" PRIu64 " of consumer "
				"%.*s, which does not wait for it",
				dead->position, (int)dead->consumer.len,
				dead->consumer.ptr);
	return code;
}

static wb_code walk_dead(wbi_walk *w, wb_str key, wb_str row, wb_error *err)
{
	uint64_t number = 0, count;
	wbi_dead dead;
	wb_code code = wbi_walk_number(key, &number, err);

	if (code == WB_OK)
		code = wbi_dead_decode(number, row, &dead, err);
	if (code == WB_OK)
		code = wbi_count_get(w->txn, w->tables.status,
				     wb_str_from(WBI_COUNT_DEAD), &count, err);
	if (code == WB_OK)
		code = dead_check_bytes(&dead, err);
	if (code != WB_OK)
		return code;
	if (number > count)
		return WBI_FAIL(err, WB_ECORRUPT,
				"only %" PRIu64 " dead letters were ever "
				"counted",
				count);
	if (dead.lane != 0 && dead.lane != WBI_LANE_KEYED &&
	    dead.lane != WBI_LANE_UNKEYED && dead.lane != WBI_LANE_TIMER)
		return WBI_FAIL(err, WB_ECORRUPT, "no lane is %u", dead.lane);
	return dead.blocks ? dead_check_block(w, number, &dead, err) : WB_OK;
}

/* ---- known ids ---------------------------------------------------------- */

static wb_code walk_seen(wbi_walk *w, wb_str key, wb_str row, wb_error *err)
{
	return wbi_seen_check(w->before, key, row, &w->seen, err);
}

static wb_code walk_seen_age(wbi_walk *w, wb_str key, wb_str row, wb_error *err)
{
	uint64_t number = 0;
	wb_code code = wbi_walk_number(key, &number, err);

	(void)w;
	return code == WB_OK ? wbi_seen_age_check(number, row, err) : code;
}

/* What was walked against the row that counts it, and against the journal. */
static wb_code walk_seen_sum(wbi_walk *w, wb_error *err)
{
	wb_error cause = WB_ERROR_INIT;
	wb_code code = wbi_seen_check_sum(w->txn, &w->tables, &w->seen, &cause);

	w->table = "seen";
	code = wbi_walk_found(w, code, 0, &cause, err);
	if (code == WB_OK && w->seen.highest > w->inbox.head)
		wbi_walk_finding(w, WB_ECORRUPT, w->seen.highest,
				 "an id is known as position %" PRIu64
				 ", which is past the inbox's head %" PRIu64,
				 w->seen.highest, w->inbox.head);
	w->table = "";
	return code;
}

/* ---- all of them -------------------------------------------------------- */

static wb_code walk_status(wbi_walk *w, wb_str key, wb_str row, wb_error *err)
{
	(void)w;
	return wbi_inbox_status_check(key, row, err);
}

wb_code wbi_walk_inbox(wbi_walk *w, wb_error *err)
{
	const wbi_store_tables *t = &w->tables;
	const wbi_walk_rows tables[] = {
		{"consumers", t->consumers, false, walk_consumer,
		 describe_consumer},
		{"work", t->work, false, walk_work, describe_work},
		{"due", t->due, false, walk_due, describe_due},
		{"dead", t->dead, true, walk_dead, NULL},
		{"seen", t->seen, false, walk_seen, NULL},
		{"seen_age", t->seen_age, true, walk_seen_age, NULL},
		{"audit", t->audit, true, wbi_walk_audit, NULL},
		{"status", t->status, false, walk_status, NULL},
	};
	wb_code code = WB_OK;

	w->file = WBI_WALK_MAIN;
	for (size_t i = 0; i < WBI_COUNT(tables) && code == WB_OK; i++)
		code = wbi_walk_table(w, w->txn, &tables[i], err);
	if (code == WB_OK)
		code = walk_seen_sum(w, err);
	return code;
}
