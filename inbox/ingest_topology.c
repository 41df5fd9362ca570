/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a worker needs of the broker, as a list that is made anew from the
 * options each time; and what the broker says against it, in words that say
 * what to do. Declaring twice does nothing, so after a crash or a lost
 * connection all of it is declared again.
 *
 * A queue belongs to one store. RabbitMQ has no field for an owner, but it
 * compares the argument alternate-exchange when an exchange is declared again,
 * and tells what it is: so beside QUEUE there is an exchange QUEUE.owner, which
 * nobody ever publishes to, with the store's id for its alternate exchange
 * (tried with RabbitMQ 3.10; tests/conformance/declaring.c). A second store is
 * refused there, and reads whose the queue is. It comes first, before anything
 * is changed.
 *
 * Pure.
 */
#include <stdio.h>
#include <stdlib.h>

#include "inbox/ingest_internal.h"
#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/text.h"

/* In this order. */
enum {
	TOPOLOGY_OWNER,
	TOPOLOGY_EXCHANGE,
	TOPOLOGY_DEAD_EXCHANGE,
	TOPOLOGY_DEAD_QUEUE,
	TOPOLOGY_DEAD_BINDING,
	TOPOLOGY_QUEUE,
	TOPOLOGY_BINDINGS /* and all above: of the patterns; then the exchange
			     of commands, and those of its patterns */
};

/* ---- what there is ---------------------------------------------------- */

static wb_argument topology_text(const char *name, const char *text)
{
	wb_argument argument = {.name = wb_str_from(name),
				.text = wb_str_from(text)};

	return argument;
}

static void topology_exchange(wb_declaration *d, const char *name,
			      const char *type)
{
	d->kind = WB_TOPOLOGY_EXCHANGE;
	d->name = wb_str_from(name);
	d->exchange_type = wb_str_from(type);
}

static void topology_queue(wb_declaration *d, const char *name)
{
	d->kind = WB_TOPOLOGY_QUEUE;
	d->name = wb_str_from(name);
}

static void topology_binding(wb_declaration *d, const char *queue,
			     const char *exchange, const char *key)
{
	d->kind = WB_TOPOLOGY_BINDING;
	d->name = wb_str_from(queue);
	d->exchange = wb_str_from(exchange);
	d->binding_key = wb_str_from(key);
}

/* As `waybill setup` makes it, so that either may come first. */
static size_t topology_queue_arguments(const wbi_ingest *ingest, wb_argument *a)
{
	const wb_worker_options *o = ingest->options;

	a[0] = topology_text("x-queue-type", "quorum");
	a[1] = (wb_argument){.name = wb_str_from("x-single-active-consumer"),
			     .is_bool = true,
			     .number = 1};
	a[2] = (wb_argument){.name = wb_str_from("x-delivery-limit"),
			     .is_number = true,
			     .number = (int64_t)o->delivery_limit};
	a[3] = topology_text("x-dead-letter-exchange", ingest->dead);
	a[4] = topology_text("x-dead-letter-routing-key", o->queue);
	return 5;
}

static uint32_t topology_count(const char *const *patterns)
{
	uint32_t count = 0;

	while (patterns && patterns[count])
		count++;
	return count;
}

static bool topology_bindings(const wb_worker_options *o, uint32_t index,
			      wb_declaration *d)
{
	uint32_t events = topology_count(o->bind),
		 commands = topology_count(o->bind_commands);

	if (index < events) {
		topology_binding(d, o->queue, o->exchange, o->bind[index]);
		return true;
	}
	index -= events;
	if (commands == 0 || index > commands)
		return false;
	if (index == 0)
		topology_exchange(d, o->commands, "topic");
	else
		topology_binding(d, o->queue, o->commands,
				 o->bind_commands[index - 1]);
	return true;
}

static bool topology_create(const wbi_ingest *ingest, uint32_t index,
			    wb_argument *arguments, wb_declaration *d)
{
	const wb_worker_options *o = ingest->options;

	d->arguments = arguments;
	switch (index) {
	case TOPOLOGY_OWNER:
		topology_exchange(d, ingest->owner_exchange, "fanout");
		arguments[0] = topology_text("alternate-exchange",
					     ingest->status.owner);
		d->argument_count = 1;
		return true;
	case TOPOLOGY_EXCHANGE:
		topology_exchange(d, o->exchange, "topic");
		return true;
	case TOPOLOGY_DEAD_EXCHANGE:
		topology_exchange(d, ingest->dead, "direct");
		return true;
	case TOPOLOGY_DEAD_QUEUE:
		topology_queue(d, ingest->dead);
		arguments[0] = topology_text("x-queue-type", "quorum");
		d->argument_count = 1;
		return true;
	case TOPOLOGY_DEAD_BINDING:
		topology_binding(d, ingest->dead, ingest->dead, o->queue);
		return true;
	case TOPOLOGY_QUEUE:
		topology_queue(d, o->queue);
		d->argument_count = topology_queue_arguments(ingest, arguments);
		return true;
	default:
		break;
	}
	return topology_bindings(o, index - TOPOLOGY_BINDINGS, d);
}

/* Whose the queue is cannot be asked without the right to declare; nor can
 * bindings. Where it dead-letters to may be set by a policy. */
static bool topology_check(const wbi_ingest *ingest, uint32_t index,
			   wb_declaration *d)
{
	const wb_worker_options *o = ingest->options;

	d->check_only = true;
	if (index == 0)
		topology_exchange(d, o->exchange, "topic");
	else if (index == 1)
		topology_queue(d, o->queue);
	else if (topology_count(o->bind_commands) > 0 && index == 2)
		topology_exchange(d, o->commands, "topic");
	else
		return false;
	return true;
}

bool wbi_ingest_declaration(const wbi_ingest *ingest, uint32_t index,
			    wb_argument *arguments, wb_declaration *ret)
{
	wb_declaration d = {.argument_count = 0};
	bool more = false;

	switch (ingest->options->declare) {
	case WB_DECLARE_CREATE:
		more = topology_create(ingest, index, arguments, &d);
		break;
	case WB_DECLARE_CHECK:
		more = topology_check(ingest, index, &d);
		break;
	case WB_DECLARE_NEVER:
		break;
	}
	WB_ASSERT(d.argument_count <= INGEST_ARGUMENTS_MAX);
	if (more)
		*ret = d;
	return more;
}

/* ---- what is said against it ------------------------------------------ */

/*
 * "inequivalent arg 'x-delivery-limit' for queue 'q' in vhost '/': received the
 * value '20' of type 'long' but current is the value '5' of type 'long'", or
 * shorter "received '20' but current is none". A short string holds 255 bytes,
 * so the end may be missing.
 */
typedef struct topology_difference {
	char argument[64];
	char received[80], current[80]; /* "none"; "" if it was cut off */
} topology_difference;

/* From `at` the value up to the closing quote, and nothing around it. */
static void topology_value(const char *at, char *ret, size_t size)
{
	static const char words[] = "the value ";
	size_t len;

	if (!strncmp(at, words, sizeof(words) - 1))
		at += sizeof(words) - 1;
	len = strcspn(at, " ");
	if (*at == '\'') {
		at++;
		len = strcspn(at, "'");
	}
	snprintf(ret, size, "%.*s", (int)len, at);
}

static bool topology_differs(const wb_broker_event *event,
			     topology_difference *ret)
{
	char text[256];
	const char *at;

	wbi_text_show(event->text, text, sizeof(text));
	*ret = (topology_difference){.argument = ""};
	at = strstr(text, "inequivalent arg ");
	if (!at)
		return false;
	topology_value(at + strlen("inequivalent arg "), ret->argument,
		       sizeof(ret->argument));
	at = strstr(at, ": received ");
	if (at)
		topology_value(at + strlen(": received "), ret->received,
			       sizeof(ret->received));
	at = at ? strstr(at, " but current is ") : NULL;
	if (at)
		topology_value(at + strlen(" but current is "), ret->current,
			       sizeof(ret->current));
	return ret->argument[0] != '\0';
}

static wb_code topology_another_owner(const wbi_ingest *ingest,
				      const topology_difference *difference,
				      wb_error *ret)
{
	const char *owner = difference->current;

	if (!strcmp(owner, "none"))
		return WBI_FAIL(ret, WB_EMISMATCH,
				"exchange '%s', which says whose queue '%s' "
				"is, names no store: waybill did not make it. "
				"Delete it, or give this store a queue of its "
				"own",
				ingest->owner_exchange, ingest->options->queue);
	return WBI_FAIL(ret, WB_EMISMATCH,
			"queue '%s' belongs to another store (owner %s; this "
			"one is %s): give this store a queue of its own, or, "
			"if that store is gone, delete exchange '%s'",
			ingest->options->queue, owner[0] ? owner : "unknown",
			ingest->status.owner, ingest->owner_exchange);
}

static wb_code topology_mismatch(const wb_declaration *d,
				 const topology_difference *difference,
				 wb_error *ret)
{
	char cure[128] = "";

	if (!strcmp(difference->argument, "x-delivery-limit"))
		snprintf(cure, sizeof(cure), "set delivery_limit to %s, or ",
			 difference->current);
	return WBI_FAIL(ret, WB_ESTATE,
			"%s '%.*s': %s is %s at the broker and %s here, and "
			"cannot be changed: %smove its messages away, delete "
			"it and let it be made again, or set declare: check",
			d->kind == WB_TOPOLOGY_QUEUE ? "queue" : "exchange",
			(int)d->name.len, d->name.ptr, difference->argument,
			difference->current[0] ? difference->current
					       : "something else",
			difference->received, cure);
}

static wb_code topology_forbidden(const wbi_ingest *ingest, uint32_t index,
				  const wb_broker_event *event, wb_error *ret)
{
	if (ingest->options->declare == WB_DECLARE_CREATE &&
	    index == TOPOLOGY_OWNER)
		return WBI_FAIL(ret, WB_EACCESS,
				"the user may not declare exchange '%s', which "
				"says whose queue '%s' is: grant configure and "
				"read on it and write on '%s', or set declare: "
				"check, and see to it yourself that no other "
				"store takes from the queue: %.160s",
				ingest->owner_exchange, ingest->options->queue,
				ingest->status.owner, event->error.text);
	return WBI_FAIL(ret, WB_EACCESS,
			"the user may not do this; grant it, or let somebody "
			"else declare and set declare: check or never: %.300s",
			event->error.text);
}

static wb_code topology_missing(const wbi_ingest *ingest,
				const wb_declaration *d, wb_error *ret)
{
	const wb_worker_options *o = ingest->options;
	bool queue = d->kind == WB_TOPOLOGY_QUEUE;
	bool commands = !queue && topology_count(o->bind_commands) > 0 &&
			wb_str_eq(d->name, wb_str_from(o->commands));

	return WBI_FAIL(ret, WB_ESTATE,
			"%s '%.*s' is missing%s, and declare is check: make it "
			"(%s) and bind queue '%s'%s, or set declare: create",
			queue ? "queue" : "exchange", (int)d->name.len,
			d->name.ptr,
			commands ? ", by which the commands for participants "
				   "come"
				 : "",
			queue ? "waybill setup" : "topic, durable", o->queue,
			commands ? " to it, once for each type of command"
				 : "");
}

wb_code wbi_ingest_explain(const wbi_ingest *ingest, uint32_t index,
			   const wb_broker_event *event, wb_error *ret)
{
	bool create = ingest->options->declare == WB_DECLARE_CREATE;
	wb_argument arguments[INGEST_ARGUMENTS_MAX];
	topology_difference difference;
	wb_declaration d;
	bool known = wbi_ingest_declaration(ingest, index, arguments, &d);

	WB_ASSERT(known);
	if (event->reply_code == 406 && topology_differs(event, &difference)) {
		if (create && index == TOPOLOGY_OWNER &&
		    !strcmp(difference.argument, "alternate-exchange"))
			return topology_another_owner(ingest, &difference, ret);
		return topology_mismatch(&d, &difference, ret);
	}
	if (event->reply_code == 404 && d.check_only)
		return topology_missing(ingest, &d, ret);
	if (event->reply_code == 403)
		return topology_forbidden(ingest, index, event, ret);
	return WBI_FAIL(ret,
			event->error.code == WB_OK ||
					event->error.code == WB_EMISMATCH
				? WB_ESTATE
				: event->error.code,
			"%.500s", event->error.text);
}
