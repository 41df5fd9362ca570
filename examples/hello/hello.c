/* SPDX-License-Identifier: BSD-2-Clause */
/* Count the greetings for each name, and say so: see README.md beside this. */
#include <stdio.h>
#include <waybill/module.h>

static wb_code hello_open(const wb_handler *self, wb_store *store, MDB_txn *txn,
			  void **ret_state, wb_error *err)
{
	static MDB_dbi table;

	(void)store;
	*ret_state = &table;
	return wb_store_error(mdb_dbi_open(txn, "hello", MDB_CREATE, &table),
			      err, self->name);
}

static wb_code hello(wb_call *call, const wb_event *event, wb_error *err)
{
	MDB_dbi *table = wb_call_state(call);
	MDB_val name = {event->key.len, (void *)event->key.ptr}, value;
	wb_event counted = {.type = wb_str_from("hello.counted"),
			    .key = event->key};
	unsigned count = 0;
	char text[32];
	int rc;

	if (event->key.len == 0)
		return wb_reject(err, "a greeting for nobody");
	rc = mdb_get(wb_call_txn(call), *table, &name, &value);
	if (rc == 0)
		memcpy(&count, value.mv_data, sizeof(count));
	else if (rc != MDB_NOTFOUND)
		return wb_store_error(rc, err, "reading the count");
	count++;
	value = (MDB_val){sizeof(count), &count};
	rc = mdb_put(wb_call_txn(call), *table, &name, &value, 0);
	if (rc != 0)
		return wb_store_error(rc, err, "writing the count");
	counted.data = wb_str_n(text, (size_t)snprintf(text, sizeof(text), "%u",
						       count));
	return wb_emit(call, &counted, err);
}

static const wb_handler handler = {
	.size = sizeof(wb_handler),
	.name = "hello",
	.types = (const char *const[]){"greeting.#", NULL},
	.open = hello_open,
	.handle = hello,
};

static const wb_handler *const handlers[] = {&handler};

WB_MODULE_EXPORT const struct wb_module wb_module = {
	.abi = WB_MODULE_ABI,
	.size = sizeof(struct wb_module),
	.name = "hello",
	.handlers = handlers,
	.handler_count = 1,
};
