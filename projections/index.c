/* SPDX-License-Identifier: BSD-2-Clause */
/* Index entries and the list of a row's index keys. Pure; any thread. */
#include "projections/index.h"

#include "lib/base/assert.h"
#include "lib/base/error.h"

enum { INDEX_ESCAPED = 0xff, INDEX_END = 0x01 };

static bool index_put(wbi_index_entry *entry, uint8_t byte)
{
	if (entry->len == sizeof(entry->bytes))
		return false;
	entry->bytes[entry->len++] = byte;
	return true;
}

static bool index_escape(wb_str key, wbi_index_entry *entry)
{
	bool fits = true;

	entry->len = 0;
	for (size_t i = 0; fits && i < key.len; i++) {
		fits = index_put(entry, (uint8_t)key.ptr[i]);
		if (fits && key.ptr[i] == 0)
			fits = index_put(entry, INDEX_ESCAPED);
	}
	return fits;
}

bool wbi_index_entry_make(wb_str index_key, wb_str row_key,
			  wbi_index_entry *ret)
{
	if (!index_escape(index_key, ret) || !index_put(ret, 0) ||
	    !index_put(ret, INDEX_END) ||
	    row_key.len > sizeof(ret->bytes) - ret->len)
		return false;
	memcpy(ret->bytes + ret->len, row_key.ptr, row_key.len);
	ret->len += row_key.len;
	return true;
}

void wbi_index_entry_bound(wb_str index_key, bool prefix, wbi_index_entry *ret)
{
	/* A longer one than any that is there bounds as well when cut. */
	if (!index_escape(index_key, ret) || prefix)
		return;
	(void)index_put(ret, 0);
	(void)index_put(ret, INDEX_END);
}

wb_code wbi_index_entry_parse(wb_str entry, uint8_t buf[WBI_INDEX_ENTRY_MAX],
			      wb_str *ret_index_key, wb_str *ret_row_key,
			      wb_error *err)
{
	const uint8_t *p = (const uint8_t *)entry.ptr;
	size_t at = 0, len = 0;

	while (at + 1 < entry.len && entry.len <= WBI_INDEX_ENTRY_MAX) {
		if (p[at] == 0 && p[at + 1] == INDEX_END) {
			*ret_index_key = wb_str_n(buf, len);
			*ret_row_key = wb_str_n(entry.ptr + at + 2,
						entry.len - at - 2);
			return WB_OK;
		}
		if (p[at] == 0 && p[at + 1] != INDEX_ESCAPED)
			break;
		buf[len++] = p[at];
		at += p[at] == 0 ? 2 : 1;
	}
	return WBI_FAIL(err, WB_ECORRUPT,
			"an index entry of %zu bytes is none: rebuild the "
			"projection",
			entry.len);
}

/* ---- the keys of one row ------------------------------------------------- */

wb_str wbi_index_keys_at(const wb_index_keys *keys, size_t i)
{
	WB_ASSERT(i < keys->count);
	return wb_str_n(keys->bytes + keys->keys[i].at, keys->keys[i].len);
}

bool wbi_index_keys_have(const wb_index_keys *keys, wb_str key)
{
	for (size_t i = 0; i < keys->count; i++)
		if (wb_str_eq(wbi_index_keys_at(keys, i), key))
			return true;
	return false;
}

wb_code wb_index_key_add(wb_index_keys *ret, wb_str key, wb_error *err)
{
	if (key.len > WB_MODEL_INDEX_KEY_MAX)
		return WBI_FAIL(err, WB_ELIMIT,
				"an index key of %zu bytes, at most %d",
				key.len, WB_MODEL_INDEX_KEY_MAX);
	if (wbi_index_keys_have(ret, key))
		return WB_OK;
	if (ret->count == WB_MODEL_INDEX_KEYS_MAX)
		return WBI_FAIL(err, WB_ELIMIT,
				"over %d index keys for one row",
				WB_MODEL_INDEX_KEYS_MAX);
	ret->keys[ret->count].at = (uint16_t)ret->used;
	ret->keys[ret->count].len = (uint16_t)key.len;
	if (key.len > 0)
		memcpy(ret->bytes + ret->used, key.ptr, key.len);
	ret->used += key.len;
	ret->count++;
	return WB_OK;
}
