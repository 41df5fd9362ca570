/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a declaration must say, and the part of it that a read model remembers.
 * Pure: nothing is kept, any thread.
 */
#include "projections/shape.h"

#include <stdio.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"

bool wbi_model_name_ok(const char *name)
{
	size_t len = name ? strlen(name) : 0;

	if (len < 1 || len > WBI_MODEL_NAME_MAX || name[0] == '.')
		return false;
	return strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-") == len;
}

static wb_code shape_bad_name(wb_error *err, const char *what, const char *name)
{
	return WBI_FAIL(err, WB_EINVAL,
			"%s \"%.80s\": 1 to %d of a-z 0-9 . _ -, the first no "
			"dot",
			what, name ? name : "(NULL)", WBI_MODEL_NAME_MAX);
}

static wb_code shape_check_indexes(const wb_model_table *table, wb_error *err)
{
	if (table->index_count > WB_MODEL_INDEXES_MAX)
		return WBI_FAIL(err, WB_EINVAL,
				"table %s: %zu indexes, at most %d",
				table->name, table->index_count,
				WB_MODEL_INDEXES_MAX);
	for (size_t i = 0; i < table->index_count; i++) {
		const wb_model_index *index = &table->indexes[i];

		if (!wbi_model_name_ok(index->name))
			return shape_bad_name(err, "index", index->name);
		if (!index->keys)
			return WBI_FAIL(err, WB_EINVAL,
					"index %s of table %s: keys is NULL: "
					"it needs a function",
					index->name, table->name);
		for (size_t j = 0; j < i; j++)
			if (!strcmp(index->name, table->indexes[j].name))
				return WBI_FAIL(err, WB_EINVAL,
						"table %s: two indexes %s",
						table->name, index->name);
	}
	return WB_OK;
}

static wb_code shape_check_tables(const wb_projection *p, wb_error *err)
{
	if (p->table_count < 1 || p->table_count > WB_MODEL_TABLES_MAX)
		return WBI_FAIL(err, WB_EINVAL,
				"projection %s: %zu tables: 1 to %d", p->name,
				p->table_count, WB_MODEL_TABLES_MAX);
	for (size_t i = 0; i < p->table_count; i++) {
		const wb_model_table *table = &p->tables[i];
		wb_code code;

		if (!wbi_model_name_ok(table->name))
			return shape_bad_name(err, "table", table->name);
		if (table->content_type && strlen(table->content_type) >
						   WBI_MODEL_CONTENT_TYPE_MAX)
			return WBI_FAIL(err, WB_EINVAL,
					"table %s: content_type is over %d "
					"bytes",
					table->name,
					WBI_MODEL_CONTENT_TYPE_MAX);
		for (size_t j = 0; j < i; j++)
			if (!strcmp(table->name, p->tables[j].name))
				return WBI_FAIL(err, WB_EINVAL,
						"two tables %s", table->name);
		code = shape_check_indexes(table, err);
		if (code != WB_OK)
			return code;
	}
	return WB_OK;
}

static wb_code shape_check_policy(const wb_projection *p, wb_error *err)
{
	switch (p->on_error) {
	case WB_ON_ERROR_STOP:
	case WB_ON_ERROR_QUARANTINE_KEY:
	case WB_ON_ERROR_SKIP:
		return WB_OK;
	}
	return WBI_FAIL(err, WB_EINVAL,
			"projection %s: on_error is %d: say what an event does "
			"that cannot be applied: WB_ON_ERROR_STOP, "
			"_QUARANTINE_KEY or _SKIP; there is no default",
			p->name, (int)p->on_error);
}

wb_code wb_projection_check(const wb_projection *p, wb_error *err)
{
	wbi_types types;
	wb_code code;

	if (!p || p->size != sizeof(*p))
		return WBI_FAIL(err, WB_EINVAL,
				"wb_projection.size is %zu, not %zu: set it to "
				"sizeof(wb_projection)",
				p ? p->size : 0, sizeof(*p));
	if (!wbi_model_name_ok(p->name))
		return shape_bad_name(err, "projection", p->name);
	if (p->version == 0)
		return WBI_FAIL(err, WB_EINVAL,
				"projection %s: version is 0: begin with 1",
				p->name);
	if (p->source < WB_PROJECTION_OUTBOX ||
	    p->source > WB_PROJECTION_STREAM)
		return WBI_FAIL(err, WB_EINVAL,
				"projection %s: source is %d: "
				"WB_PROJECTION_OUTBOX, _INBOX or _STREAM",
				p->name, (int)p->source);
	if (!p->apply)
		return WBI_FAIL(err, WB_EINVAL,
				"projection %s: apply is NULL: it needs a "
				"function",
				p->name);
	code = shape_check_policy(p, err);
	if (code == WB_OK)
		code = shape_check_tables(p, err);
	if (code == WB_OK)
		code = wbi_types_of(p, &types, err);
	return code;
}

void wbi_shape_of(const wb_projection *p, wbi_shape *ret)
{
	memset(ret, 0, sizeof(*ret));
	snprintf(ret->name, sizeof(ret->name), "%s", p->name);
	ret->version = p->version;
	ret->source = (uint8_t)p->source;
	ret->table_count = p->table_count;
	WB_ASSERT(p->table_count <= WB_MODEL_TABLES_MAX);
	for (size_t i = 0; i < p->table_count; i++) {
		const wb_model_table *from = &p->tables[i];
		wbi_shape_table *to = &ret->tables[i];

		snprintf(to->name, sizeof(to->name), "%s", from->name);
		snprintf(to->content_type, sizeof(to->content_type), "%s",
			 from->content_type ? from->content_type : "");
		to->index_count = from->index_count;
		for (size_t j = 0; j < from->index_count; j++)
			snprintf(to->indexes[j], sizeof(to->indexes[j]), "%s",
				 from->indexes[j].name);
	}
}

static bool shape_same_table(const wbi_shape_table *a, const wbi_shape_table *b)
{
	bool same = !strcmp(a->name, b->name) &&
		    !strcmp(a->content_type, b->content_type) &&
		    a->index_count == b->index_count;

	for (size_t i = 0; same && i < a->index_count; i++)
		same = !strcmp(a->indexes[i], b->indexes[i]);
	return same;
}

const char *wbi_shape_differs(const wbi_shape *a, const wbi_shape *b)
{
	if (strcmp(a->name, b->name) != 0)
		return "its name";
	if (a->version != b->version)
		return "its version";
	if (a->source != b->source)
		return "its source";
	if (a->table_count != b->table_count)
		return "the number of its tables";
	for (size_t i = 0; i < a->table_count; i++)
		if (!shape_same_table(&a->tables[i], &b->tables[i]))
			return "its tables or their indexes";
	return NULL;
}

size_t wbi_shape_table_of(const wbi_shape *shape, const char *name)
{
	if (!name)
		return shape->table_count == 1 ? 0 : SIZE_MAX;
	for (size_t i = 0; i < shape->table_count; i++)
		if (!strcmp(shape->tables[i].name, name))
			return i;
	return SIZE_MAX;
}

size_t wbi_shape_index_of(const wbi_shape_table *table, const char *name)
{
	for (size_t i = 0; i < table->index_count; i++)
		if (!strcmp(table->indexes[i], name))
			return i;
	return SIZE_MAX;
}

wb_code wbi_types_of(const wb_projection *p, wbi_types *ret, wb_error *err)
{
	size_t count = 0;

	while (p->types && p->types[count]) {
		const char *pattern = p->types[count];

		if (count == WBI_MODEL_TYPES_MAX)
			return WBI_FAIL(err, WB_EINVAL,
					"projection %s: over %d types", p->name,
					WBI_MODEL_TYPES_MAX);
		if (!wbi_topic_compile(&ret->topics[count],
				       wb_str_from(pattern)))
			return WBI_FAIL(err, WB_EINVAL,
					"projection %s: type \"%.80s\": * and # "
					"stand for whole words between dots",
					p->name, pattern);
		count++;
	}
	if (count == 0)
		return WBI_FAIL(err, WB_EINVAL,
				"projection %s: types is empty: name the types "
				"that it takes; \"#\" is all of them",
				p->name);
	ret->count = count;
	return WB_OK;
}

bool wbi_types_take(const wbi_types *types, wb_str type)
{
	for (size_t i = 0; i < types->count; i++)
		if (wbi_topic_takes(&types->topics[i], type))
			return true;
	return false;
}
