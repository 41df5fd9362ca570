/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * waybill saga stat: how many sagas are open, by kind and state, how many need
 * somebody, and how old the oldest is. Counted in the index of those that have
 * not ended, a few hundred in a transaction, up to a bound, and then it says
 * "at least": parked ones come first, so of them all are counted. Only reads.
 */
#include <inttypes.h>
#include <stdlib.h>

#include <waybill/saga.h>

#include "cli/metrics.h"
#include "cli/saga.h"
#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/text.h"
#include "lib/store/store.h"

enum { EXACT = 100000, KINDS_MAX = 512, STATES = WB_SAGA_ABANDONED + 1 };

typedef struct stat_options {
	bool prometheus;
} stat_options;

static const cli_flag stat_flags[] = {
	CLI_FLAG_PROMETHEUS(stat_options),
};

/* Of one kind, done in one way. */
typedef struct stat_kind {
	char name[4 * WBI_SAGA_NAME_MAX + 1];
	uint8_t by;
	uint64_t counts[STATES];
	uint64_t stuck;
	int64_t oldest_us; /* when the oldest of them began */
} stat_kind;

typedef struct stat_run {
	stat_kind *kinds;
	size_t count;
	uint64_t seen, all[STATES], stuck;
	int64_t oldest_us, now_us;
	bool at_least;
} stat_run;

static const uint8_t stat_states[] = {WB_SAGA_RUNNING, WB_SAGA_COMPENSATING,
				      WB_SAGA_PARKED};

static const char *state_name(size_t i)
{
	static const char *const names[] = {"running", "compensating",
					    "parked"};

	return names[i];
}

/* Beyond KINDS_MAX all are counted as one kind, the last. */
static stat_kind *kind_of(stat_run *run, const cli_saga_seen *seen)
{
	char name[sizeof(run->kinds->name)];
	stat_kind *kind;

	wbi_text_show(seen->row->name, name, sizeof(name));
	for (size_t i = 0; i < run->count; i++)
		if (run->kinds[i].by == seen->id.kind &&
		    !strcmp(run->kinds[i].name, name))
			return &run->kinds[i];
	if (run->count == KINDS_MAX)
		return &run->kinds[KINDS_MAX - 1];
	kind = &run->kinds[run->count++];
	snprintf(kind->name, sizeof(kind->name), "%s",
		 run->count == KINDS_MAX ? "others" : name);
	kind->by = seen->id.kind;
	return kind;
}

static bool stat_see(void *ctx, const cli_saga_seen *seen)
{
	stat_run *run = ctx;
	stat_kind *kind;
	bool stuck = seen->late || seen->row->status == WB_SAGA_PARKED;
	int64_t began_us = seen->row->started_us;

	run->at_least = run->seen == EXACT;
	if (run->at_least)
		return false;
	run->seen++;
	kind = kind_of(run, seen);
	kind->counts[seen->row->status]++;
	run->all[seen->row->status]++;
	kind->stuck += stuck;
	run->stuck += stuck;
	if (kind->oldest_us == 0 || began_us < kind->oldest_us)
		kind->oldest_us = began_us;
	if (run->oldest_us == 0 || began_us < run->oldest_us)
		run->oldest_us = began_us;
	return true;
}

static wb_code stat_read(wb_store *store, stat_run *run, wb_error *err)
{
	cli_saga_place place = {.begun = false};
	cli_saga_filter open = {.now_us = cli_real_us()};
	wb_code rc = WB_OK;

	for (size_t i = 0; i < WBI_COUNT(stat_states); i++)
		open.statuses |= 1u << stat_states[i];
	run->now_us = open.now_us;
	run->kinds = calloc(KINDS_MAX, sizeof(*run->kinds));
	if (!run->kinds)
		return WBI_FAIL(err, WB_ENOMEM, "out of memory");
	while (rc == WB_OK && !run->at_least)
		rc = cli_saga_visit(store, &open, &place, stat_see, run, err);
	return rc == WB_ENOTFOUND ? WB_OK : rc;
}

static int64_t age_us(const stat_run *run, int64_t since_us)
{
	return since_us > 0 && since_us < run->now_us ? run->now_us - since_us
						      : 0;
}

/* ---- as metrics ---------------------------------------------------------- */

static void metrics_kinds(const char *service, const stat_run *run)
{
	cli_metric_head("sagas_open", "gauge",
			"Sagas that have not ended.");
	for (size_t i = 0; i < run->count; i++)
		for (size_t j = 0; j < WBI_COUNT(stat_states); j++) {
			const stat_kind *kind = &run->kinds[i];
			const cli_metric_label labels[] = {
				{"kind", kind->name},
				{"by", cli_saga_way(kind->by)},
				{"state", state_name(j)}};

			cli_metric_sample(
				service, "sagas_open", labels,
				WBI_COUNT(labels),
				(double)kind->counts[stat_states[j]]);
		}
	cli_metric_head("sagas_stuck", "gauge",
			"Of them, those that are parked or past their time.");
	for (size_t i = 0; i < run->count; i++) {
		const cli_metric_label labels[] = {
			{"kind", run->kinds[i].name},
			{"by", cli_saga_way(run->kinds[i].by)}};

		cli_metric_sample(service, "sagas_stuck", labels,
				  WBI_COUNT(labels),
				  (double)run->kinds[i].stuck);
	}
	cli_metric_head("sagas_oldest_age_seconds", "gauge",
			"Age of the oldest saga that has not ended.");
	for (size_t i = 0; i < run->count; i++) {
		const cli_metric_label labels[] = {
			{"kind", run->kinds[i].name},
			{"by", cli_saga_way(run->kinds[i].by)}};

		cli_metric_sample(
			service, "sagas_oldest_age_seconds", labels,
			WBI_COUNT(labels),
			(double)age_us(run, run->kinds[i].oldest_us) / 1e6);
	}
}

static void print_metrics(const char *service, const stat_run *run)
{
	cli_metric_gauge(service, "sagas_parked",
			 (double)run->all[WB_SAGA_PARKED],
			 "Sagas that wait for an operator.");
	cli_metric_gauge(service, "sagas_counted_all", run->at_least ? 0 : 1,
			 "0 if there are more sagas than were counted.");
	if (run->count > 0)
		metrics_kinds(service, run);
}

/* ---- as JSON ------------------------------------------------------------- */

static json_t *kind_json(const stat_run *run, const stat_kind *kind)
{
	return json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:f}", "kind",
			 kind->name, "by", cli_saga_way(kind->by), "running",
			 (json_int_t)kind->counts[WB_SAGA_RUNNING],
			 "compensating",
			 (json_int_t)kind->counts[WB_SAGA_COMPENSATING],
			 "parked", (json_int_t)kind->counts[WB_SAGA_PARKED],
			 "stuck", (json_int_t)kind->stuck,
			 "oldest_age_seconds",
			 (double)age_us(run, kind->oldest_us) / 1e6);
}

static bool print_json(const stat_run *run)
{
	json_t *kinds = json_array();

	for (size_t i = 0; i < run->count; i++)
		json_array_append_new(kinds, kind_json(run, &run->kinds[i]));
	return cli_json_print(json_pack(
		"{s:I, s:I, s:I, s:I, s:f, s:b, s:o}", "running",
		(json_int_t)run->all[WB_SAGA_RUNNING], "compensating",
		(json_int_t)run->all[WB_SAGA_COMPENSATING], "parked",
		(json_int_t)run->all[WB_SAGA_PARKED], "stuck",
		(json_int_t)run->stuck, "oldest_age_seconds",
		(double)age_us(run, run->oldest_us) / 1e6, "at_least",
		run->at_least, "kinds", kinds));
}

/* ---- for people ---------------------------------------------------------- */

static bool print_kinds(const stat_run *run)
{
	static const cli_column columns[] = {
		{.name = "kind", .trunc = true},
		{.name = "by"},
		{.name = "running", .number = true},
		{.name = "compensating", .number = true},
		{.name = "parked", .number = true},
		{.name = "stuck", .number = true},
		{.name = "oldest"}};
	cli_table *table =
		cli_table_new("kinds", columns, WBI_COUNT(columns), false);
	bool ok = table != NULL;

	for (size_t i = 0; ok && i < run->count; i++) {
		const stat_kind *kind = &run->kinds[i];
		char running[32], back[32], parked[32], stuck[32], age[64];
		const char *cells[] = {kind->name, cli_saga_way(kind->by),
				       running,	   back,
				       parked,	   stuck,
				       age};

		snprintf(running, sizeof(running), "%" PRIu64,
			 kind->counts[WB_SAGA_RUNNING]);
		snprintf(back, sizeof(back), "%" PRIu64,
			 kind->counts[WB_SAGA_COMPENSATING]);
		snprintf(parked, sizeof(parked), "%" PRIu64,
			 kind->counts[WB_SAGA_PARKED]);
		snprintf(stuck, sizeof(stuck), "%" PRIu64, kind->stuck);
		cli_age_text(age_us(run, kind->oldest_us), age, sizeof(age));
		ok = cli_table_row(table, cells);
	}
	if (ok)
		return cli_table_print(table);
	cli_table_free(table);
	return false;
}

static bool print_people(const stat_run *run)
{
	if (run->count == 0)
		return printf("no saga is open\n") > 0;
	if (run->at_least)
		printf("at least so many, and more that run:\n");
	return print_kinds(run);
}

/* ---- the command --------------------------------------------------------- */

static int saga_stat(cli_context *ctx)
{
	const stat_options *o = ctx->options;
	wb_error err = WB_ERROR_INIT;
	stat_run run = {.count = 0};
	wb_store *store = NULL;
	bool ok = true;
	int code = cli_open_store(ctx, &store);

	if (code == CLI_OK && stat_read(store, &run, &err) != WB_OK)
		code = cli_fail_error(ctx, &err);
	if (code == CLI_OK && o->prometheus)
		print_metrics(wb_store_service(store), &run);
	else if (code == CLI_OK)
		ok = ctx->json ? print_json(&run) : print_people(&run);
	if (code == CLI_OK)
		code = cli_answered(ctx, ok);
	wb_store_close(store);
	free(run.kinds);
	return code;
}

const cli_command cli_command_saga_stat = {
	.name = "saga stat",
	.args = "",
	.summary = "Count the sagas that are open, by kind and state, and "
		   "those that are stuck",
	.help = "Stuck is what is parked, or past the time in which what it "
		"waits for should have come:\nthe figure to watch. Up to "
		"100,000 are counted, parked ones first; then it says \"at "
		"least\".\n\n"
		"  waybill saga stat --store shop\n"
		"  waybill saga stat --store shop --prometheus "
		"> /var/lib/node_exporter/sagas.prom\n",
	.groups = WBI_GROUP_STORE | WBI_GROUP_LOG,
	.flags = stat_flags,
	.flag_count = WBI_COUNT(stat_flags),
	.options_size = sizeof(stat_options),
	.needs_store = true,
	.run = saga_stat,
};
