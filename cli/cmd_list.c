/* SPDX-License-Identifier: BSD-2-Clause */
/* waybill outbox ls and tail: events, many at a time. */
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "cli/show.h"
#include "cli/table.h"
#include "cli/view.h"
#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/text.h"

/* ---- ls ---------------------------------------------------------------- */

static const char *const ls_states[] = {"open",	    "pending",	 "held",
					"parked",   "delivered", "discarded",
					"all",      NULL};
enum {
	LS_OPEN,
	LS_PENDING,
	LS_HELD,
	LS_PARKED,
	LS_DELIVERED,
	LS_DISCARDED,
	LS_ALL
};

typedef struct ls_options {
	int state;
	char *key, *type;
	uint64_t limit, since;
	bool no_key;
} ls_options;

#define AT(member) .offset = offsetof(ls_options, member)

static const cli_flag ls_flags[] = {
	{{.name = "state", .kind = WBI_CONFIG_CHOICE, AT(state),
	  .choices = ls_states, .init = "open",
	  .help = "open is all that is not delivered: pending, held and "
		  "parked."}, 's'},
	{{.name = "key", .kind = WBI_CONFIG_TEXT, AT(key), .arg = "KEY",
	  .help = "Only events of this ordering key."}, 'k'},
	{{.name = "type", .kind = WBI_CONFIG_TEXT, AT(type), .arg = "TYPE",
	  .help = "Only events of this type."}, 't'},
	{{.name = "since", .kind = WBI_CONFIG_NUMBER, AT(since),
	  .max = UINT64_MAX, .init = "0", .arg = "POSITION",
	  .help = "Only from this position on."}, 0},
	{{.name = "limit", .kind = WBI_CONFIG_NUMBER, AT(limit), .min = 1,
	  .max = 1000000, .init = "50", .arg = "N",
	  .help = "At most so many."}, 'n'},
};

typedef struct ls_run {
	cli_view *view;
	const ls_options *o;
	cli_table *table;
	uint64_t count;
	bool more;
	bool from_parked; /* which of the two sources is being read */
} ls_run;

static bool state_wanted(const ls_run *run, cli_state state)
{
	bool parked = state == CLI_STATE_PARKED ||
		      state == CLI_STATE_RELEASED;

	switch (run->o->state) {
	case LS_OPEN:
		return state != CLI_STATE_DELIVERED &&
		       state != CLI_STATE_DISCARDED;
	case LS_PENDING:
		return state == CLI_STATE_PENDING;
	case LS_HELD:
		return state == CLI_STATE_HELD;
	case LS_PARKED:
		return parked;
	case LS_DISCARDED:
		return state == CLI_STATE_DISCARDED;
	case LS_DELIVERED:
		return state == CLI_STATE_DELIVERED;
	default:
		return true;
	}
}

static bool wanted(const ls_run *run, const cli_seen *seen)
{
	const ls_options *o = run->o;

	if (!state_wanted(run, seen->state) || seen->position < o->since)
		return false;
	if (seen->parked && !run->from_parked)
		return false; /* listed already, from its own table */
	if (o->key && !wb_str_eq(seen->event.key, wb_str_from(o->key)))
		return false;
	return !o->type || wb_str_eq(seen->event.type, wb_str_from(o->type));
}

static const char *note_of(const cli_seen *seen)
{
	if (seen->parked)
		return wbi_park_reason_name(seen->parked->reason);
	return seen->held ? seen->held->exchange : NULL;
}

static wb_code ls_see(void *ctx, const cli_seen *seen, wb_error *err)
{
	ls_run *run = ctx;
	char position[32], bytes[32], time[WBI_TIME_TEXT_MAX];
	char type[512], key[512], id[512];

	if (!wanted(run, seen))
		return WB_OK;
	if (run->count == run->o->limit) {
		run->more = true;
		return WB_ENOTFOUND;
	}
	snprintf(position, sizeof(position), "%" PRIu64, seen->position);
	snprintf(bytes, sizeof(bytes), "%zu", seen->event.data.len);
	wbi_time_format(seen->event.time_us, time);
	wbi_text_show(seen->event.type, type, sizeof(type));
	wbi_text_show(seen->event.key, key, sizeof(key));
	wbi_text_show(seen->event.id, id, sizeof(id));
	const char *cells[] = {position, cli_state_name(seen->state),
			       type,	 seen->event.key.len ? key : NULL,
			       time,	 bytes,
			       id,	 note_of(seen)};

	if (!cli_table_row(run->table, cells))
		return WBI_FAIL(err, WB_ENOMEM, "out of memory");
	run->count++;
	return WB_OK;
}

/* Behind which position the journal has to be read for these states. */
static uint64_t ls_after(const ls_run *run)
{
	const cli_view *view = run->view;
	uint64_t after = 0;

	if (run->o->state == LS_OPEN || run->o->state == LS_PENDING ||
	    run->o->state == LS_HELD)
		after = view->cursor;
	for (size_t i = 0; i < view->held_count; i++)
		if (run->o->state != LS_PENDING && after > 0 &&
		    view->held[i].first_position <= after)
			after = view->held[i].first_position - 1;
	if (run->o->since > after + 1)
		after = run->o->since - 1;
	return after;
}

static wb_code ls_scan(ls_run *run, wb_error *err)
{
	int state = run->o->state;
	wb_code rc = WB_OK;

	if (state == LS_OPEN || state == LS_PARKED || state == LS_ALL) {
		run->from_parked = true;
		rc = cli_view_scan_parked(run->view, ls_see, run, err);
		run->from_parked = false;
	}
	if (rc == WB_OK && state != LS_PARKED && !run->more)
		rc = cli_view_scan(run->view, ls_after(run), ls_see, run, err);
	return rc;
}

static int ls_run_(cli_context *ctx)
{
	static const cli_column columns[] = {
		{.name = "position", .number = true},
		{.name = "state"},
		{.name = "type"},
		{.name = "key", .trunc = true},
		{.name = "time"},
		{.name = "bytes", .number = true},
		{.name = "id", .trunc = true},
		{.name = "note", .trunc = true}};
	ls_run run = {.o = ctx->options};
	wb_error err = WB_ERROR_INIT;
	cli_view view;
	int code;

	code = cli_view_open(ctx, &view);
	run.view = &view;
	run.table = cli_table_new("events", columns, WBI_COUNT(columns),
				  ctx->json);
	if (code == CLI_OK && !run.table)
		code = cli_fail(ctx, CLI_FAILED, "out of memory");
	if (code == CLI_OK && ls_scan(&run, &err) != WB_OK)
		code = cli_fail_error(ctx, &err);
	cli_view_fini(&view);
	return cli_table_end(ctx, run.table, code,
			     run.more ? "--limit, --since" : NULL);
}

/* ---- tail -------------------------------------------------------------- */

typedef struct tail_options {
	uint64_t lines;
	bool follow;
} tail_options;

static const cli_flag tail_flags[] = {
	{{.name = "lines", .kind = WBI_CONFIG_NUMBER,
	  .offset = offsetof(tail_options, lines), .max = 1000000,
	  .init = "10", .arg = "N",
	  .help = "Begin with the last N events."}, 'n'},
	{{.name = "follow", .kind = WBI_CONFIG_BOOL,
	  .offset = offsetof(tail_options, follow),
	  .help = "Go on with each event as it is committed, until "
		  "interrupted."}, 'f'},
};

typedef struct tail_run {
	cli_context *ctx;
	uint64_t last;
} tail_run;

static wb_code tail_see(void *ctx, const cli_seen *seen, wb_error *err)
{
	tail_run *run = ctx;
	char time[WBI_TIME_TEXT_MAX], type[512], key[512], id[512];
	bool ok;

	run->last = seen->position;
	if (run->ctx->json) {
		ok = cli_json_print_line(cli_seen_json(seen));
	} else {
		wbi_time_format(seen->event.time_us, time);
		ok = printf("%" PRIu64 "  %s  %s  %s  %s  %zu B  %s\n",
			    seen->position, time, cli_state_name(seen->state),
			    wbi_text_show(seen->event.type, type, sizeof(type)),
			    wbi_text_show(seen->event.key, key, sizeof(key)),
			    seen->event.data.len,
			    wbi_text_show(seen->event.id, id, sizeof(id))) > 0;
	}
	return ok ? WB_OK : WBI_FAIL(err, WB_ECLOSED, "nobody reads any more");
}

static wb_code tail_follow(cli_view *view, tail_run *run, wb_error *err)
{
	const struct timespec nap = {0, 50 * 1000000L};
	wb_code rc = WB_OK;

	/* Positions alone tell what is new: the number of the last commit is
	 * there before a reader sees the commit. */
	while (rc == WB_OK) {
		nanosleep(&nap, NULL);
		rc = cli_view_refresh(view, err);
		if (rc == WB_OK)
			rc = cli_view_scan(view, run->last, tail_see, run, err);
		if (rc == WB_OK && fflush(stdout) != 0)
			rc = WBI_FAIL(err, WB_ECLOSED, "nobody reads any more");
	}
	return rc;
}

static int tail_run_(cli_context *ctx)
{
	const tail_options *o = ctx->options;
	tail_run run = {.ctx = ctx};
	wb_error err = WB_ERROR_INIT;
	cli_view view;
	wb_code rc;
	int code;

	code = cli_view_open(ctx, &view);
	if (code == CLI_OK) {
		run.last = view.head > o->lines ? view.head - o->lines : 0;
		rc = cli_view_scan(&view, run.last, tail_see, &run, &err);
		fflush(stdout);
		if (rc == WB_OK && o->follow)
			rc = tail_follow(&view, &run, &err);
		if (rc != WB_OK)
			code = cli_fail_error(ctx, &err);
	}
	cli_view_fini(&view);
	return code;
}

const cli_command cli_command_outbox_ls = {
	.name = "outbox ls",
	.args = "",
	.summary = "List events by state",
	.help = "States: pending (not confirmed yet), held (its exchange is "
		"missing), parked (set\naside with a reason, and its key "
		"behind it), released (by retry), delivered,\ndiscarded (as "
		"long as the journal still has it; waybill outbox audit knows "
		"all).\nWhich exchange "
		"an event goes to depends on the routes: give the relay's "
		"--config.\n\n"
		"  waybill outbox ls --store shop --state parked\n"
		"  waybill outbox ls --store shop --state all --key 42 "
		"--json\n",
	.groups = WBI_GROUP_STORE | WBI_GROUP_ROUTES | WBI_GROUP_LOG,
	.flags = ls_flags,
	.flag_count = WBI_COUNT(ls_flags),
	.options_size = sizeof(ls_options),
	.needs_store = true,
	.run = ls_run_,
};

const cli_command cli_command_outbox_tail = {
	.name = "outbox tail",
	.args = "",
	.summary = "Print the last events, and new ones as they come",
	.help = "Prints position, time, state, type, key, size and id; with "
		"--json one object a\nline, data included.\n\n"
		"  waybill outbox tail --store shop -f\n",
	.groups = WBI_GROUP_STORE | WBI_GROUP_ROUTES | WBI_GROUP_LOG,
	.flags = tail_flags,
	.flag_count = WBI_COUNT(tail_flags),
	.options_size = sizeof(tail_options),
	.needs_store = true,
	.run = tail_run_,
};
