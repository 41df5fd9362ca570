/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Keys of index entries: the index key, then the row's own key, so that entries
 * sort by the one and then by the other. Within the index key 00 is written as
 * 00 FF, and 00 01 ends it: so a key sorts before all that it begins.
 */
#ifndef WBI_INDEX_H
#define WBI_INDEX_H

#include <waybill/projection.h>

enum { WBI_INDEX_ENTRY_MAX = 511 };

typedef struct wbi_index_entry {
	uint8_t bytes[WBI_INDEX_ENTRY_MAX];
	size_t len;
} wbi_index_entry;

/* false: it would be over the 511 bytes that LMDB takes for a key. */
bool wbi_index_entry_make(wb_str index_key, wb_str row_key,
			  wbi_index_entry *ret);
/* What all entries begin with whose index key is, or begins with (`prefix`),
 * this one. For seeking: never over the maximum for keys that may be added. */
void wbi_index_entry_bound(wb_str index_key, bool prefix, wbi_index_entry *ret);
/* WB_ECORRUPT: not an entry. `buf` takes the index key, unescaped. */
wb_code wbi_index_entry_parse(wb_str entry, uint8_t buf[WBI_INDEX_ENTRY_MAX],
			      wb_str *ret_index_key, wb_str *ret_row_key,
			      wb_error *err);

/* The keys that one row has in one index; each once. */
struct wb_index_keys {
	size_t count, used;
	struct {
		uint16_t at, len;
	} keys[WB_MODEL_INDEX_KEYS_MAX];
	uint8_t bytes[WB_MODEL_INDEX_KEYS_MAX * WB_MODEL_INDEX_KEY_MAX];
};

wb_str wbi_index_keys_at(const wb_index_keys *keys, size_t i);
bool wbi_index_keys_have(const wb_index_keys *keys, wb_str key);

#endif
