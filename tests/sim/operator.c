/* SPDX-License-Identifier: BSD-2-Clause */
/* See operator.h: short transactions on the relay's environment, as the
 * command makes them; nothing is kept between calls. */
#include "tests/sim/operator.h"

#include <stdio.h>

#include "lib/event/record.h"
#include "outbox/parked.h"

static const wbi_actor operator_self = {{"operator", 8}, {NULL, 0}};

static void operator_take(sim_parked_list *list, wb_str key, uint64_t position,
			  const wbi_parked *parked)
{
	const sim_parked_row *last =
		list->count ? &list->rows[list->count - 1] : NULL;
	sim_parked_row *row = &list->rows[list->count++];
	wb_event event = {.id = WB_STR_NULL};
	uint64_t stored;

	*row = (sim_parked_row){.position = position};
	(void)wbi_record_decode(parked->record.ptr, parked->record.len, &event,
				&stored, NULL);
	snprintf(row->key, sizeof(row->key), "%.*s", (int)key.len, key.ptr);
	snprintf(row->id, sizeof(row->id), "%.*s", (int)event.id.len,
		 event.id.ptr ? event.id.ptr : "");
	if (last && key.len > 0 && wb_str_eq(wb_str_from(last->key), key))
		row->behind = last->behind + 1;
}

static bool operator_visit(void *ctx, wb_str key, uint64_t position,
			   const wbi_parked *row)
{
	sim_parked_list *list = ctx;

	list->total++;
	if (list->count < SIM_PARKED_MAX)
		operator_take(list, key, position, row);
	return true;
}

wb_code sim_operator_list(wb_store *store, sim_parked_list *ret, wb_error *err)
{
	MDB_txn *txn;
	wb_code code = wbi_txn_begin(wbi_store_relay_env(store), false, &txn,
				     err);

	ret->count = 0;
	ret->total = 0;
	if (code != WB_OK)
		return code;
	code = wbi_parked_each(store, txn, NULL, operator_visit, ret, err);
	wbi_txn_abort(txn);
	return code;
}

wb_code sim_operator_held(wb_store *store, uint64_t *ret, wb_error *err)
{
	uint64_t bytes;
	MDB_txn *txn;
	wb_code code = wbi_txn_begin(wbi_store_relay_env(store), false, &txn,
				     err);

	if (code != WB_OK)
		return code;
	code = wbi_table_size(txn, wbi_store_relay_tables(store)->held, &bytes,
			      ret, err);
	wbi_txn_abort(txn);
	return code;
}

wb_code sim_operator_retry(wb_store *store, const sim_parked_row *row,
			   wb_error *err)
{
	wb_error why = WB_ERROR_INIT;
	wb_code code = wbi_parked_retry(store, wb_str_from(row->key),
					row->position, &operator_self, &why);

	if (code == WB_OK || code == WB_ENOTFOUND)
		return WB_OK;
	return wb_error_set(err, code, why.foreign, __func__, "%s", why.text);
}

wb_code sim_operator_discard(wb_store *store, const sim_parked_row *row,
			     bool *ret, wb_error *err)
{
	wb_error why = WB_ERROR_INIT;
	wb_code code = wbi_parked_discard(store, wb_str_from(row->key),
					  row->position, &operator_self, &why);

	*ret = code == WB_OK;
	if (code == WB_OK || code == WB_ENOTFOUND || code == WB_EAGAIN)
		return WB_OK;
	return wb_error_set(err, code, why.foreign, __func__, "%s", why.text);
}
