/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The table of keys: the one place where a setting is defined. Parser, flags,
 * environment, help and the manual's test read it; nothing else repeats it.
 * All of it is constant; any thread.
 */
#include "lib/config/config.h"

#include <ctype.h>
#include <stdio.h>

#include "lib/base/assert.h"

static const char *const level_choices[] = {"error", "warn", "info", "debug",
					    NULL};
static const char *const format_choices[] = {"text", "json", NULL};
static const char *const declare_choices[] = {"create", "check", "never", NULL};
static const char *const unroutable_choices[] = {"park", "accept", NULL};
static const char *const order_choices[] = {"key", "none", NULL};
static const char *const mode_choices[] = {"binary", "structured", NULL};

#define KIB 1024ull
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define TIB (1024 * GIB)

/* A route field's strings are const there, but the config owns them. */
static const wbi_config_field route_fields[] = {
	{.name = "type", .kind = WBI_CONFIG_TEXT, .arg = "PATTERN",
	 .offset = offsetof(wb_route, type), .init = "#",
	 .help = "Event types it is for: words between dots, * is one word, # "
		 "any number of them."},
	{.name = "exchange", .kind = WBI_CONFIG_TEXT, .arg = "NAME",
	 .offset = offsetof(wb_route, exchange), .init = "events",
	 .help = "Exchange to publish to."},
	{.name = "routing_key", .kind = WBI_CONFIG_TEXT, .arg = "TEMPLATE",
	 .offset = offsetof(wb_route, routing_key), .init = "{type}",
	 .help = "Routing key; {type}, {source}, {subject}, {key}, "
		 "{reply_to}, {aggregatetype} and {aggregateid} are filled in."},
	{.name = "unroutable", .kind = WBI_CONFIG_CHOICE,
	 .offset = offsetof(wb_route, unroutable), .init = "park",
	 .choices = unroutable_choices,
	 .help = "What becomes of an event that no queue is bound for."},
	{.name = "order", .kind = WBI_CONFIG_CHOICE,
	 .offset = offsetof(wb_route, order), .init = "key",
	 .choices = order_choices,
	 .help = "none: do not keep the order per key on this route."},
	{.name = "mode", .kind = WBI_CONFIG_CHOICE,
	 .offset = offsetof(wb_route, mode), .init = "binary",
	 .choices = mode_choices,
	 .help = "CloudEvents attributes in headers, or all in a JSON body."},
};

static const wbi_config_field exchange_fields[] = {
	{.name = "name", .kind = WBI_CONFIG_TEXT, .arg = "NAME",
	 .offset = offsetof(wbi_config_exchange, name), .required = true,
	 .help = "Name of the exchange."},
	{.name = "type", .kind = WBI_CONFIG_TEXT, .arg = "TYPE",
	 .offset = offsetof(wbi_config_exchange, type), .init = "topic",
	 .help = "topic, direct, fanout, headers or a plug-in's type."},
	{.name = "arguments", .kind = WBI_CONFIG_TEXTS, .arg = "NAME=VALUE",
	 .offset = offsetof(wbi_config_exchange, arguments),
	 .help = "Further arguments of the declaration."},
};

static const wbi_config_field queue_fields[] = {
	{.name = "name", .kind = WBI_CONFIG_TEXT, .arg = "NAME",
	 .offset = offsetof(wbi_config_queue, name), .required = true,
	 .help = "Name of the queue."},
	{.name = "bind", .kind = WBI_CONFIG_BINDS, .arg = "EXCHANGE:KEY",
	 .offset = offsetof(wbi_config_queue, bind),
	 .help = "Exchange and binding key; as many as are wanted."},
	{.name = "delivery_limit", .kind = WBI_CONFIG_NUMBER, .arg = "N",
	 .offset = offsetof(wbi_config_queue, delivery_limit), .min = 1,
	 .max = 1000000, .init = "20",
	 .help = "Deliveries before a message is dead-lettered."},
	{.name = "dead_letter_exchange", .kind = WBI_CONFIG_TEXT, .arg = "NAME",
	 .offset = offsetof(wbi_config_queue, dead_letter_exchange),
	 .help = "Default: the queue's name and \".dead\"."},
	{.name = "dead_letter_queue", .kind = WBI_CONFIG_TEXT, .arg = "NAME",
	 .offset = offsetof(wbi_config_queue, dead_letter_queue),
	 .help = "Default: the queue's name and \".dead\"."},
	{.name = "arguments", .kind = WBI_CONFIG_TEXTS, .arg = "NAME=VALUE",
	 .offset = offsetof(wbi_config_queue, arguments),
	 .help = "Further arguments; they replace those waybill sets."},
};

static const wbi_config_field module_fields[] = {
	{.name = "path", .kind = WBI_CONFIG_TEXT, .required = true,
	 .help = "The shared object."},
};

static const wbi_config_field bind_fields[] = {
	{.name = "pattern", .kind = WBI_CONFIG_TEXT, .required = true,
	 .help = "Binding key of a topic exchange."},
};

static const wbi_config_list route_list = {
	route_fields, WBI_COUNT(route_fields), sizeof(wb_route), false};
static const wbi_config_list exchange_list = {
	exchange_fields, WBI_COUNT(exchange_fields),
	sizeof(wbi_config_exchange), false};
static const wbi_config_list queue_list = {
	queue_fields, WBI_COUNT(queue_fields), sizeof(wbi_config_queue), false};
static const wbi_config_list module_list = {module_fields, 1, sizeof(char *),
					    true};
static const wbi_config_list bind_list = {bind_fields, 1, sizeof(char *), true};

/* clang-format off */
#define AT(member) .offset = offsetof(wbi_config, member)
#define TEXT(key, flag_, group_, arg_, ...) \
	{{.name = #key, .kind = WBI_CONFIG_TEXT, AT(key), .arg = arg_, \
	  __VA_ARGS__}, NULL, flag_, true, group_}
#define NUMBER(key, flag_, group_, min_, max_, init_, ...) \
	{{.name = #key, .kind = WBI_CONFIG_NUMBER, AT(key), .arg = "N", \
	  .min = min_, .max = max_, .init = init_, __VA_ARGS__}, \
	 NULL, flag_, true, group_}
#define SIZE(key, flag_, group_, min_, max_, init_, ...) \
	{{.name = #key, .kind = WBI_CONFIG_SIZE, AT(key), .arg = "SIZE", \
	  .min = min_, .max = max_, .init = init_, __VA_ARGS__}, \
	 NULL, flag_, true, group_}
#define BOOL(key, flag_, group_, ...) \
	{{.name = #key, .kind = WBI_CONFIG_BOOL, AT(key), .init = "false", \
	  __VA_ARGS__}, NULL, flag_, true, group_}
#define CHOICE(key, flag_, group_, choices_, init_, ...) \
	{{.name = #key, .kind = WBI_CONFIG_CHOICE, AT(key), \
	  .choices = choices_, .init = init_, __VA_ARGS__}, \
	 NULL, flag_, true, group_}
#define LIST(key, flag_, group_, arg_, list_, ...) \
	{{.name = #key, .kind = WBI_CONFIG_LIST, AT(key), .arg = arg_, \
	  __VA_ARGS__}, &list_, flag_, true, group_}
#define FIELDS "FIELD=VALUE,..."

static const wbi_config_key config_keys[] = {
	TEXT(store, "store", WBI_GROUP_STORE, "DIR",
		.help = "Directory of the store."),
	TEXT(amqp, "amqp", WBI_GROUP_BROKER, "URI",
		.help = "The broker: amqp[s]://user:password@host:port/vhost; "
			"several, separated by commas, are tried in turn."),
	TEXT(amqp_user, "amqp-user", WBI_GROUP_BROKER, "NAME",
		.help = "User; replaces the URI's."),
	{{.name = "amqp_password", .kind = WBI_CONFIG_TEXT, AT(amqp_password),
	  .arg = "TEXT", .help = "Password; replaces the URI's. Only in the "
		"environment, where other users cannot read it."},
	 NULL, NULL, false, WBI_GROUP_BROKER},
	TEXT(amqp_password_file, "amqp-password-file", WBI_GROUP_BROKER, "FILE",
		.help = "File with the password in its first line, readable "
			"by its owner only."),
	TEXT(connection_name, "connection-name", WBI_GROUP_BROKER, "TEXT",
		.help = "How the broker's management names the connection."),
	TEXT(tls_ca_file, "tls-ca-file", WBI_GROUP_BROKER, "FILE",
		.help = "Certificates to trust instead of the system's, PEM."),
	TEXT(tls_cert_file, "tls-cert-file", WBI_GROUP_BROKER, "FILE",
		.help = "Client certificate, PEM."),
	TEXT(tls_key_file, "tls-key-file", WBI_GROUP_BROKER, "FILE",
		.help = "Its private key, PEM."),
	TEXT(tls_server_name, "tls-server-name", WBI_GROUP_BROKER, "NAME",
		.help = "Name the broker's certificate must have; default: "
			"the URI's host."),
	BOOL(tls_insecure, "tls-insecure", WBI_GROUP_BROKER,
		.help = "Do not verify the broker's certificate. Said in the "
			"log at every connect."),
	BOOL(external_auth, "external-auth", WBI_GROUP_BROKER,
		.help = "Log in by client certificate (SASL EXTERNAL)."),
	NUMBER(connect_timeout_ms, "connect-timeout-ms", WBI_GROUP_BROKER,
		100, 600000, "10000",
		.help = "From the name look-up to the end of the handshake, "
			"per host."),
	NUMBER(heartbeat_s, "heartbeat-s", WBI_GROUP_BROKER, 5, 3600, "15",
		.help = "AMQP heartbeat; the broker's if that is less."),
	NUMBER(window, "window", WBI_GROUP_RELAY, 1, 65536, "2000",
		.help = "Positions that sending may be ahead of the durable "
			"cursor; also the most repeats after a crash."),
	NUMBER(commit_ms, "commit-ms", WBI_GROUP_RELAY, 1, 10000, "100",
		.help = "Commit the cursor at least this often."),
	SIZE(batch_bytes, "batch-bytes", WBI_GROUP_RELAY, 4 * KIB, 64 * MIB,
		"48K", .help = "Bytes sent per step at most."),
	NUMBER(poll_ms, "poll-ms", WBI_GROUP_RELAY, 1, 1000, "50",
		.help = "Look at the store at least this often."),
	NUMBER(backoff_min_ms, "backoff-min-ms", WBI_GROUP_RELAY, 1, 60000,
		"100", .help = "First pause between two connects."),
	NUMBER(backoff_max_ms, "backoff-max-ms", WBI_GROUP_RELAY, 1, 3600000,
		"10000", .help = "Longest pause between two connects."),
	NUMBER(confirm_timeout_ms, "confirm-timeout-ms", WBI_GROUP_RELAY, 1000,
		3600000, "120000",
		.help = "With no confirm for so long: a new connection."),
	NUMBER(probe_ms, "probe-ms", WBI_GROUP_RELAY, 100, 3600000, "5000",
		.help = "Look for a missing exchange this often."),
	NUMBER(drain_ms, "drain-ms", WBI_GROUP_RELAY, 1, 600000, "800",
		.help = "Longest wait for confirms at the end."),
	SIZE(parked_max_bytes, "parked-max-bytes", WBI_GROUP_RELAY, 64 * KIB,
		TIB, "1G", .help = "Bytes of parked events; then the relay "
		"halts and says so."),
	SIZE(body_max_bytes, "body-max-bytes", WBI_GROUP_LIMITS, 1, 256 * MIB,
		"1M", .help = "Largest data of an event."),
	NUMBER(headers_max, "headers-max", WBI_GROUP_LIMITS, 1, 1024, "64",
		.help = "Most extra attributes of an event."),
	SIZE(header_bytes_max, "header-bytes-max", WBI_GROUP_LIMITS, 1, MIB,
		"64K", .help = "Most bytes of all of them."),
	LIST(modules, "module", WBI_GROUP_MODULE, "FILE", module_list,
		.help = "Shared objects with handlers."),
	TEXT(queue, "queue", WBI_GROUP_WORKER, "NAME",
		.help = "Queue that the worker takes in; default: the "
			"service's name."),
	TEXT(exchange, "exchange", WBI_GROUP_WORKER, "NAME",
		.init = "events", .help = "Exchange that it is bound to."),
	TEXT(commands, "commands", WBI_GROUP_WORKER, "NAME",
		.init = "commands", .help = "Exchange of commands: where its "
		"sagas send them, and participants are bound to."),
	LIST(bind, "bind", WBI_GROUP_WORKER, "PATTERN", bind_list,
		.help = "Binding keys of that queue; default: every type of "
			"event that a handler names."),
	NUMBER(delivery_limit, "delivery-limit", WBI_GROUP_WORKER, 1, 1000000,
		"20", .help = "Deliveries of a message before the broker puts "
		"it into QUEUE.dead."),
	NUMBER(prefetch, "prefetch", WBI_GROUP_WORKER, 1, 65535, "3000",
		.help = "Deliveries that are not acked yet, at most."),
	BOOL(id_from_body, "id-from-body", WBI_GROUP_WORKER,
		.help = "A message without any id gets the SHA-256 of its "
			"body for one; else it is set aside."),
	NUMBER(dedupe_s, "dedupe-s", WBI_GROUP_WORKER, 1, 315360000, "604800",
		.help = "Seconds of the worker's running time that a message "
			"is remembered, to know it if it comes again."),
	NUMBER(batch_max, "batch-max", WBI_GROUP_WORKER, 1, 10000, "1000",
		.help = "Deliveries, or calls, per commit at most."),
	NUMBER(txn_us, "txn-us", WBI_GROUP_WORKER, 1, 1000000, "1000",
		.help = "Microseconds of work in a write transaction, about, "
			"while others write to the store, too."),
	NUMBER(txn_alone_us, "txn-alone-us", WBI_GROUP_WORKER, 1, 1000000,
		"10000", .help = "The same while no other process has written "
		"to it for ten seconds."),
	NUMBER(pause_us, "pause-us", WBI_GROUP_WORKER, 1, 1000000, "50",
		.help = "Pause between two of them, for other writers."),
	NUMBER(threads, "threads", WBI_GROUP_WORKER, 0, 64, "4",
		.help = "For external handlers, if there are any; 0: they are "
			"called between the others."),
	NUMBER(calls_drain_ms, "calls-drain-ms", WBI_GROUP_WORKER, 1, 600000,
		"5000", .help = "Longest wait for running calls at the end."),
	BOOL(no_relay, "no-relay", WBI_GROUP_WORKER,
		.help = "Do not relay this store's outbox; waybill-relay does."),
	BOOL(no_supervisor, "no-supervisor", WBI_GROUP_WORKER,
		.help = "No process that ends hanging calls and starts anew "
			"after a crash."),
	NUMBER(restart_min_ms, "restart-min-ms", WBI_GROUP_WORKER, 1, 60000,
		"100", .help = "First pause before a start after a crash, "
		"doubling."),
	NUMBER(restart_max_ms, "restart-max-ms", WBI_GROUP_WORKER, 1, 3600000,
		"10000", .help = "Longest pause before one."),
	CHOICE(log_level, "log-level", WBI_GROUP_LOG, level_choices, "info",
		.help = "What is logged."),
	CHOICE(log_format, "log-format", WBI_GROUP_LOG, format_choices, "text",
		.help = "How: lines for people, or one JSON object a line."),
	CHOICE(declare, "declare", WBI_GROUP_TOPOLOGY | WBI_GROUP_WORKER,
		declare_choices, "create", .help = "Create the topology where it is missing, "
		"only check it, or ask nothing."),
	LIST(routes, "route", WBI_GROUP_ROUTES, FIELDS, route_list,
		.help = "Where events go; the first that fits their type is "
			"used."),
	LIST(exchanges, "exchange", WBI_GROUP_TOPOLOGY, FIELDS, exchange_list,
		.help = "Exchanges to declare. Those of the routes are "
			"declared as topic exchanges unless listed."),
	LIST(queues, "queue", WBI_GROUP_TOPOLOGY, FIELDS, queue_list,
		.help = "Quorum queues to declare, each with a single active "
			"consumer and a dead letter exchange and queue."),
};
/* clang-format on */

const wbi_config_key *wbi_config_key_at(size_t i)
{
	_Static_assert(WBI_COUNT(config_keys) <= WBI_CONFIG_KEYS,
		       "wbi_config.source has a place for every key");
	return i < WBI_COUNT(config_keys) ? &config_keys[i] : NULL;
}

int wbi_config_find(wb_str name)
{
	for (size_t i = 0; i < WBI_COUNT(config_keys); i++)
		if (wb_str_eq(wb_str_from(config_keys[i].field.name), name))
			return (int)i;
	return -1;
}

/* Edit distance (insert, delete, replace) of two short words. */
static size_t word_distance(wb_str a, const char *b)
{
	size_t row[64], b_len = strlen(b);

	if (a.len > 60 || b_len > 60)
		return SIZE_MAX;
	for (size_t j = 0; j <= b_len; j++)
		row[j] = j;
	for (size_t i = 1; i <= a.len; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= b_len; j++) {
			size_t best = diagonal + (a.ptr[i - 1] != b[j - 1]);

			diagonal = row[j];
			best = row[j] + 1 < best ? row[j] + 1 : best;
			row[j] = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
		}
	}
	return row[b_len];
}

const char *wbi_config_nearest(wb_str name, const wbi_config_list *list)
{
	size_t count = list ? list->field_count : WBI_COUNT(config_keys);
	size_t best = name.len / 3 + 2; /* farther is no help */
	const char *found = NULL;

	for (size_t i = 0; i < count; i++) {
		const char *known = list ? list->fields[i].name
					 : config_keys[i].field.name;
		size_t distance = word_distance(name, known);

		if (distance < best) {
			best = distance;
			found = known;
		}
	}
	return found;
}

char *wbi_config_env_name(const wbi_config_key *key, char *ret, size_t size)
{
	int n = snprintf(ret, size, "WAYBILL_%s", key->field.name);

	WB_ASSERT(n > 0 && (size_t)n < size);
	for (char *p = ret; *p; p++)
		*p = (char)toupper((unsigned char)*p);
	return ret;
}

static void size_text(uint64_t bytes, char *ret, size_t size)
{
	static const char suffix[] = "\0KMGT";
	int step = 0;

	while (step < 4 && bytes > 0 && bytes % 1024 == 0) {
		bytes /= 1024;
		step++;
	}
	snprintf(ret, size, "%llu%.1s", (unsigned long long)bytes,
		 &suffix[step]);
}

static char *choices_text(const char *const *choices, char *ret, size_t size)
{
	size_t len = 0;

	ret[0] = '\0';
	for (size_t i = 0; choices[i] && len < size; i++)
		len += (size_t)snprintf(ret + len, size - len, "%s%s",
					i > 0 ? " | " : "", choices[i]);
	return ret;
}

char *wbi_config_range_text(const wbi_config_field *field, char *ret,
			    size_t size)
{
	char low[32], high[32];

	ret[0] = '\0';
	switch (field->kind) {
	case WBI_CONFIG_CHOICE:
		return choices_text(field->choices, ret, size);
	case WBI_CONFIG_BOOL:
		snprintf(ret, size, "true | false");
		return ret;
	case WBI_CONFIG_NUMBER:
		snprintf(ret, size, "%llu..%llu",
			 (unsigned long long)field->min,
			 (unsigned long long)field->max);
		return ret;
	case WBI_CONFIG_SIZE:
		size_text(field->min, low, sizeof(low));
		size_text(field->max, high, sizeof(high));
		snprintf(ret, size, "%s..%s", low, high);
		return ret;
	default:
		return ret;
	}
}
