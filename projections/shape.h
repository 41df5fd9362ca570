/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A projection's declaration, checked, and what of it a read model keeps: its
 * shape, by which those who have no code read it.
 */
#ifndef WBI_SHAPE_H
#define WBI_SHAPE_H

#include <waybill/projection.h>

#include "lib/base/topic.h"

enum {
	WBI_MODEL_NAME_MAX = 64,
	WBI_MODEL_CONTENT_TYPE_MAX = 127,
	WBI_MODEL_TYPES_MAX = 64
};

typedef struct wbi_shape_table {
	char name[WBI_MODEL_NAME_MAX + 1];
	char content_type[WBI_MODEL_CONTENT_TYPE_MAX + 1];
	size_t index_count;
	char indexes[WB_MODEL_INDEXES_MAX][WBI_MODEL_NAME_MAX + 1];
} wbi_shape_table;

typedef struct wbi_shape {
	char name[WBI_MODEL_NAME_MAX + 1];
	uint32_t version;
	uint8_t source; /* enum wb_projection_source */
	size_t table_count;
	wbi_shape_table tables[WB_MODEL_TABLES_MAX];
} wbi_shape;

/* 1..64 of a-z 0-9 . _ - and not "." or ".."? */
bool wbi_model_name_ok(const char *name);

/* The declaration must have been checked. */
void wbi_shape_of(const wb_projection *projection, wbi_shape *ret);
/* The first difference in words, or NULL; static. */
const char *wbi_shape_differs(const wbi_shape *a, const wbi_shape *b);

/* The index of a table; a NULL name stands for the only one. SIZE_MAX: none. */
size_t wbi_shape_table_of(const wbi_shape *shape, const char *name);
size_t wbi_shape_index_of(const wbi_shape_table *table, const char *name);

/* The declaration's types; borrows its strings. */
typedef struct wbi_types {
	size_t count;
	wbi_topic topics[WBI_MODEL_TYPES_MAX];
} wbi_types;

wb_code wbi_types_of(const wb_projection *projection, wbi_types *ret,
		     wb_error *err);
bool wbi_types_take(const wbi_types *types, wb_str type);

#endif
