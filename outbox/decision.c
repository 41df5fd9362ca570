/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A decision: events copied out of the memory of whoever decides, each into
 * one block of its own, until they are appended. One thread; the decision owns
 * the blocks.
 */
#include "outbox/decision.h"

#include <stdlib.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/event/attribute.h"

enum { DECISION_ROOM = 4 };

void wbi_decision_clear(wb_decision *decision)
{
	for (size_t i = 0; i < decision->count; i++)
		free(decision->blocks[i]);
	free(decision->events);
	free(decision->blocks);
	*decision = (wb_decision){0};
}

uint64_t wb_decision_version(const wb_decision *decision)
{
	return decision->version;
}

static bool decision_grow(wb_decision *d)
{
	size_t room = d->room > 0 ? 2 * d->room : DECISION_ROOM;
	wb_event *events;
	void **blocks;

	if (d->count < d->room)
		return true;
	events = realloc(d->events, room * sizeof(*events));
	if (events)
		d->events = events;
	blocks = realloc(d->blocks, room * sizeof(*blocks));
	if (blocks)
		d->blocks = blocks;
	if (!events || !blocks)
		return false;
	d->room = room;
	return true;
}

/* Bytes that an event's strings take. */
static size_t decision_bytes(const wb_event *event)
{
	size_t bytes = event->data.len;

	for (size_t i = 0; i < WBI_ATTRIBUTES; i++)
		bytes += wbi_attribute_get(event, i).len;
	for (size_t i = 0; i < event->header_count; i++)
		bytes += event->headers[i].name.len +
			 event->headers[i].value.len;
	return bytes;
}

static wb_str decision_put(char **at, wb_str from)
{
	wb_str to = {*at, from.len};

	if (from.len > 0)
		memcpy(*at, from.ptr, from.len);
	*at += from.len;
	return to;
}

static bool decision_copy(const wb_event *event, wb_event *ret,
			  void **ret_block)
{
	size_t headers = event->header_count * sizeof(wb_header);
	size_t bytes = decision_bytes(event);
	char *block = malloc(headers + bytes + 1), *at;
	wb_header *copies = (wb_header *)(void *)block;

	if (!block)
		return false;
	at = block + headers;
	*ret = *event;
	for (size_t i = 0; i < WBI_ATTRIBUTES; i++)
		*wbi_attribute_of(ret, i) =
			decision_put(&at, wbi_attribute_get(event, i));
	for (size_t i = 0; i < event->header_count; i++) {
		copies[i].name = decision_put(&at, event->headers[i].name);
		copies[i].value = decision_put(&at, event->headers[i].value);
	}
	ret->headers = copies;
	ret->data = decision_put(&at, event->data);
	WB_ASSERT((size_t)(at - block) == headers + bytes);
	*ret_block = block;
	return true;
}

static wb_code decision_add(wb_decision *d, const wb_event *event,
			    wb_error *err)
{
	/* It is copied before it is checked, so no more than could pass. */
	if (event->header_count > WBI_HEADERS_MAX ||
	    (event->header_count > 0 && !event->headers))
		return WBI_FAIL(err, WB_EINVAL,
				"decision: an event of %zu headers",
				event->header_count);
	if (decision_bytes(event) > WBI_DATA_MAX)
		return WBI_FAIL(err, WB_ELIMIT,
				"decision: an event over %d bytes",
				(int)WBI_DATA_MAX);
	if (d->count >= WB_DECISION_EVENTS_MAX)
		return WBI_FAIL(err, WB_ELIMIT,
				"decision: over %d events of one command",
				(int)WB_DECISION_EVENTS_MAX);
	if (!decision_grow(d) ||
	    !decision_copy(event, &d->events[d->count], &d->blocks[d->count]))
		return WBI_FAIL(err, WB_ENOMEM, "decision: out of memory");
	d->count++;
	return WB_OK;
}

wb_code wb_decide(wb_decision *decision, const wb_event *event, wb_error *err)
{
	wb_code code;

	if (!decision || !event)
		return WBI_FAIL(err, WB_EINVAL, "decision: %s is NULL",
				decision ? "event" : "decision");
	code = decision_add(decision, event, err);
	if (code != WB_OK && decision->failed == WB_OK)
		decision->failed = code;
	return code;
}
