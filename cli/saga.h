/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sagas as an operator sees them: which ones are meant, and rows of them. Only
 * reads, a few hundred rows in a transaction, so that a million sagas hold
 * nobody up.
 */
#ifndef CLI_SAGA_H
#define CLI_SAGA_H

#include "cli/command.h"
#include "cli/table.h"
#include "lib/journal/saga_rows.h"

typedef struct cli_saga_options {
	int state; /* cli_saga_states */
	int by;    /* cli_saga_ways */
	char *kind, *age, *step, *after;
	bool stuck;
	uint64_t limit, rate;
	char *why, *who;
	bool all, dry_run, progress;
} cli_saga_options;

extern const char *const cli_saga_states[];
extern const char *const cli_saga_ways[];

#define CLI_SAGA_AT(member) .offset = offsetof(cli_saga_options, member)

/* Rows of a table of flags. */
#define CLI_SAGA_FILTERS                                                      \
	{{.name = "state", .kind = WBI_CONFIG_CHOICE, CLI_SAGA_AT(state),     \
	  .choices = cli_saga_states, .init = "open",                         \
	  .help = "Only those in this state; open: all that have not "        \
		  "ended."}, 's'},                                            \
	{{.name = "kind", .kind = WBI_CONFIG_TEXT, CLI_SAGA_AT(kind),         \
	  .arg = "NAME", .help = "Only those of this kind: the name of the "  \
				 "saga's definition, or of the flow."}, 'k'}, \
	{{.name = "by", .kind = WBI_CONFIG_CHOICE, CLI_SAGA_AT(by),           \
	  .choices = cli_saga_ways, .init = "any",                            \
	  .help = "Only those that are orchestrated here, or that this "      \
		  "service takes part in by choreography."}, 0},              \
	{{.name = "step", .kind = WBI_CONFIG_TEXT, CLI_SAGA_AT(step),         \
	  .arg = "STEP", .help = "Only those that are at this step."}, 0},    \
	{{.name = "age", .kind = WBI_CONFIG_TEXT, CLI_SAGA_AT(age),           \
	  .arg = "TIME", .help = "Only those that have been where they are "  \
				 "for so long (90m, 2h, 7d), or since "       \
				 "before this date or time."}, 0},            \
	{{.name = "stuck", .kind = WBI_CONFIG_BOOL, CLI_SAGA_AT(stuck),       \
	  .help = "Only those that need somebody: parked, or past the time "  \
		  "in which what they wait for should have come."}, 0}

/* What a list is of. */
typedef struct cli_saga_filter {
	uint32_t statuses; /* bits (1 << wb_saga_status) */
	uint8_t by;        /* enum wbi_saga_kind; 0: any */
	wb_str kind, step; /* "": any */
	int64_t since_us;  /* in it since then or before; 0: any */
	bool stuck;
	int64_t now_us;
} cli_saga_filter;

/* Its strings are the options'. CLI_OK, or CLI_USAGE with the reason printed.
 */
int cli_saga_filter_of(cli_context *ctx, const cli_saga_options *o,
		       cli_saga_filter *ret);
/* Do they say which are meant? */
bool cli_saga_is_filtered(const cli_saga_options *o);

/* Where a list goes on: bytes of the key of the row that was seen last. */
typedef struct cli_saga_place {
	wbi_row_key key;
	bool begun;
} cli_saga_place;

/* As text, for --after; returns ret. False: that is no place. */
char *cli_saga_place_text(const cli_saga_place *place, char ret[1024]);
bool cli_saga_place_parse(const char *text, cli_saga_place *ret);

typedef struct cli_saga_seen {
	wbi_saga_id id;
	const wbi_saga_row *row;
	int64_t deadline_us; /* what its timer says; 0: it has none */
	bool late;           /* past it, and not ended */
	const cli_saga_place *place;
} cli_saga_seen;

/*
 * Visit those that match, of a few hundred rows behind *place, in one read
 * transaction. Those that have not ended come first parked, then compensating,
 * then running, the longest in it first; if `filter` wants others too, all
 * come by id. `each` returns false to stop. WB_ENOTFOUND: there are no more.
 */
typedef bool cli_see_saga(void *ctx, const cli_saga_seen *seen);
wb_code cli_saga_visit(wb_store *store, const cli_saga_filter *filter,
		       cli_saga_place *place, cli_see_saga *each, void *ctx,
		       wb_error *err);

/* When what it waits for should be there, by its timer, which may have been
 * moved; and whether that has passed. Any transaction. */
wb_code cli_saga_deadline(MDB_txn *txn, const wbi_store_tables *tables,
			  const wbi_saga_id *id, const wbi_saga_row *row,
			  int64_t now_us, int64_t *ret_us, bool *ret_late,
			  wb_error *err);

const char *cli_saga_way(uint8_t kind); /* "orchestration"; static */
/* From whom what it waits for must come; returns ret. */
char *cli_saga_from(const wbi_saga_id *id, const wbi_saga_row *row, char *ret,
		    size_t size);

/* A table of sagas, and a row of it. `outcome` (NULL: no such column). */
cli_table *cli_saga_table(bool outcome, bool json);
bool cli_saga_table_row(cli_table *table, const cli_saga_seen *seen,
			const char *outcome);

/* Sagas of one id: at most one that is orchestrated, and flows. */
enum { CLI_SAGA_SAME_MAX = 64 };
typedef struct cli_saga_found {
	wbi_row_key keys[CLI_SAGA_SAME_MAX]; /* wbi_saga_key() */
	size_t count;
} cli_saga_found;
wb_code cli_saga_find(wb_store *store, wb_str id, const cli_saga_filter *filter,
		      cli_saga_found *ret, wb_error *err);

#endif
