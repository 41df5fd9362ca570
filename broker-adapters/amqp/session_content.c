/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Deliveries and returns: a method, a content header, then the body in pieces.
 *
 * A delivery becomes one block of memory with everything its wb_message
 * borrows, claimed when the header has told the sizes and after these have
 * been held against the limits. What is beyond a limit is delivered all the
 * same, so that the consumer can set it aside and the connection goes on: with
 * the header WB_HEADER_UNDECODED, whose value is the reason; without its other
 * headers if it was they that could not be decoded, without its body if it was
 * that which is too large.
 *
 * A return's body is dropped as it comes. A return that matches no outstanding
 * publish ends the session: its ack would be taken for a delivery.
 */
#include <stdio.h>
#include <stdlib.h>

#include "broker-adapters/amqp/session_internal.h"
#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/base/text.h"

/* Where one header lies in the scratch buffer. */
typedef struct content_span {
	size_t name, name_len, value, value_len;
} content_span;

static void content_keep(session_short *to, amqp_bytes_t from)
{
	WB_ASSERT(from.len <= sizeof(to->bytes));
	if (from.len > 0)
		memcpy(to->bytes, from.bytes, from.len);
	to->len = (uint8_t)from.len;
}

static wb_str content_kept(const session_short *s)
{
	return wb_str_n(s->bytes, s->len);
}

void wbi_session_content_reset(wbi_session *session)
{
	session_content *c = &session->content;

	free(c->message);
	c->message = NULL;
	c->body_to = NULL;
	c->kind = CONTENT_NONE;
}

static void content_begin(session_content *c, content_kind kind,
			  amqp_bytes_t exchange, amqp_bytes_t routing_key)
{
	c->kind = kind;
	c->has_header = false;
	c->drop_body = false;
	content_keep(&c->exchange, exchange);
	content_keep(&c->routing_key, routing_key);
}

void wbi_session_on_deliver(wbi_session *session, const wbi_frame *frame)
{
	const amqp_basic_deliver_t *deliver = frame->decoded;
	session_content *c = &session->content;

	if (!wbi_session_count_delivery(session, deliver->delivery_tag,
					&c->delivery))
		return;
	content_begin(c, CONTENT_DELIVERY, deliver->exchange,
		      deliver->routing_key);
	c->redelivered = deliver->redelivered;
}

void wbi_session_on_return(wbi_session *session, const wbi_frame *frame)
{
	const amqp_basic_return_t *back = frame->decoded;
	session_content *c = &session->content;

	content_begin(c, CONTENT_RETURN, back->exchange, back->routing_key);
	c->reply_code = back->reply_code;
	content_keep(&c->text, back->reply_text);
}

/* ---- headers ----------------------------------------------------------- */

static wb_code content_add_span(wbi_buffer *scratch, content_span *span,
				amqp_bytes_t name,
				const amqp_field_value_t *value)
{
	wb_code code;

	span->name = wbi_buffer_len(scratch);
	span->name_len = name.len;
	code = wbi_buffer_append(scratch, name.bytes, name.len);
	span->value = wbi_buffer_len(scratch);
	if (code == WB_OK)
		code = wbi_field_text(scratch, value);
	span->value_len = wbi_buffer_len(scratch) - span->value;
	return code;
}

/* All headers' texts into the scratch buffer; *ret_count of them. */
static wb_code content_headers(wbi_session *s, const wbi_frame *frame,
			       const char *reason, content_span *spans,
			       size_t *ret_count)
{
	const amqp_basic_properties_t *p = frame->properties;
	amqp_field_value_t why = {.kind = AMQP_FIELD_KIND_UTF8};
	wb_code code = WB_OK;
	size_t count = 0;

	wbi_buffer_clear(&s->scratch);
	if (p->_flags & AMQP_BASIC_HEADERS_FLAG) {
		WB_ASSERT(p->headers.num_entries <= WBI_TABLE_TOP_KEYS_MAX);
		for (int i = 0; i < p->headers.num_entries && code == WB_OK;
		     i++)
			code = content_add_span(&s->scratch, &spans[count++],
						p->headers.entries[i].key,
						&p->headers.entries[i].value);
	}
	if (reason && code == WB_OK) {
		why.value.bytes = amqp_cstring_bytes(reason);
		code = content_add_span(
			&s->scratch, &spans[count++],
			amqp_cstring_bytes(WB_HEADER_UNDECODED), &why);
	}
	*ret_count = count;
	return code;
}

/* ---- a delivery's block ------------------------------------------------ */

/* Copy to the block's free end, *at, and move that on. */
static wb_str content_copy(char **at, wb_str from)
{
	wb_str to = wb_str_n(*at, from.len);

	if (from.len > 0)
		memcpy(*at, from.ptr, from.len);
	*at += from.len;
	return to;
}

static wb_str content_property(const amqp_basic_properties_t *p,
			       amqp_flags_t flag, const amqp_bytes_t *field)
{
	return p->_flags & flag ? wbi_amqp_str(*field) : WB_STR_NULL;
}

/* The properties, still borrowed from the frame. */
static void content_message(const session_content *c,
			    const amqp_basic_properties_t *p, wb_message *m)
{
	memset(m, 0, sizeof(*m));
	m->exchange = content_kept(&c->exchange);
	m->routing_key = content_kept(&c->routing_key);
	m->message_id = content_property(p, AMQP_BASIC_MESSAGE_ID_FLAG,
					 &p->message_id);
	m->type = content_property(p, AMQP_BASIC_TYPE_FLAG, &p->type);
	m->app_id = content_property(p, AMQP_BASIC_APP_ID_FLAG, &p->app_id);
	m->content_type = content_property(p, AMQP_BASIC_CONTENT_TYPE_FLAG,
					   &p->content_type);
	m->correlation_id = content_property(p, AMQP_BASIC_CORRELATION_ID_FLAG,
					     &p->correlation_id);
	m->reply_to =
		content_property(p, AMQP_BASIC_REPLY_TO_FLAG, &p->reply_to);
	if (p->_flags & AMQP_BASIC_TIMESTAMP_FLAG)
		m->timestamp_s = p->timestamp > INT64_MAX
					 ? INT64_MAX
					 : (int64_t)p->timestamp;
	m->persistent = p->_flags & AMQP_BASIC_DELIVERY_MODE_FLAG &&
			p->delivery_mode == AMQP_DELIVERY_PERSISTENT;
}

/* message | headers | header texts | strings | body */
static wb_message *content_block(const wbi_session *s, const wb_message *from,
				 const content_span *spans, size_t count,
				 size_t body_len, char **ret_body)
{
	const wb_str strings[] = {
		from->exchange, from->routing_key,  from->message_id,
		from->type,	from->app_id,	    from->content_type,
		from->correlation_id, from->reply_to};
	size_t size = sizeof(wb_message) + count * sizeof(wb_header) +
		      wbi_buffer_len(&s->scratch) + body_len;
	wb_message *m;
	wb_header *headers;
	wb_str texts;
	char *at;

	for (size_t i = 0; i < WBI_COUNT(strings); i++)
		size += strings[i].len;
	m = malloc(size);
	if (!m)
		return NULL;
	*m = *from;
	headers = (wb_header *)(void *)(m + 1);
	at = (char *)(headers + count);
	texts = wb_str_n(wbi_buffer_data(&s->scratch),
			 wbi_buffer_len(&s->scratch));
	texts = content_copy(&at, texts);
	for (size_t i = 0; i < count; i++) {
		headers[i].name =
			wb_str_n(texts.ptr + spans[i].name, spans[i].name_len);
		headers[i].value = wb_str_n(texts.ptr + spans[i].value,
					    spans[i].value_len);
	}
	m->headers = headers;
	m->header_count = count;
	m->exchange = content_copy(&at, strings[0]);
	m->routing_key = content_copy(&at, strings[1]);
	m->message_id = content_copy(&at, strings[2]);
	m->type = content_copy(&at, strings[3]);
	m->app_id = content_copy(&at, strings[4]);
	m->content_type = content_copy(&at, strings[5]);
	m->correlation_id = content_copy(&at, strings[6]);
	m->reply_to = content_copy(&at, strings[7]);
	m->body = wb_str_n(at, body_len);
	*ret_body = at;
	return m;
}

static void content_on_delivery_header(wbi_session *s, const wbi_frame *frame)
{
	content_span spans[WBI_TABLE_TOP_KEYS_MAX + 1];
	session_content *c = &s->content;
	const char *reason = frame->undecoded;
	wb_message borrowed;
	char too_large[128];
	size_t count = 0;

	c->drop_body = frame->body_size > s->options.body_max_bytes;
	if (c->drop_body && !reason) {
		snprintf(too_large, sizeof(too_large),
			 "a body of %llu bytes, more than body_max_bytes, %u",
			 (unsigned long long)frame->body_size,
			 s->options.body_max_bytes);
		reason = too_large;
	}
	content_message(c, frame->properties, &borrowed);
	if (content_headers(s, frame, reason, spans, &count) == WB_OK)
		c->message = content_block(
			s, &borrowed, spans, count,
			c->drop_body ? 0 : (size_t)frame->body_size,
			&c->body_to);
	if (!c->message)
		wbi_session_no_memory(s);
	else if (reason)
		wbi_log(s->options.log, WB_LOG_WARN,
			"amqp: a delivery that is not whole: %s", reason);
}

/* ---- header, body, end ------------------------------------------------- */

static void content_on_header(wbi_session *s, const wbi_frame *frame)
{
	session_content *c = &s->content;
	wb_str id;

	c->has_header = true;
	c->body_left = frame->body_size;
	if (c->kind == CONTENT_DELIVERY) {
		content_on_delivery_header(s, frame);
		return;
	}
	c->drop_body = true;
	id = content_property(frame->properties, AMQP_BASIC_MESSAGE_ID_FLAG,
			      &frame->properties->message_id);
	if (!wbi_confirms_return(&s->confirms, id, &c->token))
		wbi_session_violation(s, "a return of a message that waits for "
					 "no confirm");
}

static void content_finish_return(wbi_session *s)
{
	session_content *c = &s->content;
	session_event event = {.kind = WB_BROKER_RETURNED,
			       .reply_code = c->reply_code,
			       .token = c->token};

	c->kind = CONTENT_NONE;
	wbi_session_push_reason(s, &event, content_kept(&c->text), NULL);
}

static void content_finish_delivery(wbi_session *s)
{
	session_content *c = &s->content;
	session_event event = {.kind = WB_BROKER_DELIVERY,
			       .token = s->consumer.token,
			       .delivery = c->delivery,
			       .redelivered = c->redelivered,
			       .message = c->message,
			       .memory = c->message};

	c->message = NULL;
	c->kind = CONTENT_NONE;
	wbi_session_push(s, &event);
}

static void content_on_body(wbi_session *s, const wbi_frame *frame)
{
	session_content *c = &s->content;

	if (frame->body_len > c->body_left) {
		wbi_session_violation(s, "a body longer than announced");
		return;
	}
	c->body_left -= frame->body_len;
	if (c->drop_body || frame->body_len == 0)
		return;
	memcpy(c->body_to, frame->body, frame->body_len);
	c->body_to += frame->body_len;
}

void wbi_session_on_content(wbi_session *session, const wbi_frame *frame)
{
	session_content *c = &session->content;
	bool is_header = frame->type == AMQP_FRAME_HEADER;

	if (c->kind == CONTENT_NONE || c->has_header == is_header) {
		wbi_session_violation(session, "content out of turn");
		return;
	}
	if (is_header)
		content_on_header(session, frame);
	else
		content_on_body(session, frame);
	if (session->stage == SESSION_OVER || c->body_left > 0)
		return;
	if (c->kind == CONTENT_RETURN)
		content_finish_return(session);
	else
		content_finish_delivery(session);
}
