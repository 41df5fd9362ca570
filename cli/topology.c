/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The rows are made first, from the configuration alone, so a mistake in it
 * shows without a broker. Then they are asked one by one: an answer is matched
 * to its row by the token, and what the broker refuses is explained with a
 * cure. Declaring twice does nothing, so a crash or a lost connection at any
 * point is mended by doing it again. One thread; strings belong to the
 * configuration or the routes, which must outlive this, or to the rows.
 */
#include "cli/topology.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/command.h"
#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/text.h"

enum { ARGUMENTS_MAX = 40, POLL_MS = 200 };

typedef struct topology_item {
	cli_topology_row row;
	wb_declaration declaration;
	wb_argument arguments[ARGUMENTS_MAX];
	char *detail;
} topology_item;

struct cli_topology {
	topology_item **items;
	size_t count;
	bool check_only;
};

/* ---- building ---------------------------------------------------------- */

static topology_item *item_add(cli_topology *topology, wb_topology_kind kind,
			       const char *name)
{
	static const char *const kinds[] = {"exchange", "queue", "binding"};
	topology_item *item = calloc(1, sizeof(*item));
	topology_item **grown;

	grown = realloc(topology->items,
			(topology->count + 1) * sizeof(*grown));
	if (grown)
		topology->items = grown;
	if (!item || !grown) {
		free(item);
		return NULL;
	}
	item->row.kind = kinds[kind];
	item->row.name = name;
	item->row.detail = "";
	item->declaration.kind = kind;
	item->declaration.name = wb_str_from(name);
	item->declaration.arguments = item->arguments;
	item->declaration.check_only = topology->check_only;
	item->row.skipped = topology->check_only && kind == WB_TOPOLOGY_BINDING;
	topology->items[topology->count++] = item;
	return item;
}

static bool has_argument(const topology_item *item, wb_str name)
{
	for (size_t i = 0; i < item->declaration.argument_count; i++)
		if (wb_str_eq(item->arguments[i].name, name))
			return true;
	return false;
}

/* Unless the user has said it: the first one holds. */
static void add_argument(topology_item *item, wb_argument argument)
{
	if (has_argument(item, argument.name))
		return;
	WB_ASSERT(item->declaration.argument_count < ARGUMENTS_MAX);
	item->arguments[item->declaration.argument_count++] = argument;
}

static void add_text(topology_item *item, const char *name, const char *text)
{
	add_argument(item, (wb_argument){.name = wb_str_from(name),
					 .text = wb_str_from(text)});
}

/* "name=value": a number, true or false, or a text; quotes make a text. */
static wb_argument argument_of(const char *pair)
{
	const char *equals = strchr(pair, '='), *value;
	wb_argument argument = {.name = WB_STR_NULL};
	size_t len;
	char *end;

	WB_ASSERT(equals); /* the configuration takes no other pairs */
	value = equals + 1;
	len = strlen(value);
	argument.name = wb_str_n(pair, (size_t)(equals - pair));
	argument.text = wb_str_n(value, len);
	if (len >= 2 && value[0] == '"' && value[len - 1] == '"') {
		argument.text = wb_str_n(value + 1, len - 2);
		return argument;
	}
	if (!strcmp(value, "true") || !strcmp(value, "false")) {
		argument.is_bool = true;
		argument.number = value[0] == 't';
		return argument;
	}
	errno = 0;
	argument.number = strtoll(value, &end, 10);
	argument.is_number =
		len > 0 && *end == '\0' && errno == 0 &&
		((value[0] >= '0' && value[0] <= '9') || value[0] == '-');
	return argument;
}

static wb_code add_arguments(topology_item *item, const wbi_config_items *from,
			     wb_error *err)
{
	char *const *pairs = from->items;

	if (from->count > ARGUMENTS_MAX - 8)
		return WBI_FAIL(err, WB_ELIMIT, "%s %s: over %d arguments",
				item->row.kind, item->row.name,
				ARGUMENTS_MAX - 8);
	for (size_t i = 0; i < from->count; i++)
		add_argument(item, argument_of(pairs[i]));
	return WB_OK;
}

static topology_item *find(cli_topology *topology, wb_topology_kind kind,
			   const char *name)
{
	for (size_t i = 0; i < topology->count; i++)
		if (topology->items[i]->declaration.kind == kind &&
		    !strcmp(topology->items[i]->row.name, name))
			return topology->items[i];
	return NULL;
}

/* Unless it is there already: what the user lists comes first. */
static wb_code need_exchange(cli_topology *topology, const char *name,
			     const char *type, wb_error *err)
{
	topology_item *item;

	if (find(topology, WB_TOPOLOGY_EXCHANGE, name))
		return WB_OK;
	item = item_add(topology, WB_TOPOLOGY_EXCHANGE, name);
	if (!item)
		return WBI_FAIL(err, WB_ENOMEM, "out of memory");
	item->row.detail = type;
	item->declaration.exchange_type = wb_str_from(type);
	return WB_OK;
}

static wb_code add_binding(cli_topology *topology, const char *queue,
			   const char *exchange, const char *key, wb_error *err)
{
	topology_item *item = item_add(topology, WB_TOPOLOGY_BINDING, queue);
	size_t size = strlen(exchange) + strlen(key) + 2;

	if (item)
		item->detail = malloc(size);
	if (!item || !item->detail)
		return WBI_FAIL(err, WB_ENOMEM, "out of memory");
	snprintf(item->detail, size, "%s:%s", exchange, key);
	item->row.detail = item->detail;
	item->declaration.exchange = wb_str_from(exchange);
	item->declaration.binding_key = wb_str_from(key);
	return WB_OK;
}

static wb_code add_exchanges(cli_topology *topology, const wbi_config *config,
			     const wb_routes *routes, wb_error *err)
{
	const wbi_config_exchange *exchanges = config->exchanges.items;
	bool catch_all = false; /* behind it no route is used */
	wb_code rc = WB_OK;

	for (size_t i = 0; i < config->exchanges.count && rc == WB_OK; i++) {
		if (find(topology, WB_TOPOLOGY_EXCHANGE, exchanges[i].name))
			return WBI_FAIL(err, WB_EINVAL,
					"exchange %s is listed twice",
					exchanges[i].name);
		rc = need_exchange(topology, exchanges[i].name,
				   exchanges[i].type, err);
		if (rc == WB_OK)
			rc = add_arguments(topology->items[topology->count - 1],
					   &exchanges[i].arguments, err);
	}
	for (size_t i = 0;
	     i < wb_routes_count(routes) && rc == WB_OK && !catch_all; i++) {
		const wb_route *route = wb_routes_at(routes, i);

		catch_all = !strcmp(route->type, "#");
		/* The default exchange is always there. */
		if (route->exchange[0])
			rc = need_exchange(topology, route->exchange, "topic",
					   err);
	}
	return rc;
}

/* The queue for dead letters: durable, replicated, of no further limit. */
static wb_code add_dead_letters(cli_topology *topology,
				const wbi_config_queue *queue, wb_error *err)
{
	topology_item *item;
	wb_code rc;

	rc = need_exchange(topology, queue->dead_letter_exchange, "direct",
			   err);
	if (rc != WB_OK)
		return rc;
	if (!find(topology, WB_TOPOLOGY_QUEUE, queue->dead_letter_queue)) {
		item = item_add(topology, WB_TOPOLOGY_QUEUE,
				queue->dead_letter_queue);
		if (!item)
			return WBI_FAIL(err, WB_ENOMEM, "out of memory");
		item->row.detail = "dead letters";
		add_text(item, "x-queue-type", "quorum");
	}
	return add_binding(topology, queue->dead_letter_queue,
			   queue->dead_letter_exchange, queue->name, err);
}

static wb_code add_queue(cli_topology *topology, const wbi_config_queue *queue,
			 wb_error *err)
{
	const wbi_config_binding *bind = queue->bind.items;
	topology_item *item;
	wb_code rc;

	if (find(topology, WB_TOPOLOGY_QUEUE, queue->name))
		return WBI_FAIL(err, WB_EINVAL,
				"queue %s is listed twice, or is the dead "
				"letter queue of another",
				queue->name);
	rc = add_dead_letters(topology, queue, err);
	if (rc != WB_OK)
		return rc;
	item = item_add(topology, WB_TOPOLOGY_QUEUE, queue->name);
	if (!item)
		return WBI_FAIL(err, WB_ENOMEM, "out of memory");
	item->row.detail = "quorum";
	rc = add_arguments(item, &queue->arguments, err);
	add_text(item, "x-queue-type", "quorum");
	add_argument(item, (wb_argument){.name = wb_str_from(
						 "x-single-active-consumer"),
					 .is_bool = true,
					 .number = 1});
	add_argument(item,
		     (wb_argument){.name = wb_str_from("x-delivery-limit"),
				   .is_number = true,
				   .number = (int64_t)queue->delivery_limit});
	add_text(item, "x-dead-letter-exchange", queue->dead_letter_exchange);
	add_text(item, "x-dead-letter-routing-key", queue->name);
	for (size_t i = 0; i < queue->bind.count && rc == WB_OK; i++)
		rc = add_binding(topology, queue->name, bind[i].exchange,
				 bind[i].key, err);
	return rc;
}

/* AMQP 0-9-1, 4.2.5.3: a short string holds 255 bytes. */
static wb_code check_lengths(const cli_topology *topology, wb_error *err)
{
	for (size_t i = 0; i < topology->count; i++) {
		const wb_declaration *d = &topology->items[i]->declaration;

		if (d->name.len > 255 || d->exchange.len > 255 ||
		    d->binding_key.len > 255 || d->exchange_type.len > 255)
			return WBI_FAIL(err, WB_ELIMIT,
					"%s %.40s: a name or key is over 255 "
					"bytes",
					topology->items[i]->row.kind,
					topology->items[i]->row.name);
	}
	return WB_OK;
}

wb_code cli_topology_new(const wbi_config *config, const wb_routes *routes,
			 cli_topology **ret, wb_error *err)
{
	const wbi_config_queue *queues = config->queues.items;
	cli_topology *topology = calloc(1, sizeof(*topology));
	wb_code rc;

	if (!topology)
		return WBI_FAIL(err, WB_ENOMEM, "out of memory");
	topology->check_only = config->declare != WB_DECLARE_CREATE;
	rc = add_exchanges(topology, config, routes, err);
	for (size_t i = 0; i < config->queues.count && rc == WB_OK; i++)
		rc = add_queue(topology, &queues[i], err);
	if (rc == WB_OK)
		rc = check_lengths(topology, err);
	if (rc != WB_OK) {
		cli_topology_free(topology);
		return rc;
	}
	*ret = topology;
	return WB_OK;
}

void cli_topology_free(cli_topology *topology)
{
	if (!topology)
		return;
	for (size_t i = 0; i < topology->count; i++) {
		free(topology->items[i]->detail);
		free(topology->items[i]);
	}
	free(topology->items);
	free(topology);
}

size_t cli_topology_count(const cli_topology *topology)
{
	return topology->count;
}

const cli_topology_row *cli_topology_at(const cli_topology *topology, size_t i)
{
	return &topology->items[i]->row;
}

/* ---- asking ------------------------------------------------------------ */

typedef struct topology_run {
	cli_topology *topology;
	wb_broker *broker;
	int64_t deadline_us; /* monotonic */
	int stop_fd;
	size_t refused;
	bool down; /* the connection ended by itself */
} topology_run;

/* The next event, waiting for it; WB_ETIMEOUT, WB_ECLOSED (told to stop). */
static wb_code run_next(topology_run *run, wb_broker_event *ret, wb_error *err)
{
	wb_broker *broker = run->broker;

	while (!wb_broker_next(broker, ret)) {
		int64_t now = cli_mono_us();
		int64_t until = wb_broker_deadline_us(broker);
		struct pollfd fds[2] = {
			{.fd = wb_broker_fd(broker), .events = POLLIN},
			{.fd = run->stop_fd, .events = POLLIN}};
		int wait = POLL_MS;

		if (now >= run->deadline_us)
			return WBI_FAIL(err, WB_ETIMEOUT,
					"the broker did not answer in time");
		if (until - now < (int64_t)wait * 1000)
			wait = until <= now ? 0 : (int)((until - now) / 1000);
		if (poll(fds, 2, wait) > 0 && fds[1].revents)
			return WBI_FAIL(err, WB_ECLOSED, "told to stop");
		wb_broker_step(broker);
	}
	return WB_OK;
}

/* Wait for one of two kinds; DOWN is an error unless it is waited for. */
static wb_code run_until(topology_run *run, wb_broker_event_kind a,
			 wb_broker_event_kind b, wb_broker_event *ret,
			 wb_error *err)
{
	wb_code rc;

	do {
		rc = run_next(run, ret, err);
		if (rc != WB_OK)
			return rc;
		run->down = run->down || ret->kind == WB_BROKER_DOWN;
		if (run->down && a != WB_BROKER_DOWN) {
			rc = ret->error.code ? ret->error.code : WB_ECLOSED;
			return WBI_FAIL(err, rc, "%s",
					ret->error.text[0] ? ret->error.text
							   : "connection lost");
		}
	} while (ret->kind != a && ret->kind != b);
	return WB_OK;
}

/* The broker's refusal in words that say what to do. */
static void explain(const cli_topology *topology, const wb_broker_event *event,
		    cli_topology_row *row)
{
	wb_error *problem = &row->problem;
	const char *said = event->error.text;

	wb_error_clear(problem);
	switch (event->reply_code) {
	case 404:
		if (topology->check_only)
			WBI_FAIL(problem, WB_ENOTFOUND,
				 "is missing; create it, or run `waybill "
				 "setup --declare create`");
		else
			WBI_FAIL(problem, WB_ENOTFOUND,
				 "needs something that is missing: %.300s",
				 said);
		return;
	case 403:
		WBI_FAIL(problem, WB_EACCESS,
			 "the user may not do this; grant it (rabbitmqctl "
			 "set_permissions), or set declare to check or never: "
			 "%.250s",
			 said);
		return;
	case 406:
	case 405:
		WBI_FAIL(problem, WB_EMISMATCH,
			 "exists and is different, and the broker cannot "
			 "change it: make the configuration equal, or move "
			 "its messages, delete it and run `waybill setup`: "
			 "%.250s",
			 said);
		return;
	default:
		WBI_FAIL(problem,
			 event->error.code ? event->error.code : WB_EPROTO,
			 "refused: %.400s", said);
	}
}

static wb_code ask(topology_run *run, size_t i, wb_error *err)
{
	topology_item *item = run->topology->items[i];
	wb_broker_event event;
	wb_code rc;

	if (item->row.skipped)
		return WB_OK;
	item->row.asked = true;
	rc = wb_broker_declare(run->broker, &item->declaration, i + 1, err);
	wb_broker_flush(run->broker);
	while (rc == WB_OK) {
		rc = run_until(run, WB_BROKER_DECLARED,
			       WB_BROKER_DECLARE_FAILED, &event, err);
		if (rc == WB_OK && event.token == i + 1)
			break;
	}
	if (rc != WB_OK)
		return rc;
	item->row.ok = event.kind == WB_BROKER_DECLARED;
	if (!item->row.ok) {
		explain(run->topology, &event, &item->row);
		run->refused++;
	}
	return WB_OK;
}

wb_code cli_topology_apply(cli_topology *topology, wb_broker *broker,
			   uint32_t timeout_ms, int stop_fd,
			   size_t *ret_refused, wb_error *err)
{
	topology_run run = {
		topology, broker, cli_mono_us() + (int64_t)timeout_ms * 1000,
		stop_fd,  0,      false};
	wb_broker_event event;
	wb_code rc;

	rc = wb_broker_connect(broker, err);
	if (rc != WB_OK)
		return rc;
	rc = run_until(&run, WB_BROKER_UP, WB_BROKER_UP, &event, err);
	for (size_t i = 0; i < topology->count && rc == WB_OK; i++)
		rc = ask(&run, i, err);
	/* Close in good order, also after a failure; that one is told. */
	wb_broker_close(broker);
	run.stop_fd = -1;
	run.deadline_us = cli_mono_us() + 2000000;
	if (!run.down)
		run_until(&run, WB_BROKER_DOWN, WB_BROKER_DOWN, &event, NULL);
	if (rc == WB_OK)
		*ret_refused = run.refused;
	return rc;
}
