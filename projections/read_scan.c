/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Scans: every bound that a query gives becomes one lower and one upper bound
 * over the keys of a table or the entries of an index, and the scan is a walk
 * between the two. The token for going on later is the last key in hex, with a
 * checksum over it and what was scanned, so it needs nothing kept and holds in
 * any generation.
 */
#include <stdio.h>

#include "lib/base/assert.h"
#include "lib/base/crc32c.h"
#include "lib/base/error.h"
#include "projections/read.h"

enum { SCAN_TOKEN_HEAD = 8 /* a checksum in hex */ };

void wbi_scan_end(wb_read *read)
{
	wbi_cursor_close(read->scan.cursor);
	read->scan.cursor = NULL;
	read->scan.last.len = 0;
}

/* ---- bounds -------------------------------------------------------------- */

static int scan_compare(const wbi_read_bound *a, const uint8_t *b, size_t len)
{
	size_t common = a->len < len ? a->len : len;
	int order = common > 0 ? memcmp(a->bytes, b, common) : 0;

	if (order != 0)
		return order;
	return a->len < len ? -1 : a->len > len;
}

/* A bound as the keys that are walked are written. */
static void scan_bound(bool index, wb_str key, bool whole, wbi_read_bound *ret)
{
	wbi_index_entry entry = {.len = 0};

	if (index) {
		wbi_index_entry_bound(key, !whole, &entry);
		memcpy(ret->bytes, entry.bytes, entry.len);
		ret->len = entry.len;
		return;
	}
	ret->len = key.len < sizeof(ret->bytes) ? key.len : sizeof(ret->bytes);
	if (ret->len > 0)
		memcpy(ret->bytes, key.ptr, ret->len);
}

static void scan_raise(wbi_read_bound *low, const wbi_read_bound *bound)
{
	if (scan_compare(low, bound->bytes, bound->len) < 0)
		*low = *bound;
}

static void scan_lower(wbi_read_bound *high, const wbi_read_bound *bound)
{
	if (high->len == 0 || scan_compare(high, bound->bytes, bound->len) > 0)
		*high = *bound;
}

/* The first key behind all that begin with `prefix`; none (len 0) behind those
 * of nothing but FF. */
static wbi_read_bound scan_behind(const wbi_read_bound *prefix)
{
	wbi_read_bound behind = *prefix;

	while (behind.len > 0 && behind.bytes[behind.len - 1] == 0xff)
		behind.len--;
	if (behind.len > 0)
		behind.bytes[behind.len - 1]++;
	return behind;
}

static void scan_begins_with(wbi_scan *scan, const wbi_read_bound *prefix)
{
	wbi_read_bound behind = scan_behind(prefix);

	scan_raise(&scan->low, prefix);
	if (behind.len > 0)
		scan_lower(&scan->high, &behind);
}

static void scan_bounds(wbi_scan *scan, const wb_read_query *query)
{
	bool index = scan->index != SIZE_MAX;
	wbi_read_bound bound;

	if (query->equal.len > 0) {
		scan_bound(index, query->equal, true, &bound);
		scan_begins_with(scan, &bound);
		if (!index && bound.len < sizeof(bound.bytes)) {
			bound.bytes[bound.len++] = 0;
			scan_lower(&scan->high, &bound);
		}
	}
	if (query->prefix.len > 0) {
		scan_bound(index, query->prefix, false, &bound);
		scan_begins_with(scan, &bound);
	}
	if (query->from.len > 0) {
		scan_bound(index, query->from, false, &bound);
		scan_raise(&scan->low, &bound);
	}
	if (query->to.len > 0) {
		scan_bound(index, query->to, false, &bound);
		scan_lower(&scan->high, &bound);
	}
}

/* ---- tokens -------------------------------------------------------------- */

static uint32_t scan_checksum(const wb_read *read, const uint8_t *key,
			      size_t len)
{
	const wbi_scan *scan = &read->scan;
	const wbi_shape_table *t = &read->gen->shape.tables[scan->table];
	const char *index = scan->index == SIZE_MAX ? ""
						    : t->indexes[scan->index];
	uint32_t crc = wbi_crc32c(scan->reverse, t->name, strlen(t->name) + 1);

	crc = wbi_crc32c(crc, index, strlen(index) + 1);
	return wbi_crc32c(crc, key, len);
}

void wb_read_cursor(const wb_read *read, char ret[WB_READ_CURSOR_MAX + 1])
{
	const wbi_read_bound *last = &read->scan.last;
	int at;

	ret[0] = '\0';
	if (!read->scan.cursor || last->len == 0)
		return;
	at = snprintf(ret, WB_READ_CURSOR_MAX + 1, "%08x",
		      scan_checksum(read, last->bytes, last->len));
	for (size_t i = 0; i < last->len; i++)
		at += snprintf(ret + at, (size_t)(WB_READ_CURSOR_MAX + 1 - at),
			       "%02x", last->bytes[i]);
	WB_ASSERT(at <= WB_READ_CURSOR_MAX);
}

static int scan_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static wb_code scan_token(wb_read *read, wb_str token, wb_error *err)
{
	wbi_read_bound last = {.len = 0};
	uint32_t crc = 0;
	bool ok = token.len > SCAN_TOKEN_HEAD && token.len % 2 == 0 &&
		  token.len <= WB_READ_CURSOR_MAX;

	for (size_t i = 0; ok && i < token.len; i += 2) {
		int high = scan_digit(token.ptr[i]);
		int low = scan_digit(token.ptr[i + 1]);

		ok = high >= 0 && low >= 0 && last.len < sizeof(last.bytes);
		if (ok && i < SCAN_TOKEN_HEAD)
			crc = crc << 8 | (uint32_t)(high << 4 | low);
		else if (ok)
			last.bytes[last.len++] = (uint8_t)(high << 4 | low);
	}
	if (!ok || crc != scan_checksum(read, last.bytes, last.len))
		return WBI_FAIL(err, WB_EINVAL,
				"the cursor is damaged, or of another query");
	if (read->scan.reverse) {
		scan_lower(&read->scan.high, &last);
		return WB_OK;
	}
	if (scan_compare(&read->scan.low, last.bytes, last.len) <= 0) {
		read->scan.low = last;
		read->scan.low_open = true;
	}
	return WB_OK;
}

/* ---- walking ------------------------------------------------------------- */

static wb_code scan_find_index(wb_read *read, const char *name, wb_error *err)
{
	wbi_scan *scan = &read->scan;
	const wbi_shape_table *t = &read->gen->shape.tables[scan->table];

	scan->index = name ? wbi_shape_index_of(t, name) : SIZE_MAX;
	if (!name || scan->index != SIZE_MAX)
		return WB_OK;
	return WBI_FAIL(err, WB_EINVAL, "table %s has no index \"%.64s\"",
			t->name, name);
}

wb_code wb_read_scan(wb_read *read, const wb_read_query *query, wb_error *err)
{
	wbi_scan *scan = &read->scan;
	wb_code code = wbi_read_check(read, err);

	if (code != WB_OK)
		return code;
	if (!query || query->size != sizeof(*query))
		return WBI_FAIL(err, WB_EINVAL,
				"query: begin with WB_READ_QUERY_INIT");
	wbi_scan_end(read);
	*scan = (wbi_scan){.reverse = query->reverse};
	code = wbi_read_table(read, query->table, &scan->table, err);
	if (code == WB_OK)
		code = scan_find_index(read, query->index, err);
	if (code != WB_OK)
		return code;
	scan_bounds(scan, query);
	if (query->cursor.len > 0)
		code = scan_token(read, query->cursor, err);
	if (code != WB_OK)
		return code;
	return wbi_cursor_open(
		read->txn,
		scan->index == SIZE_MAX
			? read->gen->tables[scan->table]
			: read->gen->indexes[scan->table][scan->index],
		&scan->cursor, err);
}

static wb_code scan_first(wbi_scan *scan, wb_str *key, wb_str *value,
			  wb_error *err)
{
	const wbi_read_bound *bound = scan->reverse ? &scan->high : &scan->low;
	wb_code code;

	*key = wb_str_n(bound->bytes, bound->len);
	if (scan->reverse && bound->len == 0)
		return wbi_cursor_move(scan->cursor, WBI_LAST, key, value, err);
	code = wbi_cursor_move(scan->cursor, WBI_SEEK, key, value, err);
	if (scan->reverse) {
		/* The one before the first that is not wanted. */
		return wbi_cursor_move(scan->cursor,
				       code == WB_OK ? WBI_PREV : WBI_LAST, key,
				       value, err);
	}
	if (code == WB_OK && scan->low_open &&
	    scan_compare(&scan->low, (const uint8_t *)key->ptr, key->len) == 0)
		code = wbi_cursor_move(scan->cursor, WBI_NEXT, key, value, err);
	return code;
}

static bool scan_inside(const wbi_scan *scan, wb_str key)
{
	const uint8_t *bytes = (const uint8_t *)key.ptr;

	if (scan->reverse)
		return scan_compare(&scan->low, bytes, key.len) <= 0;
	return scan->high.len == 0 ||
	       scan_compare(&scan->high, bytes, key.len) > 0;
}

/* From the entry of an index to its row. */
static wb_code scan_row(wb_read *read, wb_str entry, wb_read_row *ret,
			wb_error *err)
{
	wbi_scan *scan = &read->scan;
	wb_code code = wbi_index_entry_parse(entry, scan->unescaped,
					     &ret->index_key, &ret->key, err);

	if (code != WB_OK)
		return code;
	code = wbi_get(read->txn, read->gen->tables[scan->table], ret->key,
		       &ret->value, err);
	if (code == WB_ENOTFOUND)
		return WBI_FAIL(err, WB_ECORRUPT,
				"an index of table %s leads to no row: rebuild "
				"the projection",
				read->gen->shape.tables[scan->table].name);
	return code;
}

wb_code wb_read_next(wb_read *read, wb_read_row *ret, wb_error *err)
{
	wbi_scan *scan = &read->scan;
	wb_read_row row = {.index_key = WB_STR_NULL};
	wb_str key = WB_STR_NULL, value;
	wb_code code = wbi_read_check(read, err);

	if (code != WB_OK)
		return code;
	if (!scan->cursor)
		return WBI_FAIL(err, WB_ESTATE,
				"no scan: call wb_read_scan first");
	if (scan->done)
		return WB_ENOTFOUND;
	if (!scan->started)
		code = scan_first(scan, &key, &value, err);
	else
		code = wbi_cursor_move(scan->cursor,
				       scan->reverse ? WBI_PREV : WBI_NEXT,
				       &key, &value, err);
	scan->started = true;
	if (code == WB_ENOTFOUND || (code == WB_OK && !scan_inside(scan, key))) {
		scan->done = true;
		return WB_ENOTFOUND;
	}
	if (code == WB_OK && scan->index != SIZE_MAX) {
		code = scan_row(read, key, &row, err);
	} else {
		row.key = key;
		row.value = value;
	}
	if (code != WB_OK)
		return code;
	WB_ASSERT(key.len <= sizeof(scan->last.bytes));
	memcpy(scan->last.bytes, key.ptr, key.len);
	scan->last.len = key.len;
	*ret = row;
	return WB_OK;
}
