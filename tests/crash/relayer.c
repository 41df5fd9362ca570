/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A relay with everything settable, for tests that kill, stop and starve it:
 *
 *   relayer STORE URI EXCHANGE [NAME=NUMBER...]
 *
 * Events of types "other.#" go to exchange EXCHANGE-other. The numbers are
 * fields of wb_relay_options and of wb_amqp_options, and until_empty=1.
 * SIGTERM asks it to drain and end. What it says goes to standard error.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <waybill/amqp.h>
#include <waybill/relay.h>

/* For the signal handler, which has no other way to it. */
static wb_relay *volatile the_relay;

static void relayer_stop(int signal)
{
	(void)signal;
	if (the_relay)
		wb_relay_stop(the_relay);
}

static void relayer_write(void *ctx, wb_log_level level, const char *line)
{
	(void)ctx;
	fprintf(stderr, "%d %s\n", (int)level, line);
}

static bool relayer_set(const char *arg, wb_relay_options *relay,
			wb_amqp_options *amqp, uint32_t *until_empty)
{
	const struct {
		const char *name;
		uint32_t *field;
	} names[] = {{"window", &relay->window},
		     {"commit_ms", &relay->commit_ms},
		     {"poll_ms", &relay->poll_ms},
		     {"batch_bytes", &relay->batch_bytes},
		     {"backoff_min_ms", &relay->backoff_min_ms},
		     {"backoff_max_ms", &relay->backoff_max_ms},
		     {"confirm_timeout_ms", &relay->confirm_timeout_ms},
		     {"probe_ms", &relay->probe_ms},
		     {"heartbeat_s", &amqp->heartbeat_s},
		     {"connect_timeout_ms", &amqp->connect_timeout_ms},
		     {"until_empty", until_empty}};
	const char *value = strchr(arg, '=');

	for (size_t i = 0; value && i < sizeof(names) / sizeof(*names); i++) {
		if (strncmp(arg, names[i].name, (size_t)(value - arg)) ||
		    names[i].name[value - arg])
			continue;
		*names[i].field = (uint32_t)strtoul(value + 1, NULL, 10);
		return true;
	}
	fprintf(stderr, "relayer: what is %s?\n", arg);
	return false;
}

static wb_code relayer_run(char **argv, wb_relay_options *options,
			   wb_amqp_options *amqp, bool until_empty,
			   wb_error *err)
{
	wb_store_options store_options = WB_STORE_OPTIONS_INIT;
	wb_store *store = NULL;
	wb_broker *broker = NULL;
	wb_relay *relay = NULL;

	store_options.log = options->log;
	amqp->uri = argv[2];
	amqp->connection_name = "relayer";
	if (wb_store_open(argv[1], &store_options, &store, err) == WB_OK &&
	    wb_amqp_new(amqp, &broker, err) == WB_OK &&
	    wb_relay_open(store, broker, options, &relay, err) == WB_OK) {
		the_relay = relay;
		wb_relay_run(relay, until_empty, err);
		the_relay = NULL;
	}
	wb_relay_close(relay);
	wb_broker_free(broker);
	wb_store_close(store);
	return err->code;
}

int main(int argc, char **argv)
{
	const wb_log log = {relayer_write, NULL, WB_LOG_DEBUG};
	wb_relay_options options = WB_RELAY_OPTIONS_INIT;
	wb_amqp_options amqp = WB_AMQP_OPTIONS_INIT;
	wb_error err = WB_ERROR_INIT;
	uint32_t until_empty = 0;
	wb_route routes[2] = {{.type = "other.#"}, {.type = "#"}};
	wb_routes *compiled = NULL;
	char other[200];

	if (argc < 4) {
		fprintf(stderr, "Usage: relayer STORE URI EXCHANGE ...\n");
		return 2;
	}
	signal(SIGTERM, relayer_stop);
	for (int i = 4; i < argc; i++)
		if (!relayer_set(argv[i], &options, &amqp, &until_empty))
			return 2;
	snprintf(other, sizeof(other), "%s-other", argv[3]);
	routes[0].exchange = other;
	routes[1].exchange = argv[3];
	options.log = amqp.log = &log;
	options.sole_user = true;
	if (wb_routes_new(routes, 2, &compiled, &err) == WB_OK) {
		options.routes = compiled;
		relayer_run(argv, &options, &amqp, until_empty != 0, &err);
	}
	wb_routes_free(compiled);
	if (err.code)
		fprintf(stderr, "relayer: %s: %s\n", wb_code_name(err.code),
			err.text);
	return err.code != WB_OK;
}
