/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a crash leaves here, step by step: behind the ack and before the commit
 * the message is lost; behind the commit and before the publish the next event
 * is. A message that comes twice is handled twice: parking then finds the slot
 * taken, by the very booking that asks, and has a good customer refunded.
 * Within these limits it is written with care: what can be seen from the rows
 * is looked at before it is changed.
 */
#include "examples/choreography/naive/naive.h"

#include <stdlib.h>
#include <string.h>

#include "examples/choreography/billing.h"
#include "examples/choreography/booking.h"
#include "examples/choreography/parking.h"
#include "examples/choreography/rows.h"

enum {
	NAIVE_PREFETCH = 100,
	NAIVE_LOOK_US = 60 * 1000000,
	NAIVE_LATE_MAX = 64
};

typedef struct naive_hearing {
	const char *service, *type;
	/* In an open transaction; says what is to be published then. */
	wb_code (*handle)(naive *n, wb_str ref, wb_str data, wb_error *err);
} naive_hearing;

struct naive {
	naive_options o;
	bool up, connecting, consuming;
	int declared; /* answers */
	booking_tables booking;
	billing_tables billing;
	parking_tables parking;
	MDB_txn *txn;
	/* What the transaction wants to be said afterwards; NULL: nothing. */
	const char *say;
	char data[128];
	uint64_t token;
	int64_t looked_us;
};

static int64_t naive_now_us(const naive *n)
{
	return n->o.clock->real_us(n->o.clock->ctx);
}

/* ---- what each does with an event ---------------------------------------- */

static wb_code hear_reserved(naive *n, wb_str ref, wb_str data, wb_error *err)
{
	(void)data;
	return booking_end(&n->booking, n->txn, ref, BOOKING_DONE, WB_STR_NULL,
			   err);
}

static wb_code hear_failure(naive *n, wb_str ref, wb_str data, wb_error *err)
{
	return booking_end(&n->booking, n->txn, ref, BOOKING_FAILED, data, err);
}

static wb_code hear_created(naive *n, wb_str ref, wb_str data, wb_error *err)
{
	bill b;

	(void)data;
	if (billing_get(&n->billing, n->txn, ref, &b, NULL) == WB_OK)
		return WB_OK; /* there is a bill: it came twice */
	return billing_add(&n->billing, n->txn, ref, naive_now_us(n), err);
}

static wb_code hear_unavailable(naive *n, wb_str ref, wb_str data,
				wb_error *err)
{
	(void)data;
	return billing_give_back(&n->billing, n->txn, ref, BILL_REFUNDED,
				 naive_now_us(n), err);
}

static wb_code hear_paid(naive *n, wb_str ref, wb_str data, wb_error *err)
{
	wb_error why = WB_ERROR_INIT;
	wb_code code = parking_reserve(&n->parking, n->txn, ref, &why);

	(void)data;
	n->say = code == WB_OK ? "parking.reserved" : "parking.unavailable";
	rows_text(n->data, sizeof(n->data), wb_str_from(why.text));
	if (code == WB_OK || code == WB_ESTATE || code == WB_ENOTFOUND)
		return WB_OK;
	return wb_error_set(err, code, 0, __func__, "%s", why.text);
}

static const naive_hearing hearings[] = {
	{"booking", "parking.reserved", hear_reserved},
	{"booking", "parking.unavailable", hear_failure},
	{"booking", "bill.expired", hear_failure},
	{"billing", "booking.created", hear_created},
	{"billing", "parking.unavailable", hear_unavailable},
	{"parking", "bill.paid", hear_paid},
};

enum { NAIVE_HEARINGS = sizeof(hearings) / sizeof(hearings[0]) };

/* ---- commit, then publish ------------------------------------------------ */

static wb_code naive_begin(naive *n, wb_error *err)
{
	n->say = NULL;
	n->data[0] = '\0';
	return wb_store_begin(n->o.store, &n->txn, err);
}

/* Nobody looks whether it has arrived. */
static void naive_publish(naive *n, wb_str ref)
{
	char id[WB_UUID_TEXT_LEN + 1];
	wb_message m = {.exchange =
				wb_str_from(n->o.to ? n->o.to : n->o.exchange),
			.routing_key = wb_str_from(n->say),
			.type = wb_str_from(n->say),
			.app_id = wb_str_from(n->o.service),
			.content_type = wb_str_from("text/plain"),
			.correlation_id = ref,
			.persistent = true,
			.body = wb_str_from(n->data)};

	wb_uuid7(n->o.clock, n->o.random, id);
	m.message_id = wb_str_from(id);
	(void)wb_broker_publish(n->o.broker, &m, ++n->token, NULL);
	wb_broker_flush(n->o.broker);
}

static wb_code naive_end(naive *n, wb_str ref, wb_code code, wb_error *err)
{
	if (code != WB_OK) {
		wb_store_abort(n->txn);
		return code;
	}
	code = wb_store_commit(n->o.store, n->txn, err);
	if (code == WB_OK && n->say)
		naive_publish(n, ref);
	return code;
}

wb_code naive_create_booking(naive *n, wb_str ref, wb_error *err)
{
	wb_code code = naive_begin(n, err);

	if (code != WB_OK)
		return code;
	n->say = "booking.created";
	return naive_end(n, ref, booking_add(&n->booking, n->txn, ref, err),
			 err);
}

wb_code naive_pay_bill(naive *n, wb_str ref, int64_t amount, wb_error *err)
{
	bool full = false;
	wb_code code = naive_begin(n, err);

	if (code != WB_OK)
		return code;
	code = billing_take(&n->billing, n->txn, ref, amount, naive_now_us(n),
			    &full, err);
	n->say = full ? "bill.paid" : NULL;
	return naive_end(n, ref, code, err);
}

/* ---- bills that nobody pays ---------------------------------------------- */

typedef struct naive_late {
	int64_t before_us;
	size_t count;
	char refs[NAIVE_LATE_MAX][FLOW_REF_MAX + 4];
} naive_late;

static wb_code late_see(void *ctx, wb_str ref, const void *row, wb_error *err)
{
	naive_late *late = ctx;
	const bill *b = row;

	(void)err;
	if (b->state == BILL_PENDING && b->made_us <= late->before_us &&
	    late->count < NAIVE_LATE_MAX)
		rows_text(late->refs[late->count++], sizeof(late->refs[0]),
			  ref);
	return WB_OK;
}

static wb_code naive_expire(naive *n, const char *ref, wb_error *err)
{
	wb_code code = naive_begin(n, err);

	if (code != WB_OK)
		return code;
	n->say = "bill.expired";
	code = billing_give_back(&n->billing, n->txn, wb_str_from(ref),
				 BILL_EXPIRED, naive_now_us(n), err);
	return naive_end(n, wb_str_from(ref), code, err);
}

/* Once a minute; at once again where there were many. */
static wb_code naive_look(naive *n, wb_error *err)
{
	naive_late late = {.before_us = naive_now_us(n) -
					(int64_t)FLOW_BILL_MS * 1000};
	wb_code code;

	if (strcmp(n->o.service, "billing") != 0 ||
	    naive_now_us(n) - n->looked_us < NAIVE_LOOK_US)
		return WB_OK;
	code = naive_begin(n, err);
	if (code != WB_OK)
		return code;
	code = rows_each(n->txn, n->billing.bills, WB_STR_NULL, sizeof(bill),
			 late_see, &late, err);
	wb_store_abort(n->txn);
	if (late.count < NAIVE_LATE_MAX)
		n->looked_us = naive_now_us(n);
	for (size_t i = 0; code == WB_OK && i < late.count; i++)
		code = naive_expire(n, late.refs[i], err);
	return code;
}

/* ---- messages ------------------------------------------------------------ */

static wb_code naive_deliver(naive *n, const wb_broker_event *event,
			     wb_error *err)
{
	char type[64], ref[FLOW_REF_MAX + 4], data[128];
	wb_code code;

	/* They live until the next call on the broker. */
	rows_text(type, sizeof(type), event->message.type);
	rows_text(ref, sizeof(ref), event->message.correlation_id);
	rows_text(data, sizeof(data), event->message.body);
	(void)wb_broker_ack(n->o.broker, event->delivery, false, NULL);
	wb_broker_flush(n->o.broker);
	for (size_t i = 0; i < NAIVE_HEARINGS; i++) {
		const naive_hearing *h = &hearings[i];

		if (strcmp(h->service, n->o.service) != 0 ||
		    strcmp(h->type, type) != 0)
			continue;
		code = naive_begin(n, err);
		if (code != WB_OK)
			return code;
		code = h->handle(n, wb_str_from(ref), wb_str_from(data), err);
		code = naive_end(n, wb_str_from(ref), code, err);
		/* Of something that is not there: a line in the log. */
		return code == WB_ENOTFOUND ? WB_OK : code;
	}
	return WB_OK;
}

/* Exchange, queue and bindings, in one go. */
static void naive_declare(naive *n)
{
	wb_declaration d = {.kind = WB_TOPOLOGY_EXCHANGE,
			    .name = wb_str_from(n->o.exchange),
			    .exchange_type = wb_str_from("topic")};

	n->declared = 0;
	(void)wb_broker_declare(n->o.broker, &d, 1, NULL);
	if (n->o.deaf)
		return;
	d = (wb_declaration){.kind = WB_TOPOLOGY_QUEUE,
			     .name = wb_str_from(n->o.service)};
	(void)wb_broker_declare(n->o.broker, &d, 2, NULL);
	d.kind = WB_TOPOLOGY_BINDING;
	d.exchange = wb_str_from(n->o.exchange);
	for (size_t i = 0; i < NAIVE_HEARINGS; i++) {
		if (strcmp(hearings[i].service, n->o.service) != 0)
			continue;
		d.binding_key = wb_str_from(hearings[i].type);
		(void)wb_broker_declare(n->o.broker, &d, 3 + i, NULL);
	}
	wb_broker_flush(n->o.broker);
}

static int naive_declarations(const naive *n)
{
	int count = n->o.deaf ? 1 : 2;

	for (size_t i = 0; i < NAIVE_HEARINGS && !n->o.deaf; i++)
		count += !strcmp(hearings[i].service, n->o.service);
	return count;
}

static wb_code naive_hear(naive *n, const wb_broker_event *event, wb_error *err)
{
	switch (event->kind) {
	case WB_BROKER_UP:
		n->up = true;
		naive_declare(n);
		break;
	case WB_BROKER_DOWN:
		n->up = n->connecting = n->consuming = false;
		break;
	case WB_BROKER_CHANNEL_CLOSED:
		n->consuming = false;
		wb_broker_close(n->o.broker);
		break;
	case WB_BROKER_DECLARED:
		if (++n->declared == naive_declarations(n) && !n->o.deaf)
			(void)wb_broker_consume(n->o.broker,
						wb_str_from(n->o.service),
						NAIVE_PREFETCH, 99, NULL);
		break;
	case WB_BROKER_CONSUMING:
		n->consuming = true;
		break;
	case WB_BROKER_CANCELLED:
	case WB_BROKER_DECLARE_FAILED:
		wb_broker_close(n->o.broker);
		break;
	case WB_BROKER_DELIVERY:
		return naive_deliver(n, event, err);
	default:
		break;
	}
	return WB_OK;
}

wb_code naive_step(naive *n, wb_error *err)
{
	wb_broker_event event = {.kind = WB_BROKER_NONE};
	wb_code code = WB_OK;

	if (!n->up && !n->connecting)
		n->connecting = wb_broker_connect(n->o.broker, NULL) == WB_OK;
	wb_broker_step(n->o.broker);
	while (code == WB_OK && wb_broker_next(n->o.broker, &event))
		code = naive_hear(n, &event, err);
	return code == WB_OK ? naive_look(n, err) : code;
}

bool naive_is_up(const naive *n)
{
	return n->o.deaf ? n->declared > 0 : n->consuming;
}

/* ---- open and close ------------------------------------------------------ */

wb_code naive_open(const naive_options *options, naive **ret, wb_error *err)
{
	naive *n = calloc(1, sizeof(*n));
	wb_code code;

	if (!n)
		return wb_error_set(err, WB_ENOMEM, 0, __func__,
				    "out of memory");
	n->o = *options;
	n->looked_us = naive_now_us(n);
	code = wb_store_begin(n->o.store, &n->txn, err);
	if (code == WB_OK) {
		code = booking_open(n->txn, &n->booking, err);
		if (code == WB_OK)
			code = billing_open(n->txn, &n->billing, err);
		if (code == WB_OK)
			code = parking_open(n->txn, &n->parking, err);
		if (code == WB_OK)
			code = wb_store_commit(n->o.store, n->txn, err);
		else
			wb_store_abort(n->txn);
	}
	if (code == WB_OK)
		*ret = n;
	else
		free(n);
	return code;
}

void naive_close(naive *n)
{
	free(n);
}
