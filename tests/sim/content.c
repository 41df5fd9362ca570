/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See content.h. The correlation id says what type, key and size the event had,
 * so that these three are compared, too. About a third of the events lack each
 * of what an event need not have. No state.
 */
#include "tests/sim/content.h"

#include <stdio.h>
#include <string.h>

#include "lib/base/assert.h"
#include "lib/base/hash.h"

/* One in three by its id and `salt`: this one has none. What a handler emits has
 * all, since it would get what it lacks from its cause. */
static bool content_lacks(const wb_event *event, uint64_t salt)
{
	return event->id.ptr[0] == 'e' &&
	       wbi_hash(salt, event->id.ptr, event->id.len) % 3 == 0;
}

static wb_str content_text(char *room, size_t size, const char *with,
			   const wb_event *event, uint64_t salt)
{
	if (content_lacks(event, salt))
		return WB_STR_NULL;
	snprintf(room, size, "%s%.*s", with, (int)event->id.len,
		 event->id.ptr);
	return wb_str_from(room);
}

static wb_str content_trace(const wb_event *event, char room[56])
{
	uint64_t a = wbi_hash(7, event->id.ptr, event->id.len);
	uint64_t b = wbi_hash(8, event->id.ptr, event->id.len);

	if (content_lacks(event, 9))
		return WB_STR_NULL;
	snprintf(room, 56, "00-%016llx%016llx-%016llx-01",
		 (unsigned long long)a, (unsigned long long)b,
		 (unsigned long long)(a ^ b) | 1);
	return wb_str_from(room);
}

static wb_str content_data(const wb_event *event, size_t size, char *room)
{
	uint64_t bits = wbi_hash(size, event->id.ptr, event->id.len) | 1;

	for (size_t i = 0; i < size; i++) {
		bits ^= bits << 13;
		bits ^= bits >> 7;
		bits ^= bits << 17;
		room[i] = (char)bits;
	}
	return wb_str_n(room, size);
}

static void content_headers(wb_event *event, sim_content *room)
{
	static const char *const names[SIM_CONTENT_HEADERS] = {"simfirst",
							       "simlast"};

	event->headers = room->headers;
	event->header_count = 0;
	for (size_t i = 0; i < SIM_CONTENT_HEADERS; i++) {
		wb_str value = content_text(room->values[i],
					    sizeof(room->values[i]), "h-",
					    event, 10 + i);

		if (value.len > 0)
			room->headers[event->header_count++] = (wb_header){
				wb_str_from(names[i]), value};
	}
}

void sim_content_fill(wb_event *event, size_t size, sim_content *room)
{
	WB_ASSERT(size <= SIM_CONTENT_MAX);
	snprintf(room->about, sizeof(room->about), "%.*s/%.*s/%zu",
		 (int)event->type.len, event->type.ptr, (int)event->key.len,
		 event->key.ptr ? event->key.ptr : "", size);
	event->correlation_id = wb_str_from(room->about);
	event->causation_id = content_text(room->cause, sizeof(room->cause),
					   "cause-", event, 1);
	event->tracestate = content_text(room->state, sizeof(room->state),
					 "sim=", event, 2);
	event->reply_to = content_text(room->answer, sizeof(room->answer),
				       "answer-", event, 3);
	event->data_schema = content_text(room->schema, sizeof(room->schema),
					  "https://a.example/", event, 4);
	event->subject = content_text(room->subject, sizeof(room->subject),
				      "of/", event, 5);
	event->traceparent = content_trace(event, room->trace);
	event->content_type = content_lacks(event, 6)
				      ? WB_STR_NULL
				      : wb_str_from("application/x-sim");
	content_headers(event, room);
	event->data = content_data(event, size, room->data);
}

/* ---- the way back ---------------------------------------------------------- */

/* Of a stream: "xo/o3", the stream's name. */
static bool content_is_streams(const wb_event *event)
{
	wb_str s = event->subject;

	return event->sequence > 0 && s.len == event->key.len + 3 &&
	       s.ptr[0] == 'x' && s.ptr[1] == event->key.ptr[0] &&
	       s.ptr[2] == '/' &&
	       !memcmp(s.ptr + 3, event->key.ptr, event->key.len);
}

/* Beside those that an inbox adds: where it came from. */
static bool content_same_headers(const wb_event *event, const wb_event *whole)
{
	size_t at = 0;

	for (size_t i = 0; i < event->header_count; i++) {
		const wb_header *h = &event->headers[i];

		if (h->name.len > 2 && !memcmp(h->name.ptr, "wb", 2))
			continue;
		if (at == whole->header_count ||
		    !wb_str_eq(h->name, whole->headers[at].name) ||
		    !wb_str_eq(h->value, whole->headers[at].value))
			return false;
		at++;
	}
	return at == whole->header_count;
}

const char *sim_content_differs(const wb_event *event)
{
	wb_event whole = {
		.id = event->id, .type = event->type, .key = event->key};
	size_t size = event->data.len;
	sim_content room;

	if (size > SIM_CONTENT_MAX)
		return "the size of its data";
	sim_content_fill(&whole, size, &room);
	if (!wb_str_eq(event->correlation_id, whole.correlation_id))
		return "its type, key, size or correlation id";
	if (!wb_str_eq(event->data, whole.data))
		return "its data";
	if (!wb_str_eq(event->subject, whole.subject) &&
	    !content_is_streams(event))
		return "its subject";
	if (!wb_str_eq(event->causation_id, whole.causation_id))
		return "its causation id";
	if (!wb_str_eq(event->traceparent, whole.traceparent))
		return "its traceparent";
	if (!wb_str_eq(event->tracestate, whole.tracestate))
		return "its tracestate";
	if (!wb_str_eq(event->reply_to, whole.reply_to))
		return "its reply_to";
	if (!wb_str_eq(event->data_schema, whole.data_schema))
		return "its data schema";
	if (!wb_str_eq(event->content_type, whole.content_type))
		return "its content type";
	return content_same_headers(event, &whole) ? NULL : "its headers";
}
