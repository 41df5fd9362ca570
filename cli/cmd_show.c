/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * waybill outbox show: where one event is, why, and what to do. There is no
 * index by id (it would cost every append), so an id is looked for from the
 * oldest event on, parked ones first.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "cli/inbox.h"
#include "cli/print.h"
#include "cli/show.h"
#include "cli/table.h"
#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/text.h"
#include "lib/event/record.h"

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
	cli_view *view;
	wb_str id;
	uint64_t position; /* or 0 */
	bool found;
	uint64_t ahead; /* position of an unsettled event of its key before */
	wb_str key;	/* whose predecessor is looked for */
} show_run;

/* ---- as JSON ----------------------------------------------------------- */

static void put_parked(json_t *object, const wbi_parked *row)
{
	json_t *parked = json_object();

	cli_put_text(parked, "reason",
		 wb_str_from(wbi_park_reason_name(row->reason)));
	cli_put_text(parked, "text", row->text);
	cli_put_number(parked, "reply_code", row->reply_code);
	cli_put_number(parked, "attempts", row->attempts);
	cli_put_text(parked, "exchange", row->exchange);
	cli_put_text(parked, "routing_key", row->routing_key);
	cli_put_time(parked, "since", row->first_us);
	cli_put_time(parked, "changed", row->last_us);
	json_object_set_new(object, "parked", parked);
}

static void put_discard(json_t *object, const wbi_audit *audit)
{
	json_t *discard = json_object();

	cli_put_text(discard, "who", audit->who);
	cli_put_time(discard, "time", audit->time_us);
	cli_put_text(discard, "why", audit->why);
	json_object_set_new(object, "discarded", discard);
}

void cli_event_json(json_t *object, const wb_event *event)
{
	cli_put_event(object, event);
	cli_put_headers(object, event->headers, event->header_count);
}

/* Its stream was truncated. A record that cannot be read has no id. */
static bool is_stub(const cli_seen *seen)
{
	return seen->event.id.len > 0 &&
	       wbi_record_flags(seen->record) & WBI_RECORD_STUB;
}

json_t *cli_seen_json(const cli_seen *seen)
{
	json_t *object = json_object();
	char why[1024];

	cli_put_number(object, "position", seen->position);
	cli_put_text(object, "state", wb_str_from(cli_state_name(seen->state)));
	json_object_set_new(object, "why",
			    cli_json_text(cli_why(seen, why, sizeof(why))));
	cli_event_json(object, &seen->event);
	if (is_stub(seen))
		json_object_set_new(object, "truncated", json_true());
	if (seen->parked)
		put_parked(object, seen->parked);
	if (seen->discard)
		put_discard(object, seen->discard);
	return object;
}

/* ---- for people -------------------------------------------------------- */

static void print_parked(const wbi_parked *row)
{
	cli_print_text("exchange", row->exchange);
	cli_print_text("routing key", row->routing_key);
	cli_print_time("parked", row->first_us);
	printf("%-16s %" PRIu32 "\n", "attempts", row->attempts);
	if (row->reply_code)
		printf("%-16s %u\n", "reply code", row->reply_code);
}

static void print_seen(const cli_seen *seen, const char *why)
{
	printf("%-16s %" PRIu64 "\n", "position", seen->position);
	printf("%-16s %s\n", "state", cli_state_name(seen->state));
	printf("%-16s %s\n", "why", why);
	if (seen->parked)
		print_parked(seen->parked);
	cli_print_event(&seen->event);
	if (is_stub(seen))
		printf("%-16s %s\n", "truncated",
		       "with its stream; this is what is left");
	cli_print_data("data", seen->event.data);
}

/* ---- why is it pending? ------------------------------------------------ */

static wb_code see_ahead(void *ctx, const cli_seen *seen, wb_error *err)
{
	show_run *run = ctx;

	(void)err;
	if (seen->position >= run->position)
		return WB_ENOTFOUND;
	if (run->key.len > 0 && wb_str_eq(seen->event.key, run->key))
		run->ahead = seen->position;
	return run->ahead ? WB_ENOTFOUND : WB_OK;
}

/* A pending event waits for an earlier one of its key, or for its turn. */
static void why_pending(show_run *run, const cli_seen *seen, char *ret,
			size_t size)
{
	const wbi_relay_tables *tables =
		wbi_store_relay_tables(run->view->store);
	wbi_parked_key key = {.count = 0};
	MDB_txn *txn;
	bool parked = false;

	if (seen->event.key.len > 0 &&
	    wbi_txn_begin(wbi_store_relay_env(run->view->store), false, &txn,
			  NULL) == WB_OK) {
		parked = wbi_parked_key_get(txn, tables->keys, seen->event.key,
					    &key, NULL) == WB_OK;
		wbi_txn_abort(txn);
	}
	if (parked)
		snprintf(ret, size,
			 "its key has %" PRIu64 " parked events, the first at "
			 "position %" PRIu64 ": it will park behind them, "
			 "until they are retried or discarded",
			 key.count, key.first_position);
	else if (run->ahead)
		snprintf(ret, size,
			 "waits for position %" PRIu64
			 " of its key to be confirmed",
			 run->ahead);
	else
		snprintf(ret, size,
			 "%" PRIu64 " events before it are not settled; is the "
			 "relay running? see waybill outbox stat",
			 seen->position - run->view->cursor - 1);
}

/* ---- finding it -------------------------------------------------------- */

static bool is_it(const show_run *run, const cli_seen *seen)
{
	if (run->position > 0)
		return seen->position == run->position;
	return wb_str_eq(seen->event.id, run->id);
}

static wb_code show_see(void *ctx, const cli_seen *seen, wb_error *err)
{
	show_run *run = ctx;
	const show_options *o = run->ctx->options;
	char why[1024];
	json_t *json;

	if (!is_it(run, seen))
		return run->position > 0 && !seen->parked &&
				       seen->position > run->position
			       ? WB_ENOTFOUND
			       : WB_OK;
	run->found = true;
	run->position = seen->position;
	run->key = seen->event.key;
	if (o->data) {
		fwrite(seen->event.data.ptr, 1, seen->event.data.len, stdout);
		return WB_ENOTFOUND;
	}
	cli_why(seen, why, sizeof(why));
	if (seen->state == CLI_STATE_PENDING) {
		if (cli_view_scan(run->view, run->view->cursor, see_ahead, run,
				  err) != WB_OK)
			return err->code;
		why_pending(run, seen, why, sizeof(why));
	}
	if (!run->ctx->json) {
		print_seen(seen, why);
		return WB_ENOTFOUND;
	}
	json = cli_seen_json(seen);
	json_object_set_new(json, "why", cli_json_text(why));
	cli_json_print(json);
	return WB_ENOTFOUND;
}

static wb_code show_find(show_run *run, wb_error *err)
{
	uint64_t after = run->position > 0 ? run->position - 1 : 0;
	wb_code rc;

	/* The journal by position is quick; a parked event may have left it. */
	if (run->position > 0) {
		rc = cli_view_scan(run->view, after, show_see, run, err);
		if (rc == WB_OK && !run->found)
			rc = cli_view_scan_parked(run->view, show_see, run,
						  err);
		return rc;
	}
	rc = cli_view_scan_parked(run->view, show_see, run, err);
	if (rc == WB_OK && !run->found)
		rc = cli_view_scan(run->view, 0, show_see, run, err);
	return rc;
}

/* An event that was discarded and has left the journal since: all that is
 * known of it is in the audit. */
static wb_code see_gone(void *ctx, uint64_t number, const wbi_audit *audit,
			wb_error *err)
{
	show_run *run = ctx;
	char text[1024], id[300], key[300];
	json_t *json;

	(void)number;
	(void)err;
	if (run->found || !wb_str_eq(audit->what, wb_str_from("discard")) ||
	    (run->position > 0 ? audit->position != run->position
			       : !wb_str_eq(audit->id, run->id)))
		return WB_OK;
	run->found = true;
	cli_discard_text(audit, text, sizeof(text));
	if (run->ctx->json) {
		json = json_object();
		cli_put_number(json, "position", audit->position);
		cli_put_text(json, "state", wb_str_from("discarded"));
		cli_put_text(json, "why", wb_str_from(text));
		cli_put_text(json, "id", audit->id);
		cli_put_text(json, "key", audit->key);
		put_discard(json, audit);
		cli_json_print(json);
		return WB_OK;
	}
	printf("%-16s %" PRIu64 "\n%-16s %s\n%-16s %s\n%-16s %s\n%-16s %s\n",
	       "position", audit->position, "state", "discarded", "why", text,
	       "id", wbi_text_show(audit->id, id, sizeof(id)), "key",
	       wbi_text_show(audit->key, key, sizeof(key)));
	return WB_OK;
}

/* Perhaps it was taken in, not appended here. */
static int show_none(const show_run *run, const char *what)
{
	wb_error err = WB_ERROR_INIT;
	uint64_t position = 0;

	if (run->position == 0 &&
	    cli_inbox_find(run->view->store, run->id, &position, &err) != WB_OK)
		return cli_fail_error(run->ctx, &err);
	if (position > 0)
		return cli_fail(run->ctx, CLI_NOT_ALL,
				"no event %s in the outbox, but it was taken "
				"in, at position %" PRIu64
				" of the inbox: see waybill inbox show",
				what, position);
	return cli_fail(run->ctx, CLI_NOT_ALL,
			"no event %s: not in the journal (positions %" PRIu64
			" to %" PRIu64 "), not parked",
			what, run->view->first, run->view->head);
}

static int show_run_(cli_context *ctx)
{
	const show_options *o = ctx->options;
	const char *what = ctx->args[0];
	show_run run = {.ctx = ctx, .id = wb_str_from(what)};
	wb_error err = WB_ERROR_INIT;
	uint64_t last;
	cli_view view;
	char *end;
	int code;

	run.position = strtoull(what, &end, 10);
	if (*end != '\0' || what[0] < '0' || what[0] > '9')
		run.position = 0;
	code = cli_view_open(ctx, &view);
	run.view = &view;
	if (code == CLI_OK && show_find(&run, &err) != WB_OK)
		code = cli_fail_error(ctx, &err);
	if (code == CLI_OK && !run.found && !o->data &&
	    cli_view_scan_audit(&view, 0, CLI_AUDIT_MAX, see_gone, &run, &last,
				&err) != WB_OK)
		code = cli_fail_error(ctx, &err);
	if (code == CLI_OK && !run.found)
		code = show_none(&run, what);
	cli_view_fini(&view);
	return code;
}

const cli_command cli_command_outbox_show = {
	.name = "outbox show",
	.args = "ID|POSITION",
	.summary = "Show one event: where it is, why, and the cure",
	.help = "A number is a position in the journal, anything else an "
		"event's id. The exit status\nis 3 if there is no such event "
		"(any more).\n\n"
		"  waybill outbox show --store shop 17\n"
		"  waybill outbox show --store shop 17 --data | jq .\n",
	.groups = WBI_GROUP_STORE | WBI_GROUP_ROUTES | WBI_GROUP_LOG,
	.flags = show_flags,
	.flag_count = WBI_COUNT(show_flags),
	.options_size = sizeof(show_options),
	.args_min = 1,
	.args_max = 1,
	.needs_store = true,
	.run = show_run_,
};
