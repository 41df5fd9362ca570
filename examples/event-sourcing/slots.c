/* SPDX-License-Identifier: BSD-2-Clause */
/* slots: what parking knows, read from its store while the worker writes it.
 * One short read transaction. */
#include <stdio.h>
#include <stdlib.h>

#include <waybill/store.h>

static wb_code print_all(wb_store *store, wb_error *err)
{
	MDB_cursor *cursor = NULL;
	MDB_val key, value;
	MDB_txn *txn;
	MDB_dbi table;
	int rc = mdb_txn_begin(wb_store_env(store), NULL, MDB_RDONLY, &txn);

	if (rc != 0)
		return wb_store_error(rc, err, "reading");
	rc = mdb_dbi_open(txn, "slots", 0, &table);
	if (rc == 0)
		rc = mdb_cursor_open(txn, table, &cursor);
	while (rc == 0) {
		rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
		if (rc == 0)
			printf("%.*s  %.*s\n", (int)key.mv_size,
			       (const char *)key.mv_data, (int)value.mv_size,
			       (const char *)value.mv_data);
	}
	if (cursor)
		mdb_cursor_close(cursor);
	mdb_txn_abort(txn);
	return rc == MDB_NOTFOUND ? WB_OK : wb_store_error(rc, err, "reading");
}

int main(void)
{
	const char *dir = getenv("PARKING_STORE");
	wb_error err = WB_ERROR_INIT;
	wb_store *store = NULL;
	wb_code code =
		wb_store_open(dir ? dir : "parking-store", NULL, &store, &err);

	if (code == WB_OK)
		code = print_all(store, &err);
	wb_store_close(store);
	if (code != WB_OK)
		fprintf(stderr, "slots: %s\n", err.text);
	return code == WB_OK ? 0 : 1;
}
