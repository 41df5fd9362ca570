/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Each change of a row of `work` goes through work_write() and work_remove(),
 * which keep its row in `due` and its consumer's counts in step; who goes next
 * in a group is decided in work_let_go() and work_place(). Everything is found
 * by seeking, so a key with 100,000 followers costs what one with two does.
 *
 * Values in the map move with the next write, so whatever is written again is
 * copied first. No state. All of it is in the caller's transaction: a crash
 * leaves what its commit left.
 */
#include "inbox/work.h"

#include <inttypes.h>
#include <stdlib.h>

#include "lib/base/assert.h"
#include "lib/base/backoff.h"
#include "lib/base/error.h"

/* ---- copies ------------------------------------------------------------- */

/* Move `count` strings into one block, which the caller frees. */
static wb_code work_keep(wb_str *const *strings, size_t count, char **ret,
			 wb_error *err)
{
	size_t bytes = 1;
	char *at;

	for (size_t i = 0; i < count; i++)
		bytes += strings[i]->len;
	at = *ret = malloc(bytes);
	if (!at)
		return WBI_FAIL(err, WB_ENOMEM,
				"no memory for a row of %zu "
				"bytes",
				bytes);
	for (size_t i = 0; i < count; i++) {
		if (strings[i]->len > 0)
			memcpy(at, strings[i]->ptr, strings[i]->len);
		strings[i]->ptr = at;
		at += strings[i]->len;
	}
	return WB_OK;
}

static wb_code work_keep_row(wbi_work *row, char **ret, wb_error *err)
{
	wb_str *strings[] = {&row->text, &row->record};

	return work_keep(strings, WBI_COUNT(strings), ret, err);
}

static wb_code work_keep_dead(wbi_dead *dead, char **ret, wb_error *err)
{
	wb_str *strings[] = {&dead->consumer, &dead->key,  &dead->source,
			     &dead->id,       &dead->type, &dead->text,
			     &dead->bytes};

	return work_keep(strings, WBI_COUNT(strings), ret, err);
}

/* An id whose strings stand in `buf`. */
static wb_code work_pin(const wbi_work_id *id, wbi_row_key *buf,
			wbi_work_id *ret, wb_error *err)
{
	*buf = wbi_work_key(id);
	return wbi_work_key_parse(wbi_row_key_str(buf), ret, err);
}

static bool work_is_grouped(const wbi_work_id *id)
{
	return id->lane == WBI_LANE_KEYED || id->lane == WBI_LANE_TIMER;
}

static bool work_is_active(const wbi_work *row)
{
	/* cppcheck-suppress uninitvar ; nobody asks of a row that was not read */
	return row->state == WBI_WORK_WAITING || row->state == WBI_WORK_RUNNING;
}

/* RUNNING rows stand at 0 in `due`, so no other does. */
static int64_t work_due_us(int64_t due_us, int64_t now_us)
{
	if (due_us < now_us)
		due_us = now_us;
	return due_us > 0 ? due_us : 1;
}

/* ---- rows, due rows and counts in step ----------------------------------- */

static wb_code work_count(MDB_txn *txn, const wbi_store_tables *tables,
			  const wbi_work_id *id, int more, wb_error *err)
{
	wbi_consumer row;
	uint64_t *count;
	wb_code code = wbi_consumer_get(txn, tables->consumers, 'i',
					id->consumer, &row, err);

	if (code != WB_OK)
		return code == WB_ENOTFOUND ? WB_OK : code;
	count = id->lane == WBI_LANE_TIMER ? &row.timers : &row.waiting;
	if (more < 0 && *count == 0)
		return WBI_FAIL(err, WB_ECORRUPT,
				"handler '%.*s' has more rows than it says: "
				"run `waybill fsck`",
				(int)id->consumer.len, id->consumer.ptr);
	*count += more < 0 ? UINT64_MAX : 1;
	return wbi_consumer_put(txn, tables->consumers, 'i', id->consumer, &row,
				err);
}

/* WB_ENOTFOUND, which here means that `due` does not know a row. */
static wb_code work_not_due(const wbi_work_id *id, wb_code code, wb_error *err)
{
	if (code != WB_ENOTFOUND)
		return code;
	return WBI_FAIL(err, WB_ECORRUPT,
			"position %" PRIu64 " of handler '%.*s' is not among "
			"what is due: run `waybill fsck`",
			id->position, (int)id->consumer.len, id->consumer.ptr);
}

/* Write `row`, whose strings are not in the map; `old` is what stands there
 * now (NULL: nothing). */
static wb_code work_write(MDB_txn *txn, const wbi_store_tables *tables,
			  const wbi_work_id *id, const wbi_work *old,
			  const wbi_work *row, wb_error *err)
{
	bool was_due = old && work_is_active(old), is_due = work_is_active(row);
	int64_t old_us = old ? old->due_us : 0;
	wb_code code;

	WB_ASSERT(id->lane != WBI_LANE_CRASHED || !is_due);
	WB_ASSERT(row->state != WBI_WORK_RUNNING || row->due_us == 0);
	WB_ASSERT(row->state != WBI_WORK_WAITING || row->due_us > 0);
	code = wbi_work_put(txn, tables->work, id, row, err);
	if (code == WB_OK && !old)
		code = work_count(txn, tables, id, 1, err);
	if (was_due && is_due && old_us == row->due_us)
		return code;
	if (code == WB_OK && was_due)
		code = work_not_due(
			id, wbi_due_del(txn, tables->due, old_us, id, err),
			err);
	if (code == WB_OK && is_due)
		code = wbi_due_put(txn, tables->due, row->due_us, id, err);
	return code;
}

/* `old` is what stands there now. */
static wb_code work_remove(MDB_txn *txn, const wbi_store_tables *tables,
			   const wbi_work_id *id, const wbi_work *old,
			   wb_error *err)
{
	bool was_due = work_is_active(old);
	int64_t due_us = old->due_us;
	wb_code code = wbi_work_del(txn, tables->work, id, err);

	WB_ASSERT(code != WB_ENOTFOUND);
	if (code == WB_OK && was_due)
		code = work_not_due(
			id, wbi_due_del(txn, tables->due, due_us, id, err),
			err);
	if (code == WB_OK)
		code = work_count(txn, tables, id, -1, err);
	return code;
}

/* ---- groups -------------------------------------------------------------- */

/* The first row of id's group at or after `from`; WB_ENOTFOUND. */
static wb_code work_seek(MDB_txn *txn, const wbi_store_tables *tables,
			 const wbi_work_id *id, uint64_t from,
			 wbi_work_id *ret_id, wb_str *ret_key, wb_str *ret_row,
			 wb_error *err)
{
	const wbi_work_id start = {id->consumer, id->lane, id->key, from};
	wbi_row_key key = wbi_work_key(&start);
	wb_str at = wbi_row_key_str(&key), row;
	wbi_cursor *cursor;
	wb_code code = wbi_cursor_open(txn, tables->work, &cursor, err);

	if (code != WB_OK)
		return code;
	code = wbi_cursor_move(cursor, WBI_SEEK, &at, &row, err);
	if (code == WB_OK)
		code = wbi_work_key_parse(at, ret_id, err);
	wbi_cursor_close(cursor);
	if (code != WB_OK)
		return code;
	if (ret_id->lane != id->lane || !wb_str_eq(ret_id->key, id->key) ||
	    !wb_str_eq(ret_id->consumer, id->consumer))
		return WB_ENOTFOUND;
	*ret_key = at;
	*ret_row = row;
	return WB_OK;
}

wb_code wbi_work_first(MDB_txn *txn, const wbi_store_tables *tables,
		       const wbi_work_id *id, wbi_work_id *ret_id,
		       wbi_work *ret, wb_error *err)
{
	wb_str key, row;
	wb_code code = work_seek(txn, tables, id, 0, ret_id, &key, &row, err);

	return code == WB_OK ? wbi_work_decode(key, row, ret, err) : code;
}

/* Has the group a row at or after `from`? */
static wb_code work_has(MDB_txn *txn, const wbi_store_tables *tables,
			const wbi_work_id *id, uint64_t from, bool *ret,
			wb_error *err)
{
	wbi_work_id found;
	wb_str key, row;
	wb_code code =
		work_seek(txn, tables, id, from, &found, &key, &row, err);

	if (code != WB_OK && code != WB_ENOTFOUND)
		return code;
	*ret = code == WB_OK;
	return WB_OK;
}

wb_code wbi_work_has_group(MDB_txn *txn, const wbi_store_tables *tables,
			   const wbi_work_id *id, bool *ret, wb_error *err)
{
	*ret = false;
	if (!work_is_grouped(id))
		return WB_OK;
	return work_has(txn, tables, id, 0, ret, err);
}

/* Rewrite a row that is there in another state. */
static wb_code work_set_state(MDB_txn *txn, const wbi_store_tables *tables,
			      const wbi_work_id *id, const wbi_work *old,
			      uint8_t state, int64_t due_us, wb_error *err)
{
	wbi_work row = *old;
	wbi_work_id pinned;
	wbi_row_key buf;
	char *kept;
	wb_code code = work_pin(id, &buf, &pinned, err);

	if (code == WB_OK)
		code = work_keep_row(&row, &kept, err);
	if (code != WB_OK)
		return code;
	row.state = state;
	row.due_us = due_us;
	code = work_write(txn, tables, &pinned, old, &row, err);
	free(kept);
	return code;
}

/* Nothing of id's group is active: whoever is first now, goes. */
static wb_code work_let_go(MDB_txn *txn, const wbi_store_tables *tables,
			   const wbi_work_id *id, int64_t now_us, wb_error *err)
{
	wbi_work_id first;
	wbi_work row;
	wb_code code;

	if (!work_is_grouped(id))
		return WB_OK;
	code = wbi_work_first(txn, tables, id, &first, &row, err);
	if (code != WB_OK)
		return code == WB_ENOTFOUND ? WB_OK : code;
	if (row.state != WBI_WORK_QUEUED)
		return WB_OK;
	return work_set_state(txn, tables, &first, &row, WBI_WORK_WAITING,
			      work_due_us(row.due_us, now_us), err);
}

/*
 * The state of a row that comes to `id`, which has none. Only a revived one
 * finds its group further on than itself: a WAITING head then steps back, a
 * RUNNING one (it need not be the first) cannot, and a DEAD one never went.
 */
static wb_code work_place(MDB_txn *txn, const wbi_store_tables *tables,
			  const wbi_work_id *id, uint8_t *ret, wb_error *err)
{
	wbi_work_id first;
	wb_str key, bytes;
	wbi_work row;
	wb_code code;

	*ret = id->lane == WBI_LANE_CRASHED ? WBI_WORK_QUEUED
					    : WBI_WORK_WAITING;
	if (!work_is_grouped(id))
		return WB_OK;
	code = work_seek(txn, tables, id, 0, &first, &key, &bytes, err);
	if (code != WB_OK)
		return code == WB_ENOTFOUND ? WB_OK : code;
	*ret = WBI_WORK_QUEUED;
	if (first.position < id->position)
		return WB_OK;
	code = wbi_work_decode(key, bytes, &row, err);
	if (code != WB_OK || row.state == WBI_WORK_RUNNING ||
	    row.state == WBI_WORK_QUEUED)
		return code;
	*ret = WBI_WORK_WAITING;
	if (row.state == WBI_WORK_DEAD)
		return WB_OK;
	return work_set_state(txn, tables, &first, &row, WBI_WORK_QUEUED,
			      row.due_us, err);
}

static wb_code work_exists(const wbi_work_id *id, wb_error *err)
{
	return WBI_FAIL(err, WB_EEXISTS,
			"position %" PRIu64 " is among what handler '%.*s' "
			"has yet to do",
			id->position, (int)id->consumer.len, id->consumer.ptr);
}

/* ---- what dispatch does -------------------------------------------------- */

wb_code wbi_work_add(MDB_txn *txn, const wbi_store_tables *tables,
		     const wbi_work_id *id, const wbi_work *row, wb_error *err)
{
	wbi_work copy = *row;
	wbi_work_id pinned;
	wbi_row_key buf;
	wb_str there;
	char *kept;
	wb_code code = work_pin(id, &buf, &pinned, err);

	if (code != WB_OK)
		return code;
	code = wbi_get(txn, tables->work, wbi_row_key_str(&buf), &there, err);
	if (code != WB_ENOTFOUND)
		return code == WB_OK ? work_exists(id, err) : code;
	code = work_keep_row(&copy, &kept, err);
	if (code != WB_OK)
		return code;
	code = work_place(txn, tables, &pinned, &copy.state, err);
	copy.due_us = work_due_us(copy.due_us, 0);
	if (code == WB_OK)
		code = work_write(txn, tables, &pinned, NULL, &copy, err);
	free(kept);
	return code;
}

/* Where a consumer's walk along `due` stands. */
typedef struct work_walk {
	wbi_cursor *cursor;
	wb_str consumer;
	int64_t due_us;
	wbi_work_id id;
	wbi_work row;
} work_walk;

/* The row that is due first (`move` WBI_SEEK) or next; WB_ENOTFOUND: the
 * consumer has no more. */
static wb_code work_walk_on(MDB_txn *txn, const wbi_store_tables *tables,
			    work_walk *walk, wbi_move move, wb_error *err)
{
	wbi_row_key from = wbi_due_from(walk->consumer, 0);
	wb_str at = wbi_row_key_str(&from), row;
	wb_code code = wbi_cursor_move(walk->cursor, move, &at, &row, err);

	if (code == WB_OK)
		code = wbi_due_decode(at, row, &walk->due_us, &walk->id, err);
	if (code != WB_OK)
		return code;
	if (!wb_str_eq(walk->id.consumer, walk->consumer))
		return WB_ENOTFOUND;
	code = wbi_work_get(txn, tables->work, &walk->id, &walk->row, err);
	if (code != WB_ENOTFOUND)
		return code;
	return WBI_FAIL(err, WB_ECORRUPT,
			"position %" PRIu64 " of handler '%.*s' is due, but "
			"not there: run `waybill fsck`",
			walk->id.position, (int)walk->consumer.len,
			walk->consumer.ptr);
}

static wb_code work_walk_found(const work_walk *walk, wbi_row_key *ret_key,
			       wbi_work_id *ret_id, wbi_work *ret,
			       wb_error *err)
{
	wb_code code = work_pin(&walk->id, ret_key, ret_id, err);

	if (code == WB_OK)
		*ret = walk->row;
	return code;
}

wb_code wbi_work_first_due(MDB_txn *txn, const wbi_store_tables *tables,
			   wb_str consumer, int64_t now_us,
			   wbi_row_key *ret_key, wbi_work_id *ret_id,
			   wbi_work *ret, int64_t *ret_next_us, wb_error *err)
{
	work_walk walk = {.consumer = consumer};
	wb_code code = wbi_cursor_open(txn, tables->due, &walk.cursor, err);

	*ret_next_us = INT64_MAX;
	if (code != WB_OK)
		return code;
	code = work_walk_on(txn, tables, &walk, WBI_SEEK, err);
	while (code == WB_OK && walk.row.state == WBI_WORK_RUNNING)
		code = work_walk_on(txn, tables, &walk, WBI_NEXT, err);
	wbi_cursor_close(walk.cursor);
	if (code != WB_OK)
		return code;
	*ret_next_us = walk.due_us;
	if (walk.due_us > now_us)
		return WB_ENOTFOUND;
	return work_walk_found(&walk, ret_key, ret_id, ret, err);
}

wb_code wbi_work_first_running(MDB_txn *txn, const wbi_store_tables *tables,
			       wb_str consumer, wbi_row_key *ret_key,
			       wbi_work_id *ret_id, wbi_work *ret,
			       wb_error *err)
{
	work_walk walk = {.consumer = consumer};
	wb_code code = wbi_cursor_open(txn, tables->due, &walk.cursor, err);

	if (code != WB_OK)
		return code;
	code = work_walk_on(txn, tables, &walk, WBI_SEEK, err);
	wbi_cursor_close(walk.cursor);
	if (code != WB_OK)
		return code;
	if (walk.row.state != WBI_WORK_RUNNING)
		return WB_ENOTFOUND;
	return work_walk_found(&walk, ret_key, ret_id, ret, err);
}

wb_code wbi_work_done(MDB_txn *txn, const wbi_store_tables *tables,
		      const wbi_work_id *id, int64_t now_us, wb_error *err)
{
	wbi_work_id pinned;
	wbi_row_key buf;
	wbi_work old;
	wb_code code = work_pin(id, &buf, &pinned, err);

	if (code == WB_OK)
		code = wbi_work_get(txn, tables->work, &pinned, &old, err);
	if (code == WB_OK)
		code = work_remove(txn, tables, &pinned, &old, err);
	/* A QUEUED row held up nobody. */
	if (code != WB_OK || !work_is_active(&old))
		return code;
	return work_let_go(txn, tables, &pinned, now_us, err);
}

/* A call of `id` failed and is to be made again: *ret tells whether another
 * row goes first, *ret_gone whether instead of it. */
static wb_code work_yields(MDB_txn *txn, const wbi_store_tables *tables,
			   const wbi_work_id *id, bool *ret, bool *ret_gone,
			   wb_error *err)
{
	wbi_work_id first;
	wb_str key, row;
	wb_code code;

	*ret = *ret_gone = false;
	if (!work_is_grouped(id))
		return WB_OK;
	if (id->lane == WBI_LANE_TIMER) {
		code = work_has(txn, tables, id, id->position + 1, ret, err);
		*ret_gone = *ret;
		return code;
	}
	code = work_seek(txn, tables, id, 0, &first, &key, &row, err);
	if (code == WB_OK)
		*ret = first.position < id->position;
	return code;
}

static wb_code work_change(MDB_txn *txn, const wbi_store_tables *tables,
			   const wbi_work_id *id, const wbi_work *old,
			   wbi_work *row, int64_t now_us, wb_error *err)
{
	bool yields = false, gone = false;
	wb_code code = WB_OK;

	if (old->state == WBI_WORK_QUEUED)
		row->state = WBI_WORK_QUEUED; /* its turn comes by itself */
	WB_ASSERT(row->state != WBI_WORK_DEAD);
	row->due_us = row->state == WBI_WORK_RUNNING
			      ? 0
			      : work_due_us(row->due_us, 0);
	if (old->state == WBI_WORK_RUNNING && row->state == WBI_WORK_WAITING)
		code = work_yields(txn, tables, id, &yields, &gone, err);
	if (code != WB_OK)
		return code;
	if (yields)
		row->state = WBI_WORK_QUEUED;
	code = gone ? work_remove(txn, tables, id, old, err)
		    : work_write(txn, tables, id, old, row, err);
	if (code != WB_OK || !yields)
		return code;
	return work_let_go(txn, tables, id, now_us, err);
}

wb_code wbi_work_change(MDB_txn *txn, const wbi_store_tables *tables,
			const wbi_work_id *id, const wbi_work *row,
			int64_t now_us, wb_error *err)
{
	wbi_work old, copy = *row;
	wbi_work_id pinned;
	wbi_row_key buf;
	char *kept;
	wb_code code = work_pin(id, &buf, &pinned, err);

	if (code == WB_OK)
		code = wbi_work_get(txn, tables->work, &pinned, &old, err);
	if (code == WB_OK && old.state == WBI_WORK_DEAD)
		code = WBI_FAIL(err, WB_ESTATE,
				"position %" PRIu64 " is dead letter %" PRIu64,
				id->position, old.dead);
	if (code == WB_OK)
		code = work_keep_row(&copy, &kept, err);
	if (code != WB_OK)
		return code;
	code = work_change(txn, tables, &pinned, &old, &copy, now_us, err);
	free(kept);
	return code;
}

/* ---- dead letters -------------------------------------------------------- */

/* In the place of `old` (NULL: there is no row). */
static wb_code work_die(MDB_txn *txn, const wbi_store_tables *tables,
			const wbi_work_id *id, const wbi_work *old,
			const wbi_dead *dead, int64_t now_us,
			uint64_t *ret_number, wb_error *err)
{
	bool held_up = old && work_is_active(old);
	wbi_work row = {.state = WBI_WORK_DEAD,
			.attempts = dead->attempts,
			.first_us = dead->first_us,
			.last_us = dead->last_us,
			.code = dead->code};
	wb_code code = wbi_dead_add(txn, tables, dead, &row.dead, err);

	if (code == WB_OK && dead->blocks)
		code = work_write(txn, tables, id, old, &row, err);
	else if (code == WB_OK && old)
		code = work_remove(txn, tables, id, old, err);
	if (code == WB_OK && held_up)
		code = work_let_go(txn, tables, id, now_us, err);
	if (code == WB_OK && ret_number)
		*ret_number = row.dead;
	return code;
}

wb_code wbi_work_die(MDB_txn *txn, const wbi_store_tables *tables,
		     const wbi_work_id *id, const wbi_dead *dead,
		     int64_t now_us, uint64_t *ret_number, wb_error *err)
{
	wbi_dead copy = *dead;
	wbi_work_id pinned;
	wbi_row_key buf;
	bool is_new;
	wbi_work old;
	char *kept;
	wb_code code = work_pin(id, &buf, &pinned, err);

	WB_ASSERT(id->lane != WBI_LANE_CRASHED);
	if (code == WB_OK)
		code = wbi_work_get(txn, tables->work, &pinned, &old, err);
	is_new = code == WB_ENOTFOUND;
	if (code == WB_OK && old.state == WBI_WORK_DEAD)
		return work_exists(id, err);
	if (code != WB_OK && !is_new)
		return code;
	copy.consumer = pinned.consumer;
	copy.lane = pinned.lane;
	copy.key = pinned.key;
	copy.position = pinned.lane == WBI_LANE_TIMER ? 0 : pinned.position;
	copy.blocks = dead->blocks && pinned.lane == WBI_LANE_KEYED;
	code = work_keep_dead(&copy, &kept, err);
	if (code != WB_OK)
		return code;
	code = work_die(txn, tables, &pinned, is_new ? NULL : &old, &copy,
			now_us, ret_number, err);
	free(kept);
	return code;
}

/* A dead letter and, if it left one, its row in `work`. */
typedef struct work_letter {
	wbi_dead dead;
	wbi_work_id id;
	bool has_row, is_first; /* of its group */
	wbi_work row;
	char *kept;
} work_letter;

static wb_code work_letter_row(MDB_txn *txn, const wbi_store_tables *tables,
			       uint64_t number, work_letter *letter,
			       wb_error *err)
{
	wbi_work_id first;
	wb_str key, row;
	wb_code code;

	if (!letter->dead.blocks)
		return WB_OK;
	code = wbi_work_get(txn, tables->work, &letter->id, &letter->row, err);
	if (code == WB_OK &&
	    (letter->row.state != WBI_WORK_DEAD || letter->row.dead != number))
		code = WB_ENOTFOUND;
	if (code == WB_ENOTFOUND)
		return WBI_FAIL(err, WB_ECORRUPT,
				"dead letter %" PRIu64 " should hold up its "
				"key, and does not: run `waybill fsck`",
				number);
	if (code == WB_OK)
		code = work_seek(txn, tables, &letter->id, 0, &first, &key,
				 &row, err);
	if (code != WB_OK)
		return code;
	letter->has_row = true;
	letter->is_first = first.position == letter->id.position;
	return WB_OK;
}

/* On success letter->kept is the caller's to free. */
static wb_code work_letter_read(MDB_txn *txn, const wbi_store_tables *tables,
				uint64_t number, work_letter *letter,
				wb_error *err)
{
	wb_code code =
		wbi_dead_get(txn, tables->dead, number, &letter->dead, err);

	if (code == WB_OK)
		code = work_keep_dead(&letter->dead, &letter->kept, err);
	if (code != WB_OK)
		return code;
	letter->id = (wbi_work_id){letter->dead.consumer, letter->dead.lane,
				   letter->dead.key, letter->dead.position};
	if (letter->dead.lane != 0)
		code = work_letter_row(txn, tables, number, letter, err);
	if (code != WB_OK)
		free(letter->kept);
	return code;
}

/* Can it go back, as far as its handler and its name are concerned? */
static wb_code work_may_revive(MDB_txn *txn, const wbi_store_tables *tables,
			       const work_letter *letter, wb_error *err)
{
	wb_str name = letter->dead.consumer;
	wbi_consumer consumer;
	bool there = false;
	wb_code code;

	if (letter->dead.lane == 0)
		return WBI_FAIL(err, WB_EINVAL,
				"it was refused at ingest: no handler has it");
	code = wbi_consumer_get(txn, tables->consumers, 'i', name, &consumer,
				err);
	if (code == WB_ENOTFOUND)
		return WBI_FAIL(err, WB_ESTATE,
				"handler '%.*s' is not known to this store: "
				"start a worker that has it, or discard the "
				"dead letter",
				(int)name.len, name.ptr);
	if (code != WB_OK || letter->dead.lane != WBI_LANE_TIMER)
		return code;
	code = work_has(txn, tables, &letter->id, 0, &there, err);
	if (code == WB_OK && there)
		return WBI_FAIL(err, WB_EEXISTS,
				"timer '%.*s' of handler '%.*s' was set anew "
				"since: discard the dead letter, or cancel "
				"that timer first",
				(int)letter->dead.key.len, letter->dead.key.ptr,
				(int)name.len, name.ptr);
	return code;
}

static wb_code work_revive(MDB_txn *txn, const wbi_store_tables *tables,
			   const work_letter *letter, int64_t now_us,
			   wb_error *err)
{
	const wbi_dead *dead = &letter->dead;
	const wbi_work row = {.due_us = work_due_us(now_us, 0),
			      .first_us = dead->first_us,
			      .last_us = dead->last_us,
			      .code = dead->code,
			      .text = dead->text,
			      .record = dead->bytes};
	wbi_work again = row;

	if (!letter->has_row)
		return wbi_work_add(txn, tables, &letter->id, &row, err);
	again.state = letter->is_first ? WBI_WORK_WAITING : WBI_WORK_QUEUED;
	return work_write(txn, tables, &letter->id, &letter->row, &again, err);
}

wb_code wbi_work_revive(MDB_txn *txn, const wbi_store_tables *tables,
			uint64_t number, int64_t now_us, wb_error *err)
{
	work_letter letter = {.has_row = false};
	wb_code code = work_letter_read(txn, tables, number, &letter, err);

	if (code != WB_OK)
		return code;
	code = work_may_revive(txn, tables, &letter, err);
	if (code == WB_OK)
		code = work_revive(txn, tables, &letter, now_us, err);
	if (code == WB_OK)
		code = wbi_dead_del(txn, tables->dead, number, err);
	free(letter.kept);
	return code;
}

wb_code wbi_work_bury(MDB_txn *txn, const wbi_store_tables *tables,
		      uint64_t number, int64_t now_us, wb_error *err)
{
	work_letter letter = {.has_row = false};
	wb_code code = work_letter_read(txn, tables, number, &letter, err);

	if (code != WB_OK)
		return code;
	code = wbi_dead_del(txn, tables->dead, number, err);
	if (code == WB_OK && letter.has_row)
		code = work_remove(txn, tables, &letter.id, &letter.row, err);
	if (code == WB_OK && letter.is_first)
		code = work_let_go(txn, tables, &letter.id, now_us, err);
	free(letter.kept);
	return code;
}

wb_code wbi_work_count_rows(MDB_txn *txn, const wbi_store_tables *tables,
			    wb_str consumer, uint64_t *ret_waiting,
			    uint64_t *ret_timers, wb_error *err)
{
	wbi_row_key from = wbi_work_lane_prefix(consumer, WBI_LANE_CRASHED);
	wb_str key = wbi_row_key_str(&from), row;
	uint64_t waiting = 0, timers = 0;
	wbi_move move = WBI_SEEK;
	wbi_cursor *cursor;
	wbi_work_id id;
	wb_code code = wbi_cursor_open(txn, tables->work, &cursor, err);

	if (code != WB_OK)
		return code;
	for (;; move = WBI_NEXT) {
		code = wbi_cursor_move(cursor, move, &key, &row, err);
		if (code == WB_OK)
			code = wbi_work_key_parse(key, &id, err);
		if (code != WB_OK || !wb_str_eq(id.consumer, consumer))
			break;
		if (id.lane == WBI_LANE_TIMER)
			timers++;
		else
			waiting++;
	}
	wbi_cursor_close(cursor);
	if (code != WB_OK && code != WB_ENOTFOUND)
		return code;
	*ret_waiting = waiting;
	*ret_timers = timers;
	return WB_OK;
}

int64_t wbi_work_backoff_us(const wb_random *random, uint32_t min_ms,
			    uint32_t max_ms, uint32_t attempts)
{
	wbi_backoff backoff = {min_ms, max_ms, attempts > 0 ? attempts - 1 : 0};

	return wbi_backoff_next_us(&backoff, random);
}
