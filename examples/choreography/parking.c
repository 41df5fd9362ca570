/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * parking gives a slot to the first who has paid for it. "First" is the order
 * in which its own store has the events: one writer, no race.
 *
 * The rule is that a slot which is not free is refused, and it does not look at
 * who holds it. Left to itself it would refuse the very booking that holds the
 * slot when a bill.paid comes twice, and a good customer would be refunded. It
 * is not left to itself: the step "reserve" of a booking happens once.
 */
#include "examples/choreography/parking.h"

#include <stdlib.h>
#include <string.h>

#include "examples/choreography/rows.h"

const char *slot_state_name(uint32_t state)
{
	static const char *const names[] = {"none", "available", "reserved"};

	return state < sizeof(names) / sizeof(names[0]) ? names[state] : "?";
}

wb_code parking_open(MDB_txn *txn, parking_tables *ret, wb_error *err)
{
	wb_code code = rows_open(txn, "slots", &ret->slots, err);

	return code == WB_OK ? rows_open(txn, "names", &ret->names, err) : code;
}

/* ---- the rules ----------------------------------------------------------- */

static wb_code slot_put(const parking_tables *t, MDB_txn *txn, const char *uuid,
			const parking_slot *s, wb_error *err)
{
	return rows_put(txn, t->slots, wb_str_from(uuid), s, sizeof(*s), err);
}

wb_code parking_add(const parking_tables *t, MDB_txn *txn, wb_str name,
		    const char uuid[WB_UUID_TEXT_LEN + 1], wb_error *err)
{
	char known[WB_UUID_TEXT_LEN + 1];
	parking_slot s;
	wb_code code = rows_get(txn, t->names, name, known, sizeof(known), err);

	if (code == WB_OK)
		return wb_error_set(err, WB_EEXISTS, 0, __func__,
				    "there is a slot \"%.*s\", %s",
				    (int)name.len, name.ptr, known);
	if (code != WB_ENOTFOUND)
		return code;
	memset(&s, 0, sizeof(s));
	s.state = SLOT_AVAILABLE;
	rows_text(s.name, sizeof(s.name), name);
	code = rows_put(txn, t->names, name, uuid, sizeof(known), err);
	return code == WB_OK ? slot_put(t, txn, uuid, &s, err) : code;
}

wb_code parking_get(const parking_tables *t, MDB_txn *txn, wb_str which,
		    char uuid[WB_UUID_TEXT_LEN + 1], parking_slot *ret,
		    wb_error *err)
{
	char found[WB_UUID_TEXT_LEN + 1];
	wb_code code =
		rows_get(txn, t->names, which, found, sizeof(found), err);

	if (code == WB_ENOTFOUND) {
		rows_text(found, sizeof(found), which);
		code = WB_OK;
	}
	if (code == WB_OK)
		code = rows_get(txn, t->slots, wb_str_from(found), ret,
				sizeof(*ret), err);
	if (code == WB_ENOTFOUND)
		return wb_error_set(err, code, 0, __func__,
				    "there is no slot \"%.*s\"", (int)which.len,
				    which.ptr);
	if (code == WB_OK && uuid)
		memcpy(uuid, found, sizeof(found));
	return code;
}

/* What stands before the last colon: a UUID has none. */
static wb_str slot_of(wb_str ref)
{
	size_t len = ref.len;

	while (len > 0 && ref.ptr[len - 1] != ':')
		len--;
	return wb_str_n(ref.ptr, len > 0 ? len - 1 : 0);
}

wb_code parking_reserve(const parking_tables *t, MDB_txn *txn, wb_str ref,
			wb_error *err)
{
	char uuid[WB_UUID_TEXT_LEN + 1];
	parking_slot s;
	wb_code code = parking_get(t, txn, slot_of(ref), uuid, &s, err);

	if (code != WB_OK)
		return code;
	if (s.state != SLOT_AVAILABLE)
		return wb_error_set(err, WB_ESTATE, 0, __func__,
				    "slot %s is %s", s.name,
				    slot_state_name(s.state));
	s.state = SLOT_RESERVED;
	rows_text(s.holder, sizeof(s.holder), ref);
	return slot_put(t, txn, uuid, &s, err);
}

/* ---- what it does when it hears of it ------------------------------------ */

/* To refuse is to reject: waybill takes back what was written, remembers the
 * answer, and emits parking.unavailable with the reason. */
static wb_code on_reserve(wb_call *call, const wb_event *event, wb_error *err)
{
	wb_event reserved = {.type = wb_str_from("parking.reserved"),
			     .subject = event->subject};
	wb_error why = WB_ERROR_INIT;
	wb_code code = parking_reserve(wb_call_state(call), wb_call_txn(call),
				       wb_flow_saga(call), &why);

	if (code == WB_OK)
		return wb_flow_emit(call, &reserved, err);
	if (code != WB_ESTATE && code != WB_ENOTFOUND) {
		*err = why; /* the store's trouble, not the booking's */
		return code;
	}
	code = wb_flow_refusal(call, wb_str_from("text/plain"),
			       wb_str_from(why.text), err);
	return code == WB_OK ? wb_reject(err, "%s", why.text) : code;
}

static const wb_flow_binding bindings[] = {{"reserve", .run = on_reserve}};

static wb_code part_open(const wb_handler *self, wb_store *store, MDB_txn *txn,
			 void **ret_state, wb_error *err)
{
	parking_tables *t = calloc(1, sizeof(*t));
	wb_code code;

	(void)self;
	(void)store;
	if (!t)
		return wb_error_set(err, WB_ENOMEM, 0, __func__,
				    "out of memory");
	code = parking_open(txn, t, err);
	if (code == WB_OK)
		*ret_state = t;
	else
		free(t);
	return code;
}

const wb_flow_part parking_part = {
	.size = sizeof(wb_flow_part),
	.flow = &flow,
	.service = "parking",
	.bindings = bindings,
	.count = sizeof(bindings) / sizeof(bindings[0]),
	.open = part_open,
	.close = free,
};
