/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * waybill stream export and import: streams as NDJSON, one event a line in the
 * CloudEvents JSON format, made so that data comes back byte for byte. An
 * import appends each line at the version that it says, so it may be repeated
 * after a crash or a full disk: what is there already is passed by. A
 * transaction is open only while whole lines are at hand, for about 1 ms. One
 * thread.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <waybill/stream.h>

#include "cli/command.h"
#include "cli/event.h"
#include "cli/lines.h"
#include "cli/table.h"
#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/event/envelope.h"

enum { IMPORT_SLICE_US = 1000, IMPORT_PAUSE_NS = 50000, IMPORT_BATCH = 1000 };

static bool is_answer(const wb_error *err)
{
	return err->class_ == WB_CLASS_REJECT || err->code == WB_ECONFLICT ||
	       err->code == WB_EQUOTA;
}

/* ---- export ------------------------------------------------------------ */

typedef struct export_options {
	uint64_t from;
} export_options;

static const cli_flag export_flags[] = {
	{{.name = "from",
	  .kind = WBI_CONFIG_NUMBER,
	  .offset = offsetof(export_options, from),
	  .max = UINT64_MAX,
	  .init = "0",
	  .arg = "VERSION",
	  .help = "Begin with this version; 0: with the first that is "
		  "there."},
	 0},
};

static wb_code export_event(const wb_stream_event *event, wb_error *err)
{
	char *line = NULL;
	size_t len;
	wb_code rc = wbi_envelope_line(&event->event, &line, &len, err);

	if (rc == WB_OK &&
	    (fwrite(line, 1, len, stdout) != len || putchar('\n') == EOF))
		rc = WBI_FAIL(err, WB_EIO, "cannot write the archive");
	free(line);
	return rc;
}

static wb_code export_all(wb_store *store, wb_str name, uint64_t from,
			  wb_error *err)
{
	wb_stream_query query = WB_STREAM_QUERY_INIT;
	wb_stream_reader *reader;
	wb_stream_event event;
	wb_code rc;

	query.stream = name;
	query.after = from - 1;
	rc = wb_stream_open(store, NULL, &query, &reader, err);
	while (rc == WB_OK) {
		rc = wb_stream_next(reader, &event, err);
		if (rc == WB_OK)
			rc = export_event(&event, err);
	}
	wb_stream_close(reader);
	return rc == WB_ENOTFOUND ? WB_OK : rc;
}

static int export_run(cli_context *ctx)
{
	const export_options *o = ctx->options;
	wb_str name = wb_str_from(ctx->args[0]);
	wb_error err = WB_ERROR_INIT;
	wb_store *store = NULL;
	wb_stream_info info;
	wb_code rc;
	int code = cli_open_store(ctx, &store);

	if (code != CLI_OK)
		return code;
	rc = wb_stream_stat(store, NULL, name, &info, &err);
	if (rc == WB_OK)
		rc = export_all(store, name, o->from ? o->from : info.floor,
				&err);
	wb_store_close(store);
	if (rc != WB_OK)
		return cli_fail(ctx, is_answer(&err) ? CLI_NOT_ALL : CLI_FAILED,
				"%s", err.text);
	if (info.floor > 1 && o->from == 0)
		fprintf(stderr, "(versions below %" PRIu64 " were truncated)\n",
			info.floor);
	return CLI_OK;
}

/* ---- import ------------------------------------------------------------ */

typedef struct import_options {
	char *stream;
	bool progress;
} import_options;

static const cli_flag import_flags[] = {
	{{.name = "as",
	  .kind = WBI_CONFIG_TEXT,
	  .offset = offsetof(import_options, stream),
	  .arg = "NAME",
	  .help = "Into this stream, whatever the lines say; it must be one "
		  "stream's archive."},
	 0},
	{{.name = "progress",
	  .kind = WBI_CONFIG_BOOL,
	  .offset = offsetof(import_options, progress),
	  .help = "Show progress even if stderr is not a terminal."},
	 0},
};

typedef struct import_run {
	cli_context *ctx;
	const import_options *o;
	cli_outbox open;
	cli_progress progress;
	MDB_txn *txn; /* that is open, or NULL */
	int64_t txn_start_us;
	uint64_t txn_count, txn_repeated, txn_line;
	uint64_t count, repeated; /* what is committed */
	uint64_t line;            /* that failed */
} import_run;

static wb_code import_commit(import_run *run, wb_error *err)
{
	const struct timespec pause = {0, IMPORT_PAUSE_NS};
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
	run->count += run->txn_count;
	run->repeated += run->txn_repeated;
	cli_progress_show(&run->progress, run->count, 0);
	nanosleep(&pause, NULL);
	return WB_OK;
}

/* What the archive's own attributes stand for. */
static void import_take(const import_run *run, wbi_received *received)
{
	wb_event *event = &received->event;

	cli_take_header(received, WBI_LINE_REPLY_TO, &event->reply_to);
	if (!run->o->stream)
		return;
	/* The key went by the old name. */
	if (wb_str_eq(event->key, event->subject))
		event->key = WB_STR_NULL;
	event->subject = wb_str_from(run->o->stream);
}

static wb_code import_append(import_run *run, const wb_event *event,
			     wb_error *err)
{
	wb_stream_write write = {.stream = event->subject,
				 .expected = event->sequence - 1,
				 .events = event,
				 .count = 1};
	wb_stream_written written;
	wb_code rc = WB_OK;

	if (event->sequence == 0)
		return WBI_FAIL(err, WB_EINVAL,
				"it has no sequence, so it is of no archive of "
				"a stream");
	if (!run->txn) {
		rc = wb_store_begin(run->open.store, &run->txn, err);
		run->txn_start_us = cli_mono_us();
		run->txn_count = run->txn_repeated = 0;
		run->txn_line = run->line;
	}
	if (rc == WB_OK)
		rc = wb_stream_append(run->open.outbox, run->txn, &write,
				      &written, err);
	if (rc == WB_OK && written.repeated)
		run->txn_repeated++;
	else if (rc == WB_OK)
		run->txn_count++;
	return rc;
}

static wb_code import_line(import_run *run, wb_str line, wb_error *err)
{
	wb_message message = {
		.content_type = wb_str_from("application/cloudevents+json"),
		.body = line};
	wbi_received received;
	wb_code rc;

	rc = wbi_envelope_read(&message, &run->open.limits, &received, err);
	if (rc != WB_OK)
		return rc;
	import_take(run, &received);
	if (received.other_count > 0)
		rc = WBI_FAIL(err, WB_EINVAL,
			      "attribute \"%.*s\": no event can have it",
			      (int)(received.others[0].name.len < 60
					    ? received.others[0].name.len
					    : 60),
			      received.others[0].name.ptr);
	if (rc == WB_OK)
		rc = import_append(run, &received.event, err);
	wbi_envelope_read_fini(&received);
	return rc;
}

static bool slice_is_over(const import_run *run)
{
	return run->txn &&
	       (run->txn_count + run->txn_repeated >= IMPORT_BATCH ||
		cli_mono_us() - run->txn_start_us >= IMPORT_SLICE_US);
}

static wb_code import_lines(import_run *run, cli_lines *lines, wb_error *err)
{
	wb_code rc = WB_OK;
	wb_str line;

	while (rc == WB_OK) {
		/* never wait for input with the lock held */
		if (slice_is_over(run) || !cli_lines_ready(lines))
			rc = import_commit(run, err);
		if (rc != WB_OK)
			break;
		rc = cli_lines_next(lines, &line, err);
		run->line = lines->number;
		if (rc == WB_OK && line.len > 0)
			rc = import_line(run, line, err);
	}
	return rc;
}

static void import_say(const import_run *run)
{
	if (run->ctx->json)
		cli_json_print(json_pack("{s:I, s:I}", "imported",
					 (json_int_t)run->count, "repeated",
					 (json_int_t)run->repeated));
	else
		printf("imported %" PRIu64 " events, %" PRIu64
		       " were there already\n",
		       run->count, run->repeated);
}

static int import_stdin(import_run *run)
{
	wb_error err = WB_ERROR_INIT, late = WB_ERROR_INIT;
	size_t body = run->open.limits.body_bytes;
	cli_lines lines;
	wb_code rc;

	cli_lines_init(&lines, STDIN_FILENO,
		       2 * body + 2 * run->open.limits.header_bytes +
			       64 * 1024UL);
	cli_progress_start(&run->progress, "imported", run->o->progress);
	rc = import_lines(run, &lines, &err);
	if (rc == WB_ENOTFOUND && err.code == WB_OK)
		rc = WB_OK;
	/* A refusal leaves the transaction as it was: what came before it is
	 * committed. After any other failure it is lost. */
	if (rc != WB_OK && !is_answer(&err)) {
		wb_store_abort(run->txn);
		run->txn = NULL;
	} else if (import_commit(run, &late) != WB_OK) {
		err = late;
		rc = late.code;
	}
	cli_progress_end(&run->progress, run->count);
	import_say(run);
	cli_lines_fini(&lines);
	if (rc == WB_OK)
		return CLI_OK;
	return cli_fail(run->ctx, is_answer(&err) ? CLI_NOT_ALL : CLI_FAILED,
			"line %" PRIu64 ": %s; what is before it is there, and "
			"the whole may be imported again",
			run->line, err.text);
}

static int import_run_(cli_context *ctx)
{
	import_run run = {.ctx = ctx, .o = ctx->options};
	int code = cli_open_outbox(ctx, &run.open);

	if (code == CLI_OK)
		code = import_stdin(&run);
	wb_store_abort(run.txn);
	cli_close_outbox(&run.open);
	return code;
}

/* ---- the commands ------------------------------------------------------ */

const cli_command cli_command_stream_export = {
	.name = "stream export",
	.args = "NAME",
	.summary = "Write a stream as NDJSON",
	.help = "One event a line on standard output, in the CloudEvents JSON "
		"format. Data that is\nJSON stands there as it is, other data "
		"(and JSON that would not come back byte for\nbyte) as "
		"\"data_base64\".\n\n"
		"  waybill stream export --store shop booking/42 "
		">booking-42.ndjson\n",
	.groups = WBI_GROUP_STORE | WBI_GROUP_LOG,
	.flags = export_flags,
	.flag_count = WBI_COUNT(export_flags),
	.options_size = sizeof(export_options),
	.args_min = 1,
	.args_max = 1,
	.needs_store = true,
	.run = export_run,
};

const cli_command cli_command_stream_import = {
	.name = "stream import",
	.args = "",
	.summary = "Bring streams back from NDJSON",
	.help = "Reads what waybill stream export wrote, of one stream or of "
		"several, from standard\ninput. Each event is appended at the "
		"version that it has, with its id and its time;\none that is "
		"there already is passed by, so an import may be repeated. A "
		"version that\nis another event's, or that would leave a gap, "
		"ends it with exit status 3.\n\nThe events are appended like "
		"any others: the relay will publish them, and whoever\nknows "
		"them already, knows them by their ids.\n\n"
		"  waybill stream import --store shop <booking-42.ndjson\n",
	.groups = WBI_GROUP_STORE | WBI_GROUP_LIMITS | WBI_GROUP_ROUTES |
		  WBI_GROUP_LOG,
	.flags = import_flags,
	.flag_count = WBI_COUNT(import_flags),
	.options_size = sizeof(import_options),
	.needs_store = true,
	.run = import_run_,
};
