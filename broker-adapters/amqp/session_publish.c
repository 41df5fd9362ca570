/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One message into its frames: basic.publish, the content header, the body cut
 * to frame_max, written in place at the end of the output. This is the hot
 * path: one look at the sizes, one claim of room, one pass of encoding; no
 * allocation once buffer and ring have their size. The property list is
 * written here and not by the library, which wants the headers copied into a
 * table of its own first and takes a fifth of a relay's time for it; a test
 * holds every byte of it to what the library would have written.
 *
 * All or nothing: what is refused has left no byte in the output.
 */
#include "broker-adapters/amqp/session_internal.h"
#include "lib/base/assert.h"
#include "lib/base/bytes.h"
#include "lib/base/error.h"

enum {
	/* frame header, method id, ticket, two lengths, bits, end */
	PUBLISH_METHOD = 7 + 4 + 2 + 2 + 1 + 1,
	/* frame header, class, weight, body size, end */
	PUBLISH_HEADER = 7 + 2 + 2 + 8 + 1,
	/* flags, mode, timestamp, five lengths, the table's length */
	PUBLISH_PROPERTIES = 2 + 1 + 8 + 6 + 4,
	PUBLISH_HEADERS_MAX = WBI_TABLE_TOP_KEYS_MAX
};

typedef struct publish_size {
	size_t method;	   /* whole frame */
	size_t properties; /* an upper bound */
	size_t total;	   /* upper bound of all frames */
} publish_size;

static wb_code publish_check_state(const wbi_session *s, wb_error *err)
{
	if (s->stage != SESSION_UP)
		return WBI_FAIL(err, WB_ESTATE, "the connection is not up");
	if (s->channel != CHANNEL_OPEN)
		return WBI_FAIL(err, WB_ESTATE,
				"the publishing channel is closed: reopen it");
	if (s->blocked || s->flow_stopped)
		return WBI_FAIL(err, WB_ESTATE,
				"the broker blocks publishers just now");
	return WB_OK;
}

static wb_code publish_too_long(const wb_message *m, const char *what,
				size_t len, wb_error *err)
{
	return WBI_FAIL(err, WB_ELIMIT,
			"message '%.*s': %s has %zu bytes; AMQP allows 255",
			(int)(m->message_id.len < 64 ? m->message_id.len : 64),
			m->message_id.ptr, what, len);
}

/* Which one was it? */
static wb_code publish_name_long(const wb_message *m, wb_error *err)
{
	const struct {
		const char *name;
		size_t len;
	} fields[] = {{"the message id", m->message_id.len},
		      {"the type", m->type.len},
		      {"the app id", m->app_id.len},
		      {"the content type", m->content_type.len},
		      {"the correlation id", m->correlation_id.len},
		      {"reply_to", m->reply_to.len},
		      {"the exchange", m->exchange.len},
		      {"the routing key", m->routing_key.len}};
	size_t i = 0;

	while (fields[i].len <= SESSION_SHORT_MAX)
		i++;
	WB_ASSERT(i < WBI_COUNT(fields));
	return publish_too_long(m, fields[i].name, fields[i].len, err);
}

/* Every field that AMQP holds in a short string; *ret_bytes: of all that are
 * properties. */
static wb_code publish_check_strings(const wb_message *m, size_t *ret_bytes,
				     wb_error *err)
{
	size_t any = m->message_id.len | m->type.len | m->app_id.len |
		     m->content_type.len | m->correlation_id.len |
		     m->reply_to.len | m->exchange.len | m->routing_key.len;

	if (any > SESSION_SHORT_MAX) /* 255: all bits below are its own */
		return publish_name_long(m, err);
	if (m->message_id.len == 0)
		return WBI_FAIL(err, WB_EINVAL,
				"a message needs a message id: a return is "
				"matched by it");
	*ret_bytes = m->message_id.len + m->type.len + m->app_id.len +
		     m->content_type.len + m->correlation_id.len +
		     m->reply_to.len;
	return WB_OK;
}

static wb_code publish_check_headers(const wb_message *m, size_t *ret_bytes,
				     wb_error *err)
{
	size_t bytes = 0;

	if (m->header_count > PUBLISH_HEADERS_MAX)
		return WBI_FAIL(err, WB_ELIMIT,
				"a message with %zu headers: %d is the most",
				m->header_count, PUBLISH_HEADERS_MAX);
	for (size_t i = 0; i < m->header_count; i++) {
		const wb_header *h = &m->headers[i];

		if (h->name.len > SESSION_SHORT_MAX)
			return publish_too_long(m, "a header's name",
						h->name.len, err);
		if (h->value.len > UINT32_MAX / 2)
			return WBI_FAIL(err, WB_ELIMIT,
					"header '%.*s' has %zu bytes",
					(int)h->name.len, h->name.ptr,
					h->value.len);
		bytes += 1 + h->name.len + 1 + 4 + h->value.len;
	}
	*ret_bytes = bytes;
	return WB_OK;
}

static wb_code publish_measure(const wbi_session *s, const wb_message *m,
			       publish_size *ret, wb_error *err)
{
	size_t strings = 0, headers = 0, body_frame, frames;
	wb_code code = publish_check_strings(m, &strings, err);

	if (code == WB_OK)
		code = publish_check_headers(m, &headers, err);
	if (code != WB_OK)
		return code;
	if (m->body.len > s->options.body_max_bytes)
		return WBI_FAIL(err, WB_ELIMIT,
				"a body of %zu bytes: body_max_bytes is %u",
				m->body.len, s->options.body_max_bytes);
	ret->method = PUBLISH_METHOD + m->exchange.len + m->routing_key.len;
	ret->properties = PUBLISH_PROPERTIES + strings + headers;
	if (ret->properties + PUBLISH_HEADER > s->frame_max)
		return WBI_FAIL(err, WB_ELIMIT,
				"the headers have %zu bytes and AMQP wants "
				"them in one frame of %u: shorten them, or "
				"raise frame_max on both sides",
				headers, s->frame_max);
	body_frame = s->frame_max - WBI_FRAME_OVERHEAD;
	frames = (m->body.len + body_frame - 1) / body_frame;
	ret->total = ret->method + PUBLISH_HEADER + ret->properties +
		     m->body.len + frames * WBI_FRAME_OVERHEAD;
	return WB_OK;
}

static uint8_t *publish_put_method(uint8_t *to, size_t len, const wb_message *m)
{
	amqp_basic_publish_t publish = {
		.exchange = wbi_amqp_bytes(m->exchange),
		.routing_key = wbi_amqp_bytes(m->routing_key),
		.mandatory = 1,
	};
	amqp_bytes_t space = {len - 12, to + 11};
	int encoded = amqp_encode_method(AMQP_BASIC_PUBLISH_METHOD, &publish,
					 space);

	WB_ASSERT(encoded >= 0 && (size_t)encoded == len - 12);
	wbi_codec_put_header(to, AMQP_FRAME_METHOD, SESSION_CHANNEL, len - 8);
	wbi_put_be32(to + WBI_FRAME_HEADER, AMQP_BASIC_PUBLISH_METHOD);
	to[len - 1] = AMQP_FRAME_END;
	return to + len;
}

static uint8_t *publish_put_bytes(uint8_t *to, wb_str s)
{
	memcpy(to, s.ptr, s.len);
	return to + s.len;
}

/* A short string that is there: length and bytes; its flag goes to *flags. */
static uint8_t *publish_put_short(uint8_t *to, wb_str s, amqp_flags_t flag,
				  amqp_flags_t *flags)
{
	if (s.len == 0)
		return to;
	*flags |= flag;
	*to++ = (uint8_t)s.len;
	return publish_put_bytes(to, s);
}

/* AMQP 0-9-1, 4.2.5.5: each entry a short string, a type, a long string. */
static uint8_t *publish_put_table(uint8_t *to, const wb_message *m)
{
	uint8_t *start = to;

	to += 4;
	for (size_t i = 0; i < m->header_count; i++) {
		const wb_header *h = &m->headers[i];

		*to++ = (uint8_t)h->name.len;
		if (h->name.len > 0)
			to = publish_put_bytes(to, h->name);
		*to++ = AMQP_FIELD_KIND_UTF8;
		wbi_put_be32(to, (uint32_t)h->value.len);
		to += 4;
		if (h->value.len > 0)
			to = publish_put_bytes(to, h->value);
	}
	wbi_put_be32(start, (uint32_t)(to - start - 4));
	return to;
}

/* 4.2.6.1: flags, then what they announce, in the order of the bits. */
static uint8_t *publish_put_properties(uint8_t *to, const wb_message *m)
{
	amqp_flags_t flags = AMQP_BASIC_DELIVERY_MODE_FLAG;
	uint8_t *start = to;

	to = publish_put_short(to + 2, m->content_type,
			       AMQP_BASIC_CONTENT_TYPE_FLAG, &flags);
	if (m->header_count > 0) {
		flags |= AMQP_BASIC_HEADERS_FLAG;
		to = publish_put_table(to, m);
	}
	*to++ = m->persistent ? AMQP_DELIVERY_PERSISTENT
			      : AMQP_DELIVERY_NONPERSISTENT;
	to = publish_put_short(to, m->correlation_id,
			       AMQP_BASIC_CORRELATION_ID_FLAG, &flags);
	to = publish_put_short(to, m->reply_to, AMQP_BASIC_REPLY_TO_FLAG,
			       &flags);
	to = publish_put_short(to, m->message_id, AMQP_BASIC_MESSAGE_ID_FLAG,
			       &flags);
	if (m->timestamp_s != 0) {
		flags |= AMQP_BASIC_TIMESTAMP_FLAG;
		wbi_put_be64(to, (uint64_t)m->timestamp_s);
		to += 8;
	}
	to = publish_put_short(to, m->type, AMQP_BASIC_TYPE_FLAG, &flags);
	to = publish_put_short(to, m->app_id, AMQP_BASIC_APP_ID_FLAG, &flags);
	wbi_put_be16(start, (uint16_t)flags);
	return to;
}

static uint8_t *publish_put_header(uint8_t *to, size_t room,
				   const wb_message *m)
{
	uint8_t *start = to, *end;

	to += WBI_FRAME_HEADER;
	wbi_put_be16(to, AMQP_BASIC_CLASS);
	wbi_put_be16(to + 2, 0); /* weight: always 0 */
	wbi_put_be64(to + 4, m->body.len);
	end = publish_put_properties(to + 12, m);
	WB_ASSERT((size_t)(end - to) <= 12 + room);
	wbi_codec_put_header(start, AMQP_FRAME_HEADER, SESSION_CHANNEL,
			     (size_t)(end - to));
	*end = AMQP_FRAME_END;
	return end + 1;
}

static uint8_t *publish_put_body(uint8_t *to, wb_str body, size_t frame_max)
{
	while (body.len > 0) {
		size_t n = frame_max - WBI_FRAME_OVERHEAD;

		if (n > body.len)
			n = body.len;
		wbi_codec_put_header(to, AMQP_FRAME_BODY, SESSION_CHANNEL, n);
		memcpy(to + WBI_FRAME_HEADER, body.ptr, n);
		to[WBI_FRAME_HEADER + n] = AMQP_FRAME_END;
		to += n + WBI_FRAME_OVERHEAD;
		body = wb_str_n(body.ptr + n, body.len - n);
	}
	return to;
}

wb_code wbi_session_publish(wbi_session *session, const wb_message *message,
			    uint64_t token, wb_error *err)
{
	size_t held = wbi_buffer_len(&session->output);
	wb_code code = publish_check_state(session, err);
	publish_size size = {0};
	uint8_t *begin, *at;

	if (code == WB_OK)
		code = publish_measure(session, message, &size, err);
	if (code != WB_OK)
		return code;
	if (held > 0 && held + size.total > session->options.buffer_max_bytes)
		return WBI_FAIL(err, WB_EAGAIN,
				"%zu bytes wait to be sent already", held);
	code = wbi_confirms_room(session, err);
	if (code != WB_OK)
		return code;
	begin = wbi_buffer_room(&session->output, size.total, &code);
	if (!begin)
		return WBI_FAIL(err, code, "no room in the output buffer");
	at = publish_put_method(begin, size.method, message);
	at = publish_put_header(at, size.properties, message);
	at = publish_put_body(at, message->body, session->frame_max);
	WB_ASSERT((size_t)(at - begin) <= size.total);
	wbi_buffer_added(&session->output, (size_t)(at - begin));
	wbi_confirms_add(&session->confirms, token, message->message_id);
	session->sent_us = session->now_us;
	return WB_OK;
}
