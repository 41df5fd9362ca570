/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A generation's environment and its tables. All tables and the rows that say
 * what it is are made in one transaction, so a crash leaves a model or a
 * directory in which nobody finds one; that is removed and made anew.
 *
 * Written while opening only: any number of threads may use one afterwards.
 */
#include "projections/generation.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/base/assert.h"
#include "lib/base/bytes.h"
#include "lib/base/crc32c.h"
#include "lib/base/error.h"
#include "lib/base/hash.h"
#include "lib/store/copy.h"

#define GENERATION_MAP (UINT64_C(16) << 30)
enum {
	GENERATION_OWN_TABLES = 4, /* and `origins` of some */
	GENERATION_DBS_MAX = GENERATION_OWN_TABLES + 1 +
			     WB_MODEL_TABLES_MAX * (1 + WB_MODEL_INDEXES_MAX)
};

static wb_code generation_open_env(wbi_generation *gen, const char *dir,
				   const wbi_generation_options *options,
				   bool make, wb_error *err)
{
	wbi_env_options o = {.max_dbs = GENERATION_DBS_MAX,
			     .no_sync = options && options->no_sync};
	bool exists;
	wb_code code = wbi_env_check_files(dir, &exists, err);

	if (code != WB_OK)
		return code;
	if (make) {
		o.map_bytes = options ? options->map_bytes : 0;
		if (o.map_bytes == 0)
			o.map_bytes = GENERATION_MAP;
		return wbi_env_open(dir, &o, &gen->env, err);
	}
	if (!exists)
		return WBI_FAIL(err, WB_ENOTFOUND, "no read model in \"%s\"",
				dir);
	return wbi_env_open_checked(dir, &o, &gen->env, err);
}

static wb_code generation_own_tables(wbi_generation *gen, MDB_txn *txn,
				     bool make, wb_error *err)
{
	wb_code code = wbi_table_open(txn, "meta", WBI_TABLE_BYTES, make,
				      &gen->meta, err);

	if (code == WB_OK)
		code = wbi_table_open(txn, "aside", WBI_TABLE_BYTES, make,
				      &gen->aside, err);
	if (code == WB_OK)
		code = wbi_table_open(txn, "aside_keys", WBI_TABLE_BYTES, make,
				      &gen->aside_keys, err);
	if (code == WB_OK)
		code = wbi_table_open(txn, "skipped", WBI_TABLE_BYTES, make,
				      &gen->skipped, err);
	return code;
}

static void generation_table_name(const wbi_shape_table *t, size_t index,
				  char ret[WBI_GENERATION_TABLE_NAME])
{
	if (index == SIZE_MAX)
		snprintf(ret, WBI_GENERATION_TABLE_NAME, "t.%s", t->name);
	else
		snprintf(ret, WBI_GENERATION_TABLE_NAME, "i.%s.%s", t->name,
			 t->indexes[index]);
}

static wb_code generation_user_tables(wbi_generation *gen, MDB_txn *txn,
				      bool make, wb_error *err)
{
	char name[WBI_GENERATION_TABLE_NAME];
	wb_code code = WB_OK;

	if (gen->shape.source == WB_PROJECTION_STREAM)
		code = wbi_table_open(txn, "origins", WBI_TABLE_BYTES, make,
				      &gen->origins, err);
	for (size_t i = 0; code == WB_OK && i < gen->shape.table_count; i++) {
		const wbi_shape_table *t = &gen->shape.tables[i];

		generation_table_name(t, SIZE_MAX, name);
		code = wbi_table_open(txn, name, WBI_TABLE_BYTES, make,
				      &gen->tables[i], err);
		for (size_t j = 0; code == WB_OK && j < t->index_count; j++) {
			generation_table_name(t, j, name);
			code = wbi_table_open(txn, name, WBI_TABLE_BYTES, make,
					      &gen->indexes[i][j], err);
		}
	}
	return code;
}

static wb_code generation_new(uint32_t number, wbi_generation **ret,
			      wb_error *err)
{
	wbi_generation *gen = calloc(1, sizeof(*gen));

	if (!gen)
		return WBI_FAIL(err, WB_ENOMEM, "open a read model");
	gen->number = number;
	*ret = gen;
	return WB_OK;
}

static wb_code generation_fill(wbi_generation *gen, const char *origin,
			       wb_error *err)
{
	wbi_checkpoint checkpoint = {.position = 0};
	MDB_txn *txn;
	wb_code code = wbi_txn_begin(gen->env, true, &txn, err);

	if (code != WB_OK)
		return code;
	snprintf(checkpoint.origin, sizeof(checkpoint.origin), "%s", origin);
	code = generation_own_tables(gen, txn, true, err);
	if (code == WB_OK)
		code = generation_user_tables(gen, txn, true, err);
	if (code == WB_OK)
		code = wbi_shape_put(txn, gen->meta, &gen->shape, err);
	if (code == WB_OK)
		code = wbi_checkpoint_put(txn, gen->meta, &checkpoint, err);
	if (code == WB_OK)
		return wbi_txn_commit(txn, err);
	wbi_txn_abort(txn);
	return code;
}

wb_code wbi_generation_make(const char *dir, uint32_t number,
			    const wbi_shape *shape, const char *origin,
			    const wbi_generation_options *options,
			    wbi_generation **ret, wb_error *err)
{
	wbi_generation *gen = NULL;
	wb_code code = generation_new(number, &gen, err);

	if (code != WB_OK)
		return code;
	gen->shape = *shape;
	code = generation_open_env(gen, dir, options, true, err);
	if (code == WB_OK)
		code = generation_fill(gen, origin, err);
	if (code != WB_OK) {
		wbi_generation_close(gen);
		return code;
	}
	*ret = gen;
	return WB_OK;
}

/* An interrupted making leaves an environment without tables. */
static wb_code generation_load(wbi_generation *gen, const char *dir,
			       wb_error *err)
{
	wb_error cause = WB_ERROR_INIT;
	MDB_txn *txn;
	wb_code code = wbi_txn_begin(gen->env, false, &txn, err);

	if (code != WB_OK)
		return code;
	code = generation_own_tables(gen, txn, false, &cause);
	if (code == WB_OK)
		code = wbi_shape_get(txn, gen->meta, &gen->shape, &cause);
	if (code == WB_OK)
		code = generation_user_tables(gen, txn, false, &cause);
	if (code == WB_OK)
		return wbi_txn_commit(txn, err); /* keeps the table handles */
	wbi_txn_abort(txn);
	if (code == WB_ENOTFOUND)
		return WBI_FAIL(err, code, "no read model in \"%s\"", dir);
	return WBI_FAIL(err, code, "\"%s\": %.300s", dir, cause.text);
}

wb_code wbi_generation_open(const char *dir, uint32_t number,
			    const wbi_generation_options *options,
			    wbi_generation **ret, wb_error *err)
{
	wbi_generation *gen = NULL;
	wb_code code = generation_new(number, &gen, err);

	if (code != WB_OK)
		return code;
	code = generation_open_env(gen, dir, options, false, err);
	if (code == WB_OK)
		code = generation_load(gen, dir, err);
	if (code != WB_OK) {
		wbi_generation_close(gen);
		return code;
	}
	*ret = gen;
	return WB_OK;
}

void wbi_generation_close(wbi_generation *gen)
{
	if (!gen)
		return;
	wbi_env_close(gen->env);
	free(gen);
}

/* ---- all of it ----------------------------------------------------------- */

bool wbi_generation_table_at(const wbi_generation *gen, size_t at,
			     wbi_generation_table *ret)
{
	const struct {
		const char *name;
		wbi_table table;
	} own[GENERATION_OWN_TABLES] = {{"meta", gen->meta},
					{"aside", gen->aside},
					{"aside_keys", gen->aside_keys},
					{"skipped", gen->skipped}};

	if (at < GENERATION_OWN_TABLES) {
		snprintf(ret->name, sizeof(ret->name), "%s", own[at].name);
		ret->table = own[at].table;
		return true;
	}
	at -= GENERATION_OWN_TABLES;
	if (gen->shape.source == WB_PROJECTION_STREAM && at-- == 0) {
		snprintf(ret->name, sizeof(ret->name), "origins");
		ret->table = gen->origins;
		return true;
	}
	for (size_t i = 0; i < gen->shape.table_count; i++) {
		const wbi_shape_table *t = &gen->shape.tables[i];

		if (at <= t->index_count) {
			generation_table_name(t, at == 0 ? SIZE_MAX : at - 1,
					      ret->name);
			ret->table = at == 0 ? gen->tables[i]
					     : gen->indexes[i][at - 1];
			return true;
		}
		at -= t->index_count + 1;
	}
	return false;
}

/* Lengths go in, too: no two sequences of rows look alike. */
typedef struct digest {
	uint64_t a, b;
	uint32_t crc;
	uint64_t rows;
} digest;

static void digest_add(digest *d, wb_str bytes)
{
	uint8_t len[8];

	wbi_put_le64(len, bytes.len);
	d->crc = wbi_crc32c(d->crc, len, sizeof(len));
	if (bytes.len > 0)
		d->crc = wbi_crc32c(d->crc, bytes.ptr, bytes.len);
	d->a = wbi_hash(d->a ^ d->crc, bytes.ptr, bytes.len);
	d->b = d->b * UINT64_C(0x9e3779b97f4a7c15) + d->a;
}

static wb_code digest_table(digest *d, MDB_txn *txn,
			    const wbi_generation_table *table, wb_error *err)
{
	wbi_move move = WBI_FIRST;
	wbi_cursor *cursor;
	wb_str key = WB_STR_NULL, value;
	wb_code code = wbi_cursor_open(txn, table->table, &cursor, err);

	if (code != WB_OK)
		return code;
	digest_add(d, wb_str_from(table->name));
	while (code == WB_OK) {
		code = wbi_cursor_move(cursor, move, &key, &value, err);
		move = WBI_NEXT;
		if (code != WB_OK || wbi_is_projector_row(key))
			continue;
		digest_add(d, key);
		digest_add(d, value);
		d->rows++;
	}
	wbi_cursor_close(cursor);
	return code == WB_ENOTFOUND ? WB_OK : code;
}

wb_code wbi_projection_digest(const wbi_generation *gen, MDB_txn *txn,
			      char ret[WBI_DIGEST_LEN + 1], uint64_t *ret_rows,
			      wb_error *err)
{
	digest d = {.rows = 0};
	wbi_generation_table table;
	wb_code code = WB_OK;

	for (size_t i = 0;
	     code == WB_OK && wbi_generation_table_at(gen, i, &table); i++)
		code = digest_table(&d, txn, &table, err);
	if (code != WB_OK)
		return code;
	snprintf(ret, WBI_DIGEST_LEN + 1, "%016llx%016llx",
		 (unsigned long long)d.a, (unsigned long long)d.b);
	if (ret_rows)
		*ret_rows = d.rows;
	return WB_OK;
}
