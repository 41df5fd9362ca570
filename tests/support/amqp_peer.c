/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The same codec as the session's, in the other role, and the least of a
 * broker's behaviour around it. After it has sent a close it ignores the
 * client until close-ok, as brokers do.
 */
#include "tests/support/amqp_peer.h"

#include <stdio.h>
#include <stdlib.h>

#include "broker-adapters/amqp/codec.h"
#include "lib/base/assert.h"
#include "lib/base/bytes.h"

enum { OUTPUT_MAX = 256 * 1024 * 1024, CHANNELS = WBI_CHANNEL_MAX + 1 };

typedef enum peer_channel {
	PEER_CLOSED,
	PEER_OPEN,
	PEER_CLOSING /* close sent; deaf until close-ok */
} peer_channel;

/* The message that is coming in. */
typedef struct peer_content {
	bool open;
	bool has_header;
	amqp_published message; /* owns its strings once it is kept */
	uint64_t left;
	wbi_buffer body;
	char exchange[256], routing_key[256], message_id[256], type[256];
} peer_content;

struct amqp_peer {
	amqp_peer_options options;
	amqp_peer_seen seen;
	wbi_codec codec;
	wbi_buffer output;
	size_t greeted; /* bytes of the protocol header so far */
	peer_channel connection;
	peer_channel channels[CHANNELS];
	bool confirms;
	uint64_t publish_tag, deliver_tag;
	unsigned connections;
	peer_content content;
	amqp_published *published;
	size_t count, capacity;
};

static void peer_start_over(amqp_peer *p)
{
	wb_code code = wbi_codec_init(&p->codec, WBI_CODEC_SERVER, NULL);

	WB_ASSERT(code == WB_OK);
	wbi_buffer_init(&p->output, OUTPUT_MAX);
	wbi_buffer_init(&p->content.body, OUTPUT_MAX);
	p->greeted = 0;
	p->connection = PEER_CLOSED;
	memset(p->channels, 0, sizeof(p->channels));
	memset(&p->seen, 0, sizeof(p->seen));
	p->confirms = false;
	p->content.open = false;
	p->publish_tag = p->deliver_tag = 0;
	p->connections++;
}

static void peer_stop(amqp_peer *p)
{
	wbi_codec_fini(&p->codec);
	wbi_buffer_fini(&p->output);
	wbi_buffer_fini(&p->content.body);
}

amqp_peer *amqp_peer_new(const amqp_peer_options *options)
{
	amqp_peer *p = calloc(1, sizeof(*p));

	WB_ASSERT(p);
	if (options)
		p->options = *options;
	if (!p->options.mechanisms)
		p->options.mechanisms = "PLAIN AMQPLAIN EXTERNAL";
	if (p->options.frame_max == 0)
		p->options.frame_max = 131072;
	if (p->options.channel_max == 0)
		p->options.channel_max = 2047;
	peer_start_over(p);
	return p;
}

void amqp_peer_reconnect(amqp_peer *peer)
{
	peer_stop(peer);
	peer_start_over(peer);
}

void amqp_peer_free(amqp_peer *peer)
{
	if (!peer)
		return;
	peer_stop(peer);
	for (size_t i = 0; i < peer->count; i++)
		free((void *)(uintptr_t)peer->published[i].exchange.ptr);
	free(peer->published);
	free(peer);
}

wbi_buffer *amqp_peer_output(amqp_peer *peer)
{
	return &peer->output;
}

const amqp_peer_seen *amqp_peer_look(const amqp_peer *peer)
{
	return &peer->seen;
}

bool amqp_peer_is_closed(const amqp_peer *peer)
{
	return peer->seen.error[0] || (peer->connection == PEER_CLOSED &&
				       peer->seen.vhost[0] != '\0');
}

bool amqp_peer_is_open(const amqp_peer *peer)
{
	return peer->connection == PEER_OPEN &&
	       peer->channels[1] == PEER_OPEN && peer->confirms;
}

size_t amqp_peer_count(const amqp_peer *peer)
{
	return peer->count;
}

const amqp_published *amqp_peer_message(const amqp_peer *peer, size_t i)
{
	WB_ASSERT(i < peer->count);
	return &peer->published[i];
}

/* ---- sending ----------------------------------------------------------- */

static void peer_send(amqp_peer *p, uint16_t channel, amqp_method_number_t id,
		      void *method)
{
	wb_code code = wbi_codec_put_method(&p->codec, &p->output, channel, id,
					    method, NULL);

	WB_ASSERT(code == WB_OK);
}

void amqp_peer_raw(amqp_peer *peer, const void *bytes, size_t len)
{
	wb_code code = wbi_buffer_append(&peer->output, bytes, len);

	WB_ASSERT(code == WB_OK);
}

static void peer_put_frame(amqp_peer *p, uint8_t type, uint16_t channel,
			   const void *payload, size_t len)
{
	uint8_t header[WBI_FRAME_HEADER];
	uint8_t end = AMQP_FRAME_END;

	wbi_codec_put_header(header, type, channel, len);
	amqp_peer_raw(p, header, sizeof(header));
	amqp_peer_raw(p, payload, len);
	amqp_peer_raw(p, &end, 1);
}

static void peer_put_content(amqp_peer *p, wb_str properties,
			     uint64_t body_size, wb_str body)
{
	size_t most = p->codec.frame_max - WBI_FRAME_OVERHEAD;
	uint8_t *header = malloc(12 + properties.len);

	WB_ASSERT(header);
	wbi_put_be16(header, AMQP_BASIC_CLASS);
	wbi_put_be16(header + 2, 0);
	wbi_put_be64(header + 4, body_size);
	if (properties.len > 0)
		memcpy(header + 12, properties.ptr, properties.len);
	peer_put_frame(p, AMQP_FRAME_HEADER, 1, header, 12 + properties.len);
	free(header);
	while (body.len > 0) {
		size_t n = body.len < most ? body.len : most;

		peer_put_frame(p, AMQP_FRAME_BODY, 1, body.ptr, n);
		body = wb_str_n(body.ptr + n, body.len - n);
	}
}

/* A content header from our message struct. */
static void peer_put_message(amqp_peer *p, const wb_message *m)
{
	amqp_table_entry_t *entries =
		calloc(m->header_count + 1, sizeof(*entries));
	amqp_basic_properties_t props = {
		._flags = AMQP_BASIC_MESSAGE_ID_FLAG | AMQP_BASIC_TYPE_FLAG |
			  AMQP_BASIC_CONTENT_TYPE_FLAG |
			  AMQP_BASIC_APP_ID_FLAG | AMQP_BASIC_HEADERS_FLAG |
			  AMQP_BASIC_DELIVERY_MODE_FLAG |
			  AMQP_BASIC_TIMESTAMP_FLAG |
			  AMQP_BASIC_CORRELATION_ID_FLAG |
			  AMQP_BASIC_REPLY_TO_FLAG,
		.message_id = wbi_amqp_bytes(m->message_id),
		.type = wbi_amqp_bytes(m->type),
		.content_type = wbi_amqp_bytes(m->content_type),
		.app_id = wbi_amqp_bytes(m->app_id),
		.correlation_id = wbi_amqp_bytes(m->correlation_id),
		.reply_to = wbi_amqp_bytes(m->reply_to),
		.timestamp = (uint64_t)m->timestamp_s,
		.delivery_mode = m->persistent ? 2 : 1,
		.headers = {(int)m->header_count, entries},
	};
	size_t room = 128 * 1024;
	char *space = malloc(room);
	int len;

	WB_ASSERT(entries && space);
	for (size_t i = 0; i < m->header_count; i++) {
		entries[i].key = wbi_amqp_bytes(m->headers[i].name);
		entries[i].value.kind = AMQP_FIELD_KIND_UTF8;
		entries[i].value.value.bytes =
			wbi_amqp_bytes(m->headers[i].value);
	}
	len = amqp_encode_properties(AMQP_BASIC_CLASS, &props,
				     (amqp_bytes_t){room, space});
	WB_ASSERT(len > 0);
	peer_put_content(p, wb_str_n(space, (size_t)len), m->body.len, m->body);
	free(space);
	free(entries);
}

void amqp_peer_confirm(amqp_peer *peer, uint64_t tag, bool multiple, bool ack)
{
	amqp_basic_ack_t yes = {.delivery_tag = tag, .multiple = multiple};
	amqp_basic_nack_t no = {.delivery_tag = tag, .multiple = multiple};

	if (ack)
		peer_send(peer, 1, AMQP_BASIC_ACK_METHOD, &yes);
	else
		peer_send(peer, 1, AMQP_BASIC_NACK_METHOD, &no);
}

void amqp_peer_return(amqp_peer *peer, size_t i, uint16_t code,
		      const char *text)
{
	const amqp_published *m = amqp_peer_message(peer, i);
	wb_message message = {.message_id = m->message_id,
			      .type = m->type,
			      .body = m->body};
	amqp_basic_return_t back = {.reply_code = code,
				    .reply_text = amqp_cstring_bytes(text),
				    .exchange = wbi_amqp_bytes(m->exchange),
				    .routing_key =
					    wbi_amqp_bytes(m->routing_key)};

	peer_send(peer, 1, AMQP_BASIC_RETURN_METHOD, &back);
	peer_put_message(peer, &message);
}

void amqp_peer_close_channel(amqp_peer *peer, uint16_t channel, uint16_t code,
			     const char *text)
{
	amqp_channel_close_t close = {.reply_code = code,
				      .reply_text = amqp_cstring_bytes(text)};

	peer->channels[channel] = PEER_CLOSING;
	if (channel == 1) {
		peer->content.open = false;
		peer->seen.consuming = false;
		peer->confirms = false;
	}
	peer_send(peer, channel, AMQP_CHANNEL_CLOSE_METHOD, &close);
}

void amqp_peer_close(amqp_peer *peer, uint16_t code, const char *text)
{
	amqp_connection_close_t close = {.reply_code = code,
					 .reply_text =
						 amqp_cstring_bytes(text)};

	peer->connection = PEER_CLOSING;
	peer_send(peer, 0, AMQP_CONNECTION_CLOSE_METHOD, &close);
}

void amqp_peer_block(amqp_peer *peer, const char *reason)
{
	amqp_connection_blocked_t blocked = {
		.reason = amqp_cstring_bytes(reason)};

	peer_send(peer, 0, AMQP_CONNECTION_BLOCKED_METHOD, &blocked);
}

void amqp_peer_unblock(amqp_peer *peer)
{
	amqp_connection_unblocked_t unblocked = {0};

	peer_send(peer, 0, AMQP_CONNECTION_UNBLOCKED_METHOD, &unblocked);
}

void amqp_peer_heartbeat(amqp_peer *peer)
{
	wb_code code = wbi_codec_put_heartbeat(&peer->output, NULL);

	WB_ASSERT(code == WB_OK);
}

void amqp_peer_cancel(amqp_peer *peer)
{
	amqp_basic_cancel_t cancel = {
		.consumer_tag = amqp_cstring_bytes("waybill"), .nowait = 1};

	peer->seen.consuming = false;
	peer_send(peer, 1, AMQP_BASIC_CANCEL_METHOD, &cancel);
}

static void peer_put_deliver(amqp_peer *p, wb_str exchange, wb_str routing_key,
			     bool redelivered)
{
	amqp_basic_deliver_t deliver = {
		.consumer_tag = amqp_cstring_bytes("waybill"),
		.delivery_tag = ++p->deliver_tag,
		.redelivered = redelivered,
		.exchange = wbi_amqp_bytes(exchange),
		.routing_key = wbi_amqp_bytes(routing_key)};

	peer_send(p, 1, AMQP_BASIC_DELIVER_METHOD, &deliver);
}

uint64_t amqp_peer_deliver(amqp_peer *peer, const wb_message *message,
			   bool redelivered)
{
	peer_put_deliver(peer, message->exchange, message->routing_key,
			 redelivered);
	peer_put_message(peer, message);
	return peer->deliver_tag;
}

uint64_t amqp_peer_deliver_raw(amqp_peer *peer, wb_str properties,
			       uint64_t body_size, wb_str body)
{
	peer_put_deliver(peer, wb_str_from("events"), wb_str_from("key"),
			 false);
	peer_put_content(peer, properties, body_size, body);
	return peer->deliver_tag;
}

/* ---- handshake --------------------------------------------------------- */

static void peer_keep(char *to, size_t size, amqp_bytes_t from)
{
	size_t len = from.len < size - 1 ? from.len : size - 1;

	for (size_t i = 0; i < len; i++)
		to[i] = ((const char *)from.bytes)[i];
	to[len] = '\0';
}

static void peer_greet(amqp_peer *p)
{
	amqp_table_entry_t can[] = {
		{amqp_cstring_bytes("publisher_confirms"),
		 {.kind = AMQP_FIELD_KIND_BOOLEAN, .value.boolean = 1}},
		{amqp_cstring_bytes("connection.blocked"),
		 {.kind = AMQP_FIELD_KIND_BOOLEAN, .value.boolean = 1}}};
	amqp_table_entry_t about[] = {
		{amqp_cstring_bytes("product"),
		 {.kind = AMQP_FIELD_KIND_UTF8,
		  .value.bytes = amqp_cstring_bytes("peer")}},
		{amqp_cstring_bytes("capabilities"),
		 {.kind = AMQP_FIELD_KIND_TABLE, .value.table = {2, can}}}};
	amqp_connection_start_t start = {
		.version_major = 0,
		.version_minor = 9,
		.server_properties = {2, about},
		.mechanisms = amqp_cstring_bytes(p->options.mechanisms),
		.locales = amqp_cstring_bytes("en_US")};

	peer_send(p, 0, AMQP_CONNECTION_START_METHOD, &start);
}

static void peer_look_at_properties(amqp_peer *p, const amqp_table_t *table)
{
	for (int i = 0; i < table->num_entries; i++) {
		const amqp_table_entry_t *e = &table->entries[i];
		bool is_name = e->key.len == 15 &&
			       !memcmp(e->key.bytes, "connection_name", 15);

		if (is_name && e->value.kind == AMQP_FIELD_KIND_UTF8)
			peer_keep(p->seen.connection_name,
				  sizeof(p->seen.connection_name),
				  e->value.value.bytes);
		if (e->value.kind == AMQP_FIELD_KIND_TABLE)
			p->seen.capabilities =
				e->value.value.table.num_entries;
	}
}

static void peer_on_start_ok(amqp_peer *p, const amqp_connection_start_ok_t *ok)
{
	amqp_connection_tune_t tune = {.channel_max = p->options.channel_max,
				       .frame_max = p->options.frame_max,
				       .heartbeat = p->options.heartbeat_s};
	const char *password;

	peer_keep(p->seen.mechanism, sizeof(p->seen.mechanism), ok->mechanism);
	peer_keep(p->seen.login, sizeof(p->seen.login), ok->response);
	for (size_t i = 0; i < ok->response.len && i < 255; i++)
		if (p->seen.login[i] == '\0')
			p->seen.login[i] = ' ';
	peer_look_at_properties(p, &ok->client_properties);
	password = strrchr(p->seen.login, ' ');
	if (p->options.password &&
	    (!password || strcmp(password + 1, p->options.password) != 0)) {
		amqp_peer_close(p, 403,
				"ACCESS_REFUSED - Login was refused using "
				"authentication mechanism PLAIN. For details "
				"see the broker logfile.");
		return;
	}
	peer_send(p, 0, AMQP_CONNECTION_TUNE_METHOD, &tune);
}

static void peer_on_open(amqp_peer *p, const amqp_connection_open_t *open)
{
	amqp_connection_open_ok_t ok = {.known_hosts = {0, NULL}};
	char text[300];

	peer_keep(p->seen.vhost, sizeof(p->seen.vhost), open->virtual_host);
	if (p->options.vhost && strcmp(p->options.vhost, p->seen.vhost) != 0) {
		snprintf(text, 256, "NOT_ALLOWED - vhost %.200s not found",
			 p->seen.vhost);
		amqp_peer_close(p, 530, text);
		return;
	}
	p->connection = PEER_OPEN;
	peer_send(p, 0, AMQP_CONNECTION_OPEN_OK_METHOD, &ok);
}

static void peer_on_connection(amqp_peer *p, const wbi_frame *f)
{
	const amqp_connection_tune_ok_t *tune = f->decoded;
	amqp_connection_close_ok_t ok = {0};

	switch (f->method) {
	case AMQP_CONNECTION_START_OK_METHOD:
		peer_on_start_ok(p, f->decoded);
		break;
	case AMQP_CONNECTION_TUNE_OK_METHOD:
		p->seen.channel_max = tune->channel_max;
		p->seen.frame_max = tune->frame_max;
		p->seen.heartbeat_s = tune->heartbeat;
		wbi_codec_tune(&p->codec, tune->frame_max, NULL);
		break;
	case AMQP_CONNECTION_OPEN_METHOD:
		peer_on_open(p, f->decoded);
		break;
	case AMQP_CONNECTION_CLOSE_METHOD:
		p->connection = PEER_CLOSED;
		peer_send(p, 0, AMQP_CONNECTION_CLOSE_OK_METHOD, &ok);
		break;
	case AMQP_CONNECTION_CLOSE_OK_METHOD:
		p->connection = PEER_CLOSED;
		break;
	default:
		snprintf(p->seen.error, sizeof(p->seen.error),
			 "%s on channel 0", amqp_method_name(f->method));
		break;
	}
}

/* ---- declarations ------------------------------------------------------ */

static void peer_answer_declare(amqp_peer *p, const char *kind,
				amqp_bytes_t name, bool passive,
				amqp_method_number_t answer, void *ok)
{
	char what[300], text[256];
	uint16_t code = 0;

	snprintf(what, sizeof(what), "%s %.*s%s", kind, (int)name.len,
		 (const char *)name.bytes, passive ? " passive" : "");
	memcpy(p->seen.last_declare, what, sizeof(what));
	p->seen.declares++;
	if (p->options.refuse)
		code = p->options.refuse(p->options.ctx, what);
	if (code == 0) {
		peer_send(p, 2, answer, ok);
		return;
	}
	snprintf(text, sizeof(text),
		 "REFUSED - inequivalent arg 'durable' in %.200s", what);
	amqp_peer_close_channel(p, 2, code, text);
}

static bool peer_on_declare(amqp_peer *p, const wbi_frame *f)
{
	const amqp_exchange_declare_t *exchange = f->decoded;
	const amqp_queue_declare_t *queue = f->decoded;
	const amqp_queue_bind_t *bind = f->decoded;
	amqp_exchange_declare_ok_t exchange_ok = {0};
	amqp_queue_bind_ok_t bind_ok = {0};
	amqp_queue_declare_ok_t queue_ok = {0};

	if (f->method == AMQP_EXCHANGE_DECLARE_METHOD) {
		peer_answer_declare(p, "exchange.declare", exchange->exchange,
				    exchange->passive,
				    AMQP_EXCHANGE_DECLARE_OK_METHOD,
				    &exchange_ok);
	} else if (f->method == AMQP_QUEUE_DECLARE_METHOD) {
		queue_ok.queue = queue->queue;
		peer_answer_declare(p, "queue.declare", queue->queue,
				    queue->passive,
				    AMQP_QUEUE_DECLARE_OK_METHOD, &queue_ok);
	} else if (f->method == AMQP_QUEUE_BIND_METHOD) {
		peer_answer_declare(p, "queue.bind", bind->queue, false,
				    AMQP_QUEUE_BIND_OK_METHOD, &bind_ok);
	} else {
		return false;
	}
	return true;
}

/* ---- publishing -------------------------------------------------------- */

static wb_str peer_copy(char **at, wb_str from)
{
	wb_str to = wb_str_n(*at, from.len);

	if (from.len > 0)
		memcpy(*at, from.ptr, from.len);
	*at += from.len;
	return to;
}

/* Keep the message: one block, whose start is the exchange's text. */
static void peer_keep_message(amqp_peer *p)
{
	peer_content *c = &p->content;
	amqp_published *m;
	wb_str body = wb_str_n(wbi_buffer_data(&c->body),
			       wbi_buffer_len(&c->body));
	char *at = malloc(4 * 256 + body.len);

	if (p->count == p->capacity) {
		p->capacity = p->capacity ? p->capacity * 2 : 64;
		p->published = realloc(p->published,
				       p->capacity * sizeof(*p->published));
	}
	WB_ASSERT(at && p->published);
	m = &p->published[p->count++];
	*m = c->message;
	m->exchange = peer_copy(&at, wb_str_from(c->exchange));
	m->routing_key = peer_copy(&at, wb_str_from(c->routing_key));
	m->message_id = peer_copy(&at, wb_str_from(c->message_id));
	m->type = peer_copy(&at, wb_str_from(c->type));
	m->body = peer_copy(&at, body);
}

static void peer_judge(amqp_peer *p)
{
	peer_content *c = &p->content;
	amqp_peer_verdict verdict = AMQP_PEER_ACK;
	char text[256];

	c->open = false;
	c->message.tag = ++p->publish_tag;
	c->message.connection = p->connections;
	peer_keep_message(p);
	if (p->options.judge)
		verdict = p->options.judge(p->options.ctx,
					   &p->published[p->count - 1]);
	if (verdict == AMQP_PEER_MISSING) {
		snprintf(text, sizeof(text),
			 "NOT_FOUND - no exchange '%.100s' in vhost '%.100s'",
			 c->exchange, p->seen.vhost);
		p->count--;
		free((void *)(uintptr_t)p->published[p->count].exchange.ptr);
		amqp_peer_close_channel(p, 1, 404, text);
		return;
	}
	if (verdict == AMQP_PEER_RETURN)
		amqp_peer_return(p, p->count - 1, 312, "NO_ROUTE");
	if (verdict != AMQP_PEER_HOLD && p->confirms)
		amqp_peer_confirm(p, p->publish_tag, false,
				  verdict != AMQP_PEER_NACK);
}

static void peer_on_publish(amqp_peer *p, const amqp_basic_publish_t *publish)
{
	peer_content *c = &p->content;

	c->open = true;
	c->has_header = false;
	c->message = (amqp_published){.mandatory = publish->mandatory};
	wbi_buffer_clear(&c->body);
	peer_keep(c->exchange, sizeof(c->exchange), publish->exchange);
	peer_keep(c->routing_key, sizeof(c->routing_key), publish->routing_key);
}

static void peer_keep_property(char to[256], const amqp_basic_properties_t *p,
			       amqp_flags_t flag, const amqp_bytes_t *field)
{
	amqp_bytes_t none = {0, NULL};

	peer_keep(to, 256, p->_flags & flag ? *field : none);
}

static void peer_on_content(amqp_peer *p, const wbi_frame *f)
{
	peer_content *c = &p->content;
	const amqp_basic_properties_t *props = f->properties;

	if (f->channel != 1 || !c->open ||
	    c->has_header != (f->type == AMQP_FRAME_BODY)) {
		snprintf(p->seen.error, sizeof(p->seen.error),
			 "content out of turn");
		return;
	}
	if (f->type == AMQP_FRAME_HEADER) {
		c->has_header = true;
		c->left = f->body_size;
		peer_keep_property(c->message_id, props,
				   AMQP_BASIC_MESSAGE_ID_FLAG,
				   &props->message_id);
		peer_keep_property(c->type, props, AMQP_BASIC_TYPE_FLAG,
				   &props->type);
		c->message.persistent =
			props->_flags & AMQP_BASIC_DELIVERY_MODE_FLAG &&
			props->delivery_mode == 2;
		if (props->_flags & AMQP_BASIC_HEADERS_FLAG)
			c->message.header_count =
				(size_t)props->headers.num_entries;
	} else {
		WB_ASSERT(f->body_len <= c->left);
		wbi_buffer_append(&c->body, f->body, f->body_len);
		c->left -= f->body_len;
	}
	if (c->left == 0)
		peer_judge(p);
}

/* ---- channels ---------------------------------------------------------- */

static void peer_on_open_channel(amqp_peer *p, uint16_t channel)
{
	amqp_channel_open_ok_t ok = {.channel_id = {0, NULL}};

	p->channels[channel] = PEER_OPEN;
	p->seen.channel_opens++;
	if (channel == 1)
		p->publish_tag = p->deliver_tag = 0;
	peer_send(p, channel, AMQP_CHANNEL_OPEN_OK_METHOD, &ok);
}

static void peer_on_settle(amqp_peer *p, const wbi_frame *f)
{
	const amqp_basic_ack_t *ack = f->decoded;
	const amqp_basic_reject_t *reject = f->decoded;

	if (f->method == AMQP_BASIC_ACK_METHOD) {
		p->seen.acks++;
		p->seen.last_ack = ack->delivery_tag;
		p->seen.last_multiple = ack->multiple;
	} else {
		p->seen.rejects++;
		p->seen.last_ack = reject->delivery_tag;
		p->seen.last_requeue = reject->requeue;
	}
}

static void peer_on_consume(amqp_peer *p, const amqp_basic_consume_t *consume)
{
	amqp_basic_consume_ok_t ok = {.consumer_tag = consume->consumer_tag};

	p->seen.consuming = true;
	peer_send(p, 1, AMQP_BASIC_CONSUME_OK_METHOD, &ok);
}

static void peer_on_open_channel_method(amqp_peer *p, const wbi_frame *f)
{
	amqp_confirm_select_ok_t select_ok = {0};
	amqp_basic_qos_ok_t qos_ok = {0};

	switch (f->method) {
	case AMQP_CONFIRM_SELECT_METHOD:
		p->confirms = true;
		peer_send(p, 1, AMQP_CONFIRM_SELECT_OK_METHOD, &select_ok);
		break;
	case AMQP_BASIC_PUBLISH_METHOD:
		peer_on_publish(p, f->decoded);
		break;
	case AMQP_BASIC_ACK_METHOD:
	case AMQP_BASIC_REJECT_METHOD:
		peer_on_settle(p, f);
		break;
	case AMQP_BASIC_QOS_METHOD:
		p->seen.prefetch =
			((amqp_basic_qos_t *)f->decoded)->prefetch_count;
		peer_send(p, 1, AMQP_BASIC_QOS_OK_METHOD, &qos_ok);
		break;
	case AMQP_BASIC_CONSUME_METHOD:
		peer_on_consume(p, f->decoded);
		break;
	default:
		if (!peer_on_declare(p, f))
			snprintf(p->seen.error, sizeof(p->seen.error),
				 "%s unexpected", amqp_method_name(f->method));
		break;
	}
}

static void peer_on_channel(amqp_peer *p, const wbi_frame *f)
{
	peer_channel *channel = &p->channels[f->channel];

	if (f->type == AMQP_FRAME_METHOD &&
	    f->method == AMQP_CHANNEL_CLOSE_OK_METHOD &&
	    *channel == PEER_CLOSING)
		*channel = PEER_CLOSED;
	else if (*channel == PEER_CLOSING)
		return;
	else if (f->type != AMQP_FRAME_METHOD)
		peer_on_content(p, f);
	else if (f->method == AMQP_CHANNEL_OPEN_METHOD &&
		 *channel == PEER_CLOSED)
		peer_on_open_channel(p, f->channel);
	else if (*channel == PEER_OPEN)
		peer_on_open_channel_method(p, f);
	else
		snprintf(p->seen.error, sizeof(p->seen.error),
			 "%s on a closed channel",
			 amqp_method_name(f->method));
}

static void peer_dispatch(amqp_peer *p, const wbi_frame *f)
{
	bool is_close_ok = f->type == AMQP_FRAME_METHOD &&
			   f->method == AMQP_CONNECTION_CLOSE_OK_METHOD;

	if (p->connection == PEER_CLOSING && !is_close_ok)
		return;
	if (f->type == AMQP_FRAME_HEARTBEAT)
		p->seen.heartbeats++;
	else if (f->channel == 0)
		peer_on_connection(p, f);
	else
		peer_on_channel(p, f);
}

void amqp_peer_feed(amqp_peer *peer, const uint8_t *bytes, size_t len)
{
	static const char greeting[] = "AMQP\0\0\11\1";
	wb_error err = WB_ERROR_INIT;
	wbi_frame frame;
	size_t used;

	for (; len > 0 && peer->greeted < 8; bytes++, len--) {
		if (*bytes != (uint8_t)greeting[peer->greeted])
			snprintf(peer->seen.error, sizeof(peer->seen.error),
				 "not a protocol header");
		if (++peer->greeted == 8)
			peer_greet(peer);
	}
	while (len > 0 && !amqp_peer_is_closed(peer)) {
		if (wbi_codec_decode(&peer->codec, bytes, len, &used, &frame,
				     &err) != WB_OK) {
			memcpy(peer->seen.error, err.text,
			       sizeof(peer->seen.error));
			return;
		}
		bytes += used;
		len -= used;
		if (frame.type != 0)
			peer_dispatch(peer, &frame);
		wbi_codec_release(&peer->codec, &frame);
	}
}
