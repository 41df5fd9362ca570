/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The row that says what a store is. Written once, in the transaction that
 * makes the tables, so a store is there whole or not at all; after that only
 * a restore writes it, before anybody can open the copy. Its version is the
 * store's format.
 */
#include "lib/store/meta.h"

#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/text.h"
#include "lib/store/row.h"

#define META_QUOTA_DEFAULT (UINT64_C(16) << 30)
enum { META_SOFT_DEFAULT = 80 };

static wb_str meta_key(void)
{
	return wb_str_from("store");
}

wb_code wbi_meta_new(const wb_store_options *options, wbi_store_info *ret,
		     wb_error *err)
{
	const wb_clock *clock = options->clock;
	const wb_random *random = options->random;
	wb_str service = wb_str_from(options->service);
	wbi_store_info info = {.format = WBI_STORE_FORMAT};

	if (service.len == 0 || service.len >= sizeof(info.service) ||
	    !wbi_text_is_clean(service, NULL))
		return WBI_FAIL(err, WB_EINVAL,
				"service: a name of 1 to %zu bytes of clean "
				"UTF-8 is needed to make a store",
				sizeof(info.service) - 1);
	if (options->quota_soft_pct > 100)
		return WBI_FAIL(err, WB_EINVAL,
				"quota_soft_pct: %u is more than 100 percent",
				options->quota_soft_pct);
	memcpy(info.service, service.ptr, service.len);
	/* The map must have room for more than the quota: copies of pages, and
	 * the service's own tables. */
	info.quota_bytes = META_QUOTA_DEFAULT;
	if (options->map_bytes && info.quota_bytes > options->map_bytes / 2)
		info.quota_bytes = options->map_bytes / 2;
	if (options->quota_bytes)
		info.quota_bytes = options->quota_bytes;
	if (options->map_bytes && info.quota_bytes > options->map_bytes)
		return WBI_FAIL(err, WB_EINVAL,
				"quota_bytes: %llu do not fit into a map of "
				"%llu",
				(unsigned long long)info.quota_bytes,
				(unsigned long long)options->map_bytes);
	info.quota_soft_pct = options->quota_soft_pct ? options->quota_soft_pct
						      : META_SOFT_DEFAULT;
	info.keep_age_s = options->keep_age_s;
	info.keep_bytes = options->keep_bytes;
	wb_uuid7(clock ? clock : wb_system_clock(),
		 random ? random : wb_system_random(), info.outbox_origin);
	wb_uuid7(clock ? clock : wb_system_clock(),
		 random ? random : wb_system_random(), info.inbox_origin);
	*ret = info;
	return WB_OK;
}

static wb_code meta_decode(wb_str row, wbi_store_info *ret, wb_error *err)
{
	wbi_store_info info = {.format = WBI_STORE_FORMAT};
	wbi_row_in in;
	wb_code code;

	code = wbi_row_open(&in, meta_key(), row, WBI_ROW_STORE,
			    WBI_STORE_FORMAT, "the store", err);
	if (code != WB_OK)
		return code;
	wbi_row_get_text(&in, info.service, sizeof(info.service));
	wbi_row_get_text(&in, info.outbox_origin, sizeof(info.outbox_origin));
	wbi_row_get_text(&in, info.inbox_origin, sizeof(info.inbox_origin));
	info.quota_bytes = wbi_row_get_u64(&in);
	info.quota_soft_pct = wbi_row_get_u32(&in);
	info.keep_age_s = wbi_row_get_u64(&in);
	info.keep_bytes = wbi_row_get_u64(&in);
	code = wbi_row_done(&in, err);
	if (code == WB_OK)
		*ret = info;
	return code;
}

wb_code wbi_meta_read(MDB_txn *txn, wbi_table meta, wbi_store_info *ret,
		      wb_error *err)
{
	wb_str row;
	wb_code code = wbi_get(txn, meta, meta_key(), &row, err);

	return code == WB_OK ? meta_decode(row, ret, err) : code;
}

wb_code wbi_meta_write(MDB_txn *txn, wbi_table meta, const wbi_store_info *info,
		       wb_error *err)
{
	wb_str service = wb_str_from(info->service);
	wb_str outbox = wb_str_from(info->outbox_origin);
	wb_str inbox = wb_str_from(info->inbox_origin);
	size_t size = WBI_ROW_EXTRA + wbi_row_str_size(service) +
		      wbi_row_str_size(outbox) + wbi_row_str_size(inbox) + 8 +
		      4 + 8 + 8;
	wbi_row_out out;
	uint8_t *bytes;
	wb_code code;

	WB_ASSERT(outbox.len == WBI_ORIGIN_LEN && inbox.len == WBI_ORIGIN_LEN);
	code = wbi_reserve(txn, meta, meta_key(), size, &bytes, err);
	if (code != WB_OK)
		return code;
	wbi_row_begin(&out, bytes, size, WBI_ROW_STORE, WBI_STORE_FORMAT);
	wbi_row_put_str(&out, service);
	wbi_row_put_str(&out, outbox);
	wbi_row_put_str(&out, inbox);
	wbi_row_put_u64(&out, info->quota_bytes);
	wbi_row_put_u32(&out, info->quota_soft_pct);
	wbi_row_put_u64(&out, info->keep_age_s);
	wbi_row_put_u64(&out, info->keep_bytes);
	wbi_row_seal(&out, meta_key());
	return WB_OK;
}

typedef struct meta_table {
	const char *name;
	enum wbi_table_kind kind;
	wbi_table *ret;
} meta_table;

static wb_code meta_open(MDB_txn *txn, bool create, const meta_table *tables,
			 size_t count, wb_error *err)
{
	for (size_t i = 0; i < count; i++) {
		wb_code code =
			wbi_table_open(txn, tables[i].name, tables[i].kind,
				       create, tables[i].ret, err);

		if (code != WB_OK)
			return code;
	}
	return WB_OK;
}

wb_code wbi_meta_open_table(MDB_txn *txn, wbi_table *ret, wb_error *err)
{
	return wbi_table_open(txn, "waybill.meta", WBI_TABLE_BYTES, false, ret,
			      err);
}

/* ---- which tables there are --------------------------------------------- */

static wb_str meta_tables_key(void)
{
	return wb_str_from("tables");
}

static wb_code meta_tables_decode(wb_str row, uint32_t *ret, wb_error *err)
{
	uint32_t count;
	wbi_row_in in;
	wb_code code = wbi_row_open(&in, meta_tables_key(), row, WBI_ROW_TABLES,
				    1, "the number of tables", err);

	if (code != WB_OK)
		return code;
	count = wbi_row_get_u32(&in);
	code = wbi_row_done(&in, err);
	if (code == WB_OK)
		*ret = count;
	return code;
}

static wb_code meta_tables_read(MDB_txn *txn, wbi_table meta, uint32_t *ret,
				wb_error *err)
{
	wb_str row;
	wb_code code = wbi_get(txn, meta, meta_tables_key(), &row, err);

	if (code == WB_ENOTFOUND) {
		*ret = WBI_TABLES_JOURNALS;
		return WB_OK;
	}
	return code == WB_OK ? meta_tables_decode(row, ret, err) : code;
}

static wb_code meta_tables_write(MDB_txn *txn, wbi_table meta, uint32_t count,
				 wb_error *err)
{
	uint8_t bytes[WBI_ROW_EXTRA + 4];
	wbi_row_out out;

	wbi_row_begin(&out, bytes, sizeof(bytes), WBI_ROW_TABLES, 1);
	wbi_row_put_u32(&out, count);
	wbi_row_seal(&out, meta_tables_key());
	return wbi_put(txn, meta, meta_tables_key(),
		       wb_str_n(bytes, sizeof(bytes)), err);
}

wb_code wbi_meta_check(wb_str row_key, wb_str row, wb_error *err)
{
	wbi_store_info info;
	uint32_t count;

	if (wb_str_eq(row_key, meta_key()))
		return meta_decode(row, &info, err);
	if (wb_str_eq(row_key, meta_tables_key()))
		return meta_tables_decode(row, &count, err);
	return WBI_FAIL(err, WB_ECORRUPT, "a row of unknown name");
}

/* In the order in which they came into being. */
static void meta_list(wbi_store_tables *t, meta_table ret[WBI_TABLES_ALL])
{
	const meta_table tables[WBI_TABLES_ALL] = {
		{"waybill.meta", WBI_TABLE_BYTES, &t->meta},
		{"waybill.outbox", WBI_TABLE_POSITION, &t->outbox},
		{"waybill.inbox", WBI_TABLE_POSITION, &t->inbox},
		{"waybill.consumers", WBI_TABLE_BYTES, &t->consumers},
		{"waybill.seen", WBI_TABLE_BYTES, &t->seen},
		{"waybill.seen_age", WBI_TABLE_POSITION, &t->seen_age},
		{"waybill.work", WBI_TABLE_BYTES, &t->work},
		{"waybill.due", WBI_TABLE_BYTES, &t->due},
		{"waybill.dead", WBI_TABLE_POSITION, &t->dead},
		{"waybill.audit", WBI_TABLE_POSITION, &t->audit},
		{"waybill.status", WBI_TABLE_BYTES, &t->status},
		{"waybill.streams", WBI_TABLE_BYTES, &t->streams},
		{"waybill.stream_index", WBI_TABLE_BYTES, &t->stream_index},
		{"waybill.categories", WBI_TABLE_BYTES, &t->categories},
		{"waybill.category_index", WBI_TABLE_BYTES, &t->category_index},
		{"waybill.snapshots", WBI_TABLE_BYTES, &t->snapshots},
		{"waybill.sagas", WBI_TABLE_BYTES, &t->sagas},
		{"waybill.saga_index", WBI_TABLE_BYTES, &t->saga_index},
		{"waybill.saga_log", WBI_TABLE_BYTES, &t->saga_log},
		{"waybill.saga_defs", WBI_TABLE_BYTES, &t->saga_defs},
		{"waybill.barriers", WBI_TABLE_BYTES, &t->barriers},
		{"waybill.saga_expiry", WBI_TABLE_BYTES, &t->saga_expiry},
	};

	memcpy(ret, tables, sizeof(tables));
}

_Static_assert((int)WBI_TABLES_ALL <= (int)WB_STORE_TABLES,
	       "the host has room for them");

wb_code wbi_meta_open_present(MDB_txn *txn, wbi_store_tables *ret,
			      uint32_t *ret_count, wb_error *err)
{
	meta_table tables[WBI_TABLES_ALL];
	wb_error cause = WB_ERROR_INIT;
	uint32_t count = 0;
	wb_code code;

	meta_list(ret, tables);
	code = wbi_meta_open_table(txn, &ret->meta, err);
	if (code == WB_OK)
		code = meta_tables_read(txn, ret->meta, &count, err);
	if (code != WB_OK)
		return code;
	if (count > WBI_TABLES_ALL)
		count = WBI_TABLES_ALL; /* a newer waybill's are not ours */
	*ret_count = count;
	code = meta_open(txn, false, tables, count, &cause);
	if (code == WB_ENOTFOUND)
		return WBI_FAIL(err, WB_ECORRUPT,
				"%.200s, though the store was made with it; "
				"run waybill fsck",
				cause.text);
	if (code != WB_OK)
		wbi_error_pass(err, &cause);
	return code;
}

static wb_code meta_make_tables(MDB_txn *txn, wbi_store_tables *ret,
				wb_error *err)
{
	meta_table tables[WBI_TABLES_ALL];
	uint32_t count;
	wb_code code;

	meta_list(ret, tables);
	code = meta_open(txn, true, tables, WBI_TABLES_ALL, err);
	if (code == WB_OK)
		code = meta_tables_read(txn, ret->meta, &count, err);
	if (code == WB_OK && count < WBI_TABLES_ALL)
		code = meta_tables_write(txn, ret->meta, WBI_TABLES_ALL, err);
	return code;
}

wb_code wbi_meta_open_tables(MDB_txn *txn, bool create, wbi_store_tables *ret,
			     wb_error *err)
{
	uint32_t count;
	wb_code code;

	if (create)
		return meta_make_tables(txn, ret, err);
	code = wbi_meta_open_present(txn, ret, &count, err);
	return code == WB_OK && count < WBI_TABLES_ALL ? WB_ENOTFOUND : code;
}

wb_code wbi_meta_open_relay_tables(MDB_txn *txn, bool create,
				   wbi_relay_tables *ret, wb_error *err)
{
	const meta_table tables[WBI_RELAY_TABLES] = {
		{"relay.cursor", WBI_TABLE_BYTES, &ret->cursor},
		{"relay.parked", WBI_TABLE_BYTES, &ret->parked},
		{"relay.keys", WBI_TABLE_BYTES, &ret->keys},
		{"relay.held", WBI_TABLE_BYTES, &ret->held},
		{"relay.audit", WBI_TABLE_POSITION, &ret->audit},
		{"relay.status", WBI_TABLE_BYTES, &ret->status},
	};

	return meta_open(txn, create, tables, WBI_COUNT(tables), err);
}
