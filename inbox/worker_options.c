/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a worker is told, checked and completed before anything is touched: a
 * mistake is named, and nothing has happened yet. Strings and tables are
 * copied; handlers stay the caller's.
 */
#include "inbox/worker_internal.h"

#include <stdlib.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/text.h"
#include "lib/base/topic.h"
#include "lib/event/attribute.h"

enum {
	OPTIONS_NAME_MAX = 255, /* AMQP 0-9-1, 4.2.5.3: a short string */
	OPTIONS_BATCH_MAX = 10000,
	OPTIONS_TXN_MAX_US = 1000000,
	OPTIONS_MS_MAX = 3600000,
	OPTIONS_TYPES_MAX = 4096 /* of all handlers */
};

/* ---- handlers ------------------------------------------------------------ */

wb_code wbi_worker_take_handlers(wb_worker *worker,
				 const wb_handler *const *handlers,
				 size_t count, wb_error *err)
{
	wb_code code = wbi_dispatch_check(handlers, count, err);

	if (code != WB_OK)
		return code;
	worker->handlers = calloc(count + 1, sizeof(*worker->handlers));
	if (!worker->handlers)
		return WBI_FAIL(err, WB_ENOMEM, "no memory for a worker");
	for (size_t i = 0; i < count; i++)
		worker->handlers[i] = handlers[i];
	worker->handler_count = count;
	return WB_OK;
}

/* ---- options ------------------------------------------------------------- */

static void fill(uint32_t *value, uint32_t by)
{
	if (*value == 0)
		*value = by;
}

static void set_defaults(wb_worker_options *o)
{
	fill(&o->delivery_limit, 20);
	fill(&o->prefetch, 3000);
	fill(&o->batch_max, 1000);
	fill(&o->txn_us, 1000);
	fill(&o->txn_alone_us, o->txn_us > 10000 ? o->txn_us : 10000);
	fill(&o->pause_us, 50);
	fill(&o->poll_ms, 50);
	fill(&o->backoff_min_ms, 100);
	fill(&o->backoff_max_ms,
	     o->backoff_min_ms > 10000 ? o->backoff_min_ms : 10000);
	fill(&o->drain_ms, 5000);
	if (o->dedupe_s == 0)
		o->dedupe_s = 7UL * 86400;
	o->limits = wbi_limits_of(&o->limits);
}

static wb_code check_options(const wb_worker_options *o, wb_error *err)
{
	const struct {
		const char *name;
		uint64_t value, max;
	} numbers[] = {
		{"delivery_limit", o->delivery_limit, 1000000},
		{"prefetch", o->prefetch, 65535},
		{"batch_max", o->batch_max, OPTIONS_BATCH_MAX},
		{"txn_us", o->txn_us, OPTIONS_TXN_MAX_US},
		{"txn_alone_us", o->txn_alone_us, OPTIONS_TXN_MAX_US},
		{"pause_us", o->pause_us, OPTIONS_TXN_MAX_US},
		{"threads", o->threads, WBI_CALLS_MAX - 1},
		{"poll_ms", o->poll_ms, OPTIONS_MS_MAX},
		{"backoff_max_ms", o->backoff_max_ms, OPTIONS_MS_MAX},
		{"drain_ms", o->drain_ms, OPTIONS_MS_MAX},
		{"dedupe_s", o->dedupe_s, 315360000},
	};

	for (size_t i = 0; i < WBI_COUNT(numbers); i++)
		if (numbers[i].value > numbers[i].max)
			return WBI_FAIL(err, WB_EINVAL,
					"%s is %llu: at most %llu",
					numbers[i].name,
					(unsigned long long)numbers[i].value,
					(unsigned long long)numbers[i].max);
	if (o->backoff_min_ms > o->backoff_max_ms)
		return WBI_FAIL(err, WB_EINVAL,
				"backoff_min_ms (%u) is over backoff_max_ms "
				"(%u)",
				o->backoff_min_ms, o->backoff_max_ms);
	if (o->declare != WB_DECLARE_CREATE && o->declare != WB_DECLARE_CHECK &&
	    o->declare != WB_DECLARE_NEVER)
		return WBI_FAIL(err, WB_EINVAL, "declare is %d",
				(int)o->declare);
	return WB_OK;
}

static wb_code take_name(const char *what, const char *name, const char *or,
			 char **ret, wb_error *err)
{
	size_t at;

	name = name && name[0] ? name : or;
	if (strlen(name) > OPTIONS_NAME_MAX)
		return WBI_FAIL(err, WB_EINVAL, "%s has %zu bytes: at most %d",
				what, strlen(name), OPTIONS_NAME_MAX);
	if (!wbi_text_is_clean(wb_str_from(name), &at))
		return WBI_FAIL(err, WB_EINVAL,
				"%s has a control character or bad UTF-8 at "
				"byte %zu",
				what, at + 1);
	*ret = wbi_text_dup(wb_str_from(name));
	if (!*ret)
		return WBI_FAIL(err, WB_ENOMEM, "no memory for a worker");
	return WB_OK;
}

static wb_code check_bind(const char *pattern, wb_error *err)
{
	wbi_topic topic;

	if (pattern[0] == '\0' || strlen(pattern) > OPTIONS_NAME_MAX)
		return WBI_FAIL(err, WB_EINVAL,
				"bind: a binding key has 1 to %d bytes, not %zu",
				OPTIONS_NAME_MAX, strlen(pattern));
	if (!wbi_topic_compile(&topic, wb_str_from(pattern)))
		return WBI_FAIL(err, WB_EINVAL,
				"bind: \"%s\": * and # stand for whole words "
				"between dots",
				pattern);
	return WB_OK;
}

/* Add each of `types` that is not there yet; `bind` has room for all. */
static wb_code bind_add(char **bind, const char *const *types, size_t *count,
			wb_error *err)
{
	for (size_t i = 0; types && types[i]; i++) {
		size_t j = 0;

		while (j < *count && strcmp(bind[j], types[i]) != 0)
			j++;
		if (j < *count)
			continue;
		if (*count == OPTIONS_TYPES_MAX)
			return WBI_FAIL(err, WB_EINVAL,
					"more than %d binding keys",
					OPTIONS_TYPES_MAX);
		bind[*count] = wbi_text_dup(wb_str_from(types[i]));
		if (!bind[*count])
			return WBI_FAIL(err, WB_ENOMEM,
					"no memory for a worker");
		(*count)++;
	}
	return WB_OK;
}

/* What is to be bound on one exchange; *ret is the worker's in each case. */
static wb_code take_bind(wb_worker *worker, const char *const *bind,
			 wb_hears hears, char ***ret, wb_error *err)
{
	wb_code code = WB_OK;
	size_t count = 0;

	*ret = calloc(OPTIONS_TYPES_MAX + 1, sizeof(**ret));
	if (!*ret)
		return WBI_FAIL(err, WB_ENOMEM, "no memory for a worker");
	for (size_t i = 0; bind && bind[i] && code == WB_OK; i++)
		code = check_bind(bind[i], err);
	if (code == WB_OK && bind)
		return bind_add(*ret, bind, &count, err);
	for (size_t i = 0; i < worker->handler_count && code == WB_OK; i++)
		if (worker->handlers[i]->hears == hears)
			code = bind_add(*ret, worker->handlers[i]->types,
					&count, err);
	return code;
}

/* The relay inside has the worker's clock, randomness and log unless it is
 * given its own. */
static void take_relay(wb_worker *worker, const wb_relay_options *relay)
{
	wb_worker_options *o = &worker->options;

	o->relay = NULL;
	if (!relay)
		return;
	worker->relay_options = *relay;
	worker->relay_options.sole_user = relay->sole_user && o->threads == 0;
	if (!relay->clock)
		worker->relay_options.clock = o->clock;
	if (!relay->random)
		worker->relay_options.random = o->random;
	if (!relay->log)
		worker->relay_options.log = o->log;
	o->relay = &worker->relay_options;
}

wb_code wbi_worker_take_options(wb_worker *worker,
				const wb_worker_options *options, wb_error *err)
{
	wb_worker_options *o = &worker->options;
	wb_store *store = worker->store;
	wb_code code;

	if (options && options->size != sizeof(*options))
		return WBI_FAIL(err, WB_EINVAL,
				"wb_worker_options.size is %zu, not %zu: "
				"initialise it with WB_WORKER_OPTIONS_INIT",
				options->size, sizeof(*options));
	*o = options ? *options : (wb_worker_options)WB_WORKER_OPTIONS_INIT;
	if (!o->clock)
		o->clock = wbi_store_clock(store);
	if (!o->random)
		o->random = wbi_store_random(store);
	if (!o->log)
		o->log = wbi_store_log(store);
	/* Threads have transactions of their own, which it would move. */
	o->sole_user = o->sole_user && o->threads == 0;
	take_relay(worker, o->relay);
	if (o->relay && !worker->publisher)
		return WBI_FAIL(err, WB_EINVAL,
				"relay: there is no publisher to relay over");
	set_defaults(o);
	code = check_options(o, err);
	if (code == WB_OK)
		code = take_name("queue", o->queue, wb_store_service(store),
				 &worker->queue, err);
	if (code == WB_OK)
		code = take_name("exchange", o->exchange, "events",
				 &worker->exchange, err);
	if (code == WB_OK)
		code = take_name("commands", o->commands, "commands",
				 &worker->commands, err);
	if (code == WB_OK)
		code = take_bind(worker, o->bind, WB_HEARS_EVENTS,
				 &worker->bind, err);
	if (code == WB_OK)
		code = take_bind(worker, o->bind_commands, WB_HEARS_COMMANDS,
				 &worker->bind_commands, err);
	o->queue = worker->queue;
	o->exchange = worker->exchange;
	o->bind = (const char *const *)worker->bind;
	o->commands = worker->commands;
	o->bind_commands = (const char *const *)worker->bind_commands;
	return code;
}

static void free_bind(char **bind)
{
	for (size_t i = 0; bind && bind[i]; i++)
		free(bind[i]);
	free(bind);
}

void wbi_worker_free_options(wb_worker *worker)
{
	free_bind(worker->bind);
	free_bind(worker->bind_commands);
	free(worker->commands);
	free(worker->queue);
	free(worker->exchange);
	free(worker->handlers);
}
