/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * waybill-worker, the daemon: one store, one queue, handlers from modules, and
 * the relay of what they emit; one loop on the worker's descriptor and on
 * signals. All that matters is done by the worker (inbox/worker.c) and kept by
 * the store; killed at any point, the next one goes on from there.
 *
 * Unless told otherwise it is two processes: see cli/supervisor.c. Signals are
 * blocked and read from a descriptor: the first one drains, the second one ends
 * it at once.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <waybill/amqp.h>
#include <waybill/worker.h>

#include "cli/command.h"
#include "cli/crash.h"
#include "cli/declarer.h"
#include "cli/module.h"
#include "cli/notify.h"
#include "cli/projection.h"
#include "cli/sagas.h"
#include "cli/signals.h"
#include "cli/supervisor.h"
#include "inbox/worker_internal.h"
#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/log.h"

enum {
	TICK_MS = 1000,    /* look at the state at least so often */
	DECLARE_MS = 5000, /* handlers wait so long for a broker that hangs */
	TABLES_MAX = 256,  /* of all handlers */
	URI_SHOWN = 512
};

typedef struct worker_flags {
	bool check, until_idle;
	uint64_t give_up;
} worker_flags;

typedef struct daemon_state {
	cli_context *ctx;
	const worker_flags *flags;
	int channel; /* to the supervisor */
	wb_store *store;
	wb_routes *routes;
	wb_broker *consumer, *publisher;
	cli_declarer declarer;
	cli_modules *modules;
	cli_sagas sagas; /* all handlers are in it, the plain ones too */
	const char **bind; /* NULL behind the last; NULL: the handlers' types */
	cli_projectors projectors;
	wb_worker *worker;
	int signal_fd;
	int stops; /* signals that asked for the end */
	wb_worker_state told;
	bool told_active;
	int64_t alive_at_us;
	uint64_t alive_us; /* how often to say so; 0: nobody asks */
	uint64_t received; /* as last seen, and since when */
	int64_t received_us;
	bool was_idle;
	int64_t stuck_us; /* no room since; 0 */
	wbi_standstill still;
	wb_error stuck;   /* with --until-idle: why it will not be */
} daemon_state;

static const cli_flag worker_flag_table[] = {
	{{.name = "check",
	  .kind = WBI_CONFIG_BOOL,
	  .offset = offsetof(worker_flags, check),
	  .help = "Check the configuration, load the modules, look at what "
		  "they declare, and end; opens no store and connects to "
		  "nothing."},
	 'n'},
	{{.name = "until-idle",
	  .kind = WBI_CONFIG_BOOL,
	  .offset = offsetof(worker_flags, until_idle),
	  .help = "End when the queue is empty, every event is handled and "
		  "what was emitted is relayed; the exit status tells."},
	 0},
	{{.name = "give-up",
	  .kind = WBI_CONFIG_NUMBER,
	  .offset = offsetof(worker_flags, give_up),
	  .min = 1,
	  .max = 86400,
	  .init = "60",
	  .arg = "SECONDS",
	  .help = "With --until-idle: end also when nothing has got further "
		  "for so long."},
	 0},
};

/* ---- signals, the supervisor and the service manager ------------------- */

static void signals_take(daemon_state *d)
{
	int signo;

	while ((signo = cli_signals_next(d->signal_fd))) {
		d->stops++;
		if (d->stops == 1)
			cli_tell(d->channel, CLI_WORD_STOPPING, NULL);
		if (d->channel == CLI_NO_SUPERVISOR)
			cli_log_stop(&d->ctx->log, signo, d->stops);
		if (d->worker)
			wb_worker_stop(d->worker);
	}
}

static void alive(daemon_state *d)
{
	int64_t now = cli_mono_us();

	if (d->alive_us == 0 || now < d->alive_at_us)
		return;
	cli_tell(d->channel, CLI_WORD_ALIVE, NULL);
	d->alive_at_us = now + (int64_t)d->alive_us;
}

static void tell_state(daemon_state *d, const wb_worker_stat *stat)
{
	char status[160];

	if (stat->state != WB_WORKER_WAITING && !d->told_active) {
		d->told_active = true;
		cli_tell(d->channel, CLI_WORD_ACTIVE, NULL);
		cli_crash_watch(wbi_worker_calls(d->worker));
	}
	if (stat->state == d->told)
		return;
	d->told = stat->state;
	snprintf(status, sizeof(status), "%s, %" PRIu64 " handled",
		 wbi_worker_state_name(stat->state), stat->handled);
	cli_tell(d->channel, CLI_WORD_STATUS, status);
}

/* ---- topology ---------------------------------------------------------- */

/* Before each connect of the relay. Handlers wait for this, so a broker that
 * is known to be away, since the consumer cannot reach it either, is not asked
 * again and again. */
static wb_code prepare(void *ctx, wb_error *err)
{
	daemon_state *d = ctx;

	alive(d);
	if (d->declarer.declared && d->told == WB_WORKER_DOWN)
		return WBI_FAIL(err, WB_EUNREACHABLE,
				"the consumer has no connection either");
	return cli_declarer_apply(&d->declarer, DECLARE_MS, err);
}

/* ---- the loop ---------------------------------------------------------- */

/* Idle, and nothing came for a while: what the broker still has is on its way
 * otherwise. */
static bool is_quiet(daemon_state *d, const wb_worker_stat *stat)
{
	if (!stat->idle || stat->received != d->received) {
		d->received = stat->received;
		d->received_us = cli_mono_us();
	}
	return stat->idle && cli_mono_us() - d->received_us >= WORKER_QUIET_US;
}

/* With --until-idle: it is idle, or will not be: there is no room for what is
 * left, or nothing gets further. */
static bool is_enough(daemon_state *d, const wb_worker_stat *stat)
{
	if (!d->flags->until_idle || d->stops > 0 || d->was_idle ||
	    d->stuck.code != WB_OK)
		return false;
	if (wbi_worker_is_stuck(stat, cli_mono_us(), &d->stuck_us))
		d->stuck = stat->error;
	d->was_idle = is_quiet(d, stat) && cli_projectors_quiet(&d->projectors);
	if (d->stuck.code == WB_OK && !d->was_idle)
		(void)wbi_worker_gets_on(
			d->worker, &d->still,
			cli_projectors_done(&d->projectors),
			(int64_t)d->flags->give_up * 1000000, &d->stuck);
	return d->was_idle || d->stuck.code != WB_OK;
}

static wb_code loop(daemon_state *d, wb_error *err)
{
	struct pollfd fds[2 + CLI_PROJECTIONS_MAX] = {
		{.events = POLLIN}, {.fd = d->signal_fd, .events = POLLIN}};
	int wait = d->flags->until_idle ? TICK_MS / 10 : TICK_MS;
	wb_worker_stat stat;
	wb_code rc;

	if (d->alive_us > 0 && d->alive_us / 1000 < (uint64_t)wait)
		wait = (int)(d->alive_us / 1000) + 1;
	d->received_us = cli_mono_us();
	for (size_t i = 0; i < d->projectors.count; i++)
		fds[2 + i] = (struct pollfd){.fd = d->projectors.fds[i],
					     .events = POLLIN};
	rc = wb_worker_fd(d->worker, &fds[0].fd, err);
	while (rc == WB_OK) {
		signals_take(d);
		stat = wb_worker_get_stat(d->worker);
		tell_state(d, &stat);
		rc = wb_worker_dispatch(d->worker, err);
		if (rc == WB_OK)
			rc = cli_projectors_dispatch(&d->projectors, err);
		if (rc != WB_OK)
			break;
		alive(d);
		stat = wb_worker_get_stat(d->worker);
		tell_state(d, &stat);
		if (stat.state == WB_WORKER_STOPPED)
			break;
		if (is_enough(d, &stat)) {
			wb_worker_stop(d->worker);
			continue;
		}
		if (poll(fds, 2 + d->projectors.count, wait) < 0 && errno != EINTR)
			return wbi_fail_errno(err, errno, __func__, "poll");
	}
	return rc;
}

/* ---- options ----------------------------------------------------------- */

static wb_relay_options relay_options_of(daemon_state *d)
{
	wb_relay_options options = cli_relay_options(&d->ctx->config);

	options.routes = d->routes;
	if (d->declarer.wanted)
		options.prepare = prepare;
	options.prepare_ctx = d;
	return options;
}

static wb_worker_options worker_options_of(daemon_state *d)
{
	const wbi_config *config = &d->ctx->config;
	wb_worker_options options = WB_WORKER_OPTIONS_INIT;

	options.queue = config->queue;
	options.exchange = config->exchange;
	options.bind = d->bind;
	options.commands = config->commands;
	options.declare = (wb_declare_policy)config->declare;
	options.delivery_limit = (uint32_t)config->delivery_limit;
	options.prefetch = (uint32_t)config->prefetch;
	options.id_from_body = config->id_from_body;
	options.limits = cli_limits(config);
	options.dedupe_s = config->dedupe_s;
	options.batch_max = (uint32_t)config->batch_max;
	options.txn_us = (uint32_t)config->txn_us;
	options.txn_alone_us = (uint32_t)config->txn_alone_us;
	options.pause_us = (uint32_t)config->pause_us;
	options.poll_ms = (uint32_t)config->poll_ms;
	options.backoff_min_ms = (uint32_t)config->backoff_min_ms;
	options.backoff_max_ms = (uint32_t)config->backoff_max_ms;
	options.drain_ms = (uint32_t)config->calls_drain_ms;
	/* Threads for nothing would only keep the store from being adopted. */
	if (cli_modules_external(d->modules))
		options.threads = (uint32_t)config->threads;
	options.sole_user = options.threads == 0;
	options.log = &d->ctx->log;
	return options;
}

/* ---- opening and closing ----------------------------------------------- */

static size_t bind_add(const char **bind, size_t count, const char *const *types)
{
	for (; types && *types; types++) {
		if (bind)
			bind[count] = *types;
		count++;
	}
	return count;
}

/* All that handlers, and projections of the inbox, want to see; counted with
 * `bind` NULL. */
static size_t bind_modules(daemon_state *d, const char **bind)
{
	const wb_projection *const *projections;
	size_t count = 0, wanted = 0, more;

	projections = cli_modules_projections(d->modules, &more);
	for (size_t i = 0; i < more; i++) {
		if (projections[i]->source != WB_PROJECTION_INBOX)
			continue;
		count = bind_add(bind, count, projections[i]->types);
		wanted++;
	}
	for (size_t i = 0; wanted > 0 && i < d->sagas.handler_count; i++)
		if (d->sagas.handlers[i]->hears == WB_HEARS_EVENTS)
			count = bind_add(bind, count,
					 d->sagas.handlers[i]->types);
	return count;
}

static int open_bind(daemon_state *d)
{
	const wbi_config_items *bind = &d->ctx->config.bind;
	size_t count = bind->count ? bind->count : bind_modules(d, NULL);

	if (count == 0)
		return CLI_OK;
	d->bind = calloc(count + 1, sizeof(*d->bind));
	if (!d->bind)
		return cli_fail(d->ctx, CLI_FAILED, "out of memory");
	for (size_t i = 0; i < bind->count; i++)
		d->bind[i] = ((char **)bind->items)[i];
	if (bind->count == 0)
		bind_modules(d, d->bind);
	return CLI_OK;
}

static int open_modules(daemon_state *d)
{
	const wbi_config_items *modules = &d->ctx->config.modules;
	const wb_handler *const *handlers;
	wb_error err = WB_ERROR_INIT;
	size_t count;

	if (modules->count == 0)
		return cli_usage(d->ctx, "which handlers? give --module FILE "
					 "or set WAYBILL_MODULES");
	if (cli_modules_load(modules->items, modules->count, &d->modules,
			     &err) != WB_OK)
		return cli_fail(d->ctx, CLI_USAGE, "%s", err.text);
	handlers = cli_modules_handlers(d->modules, &count);
	if (wbi_dispatch_check(handlers, count, &err) != WB_OK)
		return cli_fail(d->ctx, CLI_USAGE, "%s", err.text);
	return cli_sagas_check(d->ctx, d->modules, d->flags->check);
}

/* What can be checked without a store or a broker. */
static int open_config(daemon_state *d)
{
	bool relays = !d->ctx->config.no_relay;
	int code;

	code = open_modules(d);
	if (code == CLI_OK)
		code = cli_sagas_routes(d->ctx, d->modules, &d->routes);
	if (code == CLI_OK)
		code = cli_open_broker(d->ctx, &d->consumer);
	if (code == CLI_OK && relays)
		code = cli_open_broker(d->ctx, &d->publisher);
	if (code == CLI_OK && relays)
		code = cli_declarer_init(&d->declarer, d->ctx, d->routes);
	return code;
}

static int open_sagas(daemon_state *d)
{
	wb_error err = WB_ERROR_INIT;

	if (cli_sagas_open(&d->sagas, d->store, d->modules,
			   d->ctx->config.queue, &err) != WB_OK)
		return cli_fail_error(d->ctx, &err);
	return open_bind(d);
}

static int open_worker(daemon_state *d)
{
	wb_relay_options relay = relay_options_of(d);
	wb_worker_options options = worker_options_of(d);
	wb_error err = WB_ERROR_INIT;

	relay.sole_user = options.sole_user;
	if (d->publisher)
		options.relay = &relay;
	if (wb_worker_open(d->store, d->consumer, d->publisher,
			   d->sagas.handlers, d->sagas.handler_count, &options,
			   &d->worker, &err) != WB_OK)
		return cli_fail_error(d->ctx, &err);
	return CLI_OK;
}

static int open_rest(daemon_state *d)
{
	const wbi_config *config = &d->ctx->config;
	char uri[URI_SHOWN];
	int code;

	code = cli_signals_open(d->ctx, 0, &d->signal_fd);
	d->declarer.stop_fd = d->signal_fd;
	if (code == CLI_OK)
		code = cli_open_store(d->ctx, &d->store);
	if (code == CLI_OK)
		code = open_sagas(d);
	if (code == CLI_OK)
		code = open_worker(d);
	if (code == CLI_OK) {
		const cli_projectors_options o = {.store = d->store};

		code = cli_projectors_open(&d->projectors, d->ctx, d->modules,
					   &o);
	}
	if (code != CLI_OK)
		return code;
	wbi_log(&d->ctx->log, WB_LOG_INFO,
		"waybill-worker %s: store %s, queue %s at %s, %zu handlers, %zu "
		"projections%s",
		wb_version(), config->store,
		config->queue ? config->queue : wb_store_service(d->store),
		wb_amqp_redact(config->amqp, uri, sizeof(uri)),
		d->sagas.handler_count, d->projectors.count,
		d->publisher ? "" : ", no relay");
	cli_tell(d->channel, CLI_WORD_READY, NULL);
	return CLI_OK;
}

static void close_all(daemon_state *d)
{
	cli_crash_watch(NULL);
	cli_projectors_close(&d->projectors);
	wb_worker_close(d->worker);
	cli_sagas_close(&d->sagas);
	cli_declarer_fini(&d->declarer);
	wb_broker_free(d->publisher);
	wb_broker_free(d->consumer);
	wb_store_close(d->store);
	wb_routes_free(d->routes);
	cli_modules_free(d->modules);
	free(d->bind);
	if (d->signal_fd >= 0)
		close(d->signal_fd);
}

/* With --until-idle: is anything left for another time, or set aside? */
static int left_over(daemon_state *d, const wb_worker_stat *stat)
{
	const wbi_store_tables *tables = wbi_store_get_tables(d->store);
	wb_error err = WB_ERROR_INIT;
	uint64_t bytes, dead = 0;
	MDB_txn *txn;
	wb_code rc;

	if (d->stuck.code == WB_ETIMEOUT)
		return cli_fail(d->ctx, CLI_NOT_ALL,
				"stopped before all was handled: %s",
				d->stuck.text);
	if (d->stuck.code != WB_OK)
		return cli_fail(d->ctx, CLI_FAILED,
				"stopped before all was handled, since there "
				"is no room: %s",
				d->stuck.text);
	if (!d->was_idle)
		return cli_fail(d->ctx, CLI_NOT_ALL,
				"stopped before all was handled");
	rc = wbi_txn_begin(wb_store_env(d->store), false, &txn, &err);
	if (rc != WB_OK)
		return cli_fail_error(d->ctx, &err);
	rc = wbi_table_size(txn, tables->dead, &bytes, &dead, &err);
	wbi_txn_abort(txn);
	if (rc != WB_OK)
		return cli_fail_error(d->ctx, &err);
	if (dead == 0 && stat->waiting == 0)
		return CLI_OK;
	return cli_fail(d->ctx, CLI_NOT_ALL,
			"%" PRIu64 " dead letters, %" PRIu64
			" events wait: waybill inbox stat",
			dead, stat->waiting);
}

static void log_end(daemon_state *d, const wb_worker_stat *stat)
{
	wbi_log(&d->ctx->log, WB_LOG_INFO,
		"ended: %" PRIu64 " received, %" PRIu64 " of them known, %"
		PRIu64 " set aside; %" PRIu64 " handled, %" PRIu64
		" to be tried again, %" PRIu64 " dead letters; %" PRIu64
		" emitted",
		stat->received, stat->duplicates, stat->refused, stat->handled,
		stat->retries, stat->dead, stat->emitted);
}

/* ---- the worker process ------------------------------------------------ */

static int run_worker(daemon_state *d)
{
	wb_error err = WB_ERROR_INIT;
	wb_worker_stat stat;
	int code;

	/* The supervisor asks for a word each second, whoever asks it. */
	d->alive_us = d->channel == CLI_NO_SUPERVISOR
			      ? cli_notify_watchdog_us()
			      : (uint64_t)TICK_MS * 1000;
	cli_crash_install();
	code = open_config(d);
	if (code == CLI_OK && d->flags->check) {
		printf("the configuration is sound\n");
		return CLI_OK;
	}
	if (code == CLI_OK)
		code = open_rest(d);
	if (code != CLI_OK)
		return code;
	d->declarer.declared = !d->declarer.wanted;
	if (loop(d, &err) != WB_OK)
		return cli_fail_error(d->ctx, &err);
	stat = wb_worker_get_stat(d->worker);
	log_end(d, &stat);
	return d->flags->until_idle ? left_over(d, &stat) : CLI_OK;
}

static int worker_run(cli_context *ctx)
{
	daemon_state d = {.ctx = ctx,
			  .flags = ctx->options,
			  .channel = CLI_NO_SUPERVISOR,
			  .signal_fd = -1,
			  .told = WB_WORKER_FAILED};
	int code;

	if (!ctx->config.no_supervisor && !d.flags->check &&
	    !cli_supervise(ctx, &d.channel, &code))
		return code;
	code = run_worker(&d);
	close_all(&d);
	return code;
}

static const cli_command worker_command = {
	.name = "",
	.args = "",
	.summary = "Hand a queue's events to handlers, each with one effect",
	.help = "Takes in what is delivered to its queue, each event once, and "
		"calls the handlers of\nthe modules: what a call changes in "
		"the store, what it emits and that it was made\nare one "
		"commit. What fails is tried again, in the order of its key; "
		"what cannot be\nhandled is a dead letter (waybill dead). It "
		"relays the store's outbox too, unless\n--no-relay.\n\n"
		"A process above it ends calls that are past their deadline, "
		"and starts it again after\na crash, unless "
		"--no-supervisor.\n\n"
		"SIGTERM or SIGINT: takes in nothing more, finishes calls that "
		"run, for\ncalls_drain_ms at most, ends. A second one: ends at "
		"once. Nothing that was committed\nis handled again.\n\n"
		"With --until-idle the exit status is 0 if all is handled, 3 "
		"if there are dead letters\nor events that wait, or if it was "
		"stopped before or nothing got further for a minute\n"
		"(--give-up), 1 if there is no room (quota, disk or map) for "
		"what is left.\n\n"
		"  waybill-worker --store /var/lib/shop/store --amqp "
		"amqp://localhost --module ./handlers.so\n"
		"  waybill-worker --config /etc/waybill/shop.yaml --check\n",
	.groups = WBI_GROUPS_WORKER,
	.flags = worker_flag_table,
	.flag_count = WBI_COUNT(worker_flag_table),
	.options_size = sizeof(worker_flags),
	.needs_store = true,
	.run = worker_run,
};

int main(int argc, char **argv)
{
	cli_context ctx = {.program = "waybill-worker",
			   .command = &worker_command,
			   .max_dbs = TABLES_MAX};

	return cli_daemon(&ctx, argc, argv);
}
