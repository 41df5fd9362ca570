/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reading what stands in a model's directory, beside whoever writes it. Each
 * look is one read transaction; nothing is kept. Any thread.
 */
#include "projections/inspect.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/owner.h"
#include "lib/journal/inbox_rows.h"
#include "lib/store/place.h"
#include "projections/origins.h"

enum { INSPECT_MODELS_MAX = 1024 };

static int inspect_is_model(const struct dirent *entry)
{
	return wbi_model_name_ok(entry->d_name);
}

wb_code wbi_models_list(const char *dir,
			wb_code (*see)(void *ctx, const char *name,
				       wb_error *err),
			void *ctx, wb_error *err)
{
	struct dirent **entries = NULL;
	char path[PATH_MAX];
	wb_code code = wbi_place_join(dir, "projections", path, sizeof(path),
				      err);
	int count;

	if (code != WB_OK)
		return code;
	count = scandir(path, &entries, inspect_is_model, alphasort);
	if (count < 0 && errno == ENOENT)
		return WB_OK;
	if (count < 0)
		return wbi_fail_errno(err, errno, __func__, "\"%s\"", path);
	for (int i = 0; i < count; i++) {
		if (code == WB_OK && i < INSPECT_MODELS_MAX)
			code = see(ctx, entries[i]->d_name, err);
		free(entries[i]);
	}
	free(entries);
	return code;
}

/* ---- one model ----------------------------------------------------------- */

/* Somebody holds the lock, or nobody does; it is given back at once. */
static wb_code inspect_owner(const wbi_home *home, bool *ret_running,
			     uint64_t *ret_pid, int *ret_fd, wb_error *err)
{
	char path[PATH_MAX];
	int64_t pid = 0;
	int fd = -1;
	wb_code code = wbi_place_join(wbi_home_dir(home), "owner", path,
				      sizeof(path), err);

	if (code == WB_OK)
		code = wbi_owner_take(path, &fd, &pid, err);
	*ret_running = code == WB_EBUSY;
	*ret_pid = (uint64_t)pid;
	if (code == WB_EBUSY)
		return WB_OK;
	if (code == WB_OK && ret_fd)
		*ret_fd = fd;
	else if (code == WB_OK)
		close(fd);
	return code;
}

wb_code wbi_model_look(wbi_home *home, wbi_model_info *ret, wb_error *err)
{
	wbi_request request;
	wb_code code;

	memset(ret, 0, sizeof(*ret));
	code = wbi_home_pointer(home, &ret->pointer, err);
	if (code == WB_OK)
		code = wbi_building_read(home, &ret->building, err);
	if (code == WB_OK)
		code = wbi_request_next(home, &request, &ret->asked, err);
	if (code == WB_OK)
		code = inspect_owner(home, &ret->running, &ret->pid, NULL, err);
	ret->paused = wbi_home_has(home, "paused");
	return code;
}

/* ---- one generation ------------------------------------------------------ */

static wb_code inspect_count(const wbi_generation *gen, MDB_txn *txn,
			     wbi_generation_info *ret, wb_error *err)
{
	uint64_t bytes, rows;
	wb_code code = wbi_table_size(txn, gen->aside_keys, &bytes,
				      &ret->aside_keys, err);

	if (code == WB_OK)
		code = wbi_table_size(txn, gen->aside, &bytes,
				      &ret->aside_events, err);
	if (code == WB_OK)
		code = wbi_table_size(txn, gen->skipped, &bytes, &ret->skipped,
				      err);
	for (size_t i = 0; code == WB_OK && i < gen->shape.table_count; i++) {
		code = wbi_table_size(txn, gen->tables[i], &bytes, &rows, err);
		ret->rows += code == WB_OK ? rows : 0;
	}
	return code;
}

static wb_code inspect_read(const wbi_generation *gen,
			    wbi_generation_info *ret, wb_error *err)
{
	MDB_txn *txn;
	wb_code code = wbi_txn_begin(gen->env, false, &txn, err);

	if (code != WB_OK)
		return code;
	ret->shape = gen->shape;
	code = wbi_checkpoint_get(txn, gen->meta, &ret->at, err);
	if (code == WB_OK) {
		code = wbi_projector_row_get(txn, gen->meta, &ret->row, err);
		ret->said = code == WB_OK;
		if (code == WB_ENOTFOUND)
			code = WB_OK;
	}
	if (code == WB_OK)
		code = inspect_count(gen, txn, ret, err);
	wbi_txn_abort(txn);
	return code;
}

wb_code wbi_generation_look(wbi_home *home, uint32_t number,
			    wbi_generation_info *ret, wb_error *err)
{
	char path[PATH_MAX + 64];
	wbi_generation *gen;
	struct stat st;
	wb_code code;

	memset(ret, 0, sizeof(*ret));
	ret->number = number;
	code = wbi_home_take(home, number, NULL, &gen, err);
	if (code != WB_OK)
		return code;
	code = inspect_read(gen, ret, err);
	wbi_home_give(home, gen);
	snprintf(path, sizeof(path), "%s/gen-%u/data.mdb", wbi_home_dir(home),
		 number);
	if (stat(path, &st) == 0)
		ret->file_bytes = (uint64_t)st.st_blocks * 512;
	return code;
}

wb_code wbi_missing_look(wbi_home *home, uint32_t number,
			 char ret_origin[WBI_ORIGIN_LEN + 1], uint64_t *ret,
			 wb_error *err)
{
	wbi_generation *gen;
	MDB_txn *txn;
	wb_code code = wbi_home_take(home, number, NULL, &gen, err);

	*ret = 0;
	if (code != WB_OK)
		return code;
	if (gen->shape.source == WB_PROJECTION_STREAM) {
		code = wbi_txn_begin(gen->env, false, &txn, err);
		if (code == WB_OK) {
			code = wbi_origins_first_missing(txn, gen, ret_origin,
							 ret, err);
			wbi_txn_abort(txn);
		}
	}
	wbi_home_give(home, gen);
	return code;
}

wb_code wbi_aside_list(wbi_home *home, uint32_t number, uint64_t most,
		       wb_code (*see)(void *ctx, wb_str unit,
				      const wbi_aside_key *key, wb_error *err),
		       void *ctx, wb_error *err)
{
	wb_str unit = WB_STR_NULL, row;
	wbi_cursor *cursor = NULL;
	wbi_move move = WBI_FIRST;
	wbi_aside_key key;
	wbi_generation *gen;
	MDB_txn *txn = NULL;
	wb_code code = wbi_home_take(home, number, NULL, &gen, err);

	if (code != WB_OK)
		return code;
	code = wbi_txn_begin(gen->env, false, &txn, err);
	if (code == WB_OK)
		code = wbi_cursor_open(txn, gen->aside_keys, &cursor, err);
	while (code == WB_OK && most-- > 0) {
		code = wbi_cursor_move(cursor, move, &unit, &row, err);
		move = WBI_NEXT;
		if (code == WB_OK)
			code = wbi_aside_key_decode(unit, row, &key, err);
		if (code == WB_OK)
			code = see(ctx, unit, &key, err);
	}
	wbi_cursor_close(cursor);
	wbi_txn_abort(txn);
	wbi_home_give(home, gen);
	return code == WB_ENOTFOUND ? WB_OK : code;
}

/* ---- removal ------------------------------------------------------------- */

wb_code wbi_generation_remove(wbi_home *home, uint32_t number, wb_error *err)
{
	uint32_t numbers[WBI_HOME_GENERATIONS_MAX];
	size_t count, i = 0;
	wbi_model_info info;
	wb_code code = wbi_model_look(home, &info, err);

	if (code == WB_OK)
		code = wbi_home_list(home, numbers, WBI_COUNT(numbers), &count,
				     err);
	if (code != WB_OK)
		return code;
	while (i < count && numbers[i] != number)
		i++;
	if (i == count)
		return WBI_FAIL(err, WB_ENOTFOUND,
				"projection %s has no generation %u",
				wbi_home_name(home), number);
	if (number == info.pointer.live ||
	    number == info.building.generation)
		return WBI_FAIL(err, WB_ESTATE,
				"projection %s: generation %u is %s",
				wbi_home_name(home), number,
				number == info.pointer.live
					? "the live one"
					: "being filled: discard it instead");
	return wbi_home_remove(home, number, err);
}

static wb_code remove_holds(wb_store *store, const char *name, wb_error *err)
{
	const wbi_store_tables *tables = wbi_store_get_tables(store);
	wbi_consumer row;
	MDB_txn *txn;
	wb_code code = wb_store_begin(store, &txn, err);

	if (code != WB_OK)
		return code;
	for (const char *journal = "oi"; *journal && code == WB_OK; journal++) {
		code = wbi_consumer_get(txn, tables->consumers, *journal,
					wb_str_from(name), &row, err);
		if (code == WB_OK && row.kind == WBI_CONSUMER_PROJECTION)
			code = wbi_consumer_del(txn, tables->consumers,
						*journal, wb_str_from(name),
						err);
		if (code == WB_ENOTFOUND)
			code = WB_OK;
	}
	if (code == WB_OK)
		return wb_store_commit(store, txn, err);
	wb_store_abort(txn);
	return code;
}

static wb_code remove_files(wbi_home *home, wb_error *err)
{
	static const char *const files[] = {
		"building",	   "paused",	      "request.resume",
		"request.heal",	   "request.rollback", "request.discard",
		"request.rebuild", "request.promote", "current"};
	uint32_t numbers[WBI_HOME_GENERATIONS_MAX];
	size_t count = 0;
	wb_code code = wbi_home_list(home, numbers, WBI_COUNT(numbers), &count,
				     err);

	for (size_t i = 0; code == WB_OK && i < WBI_COUNT(files); i++)
		code = wbi_home_unlink(home, files[i], err);
	for (size_t i = 0; code == WB_OK && i < count; i++)
		code = wbi_home_remove(home, numbers[i], err);
	return code;
}

/* The pointer goes first: a model that is half removed has none, and whoever
 * projects it next begins anew. */
wb_code wbi_model_remove(wbi_home *home, wb_store *store, wb_error *err)
{
	char path[PATH_MAX];
	bool running = false;
	uint64_t pid = 0;
	int owner = -1;
	wb_code code = inspect_owner(home, &running, &pid, &owner, err);

	if (code == WB_OK && running)
		return WBI_FAIL(err, WB_EBUSY,
				"projection %s is run by process %llu: stop "
				"that first",
				wbi_home_name(home), (unsigned long long)pid);
	if (code == WB_OK)
		code = remove_files(home, err);
	if (code == WB_OK && store)
		code = remove_holds(store, wbi_home_name(home), err);
	if (owner >= 0)
		close(owner);
	if (code != WB_OK)
		return code;
	snprintf(path, sizeof(path), "%s", wbi_home_dir(home));
	(void)wbi_home_unlink(home, "owner", NULL);
	(void)wbi_home_unlink(home, "open.lock", NULL);
	if (rmdir(path) && errno != ENOENT)
		return wbi_fail_errno(err, errno, __func__, "remove \"%s\"",
				      path);
	return WB_OK;
}
