/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rows and their index entries, changed together in the caller's transaction:
 * an index is a function of its table at every commit. A put reads the row that
 * it replaces, if the table has an index, and changes only those entries that
 * differ.
 */
#include "projections/model.h"

#include "lib/base/error.h"

const wb_projection *wb_model_projection(const wb_model *model)
{
	return model->projection;
}

uint64_t wb_model_position(const wb_model *model)
{
	return model->position;
}

/* A failure of the environment, remembered; WB_ENOTFOUND is an answer. */
static wb_code model_result(wb_model *model, wb_code code, wb_error *cause,
			    wb_error *err)
{
	if (code == WB_OK || code == WB_ENOTFOUND)
		return code;
	if (model->broken.code == WB_OK)
		model->broken = *cause;
	wbi_error_pass(err, cause);
	return code;
}

static wb_code model_check(const wb_model *model, size_t table, wb_str key,
			   wb_error *err)
{
	const wb_projection *p = model->projection;

	if (table >= p->table_count)
		return WBI_FAIL(err, WB_EINVAL,
				"projection %s declares %zu tables, none has "
				"the number %zu",
				p->name, p->table_count, table);
	if (key.len < 1 || key.len > WB_MODEL_KEY_MAX)
		return WBI_FAIL(err, WB_EINVAL,
				"table %s: a key of %zu bytes: 1 to %d",
				p->tables[table].name, key.len,
				WB_MODEL_KEY_MAX);
	return WB_OK;
}

wb_code wb_model_get(wb_model *model, size_t table, wb_str key,
		     wb_str *ret_value, wb_error *err)
{
	wb_error cause = WB_ERROR_INIT;
	wb_code code = model_check(model, table, key, err);

	if (code != WB_OK)
		return code;
	code = wbi_get(model->txn, model->gen->tables[table], key, ret_value,
		       &cause);
	return model_result(model, code, &cause, err);
}

/* ---- indexes ------------------------------------------------------------- */

static wb_code model_keys(const wb_model_index *index, wb_str key, wb_str value,
			  wb_index_keys *ret, wb_error *err)
{
	wb_error cause = WB_ERROR_INIT;
	wb_code code;

	ret->count = ret->used = 0;
	code = index->keys(ret, key, value, &cause);
	if (code == WB_OK)
		return WB_OK;
	return WBI_FAIL_FOREIGN(err, code, cause.foreign, "index %s: %.400s",
				index->name,
				cause.text[0] ? cause.text : wb_code_text(code));
}

/* Would every entry fit? */
static wb_code model_fits(const wb_model_index *index, wb_str key,
			  const wb_index_keys *keys, wb_error *err)
{
	wbi_index_entry entry;

	for (size_t i = 0; i < keys->count; i++) {
		wb_str index_key = wbi_index_keys_at(keys, i);

		if (!wbi_index_entry_make(index_key, key, &entry))
			return WBI_FAIL(err, WB_ELIMIT,
					"index %s: its key of %zu bytes and "
					"the row's of %zu are together over %d",
					index->name, index_key.len, key.len,
					WBI_INDEX_ENTRY_MAX);
	}
	return WB_OK;
}

/* The keys of the row in all indexes, before and after: the functions are asked
 * and answer before anything is changed. NULL: there is no such row. */
static wb_code model_judge(wb_model *model, size_t table, wb_str key,
			   const wb_str *old, const wb_str *new, wb_error *err)
{
	const wb_model_table *t = &model->projection->tables[table];
	wb_code code = WB_OK;

	for (size_t i = 0; code == WB_OK && i < t->index_count; i++) {
		const wb_model_index *index = &t->indexes[i];

		model->before[i].count = model->after[i].count = 0;
		if (old)
			code = model_keys(index, key, *old, &model->before[i],
					  err);
		if (code == WB_OK && new)
			code = model_keys(index, key, *new, &model->after[i],
					  err);
		if (code == WB_OK)
			code = model_fits(index, key, &model->after[i], err);
	}
	return code;
}

/* Put or delete those entries of `from` that `keep` does not have. */
static wb_code model_entries(wb_model *model, const char *name,
			     wbi_table entries, wb_str key,
			     const wb_index_keys *from,
			     const wb_index_keys *keep, bool put, wb_error *err)
{
	wbi_index_entry entry;
	wb_code code = WB_OK;

	for (size_t i = 0; code == WB_OK && i < from->count; i++) {
		wb_str index_key = wbi_index_keys_at(from, i);
		wb_str bytes;

		if (wbi_index_keys_have(keep, index_key))
			continue;
		/* One that did not fit was never put. */
		if (!wbi_index_entry_make(index_key, key, &entry))
			continue;
		bytes = wb_str_n(entry.bytes, entry.len);
		code = put ? wbi_put(model->txn, entries, bytes, WB_STR_NULL,
				     err)
			   : wbi_del(model->txn, entries, bytes, err);
	}
	if (code == WB_ENOTFOUND)
		return WBI_FAIL(err, WB_ECORRUPT,
				"index %s lacks an entry: its function has "
				"changed, or is not one of the row alone; "
				"raise the projection's version",
				name);
	return code;
}

static wb_code model_reindex(wb_model *model, size_t table, wb_str key,
			     wb_error *err)
{
	const wb_model_table *t = &model->projection->tables[table];
	wb_error cause = WB_ERROR_INIT;
	wb_code code = WB_OK;

	for (size_t i = 0; code == WB_OK && i < t->index_count; i++) {
		const wb_index_keys *before = &model->before[i];
		const wb_index_keys *after = &model->after[i];
		wbi_table entries = model->gen->indexes[table][i];
		const char *name = t->indexes[i].name;

		code = model_entries(model, name, entries, key, before, after,
				     false, &cause);
		if (code == WB_OK)
			code = model_entries(model, name, entries, key, after,
					     before, true, &cause);
	}
	return model_result(model, code, &cause, err);
}

/* ---- put and del --------------------------------------------------------- */

static wb_code model_old(wb_model *model, size_t table, wb_str key,
			 wb_str *value, const wb_str **ret, wb_error *err)
{
	wb_code code = wb_model_get(model, table, key, value, err);

	*ret = code == WB_OK ? value : NULL;
	return code == WB_ENOTFOUND ? WB_OK : code;
}

wb_code wb_model_put(wb_model *model, size_t table, wb_str key, wb_str value,
		     wb_error *err)
{
	wb_error cause = WB_ERROR_INIT;
	const wb_str *old;
	wb_str row;
	wb_code code = model_check(model, table, key, err);

	if (code != WB_OK)
		return code;
	if (value.len > WB_MODEL_VALUE_MAX)
		return WBI_FAIL(err, WB_ELIMIT,
				"table %s: a value of %zu bytes, at most %d",
				model->projection->tables[table].name,
				value.len, WB_MODEL_VALUE_MAX);
	if (model->projection->tables[table].index_count > 0) {
		code = model_old(model, table, key, &row, &old, err);
		if (code == WB_OK)
			code = model_judge(model, table, key, old, &value, err);
		if (code == WB_OK)
			code = model_reindex(model, table, key, err);
	}
	if (code != WB_OK)
		return code;
	code = wbi_put(model->txn, model->gen->tables[table], key, value,
		       &cause);
	return model_result(model, code, &cause, err);
}

wb_code wb_model_del(wb_model *model, size_t table, wb_str key, wb_error *err)
{
	wb_error cause = WB_ERROR_INIT;
	const wb_str *old;
	wb_str row;
	wb_code code = model_check(model, table, key, err);

	if (code != WB_OK)
		return code;
	if (model->projection->tables[table].index_count > 0) {
		code = model_old(model, table, key, &row, &old, err);
		if (code == WB_OK && !old)
			return WB_ENOTFOUND;
		if (code == WB_OK)
			code = model_judge(model, table, key, old, NULL, err);
		if (code == WB_OK)
			code = model_reindex(model, table, key, err);
		if (code != WB_OK)
			return code;
	}
	code = wbi_del(model->txn, model->gen->tables[table], key, &cause);
	return model_result(model, code, &cause, err);
}
