/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * waybill projection get, scan and wait: what a read model answers. Each is one
 * snapshot. Only reads.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "cli/projection.h"
#include "cli/table.h"
#include "lib/base/assert.h"
#include "lib/base/text.h"

typedef struct read_options {
	char *dir, *table, *index, *prefix, *from, *to, *equal, *cursor;
	uint64_t limit, timeout, generation;
	bool hex, reverse;
} read_options;

#define TEXT(flag, member, what, text)                                        \
	{                                                                     \
		{.name = flag, .kind = WBI_CONFIG_TEXT,                       \
		 .offset = offsetof(read_options, member), .arg = what,       \
		 .help = text},                                               \
			0                                                     \
	}
#define BOOL(flag, member, text)                                              \
	{                                                                     \
		{.name = flag, .kind = WBI_CONFIG_BOOL,                       \
		 .offset = offsetof(read_options, member), .help = text},     \
			0                                                     \
	}

#define READ_FLAGS                                                            \
	TEXT("dir", dir, "DIR",                                               \
	     "The model is in DIR/projections, not in the store's."),         \
		TEXT("table", table, "TABLE",                                 \
		     "Needed if the model has more than one."),               \
		BOOL("hex", hex,                                              \
		     "Keys on the command line, and what is printed, are "    \
		     "hex."),                                                 \
	{                                                                     \
		{.name = "generation", .kind = WBI_CONFIG_NUMBER,             \
		 .offset = offsetof(read_options, generation),                \
		 .max = UINT32_MAX, .init = "0", .arg = "N",                  \
		 .help = "This generation, not the live one."},               \
			0                                                     \
	}

static const cli_flag get_flags[] = {READ_FLAGS};

static const cli_flag scan_flags[] = {
	READ_FLAGS,
	TEXT("index", index, "INDEX", "By the keys of this index."),
	TEXT("prefix", prefix, "KEY", "Keys that begin so."),
	TEXT("from", from, "KEY", "From this key on."),
	TEXT("to", to, "KEY", "Before this key."),
	TEXT("equal", equal, "KEY", "Exactly this key."),
	TEXT("cursor", cursor, "TOKEN",
	     "Go on behind an earlier answer, with the same flags."),
	BOOL("reverse", reverse, "From the last to the first."),
	{{.name = "limit",
	  .kind = WBI_CONFIG_NUMBER,
	  .offset = offsetof(read_options, limit),
	  .min = 1,
	  .max = 1000000,
	  .init = "100",
	  .arg = "N",
	  .help = "At most so many."},
	 'n'},
};

static const cli_flag wait_flags[] = {
	TEXT("dir", dir, "DIR",
	     "The model is in DIR/projections, not in the store's."),
	{{.name = "timeout",
	  .kind = WBI_CONFIG_NUMBER,
	  .offset = offsetof(read_options, timeout),
	  .max = 86400000,
	  .init = "10000",
	  .arg = "MS",
	  .help = "Milliseconds to wait at most."},
	 't'},
};

static int open_reader(cli_context *ctx, const read_options *o, wb_read **ret)
{
	wb_read_options options = WB_READ_OPTIONS_INIT;
	const char *dir = cli_models_dir(ctx, o->dir);
	wb_error err = WB_ERROR_INIT;

	if (!dir)
		return CLI_USAGE;
	options.generation = (uint32_t)o->generation;
	options.snapshot_ms = 60000;
	if (wb_read_open(dir, ctx->args[0], &options, ret, &err) != WB_OK ||
	    wb_read_begin(*ret, &err) != WB_OK)
		return cli_fail_error(ctx, &err);
	return CLI_OK;
}

/* ---- get ----------------------------------------------------------------- */

static int get_print(cli_context *ctx, const read_options *o, wb_read *read,
		     wb_str key, wb_str value)
{
	char *k, *v;
	bool ok;

	if (!ctx->json && !o->hex) {
		ok = fwrite(value.ptr, 1, value.len, stdout) == value.len &&
		     putchar('\n') != EOF;
		return cli_answered(ctx, ok);
	}
	k = cli_show_bytes(key, o->hex);
	v = cli_show_bytes(value, o->hex);
	if (ctx->json)
		ok = k && v &&
		     cli_json_print(json_pack(
			     "{s:s, s:s, s:I, s:I}", "key", k, "value", v,
			     "position", (json_int_t)wb_read_position(read),
			     "generation",
			     (json_int_t)wb_read_generation(read)));
	else
		ok = v && puts(v) != EOF;
	free(k);
	free(v);
	return cli_answered(ctx, ok);
}

static int get_run(cli_context *ctx)
{
	const read_options *o = ctx->options;
	wb_error err = WB_ERROR_INIT;
	wb_read *read = NULL;
	uint8_t buf[512];
	wb_str key, value;
	bool aside;
	wb_code rc;
	int code;

	if (!cli_bytes_of(ctx->args[1], o->hex, buf, &key))
		return cli_usage(ctx, "KEY is not hex");
	code = open_reader(ctx, o, &read);
	if (code == CLI_OK) {
		rc = wb_read_get(read, o->table, key, &value, &err);
		if (rc == WB_OK)
			code = get_print(ctx, o, read, key, value);
		else if (rc == WB_ENOTFOUND)
			code = cli_fail(ctx, CLI_NOT_ALL, "no such row");
		else
			code = cli_fail_error(ctx, &err);
	}
	if (code != CLI_FAILED && read &&
	    wb_read_is_aside(read, key, &aside, NULL, NULL) == WB_OK && aside)
		fprintf(stderr, "(the key is quarantined: this is as of before "
				"the event that failed)\n");
	wb_read_close(read);
	return code;
}

/* ---- scan ---------------------------------------------------------------- */

static bool scan_bound(const read_options *o, const char *text, uint8_t *buf,
		       wb_str *ret)
{
	return !text || cli_bytes_of(text, o->hex, buf, ret);
}

static bool scan_print(const read_options *o, const wb_read_row *row,
		       json_t *list)
{
	char *key = cli_show_bytes(row->key, o->hex);
	char *value = cli_show_bytes(row->value, o->hex);
	char *index = cli_show_bytes(row->index_key, o->hex);
	bool ok = key && value && index;
	json_t *json;

	if (ok && list) {
		json = json_pack("{s:s, s:s}", "key", key, "value", value);
		if (o->index)
			json_object_set_new(json, "index_key",
					    json_string(index));
		ok = json_array_append_new(list, json) == 0;
	} else if (ok) {
		ok = printf("%s%s%s\t%s\n", o->index ? index : "",
			    o->index ? "\t" : "", key, value) > 0;
	}
	free(key);
	free(value);
	free(index);
	return ok;
}

static int scan_rows(cli_context *ctx, const read_options *o, wb_read *read,
		     json_t *list)
{
	char cursor[WB_READ_CURSOR_MAX + 1] = "";
	wb_error err = WB_ERROR_INIT;
	uint64_t count = 0;
	wb_read_row row;
	wb_code rc = WB_OK;
	bool ok = true;

	while (ok && count < o->limit) {
		rc = wb_read_next(read, &row, &err);
		if (rc != WB_OK)
			break;
		ok = scan_print(o, &row, list);
		count++;
	}
	if (rc != WB_OK && rc != WB_ENOTFOUND)
		return cli_fail_error(ctx, &err);
	if (rc == WB_OK)
		wb_read_cursor(read, cursor);
	if (list)
		ok = ok &&
		     cli_json_print(json_pack(
			     "{s:O, s:s, s:I, s:I}", "rows", list, "cursor",
			     cursor, "position",
			     (json_int_t)wb_read_position(read), "generation",
			     (json_int_t)wb_read_generation(read)));
	else if (cursor[0])
		fprintf(stderr, "(perhaps there are more: --cursor %s)\n",
			cursor);
	return cli_answered(ctx, ok);
}

static int scan_run(cli_context *ctx)
{
	const read_options *o = ctx->options;
	wb_read_query query = WB_READ_QUERY_INIT;
	wb_error err = WB_ERROR_INIT;
	uint8_t prefix[512], from[512], to[512], equal[512];
	json_t *list = ctx->json ? json_array() : NULL;
	wb_read *read = NULL;
	int code;

	query.table = o->table;
	query.index = o->index;
	query.reverse = o->reverse;
	query.cursor = wb_str_from(o->cursor);
	if (!scan_bound(o, o->prefix, prefix, &query.prefix) ||
	    !scan_bound(o, o->from, from, &query.from) ||
	    !scan_bound(o, o->to, to, &query.to) ||
	    !scan_bound(o, o->equal, equal, &query.equal))
		return cli_usage(ctx, "a key is not hex");
	code = open_reader(ctx, o, &read);
	if (code == CLI_OK && wb_read_scan(read, &query, &err) != WB_OK)
		code = cli_fail_error(ctx, &err);
	if (code == CLI_OK)
		code = scan_rows(ctx, o, read, list);
	wb_read_close(read);
	json_decref(list);
	return code;
}

/* ---- wait ---------------------------------------------------------------- */

static int wait_run(cli_context *ctx)
{
	const read_options *o = ctx->options;
	wb_error err = WB_ERROR_INIT;
	wb_read *read = NULL;
	uint64_t position;
	char *end;
	wb_code rc;
	int code;

	position = strtoull(ctx->args[1], &end, 10);
	if (*end || end == ctx->args[1])
		return cli_usage(ctx, "POSITION is a number, as an append "
				      "returns it");
	code = open_reader(ctx, o, &read);
	if (code == CLI_OK) {
		rc = wb_read_wait(read, position, (uint32_t)o->timeout, &err);
		if (rc == WB_ETIMEOUT)
			code = cli_fail(ctx, CLI_NOT_ALL, "%s", err.text);
		else if (rc != WB_OK)
			code = cli_fail_error(ctx, &err);
	}
	if (code == CLI_OK && wb_read_begin(read, &err) == WB_OK) {
		if (ctx->json)
			cli_json_print(json_pack(
				"{s:I, s:I}", "position",
				(json_int_t)wb_read_position(read),
				"generation",
				(json_int_t)wb_read_generation(read)));
		else
			printf("projected: the model is at %" PRIu64 "\n",
			       wb_read_position(read));
	}
	wb_read_close(read);
	return code;
}

const cli_command cli_command_projection_get = {
	.name = "projection get",
	.args = "NAME KEY",
	.summary = "Print a row of a read model",
	.help = "The value as it is, and a line end. The exit status is 3 if "
		"there is no such row.\n\n"
		"  waybill projection get slots A-17 --store shop\n",
	.groups = WBI_GROUP_STORE | WBI_GROUP_LOG,
	.flags = get_flags,
	.flag_count = WBI_COUNT(get_flags),
	.options_size = sizeof(read_options),
	.args_min = 2,
	.args_max = 2,
	.run = get_run,
};

const cli_command cli_command_projection_scan = {
	.name = "projection scan",
	.args = "NAME",
	.summary = "Print rows of a read model, by key or by index",
	.help = "A row a line: key and value with a tab between, and with "
		"--index the index's key in\nfront. What is not text is "
		"printed as \\xNN; --hex is exact. If the limit was "
		"reached,\na token for --cursor is printed on stderr.\n\n"
		"  waybill projection scan slots --store shop --index by_state "
		"--equal reserved\n"
		"  waybill projection scan slots --store shop --prefix A- "
		"--json\n",
	.groups = WBI_GROUP_STORE | WBI_GROUP_LOG,
	.flags = scan_flags,
	.flag_count = WBI_COUNT(scan_flags),
	.options_size = sizeof(read_options),
	.args_min = 1,
	.args_max = 1,
	.run = scan_run,
};

const cli_command cli_command_projection_wait = {
	.name = "projection wait",
	.args = "NAME POSITION",
	.summary = "Wait until an event is in a read model",
	.help = "Returns when every event up to POSITION, which an append "
		"returned, is in the live\ngeneration. The exit status is 3 if "
		"that does not happen in time.\n\n"
		"  waybill projection wait slots 1042 --store shop --timeout "
		"2000\n",
	.groups = WBI_GROUP_STORE | WBI_GROUP_LOG,
	.flags = wait_flags,
	.flag_count = WBI_COUNT(wait_flags),
	.options_size = sizeof(read_options),
	.args_min = 2,
	.args_max = 2,
	.run = wait_run,
};
