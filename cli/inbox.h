/* SPDX-License-Identifier: BSD-2-Clause */
/* The inbox as an operator sees it: its consumers, and copies of their rows.
 * Only reads, in short transactions. */
#ifndef CLI_INBOX_H
#define CLI_INBOX_H

#include "cli/command.h"
#include "lib/journal/inbox_rows.h"
#include "lib/journal/journal.h"

typedef struct cli_consumer {
	char name[WBI_CONSUMER_NAME_MAX + 1];
	wbi_consumer row; /* its error is not to be used */
	char error[512];  /* printable; "" while it runs */
} cli_consumer;

typedef struct cli_consumers {
	cli_consumer *items; /* of the inbox, in order of names */
	size_t count, capacity;
} cli_consumers;

/* Into a zeroed list; fini in each case. */
wb_code cli_consumers_read(wb_store *store, cli_consumers *ret, wb_error *err);
void cli_consumers_fini(cli_consumers *list);

/*
 * What a consumer has begun and not ended, by lane, key and position. The
 * visitor's arguments live until it returns: WB_OK: go on; WB_ENOTFOUND:
 * enough; else an error. A transaction sees a few hundred rows.
 */
typedef wb_code (*cli_see_work)(void *ctx, const wbi_work_id *id,
				const wbi_work *row, wb_error *err);
wb_code cli_work_scan(wb_store *store, const char *consumer, cli_see_work see,
		      void *ctx, wb_error *err);

/* "waiting", "running", "behind", "dead"; static. */
const char *cli_work_state_name(uint8_t state);

/* Events of the inbox journal behind `after`, in the same way. */
typedef wb_code (*cli_see_event)(void *ctx, uint64_t position,
				 const wb_event *event, wb_str record,
				 wb_error *err);
wb_code cli_inbox_scan(wb_store *store, uint64_t after, cli_see_event see,
		       void *ctx, wb_error *err);

/* The position of an event in the inbox journal; 0: it is not there. */
wb_code cli_inbox_find(wb_store *store, wb_str id, uint64_t *ret,
		       wb_error *err);

#endif
