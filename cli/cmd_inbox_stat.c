/* SPDX-License-Identifier: BSD-2-Clause */
/* waybill inbox stat: how far each handler is, and what is in its way. The
 * figures are read first, all of them, then said in one of three ways. */
#include <inttypes.h>
#include <stdlib.h>

#include "cli/inbox_stat.h"
#include "cli/metrics.h"
#include "cli/print.h"
#include "cli/table.h"
#include "lib/base/assert.h"
#include "lib/base/text.h"

typedef struct stat_options {
	bool prometheus;
} stat_options;

static const cli_flag stat_flags[] = {
	CLI_FLAG_PROMETHEUS(stat_options),
};

/* ---- for people --------------------------------------------------------- */

static void print_worker(const inbox_figures *f)
{
	char since[64], ago[64];

	if (!f->has_status) {
		cli_print_line("worker", "%s", inbox_worker_state(f));
		return;
	}
	cli_print_line(
		"worker", "%s for %s; said so %s ago", inbox_worker_state(f),
		cli_age_text(inbox_age_us(f, f->active ? f->status.since_us
						       : f->status.updated_us),
			     since, sizeof(since)),
		cli_age_text(inbox_age_us(f, f->status.updated_us), ago,
			     sizeof(ago)));
	if (f->active && f->status.pid > 0)
		cli_print_line("", "pid %" PRIu32, f->status.pid);
	if (f->queue[0])
		cli_print_line("queue", "%s of vhost %s", f->queue, f->vhost);
	if (f->error[0])
		cli_print_line("because", "%s", f->error);
	cli_print_line("received",
		       "%" PRIu64 " messages, %" PRIu64
		       " known already, %" PRIu64 " refused",
		       f->status.received, f->status.duplicates,
		       f->status.refused);
}

static void print_letters(const inbox_figures *f)
{
	char age[64];

	if (f->letters == 0) {
		cli_print_line("dead", "none");
		return;
	}
	cli_print_line("dead", "%" PRIu64 " letters, the oldest since %s",
		       f->letters,
		       cli_age_text(inbox_age_us(f, f->letters_since_us), age,
				    sizeof(age)));
	for (int i = 1; i < INBOX_REASONS; i++)
		if (f->by_reason[i] > 0)
			cli_print_line("", "%-16s %s%" PRIu64,
				       wbi_dead_reason_name((uint8_t)i),
				       f->letters_at_least ? "at least " : "",
				       f->by_reason[i]);
}

/* "3 waiting, 1 running, 12 behind" */
static char *rows_text(const inbox_consumer *c, char *ret, size_t size)
{
	const struct {
		uint64_t count;
		const char *what;
	} parts[] = {{c->waiting, "waiting"},
		     {c->running, "running"},
		     {c->queued, "behind"},
		     {c->stuck, "dead, holding up a key"},
		     {c->crashed, "crashed"}};
	size_t len = 0;

	ret[0] = '\0';
	for (size_t i = 0; i < WBI_COUNT(parts); i++)
		if (parts[i].count > 0 && len < size)
			len += (size_t)snprintf(
				ret + len, size - len, "%s%s%" PRIu64 " %s",
				len > 0 ? ", " : "", c->at_least ? ">= " : "",
				parts[i].count, parts[i].what);
	return ret;
}

static void print_handlers(const inbox_figures *f)
{
	static const cli_column columns[] = {
		{.name = "handler", .trunc = true},
		{.name = "position", .number = true},
		{.name = "backlog", .number = true},
		{.name = "lag"},
		{.name = "rows", .trunc = true},
		{.name = "timers", .number = true},
		{.name = "dead", .number = true},
		{.name = "handled", .number = true},
		{.name = "note", .trunc = true}};
	cli_table *table;
	bool ok;

	if (f->list.count == 0)
		return;
	table = cli_table_new("handlers", columns, WBI_COUNT(columns), false);
	ok = table != NULL;
	for (size_t i = 0; ok && i < f->list.count; i++) {
		const cli_consumer *c = &f->list.items[i];
		const inbox_consumer *m = &f->more[i];
		char position[32], backlog[32], lag[64], rows[200], timers[32];
		char dead[32], handled[32];
		const char *cells[] = {c->name,
				       position,
				       backlog,
				       m->oldest_us ? lag : NULL,
				       rows,
				       timers,
				       dead,
				       handled,
				       c->error[0] ? c->error : NULL};

		snprintf(position, sizeof(position), "%" PRIu64,
			 c->row.position);
		snprintf(backlog, sizeof(backlog), "%" PRIu64, m->backlog);
		cli_age_text(inbox_age_us(f, m->oldest_us), lag, sizeof(lag));
		rows_text(m, rows, sizeof(rows));
		snprintf(timers, sizeof(timers), "%" PRIu64, c->row.timers);
		snprintf(dead, sizeof(dead), "%" PRIu64, m->dead);
		snprintf(handled, sizeof(handled), "%" PRIu64, c->row.handled);
		ok = cli_table_row(table, cells);
	}
	putchar('\n');
	if (ok)
		cli_table_print(table);
	else
		cli_table_free(table);
}

static void print_people(const inbox_figures *f)
{
	char used[32], hard[32], age[64];

	cli_print_line("store", "%s, service %s", wb_store_dir(f->store),
		       wb_store_service(f->store));
	cli_print_line("origin", "%s", f->journal.origin);
	cli_print_line("positions", "%" PRIu64 " to %" PRIu64, f->first,
		       f->head);
	if (inbox_oldest_age_us(f) > 0)
		cli_print_line(
			"oldest", "unhandled event is %s old",
			cli_age_text(inbox_oldest_age_us(f), age, sizeof(age)));
	print_letters(f);
	cli_print_line("quota", "%s of %s used%s",
		       cli_bytes_text(f->quota.used_bytes, used, sizeof(used)),
		       cli_bytes_text(f->quota.hard_bytes, hard, sizeof(hard)),
		       f->quota.used_bytes >= f->quota.hard_bytes
			       ? ": used up, nothing is taken in"
		       : f->quota.used_bytes >= f->quota.soft_bytes
			       ? ": its soft mark is passed"
			       : "");
	print_worker(f);
	print_handlers(f);
}

/* ---- for programs ------------------------------------------------------- */

#define INT(value) ((json_int_t)(value))

static double seconds(int64_t us)
{
	return (double)us / 1e6;
}

static json_t *handler_json(const inbox_figures *f, size_t i)
{
	const cli_consumer *c = &f->list.items[i];
	const inbox_consumer *m = &f->more[i];
	json_t *object = json_pack(
		"{s:s, s:s, s:I, s:I, s:f, s:{s:I, s:I, s:I, s:I, s:I, s:I, "
		"s:b}, s:I, s:I, s:I, s:I, s:I, s:I}",
		"handler", c->name, "kind",
		c->row.kind == WBI_CONSUMER_PROJECTION ? "projection"
						       : "handler",
		"position", INT(c->row.position), "backlog", INT(m->backlog),
		"lag_seconds", seconds(inbox_age_us(f, m->oldest_us)), "rows",
		"total", INT(c->row.waiting), "waiting", INT(m->waiting),
		"running", INT(m->running), "behind", INT(m->queued),
		"holding_up", INT(m->stuck), "crashed", INT(m->crashed),
		"at_least", m->at_least, "timers", INT(c->row.timers),
		"dead_letters", INT(m->dead), "handled", INT(c->row.handled),
		"retries", INT(c->row.retries), "dead", INT(c->row.dead),
		"emitted", INT(c->row.emitted));

	if (object && c->error[0])
		json_object_set_new(object, "error", json_string(c->error));
	if (object && m->next_us < INT64_MAX && m->next_us > 0)
		json_object_set_new(object, "next_due_seconds",
				    json_real(seconds(m->next_us - f->now_us)));
	return object;
}

static json_t *handlers_json(const inbox_figures *f)
{
	json_t *list = json_array();

	for (size_t i = 0; i < f->list.count; i++)
		json_array_append_new(list, handler_json(f, i));
	return list;
}

static json_t *letters_json(const inbox_figures *f)
{
	json_t *reasons = json_object();

	for (int i = 1; i < INBOX_REASONS; i++)
		if (f->by_reason[i] > 0)
			json_object_set_new(reasons,
					    wbi_dead_reason_name((uint8_t)i),
					    json_integer(INT(f->by_reason[i])));
	return json_pack("{s:I, s:I, s:f, s:b, s:o}", "letters",
			 INT(f->letters), "refused", INT(f->refused_letters),
			 "oldest_age_seconds",
			 seconds(inbox_age_us(f, f->letters_since_us)),
			 "at_least", f->letters_at_least, "by_reason", reasons);
}

static json_t *worker_json(const inbox_figures *f)
{
	json_t *object = json_pack("{s:s, s:b}", "state", inbox_worker_state(f),
				   "active", f->active);

	if (!f->has_status)
		return object;
	json_object_update_new(
		object,
		json_pack("{s:I, s:s, s:s, s:s, s:s, s:f, s:f}", "pid",
			  INT(f->active ? f->status.pid : 0), "said_state",
			  inbox_said_state(f), "queue", f->queue, "vhost",
			  f->vhost, "because", f->error, "in_state_seconds",
			  seconds(inbox_age_us(f, f->status.since_us)),
			  "said_seconds_ago",
			  seconds(inbox_age_us(f, f->status.updated_us))));
	return object;
}

static bool print_json(const inbox_figures *f)
{
	return cli_json_print(json_pack(
		"{s:s, s:s, s:s, s:I, s:I, s:f, s:I, s:I, s:I, s:{s:I, s:I, "
		"s:I}, s:o, s:o, s:o}",
		"store", wb_store_dir(f->store), "service",
		wb_store_service(f->store), "origin", f->journal.origin,
		"first", INT(f->first), "head", INT(f->head),
		"oldest_age_seconds", seconds(inbox_oldest_age_us(f)),
		"received", INT(f->status.received), "duplicates",
		INT(f->status.duplicates), "refused", INT(f->status.refused),
		"quota", "used_bytes", INT(f->quota.used_bytes), "soft_bytes",
		INT(f->quota.soft_bytes), "hard_bytes",
		INT(f->quota.hard_bytes), "dead", letters_json(f), "handlers",
		handlers_json(f), "worker", worker_json(f)));
}

/* ---- the command -------------------------------------------------------- */

static int stat_run(cli_context *ctx)
{
	const stat_options *o = ctx->options;
	inbox_figures *f = calloc(1, sizeof(*f));
	wb_error err = WB_ERROR_INIT;
	int code;

	if (!f)
		return cli_fail(ctx, CLI_FAILED, "out of memory");
	code = cli_open_store(ctx, &f->store);
	if (code == CLI_OK && inbox_figures_read(f, &err) != WB_OK)
		code = cli_fail_error(ctx, &err);
	if (code == CLI_OK && o->prometheus)
		inbox_metrics(f);
	else if (code == CLI_OK && !ctx->json)
		print_people(f);
	else if (code == CLI_OK)
		code = cli_answered(ctx, print_json(f));
	inbox_figures_fini(f);
	free(f);
	return code;
}

const cli_command cli_command_inbox_stat = {
	.name = "inbox stat",
	.args = "",
	.summary = "Show how far each handler is, its lag, and the worker",
	.help = "Backlog is what a handler's cursor has not reached; rows are "
		"what it has begun and not\nended: waiting for a retry, "
		"running (an external call), behind another of its key. Lag\n"
		"is the age of the oldest of both: the figure to watch.\n\n"
		"  waybill inbox stat --store shop\n"
		"  waybill inbox stat --store shop --prometheus "
		"> /var/lib/node_exporter/shop.prom\n",
	.groups = WBI_GROUP_STORE | WBI_GROUP_LOG,
	.flags = stat_flags,
	.flag_count = WBI_COUNT(stat_flags),
	.options_size = sizeof(stat_options),
	.needs_store = true,
	.run = stat_run,
};
