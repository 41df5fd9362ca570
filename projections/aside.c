/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Events that could not be applied. A unit of quarantine that is aside has a row
 * in `aside_keys`, and in `aside` the event that failed and all later ones of
 * it, in order of position; an event without a unit has its row in `aside`
 * alone. All of it in the commit that moves the checkpoint over the event.
 *
 * Healing applies them from the first on, each in the transaction that removes
 * its row, and stops at one that fails again. With its last row the unit's own
 * goes, in the same commit: from then on its events are applied as they come.
 * So each event of a unit is applied once, and after those before it.
 */
#include <inttypes.h>
#include <stdio.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/event/record.h"
#include "projections/track.h"

wb_code wbi_track_count_aside(wbi_track *track, MDB_txn *txn, wb_error *err)
{
	MDB_txn *own = NULL;
	uint64_t bytes;
	wb_code code = WB_OK;

	if (!txn) {
		code = wbi_txn_begin(track->gen->env, false, &own, err);
		txn = own;
	}
	if (code == WB_OK)
		code = wbi_table_size(txn, track->gen->aside_keys, &bytes,
				      &track->aside_keys, err);
	if (code == WB_OK)
		code = wbi_table_size(txn, track->gen->aside, &bytes,
				      &track->aside_events, err);
	wbi_txn_abort(own);
	return code;
}

wb_code wbi_track_unit(const wbi_track *track, const wb_event *event, char *buf,
		      wb_str *ret, wb_error *err)
{
	wb_str unit = event->key;

	if (track->projection->key)
		unit = track->projection->key(event, buf, 256);
	if (unit.len > 255)
		return WBI_FAIL(err, WB_ESTOPPED,
				"the key of projection %s has %zu bytes, at "
				"most 255",
				track->projection->name, unit.len);
	*ret = unit;
	return WB_OK;
}

wb_code wbi_track_is_aside(wbi_track *track, wb_str unit, bool *ret, wb_error *err)
{
	wb_str row;
	wb_code code = wbi_get(track->txn, track->gen->aside_keys, unit, &row,
			       err);

	*ret = code == WB_OK;
	return code == WB_ENOTFOUND ? WB_OK : code;
}

static wb_code aside_room(wbi_track *track, size_t more, wb_error *err)
{
	uint64_t aside = 0, skipped = 0, rows;
	wb_code code = wbi_table_size(track->txn, track->gen->aside, &aside,
				      &rows, err);

	if (code == WB_OK)
		code = wbi_table_size(track->txn, track->gen->skipped, &skipped,
				      &rows, err);
	if (code != WB_OK || aside + skipped + more <= track->aside_max)
		return code;
	return WBI_FAIL(err, WB_EQUOTA,
			"projection %s: %" PRIu64 " bytes of events are aside "
			"or skipped, and aside_max_bytes is %" PRIu64
			": heal them, or raise it",
			track->projection->name, aside + skipped,
			track->aside_max);
}

static wbi_aside aside_row(wb_str record, const wb_error *cause)
{
	wbi_aside row = {.code = cause ? cause->code : 0, .record = record};

	if (cause)
		row.text = wb_str_from(cause->text);
	return row;
}

wb_code wbi_track_skip(wbi_track *track, wb_str unit, uint64_t position,
		      wb_str record, const wb_error *cause, wb_error *err)
{
	wbi_aside row = aside_row(record, cause);
	wb_code code = aside_room(track, record.len, err);

	if (code == WB_OK)
		code = wbi_aside_put(track->txn, track->gen->skipped, unit,
				     position, &row, err);
	return code;
}

wb_code wbi_track_set_aside(wbi_track *track, wb_str unit, uint64_t position,
			   wb_str record, const wb_error *cause, wb_error *err)
{
	wbi_aside row = aside_row(record, cause);
	wbi_aside_key key = {.first = position};
	char text[WB_ERROR_TEXT_MAX];
	wb_code code = aside_room(track, record.len, err);

	if (code == WB_OK)
		code = wbi_aside_put(track->txn, track->gen->aside, unit,
				     position, &row, err);
	if (code != WB_OK || unit.len == 0)
		return code;
	if (cause) {
		track->aside_keys++;
		key.code = cause->code;
		key.text = row.text;
	} else {
		code = wbi_aside_key_get(track->txn, track->gen->aside_keys, unit,
					 &key, err);
		if (code != WB_OK)
			return code;
		/* It points into the row that is about to be replaced. */
		snprintf(text, sizeof(text), "%.*s", (int)key.text.len,
			 key.text.ptr ? key.text.ptr : "");
		key.text = wb_str_from(text);
	}
	key.count++;
	key.bytes += record.len;
	return wbi_aside_key_put(track->txn, track->gen->aside_keys, unit, &key,
				 err);
}

/* ---- healing ------------------------------------------------------------- */

/* One row, out of the map: what is applied may change pages. */
typedef struct heal_row {
	wbi_parked_row_key key;
	wb_str unit; /* points into key */
	uint64_t position;
} heal_row;

/* The row at or after heal->from; WB_ENOTFOUND: none that is meant. */
static wb_code heal_seek(wbi_track *track, const wbi_heal *heal, heal_row *ret,
			 wbi_aside *ret_aside, wb_error *err)
{
	wb_str at = wb_str_n(heal->from, heal->from_len), row, unit;
	wbi_cursor *cursor;
	wb_code code = wbi_cursor_open(track->txn, track->gen->aside, &cursor,
				       err);

	if (code != WB_OK)
		return code;
	code = wbi_cursor_move(cursor, WBI_SEEK, &at, &row, err);
	if (code == WB_OK)
		code = wbi_aside_decode(at, row, &unit, &ret->position,
					ret_aside, err);
	wbi_cursor_close(cursor);
	if (code != WB_OK)
		return code;
	ret->key = wbi_parked_row_key_of(unit, ret->position);
	ret->unit = wb_str_n(ret->key.bytes + 1, unit.len);
	if (heal->one &&
	    !wb_str_eq(ret->unit, wb_str_n(heal->unit, heal->unit_len)))
		return WB_ENOTFOUND;
	return WB_OK;
}

/* The unit's row after one of its events has gone. */
static wb_code heal_count(wbi_track *track, wb_str unit, size_t bytes,
			  wb_error *err)
{
	wbi_table keys = track->gen->aside_keys;
	char text[WB_ERROR_TEXT_MAX];
	wbi_aside_key key;
	wb_code code;

	if (unit.len == 0)
		return WB_OK;
	code = wbi_aside_key_get(track->txn, keys, unit, &key, err);
	if (code != WB_OK)
		return code;
	if (key.count <= 1) {
		track->aside_keys--;
		return wbi_del(track->txn, keys, unit, err);
	}
	snprintf(text, sizeof(text), "%.*s", (int)key.text.len,
		 key.text.ptr ? key.text.ptr : "");
	key.text = wb_str_from(text);
	key.count--;
	key.bytes -= bytes < key.bytes ? bytes : key.bytes;
	return wbi_aside_key_put(track->txn, keys, unit, &key, err);
}

/* It fails again: what it says now is what stands there. */
static wb_code heal_again(wbi_track *track, const heal_row *at,
			  const wbi_aside *aside, const wb_error *cause,
			  wb_error *err)
{
	wbi_table keys = track->gen->aside_keys;
	wbi_aside row = aside_row(aside->record, cause);
	wbi_aside_key key;
	wbi_row_room room;
	wb_code code;

	code = wbi_row_room_init(&room, aside->record.len, err);
	if (code != WB_OK)
		return code;
	memcpy(room.bytes, aside->record.ptr, aside->record.len);
	row.record = wbi_row_room_str(&room);
	code = wbi_aside_put(track->txn, track->gen->aside, at->unit,
			     at->position, &row, err);
	wbi_row_room_fini(&room);
	if (code != WB_OK || at->unit.len == 0)
		return code;
	code = wbi_aside_key_get(track->txn, keys, at->unit, &key, err);
	if (code != WB_OK)
		return code;
	key.first = at->position;
	key.code = cause->code;
	key.text = row.text;
	return wbi_aside_key_put(track->txn, keys, at->unit, &key, err);
}

static void heal_go_on(wbi_heal *heal, wb_str unit, uint64_t position)
{
	wbi_parked_row_key next = wbi_parked_row_key_of(unit, position);

	WB_ASSERT(next.len <= sizeof(heal->from));
	memcpy(heal->from, next.bytes, next.len);
	heal->from_len = next.len;
}

static wb_code heal_one(wbi_track *track, wbi_heal *heal, wb_error *err)
{
	wb_error failed = WB_ERROR_INIT;
	wbi_aside aside;
	heal_row at;
	size_t bytes;
	wb_code code = heal_seek(track, heal, &at, &aside, err);

	if (code != WB_OK)
		return code;
	bytes = aside.record.len;
	code = wbi_track_apply_alone(track, aside.record, at.position, &failed,
				    err);
	if (code != WB_OK)
		return code;
	if (wbi_wants_room(failed.code))
		return WBI_FAIL_FOREIGN(err, failed.code, failed.foreign, "%s",
					failed.text);
	track->dirty = true;
	if (failed.code == WB_OK) {
		code = wbi_del(track->txn, track->gen->aside,
			       wb_str_n(at.key.bytes, at.key.len), err);
		if (code == WB_OK)
			code = heal_count(track, at.unit, bytes, err);
		heal->healed++;
		track->applied++;
		heal_go_on(heal, at.unit, at.position + 1);
		return code;
	}
	heal->failed = failed;
	/* The aborted transaction may have moved what `aside` points to. */
	code = heal_seek(track, heal, &at, &aside, err);
	if (code == WB_OK)
		code = heal_again(track, &at, &aside, &failed, err);
	/* All behind it in its unit waits on. */
	heal_go_on(heal, at.unit,
		   at.unit.len > 0 ? UINT64_MAX : at.position + 1);
	return code;
}

wb_code wbi_track_heal(wbi_track *track, wbi_heal *heal, unsigned events,
		      wb_error *err)
{
	wb_error cause = WB_ERROR_INIT;
	wb_code code = WB_OK;

	if (!track->txn)
		code = wbi_txn_begin(track->gen->env, true, &track->txn, err);
	if (code != WB_OK)
		return code;
	if (heal->one && heal->from_len == 0)
		heal_go_on(heal, wb_str_n(heal->unit, heal->unit_len), 0);
	while (code == WB_OK && events-- > 0)
		code = heal_one(track, heal, &cause);
	if (code == WB_ENOTFOUND) {
		heal->active = false;
		return WB_OK;
	}
	if (code == WB_OK)
		return WB_OK;
	wbi_track_forget(track);
	wbi_error_pass(err, &cause);
	return code;
}
