/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reading a model. A reader keeps one read transaction of the live generation,
 * which it renews for each snapshot: that costs no search for a slot. Before
 * that it looks, once a millisecond at most, whether another generation has
 * become live.
 *
 * A snapshot that is held past its deadline is given back at the next call,
 * and what points into it is lost: else every page that is changed meanwhile
 * would be kept for it, and the file would grow without bound.
 *
 * One thread per reader. It owns its transaction and shares the home.
 */
#include "projections/read.h"

#include <stdlib.h>
#include <unistd.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"

enum { READ_SNAPSHOT_MS = 5000, READ_STAMP_US = 1000 };

/* ---- open and close ------------------------------------------------------ */

wb_code wbi_read_open_home(wbi_home *home, const wb_read_options *options,
			   wb_read **ret, wb_error *err)
{
	wb_read_options o = WB_READ_OPTIONS_INIT;
	wb_read *read;

	if (!ret)
		return WBI_FAIL(err, WB_EINVAL, "ret: NULL");
	if (options && options->size != sizeof(o))
		return WBI_FAIL(err, WB_EINVAL,
				"wb_read_options.size is %zu, not %zu: "
				"initialise it with WB_READ_OPTIONS_INIT",
				options->size, sizeof(o));
	if (options)
		o = *options;
	if (o.snapshot_ms == 0)
		o.snapshot_ms = READ_SNAPSHOT_MS;
	read = calloc(1, sizeof(*read));
	if (!read)
		return WBI_FAIL(err, WB_ENOMEM, "open a reader");
	read->home = wbi_home_ref(home);
	read->options = o;
	read->clock = o.clock ? o.clock : wb_system_clock();
	read->stamp_at_us = INT64_MIN / 2;
	read->inotify_fd = -1;
	*ret = read;
	return WB_OK;
}

wb_code wb_read_open(const char *dir, const char *name,
		     const wb_read_options *options, wb_read **ret,
		     wb_error *err)
{
	wb_read *read = NULL;
	wbi_home *home;
	wb_code code = wbi_home_open(dir, name, false, &home, err);

	if (code != WB_OK)
		return code;
	code = wbi_read_open_home(home, options, &read, err);
	wbi_home_unref(home);
	/* Is there something to read? */
	if (code == WB_OK)
		code = wb_read_begin(read, err);
	if (code != WB_OK) {
		wb_read_close(read);
		return code;
	}
	wb_read_end(read);
	*ret = read;
	return WB_OK;
}

wb_code wb_read_open_beside(wb_read *beside, const wb_read_options *options,
			    wb_read **ret, wb_error *err)
{
	if (!beside)
		return WBI_FAIL(err, WB_EINVAL, "read: NULL");
	return wbi_read_open_home(beside->home, options, ret, err);
}

static void read_leave(wb_read *read)
{
	wb_read_end(read);
	wbi_txn_abort(read->txn);
	read->txn = NULL;
	wbi_home_give(read->home, read->gen);
	read->gen = NULL;
}

void wb_read_close(wb_read *read)
{
	if (!read)
		return;
	read_leave(read);
	wbi_read_wait_end(read);
	wbi_home_unref(read->home);
	free(read);
}

/* ---- snapshots ----------------------------------------------------------- */

void wb_read_end(wb_read *read)
{
	wbi_scan_end(read);
	if (read->active)
		wbi_txn_reset(read->txn);
	read->active = read->at_known = false;
}

static wb_code read_enter(wb_read *read, uint32_t number, wb_error *err)
{
	wb_code code;

	if (number == 0)
		return WBI_FAIL(err, WB_ENOTFOUND,
				"projection %s has not begun yet: it has no "
				"generation",
				wbi_home_name(read->home));
	read_leave(read);
	code = wbi_home_take(read->home, number, NULL, &read->gen, err);
	wbi_read_wait_end(read); /* it watches another file */
	return code;
}

/* Be in the generation that is live, or in the one that was asked for. */
static wb_code read_follow(wb_read *read, int64_t now_us, wb_error *err)
{
	wbi_pointer pointer;
	wbi_stamp stamp;
	wb_code code;

	if (read->options.generation > 0)
		return read->gen ? WB_OK
				 : read_enter(read, read->options.generation,
					      err);
	if (read->gen && now_us - read->stamp_at_us < READ_STAMP_US)
		return WB_OK;
	read->stamp_at_us = now_us;
	stamp = wbi_home_stamp(read->home);
	if (read->gen && stamp.inode == read->stamp.inode &&
	    stamp.time_ns == read->stamp.time_ns)
		return WB_OK;
	code = wbi_home_pointer(read->home, &pointer, err);
	if (code == WB_OK && (!read->gen || read->gen->number != pointer.live))
		code = read_enter(read, pointer.live, err);
	if (code == WB_OK)
		read->stamp = stamp;
	return code;
}

wb_code wb_read_begin(wb_read *read, wb_error *err)
{
	int64_t now_us = read->clock->mono_us(read->clock->ctx);
	wb_code code;

	wb_read_end(read);
	code = read_follow(read, now_us, err);
	if (code != WB_OK)
		return code;
	if (read->txn)
		code = wbi_txn_renew(read->txn, err);
	else
		code = wbi_txn_begin(read->gen->env, false, &read->txn, err);
	if (code != WB_OK) {
		read_leave(read);
		return code;
	}
	read->active = true;
	read->until_us = now_us + (int64_t)read->options.snapshot_ms * 1000;
	return WB_OK;
}

wb_code wbi_read_check(wb_read *read, wb_error *err)
{
	if (!read->active)
		return WBI_FAIL(err, WB_ESTATE,
				"projection %s: no snapshot: call "
				"wb_read_begin",
				wbi_home_name(read->home));
	if (read->clock->mono_us(read->clock->ctx) <= read->until_us)
		return WB_OK;
	wb_read_end(read);
	return WBI_FAIL(err, WB_ETIMEOUT,
			"projection %s: the snapshot was held for over %u ms "
			"and has been given back: begin another, or raise "
			"snapshot_ms",
			wbi_home_name(read->home), read->options.snapshot_ms);
}

/* ---- what it is a snapshot of -------------------------------------------- */

static const wbi_checkpoint *read_at(const wb_read *read)
{
	wb_read *own = (wb_read *)(uintptr_t)read; /* only what it remembers */

	if (!read->active)
		return NULL;
	if (!read->at_known &&
	    wbi_checkpoint_get(own->txn, own->gen->meta, &own->at, NULL) !=
		    WB_OK)
		return NULL;
	own->at_known = true;
	return &own->at;
}

uint64_t wb_read_position(const wb_read *read)
{
	const wbi_checkpoint *at = read_at(read);

	return at ? at->position : 0;
}

const char *wb_read_origin(const wb_read *read)
{
	const wbi_checkpoint *at = read_at(read);

	return at ? at->origin : "";
}

uint32_t wb_read_generation(const wb_read *read)
{
	return read->active ? read->gen->number : 0;
}

wb_code wb_read_get_lag(wb_read *read, wb_read_lag *ret, wb_error *err)
{
	wbi_projector_row row;
	wb_code code = wbi_read_check(read, err);

	if (code != WB_OK)
		return code;
	code = wbi_projector_row_get(read->txn, read->gen->meta, &row, err);
	if (code == WB_ENOTFOUND)
		*ret = (wb_read_lag){.head = wb_read_position(read)};
	if (code == WB_OK)
		*ret = (wb_read_lag){row.head, row.lag_us, row.updated_us};
	/* It may have come further since it said so. */
	if (code == WB_OK && ret->head <= wb_read_position(read)) {
		ret->head = wb_read_position(read);
		ret->lag_us = 0;
	}
	return code == WB_ENOTFOUND ? WB_OK : code;
}

/* ---- one row ------------------------------------------------------------- */

wb_code wbi_read_table(const wb_read *read, const char *name, size_t *ret,
		       wb_error *err)
{
	size_t table = wbi_shape_table_of(&read->gen->shape, name);

	if (table == SIZE_MAX)
		return WBI_FAIL(err, WB_EINVAL,
				"projection %s has %s \"%.64s\": it has %zu "
				"tables, the first is %s",
				wbi_home_name(read->home),
				name ? "no table" : "more than one table: name "
						    "one, not",
				name ? name : "", read->gen->shape.table_count,
				read->gen->shape.tables[0].name);
	*ret = table;
	return WB_OK;
}

wb_code wb_read_get(wb_read *read, const char *table, wb_str key,
		    wb_str *ret_value, wb_error *err)
{
	size_t index;
	wb_code code = wbi_read_check(read, err);

	if (code == WB_OK)
		code = wbi_read_table(read, table, &index, err);
	if (code != WB_OK)
		return code;
	if (key.len < 1 || key.len > WB_MODEL_KEY_MAX)
		return WB_ENOTFOUND; /* no row can have it */
	return wbi_get(read->txn, read->gen->tables[index], key, ret_value,
		       err);
}

wb_code wb_read_is_aside(wb_read *read, wb_str key, bool *ret,
			 uint64_t *ret_events, wb_error *err)
{
	wbi_aside_key row = {.count = 0};
	wb_code code = wbi_read_check(read, err);

	if (code != WB_OK)
		return code;
	code = key.len < 1 || key.len > 255
		       ? WB_ENOTFOUND
		       : wbi_aside_key_get(read->txn, read->gen->aside_keys,
					   key, &row, err);
	if (code != WB_OK && code != WB_ENOTFOUND)
		return code;
	*ret = code == WB_OK;
	if (ret_events)
		*ret_events = row.count;
	return WB_OK;
}
