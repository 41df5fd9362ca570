/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * waybill inbox show: one event that was taken in, and how each handler is with
 * it. By id it is looked for from the oldest event on; one that has left the
 * journal may still be a row of a handler, or a dead letter, and is taken from
 * there. The record is copied, so nothing is open while it is printed.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "cli/print.h"
#include "cli/inbox.h"
#include "cli/table.h"
#include "inbox/dead.h"
#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/text.h"
#include "lib/event/record.h"

enum { SLICE = 256, LETTERS_MAX = 100000 };

typedef struct show_options {
	bool data;
} show_options;

static const cli_flag show_flags[] = {
	{{.name = "data", .kind = WBI_CONFIG_BOOL,
	  .offset = offsetof(show_options, data),
	  .help = "Print the data and nothing else, as it stands."}, 0},
};

typedef struct show_run {
	cli_context *ctx;
	wb_store *store;
	cli_consumers list;
	wb_str id;
	uint64_t position; /* wanted, or found; 0: not known */
	char *record;      /* a copy; NULL: not found yet */
	size_t record_len;
	wb_event event;
	wb_header headers[WBI_RECORD_HEADERS_MAX];
	json_t *handlers; /* --json */
} show_run;

/* ---- finding it --------------------------------------------------------- */

static wb_code take(show_run *run, wb_str record, wb_error *err)
{
	wb_code rc;

	run->record = malloc(record.len + 1);
	if (!run->record)
		return WBI_FAIL(err, WB_ENOMEM, "out of memory");
	memcpy(run->record, record.ptr, record.len);
	run->record_len = record.len;
	rc = wbi_record_decode(run->record, record.len, &run->event,
			       &run->position, err);
	if (rc == WB_OK)
		rc = wbi_record_headers(run->record, record.len, &run->event,
					run->headers, err);
	return rc == WB_OK ? WB_ENOTFOUND : rc; /* enough */
}

static bool is_it(const show_run *run, uint64_t position, wb_str id)
{
	return run->position > 0 ? position == run->position
				 : wb_str_eq(id, run->id);
}

static wb_code see_event(void *ctx, uint64_t position, const wb_event *event,
			 wb_str record, wb_error *err)
{
	show_run *run = ctx;

	if (is_it(run, position, event->id))
		return take(run, record, err);
	return run->position > 0 ? WB_ENOTFOUND : WB_OK;
}

static wb_code see_work(void *ctx, const wbi_work_id *id, const wbi_work *row,
			wb_error *err)
{
	show_run *run = ctx;
	wb_event event;
	uint64_t position;

	if (row->record.len == 0 || id->lane == WBI_LANE_TIMER ||
	    wbi_record_decode(row->record.ptr, row->record.len, &event,
			      &position, NULL) != WB_OK ||
	    !is_it(run, id->position, event.id))
		return WB_OK;
	return take(run, row->record, err);
}

static bool see_letter(void *ctx, uint64_t number, const wbi_dead *row)
{
	show_run *run = ctx;
	bool is_event = row->lane == WBI_LANE_KEYED ||
			row->lane == WBI_LANE_UNKEYED;

	(void)number;
	if (is_event && !run->record && is_it(run, row->position, row->id))
		take(run, row->bytes, NULL);
	return !run->record;
}

static wb_code scan_letters(show_run *run, wbi_dead_visitor *see, void *ctx,
			    const bool *stop, wb_error *err)
{
	const wbi_dead_filter all = {0};
	uint64_t number = 0, looked = 0;
	wb_code rc = WB_OK;

	while (rc == WB_OK && looked < LETTERS_MAX && !(stop && *stop)) {
		rc = wbi_dead_visit(run->store, &all, &number, SLICE, see, ctx,
				    err);
		looked += SLICE;
		if (run->record && !stop)
			break;
	}
	return rc == WB_ENOTFOUND ? WB_OK : rc;
}

static wb_code find(show_run *run, wb_error *err)
{
	uint64_t after = run->position > 0 ? run->position - 1 : 0;
	wb_code rc = cli_inbox_scan(run->store, after, see_event, run, err);

	for (size_t i = 0; i < run->list.count && !run->record; i++)
		if (rc == WB_OK)
			rc = cli_work_scan(run->store, run->list.items[i].name,
					   see_work, run, err);
	if (rc == WB_OK && !run->record)
		rc = scan_letters(run, see_letter, run, NULL, err);
	return rc;
}

/* ---- how a handler is with it ------------------------------------------- */

typedef struct standing {
	const cli_consumer *consumer;
	char state[32], text[1400];
	uint32_t attempts;
	int64_t due_us;   /* 0: none */
	uint64_t letter;  /* 0: none */
	uint64_t position;
	bool found;
} standing;

static bool match_letter(void *ctx, uint64_t number, const wbi_dead *row)
{
	standing *s = ctx;

	if (row->position != s->position || row->lane == WBI_LANE_TIMER ||
	    !wb_str_eq(row->consumer, wb_str_from(s->consumer->name)))
		return true;
	s->found = true;
	s->letter = number;
	s->attempts = row->attempts;
	wbi_text_show(row->text, s->text, sizeof(s->text));
	return false;
}

static void standing_row(standing *s, const wbi_work *row)
{
	char text[1100];

	snprintf(s->state, sizeof(s->state), "%s",
		 cli_work_state_name(row->state));
	s->attempts = row->attempts;
	s->letter = row->dead;
	s->due_us = row->state == WBI_WORK_WAITING ? row->due_us : 0;
	wbi_text_show(row->text, text, sizeof(text));
	snprintf(s->text, sizeof(s->text), "%s", text);
	if (row->state == WBI_WORK_QUEUED)
		snprintf(s->text, sizeof(s->text),
			 "an earlier event of its key is not done");
	if (row->state == WBI_WORK_DEAD)
		snprintf(s->text, sizeof(s->text),
			 "its key waits: see waybill dead show %" PRIu64,
			 row->dead);
}

static wb_code standing_work(show_run *run, standing *s, wb_error *err)
{
	wbi_table table = wbi_store_get_tables(run->store)->work;
	wbi_work_id id = {wb_str_from(s->consumer->name), WBI_LANE_KEYED,
			  run->event.key, s->position};
	MDB_txn *txn;
	wbi_work row;
	wb_code rc = wbi_txn_begin(wb_store_env(run->store), false, &txn, err);

	if (rc != WB_OK)
		return rc;
	if (id.key.len == 0)
		id.lane = WBI_LANE_UNKEYED;
	rc = wbi_work_get(txn, table, &id, &row, err);
	if (rc == WB_OK)
		standing_row(s, &row);
	id.lane = WBI_LANE_CRASHED;
	id.key = WB_STR_NULL;
	if (rc == WB_ENOTFOUND && s->consumer->row.position < s->position &&
	    wbi_work_get(txn, table, &id, &row, NULL) == WB_OK)
		s->attempts = row.attempts;
	wbi_txn_abort(txn);
	return rc;
}

static wb_code standing_of(show_run *run, const cli_consumer *consumer,
			   standing *s, wb_error *err)
{
	uint64_t cursor = consumer->row.position;
	wb_code rc;

	*s = (standing){.consumer = consumer, .position = run->position};
	rc = standing_work(run, s, err);
	if (rc != WB_ENOTFOUND)
		return rc;
	if (cursor < run->position) {
		snprintf(s->state, sizeof(s->state), "pending");
		snprintf(s->text, sizeof(s->text),
			 "%" PRIu64 " events before it%s%s",
			 run->position - cursor - 1,
			 consumer->error[0] ? "; it has stopped: " : "",
			 consumer->error);
		return WB_OK;
	}
	rc = scan_letters(run, match_letter, s, &s->found, err);
	snprintf(s->state, sizeof(s->state), "%s",
		 s->found ? "dead" : "passed");
	if (!s->found)
		snprintf(s->text, sizeof(s->text),
			 "handled, or not of its types");
	return rc;
}

/* ---- saying it ---------------------------------------------------------- */

static void say_json(show_run *run, const standing *s)
{
	json_t *object = json_object();

	cli_put_text(object, "handler", wb_str_from(s->consumer->name));
	cli_put_text(object, "state", wb_str_from(s->state));
	cli_put_text(object, "text", wb_str_from(s->text));
	cli_put_number(object, "attempts", s->attempts);
	cli_put_time(object, "due", s->due_us);
	if (s->letter > 0)
		cli_put_number(object, "dead_letter", s->letter);
	json_array_append_new(run->handlers, object);
}

static void say_people(const standing *s)
{
	char due[WBI_TIME_TEXT_MAX], letter[64];

	printf("%-16s %s: %s", "handler", s->consumer->name, s->state);
	if (s->attempts > 0)
		printf(", %" PRIu32 " attempts", s->attempts);
	if (s->due_us > 0) {
		wbi_time_format(s->due_us, due);
		printf(", due %s", due);
	}
	snprintf(letter, sizeof(letter), ", dead letter %" PRIu64, s->letter);
	printf("%s%s%s\n", s->letter > 0 ? letter : "", s->text[0] ? ": " : "",
	       s->text);
}

static wb_code say_handlers(show_run *run, wb_error *err)
{
	standing *s = malloc(sizeof(*s));
	wb_code rc = WB_OK;

	if (!s)
		return WBI_FAIL(err, WB_ENOMEM, "out of memory");
	for (size_t i = 0; i < run->list.count && rc == WB_OK; i++) {
		rc = standing_of(run, &run->list.items[i], s, err);
		if (rc == WB_OK && run->handlers)
			say_json(run, s);
		else if (rc == WB_OK)
			say_people(s);
	}
	free(s);
	return rc;
}

static int say_all_json(show_run *run)
{
	wb_error err = WB_ERROR_INIT;
	json_t *object = json_object();

	run->handlers = json_array();
	cli_put_number(object, "position", run->position);
	cli_put_event(object, &run->event);
	cli_put_headers(object, run->event.headers, run->event.header_count);
	if (say_handlers(run, &err) != WB_OK) {
		json_decref(run->handlers);
		json_decref(object);
		return cli_fail_error(run->ctx, &err);
	}
	json_object_set_new(object, "handlers", run->handlers);
	return cli_answered(run->ctx, cli_json_print(object));
}

static int say(show_run *run)
{
	const show_options *o = run->ctx->options;
	wb_error err = WB_ERROR_INIT;

	if (o->data) {
		fwrite(run->event.data.ptr, 1, run->event.data.len, stdout);
		return CLI_OK;
	}
	if (run->ctx->json)
		return say_all_json(run);
	cli_print_number("position", run->position);
	if (say_handlers(run, &err) != WB_OK)
		return cli_fail_error(run->ctx, &err);
	cli_print_event(&run->event);
	cli_print_data("data", run->event.data);
	return CLI_OK;
}

static int show_run_(cli_context *ctx)
{
	show_run *run = calloc(1, sizeof(*run));
	const char *what = ctx->args[0];
	wb_error err = WB_ERROR_INIT;
	char *end;
	int code;

	if (!run)
		return cli_fail(ctx, CLI_FAILED, "out of memory");
	run->ctx = ctx;
	run->id = wb_str_from(what);
	run->position = strtoull(what, &end, 10);
	if (*end != '\0' || what[0] < '0' || what[0] > '9')
		run->position = 0;
	code = cli_open_store(ctx, &run->store);
	if (code == CLI_OK &&
	    (cli_consumers_read(run->store, &run->list, &err) != WB_OK ||
	     find(run, &err) != WB_OK))
		code = cli_fail_error(ctx, &err);
	if (code == CLI_OK && !run->record)
		code = cli_fail(ctx, CLI_NOT_ALL,
				"no event %s: not in the inbox (any more), not "
				"waiting, no dead letter",
				what);
	if (code == CLI_OK)
		code = say(run);
	cli_consumers_fini(&run->list);
	wb_store_close(run->store);
	free(run->record);
	free(run);
	return code;
}

const cli_command cli_command_inbox_show = {
	.name = "inbox show",
	.args = "ID|POSITION",
	.summary = "Show one event that was taken in, and how each handler is "
		   "with it",
	.help = "A number is a position in the inbox, anything else an event's "
		"id. The exit status is\n3 if there is no such event (any "
		"more).\n\n"
		"  waybill inbox show --store shop 17\n"
		"  waybill inbox show --store shop 17 --data | jq .\n",
	.groups = WBI_GROUP_STORE | WBI_GROUP_LOG,
	.flags = show_flags,
	.flag_count = WBI_COUNT(show_flags),
	.options_size = sizeof(show_options),
	.args_min = 1,
	.args_max = 1,
	.needs_store = true,
	.run = show_run_,
};
