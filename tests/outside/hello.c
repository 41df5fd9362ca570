/* SPDX-License-Identifier: BSD-2-Clause */
/* A stranger's service: one event, in one transaction, in a store of its own. */
#include <inttypes.h>
#include <stdio.h>
#include <waybill/outbox.h>

int main(int argc, char **argv)
{
	wb_store_options options = WB_STORE_OPTIONS_INIT;
	wb_event event = {.type = wb_str_from("order.placed"),
			  .key = wb_str_from("order/42"),
			  .data = wb_str_from("{\"total\":\"12.50\"}")};
	const char *dir = argc > 1 ? argv[1] : "store";
	wb_error err = WB_ERROR_INIT;
	uint64_t position;
	wb_outbox *outbox;
	wb_store *store;
	MDB_txn *txn;

	options.service = "hello";
	if (wb_store_create(dir, &options, &err) ||
	    wb_store_open(dir, NULL, &store, &err) ||
	    wb_outbox_open(store, NULL, &outbox, &err) ||
	    wb_store_begin(store, &txn, &err) ||
	    wb_outbox_append(outbox, txn, &event, &position, &err) ||
	    wb_store_commit(store, txn, &err))
		return fprintf(stderr, "hello: %s\n", err.text), 1;
	printf("committed at position %" PRIu64 "\n", position);
	wb_outbox_close(outbox);
	wb_store_close(store);
	return 0;
}
