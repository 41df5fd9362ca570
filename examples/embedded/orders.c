/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The shop's data. The environment is the shop's: it sets the map size, opens
 * it, and owns the transactions; waybill is a guest with tables named
 * "waybill.*". A crash at any point leaves an order with its event, or neither.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "examples/embedded/shop.h"

static wb_code orders_tables(shop *s, wb_error *err)
{
	MDB_txn *txn;
	int rc = mdb_txn_begin(s->env, NULL, 0, &txn);

	if (rc == 0) {
		rc = mdb_dbi_open(txn, "orders", MDB_CREATE, &s->orders);
		if (rc == 0)
			rc = mdb_dbi_open(txn, "stock", MDB_CREATE, &s->stock);
		if (rc == 0)
			rc = mdb_txn_commit(txn);
		else
			mdb_txn_abort(txn);
	}
	return wb_store_error(rc, err, "the shop's tables");
}

/* MDB_NOTLS, and room for waybill's tables beside one's own: that is all it
 * asks of an environment. */
static wb_code orders_environment(shop *s, const char *dir, wb_error *err)
{
	int rc;

	if (mkdir(dir, 0700) != 0 && errno != EEXIST)
		return wb_error_set(err, WB_EIO, errno, __func__,
				    "%s: cannot make the directory", dir);
	rc = mdb_env_create(&s->env);
	if (rc == 0)
		rc = mdb_env_set_mapsize(s->env, (size_t)1 << 30);
	if (rc == 0)
		rc = mdb_env_set_maxdbs(s->env, WB_STORE_TABLES + 2);
	if (rc == 0)
		rc = mdb_env_open(s->env, dir, MDB_NOTLS, 0600);
	return wb_store_error(rc, err, dir);
}

wb_code shop_open(shop *s, const char *dir, wb_error *err)
{
	wb_store_options options = WB_STORE_OPTIONS_INIT;

	options.service = "shop";
	if (orders_environment(s, dir, err) || orders_tables(s, err) ||
	    wb_store_attach(s->env, &options, &s->store, err))
		return err->code;
	return wb_outbox_open(s->store, NULL, &s->outbox, err);
}

void shop_close(shop *s)
{
	wb_outbox_close(s->outbox);
	wb_store_close(s->store);
	if (s->env)
		mdb_env_close(s->env);
}

static int orders_put(MDB_txn *txn, MDB_dbi table, const char *key,
		      const char *value)
{
	MDB_val k = {strlen(key), (void *)key};
	MDB_val v = {strlen(value), (void *)value};

	return mdb_put(txn, table, &k, &v, 0);
}

wb_code shop_stock(shop *s, const char *item, long count, wb_error *err)
{
	char text[32];
	MDB_txn *txn;
	int rc = mdb_txn_begin(s->env, NULL, 0, &txn);

	if (rc == 0) {
		snprintf(text, sizeof(text), "%ld", count);
		rc = orders_put(txn, s->stock, item, text);
		if (rc == 0)
			rc = mdb_txn_commit(txn);
		else
			mdb_txn_abort(txn);
	}
	return wb_store_error(rc, err, "stock");
}

wb_code shop_order(shop *s, const char *order, const char *item, long count,
		   wb_error *err)
{
	char row[SHOP_NAME_MAX + 64], data[32];
	wb_event event = {.type = wb_str_from("order.placed"),
			  .subject = wb_str_from(order),
			  .key = wb_str_from(item), /* in order per item */
			  .content_type = wb_str_from("text/plain")};
	MDB_txn *txn;
	int rc = mdb_txn_begin(s->env, NULL, 0, &txn);

	if (rc != 0)
		return wb_store_error(rc, err, "a transaction");
	snprintf(row, sizeof(row), "placed %s %ld", item, count);
	snprintf(data, sizeof(data), "%ld", count);
	event.data = wb_str_from(data);
	rc = orders_put(txn, s->orders, order, row);
	if (wb_store_error(rc, err, "orders") ||
	    wb_outbox_append(s->outbox, txn, &event, NULL, err)) {
		mdb_txn_abort(txn);
		return err->code;
	}
	return wb_store_error(mdb_txn_commit(txn), err, "commit");
}

long shop_left(shop *s)
{
	MDB_cursor *cursor;
	MDB_val key, value;
	char text[32];
	long left = 0;
	MDB_txn *txn;

	if (mdb_txn_begin(s->env, NULL, MDB_RDONLY, &txn) != 0)
		return -1;
	if (mdb_cursor_open(txn, s->stock, &cursor) == 0) {
		while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0) {
			snprintf(text, sizeof(text), "%.*s",
				 (int)value.mv_size, (char *)value.mv_data);
			left += strtol(text, NULL, 10);
		}
		mdb_cursor_close(cursor);
	}
	mdb_txn_abort(txn);
	return left;
}

size_t shop_count(shop *s, const char *state)
{
	size_t count = 0, len = strlen(state);
	MDB_cursor *cursor;
	MDB_val key, value;
	MDB_txn *txn;

	if (mdb_txn_begin(s->env, NULL, MDB_RDONLY, &txn) != 0)
		return 0;
	if (mdb_cursor_open(txn, s->orders, &cursor) == 0) {
		while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0)
			count += value.mv_size > len &&
				 !memcmp(value.mv_data, state, len) &&
				 ((char *)value.mv_data)[len] == ' ';
		mdb_cursor_close(cursor);
	}
	mdb_txn_abort(txn);
	return count;
}
