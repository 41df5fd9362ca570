/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Exchanges, queues and bindings, and the way of a message through them. Few
 * of each, so all are found by looking at every one. The default exchange ""
 * has no object of its own bindings: its routing key is a queue's name.
 *
 * Objects are owned by the broker. A deleted queue stays, marked, because its
 * log must outlive it; a declaration of its name brings it back empty.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker-adapters/memory/model.h"
#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/topic.h"

/* ---- finding ---------------------------------------------------------- */

static wbi_mem_exchange *topology_exchange(const wb_memory *memory, wb_str name)
{
	for (size_t i = 0; i < memory->exchange_count; i++)
		if (wb_str_eq(wb_str_from(memory->exchanges[i]->name), name))
			return memory->exchanges[i];
	return NULL;
}

wbi_mem_exchange *wbi_mem_find_exchange(const wb_memory *memory, wb_str name,
					int64_t now_us)
{
	wbi_mem_exchange *found = topology_exchange(memory, name);

	return found && found->hidden_until_us <= now_us ? found : NULL;
}

wbi_mem_queue *wbi_mem_find_queue(const wb_memory *memory, wb_str name)
{
	for (size_t i = 0; i < memory->queue_count; i++)
		if (wb_str_eq(wb_str_from(memory->queues[i]->name), name))
			return memory->queues[i];
	return NULL;
}

void wbi_mem_unbind(wb_memory *memory, const wbi_mem_exchange *exchange,
		    const wbi_mem_queue *queue)
{
	size_t kept = 0;

	for (size_t i = 0; i < memory->binding_count; i++) {
		wbi_mem_binding *b = memory->bindings[i];

		if ((!exchange || b->exchange == exchange) &&
		    (!queue || b->queue == queue))
			free(b);
		else
			memory->bindings[kept++] = b;
	}
	memory->binding_count = kept;
}

/* ---- declaring -------------------------------------------------------- */

static const char *const topology_types[] = {
	[WBI_MEM_DIRECT] = "direct",
	[WBI_MEM_FANOUT] = "fanout",
	[WBI_MEM_TOPIC] = "topic",
};

static uint16_t topology_fail(wb_error *err, uint16_t reply_code, wb_code code,
			      const char *what, wb_str name, const char *why)
{
	WBI_FAIL_FOREIGN(err, code, reply_code, "%s '%.*s': %s", what,
			 (int)name.len, name.ptr ? name.ptr : "", why);
	return reply_code;
}

static void topology_set_name(char *ret, wb_str name)
{
	WB_ASSERT(name.len <= WBI_MEM_NAME_MAX);
	if (name.len > 0)
		memcpy(ret, name.ptr, name.len);
	ret[name.len] = '\0';
}

static const wb_argument *topology_argument(const wb_declaration *what,
					    const char *name)
{
	for (size_t i = 0; i < what->argument_count; i++)
		if (wb_str_eq(what->arguments[i].name, wb_str_from(name)))
			return &what->arguments[i];
	return NULL;
}

/* The one argument that RabbitMQ holds an exchange to; empty: none. */
static wb_str topology_alternate(const wb_declaration *what)
{
	const wb_argument *a = topology_argument(what, "alternate-exchange");

	return a && a->text.len <= WBI_MEM_NAME_MAX ? a->text : WB_STR_NULL;
}

static uint16_t topology_add_exchange(wb_memory *memory,
				      const wb_declaration *what, size_t type,
				      wb_error *err)
{
	wb_str name = what->name;
	wbi_mem_exchange *exchange;

	if (memory->exchange_count == WB_MEMORY_EXCHANGES_MAX)
		return topology_fail(err, 506, WB_ELIMIT, "exchange", name,
				     "there are too many");
	exchange = calloc(1, sizeof(*exchange));
	if (!exchange)
		return topology_fail(err, 541, WB_ENOMEM, "exchange", name,
				     "out of memory");
	topology_set_name(exchange->name, name);
	topology_set_name(exchange->alternate, topology_alternate(what));
	exchange->type = (wbi_mem_type)type;
	memory->exchanges[memory->exchange_count++] = exchange;
	return 0;
}

static void topology_show(wb_str value, bool brief, char *ret, size_t size)
{
	if (value.len == 0)
		snprintf(ret, size, "none");
	else
		snprintf(ret, size,
			 brief ? "'%.*s'"
			       : "the value '%.*s' of type 'longstr'",
			 (int)value.len, value.ptr);
}

/* In RabbitMQ's words, since others look in them for the present value. */
static uint16_t topology_fail_alternate(const wbi_mem_exchange *found,
					const wb_declaration *what,
					wb_error *err)
{
	wb_str received = topology_alternate(what);
	wb_str current = wb_str_from(found->alternate);
	bool both = received.len > 0 && current.len > 0;
	char a[WBI_MEM_NAME_MAX + 40], b[WBI_MEM_NAME_MAX + 40];

	topology_show(received, both, a, sizeof(a));
	topology_show(current, both, b, sizeof(b));
	WBI_FAIL_FOREIGN(err, WB_EMISMATCH, 406,
			 "PRECONDITION_FAILED - inequivalent arg "
			 "'alternate-exchange' for exchange '%s' in vhost '/': "
			 "received %s but current is %s",
			 found->name, a, b);
	return 406;
}

static uint16_t topology_declare_exchange(wb_memory *memory,
					  const wb_declaration *what,
					  int64_t now_us, wb_error *err)
{
	wbi_mem_exchange *found = topology_exchange(memory, what->name);
	size_t type = 0;

	if (what->check_only) {
		if (!found || found->hidden_until_us > now_us)
			return topology_fail(err, 404, WB_ENOTFOUND, "exchange",
					     what->name, "does not exist");
		return 0;
	}
	while (type < WBI_COUNT(topology_types) &&
	       !wb_str_eq(what->exchange_type,
			  wb_str_from(topology_types[type])))
		type++;
	if (type == WBI_COUNT(topology_types))
		return topology_fail(err, 503, WB_EINVAL, "exchange",
				     what->name,
				     "unknown type; direct, fanout and topic "
				     "are there");
	if (!found)
		return topology_add_exchange(memory, what, type, err);
	if ((size_t)found->type != type)
		return topology_fail(err, 406, WB_EMISMATCH, "exchange",
				     what->name, "exists with another type");
	if (!wb_str_eq(wb_str_from(found->alternate), topology_alternate(what)))
		return topology_fail_alternate(found, what, err);
	found->hidden_until_us = 0;
	return 0;
}

static int topology_compare(wb_str a, wb_str b)
{
	size_t len = a.len < b.len ? a.len : b.len;
	int order = len ? memcmp(a.ptr, b.ptr, len) : 0;

	return order ? order : (a.len > b.len) - (a.len < b.len);
}

static int topology_compare_arguments(const void *a, const void *b)
{
	const wb_argument *x = a, *y = b;

	return topology_compare(x->name, y->name);
}

/* All arguments as one text that is equal exactly when they are: a line for
 * each, by name, with the value as RabbitMQ shows it. */
static char *topology_arguments_text(const wb_declaration *what)
{
	size_t count = what->argument_count;
	wb_argument *sorted = malloc((count + 1) * sizeof(*sorted));
	char *text = NULL;
	size_t size = 0;
	FILE *out = sorted ? open_memstream(&text, &size) : NULL;

	if (!out) {
		free(sorted);
		return NULL;
	}
	if (count > 0)
		memcpy(sorted, what->arguments, count * sizeof(*sorted));
	qsort(sorted, count, sizeof(*sorted), topology_compare_arguments);
	for (size_t i = 0; i < count; i++) {
		const wb_argument *a = &sorted[i];

		fprintf(out, "%.*s=the value '", (int)a->name.len, a->name.ptr);
		if (a->is_bool)
			fprintf(out, "%s' of type 'bool'\n",
				a->number ? "true" : "false");
		else if (a->is_number)
			fprintf(out, "%" PRId64 "' of type 'long'\n",
				a->number);
		else
			fprintf(out, "%.*s' of type 'longstr'\n",
				(int)a->text.len, a->text.ptr);
	}
	free(sorted);
	if (fclose(out) != 0) {
		free(text);
		return NULL;
	}
	return text;
}

/* One line of it; empty at the end. */
static wb_str topology_line(const char *text)
{
	return wb_str_n(text, strcspn(text, "\n"));
}

static wb_str topology_line_name(wb_str line)
{
	const char *sign = line.len ? memchr(line.ptr, '=', line.len) : NULL;

	return sign ? wb_str_n(line.ptr, (size_t)(sign - line.ptr)) : line;
}

static wb_str topology_line_value(wb_str line)
{
	size_t at = topology_line_name(line).len + 1;

	return line.len > at ? wb_str_n(line.ptr + at, line.len - at)
			     : wb_str_from("none");
}

/* The first argument that differs, in RabbitMQ's words. */
static void topology_fail_arguments(const wbi_mem_queue *found,
				    const char *received, wb_error *err)
{
	const char *current = found->arguments;
	wb_str a = topology_line(current), b = topology_line(received), name;
	int order;

	while (wb_str_eq(a, b)) {
		current += a.len + 1;
		received += b.len + 1;
		a = topology_line(current);
		b = topology_line(received);
	}
	/* Both by name: of two names the lesser is missing in the other. */
	order = topology_compare(topology_line_name(a), topology_line_name(b));
	if (order != 0 && (a.len == 0 || (b.len > 0 && order > 0)))
		a = WB_STR_NULL;
	else if (order != 0)
		b = WB_STR_NULL;
	name = topology_line_name(a.len > 0 ? a : b);
	a = topology_line_value(a);
	b = topology_line_value(b);
	WBI_FAIL_FOREIGN(err, WB_EMISMATCH, 406,
			 "PRECONDITION_FAILED - inequivalent arg '%.*s' for "
			 "queue '%s' in vhost '/': received %.*s but current "
			 "is %.*s",
			 (int)name.len, name.ptr, found->name, (int)b.len,
			 b.ptr, (int)a.len, a.ptr);
}

/* `arguments` becomes the queue's. */
static void topology_begin_queue(wbi_mem_queue *queue, char *arguments,
				 const wb_declaration *what)
{
	const wb_argument *length = topology_argument(what, "x-max-length");
	const wb_argument *overflow = topology_argument(what, "x-overflow");
	const wb_argument *single =
		topology_argument(what, "x-single-active-consumer");
	const wb_argument *type = topology_argument(what, "x-queue-type");

	free(queue->arguments);
	queue->arguments = arguments;
	queue->exists = true;
	queue->max_length = length && length->is_number ? length->number : -1;
	queue->reject_publish =
		overflow &&
		wb_str_eq(overflow->text, wb_str_from("reject-publish"));
	queue->single_active = single && single->is_bool && single->number;
	queue->stream = type && wb_str_eq(type->text, wb_str_from("stream"));
	if (queue->stream)
		queue->next_place = 0; /* offsets of another stream */
}

static uint16_t topology_create_queue(wb_memory *memory, wbi_mem_queue *queue,
				      const wb_declaration *what,
				      char *arguments, wb_error *err)
{
	if (!queue && memory->queue_count == WB_MEMORY_QUEUES_MAX) {
		free(arguments);
		return topology_fail(err, 506, WB_ELIMIT, "queue", what->name,
				     "there are too many");
	}
	if (!queue) {
		queue = calloc(1, sizeof(*queue));
		if (!queue) {
			free(arguments);
			return topology_fail(err, 541, WB_ENOMEM, "queue",
					     what->name, "out of memory");
		}
		topology_set_name(queue->name, what->name);
		memory->queues[memory->queue_count++] = queue;
	}
	topology_begin_queue(queue, arguments, what);
	return 0;
}

static uint16_t topology_declare_queue(wb_memory *memory,
				       const wb_declaration *what,
				       wb_error *err)
{
	wbi_mem_queue *found = wbi_mem_find_queue(memory, what->name);
	char *arguments;
	bool same;

	if (what->check_only)
		return found && found->exists
			       ? 0
			       : topology_fail(err, 404, WB_ENOTFOUND, "queue",
					       what->name, "does not exist");
	arguments = topology_arguments_text(what);
	if (!arguments)
		return topology_fail(err, 541, WB_ENOMEM, "queue", what->name,
				     "out of memory");
	if (!found || !found->exists)
		return topology_create_queue(memory, found, what, arguments,
					     err);
	same = !strcmp(found->arguments, arguments);
	if (!same)
		topology_fail_arguments(found, arguments, err);
	free(arguments);
	return same ? 0 : 406;
}

static uint16_t topology_declare_binding(wb_memory *memory,
					 const wb_declaration *what,
					 int64_t now_us, wb_error *err)
{
	wbi_mem_queue *queue = wbi_mem_find_queue(memory, what->name);
	wbi_mem_exchange *exchange =
		wbi_mem_find_exchange(memory, what->exchange, now_us);
	wbi_mem_binding *binding;

	if (what->exchange.len == 0)
		return topology_fail(err, 403, WB_EACCESS, "queue", what->name,
				     "nothing can be bound to the default "
				     "exchange");
	if (!queue || !queue->exists)
		return topology_fail(err, 404, WB_ENOTFOUND, "queue",
				     what->name, "does not exist");
	if (!exchange)
		return topology_fail(err, 404, WB_ENOTFOUND, "exchange",
				     what->exchange, "does not exist");
	for (size_t i = 0; i < memory->binding_count; i++) {
		binding = memory->bindings[i];
		if (binding->exchange == exchange && binding->queue == queue &&
		    wb_str_eq(wb_str_from(binding->key), what->binding_key))
			return 0;
	}
	if (memory->binding_count == WB_MEMORY_BINDINGS_MAX)
		return topology_fail(err, 506, WB_ELIMIT, "queue", what->name,
				     "there are too many bindings");
	binding = calloc(1, sizeof(*binding));
	if (!binding)
		return topology_fail(err, 541, WB_ENOMEM, "queue", what->name,
				     "out of memory");
	binding->exchange = exchange;
	binding->queue = queue;
	topology_set_name(binding->key, what->binding_key);
	memory->bindings[memory->binding_count++] = binding;
	return 0;
}

uint16_t wbi_mem_declare(wb_memory *memory, const wb_declaration *what,
			 int64_t now_us, wb_error *err)
{
	switch (what->kind) {
	case WB_TOPOLOGY_EXCHANGE:
		return topology_declare_exchange(memory, what, now_us, err);
	case WB_TOPOLOGY_QUEUE:
		return topology_declare_queue(memory, what, err);
	case WB_TOPOLOGY_BINDING:
		break;
	}
	return topology_declare_binding(memory, what, now_us, err);
}

/* ---- routing ---------------------------------------------------------- */

static bool topology_matches(const wbi_mem_binding *binding, wb_str key)
{
	switch (binding->exchange->type) {
	case WBI_MEM_FANOUT:
		return true;
	case WBI_MEM_TOPIC:
		return wbi_topic_match(wb_str_from(binding->key), key);
	case WBI_MEM_DIRECT:
		break;
	}
	return wb_str_eq(wb_str_from(binding->key), key);
}

/* Through the bindings of one exchange. */
static size_t topology_route(wb_memory *memory,
			     const wbi_mem_exchange *exchange,
			     wbi_mem_message *message, bool *ret_refused)
{
	wb_str key = message->view.routing_key;
	size_t queues = 0;

	memory->routings++;
	for (size_t i = 0; i < memory->binding_count; i++) {
		wbi_mem_binding *binding = memory->bindings[i];

		/* Several matching bindings are still one copy per queue. */
		if (binding->exchange != exchange ||
		    binding->queue->routed_by == memory->routings ||
		    !topology_matches(binding, key))
			continue;
		binding->queue->routed_by = memory->routings;
		queues++;
		if (!wbi_mem_queue_put(memory, binding->queue, message))
			*ret_refused = true;
	}
	return queues;
}

size_t wbi_mem_route(wb_memory *memory, const wbi_mem_exchange *exchange,
		     wbi_mem_message *message, int64_t now_us,
		     bool *ret_refused)
{
	wb_str key = message->view.routing_key;
	size_t queues = 0;

	*ret_refused = false;
	if (exchange->name[0] == '\0') {
		wbi_mem_queue *queue = wbi_mem_find_queue(memory, key);

		if (!queue || !queue->exists)
			return 0;
		*ret_refused = !wbi_mem_queue_put(memory, queue, message);
		return 1;
	}
	/* What one has no queue for goes to its alternate, if that is there;
	 * in a ring of them, once around. */
	for (size_t i = 0; exchange && i < memory->exchange_count; i++) {
		queues = topology_route(memory, exchange, message, ret_refused);
		if (queues > 0 || exchange->alternate[0] == '\0')
			break;
		exchange = wbi_mem_find_exchange(
			memory, wb_str_from(exchange->alternate), now_us);
	}
	return queues;
}
