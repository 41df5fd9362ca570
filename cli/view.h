/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The outbox as an operator sees it: for each event, where it is and why. Only
 * reads, in short transactions, so it may run beside service and relay; what
 * it says was true a moment ago.
 */
#ifndef CLI_VIEW_H
#define CLI_VIEW_H

#include "cli/command.h"
#include "lib/journal/journal.h"
#include "lib/journal/parked.h"

typedef enum cli_state {
	CLI_STATE_PENDING,
	CLI_STATE_HELD,
	CLI_STATE_PARKED,
	CLI_STATE_RELEASED,
	CLI_STATE_DISCARDED,
	CLI_STATE_DELIVERED
} cli_state;

const char *cli_state_name(cli_state state);

/* An exchange that is missing. */
typedef struct cli_held {
	char exchange[256];
	uint64_t first_position;
	int64_t since_us;
	char text[256];
} cli_held;

enum {
	CLI_HELD_MAX = 256,
	CLI_AUDIT_MAX = 100000 /* rows looked through for a discard */
};

/* A row of the audit that says that an event was discarded. */
typedef struct cli_discard {
	uint64_t position, number;
} cli_discard;

typedef struct cli_view {
	cli_context *ctx;
	wb_store *store;
	wb_routes *routes;
	wbi_journal journal;
	uint64_t first, head; /* positions present; 0 and 0: none */
	uint64_t cursor;      /* settled up to here */
	wbi_quota quota;
	cli_held *held;
	size_t held_count;
	cli_discard *discards; /* in order of positions */
	size_t discard_count, discard_room;
	uint64_t audit_seen; /* number of the last row looked at */
} cli_view;

/* CLI_OK, or an exit code with the reason printed; fini in each case. */
int cli_view_open(cli_context *ctx, cli_view *ret);
void cli_view_fini(cli_view *view);

/* Read head, cursor and held exchanges once more. */
wb_code cli_view_refresh(cli_view *view, wb_error *err);

/*
 * One event, as the callbacks below get it; everything is borrowed until they
 * return. `parked` is set in the states PARKED and RELEASED, `held` in HELD,
 * `discard` in DISCARDED.
 */
typedef struct cli_seen {
	uint64_t position;
	wb_event event; /* headers unpacked */
	wb_str record;
	cli_state state;
	const wbi_parked *parked;
	wb_str row_key; /* cli_view_scan_parked: the key its row stands under */
	const cli_held *held;
	const wbi_audit *discard;
} cli_seen;

/* WB_OK: go on; WB_ENOTFOUND: enough; else an error. */
typedef wb_code (*cli_see)(void *ctx, const cli_seen *seen, wb_error *err);

/* The journal from the first position after `after`, up to the head of the
 * last refresh; begins a new read transaction every few hundred events. */
wb_code cli_view_scan(cli_view *view, uint64_t after, cli_see see, void *ctx,
		      wb_error *err);
/* All rows of relay.parked, by key and position. */
wb_code cli_view_scan_parked(cli_view *view, cli_see see, void *ctx,
			     wb_error *err);

/* The last `limit` rows of an audit, of those behind number `after`, in order;
 * *ret_last is the number of the last one (0: none). */
typedef wb_code (*cli_see_audit)(void *ctx, uint64_t number,
				 const wbi_audit *audit, wb_error *err);
wb_code cli_audit_scan(MDB_env *env, wbi_table table, uint64_t after,
		       uint64_t limit, cli_see_audit see, void *ctx,
		       uint64_t *ret_last, wb_error *err);
/* Of the outbox's. */
wb_code cli_view_scan_audit(cli_view *view, uint64_t after, uint64_t limit,
			    cli_see_audit see, void *ctx, uint64_t *ret_last,
			    wb_error *err);

/* Look for new discards in the audit; bounded by CLI_AUDIT_MAX. */
wb_code cli_view_read_discards(cli_view *view, wb_error *err);
/* The discard of this event; WB_ENOTFOUND: it was not. Borrowed from the
 * transaction. */
wb_code cli_view_discard_of(const cli_view *view, MDB_txn *relay_txn,
			    uint64_t position, wb_str id, wbi_audit *ret,
			    wb_error *err);
/* "discarded by kim at 2026-...: why"; returns ret. */
char *cli_discard_text(const wbi_audit *discard, char *ret, size_t size);

/* One line for people on why it is where it is, and the cure; returns ret. */
char *cli_why(const cli_seen *seen, char *ret, size_t size);

#endif
