/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A list of at most 64 wishes, each in one block of memory of its own, a MiB in
 * all. Nothing of it is durable: a crash before the outcome's commit means that
 * the external call is made again, and wishes again.
 */
#include "inbox/later.h"

#include <stdlib.h>

#include "inbox/call.h"
#include "lib/base/assert.h"
#include "lib/base/error.h"

typedef enum later_kind { LATER_EMIT, LATER_SET, LATER_CANCEL } later_kind;

typedef struct later_wish {
	later_kind kind;
	void *block; /* what all strings below point into */
	wb_event event;
	wb_str name, data; /* of a timer */
	int64_t due_us;
} later_wish;

struct wbi_later {
	size_t count, bytes;
	later_wish wishes[WBI_LATER_MAX];
};

wbi_later *wbi_later_new(void)
{
	return calloc(1, sizeof(wbi_later));
}

void wbi_later_clear(wbi_later *later)
{
	for (size_t i = 0; i < later->count; i++)
		free(later->wishes[i].block);
	later->count = later->bytes = 0;
}

void wbi_later_free(wbi_later *later)
{
	if (!later)
		return;
	wbi_later_clear(later);
	free(later);
}

/* One more wish with room for `bytes`. */
static wb_code later_add(wbi_later *later, size_t bytes, later_wish **ret,
			 wb_error *err)
{
	later_wish *wish = &later->wishes[later->count];

	if (later->count == WBI_LATER_MAX ||
	    bytes > WBI_LATER_BYTES_MAX - later->bytes)
		return WBI_FAIL(err, WB_ELIMIT,
				"an external call may emit and set timers %d "
				"times, %d bytes in all: do more in a "
				"transactional handler",
				(int)WBI_LATER_MAX, (int)WBI_LATER_BYTES_MAX);
	*wish = (later_wish){.block = malloc(bytes > 0 ? bytes : 1)};
	if (!wish->block)
		return WBI_FAIL(err, WB_ENOMEM, "external call: out of memory");
	later->count++;
	later->bytes += bytes;
	*ret = wish;
	return WB_OK;
}

/* Move a string into the block. */
static void later_keep(char **at, wb_str *s)
{
	if (s->len > 0)
		memcpy(*at, s->ptr, s->len);
	s->ptr = *at;
	*at += s->len;
}

/* Every string of an event but its headers'. */
enum { LATER_STRINGS = 12 };

static void later_strings(wb_event *e, wb_str *ret[LATER_STRINGS])
{
	wb_str *all[LATER_STRINGS] = {&e->id,           &e->type,
				      &e->source,       &e->subject,
				      &e->key,          &e->content_type,
				      &e->data_schema,  &e->correlation_id,
				      &e->causation_id, &e->traceparent,
				      &e->tracestate,   &e->reply_to};

	memcpy(ret, all, sizeof(all));
}

static size_t later_event_bytes(wb_event *e)
{
	size_t bytes = e->header_count * sizeof(wb_header) + e->data.len;
	wb_str *strings[LATER_STRINGS];

	later_strings(e, strings);
	for (size_t i = 0; i < LATER_STRINGS; i++)
		bytes += strings[i]->len;
	for (size_t i = 0; i < e->header_count; i++)
		bytes += e->headers[i].name.len + e->headers[i].value.len;
	return bytes;
}

wb_code wbi_later_emit(wbi_later *later, const wb_event *event, wb_error *err)
{
	wb_str *strings[LATER_STRINGS];
	wb_event e = *event;
	wb_header *headers;
	later_wish *wish;
	char *at;
	wb_code code;

	/* The handler should hear of it, not the transaction afterwards. */
	code = wb_event_check(event, NULL, err);
	if (code == WB_OK)
		code = later_add(later, later_event_bytes(&e), &wish, err);
	if (code != WB_OK)
		return code;
	headers = wish->block; /* first, for their alignment */
	at = (char *)(headers + e.header_count);
	for (size_t i = 0; i < e.header_count; i++) {
		headers[i] = e.headers[i];
		later_keep(&at, &headers[i].name);
		later_keep(&at, &headers[i].value);
	}
	e.headers = headers;
	later_strings(&e, strings);
	for (size_t i = 0; i < LATER_STRINGS; i++)
		later_keep(&at, strings[i]);
	later_keep(&at, &e.data);
	wish->kind = LATER_EMIT;
	wish->event = e;
	return WB_OK;
}

wb_code wbi_later_timer_set(wbi_later *later, wb_str name, int64_t due_us,
			    wb_str data, wb_error *err)
{
	later_wish *wish;
	char *at;
	wb_code code = later_add(later, name.len + data.len, &wish, err);

	if (code != WB_OK)
		return code;
	at = wish->block;
	later_keep(&at, &name);
	later_keep(&at, &data);
	wish->kind = LATER_SET;
	wish->name = name;
	wish->data = data;
	wish->due_us = due_us;
	return WB_OK;
}

wb_code wbi_later_timer_cancel(wbi_later *later, wb_str name, wb_error *err)
{
	later_wish *wish;
	char *at;
	wb_code code = later_add(later, name.len, &wish, err);

	if (code != WB_OK)
		return code;
	at = wish->block;
	later_keep(&at, &name);
	wish->kind = LATER_CANCEL;
	wish->name = name;
	return WB_OK;
}

static wb_code later_do(const later_wish *wish, wb_call *call, wb_error *err)
{
	wb_code code;

	switch (wish->kind) {
	case LATER_EMIT:
		return wb_emit(call, &wish->event, err);
	case LATER_SET:
		return wb_timer_set(call, wish->name, wish->due_us, wish->data,
				    err);
	case LATER_CANCEL:
		code = wb_timer_cancel(call, wish->name, err);
		return code == WB_ENOTFOUND ? WB_OK : code;
	}
	WB_ASSERT(false); /* every kind is listed */
	return WB_ESTATE;
}

wb_code wbi_later_apply(const wbi_later *later, wb_call *call, wb_error *err)
{
	wb_code code = WB_OK;

	WB_ASSERT(call->txn && !call->later);
	for (size_t i = 0; i < later->count && code == WB_OK; i++)
		code = later_do(&later->wishes[i], call, err);
	return code;
}
