/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * waybill outbox stat: how much waits, how long, and why. The figures are read
 * first, all of them, then said in one of three ways.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "cli/metrics.h"
#include "cli/print.h"
#include "cli/stat.h"
#include "cli/table.h"
#include "lib/base/assert.h"
#include "lib/base/text.h"

typedef struct stat_options {
	bool prometheus;
	uint64_t keys;
} stat_options;

static const cli_flag stat_flags[] = {
	CLI_FLAG_PROMETHEUS(stat_options),
	{{.name = "keys",
	  .kind = WBI_CONFIG_NUMBER,
	  .offset = offsetof(stat_options, keys),
	  .max = STAT_KEYS_MAX,
	  .init = "20",
	  .arg = "N",
	  .help = "Parked keys to list at most."},
	 0},
};

/* ---- for people -------------------------------------------------------- */

static void print_relay(const stat_figures *f)
{
	char age[64], since[64];

	if (!f->has_status) {
		cli_print_line("relay", "%s", cli_stat_relay_state(f));
		return;
	}
	cli_print_line(
		"relay", "%s for %s; said so %s ago", cli_stat_relay_state(f),
		cli_age_text(cli_stat_in_state_us(f), since, sizeof(since)),
		cli_age_text(f->now_us - f->status.updated_us, age,
			     sizeof(age)));
	if (f->status.pid > 0)
		cli_print_line("", "pid %" PRIu32, f->status.pid);
	if (f->error[0])
		cli_print_line("because", "%s", f->error);
	for (int i = 0; i < WBI_RELAY_COUNTERS; i++)
		cli_print_line(
			"", "%-16s %" PRIu64,
			wbi_relay_counter_name((enum wbi_relay_counter)i),
			f->status.counters[i]);
}

static void print_types(const stat_figures *f)
{
	for (size_t i = 0; i < f->type_count; i++)
		cli_print_line(i == 0 ? "unrouted" : "", "%-24s %" PRIu64,
			       f->types[i].type, f->types[i].count);
	if (f->types_more > 0)
		cli_print_line("", "(%zu types more)", f->types_more);
}

static void print_backlog(const stat_figures *f)
{
	char bytes[32], age[64];

	cli_bytes_text(f->backlog_bytes, bytes, sizeof(bytes));
	if (f->backlog == 0)
		cli_print_line("backlog",
			       "none: all up to position %" PRIu64
			       " are settled",
			       f->view.cursor);
	else
		cli_print_line("backlog",
			       "%" PRIu64 " events, %s%s, the oldest %s old",
			       f->backlog, f->estimated ? "about " : "", bytes,
			       cli_age_text(cli_stat_age_us(f, f->oldest_us),
					    age, sizeof(age)));
	cli_print_line("positions",
		       "%" PRIu64 " to %" PRIu64 ", cursor %" PRIu64,
		       f->view.first, f->view.head, f->view.cursor);
}

static void print_held(const stat_figures *f)
{
	char age[64], missing[64], bytes[32];

	for (size_t i = 0; i < f->view.held_count; i++) {
		const cli_held *held = &f->view.held[i];
		const stat_held *what = &f->held[i];

		cli_print_line(
			"held",
			"exchange %s, missing for %s: %s%" PRIu64
			" events, %s, from position %" PRIu64
			", the oldest %s old",
			held->exchange,
			cli_age_text(cli_stat_age_us(f, held->since_us),
				     missing, sizeof(missing)),
			f->held_at_least ? "at least " : "", what->events,
			cli_bytes_text(what->bytes, bytes, sizeof(bytes)),
			held->first_position,
			cli_age_text(cli_stat_age_us(f, what->oldest_us), age,
				     sizeof(age)));
	}
}

static void print_parked(const stat_figures *f)
{
	char bytes[32], age[64];

	if (f->parked == 0) {
		cli_print_line("parked", "none");
		return;
	}
	cli_print_line("parked",
		       "%" PRIu64 " events of %" PRIu64 " keys, %s, since %s",
		       f->parked, f->parked_keys,
		       cli_bytes_text(f->parked_bytes, bytes, sizeof(bytes)),
		       cli_age_text(cli_stat_age_us(f, f->parked_since_us), age,
				    sizeof(age)));
	for (int i = 0; i < STAT_REASONS; i++)
		if (f->by_reason[i] > 0)
			cli_print_line("", "%-16s %" PRIu64,
				       wbi_park_reason_name((uint8_t)i),
				       f->by_reason[i]);
}

static void print_keys(const stat_figures *f)
{
	static const cli_column columns[] = {{.name = "key", .trunc = true},
					     {.name = "events", .number = true},
					     {.name = "bytes", .number = true},
					     {.name = "first", .number = true},
					     {.name = "age"},
					     {.name = "state"}};
	cli_table *table;
	bool ok;

	if (f->key_count == 0)
		return;
	table = cli_table_new("keys", columns, WBI_COUNT(columns), false);
	ok = table != NULL;
	for (size_t i = 0; ok && i < f->key_count; i++) {
		const stat_key *key = &f->keys[i];
		char count[32], bytes[32], first[32], age[64];
		const char *cells[] = {key->key[0] ? key->key : "(none)",
				       count,
				       bytes,
				       first,
				       age,
				       key->released ? "released" : "parked"};

		snprintf(count, sizeof(count), "%" PRIu64, key->count);
		snprintf(bytes, sizeof(bytes), "%" PRIu64, key->bytes);
		snprintf(first, sizeof(first), "%" PRIu64, key->first_position);
		cli_age_text(cli_stat_age_us(f, key->since_us), age,
			     sizeof(age));
		ok = cli_table_row(table, cells);
	}
	putchar('\n');
	if (ok)
		cli_table_print(table);
	else
		cli_table_free(table);
	if (f->parked_keys > f->key_count)
		printf("(%" PRIu64 " keys more: --keys)\n",
		       f->parked_keys - f->key_count);
}

static void print_quota(const wbi_quota *quota)
{
	char used[32], soft[32], hard[32];

	cli_print_line("quota", "%s of %s used, soft mark %s%s",
		       cli_bytes_text(quota->used_bytes, used, sizeof(used)),
		       cli_bytes_text(quota->hard_bytes, hard, sizeof(hard)),
		       cli_bytes_text(quota->soft_bytes, soft, sizeof(soft)),
		       quota->used_bytes >= quota->hard_bytes
			       ? ": used up, append is refused"
		       : quota->used_bytes >= quota->soft_bytes
			       ? ": it is passed"
			       : "");
}

static void print_people(const stat_figures *f)
{
	cli_print_line("store", "%s, service %s", wb_store_dir(f->view.store),
		       wb_store_service(f->view.store));
	cli_print_line("origin", "%s", f->view.journal.origin);
	print_backlog(f);
	print_held(f);
	print_parked(f);
	print_quota(&f->view.quota);
	print_types(f);
	print_relay(f);
	print_keys(f);
}

/* ---- for programs ------------------------------------------------------ */

#define INT(value) ((json_int_t)(value))

static double seconds(int64_t us)
{
	return (double)us / 1e6;
}

static json_t *held_json(const stat_figures *f)
{
	json_t *list = json_array();

	for (size_t i = 0; i < f->view.held_count; i++) {
		const cli_held *held = &f->view.held[i];
		const stat_held *what = &f->held[i];

		json_array_append_new(
			list,
			json_pack("{s:s, s:I, s:I, s:b, s:I, s:f, s:f, s:s}",
				  "exchange", held->exchange, "events",
				  INT(what->events), "bytes", INT(what->bytes),
				  "at_least", f->held_at_least,
				  "first_position", INT(held->first_position),
				  "missing_for_seconds",
				  seconds(cli_stat_age_us(f, held->since_us)),
				  "oldest_age_seconds",
				  seconds(cli_stat_age_us(f, what->oldest_us)),
				  "text", held->text));
	}
	return list;
}

static json_t *keys_json(const stat_figures *f)
{
	json_t *list = json_array();

	for (size_t i = 0; i < f->key_count; i++) {
		const stat_key *key = &f->keys[i];

		json_array_append_new(
			list,
			json_pack("{s:s, s:I, s:I, s:I, s:f, s:b}", "key",
				  key->key, "events", INT(key->count), "bytes",
				  INT(key->bytes), "first_position",
				  INT(key->first_position), "age_seconds",
				  (double)cli_stat_age_us(f, key->since_us) /
					  1e6,
				  "released", key->released));
	}
	return list;
}

static json_t *reasons_json(const stat_figures *f)
{
	json_t *object = json_object();

	for (int i = 0; i < STAT_REASONS; i++)
		if (f->by_reason[i] > 0)
			json_object_set_new(object,
					    wbi_park_reason_name((uint8_t)i),
					    json_integer(INT(f->by_reason[i])));
	return object;
}

static json_t *types_json(const stat_figures *f)
{
	json_t *object = json_object();

	for (size_t i = 0; i < f->type_count; i++)
		json_object_set_new(object, f->types[i].type,
				    json_integer(INT(f->types[i].count)));
	return object;
}

static json_t *relay_json(const stat_figures *f)
{
	json_t *object = json_pack("{s:s}", "state", cli_stat_relay_state(f));

	if (!f->has_status)
		return object;
	json_object_update_new(
		object,
		json_pack("{s:i, s:s, s:f, s:f, s:s}", "pid",
			  (int)f->status.pid, "said_state",
			  wbi_relay_state_name((wb_relay_state)f->status.state),
			  "said_seconds_ago",
			  seconds(f->now_us - f->status.updated_us),
			  "in_state_seconds", seconds(cli_stat_in_state_us(f)),
			  "because", f->error));
	for (int i = 0; i < WBI_RELAY_COUNTERS; i++)
		json_object_set_new(
			object,
			wbi_relay_counter_name((enum wbi_relay_counter)i),
			json_integer(INT(f->status.counters[i])));
	return object;
}

static bool print_json(const stat_figures *f)
{
	const cli_view *view = &f->view;

	return cli_json_print(json_pack(
		"{s:s, s:s, s:s, s:I, s:I, s:I, s:f, s:{s:I, s:I, s:b, s:f}, "
		"s:o, s:{s:I, s:I, s:I, s:f, s:o, s:o}, s:{s:I, s:I, s:I}, "
		"s:o, s:o}",
		"store", wb_store_dir(view->store), "service",
		wb_store_service(view->store), "origin", view->journal.origin,
		"first", INT(view->first), "head", INT(view->head), "cursor",
		INT(view->cursor), "oldest_age_seconds",
		seconds(cli_stat_oldest_us(f)), "backlog", "events",
		INT(f->backlog), "bytes", INT(f->backlog_bytes),
		"bytes_estimated", f->estimated, "oldest_age_seconds",
		(double)cli_stat_age_us(f, f->oldest_us) / 1e6, "held",
		held_json(f), "parked", "events", INT(f->parked), "bytes",
		INT(f->parked_bytes), "keys", INT(f->parked_keys),
		"oldest_age_seconds",
		(double)cli_stat_age_us(f, f->parked_since_us) / 1e6,
		"by_reason", reasons_json(f), "by_key", keys_json(f), "quota",
		"used_bytes", INT(view->quota.used_bytes), "soft_bytes",
		INT(view->quota.soft_bytes), "hard_bytes",
		INT(view->quota.hard_bytes), "unrouted", types_json(f), "relay",
		relay_json(f)));
}

/* ---- the command ------------------------------------------------------- */

static int stat_run(cli_context *ctx)
{
	const stat_options *o = ctx->options;
	stat_figures *f = calloc(1, sizeof(*f));
	wb_error err = WB_ERROR_INIT;
	int code;

	if (!f)
		return cli_fail(ctx, CLI_FAILED, "out of memory");
	f->key_max = o->keys;
	f->keys = calloc(o->keys + 1, sizeof(*f->keys));
	code = cli_view_open(ctx, &f->view);
	if (code == CLI_OK && !f->keys)
		code = cli_fail(ctx, CLI_FAILED, "out of memory");
	if (code == CLI_OK && cli_stat_read(f, &err) != WB_OK)
		code = cli_fail_error(ctx, &err);
	if (code == CLI_OK && o->prometheus)
		cli_stat_metrics(f);
	else if (code == CLI_OK && !ctx->json)
		print_people(f);
	else if (code == CLI_OK)
		code = cli_answered(ctx, print_json(f));
	cli_view_fini(&f->view);
	free(f->keys);
	free(f);
	return code;
}

const cli_command cli_command_outbox_stat = {
	.name = "outbox stat",
	.args = "",
	.summary = "Show the backlog, what is parked or held, and the relay",
	.help = "The age of the oldest event is the figure to watch: it grows "
		"only while something is\nwrong. The bytes of a long backlog "
		"are estimated from its first 100,000 events.\n\n"
		"  waybill outbox stat --store shop\n"
		"  waybill outbox stat --store shop --prometheus "
		"> /var/lib/node_exporter/shop.prom\n",
	.groups = WBI_GROUP_STORE | WBI_GROUP_ROUTES | WBI_GROUP_LOG,
	.flags = stat_flags,
	.flag_count = WBI_COUNT(stat_flags),
	.options_size = sizeof(stat_options),
	.needs_store = true,
	.run = stat_run,
};
