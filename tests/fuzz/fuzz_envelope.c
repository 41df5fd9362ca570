/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A message from whoever sent it, read as an event: binary, structured, by
 * AMQP properties alone. What is read is an event that can be kept (it passes
 * the check of an append, its record reads back) and sent on, and read again
 * from both forms is the same event.
 */
#include "lib/base/assert.h"
#include "lib/event/attribute.h"
#include "lib/event/envelope.h"
#include "lib/event/record.h"
#include "tests/fuzz/fuzz.h"

enum { HEADERS_MAX = 40 };

/* Names that mean something, so that the fuzzer need not spell them. */
static const char *const names[] = {
	"ce-specversion",  "ce-id",	     "ce-type",
	"ce-source",	   "ce-subject",     "ce-time",
	"ce-partitionkey", "ce-dataschema",  "ce-sequence",
	"ce-traceparent",  "ce-tracestate",  "ce-correlationid",
	"ce-causationid",  "ce-wborigin",    "ce-wbposition",
	"ce-colour",	   "specversion",    "id",
	"type",		   "source",	     "time",
	"x-death",	   "traceparent",    "cloudEvents_specversion",
	"cloudEvents:id",  "cloudEvents_id", "cloudEvents:type",
	"cloudEvents_source",
};

static const char *const types[] = {
	"application/cloudevents+json",
	"application/cloudevents+json; charset=utf-8",
	"application/json",
	"text/plain",
	"application/cloudevents-batch+json",
};

static wb_str name_of(fuzz_in *in)
{
	uint8_t which = fuzz_u8(in);

	return which < WBI_COUNT(names) ? wb_str_from(names[which])
					: fuzz_take(in, which % 32);
}

static void message_of(fuzz_in *in, wb_header headers[HEADERS_MAX],
		       wb_message *ret)
{
	uint8_t type = fuzz_u8(in);

	*ret = (wb_message){.headers = headers};
	ret->content_type = type < WBI_COUNT(types) ? wb_str_from(types[type])
						    : fuzz_take(in, type % 64);
	ret->exchange = fuzz_short(in);
	ret->routing_key = fuzz_short(in);
	ret->message_id = fuzz_short(in);
	ret->type = fuzz_short(in);
	ret->app_id = fuzz_short(in);
	ret->correlation_id = fuzz_short(in);
	ret->reply_to = fuzz_short(in);
	ret->timestamp_s = (int64_t)fuzz_u64(in);
	ret->header_count = fuzz_u8(in) % (HEADERS_MAX + 1);
	for (size_t i = 0; i < ret->header_count; i++) {
		headers[i].name = name_of(in);
		headers[i].value = fuzz_short(in);
	}
	ret->body = fuzz_rest(in);
}

static void same_event(const wb_event *a, const wb_event *b)
{
	for (size_t i = 0; i < WBI_ATTRIBUTES; i++)
		FUZZ_HOLDS(wb_str_eq(wbi_attribute_get(a, i),
				     wbi_attribute_get(b, i)));
	FUZZ_HOLDS(a->time_us == b->time_us);
	FUZZ_HOLDS(wb_str_eq(a->data, b->data));
	FUZZ_HOLDS(a->header_count == b->header_count);
}

static void keep(fuzz_in *in, const wb_event *event)
{
	size_t size = wbi_record_size(event);
	uint8_t *bytes = fuzz_block(in, size);
	wb_event back = {.time_us = 0};
	uint64_t position;

	wbi_record_encode(event, 7, bytes, size);
	FUZZ_HOLDS(wbi_record_decode(bytes, size, &back, &position, NULL) ==
		   WB_OK);
	FUZZ_HOLDS(position == 7);
	same_event(event, &back);
}

/* Read again what was sent on. */
static void back(const wb_message *message, const wb_event *event)
{
	wbi_received received;
	wb_error err = WB_ERROR_INIT;

	if (wbi_envelope_read(message, NULL, &received, &err) != WB_OK) {
		fprintf(stderr, "%s\n", err.text);
		abort();
	}
	same_event(event, &received.event);
	wbi_envelope_read_fini(&received);
}

/* JSON in JSON: white space around a value is no part of it, and null is no
 * data. */
static bool stands_alone(const wb_event *event)
{
	static const char space[] = " \t\r\n";
	wb_str data = event->data;

	return data.len == 0 ||
	       !wbi_content_type_is_json(event->content_type) ||
	       (!memchr(space, data.ptr[0], 4) &&
		!memchr(space, data.ptr[data.len - 1], 4) &&
		!wb_str_eq(data, wb_str_from("null")));
}

static void send(fuzz_in *in, const wb_event *event)
{
	const wbi_envelope_context context = {wb_str_from("fuzz"),
					      wb_str_from("origin"), 7};
	size_t count = event->header_count + WBI_ENVELOPE_HEADERS;
	wb_header *headers = (wb_header *)(void *)fuzz_block(
		in, count * sizeof(*headers));
	char scratch[WBI_ENVELOPE_SCRATCH], *room, *body = NULL, *line;
	size_t bytes = 1, len;
	wb_message message;

	for (size_t i = 0; i < event->header_count; i++)
		bytes += event->headers[i].name.len + 3;
	room = (char *)fuzz_block(in, bytes);
	wbi_envelope_binary(event, &context, headers, room, scratch, &message);
	back(&message, event);
	if (wbi_envelope_structured(event, &context, &message, &body, NULL) ==
	    WB_OK) {
		if (stands_alone(event))
			back(&message, event);
		free(body);
	}
	if (wbi_envelope_line(event, &line, &len, NULL) == WB_OK)
		free(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	wb_header headers[HEADERS_MAX];
	wbi_received received;
	wb_message message;
	wb_error err = WB_ERROR_INIT;
	wb_event event;
	fuzz_in in;

	fuzz_init(&in, data, size);
	message_of(&in, headers, &message);
	if (wbi_envelope_read(&message, NULL, &received, &err) == WB_OK) {
		event = received.event;
		FUZZ_HOLDS(event.id.len > 0);
		FUZZ_HOLDS(wbi_event_check_own(&event, NULL, &err) == WB_OK);
		keep(&in, &event);
		/* Without a source it is no CloudEvent; and such data, which
		 * no append takes, would be taken for an event. */
		if (event.source.len > 0 &&
		    !wbi_content_type_is_structured(event.content_type))
			send(&in, &event);
		wbi_envelope_read_fini(&received);
	}
	fuzz_fini(&in);
	return 0;
}
