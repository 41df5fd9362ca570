/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The count at the end of a town: the three stores, read row by row, against
 * what each customer has booked and paid. See town.h.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "examples/choreography/rows.h"
#include "lib/journal/saga_rows.h"
#include "lib/store/store.h"
#include "tests/examples/choreography/town.h"

/* One customer's affair, as the stores have it. */
typedef struct affair {
	uint32_t booking; /* booking_state; 0: none */
	uint32_t bill;
	int64_t paid, back; /* of the bill */
	int64_t in, out;    /* of the payments' rows */
	uint32_t slots;     /* that he holds */
} affair;

typedef struct counting {
	town *town;
	affair *affairs;
	uint64_t strange; /* rows of nobody */
} counting;

static bool counting_is(const counting *c, size_t number, wb_str ref)
{
	return number < c->town->customer_count &&
	       wb_str_eq(wb_str_from(c->town->customers[number].ref), ref);
}

/* Of a row whose key begins with a reference. In a town it says its number
 * itself, "sSLOT:NUMBER"; where it does not it is looked for. */
static affair *counting_of(counting *c, wb_str ref)
{
	size_t at = 0, number = 0, len = 0;

	while (len < ref.len && ref.ptr[len] != '#')
		len++;
	ref.len = len;
	while (at < ref.len && ref.ptr[at] != ':')
		at++;
	while (++at < ref.len && ref.ptr[at] >= '0' && ref.ptr[at] <= '9')
		number = number * 10 + (size_t)(ref.ptr[at] - '0');
	if (counting_is(c, number, ref))
		return &c->affairs[number];
	for (number = 0; number < c->town->customer_count; number++)
		if (counting_is(c, number, ref))
			return &c->affairs[number];
	c->strange++;
	return NULL;
}

static wb_code see_booking(void *ctx, wb_str ref, const void *row,
			   wb_error *err)
{
	affair *a = counting_of(ctx, ref);

	(void)err;
	if (a)
		a->booking = ((const booking *)row)->state;
	return WB_OK;
}

static wb_code see_bill(void *ctx, wb_str ref, const void *row, wb_error *err)
{
	affair *a = counting_of(ctx, ref);
	const bill *b = row;

	(void)err;
	if (!a)
		return WB_OK;
	a->bill = b->state;
	a->paid = b->paid;
	a->back = b->back;
	return WB_OK;
}

static wb_code see_payment(void *ctx, wb_str key, const void *row,
			   wb_error *err)
{
	affair *a = counting_of(ctx, key);
	const payment *p = row;

	(void)err;
	if (a && p->amount > 0)
		a->in += p->amount;
	else if (a)
		a->out -= p->amount;
	return WB_OK;
}

static wb_code see_slot(void *ctx, wb_str uuid, const void *row, wb_error *err)
{
	counting *c = ctx;
	const parking_slot *s = row;
	affair *a;

	(void)uuid;
	(void)err;
	if (s->state != SLOT_RESERVED)
		return WB_OK;
	c->town->count.reserved++;
	a = counting_of(c, wb_str_from(s->holder));
	if (a)
		a->slots++;
	return WB_OK;
}

/* ---- the stores ---------------------------------------------------------- */

static uint64_t counting_rows(town *t, MDB_txn *txn, wbi_table table)
{
	uint64_t bytes, rows = 0;

	if (wbi_table_size(txn, table, &bytes, &rows, &t->err) != WB_OK)
		town_fail(t, "rows: %s", t->err.text);
	return rows;
}

static wb_code counting_tables(counting *c, int which, MDB_txn *txn)
{
	town *t = c->town;
	wb_code code;

	if (which == TOWN_BOOKING)
		return rows_each(txn, t->booking.bookings, WB_STR_NULL,
				 sizeof(booking), see_booking, c, &t->err);
	if (which == TOWN_PARKING)
		return rows_each(txn, t->parking.slots, WB_STR_NULL,
				 sizeof(parking_slot), see_slot, c, &t->err);
	code = rows_each(txn, t->billing.bills, WB_STR_NULL, sizeof(bill),
			 see_bill, c, &t->err);
	if (code != WB_OK)
		return code;
	return rows_each(txn, t->billing.payments, WB_STR_NULL, sizeof(payment),
			 see_payment, c, &t->err);
}

static void counting_store(counting *c, int which)
{
	town *t = c->town;
	wb_store *store = t->services[which].store;
	const wbi_store_tables *tables = wbi_store_get_tables(store);
	MDB_txn *txn;

	if (mdb_txn_begin(wb_store_env(store), NULL, MDB_RDONLY, &txn) != 0) {
		town_fail(t, "%s cannot be read", town_names[which]);
		return;
	}
	if (counting_tables(c, which, txn) != WB_OK)
		town_fail(t, "%s: %s", town_names[which], t->err.text);
	t->count.open += counting_rows(t, txn, tables->saga_index);
	t->count.dead += counting_rows(t, txn, tables->dead);
	mdb_txn_abort(txn);
}

/* ---- what must hold ------------------------------------------------------ */

static bool affair_is_sound(const affair *a)
{
	if (a->booking == BOOKING_DONE)
		return a->bill == BILL_PAID && a->slots == 1;
	if (a->slots != 0)
		return false;
	return a->booking != BOOKING_FAILED || a->bill != BILL_PAID;
}

static void counting_affair(counting *c, const affair *a,
			    const town_customer *who)
{
	town_count *n = &c->town->count;
	int64_t left = who->paid - a->out; /* with us */
	int64_t due = a->booking == BOOKING_DONE ? BILLING_TOTAL : 0;
	bool holds = a->slots > 0;

	n->bookings += a->booking != 0;
	n->done += a->booking == BOOKING_DONE;
	n->failed += a->booking == BOOKING_FAILED;
	n->stuck += a->booking == BOOKING_PENDING || a->bill == BILL_PENDING;
	n->unknown += who->booked != (a->booking != 0);
	n->refunded += a->bill == BILL_REFUNDED;
	n->expired += a->bill == BILL_EXPIRED;
	n->doubled += (holds && a->out > 0) || a->slots > 1 || a->out > a->in;
	n->wrong += !affair_is_sound(a) || a->in != a->paid ||
		    a->out != a->back || a->in != who->paid;
	n->in += who->paid;
	n->back += a->out;
	n->kept += due;
	n->missing += left > due ? left - due : due - left;
}

void town_counting(town *t)
{
	counting c = {.town = t,
		      .affairs = calloc(t->customer_count + 1, sizeof(affair))};

	if (!c.affairs) {
		town_fail(t, "out of memory");
		return;
	}
	for (int i = 0; i < TOWN_SERVICES && !t->failed; i++)
		counting_store(&c, i);
	for (size_t i = 0; i < t->customer_count; i++)
		counting_affair(&c, &c.affairs[i], &t->customers[i]);
	t->count.wrong += c.strange;
	free(c.affairs);
}

bool town_count_is_good(const town_count *c)
{
	return c->stuck == 0 && c->unknown == 0 && c->doubled == 0 &&
	       c->wrong == 0 && c->missing == 0 && c->open == 0 &&
	       c->dead == 0 && c->bookings == c->done + c->failed &&
	       c->reserved == c->done && c->in == c->kept + c->back;
}

void town_count_print(const town_count *c, const char *what, FILE *to)
{
	char in[MONEY_TEXT_MAX], kept[MONEY_TEXT_MAX], back[MONEY_TEXT_MAX],
		missing[MONEY_TEXT_MAX];

	fprintf(to,
		"%s: bookings %" PRIu64 " done %" PRIu64 " failed %" PRIu64
		" stuck %" PRIu64 " unknown %" PRIu64 " reserved %" PRIu64
		" refunded %" PRIu64 " expired %" PRIu64 " doubled %" PRIu64
		" wrong %" PRIu64
		" money in %s kept %s back %s wrong %s open sagas %" PRIu64
		" dead letters %" PRIu64 " deaths %" PRIu64
		" deliveries %" PRIu64 "\n",
		what, c->bookings, c->done, c->failed, c->stuck, c->unknown,
		c->reserved, c->refunded, c->expired, c->doubled, c->wrong,
		money_text(c->in, in), money_text(c->kept, kept),
		money_text(c->back, back), money_text(c->missing, missing),
		c->open, c->dead, c->deaths, c->deliveries);
}
