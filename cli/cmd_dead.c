/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * waybill dead ls and show: what could not be handled, and why. Only reads, a
 * few hundred letters in a transaction, so it runs beside the worker.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "cli/dead.h"
#include "cli/print.h"
#include "cli/when.h"
#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/text.h"
#include "lib/event/raw.h"
#include "lib/event/record.h"
#include "inbox/timer.h"

enum { SLICE = 256, HEADERS_MAX = 1024, FOLLOWERS_MAX = 1000 };

/* In the order of enum wbi_dead_reason. */
const char *const cli_dead_reasons[] = {
	"any",       "rejected",  "exhausted",  "crashed", "hung",
	"malformed", "too-large", "no-handler", NULL};

/* ---- shared with the verbs ---------------------------------------------- */

int cli_dead_filter(cli_context *ctx, wbi_dead_filter *ret)
{
	const cli_dead_options *o = ctx->options;
	int code;

	*ret = (wbi_dead_filter){.reason = (uint8_t)o->reason,
				 .handler = wb_str_from(o->handler),
				 .key = wb_str_from(o->key),
				 .id = wb_str_from(o->id)};
	code = cli_when_flag(ctx, "after", o->after, &ret->after_us);
	if (code == CLI_OK)
		code = cli_when_flag(ctx, "before", o->before, &ret->before_us);
	return code;
}

bool cli_dead_is_filtered(const cli_dead_options *o)
{
	return o->reason || o->handler || o->key || o->id || o->after ||
	       o->before;
}

cli_table *cli_dead_table(bool outcome, bool json)
{
	static const cli_column columns[] = {
		{.name = "number", .number = true},
		{.name = "reason"},
		{.name = "handler", .trunc = true},
		{.name = "attempts", .number = true},
		{.name = "died"},
		{.name = "position", .number = true},
		{.name = "type", .trunc = true},
		{.name = "key", .trunc = true},
		{.name = "id", .trunc = true},
		{.name = "text", .trunc = true},
		{.name = "outcome"}};

	return cli_table_new("letters", columns,
			     WBI_COUNT(columns) - (outcome ? 0 : 1), json);
}

static const char *or_null(wb_str text, char *buf, size_t size)
{
	return text.len > 0 ? wbi_text_show(text, buf, size) : NULL;
}

bool cli_dead_row(cli_table *table, uint64_t number, const wbi_dead *row,
		  const char *outcome)
{
	char count[32], attempts[32], died[WBI_TIME_TEXT_MAX], position[32];
	char handler[300], type[512], key[1100], id[1100], text[1100];
	const char *cells[] = {count,
			       wbi_dead_reason_name(row->reason),
			       or_null(row->consumer, handler, sizeof(handler)),
			       attempts,
			       died,
			       row->position > 0 ? position : NULL,
			       or_null(row->type, type, sizeof(type)),
			       or_null(row->key, key, sizeof(key)),
			       or_null(row->id, id, sizeof(id)),
			       or_null(row->text, text, sizeof(text)),
			       outcome};

	snprintf(count, sizeof(count), "%" PRIu64, number);
	snprintf(attempts, sizeof(attempts), "%" PRIu32, row->attempts);
	snprintf(position, sizeof(position), "%" PRIu64, row->position);
	wbi_time_format(row->last_us, died);
	return cli_table_row(table, cells);
}

/* ---- ls ----------------------------------------------------------------- */

static const cli_flag ls_flags[] = {
	CLI_DEAD_FILTERS,
	{{.name = "since", .kind = WBI_CONFIG_NUMBER, CLI_DEAD_AT(since),
	  .max = UINT64_MAX, .init = "0", .arg = "NUMBER",
	  .help = "Only from this number on: for the next page."}, 0},
	{{.name = "limit", .kind = WBI_CONFIG_NUMBER, CLI_DEAD_AT(limit),
	  .min = 1, .max = 1000000, .init = "50", .arg = "N",
	  .help = "At most so many."}, 'n'},
};

typedef struct ls_run {
	cli_table *table;
	uint64_t count, limit;
	bool more, failed;
} ls_run;

static bool ls_see(void *ctx, uint64_t number, const wbi_dead *row)
{
	ls_run *run = ctx;

	run->more = run->count == run->limit;
	if (run->more)
		return false;
	run->failed = !cli_dead_row(run->table, number, row, NULL);
	run->count++;
	return !run->failed;
}

static wb_code ls_scan(wb_store *store, const wbi_dead_filter *filter,
		       uint64_t since, ls_run *run, wb_error *err)
{
	uint64_t number = since > 0 ? since - 1 : 0;
	wb_code rc = WB_OK;

	while (rc == WB_OK && !run->more && !run->failed)
		rc = wbi_dead_visit(store, filter, &number, SLICE, ls_see, run,
				    err);
	if (run->failed)
		return WBI_FAIL(err, WB_ENOMEM, "out of memory");
	return rc == WB_ENOTFOUND ? WB_OK : rc;
}

static int ls_run_(cli_context *ctx)
{
	const cli_dead_options *o = ctx->options;
	ls_run run = {.limit = o->limit};
	wb_error err = WB_ERROR_INIT;
	wbi_dead_filter filter;
	wb_store *store = NULL;
	int code = cli_dead_filter(ctx, &filter);

	if (code == CLI_OK)
		code = cli_open_store(ctx, &store);
	if (code != CLI_OK)
		return code;
	run.table = cli_dead_table(false, ctx->json);
	if (!run.table)
		code = cli_fail(ctx, CLI_FAILED, "out of memory");
	else if (ls_scan(store, &filter, o->since, &run, &err) != WB_OK)
		code = cli_fail_error(ctx, &err);
	wb_store_close(store);
	return cli_table_end(ctx, run.table, code,
			     run.more ? "--limit, --since" : NULL);
}

const cli_command cli_command_dead_ls = {
	.name = "dead ls",
	.args = "",
	.summary = "List dead letters: events and timers that could not be "
		   "handled",
	.help = "The oldest comes first. What is of no handler was refused at "
		"ingest: it is no event, or\nover a limit. Numbers are never "
		"given twice.\n\n"
		"  waybill dead ls --store shop --handler billing --after 2h\n"
		"  waybill dead ls --store shop --reason malformed --json\n",
	.groups = WBI_GROUP_STORE | WBI_GROUP_LOG,
	.flags = ls_flags,
	.flag_count = WBI_COUNT(ls_flags),
	.options_size = sizeof(cli_dead_options),
	.needs_store = true,
	.run = ls_run_,
};

/* ---- show --------------------------------------------------------------- */

typedef struct show_options {
	bool data;
} show_options;

static const cli_flag show_flags[] = {
	{{.name = "data", .kind = WBI_CONFIG_BOOL,
	  .offset = offsetof(show_options, data),
	  .help = "Print the data (of a refused message the body) and nothing "
		  "else, as it stands."}, 0},
};

/* A letter, and what is in it. */
typedef struct letter {
	uint64_t number;
	char *row; /* what everything else points into */
	wbi_dead dead;
	bool is_event, is_timer, is_message; /* none: its bytes are damaged */
	wb_event event;
	wb_timer timer;
	wb_message message;
	wb_header headers[HEADERS_MAX];
	uint64_t followers;
	const char *cure;
} letter;

static void letter_open(letter *l)
{
	wb_str bytes = l->dead.bytes;
	const wbi_work_id id = {l->dead.consumer, l->dead.lane, l->dead.key,
				l->dead.position};
	uint64_t position;

	if (l->dead.lane == 0)
		l->is_message = wbi_raw_decode(bytes, l->headers, HEADERS_MAX,
					       &l->message, NULL) == WB_OK;
	else if (l->dead.lane == WBI_LANE_TIMER)
		l->is_timer = wbi_timer_unpack(&id, bytes, &l->timer, NULL) ==
			      WB_OK;
	else
		l->is_event = wbi_record_decode(bytes.ptr, bytes.len, &l->event,
						&position, NULL) == WB_OK &&
			      wbi_record_headers(bytes.ptr, bytes.len,
						 &l->event, l->headers,
						 NULL) == WB_OK;
}

/* How many events of its key wait behind it, up to a bound. */
static uint64_t count_followers(const wbi_store_tables *tables, MDB_txn *txn,
				const wbi_dead *dead)
{
	const wbi_work_id id = {dead->consumer, dead->lane, dead->key,
				dead->position};
	wbi_row_key from;
	wbi_work_id found;
	wbi_cursor *cursor;
	uint64_t count = 0;
	wb_str at, row;

	if (!dead->blocks ||
	    wbi_cursor_open(txn, tables->work, &cursor, NULL) != WB_OK)
		return 0;
	from = wbi_work_key(&id);
	at = wbi_row_key_str(&from);
	if (wbi_cursor_move(cursor, WBI_SEEK, &at, &row, NULL) == WB_OK)
		while (count < FOLLOWERS_MAX &&
		       wbi_cursor_move(cursor, WBI_NEXT, &at, &row, NULL) ==
			       WB_OK &&
		       wbi_work_key_parse(at, &found, NULL) == WB_OK &&
		       found.lane == id.lane && wb_str_eq(found.key, id.key) &&
		       wb_str_eq(found.consumer, id.consumer))
			count++;
	wbi_cursor_close(cursor);
	return count;
}

static const char *cure_of(uint8_t reason)
{
	switch (reason) {
	case WBI_DEAD_REJECTED:
	case WBI_DEAD_EXHAUSTED:
		return "mend what it says, then waybill dead retry; or discard";
	case WBI_DEAD_CRASHED:
	case WBI_DEAD_HUNG:
		return "mend the handler (it takes the worker with it), then "
		       "waybill dead retry; or discard";
	case WBI_DEAD_MALFORMED:
		return "have its producer mended; waybill dead retry takes it "
		       "in as it would now, with --id-from-body if all it "
		       "lacks is an id; or discard";
	case WBI_DEAD_TOO_LARGE:
		return "raise the limit (--body-max-bytes, --headers-max), "
		       "then waybill dead retry with it; or discard";
	case WBI_DEAD_NO_HANDLER:
		return "start a worker that has its handler, then waybill dead "
		       "retry; or discard";
	default:
		return "remove the cause, then waybill dead retry; or discard";
	}
}

static json_t *message_json(const letter *l)
{
	json_t *object = json_object();
	const wb_message *m = &l->message;

	cli_put_text(object, "exchange", m->exchange);
	cli_put_text(object, "routing_key", m->routing_key);
	cli_put_text(object, "message_id", m->message_id);
	cli_put_text(object, "type", m->type);
	cli_put_text(object, "app_id", m->app_id);
	cli_put_text(object, "content_type", m->content_type);
	cli_put_text(object, "correlation_id", m->correlation_id);
	cli_put_text(object, "reply_to", m->reply_to);
	cli_put_time(object, "timestamp", m->timestamp_s * 1000000);
	cli_put_headers(object, m->headers, m->header_count);
	cli_put_number(object, "body_bytes", m->body.len);
	cli_put_data(object, "body", m->body);
	return object;
}

static json_t *content_json(const letter *l)
{
	json_t *object;

	if (l->is_message)
		return message_json(l);
	object = json_object();
	if (l->is_event) {
		cli_put_event(object, &l->event);
		cli_put_headers(object, l->event.headers,
				l->event.header_count);
	} else if (l->is_timer) {
		cli_put_text(object, "name", l->timer.name);
		cli_put_time(object, "due", l->timer.due_us);
		cli_put_number(object, "data_bytes", l->timer.data.len);
		cli_put_data(object, "data", l->timer.data);
	} else {
		cli_put_data(object, "bytes", l->dead.bytes);
	}
	return object;
}

static bool show_json(const letter *l)
{
	const wbi_dead *d = &l->dead;
	json_t *object = json_object();

	cli_put_number(object, "number", l->number);
	cli_put_text(object, "reason",
		     wb_str_from(wbi_dead_reason_name(d->reason)));
	cli_put_text(object, "text", d->text);
	cli_put_text(object, "cure", wb_str_from(l->cure));
	cli_put_text(object, "handler", d->consumer);
	cli_put_number(object, "attempts", d->attempts);
	cli_put_text(object, "code",
		     wb_str_from(wb_code_name((wb_code)d->code)));
	cli_put_time(object, "first_failure", d->first_us);
	cli_put_time(object, "died", d->last_us);
	if (d->position > 0)
		cli_put_number(object, "position", d->position);
	cli_put_text(object, "key", d->key);
	json_object_set_new(object, "holds_up_its_key",
			    json_boolean(d->blocks));
	cli_put_number(object, "followers", l->followers);
	json_object_set_new(object,
			    l->is_event	    ? "event"
			    : l->is_timer   ? "timer"
			    : l->is_message ? "message"
					    : "damaged",
			    content_json(l));
	return cli_json_print(object);
}

static void show_message(const letter *l)
{
	const wb_message *m = &l->message;

	cli_print_text("exchange", m->exchange);
	cli_print_text("routing key", m->routing_key);
	cli_print_text("message id", m->message_id);
	cli_print_text("type", m->type);
	cli_print_text("app id", m->app_id);
	cli_print_text("content type", m->content_type);
	cli_print_text("correlation id", m->correlation_id);
	cli_print_text("reply to", m->reply_to);
	cli_print_time("timestamp", m->timestamp_s * 1000000);
	cli_print_headers(m->headers, m->header_count);
	cli_print_data("body", m->body);
}

static void show_content(const letter *l)
{
	if (l->is_message) {
		show_message(l);
	} else if (l->is_event) {
		cli_print_event(&l->event);
		cli_print_data("data", l->event.data);
	} else if (l->is_timer) {
		cli_print_text("timer", l->timer.name);
		cli_print_time("set for", l->timer.due_us);
		cli_print_data("data", l->timer.data);
	} else {
		cli_print_data("damaged bytes", l->dead.bytes);
	}
}

static void show_people(const letter *l)
{
	const wbi_dead *d = &l->dead;

	cli_print_number("number", l->number);
	cli_print_text("reason", wb_str_from(wbi_dead_reason_name(d->reason)));
	cli_print_text("text", d->text);
	cli_print_text("cure", wb_str_from(l->cure));
	cli_print_text("handler", d->consumer.len > 0
					  ? d->consumer
					  : wb_str_from("none: refused at "
							"ingest"));
	if (d->attempts > 0)
		cli_print_number("attempts", d->attempts);
	if (d->code != WB_OK)
		cli_print_text("code",
			       wb_str_from(wb_code_name((wb_code)d->code)));
	cli_print_time("first failure", d->first_us);
	cli_print_time("died", d->last_us);
	if (d->position > 0)
		cli_print_number("position", d->position);
	if (d->blocks)
		printf("%-16s %s%" PRIu64 " events of its key wait behind it\n",
		       "followers",
		       l->followers == FOLLOWERS_MAX ? "at least " : "",
		       l->followers);
	show_content(l);
}

static void show_data(const letter *l)
{
	wb_str data = l->is_event     ? l->event.data
		      : l->is_timer   ? l->timer.data
		      : l->is_message ? l->message.body
				      : l->dead.bytes;

	fwrite(data.ptr, 1, data.len, stdout);
}

/* A copy, since a transaction must not be open while somebody reads. */
static wb_code letter_read(wb_store *store, letter *l, wb_error *err)
{
	const wbi_store_tables *tables = wbi_store_get_tables(store);
	MDB_txn *txn;
	wb_str row;
	wb_code rc = wbi_txn_begin(wb_store_env(store), false, &txn, err);

	if (rc != WB_OK)
		return rc;
	rc = wbi_get_at(txn, tables->dead, l->number, &row, err);
	if (rc == WB_OK) {
		l->row = malloc(row.len);
		if (!l->row)
			rc = WBI_FAIL(err, WB_ENOMEM, "out of memory");
	}
	if (rc == WB_OK) {
		memcpy(l->row, row.ptr, row.len);
		rc = wbi_dead_decode(l->number, wb_str_n(l->row, row.len),
				     &l->dead, err);
	}
	if (rc == WB_OK)
		l->followers = count_followers(tables, txn, &l->dead);
	wbi_txn_abort(txn);
	return rc;
}

static int show_letter(cli_context *ctx, wb_store *store, letter *l)
{
	const show_options *o = ctx->options;
	wb_error err = WB_ERROR_INIT;
	wb_code rc = letter_read(store, l, &err);

	if (rc == WB_ENOTFOUND)
		return cli_fail(ctx, CLI_NOT_ALL,
				"no dead letter %" PRIu64
				" (any more): see `waybill dead ls` and "
				"`waybill inbox audit`",
				l->number);
	if (rc != WB_OK)
		return cli_fail_error(ctx, &err);
	letter_open(l);
	l->cure = cure_of(l->dead.reason);
	if (o->data)
		show_data(l);
	else if (!ctx->json)
		show_people(l);
	else
		return cli_answered(ctx, show_json(l));
	return CLI_OK;
}

static int show_run_(cli_context *ctx)
{
	letter *l = calloc(1, sizeof(*l));
	wb_store *store = NULL;
	char *end;
	int code;

	if (!l)
		return cli_fail(ctx, CLI_FAILED, "out of memory");
	l->number = strtoull(ctx->args[0], &end, 10);
	code = *end != '\0' || ctx->args[0][0] < '0' || ctx->args[0][0] > '9'
		       ? cli_usage(ctx, "'%s' is no number of a dead letter: "
					"see waybill dead ls",
				   ctx->args[0])
		       : cli_open_store(ctx, &store);
	if (code == CLI_OK)
		code = show_letter(ctx, store, l);
	wb_store_close(store);
	free(l->row);
	free(l);
	return code;
}

const cli_command cli_command_dead_show = {
	.name = "dead show",
	.args = "NUMBER",
	.summary = "Show one dead letter: why, since when, its headers and "
		   "bytes",
	.help = "The exit status is 3 if there is no such dead letter (any "
		"more).\n\n"
		"  waybill dead show --store shop 17\n"
		"  waybill dead show --store shop 17 --data | jq .\n",
	.groups = WBI_GROUP_STORE | WBI_GROUP_LOG,
	.flags = show_flags,
	.flag_count = WBI_COUNT(show_flags),
	.options_size = sizeof(show_options),
	.args_min = 1,
	.args_max = 1,
	.needs_store = true,
	.run = show_run_,
};
