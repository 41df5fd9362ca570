/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Appending to the outbox. Everything that could refuse an event is asked
 * before the first byte is written: the attributes and limits, the routing key
 * its route would give it, the JSON of structured mode, and, in the journal,
 * the quota. So a refusal leaves the caller's transaction as it was, and a
 * batch goes in whole or not at all without a nested transaction.
 *
 * All writing happens in the caller's transaction: a crash, or its abort,
 * leaves none of it. A handle owns its strings and the routes it made itself,
 * borrows the store and the caller's routes, and belongs to one thread.
 */
#include <waybill/outbox.h>

#include <stdio.h>
#include <stdlib.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/event/attribute.h"
#include "lib/event/envelope.h"
#include "outbox/outbox_internal.h"

static wb_code outbox_set_source(wb_outbox *outbox, const char *source,
				 wb_error *err)
{
	const char *service = wb_store_service(outbox->store);
	size_t size = strlen(service) + 2;
	wb_event probe = {.type = wb_str_from("probe")};
	wb_error why = WB_ERROR_INIT;
	wb_code code;

	if (source)
		size = strlen(source) + 1;
	outbox->source = malloc(size);
	if (!outbox->source)
		return WBI_FAIL(err, WB_ENOMEM, "outbox: out of memory");
	snprintf(outbox->source, size, "%s%s", source ? "" : "/",
		 source ? source : service);
	probe.source = wb_str_from(outbox->source);
	code = wb_event_check(&probe, NULL, &why);
	if (code == WB_OK && probe.source.len > 0)
		return WB_OK;
	return WBI_FAIL(err, WB_EINVAL,
			"outbox: default source%s: %.400s; give another in the "
			"options",
			source ? "" : " (\"/\" and the service's name)",
			probe.source.len > 0 ? why.text : "empty");
}

static wb_code outbox_init(wb_outbox *outbox, const wb_outbox_options *options,
			   wb_error *err)
{
	wb_code code = WB_OK;

	outbox->journal = wbi_journal_of(outbox->store, WBI_OUTBOX);
	outbox->limits = wbi_limits_of(&options->limits);
	outbox->routes = options->routes;
	if (!outbox->routes) {
		code = wb_routes_new(NULL, 0, &outbox->own_routes, err);
		outbox->routes = outbox->own_routes;
	}
	if (code != WB_OK)
		return code;
	for (size_t i = 0; i < wb_routes_count(outbox->routes); i++)
		if (strstr(wb_routes_at(outbox->routes, i)->routing_key,
			   "{source}"))
			outbox->source_in_keys = true;
	return outbox_set_source(outbox, options->source, err);
}

wb_code wb_outbox_open(wb_store *store, const wb_outbox_options *options,
		       wb_outbox **ret, wb_error *err)
{
	static const wb_outbox_options standard = WB_OUTBOX_OPTIONS_INIT;
	wb_outbox *outbox;
	wb_code code;

	if (!store || !ret)
		return WBI_FAIL(err, WB_EINVAL, "outbox: %s is NULL",
				store ? "ret" : "store");
	if (!options)
		options = &standard;
	if (options->size != sizeof(*options))
		return WBI_FAIL(err, WB_EINVAL,
				"outbox options: size is %zu, not %zu; start "
				"from WB_OUTBOX_OPTIONS_INIT",
				options->size, sizeof(*options));
	outbox = calloc(1, sizeof(*outbox));
	if (!outbox)
		return WBI_FAIL(err, WB_ENOMEM, "outbox: out of memory");
	outbox->store = store;
	code = outbox_init(outbox, options, err);
	if (code == WB_OK)
		*ret = outbox;
	else
		wb_outbox_close(outbox);
	return code;
}

void wb_outbox_close(wb_outbox *outbox)
{
	if (!outbox)
		return;
	wb_routes_free(outbox->own_routes);
	free(outbox->source);
	free(outbox);
}

/* Could the relay publish it? */
static wb_code outbox_check(const wb_outbox *outbox, const wb_event *event,
			    wb_error *err)
{
	char key[WB_ROUTING_KEY_MAX + 1];
	const wb_route *route;
	wb_event filled;
	size_t len;
	wb_code code = wb_event_check(event, &outbox->limits, err);

	if (code != WB_OK)
		return code;
	route = wb_routes_match(outbox->routes, event->type);
	if (event->source.len > 0 || !outbox->source_in_keys) {
		code = wb_route_key(route, event, key, &len, err);
	} else {
		filled = *event;
		filled.source = wb_str_from(outbox->source);
		code = wb_route_key(route, &filled, key, &len, err);
	}
	if (code == WB_OK && route->mode == WB_MODE_STRUCTURED)
		code = wbi_envelope_check_structured(event, err);
	return code;
}

/* Ask again what was wrong, and say which event of a batch it was. */
static wb_code outbox_refuse(const wb_outbox *outbox, const wb_event *events,
			     size_t index, size_t count, wb_error *err)
{
	wb_error why = WB_ERROR_INIT;
	wb_code code;

	if (count == 1)
		return outbox_check(outbox, events, err);
	code = outbox_check(outbox, &events[index], &why);
	return WBI_FAIL(err, code, "event %zu of %zu: %.440s", index + 1, count,
			why.text);
}

wb_code wbi_outbox_admit(const wb_outbox *outbox, const wb_event *events,
			 size_t count, size_t *ret_failed, wb_error *err)
{
	for (size_t i = 0; i < count; i++) {
		if (outbox_check(outbox, &events[i], NULL) == WB_OK)
			continue;
		if (ret_failed)
			*ret_failed = i;
		return outbox_refuse(outbox, events, i, count, err);
	}
	return WB_OK;
}

wb_code wb_outbox_append_batch(wb_outbox *outbox, MDB_txn *txn,
			       const wb_event *events, size_t count,
			       uint64_t *ret_first, size_t *ret_failed,
			       wb_error *err)
{
	uint64_t first = 0;
	wb_code code;

	if (!outbox || !txn || !events || count == 0)
		return WBI_FAIL(err, WB_EINVAL, "append: %s",
				!outbox   ? "outbox is NULL"
				: !txn    ? "the transaction is NULL"
				: !events ? "events is NULL"
					  : "no events");
	if (!wbi_txn_is_of(txn, wb_store_env(outbox->store)))
		return WBI_FAIL(err, WB_EINVAL,
				"append: the transaction is of another "
				"environment than the store");
	code = wbi_outbox_admit(outbox, events, count, ret_failed, err);
	if (code != WB_OK)
		return code;
	code = wbi_journal_append(&outbox->journal, txn, events, count,
				  wb_str_from(outbox->source), &first, err);
	if (code == WB_EQUOTA && ret_failed)
		*ret_failed = 0;
	if (code == WB_OK && ret_first)
		*ret_first = first;
	return code;
}

wb_code wb_outbox_append(wb_outbox *outbox, MDB_txn *txn, const wb_event *event,
			 uint64_t *ret_position, wb_error *err)
{
	return wb_outbox_append_batch(outbox, txn, event, 1, ret_position, NULL,
				      err);
}
