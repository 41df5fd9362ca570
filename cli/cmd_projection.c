/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * waybill projection ls and status: how far each model is, and what is wrong
 * with it. Only reads.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "cli/figures.h"
#include "cli/metrics.h"
#include "cli/print.h"
#include "cli/projection.h"
#include "cli/table.h"
#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/text.h"

typedef struct status_options {
	char *dir;
	bool prometheus;
	uint64_t keys;
} status_options;

#define DIR_FLAG(type)                                                         \
	{                                                                      \
		{.name = "dir",                                                \
		 .kind = WBI_CONFIG_TEXT,                                      \
		 .offset = offsetof(type, dir),                                \
		 .arg = "DIR",                                                 \
		 .help = "The models are in DIR/projections, not in the "      \
			 "store's."},                                          \
			0                                                      \
	}

static const cli_flag status_flags[] = {
	DIR_FLAG(status_options),
	CLI_FLAG_PROMETHEUS(status_options),
	{{.name = "keys",
	  .kind = WBI_CONFIG_NUMBER,
	  .offset = offsetof(status_options, keys),
	  .max = 10000,
	  .init = "20",
	  .arg = "N",
	  .help = "Quarantined keys to list at most."},
	 0},
};

const char *cli_models_dir(cli_context *ctx, const char *dir)
{
	if (dir)
		return dir;
	if (!ctx->config.store)
		cli_usage(ctx,
			  "which models? give --store DIR or --dir DIR, or "
			  "set WAYBILL_STORE");
	return ctx->config.store;
}

int cli_open_model(cli_context *ctx, const char *dir, wbi_home **ret)
{
	wb_error err = WB_ERROR_INIT;

	dir = cli_models_dir(ctx, dir);
	if (!dir)
		return CLI_USAGE;
	if (wbi_home_open(dir, ctx->args[0], false, ret, &err) != WB_OK)
		return cli_fail_error(ctx, &err);
	return CLI_OK;
}

bool cli_bytes_of(const char *text, bool hex, uint8_t *buf, wb_str *ret)
{
	size_t len = 0;

	if (!hex) {
		*ret = wb_str_from(text);
		return true;
	}
	for (; text && *text; text += 2) {
		int high = cli_hex_digit(text[0]);
		int low = high < 0 ? -1 : cli_hex_digit(text[1]);

		if (len == 512 || low < 0)
			return false;
		buf[len++] = (uint8_t)(high << 4 | low);
	}
	*ret = wb_str_n(buf, len);
	return true;
}

char *cli_show_bytes(wb_str bytes, bool hex)
{
	size_t size = bytes.len * 4 + 1;
	char *text = malloc(size);

	if (!text)
		return NULL;
	if (!hex)
		return wbi_text_show(bytes, text, size);
	text[0] = '\0';
	for (size_t i = 0; i < bytes.len; i++)
		snprintf(text + 2 * i, 3, "%02x", (uint8_t)bytes.ptr[i]);
	return text;
}

/* ---- as text and JSON ---------------------------------------------------- */

static json_t *figures_generation_json(const wbi_generation_info *g)
{
	return json_pack("{s:i, s:i, s:I, s:I, s:I}", "generation", g->number,
			 "version", g->shape.version, "position",
			 (json_int_t)g->at.position, "rows",
			 (json_int_t)g->rows, "file_bytes",
			 (json_int_t)g->file_bytes);
}

static json_t *figures_json(const cli_figures *f)
{
	const wbi_generation_info *l = &f->live;
	json_t *json = figures_generation_json(l);

	json_object_update_new(
		json,
		json_pack("{s:s, s:s, s:I, s:I, s:f, s:f, s:I, s:I, s:I, s:I, "
			  "s:i, s:i, s:s}",
			  "name", f->name, "state", cli_figures_state(f),
			  "head", (json_int_t)f->head, "lag_events",
			  (json_int_t)(f->head - l->at.position), "lag_seconds",
			  (double)f->lag_us / 1e6, "rate", cli_figures_rate(f),
			  "applied", (json_int_t)l->row.applied, "skipped",
			  (json_int_t)l->row.skipped, "quarantined_keys",
			  (json_int_t)l->aside_keys, "quarantined_events",
			  (json_int_t)l->aside_events, "pid", (int)f->model.pid,
			  "former_generation", f->model.pointer.former,
			  "origin", l->at.origin));
	if (l->row.missing > 0)
		json_object_set_new(json, "missing",
				    json_pack("{s:I, s:s, s:I}", "events",
					      (json_int_t)l->row.missing,
					      "origin", f->missing_origin,
					      "first",
					      (json_int_t)f->missing_first));
	if (l->row.error[0])
		json_object_set_new(json, "error", cli_json_text(l->row.error));
	if (f->model.building.generation > 0) {
		json_t *b = figures_generation_json(&f->building);

		json_object_set_new(b, "ready",
				    json_boolean(f->model.building.ready));
		json_object_set_new(
			b, "target",
			json_integer((json_int_t)f->building.row.target));
		json_object_set_new(json, "building", b);
	}
	return json;
}

static void print_building(const cli_figures *f)
{
	const wbi_generation_info *b = &f->building;
	double rate = (double)b->row.rate_milli / 1000;
	uint64_t left = f->head > b->at.position ? f->head - b->at.position : 0;
	char eta[64] = "unknown";

	if (f->model.building.generation == 0)
		return;
	if (f->model.building.ready) {
		cli_print_line(
			"building",
			"generation %" PRIu32 ", ready at position %" PRIu64
			": waybill projection promote %s",
			f->model.building.generation, b->at.position, f->name);
		return;
	}
	if (rate > 0)
		cli_age_text((int64_t)((double)left / rate * 1e6), eta,
			     sizeof(eta));
	cli_print_line(
		"building",
		"generation %" PRIu32 ", position %" PRIu64 " of %" PRIu64
		" (%.0f %%), %.0f events/s, ready in %s%s",
		f->model.building.generation, b->at.position, f->head,
		f->head ? 100.0 * (double)b->at.position / (double)f->head
			: 100.0,
		rate, eta, f->model.building.promote ? ", then live" : "");
	if (b->row.error[0])
		cli_print_line("", "%s", b->row.error);
}

static void print_figures(const cli_figures *f)
{
	const wbi_generation_info *l = &f->live;
	char age[64], bytes[32];

	cli_print_line("projection", "%s, version %" PRIu32 ": %s", f->name,
		       l->shape.version, cli_figures_state(f));
	if (f->model.running)
		cli_print_line("", "pid %" PRIu64, f->model.pid);
	if (l->row.error[0])
		cli_print_line("because", "%s", l->row.error);
	cli_print_line("position", "%" PRIu64 " of %" PRIu64, l->at.position,
		       f->head);
	if (f->head > l->at.position)
		cli_print_line("lag", "%" PRIu64 " events, %s; %.0f events/s",
			       f->head - l->at.position,
			       cli_age_text(f->lag_us, age, sizeof(age)),
			       cli_figures_rate(f));
	else
		cli_print_line("lag", "none");
	cli_print_line("generation", "%" PRIu32 ", %" PRIu64 " rows, %s",
		       l->number, l->rows,
		       cli_bytes_text(l->file_bytes, bytes, sizeof(bytes)));
	if (f->model.pointer.former > 0)
		cli_print_line("",
			       "%" PRIu32 " was live before: waybill "
			       "projection rollback %s",
			       f->model.pointer.former, f->name);
	print_building(f);
	if (l->row.missing > 0)
		cli_print_line(
			"missing",
			"%" PRIu64 " events, the first position %" PRIu64
			" of journal %s: on their way, not in the stream, "
			"or lost",
			l->row.missing, f->missing_first, f->missing_origin);
	if (l->skipped > 0)
		cli_print_line("skipped", "%" PRIu64 " events", l->skipped);
	if (l->aside_events > 0)
		cli_print_line("quarantine",
			       "%" PRIu64 " keys, %" PRIu64 " events",
			       l->aside_keys, l->aside_events);
	if (f->model.asked)
		cli_print_line("asked", "a request waits for a projector");
}

/* ---- the commands -------------------------------------------------------- */

enum { MODELS_MAX = 256 };

typedef struct models {
	cli_context *ctx;
	const char *dir;
	wb_store *store; /* or NULL */
	cli_figures *all;
	char names[MODELS_MAX][WBI_MODEL_NAME_MAX + 1];
	size_t count;
} models;

static wb_code models_see(void *ctx, const char *name, wb_error *err)
{
	models *m = ctx;
	wb_error cause = WB_ERROR_INIT;
	cli_figures *f = &m->all[m->count];
	wbi_home *home;
	wb_code code;

	(void)err;
	if (m->count == MODELS_MAX)
		return WB_OK;
	code = wbi_home_open(m->dir, name, false, &home, &cause);
	if (code == WB_OK) {
		code = cli_figures_read(home, m->store, f, &cause);
		wbi_home_unref(home);
	}
	snprintf(m->names[m->count], sizeof(m->names[0]), "%s", name);
	f->name = m->names[m->count];
	/* One that cannot be read is listed with the reason. */
	if (code != WB_OK)
		snprintf(f->live.row.error, sizeof(f->live.row.error), "%s",
			 cause.text);
	m->count++;
	return WB_OK;
}

static int models_read(cli_context *ctx, const char *dir, models *m)
{
	wb_error err = WB_ERROR_INIT;
	int code = CLI_OK;

	m->ctx = ctx;
	m->dir = cli_models_dir(ctx, dir);
	if (!m->dir)
		return CLI_USAGE;
	m->all = calloc(MODELS_MAX, sizeof(*m->all));
	if (!m->all)
		return cli_fail(ctx, CLI_FAILED, "out of memory");
	if (ctx->config.store)
		code = cli_open_store(ctx, &m->store);
	if (code == CLI_OK && ctx->arg_count > 0)
		(void)models_see(m, ctx->args[0], NULL);
	else if (code == CLI_OK &&
		 wbi_models_list(m->dir, models_see, m, &err) != WB_OK)
		code = cli_fail_error(ctx, &err);
	return code;
}

static void models_fini(models *m)
{
	wb_store_close(m->store);
	free(m->all);
}

static int ls_print(cli_context *ctx, const models *m)
{
	static const cli_column columns[] = {
		{.name = "name"},
		{.name = "state"},
		{.name = "generation", .number = true},
		{.name = "position", .number = true},
		{.name = "lag_events", .number = true},
		{.name = "lag"},
		{.name = "rows", .number = true},
		{.name = "quarantined", .number = true},
		{.name = "building", .number = true},
		{.name = "note", .trunc = true}};
	cli_table *table = cli_table_new("projections", columns,
					 WBI_COUNT(columns), ctx->json);
	bool ok = table != NULL;

	for (size_t i = 0; ok && i < m->count; i++) {
		const cli_figures *f = &m->all[i];
		char generation[16], position[32], lag[32], age[64], rows[32];
		char aside[32], building[16], note[1024];
		const char *cells[] = {f->name,
				       cli_figures_state(f),
				       generation,
				       position,
				       lag,
				       age,
				       rows,
				       aside,
				       f->model.building.generation ? building
								    : NULL,
				       f->live.row.error[0] ? note : NULL};

		snprintf(generation, sizeof(generation), "%u", f->live.number);
		snprintf(position, sizeof(position), "%" PRIu64,
			 f->live.at.position);
		snprintf(lag, sizeof(lag), "%" PRIu64,
			 f->head - f->live.at.position);
		cli_age_text(f->lag_us, age, sizeof(age));
		snprintf(rows, sizeof(rows), "%" PRIu64, f->live.rows);
		snprintf(aside, sizeof(aside), "%" PRIu64, f->live.aside_keys);
		snprintf(building, sizeof(building), "%u",
			 f->model.building.generation);
		wbi_text_show(wb_str_from(f->live.row.error), note,
			      sizeof(note));
		ok = cli_table_row(table, cells);
	}
	return cli_answered(ctx, ok && cli_table_print(table));
}

static int ls_run(cli_context *ctx)
{
	const status_options *o = ctx->options;
	models *m = calloc(1, sizeof(*m));
	int code = CLI_FAILED;

	if (m)
		code = models_read(ctx, o->dir, m);
	if (m && code == CLI_OK)
		code = ls_print(ctx, m);
	if (m)
		models_fini(m);
	free(m);
	return code;
}

static wb_code key_see(void *ctx, wb_str unit, const wbi_aside_key *key,
		       wb_error *err)
{
	json_t *list = ctx;
	char shown[1024], text[1024];

	wbi_text_show(unit, shown, sizeof(shown));
	wbi_text_show(key->text, text, sizeof(text));
	if (!list) {
		printf("  %s: %" PRIu64 " events from position %" PRIu64
		       ": %s\n",
		       shown, key->count, key->first, text);
		return WB_OK;
	}
	if (json_array_append_new(list,
				  json_pack("{s:o, s:I, s:I, s:o}", "key",
					    cli_json_text(shown), "events",
					    (json_int_t)key->count, "first",
					    (json_int_t)key->first, "error",
					    cli_json_text(text))) != 0)
		return WBI_FAIL(err, WB_ENOMEM, "out of memory");
	return WB_OK;
}

static int status_keys(cli_context *ctx, const models *m, size_t i,
		       json_t *list)
{
	const status_options *o = ctx->options;
	wb_error err = WB_ERROR_INIT;
	wbi_home *home;
	wb_code rc;

	if (m->all[i].live.aside_keys == 0)
		return CLI_OK;
	rc = wbi_home_open(m->dir, m->names[i], false, &home, &err);
	if (rc == WB_OK) {
		rc = wbi_aside_list(home, m->all[i].live.number, o->keys,
				    key_see, list, &err);
		wbi_home_unref(home);
	}
	return rc == WB_OK ? CLI_OK : cli_fail_error(ctx, &err);
}

static int status_print(cli_context *ctx, const models *m)
{
	const status_options *o = ctx->options;
	json_t *list = ctx->json ? json_array() : NULL;
	int code = CLI_OK;

	if (o->prometheus) {
		json_decref(list);
		cli_figures_metrics(stdout, m->all, m->count);
		return CLI_OK;
	}
	for (size_t i = 0; code == CLI_OK && i < m->count; i++) {
		json_t *keys = ctx->json ? json_array() : NULL;

		if (!ctx->json && i > 0)
			putchar('\n');
		if (!ctx->json)
			print_figures(&m->all[i]);
		code = status_keys(ctx, m, i, keys);
		if (ctx->json) {
			json_t *json = figures_json(&m->all[i]);

			json_object_set_new(json, "keys", keys);
			json_array_append_new(list, json);
		}
	}
	if (!ctx->json)
		return code;
	if (code != CLI_OK ||
	    !cli_json_print(json_pack("{s:o}", "projections", list)))
		return CLI_FAILED;
	return CLI_OK;
}

/* Something for an operator to do? */
static bool status_all_well(const models *m)
{
	for (size_t i = 0; i < m->count; i++)
		if (m->all[i].live.row.state == WB_PROJECTOR_STUCK ||
		    m->all[i].live.aside_events > 0)
			return false;
	return true;
}

static int status_run(cli_context *ctx)
{
	const status_options *o = ctx->options;
	models *m = calloc(1, sizeof(*m));
	int code = CLI_FAILED;

	if (m)
		code = models_read(ctx, o->dir, m);
	if (m && code == CLI_OK && ctx->arg_count > 0 &&
	    m->all[0].live.number == 0)
		code = cli_fail(ctx, CLI_FAILED, "%s",
				m->all[0].live.row.error[0]
					? m->all[0].live.row.error
					: "it has no generation yet");
	if (m && code == CLI_OK)
		code = status_print(ctx, m);
	if (m && code == CLI_OK && !o->prometheus && !status_all_well(m))
		code = CLI_NOT_ALL;
	if (m)
		models_fini(m);
	free(m);
	return code;
}

const cli_command cli_command_projection_ls = {
	.name = "projection ls",
	.args = "",
	.summary = "List read models: how far each is",
	.help = "Each model in the store's directory, or in --dir: its state, "
		"live generation,\nposition, how far behind the journal that "
		"is, rows and quarantined keys.\n\n"
		"  waybill projection ls --store shop\n",
	.groups = WBI_GROUP_STORE | WBI_GROUP_LOG,
	.flags = status_flags,
	.flag_count = 1,
	.options_size = sizeof(status_options),
	.run = ls_run,
};

const cli_command cli_command_projection_status = {
	.name = "projection status",
	.args = "[NAME]",
	.summary = "Say how a read model is: lag, rate, rebuild, quarantine",
	.help = "Position, head, lag in events and time, rate, generations, "
		"what is being built and\nwhen it will be ready, and the keys "
		"that are quarantined, with the reason. The exit\nstatus is 3 "
		"if something waits for an operator: a projection that is "
		"stuck, or\nevents in quarantine.\n\n"
		"  waybill projection status slots --store shop\n"
		"  waybill projection status --store shop --prometheus\n",
	.groups = WBI_GROUP_STORE | WBI_GROUP_LOG,
	.flags = status_flags,
	.flag_count = WBI_COUNT(status_flags),
	.options_size = sizeof(status_options),
	.args_max = 1,
	.run = status_run,
};
