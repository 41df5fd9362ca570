/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rows and keys of every table, as a store that is damaged (or was made by a
 * program of somebody's own, its checksums right) might have them: each decoder
 * gives an error or what lies inside the row.
 */
#include "lib/base/assert.h"
#include "lib/base/bytes.h"
#include "lib/base/crc32c.h"
#include "lib/journal/inbox_rows.h"
#include "lib/journal/journal.h"
#include "lib/journal/parked.h"
#include "lib/journal/saga_rows.h"
#include "lib/journal/seen_internal.h"
#include "lib/journal/stream_rows.h"
#include "lib/store/meta.h"
#include "projections/index.h"
#include "projections/rows.h"
#include "saga/definition.h"
#include "tests/fuzz/fuzz.h"

/* What was decoded points into the row or the key, or nowhere. */
typedef struct place {
	wb_str key, row;
} place;

static void inside_one(const place *p, wb_str s)
{
	bool in_key = p->key.len > 0 && s.ptr >= p->key.ptr &&
		      s.ptr + s.len <= p->key.ptr + p->key.len;
	bool in_row = p->row.len > 0 && s.ptr >= p->row.ptr &&
		      s.ptr + s.len <= p->row.ptr + p->row.len;

	FUZZ_HOLDS(s.len == 0 || in_key || in_row);
}

#define INSIDE(p, ...)                                                         \
	do {                                                                   \
		const wb_str all_[] = {__VA_ARGS__};                           \
		for (size_t i_ = 0; i_ < WBI_COUNT(all_); i_++)                \
			inside_one(p, all_[i_]);                               \
	} while (0)

/* ---- the relay's -------------------------------------------------------- */

static void row_parked(const place *p)
{
	wbi_parked row;
	uint64_t position;
	wb_str key;

	if (wbi_parked_decode(p->key, p->row, &row, NULL) == WB_OK)
		INSIDE(p, row.exchange, row.routing_key, row.text, row.record);
	if (wbi_parked_row_key_parse(p->key, &key, &position, NULL) == WB_OK)
		INSIDE(p, key);
}

static void row_relay(const place *p)
{
	wbi_relay_cursor cursor;
	wbi_parked_key parked;
	wbi_audit audit;
	wbi_held held;
	uint64_t count;
	wb_str name;

	wbi_relay_cursor_decode(p->row, &cursor, NULL);
	if (wbi_parked_key_decode(p->key, p->row, &name, &parked, NULL) ==
	    WB_OK)
		INSIDE(p, name);
	if (wbi_held_decode(p->key, p->row, &name, &held, NULL) == WB_OK)
		INSIDE(p, name, held.text, held.routes);
	if (wbi_audit_decode(p->key.len, p->row, &audit, NULL) == WB_OK)
		INSIDE(p, audit.who, audit.what, audit.why, audit.key, audit.id,
		       audit.handler);
	if (wbi_count_decode(p->key, p->row, &name, &count, NULL) == WB_OK)
		INSIDE(p, name);
	wbi_status_row_check(p->key, p->row, NULL);
	wbi_meta_check(p->key, p->row, NULL);
}

/* ---- the inbox's -------------------------------------------------------- */

static void row_inbox(const place *p)
{
	wbi_consumer consumer;
	char journal;
	wb_str name;

	if (wbi_consumer_decode(p->key, p->row, &journal, &name, &consumer,
				NULL) == WB_OK)
		INSIDE(p, name, consumer.error);
	wbi_inbox_status_check(p->key, p->row, NULL);
}

static void row_work(const place *p)
{
	wbi_work_id id;
	wbi_work work;
	int64_t due_us;

	if (wbi_work_decode(p->key, p->row, &work, NULL) == WB_OK)
		INSIDE(p, work.text, work.record);
	if (wbi_work_key_parse(p->key, &id, NULL) == WB_OK)
		INSIDE(p, id.consumer, id.key);
	if (wbi_due_decode(p->key, p->row, &due_us, &id, NULL) == WB_OK)
		INSIDE(p, id.consumer, id.key);
}

static void row_dead(const place *p)
{
	wbi_dead dead;

	if (wbi_dead_decode(p->key.len, p->row, &dead, NULL) == WB_OK)
		INSIDE(p, dead.consumer, dead.key, dead.source, dead.id,
		       dead.type, dead.text, dead.bytes);
}

static void row_seen(const place *p)
{
	const seen_entry *entries;
	wbi_seen_sum sum = {.highest = 0};
	uint64_t age_us;
	size_t count;

	wbi_seen_check(WB_STR_NULL, p->key, p->row, &sum, NULL);
	wbi_seen_age_check(p->key.len, p->row, NULL);
	seen_age_decode(p->key.len, p->row, &age_us, NULL);
	if (seen_chunk_check(p->key, p->row, &entries, &count, NULL) == WB_OK)
		INSIDE(p, wb_str_n(entries, count * sizeof(*entries)));
	if (seen_chunk_peek(p->row, &entries, &count, NULL) == WB_OK)
		INSIDE(p, wb_str_n(entries, count * sizeof(*entries)));
}

/* ---- streams, sagas ----------------------------------------------------- */

static void row_streams(const place *p)
{
	wbi_category_head category;
	wbi_stream_head stream;
	wbi_snapshot snapshot;
	wbi_list_view view;
	uint64_t number;

	wbi_stream_head_decode(p->key, p->row, &stream, NULL);
	wbi_category_head_decode(p->key, p->row, &category, NULL);
	wbi_list_chunk_decode(p->key.len % 2 ? WBI_LIST_STREAM
					     : WBI_LIST_CATEGORY,
			      p->key, p->row, &number, &view, NULL);
	if (wbi_snapshot_decode(p->key, p->row, &number, &snapshot, NULL) ==
	    WB_OK)
		INSIDE(p, snapshot.tag, snapshot.data);
}

static void row_saga(const place *p)
{
	wbi_saga_row saga;
	wbi_saga_id id;
	int64_t since_us;
	uint8_t status;

	if (wbi_saga_key_parse(p->key, &id, NULL) == WB_OK)
		INSIDE(p, id.id, id.name);
	if (wbi_saga_decode(p->key, p->row, &saga, NULL) == WB_OK)
		INSIDE(p, saga.name, saga.step, saga.awaits, saga.reason,
		       saga.definition, saga.machine, saga.content_type,
		       saga.data);
	if (wbi_saga_index_decode(p->key, p->row, &status, &since_us, &id,
				  NULL) == WB_OK)
		INSIDE(p, id.id, id.name);
}

static void row_saga_log(const place *p)
{
	wbi_saga_entry entry;
	uint64_t number;
	wb_str text;

	if (wbi_saga_log_decode(p->key, p->row, &number, &entry, NULL) == WB_OK)
		INSIDE(p, entry.step, entry.in, entry.in_id, entry.what,
		       entry.out, entry.who, entry.why);
	if (wbi_saga_def_decode(p->key, p->row, &text, NULL) == WB_OK)
		INSIDE(p, text);
}

static void row_barrier(const place *p)
{
	wbi_barrier barrier;
	wbi_barrier_id id;
	wbi_expiry expiry;

	wbi_barrier_decode(p->key, p->row, &barrier, NULL);
	if (wbi_barrier_key_parse(p->key, &id, NULL) == WB_OK)
		INSIDE(p, id.saga, id.step);
	if (wbi_expiry_decode(p->key, p->row, &expiry, NULL) == WB_OK)
		INSIDE(p, expiry.key);
}

static void row_definition(const place *p)
{
	wbi_definition *definition;
	uint8_t bytes[WBI_MACHINE_BYTES_MAX];
	wbi_machine machine;
	size_t len;

	if (wbi_definition_decode(p->row, &definition, NULL) == WB_OK)
		wbi_definition_free(definition);
	if (wbi_machine_decode(p->row, &machine, NULL) != WB_OK)
		return;
	len = wbi_machine_encode(&machine, bytes);
	FUZZ_HOLDS(len == p->row.len && !memcmp(bytes, p->row.ptr, len));
}

/* ---- read models -------------------------------------------------------- */

static void row_projection(const place *p)
{
	uint8_t buf[WBI_INDEX_ENTRY_MAX];
	wb_str unit, index_key, row_key;
	wbi_index_entry entry;
	wbi_aside_key key;
	wbi_aside aside;
	uint64_t position;

	if (wbi_aside_decode(p->key, p->row, &unit, &position, &aside, NULL) ==
	    WB_OK)
		INSIDE(p, unit, aside.text, aside.record);
	if (wbi_aside_key_decode(p->key, p->row, &key, NULL) == WB_OK)
		INSIDE(p, key.text);
	if (wbi_index_entry_parse(p->row, buf, &index_key, &row_key, NULL) !=
	    WB_OK)
		return;
	FUZZ_HOLDS(wbi_index_entry_make(index_key, row_key, &entry));
	FUZZ_HOLDS(entry.len == p->row.len &&
		   !memcmp(entry.bytes, p->row.ptr, entry.len));
}

static void (*const rows[])(const place *p) = {
	row_parked,  row_relay,   row_inbox,	row_work,
	row_dead,    row_seen,	  row_streams,	row_saga,
	row_saga_log, row_barrier, row_definition, row_projection,
};

/* The row with a checksum of its own, or as it came. */
static wb_str row_of(fuzz_in *in, wb_str key, bool sealed)
{
	size_t size = in->left + 4;
	uint32_t crc = key.len > 0 ? wbi_crc32c(0, key.ptr, key.len) : 0;
	uint8_t *bytes;

	if (!sealed)
		return fuzz_rest(in);
	bytes = fuzz_block(in, size);
	if (in->left > 0)
		memcpy(bytes, in->at, in->left);
	wbi_put_le32(bytes + in->left, wbi_crc32c(crc, bytes, in->left));
	return wb_str_n(bytes, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fuzz_in in;
	uint8_t what;
	place p;

	fuzz_init(&in, data, size);
	what = fuzz_u8(&in);
	p.key = fuzz_short(&in);
	p.row = row_of(&in, p.key, !(what & 0x80));
	rows[(what & 0x7f) % WBI_COUNT(rows)](&p);
	fuzz_fini(&in);
	return 0;
}
