/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * waybill saga show: one saga, from its beginning to what remains: what came in,
 * what that changed, what went out. It is read whole first (saga_read.c), so
 * nothing is open while it is printed. One thread.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "cli/print.h"
#include "cli/saga_show.h"
#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/text.h"

static const cli_flag show_flags[] = {
	{{.name = "kind", .kind = WBI_CONFIG_TEXT, CLI_SAGA_AT(kind),
	  .arg = "NAME", .help = "Only the one of this kind, if the id has "
				 "several."}, 'k'},
	{{.name = "by", .kind = WBI_CONFIG_CHOICE, CLI_SAGA_AT(by),
	  .choices = cli_saga_ways, .init = "any",
	  .help = "Only the one that is orchestrated here, or choreographed."},
	 0},
};

static const char *text_of(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text ? text : "";
}

static int64_t us_of(const json_t *object, const char *name)
{
	return (int64_t)(json_real_value(json_object_get(object, name)) * 1e6);
}

/* "0.012 s", "2 h 03 min". */
static char *span_text(int64_t us, char *ret, size_t size)
{
	if (us >= 0 && us < INT64_C(60) * 1000000)
		snprintf(ret, size, "%" PRId64 ".%03" PRId64 " s",
			 us / 1000000, us / 1000 % 1000);
	else
		cli_age_text(us, ret, size);
	return ret;
}

/* "a, b" of an array of texts. */
static char *list_text(const json_t *list, char *ret, size_t size)
{
	size_t len = 0;

	ret[0] = '\0';
	for (size_t i = 0; i < json_array_size(list) && len < size; i++)
		len += (size_t)snprintf(
			ret + len, size - len, "%s%s", i ? ", " : "",
			json_string_value(json_array_get(list, i)));
	return ret;
}

/* ---- its head ------------------------------------------------------------ */

static void print_line(const char *name, const char *format, ...)
	WB_PRINTF(2, 3);

static void print_line(const char *name, const char *format, ...)
{
	char text[2048];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	cli_print_text(name, wb_str_from(text));
}

static void print_wait(const json_t *saga)
{
	const char *awaits = text_of(saga, "awaits");
	const char *from = text_of(saga, "from");

	if (text_of(saga, "step")[0])
		print_line("step", "%s", text_of(saga, "step"));
	if (awaits[0])
		print_line("awaits", "%s%s%s", awaits, from[0] ? " from " : "",
			   from);
	if (text_of(saga, "until")[0])
		print_line("until", "%s%s", text_of(saga, "until"),
			   json_is_true(json_object_get(saga, "late"))
				   ? ": its time is up"
				   : "");
}

static void print_order(const json_t *saga)
{
	const json_t *order = json_object_get(saga, "order");
	const json_t *possible = json_object_get(saga, "possible");
	char text[512];

	if (order)
		print_line("order", "%s, by %s at %s: %s; it waits for a worker",
			   text_of(order, "verb"), text_of(order, "who"),
			   text_of(order, "given"), text_of(order, "why"));
	if (json_array_size(possible) > 0)
		print_line("possible now", "%s",
			   list_text(possible, text, sizeof(text)));
	if (json_array_size(json_object_get(saga, "remaining")) > 0)
		print_line("remaining", "%s",
			   list_text(json_object_get(saga, "remaining"), text,
				     sizeof(text)));
}

static void print_head(const json_t *saga)
{
	char age[64];

	print_line("saga", "%s", text_of(saga, "id"));
	print_line("kind", "%s, by %s", text_of(saga, "kind"),
		   text_of(saga, "by"));
	print_line("state", "%s for %s, since %s", text_of(saga, "state"),
		   span_text(us_of(saga, "since_seconds"), age, sizeof(age)),
		   text_of(saga, "since"));
	if (text_of(saga, "reason")[0])
		print_line("reason", "%s", text_of(saga, "reason"));
	print_wait(saga);
	print_order(saga);
	print_line("started", "%s", text_of(saga, "started"));
	if (text_of(saga, "ended")[0])
		print_line("ended", "%s, after %s", text_of(saga, "ended"),
			   span_text(us_of(saga, "took_seconds"), age,
				     sizeof(age)));
	if (text_of(saga, "definition")[0])
		print_line("definition", "%.16s", text_of(saga, "definition"));
	if (text_of(saga, "data")[0])
		print_line("data", "%s", text_of(saga, "data"));
}

/* ---- its tables ---------------------------------------------------------- */

/* A row for each of `list`; false: out of memory. */
typedef bool print_row(cli_table *table, const json_t *item);

static bool print_table(const json_t *list, const cli_column *columns,
			size_t count, print_row *row)
{
	cli_table *table;
	bool ok;

	if (json_array_size(list) == 0)
		return true;
	table = cli_table_new("rows", columns, count, false);
	ok = table != NULL;
	for (size_t i = 0; ok && i < json_array_size(list); i++)
		ok = row(table, json_array_get(list, i));
	putchar('\n');
	if (ok)
		return cli_table_print(table);
	cli_table_free(table);
	return false;
}

static bool row_entry(cli_table *table, const json_t *e)
{
	const char *before = text_of(e, "before"), *after = text_of(e, "after");
	const char *who = text_of(e, "who"), *text = text_of(e, "text");
	bool moved = strcmp(before, after) != 0;
	char span[64], change[2600], out[1024], shown[4096], in[2048];
	const char *cells[] = {text_of(e, "time"), span, in, shown, out};

	span_text(us_of(e, "after_seconds"), span, sizeof(span));
	snprintf(change, sizeof(change), "%s%s%s%s%s%s%s%s%s%s%s%s%s",
		 text_of(e, "step"), text_of(e, "step")[0] ? ": " : "",
		 text_of(e, "change"), moved ? "; " : "",
		 moved && before[0] ? before : "",
		 moved && before[0] ? " -> " : "", moved ? after : "",
		 text[0] ? ": " : "", text, who[0] ? "; by " : "", who,
		 who[0] ? ": " : "", text_of(e, "why"));
	list_text(json_object_get(e, "out"), out, sizeof(out));
	wbi_text_show(wb_str_from(change), shown, sizeof(shown));
	wbi_text_show(wb_str_from(text_of(e, "in")), in, sizeof(in));
	return cli_table_row(table, cells);
}

static bool row_step(cli_table *table, const json_t *s)
{
	json_int_t done = json_integer_value(json_object_get(s, "attempts"));
	json_int_t undone =
		json_integer_value(json_object_get(s, "undo_attempts"));
	char attempts[48] = "", undo_attempts[48] = "", state[64];
	const char *cells[] = {text_of(s, "step"),    text_of(s, "kind"),
			       state,		      attempts,
			       text_of(s, "command"), text_of(s, "undo"),
			       undo_attempts};

	snprintf(state, sizeof(state), "%s%s", text_of(s, "state"),
		 json_is_true(json_object_get(s, "skipped")) ? ", skipped"
							      : "");
	if (done > 0)
		snprintf(attempts, sizeof(attempts),
			 "%" JSON_INTEGER_FORMAT " of %" JSON_INTEGER_FORMAT,
			 done,
			 json_integer_value(
				 json_object_get(s, "attempts_max")));
	if (undone > 0)
		snprintf(undo_attempts, sizeof(undo_attempts),
			 "%" JSON_INTEGER_FORMAT " of %" JSON_INTEGER_FORMAT,
			 undone,
			 json_integer_value(
				 json_object_get(s, "undo_attempts_max")));
	return cli_table_row(table, cells);
}

static char *bytes_text(const json_t *object, const char *name, char *ret,
			size_t size)
{
	char coded[64];

	snprintf(coded, sizeof(coded), "%s_base64", name);
	if (text_of(object, coded)[0])
		snprintf(ret, size, "%.200s (base64)", text_of(object, coded));
	else
		wbi_text_show(wb_str_from(text_of(object, name)), ret, size);
	return ret;
}

static bool row_here(cli_table *table, const json_t *b)
{
	char undo[1100], reply[1100], text[1100], state[64];
	const char *type = text_of(b, "command");
	const char *cells[] = {text_of(b, "step"),
			       text_of(b, "operation"),
			       state,
			       text_of(b, "last"),
			       bytes_text(b, "undo", undo, sizeof(undo)),
			       type[0] ? type : text_of(b, "awaits"),
			       bytes_text(b, "reply", reply, sizeof(reply)),
			       text};

	wbi_text_show(wb_str_from(text_of(b, "text")), text, sizeof(text));
	snprintf(state, sizeof(state), "%s%s", text_of(b, "state"),
		 json_is_true(json_object_get(b, "undone_before_it_came"))
			 ? ", before it came"
			 : "");
	return cli_table_row(table, cells);
}

static bool row_timer(cli_table *table, const json_t *t)
{
	const char *cells[] = {text_of(t, "due"), text_of(t, "what"),
			       text_of(t, "handler"), text_of(t, "name"),
			       text_of(t, "text")};

	return cli_table_row(table, cells);
}

static bool print_tables(const json_t *saga)
{
	static const cli_column entry[] = {{.name = "time"},
					   {.name = "after", .number = true},
					   {.name = "in"},
					   {.name = "change", .trunc = true},
					   {.name = "out", .trunc = true}};
	static const cli_column step[] = {
		{.name = "step"},     {.name = "kind"},
		{.name = "state"},    {.name = "attempts"},
		{.name = "command"},  {.name = "undo"},
		{.name = "undo_attempts"}};
	static const cli_column here[] = {
		{.name = "done_here"},
		{.name = "operation"},
		{.name = "state"},
		{.name = "at"},
		{.name = "undo_data", .trunc = true},
		{.name = "event", .trunc = true},
		{.name = "answer", .trunc = true},
		{.name = "text", .trunc = true}};
	static const cli_column timer[] = {{.name = "due"},
					   {.name = "timer"},
					   {.name = "handler"},
					   {.name = "name"},
					   {.name = "text", .trunc = true}};

	return print_table(json_object_get(saga, "timeline"), entry,
			   WBI_COUNT(entry), row_entry) &&
	       print_table(json_object_get(saga, "steps"), step,
			   WBI_COUNT(step), row_step) &&
	       print_table(json_object_get(saga, "here"), here, WBI_COUNT(here),
			   row_here) &&
	       print_table(json_object_get(saga, "timers"), timer,
			   WBI_COUNT(timer), row_timer);
}

static bool print_people(const json_t *sagas)
{
	bool ok = true;

	for (size_t i = 0; ok && i < json_array_size(sagas); i++) {
		const json_t *saga = json_array_get(sagas, i);

		if (i > 0)
			printf("\n\n");
		if (strcmp(text_of(saga, "by"), "participant") != 0)
			print_head(saga);
		else
			print_line("saga", "%s, which another service "
					   "orchestrates: what was done here",
				   text_of(saga, "id"));
		ok = print_tables(saga);
	}
	return ok;
}

/* ---- the command --------------------------------------------------------- */

static wb_code read_found(wb_store *store, wb_str id,
			  const cli_saga_filter *filter, json_t *sagas,
			  wb_error *err)
{
	cli_saga_found *found = calloc(1, sizeof(*found));
	json_t *saga = NULL;
	wb_code rc;

	if (!found)
		return WBI_FAIL(err, WB_ENOMEM, "out of memory");
	rc = cli_saga_find(store, id, filter, found, err);
	for (size_t i = 0; i < found->count && rc == WB_OK; i++) {
		wbi_saga_id at;

		rc = wbi_saga_key_parse(wbi_row_key_str(&found->keys[i]), &at,
					err);
		if (rc == WB_OK)
			rc = cli_saga_read(store, &at, filter->now_us, &saga,
					   err);
		if (rc == WB_OK)
			json_array_append_new(sagas, saga);
		else if (rc == WB_ENOTFOUND)
			rc = WB_OK;
	}
	if (rc == WB_OK && found->count == 0 && filter->kind.len == 0 &&
	    filter->by == 0) {
		rc = cli_saga_read_part(store, id, &saga, err);
		if (rc == WB_OK && saga)
			json_array_append_new(sagas, saga);
	}
	free(found);
	return rc;
}

static int show_sagas(cli_context *ctx, json_t *sagas)
{
	bool ok;

	if (json_array_size(sagas) == 0) {
		char shown[400];

		return cli_fail(ctx, CLI_NOT_ALL,
				"no saga %s (any more): see waybill saga ls "
				"--state all",
				wbi_text_show(wb_str_from(ctx->args[0]), shown,
					      sizeof(shown)));
	}
	ok = ctx->json ? cli_json_print(json_pack("{s:O}", "sagas", sagas))
		       : print_people(sagas);
	return cli_answered(ctx, ok);
}

static int saga_show(cli_context *ctx)
{
	wb_error err = WB_ERROR_INIT;
	json_t *sagas = json_array();
	cli_saga_filter filter;
	wb_store *store = NULL;
	int code = cli_saga_filter_of(ctx, ctx->options, &filter);

	filter.statuses = UINT32_MAX;
	if (code == CLI_OK)
		code = cli_open_store(ctx, &store);
	if (code == CLI_OK &&
	    read_found(store, wb_str_from(ctx->args[0]), &filter, sagas,
		       &err) != WB_OK)
		code = cli_fail_error(ctx, &err);
	wb_store_close(store);
	if (code == CLI_OK)
		code = show_sagas(ctx, sagas);
	json_decref(sagas);
	return code;
}

const cli_command cli_command_saga_show = {
	.name = "saga show",
	.args = "ID",
	.summary = "Show one saga: what came in, what that changed, what went "
		   "out, what remains",
	.help = "Of a saga that is orchestrated here all of it; of a "
		"choreographed one, and of one that\nanother service "
		"orchestrates, what was done here, with what an undo of it "
		"needs. An id\nthat several have shows them all. The exit "
		"status is 3 if there is none.\n\n"
		"  waybill saga show --store shop booking-42\n"
		"  waybill saga show --store shop booking-42 --json | jq "
		"'.sagas[0].timeline'\n",
	.groups = WBI_GROUP_STORE | WBI_GROUP_LOG,
	.flags = show_flags,
	.flag_count = WBI_COUNT(show_flags),
	.options_size = sizeof(cli_saga_options),
	.args_min = 1,
	.args_max = 1,
	.needs_store = true,
	.run = saga_show,
};
