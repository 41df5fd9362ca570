/* SPDX-License-Identifier: BSD-2-Clause */
/* An outbox from inside: for the append of a stream, which is one of it. */
#ifndef WBI_OUTBOX_INTERNAL_H
#define WBI_OUTBOX_INTERNAL_H

#include <waybill/outbox.h>

#include "lib/journal/journal.h"

struct wb_outbox {
	wb_store *store;
	wbi_journal journal;
	wb_limits limits;
	const wb_routes *routes;
	wb_routes *own_routes; /* where the caller gave none */
	char *source;
	bool source_in_keys; /* a routing key may be made from it */
};

/* Could the relay publish them? WB_EINVAL, WB_ELIMIT, naming the event;
 * *ret_failed (may be NULL) is which. */
wb_code wbi_outbox_admit(const wb_outbox *outbox, const wb_event *events,
			 size_t count, size_t *ret_failed, wb_error *err);

#endif
