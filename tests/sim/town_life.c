/* SPDX-License-Identifier: BSD-2-Clause */
/* What people do in the town, as the command lines of the example do it: a
 * transaction each, beside the workers. */
#include <string.h>

#include "examples/orchestration/rows.h"
#include "saga/operator.h"
#include "tests/sim/town.h"

MDB_txn *town_begin(town_service *s, const char *table, MDB_dbi *ret)
{
	town *t = s->town;
	MDB_txn *txn = NULL;

	if (wb_store_begin(s->store, &txn, &t->err) != WB_OK ||
	    mdb_dbi_open(txn, table, MDB_CREATE, ret) != 0)
		town_fail(t, "%s: %s", s->name, t->err.text);
	return txn;
}

static void life_commit(town_service *s, MDB_txn *txn, wb_code code)
{
	if (code == WB_OK)
		code = wb_store_commit(s->store, txn, &s->town->err);
	else
		wb_store_abort(txn);
	if (code != WB_OK)
		town_fail(s->town, "%s: %s", s->name, s->town->err.text);
}

static void life_put(town_service *s, const char *table, const char *key,
		     const char *row)
{
	MDB_dbi dbi;
	MDB_txn *txn = town_begin(s, table, &dbi);

	life_commit(
		s, txn,
		row_put(txn, dbi, wb_str_from(key), &s->town->err, "%s", row));
}

void town_slot(town *t, const char *door)
{
	char name[16], row[32];

	snprintf(name, sizeof(name), "S%d", t->slots++);
	snprintf(row, sizeof(row), "available - %s", door);
	life_put(&t->all[TOWN_PARKING], SLOTS_TABLE, name, row);
}

void town_account(town *t, int64_t balance, const char *how)
{
	char name[16], row[48], text[MONEY_TEXT_MAX];

	t->balances[t->accounts] = balance;
	snprintf(name, sizeof(name), "a%d", t->accounts++);
	snprintf(row, sizeof(row), "%s %s", money_text(balance, text), how);
	life_put(&t->all[TOWN_BILLING], ACCOUNTS_TABLE, name, row);
}

void town_door(town *t, int slot, const char *door)
{
	town_service *s = &t->all[TOWN_PARKING];
	char name[16], row[ROW_MAX], state[16], ref[REF_LEN_MAX + 1];
	MDB_dbi dbi;
	MDB_txn *txn = town_begin(s, SLOTS_TABLE, &dbi);
	wb_code code;

	snprintf(name, sizeof(name), "S%d", slot);
	code = row_get(txn, dbi, wb_str_from(name), row, &t->err);
	if (code == WB_OK && sscanf(row, "%15s %100s", state, ref) != 2)
		town_fail(t, "slot %s: \"%s\"", name, row);
	if (code == WB_OK)
		code = row_put(txn, dbi, wb_str_from(name), &t->err, "%s %s %s",
			       state, ref, door);
	life_commit(s, txn, code);
}

size_t town_book(town *t, int slot, int account)
{
	town_service *s = &t->all[TOWN_BOOKING];
	town_saga *saga = &t->started[t->count];
	request r = {.amount = BOOKING_PRICE};
	char body[REQUEST_TEXT_MAX];
	wb_orchestrator *o = NULL;
	MDB_txn *txn = NULL;
	wb_code code;

	if (t->count == TOWN_SAGAS_MAX) {
		town_fail(t, "too many sagas");
		return 0;
	}
	snprintf(r.slot, sizeof(r.slot), "S%d", slot);
	snprintf(r.account, sizeof(r.account), "a%d", account);
	snprintf(saga->ref, sizeof(saga->ref), "S%d:%04zu", slot, t->count);
	saga->slot = slot;
	saga->account = account;
	code = wb_orchestrator_open(s->store, t->sagas, t->saga_count, NULL, &o,
				    &t->err);
	if (code == WB_OK)
		code = wb_store_begin(s->store, &txn, &t->err);
	if (code == WB_OK) {
		code = wb_saga_start(o, txn, "booking", wb_str_from(saga->ref),
				     wb_str_from("application/json"),
				     request_text(&r, body), &t->err);
		life_commit(s, txn, code);
	}
	wb_orchestrator_close(o);
	if (code != WB_OK)
		town_fail(t, "booking: %s", t->err.text);
	return t->count++;
}

bool town_answer(town *t, size_t saga, bool approve)
{
	town_service *s = &t->all[TOWN_BILLING];
	wb_str ref = wb_str_from(t->started[saga].ref);
	billing_tables tables;
	char row[ROW_MAX];
	MDB_txn *txn;
	wb_code code = wb_store_begin(s->store, &txn, &t->err);

	if (code != WB_OK) {
		town_fail(t, "billing: %s", t->err.text);
		return false;
	}
	code = billing_tables_open(txn, &tables, &t->err);
	if (code == WB_OK)
		code = row_get(txn, tables.bills, ref, row, &t->err);
	if (code != WB_OK || strncmp(row, "pending ", 8) != 0) {
		wb_store_abort(txn);
		return false;
	}
	town_log(t, "%s is %s", t->started[saga].ref,
		 approve ? "approved" : "declined");
	life_commit(
		s, txn,
		billing_answer(s->store, txn, &tables, ref, approve, &t->err));
	return true;
}

bool town_order(town *t, size_t saga, int verb)
{
	wbi_order_how how = {.verb = (wbi_verb)verb,
			     .actor = {wb_str_from("mayor"),
				       wb_str_from("it has been mended")}};
	wbi_saga_id id = {.kind = WBI_SAGA_ORCHESTRATED,
			  .id = wb_str_from(t->started[saga].ref)};
	wbi_row_key key = wbi_saga_key(&id);
	wbi_order_item item = {.key = wbi_row_key_str(&key)};
	size_t count = 0;

	if (wbi_order_give(t->all[TOWN_BOOKING].store, &how, &item, 1, &count,
			   &t->err) != WB_OK)
		town_fail(t, "an order: %s", t->err.text);
	town_log(t, "%s %s: %s", wbi_verb_name(how.verb), t->started[saga].ref,
		 item.done ? "ordered" : item.text);
	return item.done;
}

/* ---- what comes once more ------------------------------------------------ */

void town_resend(town *t)
{
	const char *queue =
		t->all[seeded_random_below(&t->random, TOWN_SERVICES)].name;
	wb_memory_queue_stat stat = wb_memory_get_queue_stat(t->memory, queue);
	const wb_message *old = wb_memory_arrival(
		t->memory, queue,
		seeded_random_below(&t->random, stat.arrived));
	wb_header headers[64];
	char id[40];
	wb_message m;
	wb_code code;

	if (!old || old->header_count > 64)
		return;
	m = *old;
	snprintf(id, sizeof(id), "again-%llu", (unsigned long long)++t->resent);
	memcpy(headers, old->headers, old->header_count * sizeof(headers[0]));
	for (size_t i = 0; i < m.header_count; i++)
		if (wb_str_eq(headers[i].name, wb_str_from("ce-id")))
			headers[i].value = wb_str_from(id);
	m.headers = headers;
	m.message_id = wb_str_from(id);
	code = wb_memory_put(t->memory, &m, &t->err);
	if (code != WB_OK && code != WB_ENOTFOUND)
		town_fail(t, "once more: %s", t->err.text);
	town_log(t, "once more to %s: %.*s", queue, (int)m.type.len,
		 m.type.ptr);
}
