/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * waybill inbox ls: events that were taken in, and who has yet to do them. What
 * a handler has begun and not ended comes first, from its rows; then what no
 * cursor, or not every one, has reached, from the journal. Only reads.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "cli/inbox.h"
#include "cli/table.h"
#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/text.h"
#include "lib/event/record.h"

static const char *const ls_states[] = {"open", "begun", "pending", "all",
					NULL};
enum { LS_OPEN, LS_BEGUN, LS_PENDING, LS_ALL };

typedef struct ls_options {
	int state;
	char *handler, *key, *type;
	uint64_t limit, since;
} ls_options;

#define AT(member) .offset = offsetof(ls_options, member)

static const cli_flag ls_flags[] = {
	{{.name = "state", .kind = WBI_CONFIG_CHOICE, AT(state),
	  .choices = ls_states, .init = "open",
	  .help = "begun is what waits for a retry, runs, is behind such a "
		  "one, or dead and holding up its key; pending what a handler "
		  "has not reached; open both."}, 's'},
	{{.name = "handler", .kind = WBI_CONFIG_TEXT, AT(handler),
	  .arg = "NAME", .help = "Only as this handler has it."}, 0},
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
	const ls_options *o;
	wb_store *store;
	cli_consumers list;
	cli_table *table;
	uint64_t count;
	bool more;
} ls_run;

static bool of_handler(const ls_run *run, const char *name)
{
	return !run->o->handler || !strcmp(run->o->handler, name);
}

static bool of_event(const ls_run *run, uint64_t position, wb_str key,
		     wb_str type)
{
	const ls_options *o = run->o;

	return position >= o->since &&
	       (!o->key || wb_str_eq(key, wb_str_from(o->key))) &&
	       (!o->type || wb_str_eq(type, wb_str_from(o->type)));
}

/* WB_ENOTFOUND: there are enough. */
static wb_code ls_room(ls_run *run)
{
	run->more = run->count == run->o->limit;
	run->count++;
	return run->more ? WB_ENOTFOUND : WB_OK;
}

/* Which dead letter, and why; the reason only if it can be read. */
static void ls_note_dead(const ls_run *run, uint64_t number, char *note,
			 size_t size)
{
	char text[500];
	wbi_dead dead;
	MDB_txn *txn;

	snprintf(note, size, "dead letter %" PRIu64, number);
	if (wbi_txn_begin(wb_store_env(run->store), false, &txn, NULL) != WB_OK)
		return;
	if (wbi_dead_get(txn, wbi_store_get_tables(run->store)->dead, number,
			 &dead, NULL) == WB_OK) {
		wbi_text_show(dead.text, text, sizeof(text));
		snprintf(note, size, "dead letter %" PRIu64 ", %s: %s", number,
			 wbi_dead_reason_name(dead.reason), text);
	}
	wbi_txn_abort(txn);
}

typedef struct ls_row {
	uint64_t position;
	const char *state, *handlers;
	const wb_event *event;
	const wbi_work *work; /* or NULL */
} ls_row;

static wb_code ls_print(ls_run *run, const ls_row *row, wb_error *err)
{
	char position[32], type[512], key[1100], time[WBI_TIME_TEXT_MAX];
	char attempts[32], due[WBI_TIME_TEXT_MAX], id[1100], note[1100] = "";
	const wb_event *event = row->event;
	bool tried = row->work && row->work->attempts > 0;
	bool waits = row->work && row->work->state == WBI_WORK_WAITING;
	const char *cells[] = {position,
			       row->state,
			       row->handlers,
			       event->type.len > 0 ? type : NULL,
			       event->key.len > 0 ? key : NULL,
			       event->time_us ? time : NULL,
			       tried ? attempts : NULL,
			       waits ? due : NULL,
			       event->id.len > 0 ? id : NULL,
			       row->work ? note : NULL};

	snprintf(position, sizeof(position), "%" PRIu64, row->position);
	wbi_text_show(event->type, type, sizeof(type));
	wbi_text_show(event->key, key, sizeof(key));
	wbi_text_show(event->id, id, sizeof(id));
	wbi_time_format(event->time_us, time);
	if (row->work) {
		snprintf(attempts, sizeof(attempts), "%" PRIu32,
			 row->work->attempts);
		wbi_time_format(row->work->due_us, due);
		wbi_text_show(row->work->text, note, sizeof(note));
		if (row->work->state == WBI_WORK_DEAD)
			ls_note_dead(run, row->work->dead, note,
				     sizeof(note));
	}
	if (!cli_table_row(run->table, cells))
		return WBI_FAIL(err, WB_ENOMEM, "out of memory");
	return WB_OK;
}

const char *cli_work_state_name(uint8_t state)
{
	static const char *const names[] = {"unknown", "waiting", "running",
					    "behind", "dead"};

	return names[state < WBI_COUNT(names) ? state : 0];
}

static wb_code see_begun(void *ctx, const wbi_work_id *id, const wbi_work *row,
			 wb_error *err)
{
	ls_run *run = ctx;
	char handler[300];
	wb_event event = {.key = id->key};
	uint64_t position;
	wb_code rc;

	if (id->lane == WBI_LANE_TIMER || id->lane == WBI_LANE_CRASHED)
		return WB_OK;
	if (row->record.len > 0) {
		rc = wbi_record_decode(row->record.ptr, row->record.len, &event,
				       &position, err);
		if (rc != WB_OK)
			return rc;
	}
	if (!of_event(run, id->position, id->key, event.type))
		return WB_OK;
	rc = ls_room(run);
	wbi_text_show(id->consumer, handler, sizeof(handler));
	return rc != WB_OK ? rc
			   : ls_print(run,
				      &(ls_row){id->position,
						cli_work_state_name(row->state),
						handler, &event, row},
				      err);
}

/* Those whose cursor is before a position, with commas. */
static char *not_reached(const ls_run *run, uint64_t position, char *ret,
			 size_t size)
{
	size_t len = 0;

	ret[0] = '\0';
	for (size_t i = 0; i < run->list.count; i++) {
		const cli_consumer *c = &run->list.items[i];

		if (c->row.position < position && of_handler(run, c->name) &&
		    len < size)
			len += (size_t)snprintf(ret + len, size - len, "%s%s",
						len > 0 ? "," : "", c->name);
	}
	return ret;
}

static wb_code see_event(void *ctx, uint64_t position, const wb_event *event,
			 wb_str record, wb_error *err)
{
	ls_run *run = ctx;
	char handlers[1024];
	bool pending;
	wb_code rc;

	(void)record;
	if (!of_event(run, position, event->key, event->type))
		return WB_OK;
	not_reached(run, position, handlers, sizeof(handlers));
	pending = handlers[0] != '\0';
	if (!pending && run->o->state != LS_ALL)
		return WB_OK;
	rc = ls_room(run);
	return rc != WB_OK ? rc
			   : ls_print(run,
				      &(ls_row){position,
						pending ? "pending" : "passed",
						pending ? handlers : NULL,
						event, NULL},
				      err);
}

/* Behind which position the journal has to be read. */
static uint64_t ls_after(const ls_run *run)
{
	uint64_t after = run->o->state == LS_ALL ? 0 : UINT64_MAX;

	for (size_t i = 0; i < run->list.count; i++) {
		const cli_consumer *c = &run->list.items[i];

		if (of_handler(run, c->name) && c->row.position < after)
			after = c->row.position;
	}
	if (after < run->o->since)
		after = run->o->since - 1;
	return after;
}

static wb_code ls_scan(ls_run *run, wb_store *store, wb_error *err)
{
	int state = run->o->state;
	wb_code rc = cli_consumers_read(store, &run->list, err);

	for (size_t i = 0; i < run->list.count && rc == WB_OK; i++)
		if (state != LS_PENDING && !run->more &&
		    of_handler(run, run->list.items[i].name))
			rc = cli_work_scan(store, run->list.items[i].name,
					   see_begun, run, err);
	if (rc == WB_OK && state != LS_BEGUN && !run->more &&
	    ls_after(run) != UINT64_MAX)
		rc = cli_inbox_scan(store, ls_after(run), see_event, run, err);
	return rc;
}

static int ls_run_(cli_context *ctx)
{
	static const cli_column columns[] = {
		{.name = "position", .number = true},
		{.name = "state"},
		{.name = "handler", .trunc = true},
		{.name = "type", .trunc = true},
		{.name = "key", .trunc = true},
		{.name = "time"},
		{.name = "attempts", .number = true},
		{.name = "due"},
		{.name = "id", .trunc = true},
		{.name = "note", .trunc = true}};
	ls_run run = {.o = ctx->options};
	wb_error err = WB_ERROR_INIT;
	wb_store *store = NULL;
	int code = cli_open_store(ctx, &store);

	if (code != CLI_OK)
		return code;
	run.store = store;
	run.table = cli_table_new("events", columns, WBI_COUNT(columns),
				  ctx->json);
	if (!run.table)
		code = cli_fail(ctx, CLI_FAILED, "out of memory");
	else if (ls_scan(&run, store, &err) != WB_OK)
		code = cli_fail_error(ctx, &err);
	cli_consumers_fini(&run.list);
	wb_store_close(store);
	return cli_table_end(ctx, run.table, code,
			     run.more ? "--limit, --since" : NULL);
}

const cli_command cli_command_inbox_ls = {
	.name = "inbox ls",
	.args = "",
	.summary = "List events by how far handlers are with them",
	.help = "States: waiting (until due), running (an external call), "
		"behind (an earlier event of its\nkey is not done), dead (and "
		"holding up its key), pending (the handlers named have not\n"
		"reached it), passed (all have).\n\n"
		"  waybill inbox ls --store shop --handler billing --state "
		"begun\n"
		"  waybill inbox ls --store shop --key 42 --state all --json\n",
	.groups = WBI_GROUP_STORE | WBI_GROUP_LOG,
	.flags = ls_flags,
	.flag_count = WBI_COUNT(ls_flags),
	.options_size = sizeof(ls_options),
	.needs_store = true,
	.run = ls_run_,
};
