/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The write side: slots and who has them. A command checks the rules against
 * the service's own table, changes it, and appends the event that says so, in
 * one transaction. It answers no question; what it prints is the position of
 * its event, by which the read side can be asked for no less than this.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <waybill/outbox.h>

enum { NAME_MAX_ = 40 };

typedef struct parking {
	wb_store *store;
	wb_outbox *outbox;
	MDB_txn *txn;
	MDB_dbi slots; /* slot → booking, or nothing */
} parking;

static int fail(const char *what)
{
	fprintf(stderr, "parking: %s\n", what);
	return 1;
}

/* Letters, digits and '-': they go into JSON and into shell commands. */
static int is_name(const char *text)
{
	size_t len = strlen(text);

	return len > 0 && len <= NAME_MAX_ &&
	       strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWX"
			    "YZ0123456789-") == len;
}

static wb_code parking_open(parking *p, const char *dir, wb_error *err)
{
	wb_store_options options = WB_STORE_OPTIONS_INIT;
	wb_code code;

	options.service = "parking";
	options.keep_bytes = UINT64_MAX; /* so that models can be made anew */
	code = wb_store_create(dir, &options, err);
	if (code == WB_EEXISTS)
		wb_error_clear(err);
	else if (code != WB_OK)
		return code;
	code = wb_store_open(dir, NULL, &p->store, err);
	if (code == WB_OK)
		code = wb_outbox_open(p->store, NULL, &p->outbox, err);
	if (code == WB_OK)
		code = wb_store_begin(p->store, &p->txn, err);
	if (code == WB_OK)
		code = wb_store_error(mdb_dbi_open(p->txn, "slots", MDB_CREATE,
						   &p->slots),
				      err, "slots");
	return code;
}

/* The booking that has the slot, "" if none. False: no such slot. */
static int holder_of(parking *p, const char *slot, char ret[NAME_MAX_ + 1])
{
	MDB_val key = {strlen(slot), (void *)(uintptr_t)slot}, value;

	if (mdb_get(p->txn, p->slots, &key, &value) != MDB_SUCCESS)
		return 0;
	memcpy(ret, value.mv_data, value.mv_size);
	ret[value.mv_size] = '\0';
	return 1;
}

/* The row and the event, in the open transaction. */
static wb_code change(parking *p, const char *slot, const char *booking,
		      const char *type, uint64_t *ret_position, wb_error *err)
{
	MDB_val key = {strlen(slot), (void *)(uintptr_t)slot};
	MDB_val value = {strlen(booking), (void *)(uintptr_t)booking};
	wb_event event = {.type = wb_str_from(type), .key = wb_str_from(slot)};
	char subject[NAME_MAX_ + 8], data[NAME_MAX_ + 32];
	wb_code code;

	snprintf(subject, sizeof(subject), "slot/%s", slot);
	snprintf(data, sizeof(data), "{\"booking\":\"%s\"}", booking);
	event.subject = wb_str_from(subject);
	event.content_type = wb_str_from("application/json");
	event.data = wb_str_from(data);
	code = wb_store_error(mdb_put(p->txn, p->slots, &key, &value, 0), err,
			      slot);
	if (code == WB_OK)
		code = wb_outbox_append(p->outbox, p->txn, &event, ret_position,
					err);
	return code;
}

/* What the rules say against it, or NULL. */
static const char *refusal(parking *p, const char *verb, const char *slot)
{
	char holder[NAME_MAX_ + 1];
	int there = holder_of(p, slot, holder);

	if (!strcmp(verb, "create-slot"))
		return there ? "there is such a slot already" : NULL;
	if (!there)
		return "there is no such slot";
	if (!strcmp(verb, "reserve"))
		return holder[0] ? "another booking has it" : NULL;
	return holder[0] ? NULL : "nobody has it";
}

static int run(parking *p, const char *verb, const char *slot,
	       const char *booking)
{
	const char *type = !strcmp(verb, "create-slot") ? "slot.created"
			   : !strcmp(verb, "reserve")	? "slot.reserved"
							: "slot.released";
	const char *why = refusal(p, verb, slot);
	wb_error err = WB_ERROR_INIT;
	uint64_t position;
	wb_code code;

	if (why) {
		fail(why);
		return 3;
	}
	if (change(p, slot, booking, type, &position, &err) != WB_OK)
		return fail(err.text);
	code = wb_store_commit(p->store, p->txn, &err);
	p->txn = NULL;
	if (code != WB_OK)
		return fail(err.text);
	printf("%s %s at position %" PRIu64 "\n", type + 5, slot, position);
	return 0;
}

int main(int argc, char **argv)
{
	const char *dir = getenv("PARKING_STORE");
	wb_error err = WB_ERROR_INIT;
	parking p = {0};
	int code;

	if (!dir || argc < 3 ||
	    !((argc == 3 && (!strcmp(argv[1], "create-slot") ||
			     !strcmp(argv[1], "release"))) ||
	      (argc == 4 && !strcmp(argv[1], "reserve"))) ||
	    !is_name(argv[2]) || (argc == 4 && !is_name(argv[3]))) {
		fprintf(stderr, "Usage: PARKING_STORE=DIR parking create-slot "
				"SLOT | reserve SLOT BOOKING | release SLOT\n"
				"names are of letters, digits and '-'\n");
		return 2;
	}
	if (parking_open(&p, dir, &err) != WB_OK)
		code = fail(err.text);
	else
		code = run(&p, argv[1], argv[2], argc == 4 ? argv[3] : "");
	if (p.txn)
		wb_store_abort(p.txn);
	wb_outbox_close(p.outbox);
	wb_store_close(p.store);
	return code;
}
