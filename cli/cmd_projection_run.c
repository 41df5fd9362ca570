/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * waybill projection run: keep read models up to date, without a broker: one
 * loop over the projectors of some modules and signals. Killed at any point,
 * the next one goes on from the last commit.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "cli/http.h"
#include "cli/notify.h"
#include "cli/projection.h"
#include "cli/signals.h"
#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/base/standstill.h"

typedef struct run_options {
	char *dir, *stream, *address, *token_file;
	uint64_t http, give_up;
	bool until_idle;
} run_options;

static const cli_flag run_flags[] = {
	{{.name = "dir",
	  .kind = WBI_CONFIG_TEXT,
	  .offset = offsetof(run_options, dir),
	  .arg = "DIR",
	  .help = "Keep the models in DIR/projections, not in the store's "
		  "directory."},
	 0},
	{{.name = "stream",
	  .kind = WBI_CONFIG_TEXT,
	  .offset = offsetof(run_options, stream),
	  .arg = "QUEUE",
	  .help = "The stream queue of the projections that read one, at "
		  "--amqp."},
	 0},
	{{.name = "until-idle",
	  .kind = WBI_CONFIG_BOOL,
	  .offset = offsetof(run_options, until_idle),
	  .help = "End when every model is at the head of its journal; the "
		  "exit status is 3 if one is stuck."},
	 0},
	{{.name = "give-up",
	  .kind = WBI_CONFIG_NUMBER,
	  .offset = offsetof(run_options, give_up),
	  .min = 1,
	  .max = 86400,
	  .init = "60",
	  .arg = "SECONDS",
	  .help = "With --until-idle: end also when nothing was applied for "
		  "so long; the exit status is 3 then."},
	 0},
	{{.name = "http",
	  .kind = WBI_CONFIG_NUMBER,
	  .offset = offsetof(run_options, http),
	  .max = 65535,
	  .init = "0",
	  .arg = "PORT",
	  .help = "Serve the models over HTTP on this port; 0 is not at "
		  "all."},
	 0},
	{{.name = "http-address",
	  .kind = WBI_CONFIG_TEXT,
	  .offset = offsetof(run_options, address),
	  .arg = "ADDRESS",
	  .help = "On this IPv4 address; 127.0.0.1 if not said. Another than "
		  "the loopback needs a token."},
	 0},
	{{.name = "http-token-file",
	  .kind = WBI_CONFIG_TEXT,
	  .offset = offsetof(run_options, token_file),
	  .arg = "FILE",
	  .help = "Answer only who has the token in this file's first line "
		  "(Authorization: Bearer)."},
	 0},
};

typedef struct run_state {
	cli_context *ctx;
	const run_options *o;
	cli_modules *modules;
	wb_store *store;
	cli_projectors projectors;
	cli_http *http;
	wbi_standstill still;
	int signal_fd;
} run_state;

enum { RUN_TICK_MS = 1000 };

/* With --until-idle; false: not yet. */
static bool run_is_enough(run_state *s, int *ret_code)
{
	if (!s->o->until_idle)
		return false;
	if (cli_projectors_quiet(&s->projectors)) {
		*ret_code = cli_projectors_stuck(&s->projectors) > 0
				    ? CLI_NOT_ALL
				    : CLI_OK;
		return true;
	}
	if (!wbi_stands_still(&s->still, cli_projectors_done(&s->projectors),
			      cli_mono_us(),
			      (int64_t)s->o->give_up * 1000000))
		return false;
	*ret_code = cli_fail(s->ctx, CLI_NOT_ALL,
			     "stopped before the head: nothing was applied for "
			     "%" PRIu64 " s: waybill projection status",
			     s->o->give_up);
	return true;
}

static int run_loop(run_state *s)
{
	struct pollfd fds[CLI_PROJECTIONS_MAX + 1];
	wb_error err = WB_ERROR_INIT;
	size_t count = s->projectors.count;
	int code = CLI_OK;

	fds[count] = (struct pollfd){.fd = s->signal_fd, .events = POLLIN};
	for (size_t i = 0; i < count; i++)
		fds[i] = (struct pollfd){.fd = s->projectors.fds[i],
					 .events = POLLIN};
	for (;;) {
		if (cli_signals_next(s->signal_fd) != 0)
			return CLI_OK;
		if (cli_projectors_dispatch(&s->projectors, &err) != WB_OK)
			return cli_fail_error(s->ctx, &err);
		if (run_is_enough(s, &code))
			return code;
		if (poll(fds, count + 1, RUN_TICK_MS) < 0 && errno != EINTR)
			return cli_fail(s->ctx, CLI_FAILED, "poll: %s",
					strerror(errno));
	}
}

static int run_open_projectors(run_state *s)
{
	const wbi_config_items *files = &s->ctx->config.modules;
	cli_projectors_options o = {.dir = s->o->dir,
				    .stream = s->o->stream,
				    .sole_user = s->o->http == 0};
	wb_error err = WB_ERROR_INIT;
	int code = CLI_OK;

	if (cli_modules_load(files->items, files->count, &s->modules, &err) !=
	    WB_OK)
		return cli_fail(s->ctx, CLI_USAGE, "%s", err.text);
	if (s->ctx->config.store)
		code = cli_open_store(s->ctx, &s->store);
	o.store = s->store;
	if (code == CLI_OK)
		code = cli_projectors_open(&s->projectors, s->ctx, s->modules,
					   &o);
	if (code == CLI_OK && s->projectors.count == 0)
		code = cli_fail(s->ctx, CLI_USAGE,
				"the modules have no projections");
	return code;
}

static int run_open_http(run_state *s)
{
	cli_http_options o = {.dir = cli_models_dir(s->ctx, s->o->dir),
			      .address = s->o->address,
			      .port = (uint16_t)s->o->http,
			      .token_file = s->o->token_file,
			      .projectors = &s->projectors,
			      .log = &s->ctx->log};
	wb_error err = WB_ERROR_INIT;

	if (s->o->http == 0)
		return CLI_OK;
	if (!o.dir)
		return CLI_USAGE;
	if (cli_http_open(&o, &s->http, &err) == WB_OK)
		return CLI_OK;
	return err.code == WB_EINVAL
		       ? cli_fail(s->ctx, CLI_USAGE, "%s", err.text)
		       : cli_fail_error(s->ctx, &err);
}

/* Without modules there is still something to serve. */
static int run_open(run_state *s)
{
	bool modules = s->ctx->config.modules.count > 0;
	int code;

	if (!modules && s->o->http == 0)
		return cli_usage(s->ctx, "which projections? give --module "
					 "FILE or set WAYBILL_MODULES; or "
					 "--http PORT, to serve what is there");
	if (modules && !s->ctx->config.store && !s->o->stream)
		return cli_usage(s->ctx, "which store? give --store DIR or set "
					 "WAYBILL_STORE");
	code = cli_signals_open(s->ctx, 0, &s->signal_fd);
	if (code == CLI_OK && modules)
		code = run_open_projectors(s);
	if (code == CLI_OK)
		code = run_open_http(s);
	return code;
}

static int run_run(cli_context *ctx)
{
	run_state s = {.ctx = ctx, .o = ctx->options, .signal_fd = -1};
	int code = run_open(&s);

	if (code == CLI_OK) {
		wbi_log(&ctx->log, WB_LOG_INFO,
			"waybill %s: %zu projections", wb_version(),
			s.projectors.count);
		cli_notify_ready();
		code = run_loop(&s);
	}
	cli_http_close(s.http);
	cli_projectors_close(&s.projectors);
	wb_store_close(s.store);
	cli_modules_free(s.modules);
	if (s.signal_fd >= 0)
		close(s.signal_fd);
	return code;
}

const cli_command cli_command_projection_run = {
	.name = "projection run",
	.args = "",
	.summary = "Keep the read models of modules up to date",
	.help = "Runs until SIGTERM or SIGINT. waybill-worker does the same "
		"for its modules, beside\ntheir handlers; this needs no "
		"broker, and suits a read side of its own. A projection\nthat "
		"another process runs already waits for that to end.\n\n"
		"A projection of a stream queue reads it from the broker, "
		"keeps its place in the model,\nand needs no store: "
		"--stream QUEUE --amqp URI --dir DIR.\n\n"
		"With --http they are answered as GET /projections/NAME/KEY "
		"and so on: see waybill(1).\nThat needs no module for models "
		"that others keep up to date.\n\n"
		"  waybill projection run --store shop --module ./slots.so\n"
		"  waybill projection run --store shop --module ./slots.so "
		"--http 8080\n",
	.groups = WBI_GROUP_STORE | WBI_GROUP_LOG | WBI_GROUP_MODULE |
		  WBI_GROUP_BROKER | WBI_GROUP_LIMITS,
	.flags = run_flags,
	.flag_count = WBI_COUNT(run_flags),
	.options_size = sizeof(run_options),
	.run = run_run,
};
