/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the town must look like at its end, whatever happened on the way:
 *
 *   - each saga is completed, compensated, or parked with a reason;
 *   - completed: the booking is completed, its bill paid, its slot reserved
 *     for it; compensated: the booking is failed, nothing is paid, and no slot
 *     is blocked or reserved for it;
 *   - a slot is blocked or reserved only for a saga that was started and is
 *     not compensated; reserved for at most one, by construction of its row;
 *   - money: of each account, what is gone is what its paid bills say;
 *   - nobody has a dead letter.
 */
#include <string.h>

#include "examples/orchestration/rows.h"
#include "lib/journal/saga_rows.h"
#include "lib/store/store.h"
#include "lib/store/table.h"
#include "tests/sim/town.h"

/* Its row, in *ret_txn, which the caller aborts. */
static bool judge_saga_row(town *t, size_t saga, MDB_txn **ret_txn,
			   wbi_saga_row *ret)
{
	town_service *s = &t->all[TOWN_BOOKING];
	wbi_saga_id id = {.kind = WBI_SAGA_ORCHESTRATED,
			  .id = wb_str_from(t->started[saga].ref)};

	*ret_txn = NULL;
	if (wbi_txn_begin(wb_store_env(s->store), false, ret_txn, &t->err) ==
		    WB_OK &&
	    wbi_saga_get(*ret_txn, wbi_store_get_tables(s->store), &id, ret,
			 &t->err) == WB_OK)
		return true;
	town_fail(t, "%s: %s", t->started[saga].ref, t->err.text);
	return false;
}

uint8_t town_status(town *t, size_t saga, char reason[256])
{
	wbi_saga_row row = {.status = 0};
	MDB_txn *txn;

	if (judge_saga_row(t, saga, &txn, &row))
		snprintf(reason, 256, "%.*s", (int)row.reason.len,
			 row.reason.ptr ? row.reason.ptr : "");
	wbi_txn_abort(txn);
	return row.status;
}

const char *town_definition(town *t, size_t saga)
{
	wbi_saga_row row = {.status = 0};
	MDB_txn *txn;

	t->definition[0] = '\0';
	if (judge_saga_row(t, saga, &txn, &row))
		snprintf(t->definition, sizeof(t->definition), "%.*s",
			 (int)row.definition.len, row.definition.ptr);
	wbi_txn_abort(txn);
	return t->definition;
}

/* One row of the example's, its first three words. */
typedef struct words {
	char first[ROW_MAX], second[ROW_MAX], third[ROW_MAX];
} words;

static words judge_row(town *t, int which, const char *table, const char *key)
{
	town_service *s = &t->all[which];
	words ret = {"", "", ""};
	char row[ROW_MAX] = "";
	MDB_dbi dbi;
	MDB_txn *txn = town_begin(s, table, &dbi);

	if (row_get(txn, dbi, wb_str_from(key), row, &t->err) != WB_OK)
		town_fail(t, "%s %s: %s", table, key, t->err.text);
	if (row[0] && sscanf(row, "%399s %399s %399s", ret.first, ret.second,
			     ret.third) < 2)
		town_fail(t, "%s %s: \"%s\"", table, key, row);
	wb_store_abort(txn);
	return ret;
}

static words judge_slot(town *t, int slot)
{
	char name[16];

	snprintf(name, sizeof(name), "S%d", slot);
	return judge_row(t, TOWN_PARKING, SLOTS_TABLE, name);
}

static words judge_bill(town *t, size_t saga)
{
	return judge_row(t, TOWN_BILLING, BILLS_TABLE, t->started[saga].ref);
}

bool town_is_at_rest(town *t)
{
	char reason[256];

	for (size_t i = 0; i < t->count && !t->failed; i++) {
		uint8_t status = town_status(t, i, reason);

		if (status == WB_SAGA_COMPENSATING)
			return false;
		if (status == WB_SAGA_RUNNING &&
		    strcmp(judge_bill(t, i).first, "pending") != 0)
			return false;
	}
	return true;
}

/* ---- one saga ------------------------------------------------------------ */

static void judge_completed(town *t, size_t i, const words *booking,
			    const words *bill, const words *slot)
{
	const char *ref = t->started[i].ref;

	if (strcmp(booking->first, "completed") != 0)
		town_fail(t, "%s is completed, its booking %s", ref,
			  booking->first);
	if (strcmp(bill->first, "paid") != 0)
		town_fail(t, "%s is completed, its bill \"%s\"", ref,
			  bill->first);
	if (strcmp(slot->first, "reserved") != 0 ||
	    strcmp(slot->second, ref) != 0)
		town_fail(t, "%s is completed, its slot %s for %s", ref,
			  slot->first, slot->second);
}

static void judge_compensated(town *t, size_t i, const words *booking,
			      const words *bill, const words *slot)
{
	const char *ref = t->started[i].ref;

	if (strcmp(booking->first, "failed") != 0)
		town_fail(t, "%s is compensated, its booking \"%s\"", ref,
			  booking->first);
	if (!strcmp(bill->first, "paid") || !strcmp(bill->first, "pending"))
		town_fail(t, "%s is compensated, its bill %s", ref,
			  bill->first);
	if (!strcmp(slot->second, ref))
		town_fail(t, "%s is compensated, its slot is %s for it", ref,
			  slot->first);
}

static void judge_saga(town *t, size_t i, town_counts *c)
{
	char reason[256] = "";
	uint8_t status = town_status(t, i, reason);
	words booking =
		judge_row(t, TOWN_BOOKING, BOOKINGS_TABLE, t->started[i].ref);
	words bill = judge_bill(t, i);
	words slot = judge_slot(t, t->started[i].slot);

	c->started++;
	c->bookings_pending += !strcmp(booking.first, "pending");
	c->bookings_completed += !strcmp(booking.first, "completed");
	c->bookings_failed += !strcmp(booking.first, "failed");
	c->paid += !strcmp(bill.first, "paid");
	c->pending += !strcmp(bill.first, "pending");
	c->refunded += !strcmp(bill.first, "refunded");
	c->cancelled += !strcmp(bill.first, "cancelled");
	c->declined += !strcmp(bill.first, "declined");
	town_log(t, "%s: status %u, booking %s, bill %s, slot %s for %s: %s",
		 t->started[i].ref, status, booking.first, bill.first,
		 slot.first, slot.second, reason);
	switch (status) {
	case WB_SAGA_COMPLETED:
		c->completed++;
		judge_completed(t, i, &booking, &bill, &slot);
		break;
	case WB_SAGA_COMPENSATED:
		c->compensated++;
		judge_compensated(t, i, &booking, &bill, &slot);
		break;
	case WB_SAGA_PARKED:
		c->parked++;
		if (reason[0] == '\0')
			town_fail(t, "%s is parked and does not say why",
				  t->started[i].ref);
		break;
	default:
		c->unended++;
	}
}

/* ---- the rest ------------------------------------------------------------ */

static void judge_slots(town *t, town_counts *c)
{
	for (int i = 0; i < t->slots && !t->failed; i++) {
		words slot = judge_slot(t, i);
		char reason[256];
		size_t who = 0;

		c->available += !strcmp(slot.first, "available");
		c->blocked += !strcmp(slot.first, "blocked");
		c->reserved += !strcmp(slot.first, "reserved");
		if (!strcmp(slot.second, "-"))
			continue;
		while (who < t->count &&
		       strcmp(t->started[who].ref, slot.second) != 0)
			who++;
		if (who == t->count)
			town_fail(t, "slot S%d is %s for nobody: %s", i,
				  slot.first, slot.second);
		else if (town_status(t, who, reason) == WB_SAGA_COMPENSATED)
			town_fail(t, "slot S%d is %s for %s, which has failed",
				  i, slot.first, slot.second);
	}
}

static void judge_money(town *t)
{
	char name[16];

	for (int a = 0; a < t->accounts && !t->failed; a++) {
		int64_t left = 0, gone = 0;
		words row;

		for (size_t i = 0; i < t->count; i++)
			if (t->started[i].account == a &&
			    !strcmp(judge_bill(t, i).first, "paid"))
				gone += BOOKING_PRICE;
		snprintf(name, sizeof(name), "a%d", a);
		row = judge_row(t, TOWN_BILLING, ACCOUNTS_TABLE, name);
		if (!money_read(wb_str_from(row.first), &left) ||
		    left + gone != t->balances[a])
			town_fail(t,
				  "account %s had %lld, has %s, its bills "
				  "say %lld",
				  name, (long long)t->balances[a], row.first,
				  (long long)gone);
	}
}

static void judge_dead(town *t, town_counts *c)
{
	for (int i = 0; i < TOWN_SERVICES; i++) {
		town_service *s = &t->all[i];
		uint64_t bytes, rows = 0;
		MDB_txn *txn = NULL;

		if (wbi_txn_begin(wb_store_env(s->store), false, &txn,
				  &t->err) != WB_OK ||
		    wbi_table_size(txn, wbi_store_get_tables(s->store)->dead,
				   &bytes, &rows, &t->err) != WB_OK)
			town_fail(t, "%s: %s", s->name, t->err.text);
		wbi_txn_abort(txn);
		c->dead += rows;
	}
	if (c->dead > 0)
		town_fail(t, "%llu dead letters", (unsigned long long)c->dead);
}

void town_judge(town *t, town_counts *ret)
{
	memset(ret, 0, sizeof(*ret));
	for (size_t i = 0; i < t->count && !t->failed; i++)
		judge_saga(t, i, ret);
	judge_slots(t, ret);
	judge_money(t);
	judge_dead(t, ret);
	if (!t->failed && ret->unended > ret->pending)
		town_fail(t, "%llu sagas have not ended",
			  (unsigned long long)ret->unended);
}
