/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * parking listens: a booking that is created blocks its slot, one that is
 * reserved reserves it, one that is rejected makes it available again. Loaded
 * by waybill-worker; each call changes the tables in the same commit that says
 * that its event is handled, so an event that comes twice has one effect.
 *
 * A slot belongs to the booking that blocked it first; what others say of it
 * changes nothing.
 */
#include <stdio.h>
#include <string.h>

#include <waybill/module.h>

/* In its own store: SLOT → "STATE REF", and REF → SLOT, since an event says
 * only what changed. slots.c reads the first. */
#define SLOTS_TABLE "slots"
#define SLOTS_REFS "refs"

enum { SLOTS_VALUE_MAX = 200 };

typedef struct tables {
	MDB_dbi slots, refs;
} tables;

static wb_code parking_open(const wb_handler *self, wb_store *store,
			    MDB_txn *txn, void **ret_state, wb_error *err)
{
	static tables t;
	int rc = mdb_dbi_open(txn, SLOTS_TABLE, MDB_CREATE, &t.slots);

	(void)store;
	if (rc == 0)
		rc = mdb_dbi_open(txn, SLOTS_REFS, MDB_CREATE, &t.refs);
	*ret_state = &t;
	return wb_store_error(rc, err, self->name);
}

static MDB_val val(wb_str s)
{
	return (MDB_val){s.len, (void *)(uintptr_t)s.ptr};
}

static wb_code put(wb_call *call, MDB_dbi table, wb_str key, wb_str value,
		   wb_error *err)
{
	MDB_val k = val(key), v = val(value);

	return wb_store_error(mdb_put(wb_call_txn(call), table, &k, &v, 0), err,
			      "writing a row");
}

/* Empty: there is none. */
static wb_code get(wb_call *call, MDB_dbi table, wb_str key, wb_str *ret,
		   wb_error *err)
{
	MDB_val k = val(key), v = {0, NULL};
	int rc = mdb_get(wb_call_txn(call), table, &k, &v);

	*ret = wb_str_n(v.mv_data, v.mv_size);
	return rc == MDB_NOTFOUND ? WB_OK
				  : wb_store_error(rc, err, "reading a row");
}

static bool begins(wb_str text, const char *word)
{
	size_t len = strlen(word);

	return text.len >= len && memcmp(text.ptr, word, len) == 0;
}

static bool is_held_by(wb_str row, wb_str ref)
{
	const char *space = row.len > 0 ? memchr(row.ptr, ' ', row.len) : NULL;
	size_t at = space ? (size_t)(space - row.ptr) + 1 : row.len;

	return wb_str_eq(wb_str_n(row.ptr + at, row.len - at), ref);
}

static wb_code set_slot(wb_call *call, wb_str slot, const char *state,
			wb_str ref, wb_error *err)
{
	tables *t = wb_call_state(call);
	char text[SLOTS_VALUE_MAX];
	int len = snprintf(text, sizeof(text), "%s %.*s", state, (int)ref.len,
			   ref.ptr);

	if (len < 0 || (size_t)len >= sizeof(text))
		return wb_reject(err, "a reference of %zu bytes", ref.len);
	return put(call, t->slots, slot, wb_str_n(text, (size_t)len), err);
}

static wb_code parking(wb_call *call, const wb_event *event, wb_error *err)
{
	bool created = wb_str_eq(event->type, wb_str_from("BookingCreated"));
	bool reserved = wb_str_eq(event->type, wb_str_from("BookingReserved"));
	tables *t = wb_call_state(call);
	wb_str ref = event->subject, slot, row;
	wb_code code;

	if (!begins(ref, "booking/") || ref.len == 8)
		return wb_reject(err, "not about a booking");
	ref = wb_str_n(ref.ptr + 8, ref.len - 8);
	if (created && event->data.len == 0)
		return wb_reject(err, "a booking of no slot");
	slot = event->data;
	code = created ? put(call, t->refs, ref, slot, err)
		       : get(call, t->refs, ref, &slot, err);
	if (code == WB_OK && slot.len == 0)
		return wb_reject(err, "a booking that was never created");
	if (code == WB_OK)
		code = get(call, t->slots, slot, &row, err);
	if (code != WB_OK)
		return code;
	if (created)
		return row.len == 0 || begins(row, "available ")
			       ? set_slot(call, slot, "blocked", ref, err)
			       : WB_OK;
	if (!is_held_by(row, ref))
		return WB_OK;
	return reserved ? set_slot(call, slot, "reserved", ref, err)
			: set_slot(call, slot, "available", wb_str_from("-"),
				   err);
}

static const wb_handler handler = {
	.size = sizeof(wb_handler),
	.name = "parking",
	.types = (const char *const[]){"BookingCreated", "BookingReserved",
				       "BookingRejected", NULL},
	.open = parking_open,
	.handle = parking,
};

static const wb_handler *const handlers[] = {&handler};

WB_MODULE_EXPORT const struct wb_module wb_module = {
	.abi = WB_MODULE_ABI,
	.size = sizeof(struct wb_module),
	.name = "parking",
	.handlers = handlers,
	.handler_count = 1,
};
