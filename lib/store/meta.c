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

wb_code wbi_meta_read(MDB_txn *txn, wbi_table meta, wbi_store_info *ret,
		      wb_error *err)
{
	wbi_store_info info = {.format = WBI_STORE_FORMAT};
	wbi_row_in in;
	wb_str row;
	wb_code code;

	code = wbi_get(txn, meta, meta_key(), &row, err);
	if (code != WB_OK)
		return code;
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
		wb_code code = wbi_table_open(txn, tables[i].name,
					      tables[i].kind, create,
					      tables[i].ret, err);

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

wb_code wbi_meta_open_tables(MDB_txn *txn, bool create, wbi_store_tables *ret,
			     wb_error *err)
{
	const meta_table tables[] = {
		{"waybill.meta", WBI_TABLE_BYTES, &ret->meta},
		{"waybill.outbox", WBI_TABLE_POSITION, &ret->outbox},
		{"waybill.inbox", WBI_TABLE_POSITION, &ret->inbox},
		{"waybill.consumers", WBI_TABLE_BYTES, &ret->consumers},
		{"waybill.seen", WBI_TABLE_BYTES, &ret->seen},
		{"waybill.seen_age", WBI_TABLE_POSITION, &ret->seen_age},
		{"waybill.work", WBI_TABLE_BYTES, &ret->work},
		{"waybill.due", WBI_TABLE_BYTES, &ret->due},
		{"waybill.dead", WBI_TABLE_POSITION, &ret->dead},
		{"waybill.audit", WBI_TABLE_POSITION, &ret->audit},
		{"waybill.status", WBI_TABLE_BYTES, &ret->status},
		{"waybill.streams", WBI_TABLE_BYTES, &ret->streams},
		{"waybill.stream_index", WBI_TABLE_BYTES, &ret->stream_index},
		{"waybill.categories", WBI_TABLE_BYTES, &ret->categories},
		{"waybill.category_index", WBI_TABLE_BYTES,
		 &ret->category_index},
		{"waybill.snapshots", WBI_TABLE_BYTES, &ret->snapshots},
	};

	return meta_open(txn, create, tables, WBI_COUNT(tables), err);
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
