/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * waybill append: events from a command line or from NDJSON.
 *
 * A line is a CloudEvents JSON object; its data leaves as the bytes that stood
 * in the line. A transaction is open only while whole lines are at hand (never
 * while waiting for input), for about 1 ms, with a pause behind it so that the
 * service gets LMDB's lock. What is reported as appended is committed; a crash
 * at any point leaves whole events only, from the first line on.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <waybill/outbox.h>

#include "cli/command.h"
#include "cli/event.h"
#include "cli/lines.h"
#include "cli/table.h"
#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/text.h"
#include "lib/event/envelope.h"

enum { SLICE_US = 1000, PAUSE_US = 50 };

typedef struct append_options {
	cli_event_options event;
	uint64_t batch;
	bool progress;
} append_options;

/* clang-format off */
static const cli_flag append_flags[] = {
	CLI_EVENT_FLAGS(append_options, event),
	{{.name = "batch", .kind = WBI_CONFIG_NUMBER,
	  .offset = offsetof(append_options, batch), .min = 1, .max = 100000,
	  .init = "1000", .arg = "N",
	  .help = "Events per commit at most; a commit comes after 1 ms "
		  "in any case."}, 0},
	{{.name = "progress", .kind = WBI_CONFIG_BOOL,
	  .offset = offsetof(append_options, progress),
	  .help = "Show progress even if stderr is not a terminal."}, 0},
};
/* clang-format on */

typedef struct append_run {
	cli_context *ctx;
	const append_options *o;
	cli_outbox open;
	cli_progress progress;
	/* the transaction that is open, or NULL, and what it holds */
	MDB_txn *txn;
	int64_t txn_start_us;
	uint64_t txn_count, txn_first, txn_last, txn_line;
	/* what is committed */
	uint64_t count, first, last;
	uint64_t line; /* that failed */
} append_run;

/* ---- transactions ------------------------------------------------------ */

static wb_code run_commit(append_run *run, wb_error *err)
{
	const struct timespec pause = {0, PAUSE_US * 1000L};
	MDB_txn *txn = run->txn;
	wb_code rc;

	if (!txn)
		return WB_OK;
	run->txn = NULL;
	rc = wb_store_commit(run->open.store, txn, err);
	if (rc != WB_OK) {
		run->line = run->txn_line;
		return rc;
	}
	if (run->count == 0)
		run->first = run->txn_first;
	run->last = run->txn_last;
	run->count += run->txn_count;
	run->txn_count = 0;
	cli_progress_show(&run->progress, run->count, 0);
	nanosleep(&pause, NULL);
	return WB_OK;
}

/* An event that is refused leaves the transaction as it was: what came before
 * is committed. After any other failure it is lost, from its first line on. */
static bool leaves_txn_usable(wb_code rc)
{
	return rc == WB_EINVAL || rc == WB_ELIMIT || rc == WB_EQUOTA;
}

static wb_code run_append(append_run *run, const wb_event *event,
			  uint64_t line, wb_error *err)
{
	uint64_t position;
	wb_code rc = WB_OK;

	if (!run->txn) {
		rc = wb_store_begin(run->open.store, &run->txn, err);
		run->txn_start_us = cli_mono_us();
		run->txn_count = 0;
		run->txn_line = line;
	}
	if (rc == WB_OK)
		rc = wb_outbox_append(run->open.outbox, run->txn, event, &position,
				      err);
	if (rc == WB_OK) {
		if (run->txn_count++ == 0)
			run->txn_first = position;
		run->txn_last = position;
		return WB_OK;
	}
	run->line = line;
	if (!leaves_txn_usable(rc) && run->txn) {
		wb_store_abort(run->txn);
		run->txn = NULL;
		run->line = run->txn_line;
	}
	return rc;
}

static bool slice_is_over(const append_run *run)
{
	return run->txn && (run->txn_count >= run->o->batch ||
			    cli_mono_us() - run->txn_start_us >= SLICE_US);
}

/* ---- lines ------------------------------------------------------------- */

static wb_code append_line(append_run *run, wb_str line, uint64_t number,
			   wb_error *err)
{
	char id[WB_UUID_TEXT_LEN + 1];
	wb_message message = {
		.content_type = wb_str_from("application/cloudevents+json"),
		.body = line};
	wbi_received received;
	wb_code rc;

	wb_uuid7(wb_system_clock(), wb_system_random(), id);
	message.message_id = wb_str_from(id);
	run->line = number;
	rc = wbi_envelope_read(&message, &run->open.limits, &received, err);
	if (rc != WB_OK)
		return rc;
	if (received.other_count > 0)
		rc = WBI_FAIL(err, WB_EINVAL,
			      "attribute \"%.*s\": its name or value is not "
			      "one that an event can have; names are lower-case "
			      "letters and digits",
			      (int)(received.others[0].name.len < 60
					    ? received.others[0].name.len
					    : 60),
			      received.others[0].name.ptr);
	/* What people call the ordering key; CloudEvents: partitionkey. */
	if (received.event.key.len == 0)
		cli_take_header(&received, "key", &received.event.key);
	if (rc == WB_OK)
		rc = run_append(run, &received.event, number, err);
	wbi_envelope_read_fini(&received);
	return rc;
}

static bool is_blank(wb_str line)
{
	for (size_t i = 0; i < line.len; i++)
		if (line.ptr[i] != ' ' && line.ptr[i] != '\t')
			return false;
	return true;
}

static wb_code append_lines(append_run *run, cli_lines *lines, wb_error *err)
{
	wb_code rc;
	wb_str line;

	for (;;) {
		/* never wait for input with the lock held */
		if (slice_is_over(run) || !cli_lines_ready(lines)) {
			rc = run_commit(run, err);
			if (rc != WB_OK)
				return rc;
		}
		rc = cli_lines_next(lines, &line, err);
		run->line = lines->number;
		if (rc != WB_OK)
			return rc;
		if (is_blank(line))
			continue;
		rc = append_line(run, line, lines->number, err);
		if (rc != WB_OK)
			return rc;
	}
}

/* ---- one event --------------------------------------------------------- */

static wb_code append_one(append_run *run, wb_error *err)
{
	cli_event built;
	wb_event event;
	wb_code rc = cli_event_build(&run->o->event, &run->open.limits, &built, err);

	event = built.event;
	if (rc == WB_OK)
		rc = run_append(run, &event, 0, err);
	if (rc == WB_OK)
		rc = run_commit(run, err);
	if (rc == WB_OK && !run->ctx->json)
		printf("appended %.*s at position %" PRIu64 "\n",
		       (int)event.id.len, event.id.ptr, run->last);
	if (rc == WB_OK && run->ctx->json)
		cli_json_print(json_pack("{s:I, s:I, s:I, s:s%}", "appended",
					 (json_int_t)1, "first",
					 (json_int_t)run->last, "last",
					 (json_int_t)run->last, "id",
					 event.id.ptr, event.id.len));
	cli_event_fini(&built);
	return rc;
}

/* ---- the command ------------------------------------------------------- */

/* What was appended, and where it stopped. */
static void print_lines(const append_run *run, const wb_error *err)
{
	json_t *answer;

	if (!run->ctx->json) {
		printf("appended %" PRIu64 " events", run->count);
		if (run->count > 0)
			printf(", positions %" PRIu64 " to %" PRIu64,
			       run->first, run->last);
		printf("\n");
		return;
	}
	answer = json_pack("{s:I, s:I, s:I}", "appended",
			   (json_int_t)run->count, "first",
			   (json_int_t)run->first, "last",
			   (json_int_t)run->last);
	if (err->code != WB_OK) {
		json_object_set_new(answer, "line",
				    json_integer((json_int_t)run->line));
		json_object_set_new(answer, "error", cli_json_text(err->text));
	}
	cli_json_print(answer);
}

static int append_stdin(append_run *run)
{
	wb_error err = WB_ERROR_INIT, late = WB_ERROR_INIT;
	size_t body = run->open.limits.body_bytes;
	cli_lines lines;
	wb_code rc;
	bool refused;

	/* every byte of data may be escaped in JSON; its headers beside it */
	cli_lines_init(&lines, STDIN_FILENO,
		       2 * body + 2 * run->open.limits.header_bytes + 64 * 1024UL);
	cli_progress_start(&run->progress, "appended", run->o->progress);
	rc = append_lines(run, &lines, &err);
	refused = rc == WB_EINVAL || rc == WB_ELIMIT;
	if (run_commit(run, &late) != WB_OK) { /* what came before it */
		refused = false;
		err = late;
		rc = late.code;
	}
	cli_progress_end(&run->progress, run->count);
	if (rc == WB_ENOTFOUND && err.code == WB_OK)
		rc = WB_OK;
	print_lines(run, &err);
	cli_lines_fini(&lines);
	if (rc == WB_OK)
		return CLI_OK;
	return cli_fail(run->ctx, refused ? CLI_NOT_ALL : CLI_FAILED,
			"line %" PRIu64 ": %s; all before it are appended: %s, "
			"then send it and what follows",
			run->line, err.text,
			refused ? "mend it" : "remove the cause");
}

static int append_run_(cli_context *ctx)
{
	append_run run = {.ctx = ctx, .o = ctx->options};
	wb_error err = WB_ERROR_INIT;
	wb_code rc;
	int code;

	if (!run.o->event.type && (run.o->event.data || run.o->event.data_file ||
				   run.o->event.id || run.o->event.key))
		return cli_usage(ctx, "one event needs --type; without it, "
				      "events are read from standard input");
	code = cli_event_check(ctx, &run.o->event);
	if (code != CLI_OK)
		return code;
	code = cli_open_outbox(ctx, &run.open);
	if (code == CLI_OK && !run.o->event.type)
		code = append_stdin(&run);
	if (code == CLI_OK && run.o->event.type) {
		rc = append_one(&run, &err);
		if (rc != WB_OK)
			code = cli_fail(ctx,
					rc == WB_EINVAL || rc == WB_ELIMIT
						? CLI_NOT_ALL
						: CLI_FAILED,
					"%s", err.text);
	}
	wb_store_abort(run.txn);
	cli_close_outbox(&run.open);
	return code;
}

const cli_command cli_command_append = {
	.name = "append",
	.args = "",
	.summary = "Append events to the outbox",
	.help = "With --type: one event, from the flags. Without: events from "
		"standard input, one\nJSON object a line (NDJSON) in the "
		"CloudEvents JSON format:\n\n"
		"  {\"type\":\"order.placed\",\"partitionkey\":\"42\","
		"\"data\":{\"total\":10.10}}\n\n"
		"Only type is required. \"key\" is the same as "
		"\"partitionkey\". The bytes of \"data\" are\nkept as they "
		"stand in the line, never printed anew; \"data\" of a content "
		"type that\nis not JSON (\"datacontenttype\") is the text of "
		"the string, and \"data_base64\" is\nfor bytes. Further members "
		"become extension attributes.\n\n"
		"The first line that is no event ends it: its number and what "
		"is wrong are said,\nall lines before it are appended, none "
		"behind it is, and the exit status is 3.\n\n"
		"  waybill append --store shop --type order.placed --key 42 "
		"--data '{\"n\":1}'\n"
		"  waybill append --store shop < events.ndjson\n",
	.groups = WBI_GROUP_STORE | WBI_GROUP_LIMITS | WBI_GROUP_ROUTES |
		  WBI_GROUP_LOG,
	.flags = append_flags,
	.flag_count = WBI_COUNT(append_flags),
	.options_size = sizeof(append_options),
	.needs_store = true,
	.run = append_run_,
};
