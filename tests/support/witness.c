/* SPDX-License-Identifier: BSD-2-Clause */
/* See witness.h. Owns nothing; the broker is the test's. One thread. */
#include "tests/support/witness.h"

#include <stdio.h>
#include <stdlib.h>

static int64_t witness_offset(const wb_message *message)
{
	char text[24];

	for (size_t i = 0; i < message->header_count; i++) {
		wb_str value = message->headers[i].value;

		if (!wb_str_eq(message->headers[i].name,
			       wb_str_from(WB_STREAM_OFFSET)))
			continue;
		snprintf(text, sizeof(text), "%.*s", (int)value.len, value.ptr);
		return strtoll(text, NULL, 10);
	}
	return -1;
}

static void witness_note(witness *w, const wb_broker_event *from)
{
	witness_event *to;

	if (from->kind == WB_BROKER_DECLARE_FAILED)
		snprintf(w->refusal, sizeof(w->refusal), "%.*s",
			 (int)from->text.len, from->text.ptr);
	if (w->count++ >= WITNESS_MAX)
		return;
	to = &w->events[w->count - 1];
	*to = (witness_event){
		.kind = from->kind,
		.token = from->token,
		.reply_code = from->reply_code,
		.code = from->error.code,
		.delivery = from->delivery,
		.redelivered = from->redelivered,
		.offset = witness_offset(&from->message),
	};
	snprintf(to->id, sizeof(to->id), "%.*s",
		 (int)from->message.message_id.len,
		 from->message.message_id.ptr ? from->message.message_id.ptr
					      : "");
}

void witness_step(witness *w)
{
	wb_broker_event event;

	wb_broker_step(w->broker);
	while (wb_broker_next(w->broker, &event))
		witness_note(w, &event);
}

static size_t witness_kept(const witness *w)
{
	return w->count < WITNESS_MAX ? w->count : WITNESS_MAX;
}

size_t witness_count(const witness *w, wb_broker_event_kind kind)
{
	size_t found = 0;

	for (size_t i = 0; i < witness_kept(w); i++)
		found += w->events[i].kind == kind;
	return found;
}

const witness_event *witness_get(const witness *w, wb_broker_event_kind kind,
				 size_t index)
{
	for (size_t i = 0; i < witness_kept(w); i++)
		if (w->events[i].kind == kind && index-- == 0)
			return &w->events[i];
	return NULL;
}

void witness_clear(witness *w)
{
	w->count = 0;
}
