/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * waybill outbox stat: how much waits, how long, and why. The figures are read
 * first, all of them, then said in one of three ways.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "cli/table.h"
#include "cli/view.h"
#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/text.h"
#include "outbox/relay_report.h"

enum {
	STAT_EXACT = 100000, /* events counted; behind them it is estimated */
	STAT_KEYS_MAX = 1000,
	STAT_REASONS = 8,
	STAT_STALE_US = 5 * 1000000
};

typedef struct stat_options {
	bool prometheus;
	uint64_t keys;
} stat_options;

static const cli_flag stat_flags[] = {
	{{.name = "prometheus", .kind = WBI_CONFIG_BOOL,
	  .offset = offsetof(stat_options, prometheus),
	  .help = "As metrics text, for a scraper or a textfile collector."},
	 0},
	{{.name = "keys", .kind = WBI_CONFIG_NUMBER,
	  .offset = offsetof(stat_options, keys), .max = STAT_KEYS_MAX,
	  .init = "20", .arg = "N",
	  .help = "Parked keys to list at most."}, 0},
};

typedef struct stat_key {
	char key[512];
	uint64_t count, bytes, first_position;
	int64_t since_us;
	bool released;
} stat_key;

typedef struct stat_figures {
	cli_view view;
	int64_t now_us;
	uint64_t backlog, backlog_bytes;
	bool estimated; /* the bytes */
	int64_t oldest_us; /* time of the oldest pending event; 0: none */
	int64_t held_us[CLI_HELD_MAX]; /* time of its first event */
	uint64_t parked, parked_bytes, parked_keys;
	int64_t parked_since_us;
	uint64_t by_reason[STAT_REASONS];
	stat_key *keys;
	size_t key_count, key_max;
	bool has_status;
	wbi_relay_status status;
	char connected[256], blocked[256], error[512];
} stat_figures;

/* ---- reading ----------------------------------------------------------- */

static wb_code see_backlog(void *ctx, const cli_seen *seen, wb_error *err)
{
	stat_figures *f = ctx;

	(void)err;
	if (f->oldest_us == 0)
		f->oldest_us = seen->event.time_us;
	f->backlog_bytes += seen->record.len;
	if (seen->position - f->view.cursor < STAT_EXACT)
		return WB_OK;
	f->estimated = seen->position < f->view.head;
	return WB_ENOTFOUND;
}

static wb_code read_backlog(stat_figures *f, wb_error *err)
{
	wb_code rc;

	f->backlog = f->view.head - f->view.cursor;
	rc = cli_view_scan(&f->view, f->view.cursor, see_backlog, f, err);
	if (f->estimated)
		f->backlog_bytes = f->backlog_bytes / STAT_EXACT * f->backlog;
	return rc;
}

static wb_code see_held(void *ctx, const cli_seen *seen, wb_error *err)
{
	(void)err;
	*(int64_t *)ctx = seen->event.time_us;
	return WB_ENOTFOUND;
}

static wb_code read_held_ages(stat_figures *f, wb_error *err)
{
	wb_code rc = WB_OK;

	for (size_t i = 0; i < f->view.held_count && rc == WB_OK; i++)
		rc = cli_view_scan(&f->view,
				   f->view.held[i].first_position - 1, see_held,
				   &f->held_us[i], err);
	return rc;
}

static wb_code see_reason(void *ctx, const cli_seen *seen, wb_error *err)
{
	stat_figures *f = ctx;
	uint8_t reason = seen->parked->reason;

	(void)err;
	if (reason < STAT_REASONS)
		f->by_reason[reason]++;
	return WB_OK;
}

static void add_key(stat_figures *f, wb_str key, const wbi_parked_key *row)
{
	f->parked += row->count;
	f->parked_bytes += row->bytes;
	f->parked_keys++;
	if (f->parked_since_us == 0 || row->since_us < f->parked_since_us)
		f->parked_since_us = row->since_us;
	if (f->key_count == f->key_max)
		return;
	stat_key *to = &f->keys[f->key_count++];

	wbi_text_show(key, to->key, sizeof(to->key));
	to->count = row->count;
	to->bytes = row->bytes;
	to->first_position = row->first_position;
	to->since_us = row->since_us;
	to->released = row->state == WBI_PARKED_RELEASED;
}

static wb_code read_keys(stat_figures *f, MDB_txn *txn, wb_error *err)
{
	wbi_table table = wbi_store_relay_tables(f->view.store)->keys;
	wb_str row_key, bytes, key;
	wbi_move move = WBI_FIRST;
	wbi_parked_key row;
	wbi_cursor *cursor;
	wb_code rc;

	rc = wbi_cursor_open(txn, table, &cursor, err);
	if (rc != WB_OK)
		return rc;
	while (rc == WB_OK) {
		rc = wbi_cursor_move(cursor, move, &row_key, &bytes, err);
		if (rc == WB_OK)
			rc = wbi_parked_key_decode(row_key, bytes, &key, &row,
						   err);
		if (rc == WB_OK)
			add_key(f, key, &row);
		move = WBI_NEXT;
	}
	wbi_cursor_close(cursor);
	return rc == WB_ENOTFOUND ? WB_OK : rc;
}

static wb_code read_status(stat_figures *f, MDB_txn *txn, wb_error *err)
{
	wbi_table table = wbi_store_relay_tables(f->view.store)->status;
	wb_code rc = wbi_relay_status_get(txn, table, &f->status, err);

	if (rc != WB_OK)
		return rc == WB_ENOTFOUND ? WB_OK : rc;
	f->has_status = true;
	wbi_text_show(f->status.connected, f->connected, sizeof(f->connected));
	wbi_text_show(f->status.blocked, f->blocked, sizeof(f->blocked));
	wbi_text_show(f->status.error, f->error, sizeof(f->error));
	return WB_OK;
}

static wb_code read_figures(stat_figures *f, wb_error *err)
{
	const wb_clock *clock = wb_system_clock();
	MDB_txn *txn;
	wb_code rc;

	f->now_us = clock->real_us(clock->ctx);
	rc = wbi_txn_begin(wbi_store_relay_env(f->view.store), false, &txn,
			   err);
	if (rc != WB_OK)
		return rc;
	rc = read_keys(f, txn, err);
	if (rc == WB_OK)
		rc = read_status(f, txn, err);
	wbi_txn_abort(txn);
	if (rc == WB_OK)
		rc = read_backlog(f, err);
	if (rc == WB_OK)
		rc = read_held_ages(f, err);
	if (rc == WB_OK && f->parked > 0)
		rc = cli_view_scan_parked(&f->view, see_reason, f, err);
	return rc;
}

static int64_t age_us(const stat_figures *f, int64_t since_us)
{
	return since_us > 0 ? f->now_us - since_us : 0;
}

/* A relay says something at least once a second; an old word is no word. */
static const char *relay_state(const stat_figures *f)
{
	if (!f->has_status)
		return "never ran";
	if (f->status.state == WB_RELAY_STOPPED ||
	    f->status.state == WB_RELAY_FAILED)
		return wbi_relay_state_name((wb_relay_state)f->status.state);
	if (f->now_us - f->status.updated_us > STAT_STALE_US)
		return "not running";
	return wbi_relay_state_name((wb_relay_state)f->status.state);
}

/* ---- for people -------------------------------------------------------- */

static void print_line(const char *name, const char *format, ...)
	WB_PRINTF(2, 3);

static void print_line(const char *name, const char *format, ...)
{
	va_list args;

	printf("%-12s ", name);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
}

static void print_relay(const stat_figures *f)
{
	char age[64];

	print_line("relay", "%s%s%s", relay_state(f),
		   f->connected[0] ? ", " : "", f->connected);
	if (!f->has_status)
		return;
	print_line("", "said %s ago, pid %" PRIu32,
		   cli_age_text(f->now_us - f->status.updated_us, age,
				sizeof(age)),
		   f->status.pid);
	if (f->blocked[0])
		print_line("blocked", "%s", f->blocked);
	if (f->error[0])
		print_line("last error", "%s", f->error);
	for (int i = 0; i < WBI_RELAY_COUNTERS; i++)
		print_line("", "%-16s %" PRIu64,
			   wbi_relay_counter_name((enum wbi_relay_counter)i),
			   f->status.counters[i]);
}

static void print_backlog(const stat_figures *f)
{
	char bytes[32], age[64];

	cli_bytes_text(f->backlog_bytes, bytes, sizeof(bytes));
	if (f->backlog == 0)
		print_line("backlog", "none: all up to position %" PRIu64
				      " are settled",
			   f->view.cursor);
	else
		print_line("backlog",
			   "%" PRIu64 " events, %s%s, the oldest %s old",
			   f->backlog, f->estimated ? "about " : "", bytes,
			   cli_age_text(age_us(f, f->oldest_us), age,
					sizeof(age)));
	print_line("positions", "%" PRIu64 " to %" PRIu64 ", cursor %" PRIu64,
		   f->view.first, f->view.head, f->view.cursor);
}

static void print_held(const stat_figures *f)
{
	char age[64], missing[64];

	for (size_t i = 0; i < f->view.held_count; i++) {
		const cli_held *held = &f->view.held[i];

		print_line("held",
			   "exchange %s, missing for %s; from position %" PRIu64
			   ", %s old",
			   held->exchange,
			   cli_age_text(age_us(f, held->since_us), missing,
					sizeof(missing)),
			   held->first_position,
			   cli_age_text(age_us(f, f->held_us[i]), age,
					sizeof(age)));
	}
}

static void print_parked(const stat_figures *f)
{
	char bytes[32], age[64];

	if (f->parked == 0) {
		print_line("parked", "none");
		return;
	}
	print_line("parked",
		   "%" PRIu64 " events of %" PRIu64 " keys, %s, since %s",
		   f->parked, f->parked_keys,
		   cli_bytes_text(f->parked_bytes, bytes, sizeof(bytes)),
		   cli_age_text(age_us(f, f->parked_since_us), age,
				sizeof(age)));
	for (int i = 0; i < STAT_REASONS; i++)
		if (f->by_reason[i] > 0)
			print_line("", "%-16s %" PRIu64,
				   wbi_park_reason_name((uint8_t)i),
				   f->by_reason[i]);
}

static void print_keys(const stat_figures *f)
{
	static const cli_column columns[] = {
		{.name = "key", .trunc = true},
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
				       count, bytes, first, age,
				       key->released ? "released" : "parked"};

		snprintf(count, sizeof(count), "%" PRIu64, key->count);
		snprintf(bytes, sizeof(bytes), "%" PRIu64, key->bytes);
		snprintf(first, sizeof(first), "%" PRIu64,
			 key->first_position);
		cli_age_text(age_us(f, key->since_us), age, sizeof(age));
		ok = cli_table_row(table, cells);
	}
	putchar('\n');
	if (ok)
		cli_table_print(table);
	if (f->parked_keys > f->key_count)
		printf("(%" PRIu64 " keys more: --keys)\n",
		       f->parked_keys - f->key_count);
}

static void print_people(const stat_figures *f)
{
	const wbi_quota *quota = &f->view.quota;
	char used[32], hard[32];

	print_line("store", "%s, service %s", wb_store_dir(f->view.store),
		   wb_store_service(f->view.store));
	print_line("origin", "%s", f->view.journal.origin);
	print_backlog(f);
	print_held(f);
	print_parked(f);
	print_line("quota", "%s of %s%s",
		   cli_bytes_text(quota->used_bytes, used, sizeof(used)),
		   cli_bytes_text(quota->hard_bytes, hard, sizeof(hard)),
		   quota->used_bytes >= quota->hard_bytes
			   ? ": used up, append is refused"
		   : quota->used_bytes >= quota->soft_bytes
			   ? ": over the soft mark"
			   : "");
	print_relay(f);
	print_keys(f);
}

/* ---- for programs ------------------------------------------------------ */

#define INT(value) ((json_int_t)(value))

static json_t *held_json(const stat_figures *f)
{
	json_t *list = json_array();

	for (size_t i = 0; i < f->view.held_count; i++) {
		const cli_held *held = &f->view.held[i];

		json_array_append_new(
			list,
			json_pack("{s:s, s:I, s:f, s:f, s:s}", "exchange",
				  held->exchange, "first_position",
				  INT(held->first_position),
				  "missing_for_seconds",
				  (double)age_us(f, held->since_us) / 1e6,
				  "oldest_age_seconds",
				  (double)age_us(f, f->held_us[i]) / 1e6,
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
				  (double)age_us(f, key->since_us) / 1e6,
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

static json_t *relay_json(const stat_figures *f)
{
	json_t *object = json_pack("{s:s}", "state", relay_state(f));

	if (!f->has_status)
		return object;
	json_object_update_new(
		object,
		json_pack("{s:i, s:f, s:s, s:s, s:s}", "pid",
			  (int)f->status.pid, "said_seconds_ago",
			  (double)(f->now_us - f->status.updated_us) / 1e6,
			  "connected", f->connected, "blocked", f->blocked,
			  "last_error", f->error));
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
		"{s:s, s:s, s:s, s:I, s:I, s:I, s:{s:I, s:I, s:b, s:f}, s:o, "
		"s:{s:I, s:I, s:I, s:f, s:o, s:o}, s:{s:I, s:I, s:I}, s:o}",
		"store", wb_store_dir(view->store), "service",
		wb_store_service(view->store), "origin", view->journal.origin,
		"first", INT(view->first), "head", INT(view->head), "cursor",
		INT(view->cursor), "backlog", "events", INT(f->backlog),
		"bytes", INT(f->backlog_bytes), "bytes_estimated", f->estimated,
		"oldest_age_seconds", (double)age_us(f, f->oldest_us) / 1e6,
		"held", held_json(f), "parked", "events", INT(f->parked),
		"bytes", INT(f->parked_bytes), "keys", INT(f->parked_keys),
		"oldest_age_seconds",
		(double)age_us(f, f->parked_since_us) / 1e6, "by_reason",
		reasons_json(f), "by_key", keys_json(f), "quota", "used_bytes",
		INT(view->quota.used_bytes), "soft_bytes",
		INT(view->quota.soft_bytes), "hard_bytes",
		INT(view->quota.hard_bytes), "relay", relay_json(f)));
}

/* ---- for Prometheus (text exposition format 0.0.4) --------------------- */

/* A label's value: backslash, quote and line end are escaped. */
static void print_label(const char *value)
{
	for (; *value; value++) {
		if (*value == '\\' || *value == '"')
			putchar('\\');
		putchar(*value == '\n' ? ' ' : *value);
	}
}

static void metric_head(const char *name, const char *type, const char *help)
{
	printf("# HELP waybill_%s %s\n# TYPE waybill_%s %s\n", name, help,
	       name, type);
}

static void metric_value(const stat_figures *f, const char *name,
			 const char *label, const char *of, double value)
{
	printf("waybill_%s{service=\"", name);
	print_label(wb_store_service(f->view.store));
	if (label) {
		printf("\",%s=\"", label);
		print_label(of);
	}
	printf("\"} %.17g\n", value);
}

static void gauge(const stat_figures *f, const char *name, double value,
		  const char *help)
{
	metric_head(name, "gauge", help);
	metric_value(f, name, NULL, NULL, value);
}

static void metrics_backlog(const stat_figures *f)
{
	gauge(f, "outbox_head_position", (double)f->view.head,
	      "Position of the last committed event.");
	gauge(f, "outbox_cursor_position", (double)f->view.cursor,
	      "All events up to this position are settled.");
	gauge(f, "outbox_backlog_events", (double)f->backlog,
	      "Events that are not settled.");
	gauge(f, "outbox_backlog_bytes", (double)f->backlog_bytes,
	      "Bytes of them.");
	gauge(f, "outbox_oldest_age_seconds",
	      (double)age_us(f, f->oldest_us) / 1e6, "Age of the oldest.");
	gauge(f, "outbox_quota_used_bytes", (double)f->view.quota.used_bytes,
	      "Bytes that count against the quota.");
	gauge(f, "outbox_quota_hard_bytes", (double)f->view.quota.hard_bytes,
	      "The quota.");
	gauge(f, "outbox_quota_soft_bytes", (double)f->view.quota.soft_bytes,
	      "Its soft mark.");
}

static void metrics_aside(const stat_figures *f)
{
	gauge(f, "outbox_parked_keys", (double)f->parked_keys,
	      "Ordering keys with parked events.");
	gauge(f, "outbox_parked_bytes", (double)f->parked_bytes,
	      "Bytes of parked events.");
	gauge(f, "outbox_parked_oldest_age_seconds",
	      (double)age_us(f, f->parked_since_us) / 1e6,
	      "How long the first of them is parked.");
	metric_head("outbox_parked_events", "gauge", "Parked events.");
	for (int i = 1; i < STAT_REASONS; i++)
		if (strcmp(wbi_park_reason_name((uint8_t)i), "unknown") != 0)
			metric_value(f, "outbox_parked_events", "reason",
				     wbi_park_reason_name((uint8_t)i),
				     (double)f->by_reason[i]);
	gauge(f, "outbox_held_exchanges", (double)f->view.held_count,
	      "Missing exchanges that events wait for.");
	metric_head("outbox_held_oldest_age_seconds", "gauge",
		    "Age of the oldest event that waits for it.");
	for (size_t i = 0; i < f->view.held_count; i++)
		metric_value(f, "outbox_held_oldest_age_seconds", "exchange",
			     f->view.held[i].exchange,
			     (double)age_us(f, f->held_us[i]) / 1e6);
}

static void metrics_relay(const stat_figures *f)
{
	char name[96];

	metric_head("relay_up", "gauge",
		    "1 while a relay is running and connected.");
	metric_value(f, "relay_up", NULL, NULL,
		     strcmp(relay_state(f), "running") == 0);
	for (int i = 0; i < WBI_RELAY_COUNTERS && f->has_status; i++) {
		bool is_gauge = i == WBI_RELAY_UNCONFIRMED;

		snprintf(name, sizeof(name), "relay_%s%s",
			 wbi_relay_counter_name((enum wbi_relay_counter)i),
			 is_gauge ? "" : "_total");
		metric_head(name, is_gauge ? "gauge" : "counter",
			    "See waybill(1), outbox stat.");
		metric_value(f, name, NULL, NULL,
			     (double)f->status.counters[i]);
	}
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
	if (code == CLI_OK && read_figures(f, &err) != WB_OK)
		code = cli_fail_error(ctx, &err);
	if (code == CLI_OK && o->prometheus) {
		metrics_backlog(f);
		metrics_aside(f);
		metrics_relay(f);
	} else if (code == CLI_OK && ctx->json) {
		if (!print_json(f))
			code = cli_fail(ctx, CLI_FAILED,
					"cannot write the answer");
	} else if (code == CLI_OK) {
		print_people(f);
	}
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
