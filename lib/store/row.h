/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sealed rows: how every row that is not an event is written. One byte says
 * what it is, one in which version, then fields one after another (integers
 * little-endian, strings behind a 32-bit length), then a CRC32C over the row's
 * key and all of that. A row under another's key is noticed, too.
 */
#ifndef WBI_ROW_H
#define WBI_ROW_H

#include <waybill/base.h>

enum wbi_row_kind {
	WBI_ROW_STORE = 1, /* meta: what the store is */
	WBI_ROW_CURSOR = 2,
	WBI_ROW_PARKED = 3,
	WBI_ROW_PARKED_KEY = 4,
	WBI_ROW_HELD = 5,
	WBI_ROW_AUDIT = 6,
	WBI_ROW_STATUS = 7,
	WBI_ROW_COUNT = 8,
	WBI_ROW_CONSUMER = 9,
	WBI_ROW_SEEN = 10,
	WBI_ROW_SEEN_AGE = 11,
	WBI_ROW_WORK = 12,
	WBI_ROW_DUE = 13,
	WBI_ROW_DEAD = 14,
	WBI_ROW_INGEST = 15,
	WBI_ROW_TABLES = 16, /* meta: how many tables the store has */
	WBI_ROW_SEEN_STATE = 17,
	WBI_ROW_STREAM = 20,
	WBI_ROW_STREAM_CHUNK = 21,
	WBI_ROW_CATEGORY = 22,
	WBI_ROW_CATEGORY_CHUNK = 23,
	WBI_ROW_SNAPSHOT = 24,
	WBI_ROW_SAGA = 30,
	WBI_ROW_SAGA_INDEX = 31,
	WBI_ROW_SAGA_ENTRY = 32,
	WBI_ROW_SAGA_DEF = 33,
	WBI_ROW_BARRIER = 34,
	WBI_ROW_EXPIRY = 35,
	/* 20..29 streams, 30..39 sagas, 40..49 projections */
	WBI_ROW_SHAPE = 40,
	WBI_ROW_CHECKPOINT = 41,
	WBI_ROW_PROJECTOR = 42,
	WBI_ROW_ASIDE = 43,
	WBI_ROW_ASIDE_KEY = 44,
	WBI_ROW_ORIGIN = 45,
	WBI_ROW_ORIGIN_CHUNK = 46
};

/* kind, version and checksum */
enum { WBI_ROW_EXTRA = 2 + 4 };

static inline size_t wbi_row_str_size(wb_str s)
{
	return 4 + s.len;
}

/* Fills exactly the `size` bytes that it was begun with; that it does is
 * asserted at the end. */
typedef struct wbi_row_out {
	uint8_t *start, *at, *end;
} wbi_row_out;

void wbi_row_begin(wbi_row_out *row, uint8_t *bytes, size_t size,
		   enum wbi_row_kind kind, uint8_t version);
void wbi_row_put_u8(wbi_row_out *row, uint8_t v);
void wbi_row_put_u16(wbi_row_out *row, uint16_t v);
void wbi_row_put_u32(wbi_row_out *row, uint32_t v);
void wbi_row_put_u64(wbi_row_out *row, uint64_t v);
void wbi_row_put_str(wbi_row_out *row, wb_str s);
void wbi_row_seal(wbi_row_out *row, wb_str key);

/*
 * Where a row is put together whose strings may point into the map, perhaps
 * into the very row that it replaces: there a put would move them under the
 * writer's hands.
 */
typedef struct wbi_row_room {
	uint8_t *bytes;
	size_t size;
	uint8_t inside[2048];
} wbi_row_room;

/* WB_ENOMEM. */
wb_code wbi_row_room_init(wbi_row_room *room, size_t size, wb_error *err);
void wbi_row_room_fini(wbi_row_room *room);

static inline wb_str wbi_row_room_str(const wbi_row_room *room)
{
	return wb_str_n(room->bytes, room->size);
}

/* Reading past the end gives zeros and is reported by wbi_row_done(); strings
 * point into the row. */
typedef struct wbi_row_in {
	const uint8_t *at, *end;
	const char *what; /* for the error: "the relay's cursor" */
	bool torn;
} wbi_row_in;

/* Check checksum, kind and version (WB_ECORRUPT, WB_EVERSION, naming `what`,
 * which must be static), then stand before the first field. */
wb_code wbi_row_open(wbi_row_in *row, wb_str key, wb_str bytes,
		     enum wbi_row_kind kind, uint8_t version, const char *what,
		     wb_error *err);
uint8_t wbi_row_get_u8(wbi_row_in *row);
uint16_t wbi_row_get_u16(wbi_row_in *row);
uint32_t wbi_row_get_u32(wbi_row_in *row);
uint64_t wbi_row_get_u64(wbi_row_in *row);
wb_str wbi_row_get_str(wbi_row_in *row);
/* A string into an array, terminated; too long counts as torn. */
void wbi_row_get_text(wbi_row_in *row, char *ret, size_t size);
/* WB_OK: every byte was read and none too many. */
wb_code wbi_row_done(const wbi_row_in *row, wb_error *err);

#endif
