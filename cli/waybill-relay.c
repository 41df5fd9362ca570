/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * waybill-relay, the daemon: one store, one broker, one thread, one poll on
 * the relay's descriptor and on signals. All that matters is done by the
 * relay (outbox/relay.c) and kept by it; killed at any point, the next one
 * goes on where its cursor stands.
 *
 * Signals are blocked and read from a descriptor, so nothing is interrupted:
 * the first one drains, the second one ends it at once.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <waybill/amqp.h>
#include <waybill/relay.h>

#include "cli/command.h"
#include "cli/declarer.h"
#include "cli/notify.h"
#include "cli/signals.h"
#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/store/store.h"
#include "outbox/relay_report.h"

enum {
	TICK_MS = 1000,     /* look at the state at least so often */
	DECLARE_MS = 20000, /* one attempt; below the watchdog's time */
	URI_SHOWN = 512
};

typedef struct relay_flags {
	bool check, until_empty;
	uint64_t give_up;
} relay_flags;

typedef struct daemon_state {
	cli_context *ctx;
	const relay_flags *flags;
	wb_store *store;
	wb_routes *routes;
	wb_broker *broker;
	cli_declarer declarer;
	wb_relay *relay;
	int signal_fd;
	int stops; /* signals that asked for the end */
	wb_relay_state told;
	int64_t alive_at_us;
	uint64_t watchdog_us;
	bool was_empty;
	wbi_standstill still;
	wb_error stuck; /* with --until-empty: nothing gets further */
} daemon_state;

static const cli_flag relay_flag_table[] = {
	{{.name = "check",
	  .kind = WBI_CONFIG_BOOL,
	  .offset = offsetof(relay_flags, check),
	  .help = "Check the configuration and end; opens no store and "
		  "connects to nothing."},
	 'n'},
	{{.name = "until-empty",
	  .kind = WBI_CONFIG_BOOL,
	  .offset = offsetof(relay_flags, until_empty),
	  .help = "End when every event is delivered, parked or held; the "
		  "exit status tells."},
	 0},
	{{.name = "give-up",
	  .kind = WBI_CONFIG_NUMBER,
	  .offset = offsetof(relay_flags, give_up),
	  .min = 1,
	  .max = 86400,
	  .init = "60",
	  .arg = "SECONDS",
	  .help = "With --until-empty: end also when nothing was delivered "
		  "for so long."},
	 0},
};

/* ---- signals and the service manager ----------------------------------- */

static void signals_take(daemon_state *d)
{
	int signo;

	while ((signo = cli_signals_next(d->signal_fd))) {
		d->stops++;
		if (d->stops == 1)
			cli_notify_stopping();
		cli_log_stop(&d->ctx->log, signo, d->stops);
		if (d->relay)
			wb_relay_stop(d->relay);
	}
}

static void alive(daemon_state *d)
{
	int64_t now = cli_mono_us();

	if (d->watchdog_us == 0 || now < d->alive_at_us)
		return;
	cli_notify_alive();
	d->alive_at_us = now + (int64_t)d->watchdog_us;
}

/* ---- topology ---------------------------------------------------------- */

/* Before each connect: a broker that comes late, or comes back empty, has the
 * topology before it is sent the first event. */
static wb_code prepare(void *ctx, wb_error *err)
{
	daemon_state *d = ctx;

	alive(d);
	return cli_declarer_apply(&d->declarer, DECLARE_MS, err);
}

/* ---- the loop ---------------------------------------------------------- */

static void tell_state(daemon_state *d, const wb_relay_stat *stat)
{
	char status[160];

	if (stat->state == d->told)
		return;
	d->told = stat->state;
	snprintf(status, sizeof(status), "%s, cursor %" PRIu64 " of %" PRIu64,
		 wbi_relay_state_name(stat->state), stat->cursor, stat->head);
	cli_notify_status(status);
}

/* With --until-empty: it is, or will not be, as nothing gets further. */
static bool is_enough(daemon_state *d, const wb_relay_stat *stat)
{
	if (!d->flags->until_empty || d->stops > 0 || d->was_empty ||
	    d->stuck.code != WB_OK)
		return false;
	d->was_empty = stat->idle && d->declarer.declared;
	return d->was_empty ||
	       wbi_relay_gets_on(d->relay, &d->still,
				 (int64_t)d->flags->give_up * 1000000,
				 &d->stuck) != WB_OK;
}

static wb_code loop(daemon_state *d, wb_error *err)
{
	struct pollfd fds[2] = {{.events = POLLIN},
				{.fd = d->signal_fd, .events = POLLIN}};
	int wait = TICK_MS;
	wb_relay_stat stat;
	wb_code rc;

	if (d->watchdog_us > 0 && d->watchdog_us / 1000 < TICK_MS)
		wait = (int)(d->watchdog_us / 1000) + 1;
	rc = wb_relay_fd(d->relay, &fds[0].fd, err);
	while (rc == WB_OK) {
		signals_take(d);
		rc = wb_relay_dispatch(d->relay, err);
		if (rc != WB_OK)
			break;
		alive(d);
		stat = wb_relay_get_stat(d->relay);
		tell_state(d, &stat);
		if (stat.state == WB_RELAY_RUNNING)
			cli_declarer_held(&d->declarer, stat.held);
		if (stat.state == WB_RELAY_STOPPED)
			break;
		if (is_enough(d, &stat)) {
			wb_relay_stop(d->relay);
			continue;
		}
		if (poll(fds, 2, wait) < 0 && errno != EINTR)
			return wbi_fail_errno(err, errno, __func__, "poll");
	}
	return rc;
}

/* ---- opening and closing ----------------------------------------------- */

static wb_relay_options options_of(daemon_state *d)
{
	wb_relay_options options = cli_relay_options(&d->ctx->config);

	options.routes = d->routes;
	options.sole_user = true;
	options.log = &d->ctx->log;
	if (d->declarer.wanted)
		options.prepare = prepare;
	options.prepare_ctx = d;
	return options;
}

/* What can be checked without a store or a broker. */
static int open_config(daemon_state *d)
{
	int code;

	code = cli_open_routes(d->ctx, &d->routes);
	if (code == CLI_OK)
		code = cli_open_broker(d->ctx, &d->broker);
	if (code == CLI_OK)
		code = cli_declarer_init(&d->declarer, d->ctx, d->routes);
	return code;
}

static int open_rest(daemon_state *d)
{
	wb_relay_options options = options_of(d);
	char uri[URI_SHOWN];
	wb_error err = WB_ERROR_INIT;
	int code;

	code = cli_signals_open(d->ctx, 0, &d->signal_fd);
	d->declarer.stop_fd = d->signal_fd;
	if (code == CLI_OK)
		code = cli_open_store(d->ctx, &d->store);
	if (code != CLI_OK)
		return code;
	if (wb_relay_open(d->store, d->broker, &options, &d->relay, &err) !=
	    WB_OK)
		return cli_fail_error(d->ctx, &err);
	wbi_log(&d->ctx->log, WB_LOG_INFO, "waybill-relay %s: store %s to %s",
		wb_version(), d->ctx->config.store,
		wb_amqp_redact(d->ctx->config.amqp, uri, sizeof(uri)));
	d->watchdog_us = cli_notify_watchdog_us();
	cli_notify_ready();
	return CLI_OK;
}

static void close_all(daemon_state *d)
{
	wb_relay_close(d->relay);
	cli_declarer_fini(&d->declarer);
	wb_broker_free(d->broker);
	wb_store_close(d->store);
	wb_routes_free(d->routes);
	if (d->signal_fd >= 0)
		close(d->signal_fd);
}

/* With --until-empty: is anything set aside? */
static int left_over(daemon_state *d)
{
	const wbi_relay_tables *tables = wbi_store_relay_tables(d->store);
	uint64_t bytes, parked = 0, held = 0;
	wb_error err = WB_ERROR_INIT;
	MDB_txn *txn;
	wb_code rc;

	if (!d->was_empty)
		return cli_fail(d->ctx, CLI_NOT_ALL,
				"stopped before all was delivered%s%s",
				d->stuck.code != WB_OK ? ": " : "",
				d->stuck.text);
	rc = wbi_txn_begin(wbi_store_relay_env(d->store), false, &txn, &err);
	if (rc != WB_OK)
		return cli_fail_error(d->ctx, &err);
	rc = wbi_table_size(txn, tables->parked, &bytes, &parked, &err);
	if (rc == WB_OK)
		rc = wbi_table_size(txn, tables->held, &bytes, &held, &err);
	wbi_txn_abort(txn);
	if (rc != WB_OK)
		return cli_fail_error(d->ctx, &err);
	if (parked == 0 && held == 0)
		return CLI_OK;
	return cli_fail(d->ctx, CLI_NOT_ALL,
			"%" PRIu64 " events are parked, %" PRIu64
			" exchanges are missing: waybill outbox stat",
			parked, held);
}

static int relay_run(cli_context *ctx)
{
	daemon_state d = {.ctx = ctx,
			  .flags = ctx->options,
			  .signal_fd = -1,
			  .told = WB_RELAY_FAILED};
	wb_error err = WB_ERROR_INIT;
	int code;

	code = open_config(&d);
	if (code == CLI_OK && d.flags->check) {
		printf("the configuration is sound\n");
		close_all(&d);
		return CLI_OK;
	}
	if (code == CLI_OK)
		code = open_rest(&d);
	if (code == CLI_OK) {
		d.declarer.declared = !d.declarer.wanted;
		if (loop(&d, &err) != WB_OK)
			code = cli_fail_error(ctx, &err);
		else if (d.flags->until_empty)
			code = left_over(&d);
	}
	close_all(&d);
	return code;
}

static const cli_command relay_command = {
	.name = "",
	.args = "",
	.summary = "Carry a store's committed events to RabbitMQ",
	.help = "Sends each event of the outbox, in order per key, and knows "
		"of each that the broker\nhas taken and routed it. What cannot "
		"be routed or encoded is parked with the reason\n(waybill "
		"outbox ls --state parked), what goes to a missing exchange is "
		"held; nothing is\nlost or skipped. It declares the topology "
		"before it\nconnects, each time, unless --declare never.\n\n"
		"SIGTERM or SIGINT: sends nothing new, waits for confirms for "
		"drain_ms at most, ends.\nA second one: ends at once. What was "
		"not confirmed is sent again at the next start.\n\n"
		"With --until-empty the exit status is 0 if all is delivered, "
		"3 if events are parked or\nheld, or if it was stopped "
		"before, or if nothing was delivered for a minute\n"
		"(--give-up).\n\n"
		"Put the password into WAYBILL_AMQP_PASSWORD, "
		"--amqp-password-file or the systemd\ncredential "
		"amqp-password. One in the URI works; it is overwritten in the "
		"process list\nas soon as it is read.\n\n"
		"  waybill-relay --store /var/lib/shop/store --amqp "
		"amqps://shop@rabbit.example\n"
		"  waybill-relay --config /etc/waybill/shop.yaml --check\n",
	.groups = WBI_GROUPS_RELAY,
	.flags = relay_flag_table,
	.flag_count = WBI_COUNT(relay_flag_table),
	.options_size = sizeof(relay_flags),
	.needs_store = true,
	.run = relay_run,
};

int main(int argc, char **argv)
{
	cli_context ctx = {.program = "waybill-relay",
			   .command = &relay_command};

	return cli_daemon(&ctx, argc, argv);
}
