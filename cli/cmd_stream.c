/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * waybill stream ls, show and stat: what streams there are, and one of them
 * event by event. Reads only, in short transactions, so it may run beside the
 * service; what it says was true a moment ago.
 */
#include <inttypes.h>
#include <stdlib.h>

#include <waybill/stream.h>

#include "cli/show.h"
#include "cli/table.h"
#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/text.h"
#include "lib/journal/stream_rows.h"

/* What the store refuses or does not have is no failure of the command. */
static int stream_failed(const cli_context *ctx, const wb_error *err)
{
	bool answer = err->code == WB_ENOTFOUND || err->code == WB_ETRUNCATED ||
		      err->code == WB_EINVAL || err->code == WB_ELIMIT;

	return cli_fail(ctx, answer ? CLI_NOT_ALL : CLI_FAILED, "%s",
			err->text[0] ? err->text : wb_code_text(err->code));
}

/* ---- ls ---------------------------------------------------------------- */

typedef struct ls_options {
	char *after;
	uint64_t limit;
} ls_options;

static const cli_flag ls_flags[] = {
	{{.name = "after",
	  .kind = WBI_CONFIG_TEXT,
	  .offset = offsetof(ls_options, after),
	  .arg = "NAME",
	  .help = "Only streams behind this name: to go on from the last of "
		  "a page."},
	 0},
	{{.name = "limit",
	  .kind = WBI_CONFIG_NUMBER,
	  .offset = offsetof(ls_options, limit),
	  .min = 1,
	  .max = 1000000,
	  .init = "50",
	  .arg = "N",
	  .help = "At most so many."},
	 'n'},
};

typedef struct ls_run {
	cli_context *ctx;
	wb_store *store;
	cli_table *table;
	wb_str prefix;
	char name[WB_STREAM_NAME_MAX + 1]; /* the last one */
	uint64_t count;
	bool more;
} ls_run;

static wb_code ls_row(ls_run *run, wb_error *err)
{
	char name[4 * WB_STREAM_NAME_MAX + 1], numbers[4][24];
	wb_stream_info info;
	wb_code rc = wb_stream_stat(run->store, NULL, wb_str_from(run->name),
				    &info, err);
	const char *cells[] = {name, numbers[0], numbers[1], numbers[2],
			       numbers[3]};

	if (rc != WB_OK)
		return rc;
	wbi_text_show(wb_str_from(run->name), name, sizeof(name));
	snprintf(numbers[0], 24, "%" PRIu64, info.version);
	snprintf(numbers[1], 24, "%" PRIu64, info.floor);
	snprintf(numbers[2], 24, "%" PRIu64, info.snapshot);
	snprintf(numbers[3], 24, "%" PRIu64, info.position);
	return cli_table_row(run->table, cells)
		       ? WB_OK
		       : WBI_FAIL(err, WB_ENOMEM, "out of memory");
}

static bool ls_matches(const ls_run *run)
{
	size_t len = run->prefix.len;

	return strlen(run->name) >= len &&
	       memcmp(run->name, run->prefix.ptr, len) == 0;
}

/* The name that is the prefix itself stands before all behind it. */
static wb_code ls_scan(ls_run *run, wb_error *err)
{
	const ls_options *o = run->ctx->options;
	wb_str after = o->after ? wb_str_from(o->after) : run->prefix;
	wb_stream_info info;
	wb_code rc;

	if (after.len > WB_STREAM_NAME_MAX || run->prefix.len > after.len + 255)
		return WBI_FAIL(err, WB_ELIMIT, "names have at most %d bytes",
				(int)WB_STREAM_NAME_MAX);
	memcpy(run->name, after.ptr ? after.ptr : "", after.len);
	if (!o->after && after.len > 0 &&
	    wb_stream_stat(run->store, NULL, after, &info, NULL) == WB_OK) {
		rc = ls_row(run, err);
		run->count++;
		if (rc != WB_OK)
			return rc;
	}
	for (;;) {
		rc = wb_stream_next_name(run->store, NULL,
					 wb_str_from(run->name), run->name,
					 err);
		if (rc != WB_OK || !ls_matches(run))
			break;
		if (run->count == o->limit) {
			run->more = true;
			break;
		}
		rc = ls_row(run, err);
		if (rc != WB_OK)
			break;
		run->count++;
	}
	return rc == WB_ENOTFOUND && !err->code ? WB_OK : rc;
}

static int ls_run_(cli_context *ctx)
{
	static const cli_column columns[] = {
		{.name = "stream", .trunc = true},
		{.name = "version", .number = true},
		{.name = "floor", .number = true},
		{.name = "snapshot", .number = true},
		{.name = "position", .number = true}};
	ls_run run = {.ctx = ctx,
		      .prefix =
			      wb_str_from(ctx->arg_count ? ctx->args[0] : "")};
	wb_error err = WB_ERROR_INIT;
	int code = cli_open_store(ctx, &run.store);

	if (code != CLI_OK)
		return code;
	run.table = cli_table_new("streams", columns, WBI_COUNT(columns),
				  ctx->json);
	if (!run.table)
		code = cli_fail(ctx, CLI_FAILED, "out of memory");
	else if (ls_scan(&run, &err) != WB_OK)
		code = stream_failed(ctx, &err);
	wb_store_close(run.store);
	return cli_table_end(ctx, run.table, code,
			     run.more ? "--limit, --after" : NULL);
}

/* ---- show -------------------------------------------------------------- */

typedef struct show_options {
	uint64_t from, at, limit;
	bool backwards;
} show_options;

static const cli_flag show_flags[] = {
	{{.name = "from",
	  .kind = WBI_CONFIG_NUMBER,
	  .offset = offsetof(show_options, from),
	  .max = UINT64_MAX,
	  .init = "0",
	  .arg = "VERSION",
	  .help = "Begin with this version; 0: with the first that is there, "
		  "backwards with the last."},
	 0},
	{{.name = "at",
	  .kind = WBI_CONFIG_NUMBER,
	  .offset = offsetof(show_options, at),
	  .max = UINT64_MAX,
	  .init = "0",
	  .arg = "VERSION",
	  .help = "As it was at this version: nothing behind it. 0: as it "
		  "is."},
	 0},
	{{.name = "backwards",
	  .kind = WBI_CONFIG_BOOL,
	  .offset = offsetof(show_options, backwards),
	  .help = "The newest first."},
	 'b'},
	{{.name = "limit",
	  .kind = WBI_CONFIG_NUMBER,
	  .offset = offsetof(show_options, limit),
	  .min = 1,
	  .max = 1000000,
	  .init = "1000",
	  .arg = "N",
	  .help = "At most so many."},
	 'n'},
};

typedef struct show_run {
	cli_context *ctx;
	const show_options *o;
	wb_store *store;
	wb_str name;
	wb_stream_info info;
	cli_table *table; /* for people */
	json_t *events;   /* for programs */
	bool more;
} show_run;

static bool show_row(show_run *run, const wb_stream_event *event)
{
	char version[24], position[24], time[WBI_TIME_TEXT_MAX];
	char type[512], data[1024];
	const char *cells[] = {version, position, time, type, data};

	snprintf(version, sizeof(version), "%" PRIu64, event->event.sequence);
	snprintf(position, sizeof(position), "%" PRIu64, event->position);
	wbi_time_format(event->event.time_us, time);
	wbi_text_show(event->event.type, type, sizeof(type));
	if (wbi_text_is_utf8(event->event.data))
		wbi_text_show(event->event.data, data, sizeof(data));
	else
		snprintf(data, sizeof(data), "(%zu bytes)",
			 event->event.data.len);
	return cli_table_row(run->table, cells);
}

static bool show_json(show_run *run, const wb_stream_event *event)
{
	json_t *object = json_object();

	json_object_set_new(object, "version",
			    json_integer((json_int_t)event->event.sequence));
	json_object_set_new(object, "position",
			    json_integer((json_int_t)event->position));
	cli_event_json(object, &event->event);
	return json_array_append_new(run->events, object) == 0;
}

/* Where to begin, exclusively, and the version after which to stop. */
static void show_bounds(const show_run *run, uint64_t *ret_after,
			uint64_t *ret_last)
{
	uint64_t top = run->info.version, from = run->o->from;

	if (run->o->at > 0 && run->o->at < top)
		top = run->o->at;
	if (run->o->backwards) {
		*ret_after = (from > 0 && from < top ? from : top) + 1;
		*ret_last = run->info.floor;
	} else {
		*ret_after = (from > 0 ? from : run->info.floor) - 1;
		*ret_last = top;
	}
}

static wb_code show_events(show_run *run, wb_error *err)
{
	wb_stream_query query = WB_STREAM_QUERY_INIT;
	wb_stream_reader *reader;
	wb_stream_event event;
	uint64_t last, count = 0;
	bool back = run->o->backwards;
	wb_code rc;

	query.stream = run->name;
	query.backwards = back;
	show_bounds(run, &query.after, &last);
	if (back ? query.after <= last : query.after >= last)
		return WB_OK;
	rc = wb_stream_open(run->store, NULL, &query, &reader, err);
	if (rc != WB_OK)
		return rc;
	for (; rc == WB_OK; count++) {
		rc = wb_stream_next(reader, &event, err);
		if (rc != WB_OK)
			break;
		if (count == run->o->limit) {
			run->more = true;
			break;
		}
		if (!(run->table ? show_row(run, &event)
				 : show_json(run, &event)))
			rc = WBI_FAIL(err, WB_ENOMEM, "out of memory");
		if (event.event.sequence == last)
			break;
	}
	wb_stream_close(reader);
	return rc == WB_ENOTFOUND ? WB_OK : rc;
}

static bool show_print(show_run *run)
{
	const wb_stream_info *info = &run->info;

	if (run->table)
		return cli_table_print(run->table);
	return cli_json_print(json_pack(
		"{s:s%, s:I, s:I, s:I, s:I, s:O}", "stream", run->name.ptr,
		run->name.len, "version", (json_int_t)info->version, "floor",
		(json_int_t)info->floor, "snapshot", (json_int_t)info->snapshot,
		"position", (json_int_t)info->position, "events", run->events));
}

static int show_open(show_run *run, wb_error *err)
{
	static const cli_column columns[] = {
		{.name = "version", .number = true},
		{.name = "position", .number = true},
		{.name = "time"},
		{.name = "type"},
		{.name = "data", .trunc = true}};
	int code = cli_open_store(run->ctx, &run->store);

	if (code != CLI_OK)
		return code;
	if (run->ctx->json)
		run->events = json_array();
	else
		run->table = cli_table_new("events", columns,
					   WBI_COUNT(columns), false);
	if (!run->events && !run->table)
		return cli_fail(run->ctx, CLI_FAILED, "out of memory");
	if (wb_stream_stat(run->store, NULL, run->name, &run->info, err) !=
	    WB_OK)
		return stream_failed(run->ctx, err);
	if (run->o->at > run->info.version)
		return cli_fail(run->ctx, CLI_NOT_ALL,
				"it has no version %" PRIu64
				", it is at %" PRIu64,
				run->o->at, run->info.version);
	return CLI_OK;
}

static int show_run_(cli_context *ctx)
{
	show_run run = {.ctx = ctx,
			.o = ctx->options,
			.name = wb_str_from(ctx->args[0])};
	wb_error err = WB_ERROR_INIT;
	int code = show_open(&run, &err);

	if (code == CLI_OK && show_events(&run, &err) != WB_OK)
		code = stream_failed(ctx, &err);
	wb_store_close(run.store);
	if (code != CLI_OK) {
		cli_table_free(run.table);
	} else {
		code = cli_answered(ctx, show_print(&run));
		if (run.info.floor > 1 && run.o->from == 0 && !ctx->json)
			fprintf(stderr,
				"(versions below %" PRIu64 " were truncated)\n",
				run.info.floor);
		if (run.more)
			fprintf(stderr, "(there are more: --limit, --from)\n");
	}
	json_decref(run.events);
	return code;
}

/* ---- stat -------------------------------------------------------------- */

static int stat_one(cli_context *ctx, wb_store *store)
{
	wb_error err = WB_ERROR_INIT;
	wb_stream_info info;

	if (wb_stream_stat(store, NULL, wb_str_from(ctx->args[0]), &info,
			   &err) != WB_OK)
		return stream_failed(ctx, &err);
	if (ctx->json) {
		cli_json_print(json_pack("{s:s, s:I, s:I, s:I, s:I}", "stream",
					 ctx->args[0], "version",
					 (json_int_t)info.version, "floor",
					 (json_int_t)info.floor, "snapshot",
					 (json_int_t)info.snapshot, "position",
					 (json_int_t)info.position));
		return CLI_OK;
	}
	printf("version   %" PRIu64 "\nposition  %" PRIu64 "\n", info.version,
	       info.position);
	printf("floor     %" PRIu64 "%s\n", info.floor,
	       info.floor > 1 ? " (what is below was truncated)" : "");
	if (info.snapshot > 0)
		printf("snapshot  %" PRIu64 "\n", info.snapshot);
	else
		printf("snapshot  none\n");
	return CLI_OK;
}

static wb_code stat_category(cli_table *table, wb_str key, wb_str row,
			     wb_error *err)
{
	char name[4 * WB_STREAM_NAME_MAX + 1], streams[24], events[24];
	const char *cells[] = {name, streams, events};
	wbi_category_head head;
	wb_code rc = wbi_category_head_decode(key, row, &head, err);

	if (rc != WB_OK)
		return rc;
	wbi_text_show(key, name, sizeof(name));
	snprintf(streams, sizeof(streams), "%" PRIu64, head.streams);
	snprintf(events, sizeof(events), "%" PRIu64, head.list.count);
	return cli_table_row(table, cells)
		       ? WB_OK
		       : WBI_FAIL(err, WB_ENOMEM, "out of memory");
}

static wb_code stat_scan(wb_store *store, cli_table *table, wb_error *err)
{
	wbi_table categories = wbi_store_get_tables(store)->categories;
	wb_str key = WB_STR_NULL, row;
	wbi_move move = WBI_FIRST;
	wbi_cursor *cursor;
	MDB_txn *txn;
	wb_code rc = wbi_txn_begin(wb_store_env(store), false, &txn, err);

	if (rc != WB_OK)
		return rc;
	rc = wbi_cursor_open(txn, categories, &cursor, err);
	if (rc == WB_OK) {
		for (; rc == WB_OK; move = WBI_NEXT) {
			rc = wbi_cursor_move(cursor, move, &key, &row, err);
			if (rc == WB_OK)
				rc = stat_category(table, key, row, err);
		}
		wbi_cursor_close(cursor);
	}
	wbi_txn_abort(txn);
	return rc == WB_ENOTFOUND ? WB_OK : rc;
}

static int stat_all(cli_context *ctx, wb_store *store)
{
	static const cli_column columns[] = {
		{.name = "category", .trunc = true},
		{.name = "streams", .number = true},
		{.name = "events", .number = true}};
	wb_error err = WB_ERROR_INIT;
	cli_table *table = cli_table_new("categories", columns,
					 WBI_COUNT(columns), ctx->json);

	if (!table)
		return cli_fail(ctx, CLI_FAILED, "out of memory");
	if (stat_scan(store, table, &err) != WB_OK) {
		cli_table_free(table);
		return stream_failed(ctx, &err);
	}
	return cli_answered(ctx, cli_table_print(table));
}

static int stat_run_(cli_context *ctx)
{
	wb_store *store = NULL;
	int code = cli_open_store(ctx, &store);

	if (code != CLI_OK)
		return code;
	code = ctx->arg_count > 0 ? stat_one(ctx, store) : stat_all(ctx, store);
	wb_store_close(store);
	return code;
}

/* ---- the commands ------------------------------------------------------ */

const cli_command cli_command_stream_ls = {
	.name = "stream ls",
	.args = "[PREFIX]",
	.summary = "List streams by name",
	.help = "Names in order, of those that begin with PREFIX; \"booking/\" "
		"are all of the\ncategory booking. Version is how many events "
		"a stream has had, floor the first that\nwas not truncated, "
		"snapshot the newest one's version (0: none), position where "
		"its\nlast event stands in the outbox.\n\n"
		"  waybill stream ls --store shop booking/\n",
	.groups = WBI_GROUP_STORE | WBI_GROUP_LOG,
	.flags = ls_flags,
	.flag_count = WBI_COUNT(ls_flags),
	.options_size = sizeof(ls_options),
	.args_max = 1,
	.needs_store = true,
	.run = ls_run_,
};

const cli_command cli_command_stream_show = {
	.name = "stream show",
	.args = "NAME",
	.summary = "Print a stream's events, version by version",
	.help = "With --json the events are whole, with data and headers. To "
		"read below the floor\nof a truncated stream is an error that "
		"names it.\n\n"
		"  waybill stream show --store shop booking/42\n"
		"  waybill stream show --store shop booking/42 --at 3\n"
		"  waybill stream show --store shop booking/42 --backwards -n "
		"1\n",
	.groups = WBI_GROUP_STORE | WBI_GROUP_LOG,
	.flags = show_flags,
	.flag_count = WBI_COUNT(show_flags),
	.options_size = sizeof(show_options),
	.args_min = 1,
	.args_max = 1,
	.needs_store = true,
	.run = show_run_,
};

const cli_command cli_command_stream_stat = {
	.name = "stream stat",
	.args = "[NAME]",
	.summary = "Say where a stream is, or what categories there are",
	.help = "Without NAME: each category with its streams and events, "
		"truncated ones too.\n\n"
		"  waybill stream stat --store shop\n"
		"  waybill stream stat --store shop booking/42 --json\n",
	.groups = WBI_GROUP_STORE | WBI_GROUP_LOG,
	.args_max = 1,
	.needs_store = true,
	.run = stat_run_,
};
