/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From the broker's connection.start to an open channel in confirm mode, and
 * what else concerns the connection or channel 1 as a whole: close, blocked,
 * flow, reopen. One method at a time and each only in its stage; anything else
 * is a violation and ends the session.
 *
 * The capabilities announced here are what makes the broker send
 * connection.blocked, basic.cancel, basic.nack and a close that says why a
 * login was refused; without them it keeps silent.
 */
#include <stdio.h>
#include <stdlib.h>

#include "broker-adapters/amqp/session_internal.h"
#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/text.h"

enum { RESPONSE_MAX = 32 * 1024 };

const char *wbi_session_stage_text(const wbi_session *session)
{
	switch (session->stage) {
	case SESSION_START:
		return "waiting for the broker's first word "
		       "(connection.start)";
	case SESSION_TUNE:
		return "waiting for an answer to the login (connection.tune)";
	case SESSION_OPEN:
		return "waiting for the vhost to open (connection.open-ok)";
	case SESSION_CHANNEL_1:
		return "waiting for the channel to open (channel.open-ok, "
		       "confirm.select-ok)";
	default:
		return "after the handshake";
	}
}

/* ---- start ------------------------------------------------------------- */

static bool handshake_offers(amqp_bytes_t mechanisms, const char *wanted)
{
	const char *at = mechanisms.bytes;
	const char *end = at + mechanisms.len;
	size_t len = strlen(wanted);

	while (at < end) {
		const char *space = memchr(at, ' ', (size_t)(end - at));
		const char *stop = space ? space : end;

		if ((size_t)(stop - at) == len && !memcmp(at, wanted, len))
			return true;
		at = stop + 1;
	}
	return false;
}

static void handshake_refuse_mechanism(wbi_session *s, const char *wanted,
				       amqp_bytes_t offered)
{
	wb_error err = WB_ERROR_INIT;
	char shown[128];

	WBI_FAIL(&err, WB_EACCESS,
		 "the broker does not offer the login mechanism %s, only: %s. "
		 "%s",
		 wanted, wbi_text_show(wbi_amqp_str(offered), shown, 128),
		 s->options.external_auth
			 ? "Enable rabbitmq_auth_mechanism_ssl there and "
			   "connect over TLS with a client certificate"
			 : "Enable PLAIN in its auth_mechanisms");
	wbi_session_end(s, &err);
}

static amqp_table_entry_t handshake_text(const char *key, const char *value)
{
	amqp_table_entry_t entry = {
		.key = amqp_cstring_bytes(key),
		.value = {.kind = AMQP_FIELD_KIND_UTF8,
			  .value.bytes = amqp_cstring_bytes(value)},
	};

	return entry;
}

/* SASL: PLAIN is NUL user NUL password (RFC 4616), EXTERNAL is empty. */
static size_t handshake_response(const wbi_session *s, char *to)
{
	size_t user, password;

	if (s->options.external_auth)
		return 0;
	user = strlen(s->user);
	password = strlen(s->options.password);
	if (user + password + 2 > RESPONSE_MAX)
		return SIZE_MAX;
	to[0] = '\0';
	memcpy(to + 1, s->user, user);
	to[1 + user] = '\0';
	memcpy(to + 2 + user, s->options.password, password);
	return user + password + 2;
}

static void handshake_send_start_ok(wbi_session *s, amqp_bytes_t response)
{
	static const char *const able[] = {
		"connection.blocked", "consumer_cancel_notify",
		"basic.nack", "publisher_confirms",
		"exchange_exchange_bindings", "authentication_failure_close"};
	amqp_table_entry_t capabilities[WBI_COUNT(able)];
	amqp_table_entry_t properties[5] = {
		handshake_text("product", "waybill"),
		handshake_text("version", wb_version()),
		handshake_text("platform", "C"),
		{.key = amqp_cstring_bytes("capabilities"),
		 .value = {.kind = AMQP_FIELD_KIND_TABLE,
			   .value.table = {WBI_COUNT(able), capabilities}}},
		handshake_text("connection_name", s->connection_name)};
	amqp_connection_start_ok_t ok = {
		.client_properties = {s->connection_name[0] ? 5 : 4,
				      properties},
		.mechanism = amqp_cstring_bytes(
			s->options.external_auth ? "EXTERNAL" : "PLAIN"),
		.response = response,
		.locale = amqp_cstring_bytes("en_US"),
	};

	for (size_t i = 0; i < WBI_COUNT(able); i++)
		capabilities[i] = (amqp_table_entry_t){
			.key = amqp_cstring_bytes(able[i]),
			.value = {.kind = AMQP_FIELD_KIND_BOOLEAN,
				  .value.boolean = 1}};
	if (!wbi_session_send(s, 0, AMQP_CONNECTION_START_OK_METHOD, &ok))
		return;
	s->login_sent = true;
	s->stage = SESSION_TUNE;
}

static void handshake_on_start(wbi_session *s,
			       const amqp_connection_start_t *start)
{
	const char *wanted = s->options.external_auth ? "EXTERNAL" : "PLAIN";
	wb_error err = WB_ERROR_INIT;
	char *response;
	size_t len;

	if (start->version_major != 0 || start->version_minor != 9) {
		wbi_session_violation(s, "it speaks version %u.%u, not 0.9",
				      start->version_major,
				      start->version_minor);
		return;
	}
	if (!handshake_offers(start->mechanisms, wanted)) {
		handshake_refuse_mechanism(s, wanted, start->mechanisms);
		return;
	}
	response = malloc(RESPONSE_MAX);
	if (!response) {
		wbi_session_no_memory(s);
		return;
	}
	len = handshake_response(s, response);
	if (len == SIZE_MAX) {
		WBI_FAIL(&err, WB_ELIMIT,
			 "user and password are over %d bytes", RESPONSE_MAX);
		wbi_session_end(s, &err);
	} else {
		handshake_send_start_ok(
			s, wbi_amqp_bytes(wb_str_n(response, len)));
	}
	explicit_bzero(response, RESPONSE_MAX);
	free(response);
}

/* ---- tune -------------------------------------------------------------- */

/* The lesser, where 0 means "no limit" or "as you like". */
static uint32_t handshake_lesser(uint32_t ours, uint32_t theirs)
{
	if (ours == 0 || (theirs != 0 && theirs < ours))
		return theirs;
	return ours;
}

static void handshake_on_tune(wbi_session *s, const amqp_connection_tune_t *t)
{
	wb_error err = WB_ERROR_INIT;
	uint32_t heartbeat =
		handshake_lesser(s->options.heartbeat_s, t->heartbeat);
	amqp_connection_tune_ok_t ok = {
		.channel_max = WBI_CHANNEL_MAX,
		.heartbeat = (uint16_t)(heartbeat > UINT16_MAX ? UINT16_MAX
							       : heartbeat),
	};
	amqp_connection_open_t open = {
		.virtual_host = amqp_cstring_bytes(s->vhost),
	};

	s->frame_max =
		handshake_lesser(s->options.frame_max_bytes, t->frame_max);
	ok.frame_max = s->frame_max;
	if (s->frame_max < AMQP_FRAME_MIN_SIZE) {
		wbi_session_violation(s, "frame_max is %u, the least is %d",
				      s->frame_max, AMQP_FRAME_MIN_SIZE);
		return;
	}
	if (t->channel_max != 0 && t->channel_max < WBI_CHANNEL_MAX) {
		WBI_FAIL(&err, WB_EPROTO,
			 "the broker allows %u channel per connection and 2 "
			 "are needed: raise its channel_max",
			 t->channel_max);
		wbi_session_end(s, &err);
		return;
	}
	/* The login has left; so that no core file has it: */
	if (wbi_buffer_len(&s->output) == 0)
		explicit_bzero(s->output.bytes, s->output.capacity);
	if (wbi_codec_tune(&s->codec, s->frame_max, &err) != WB_OK) {
		wbi_session_end(s, &err);
		return;
	}
	s->heartbeat_us = (int64_t)ok.heartbeat * 1000 * 1000;
	s->stage = SESSION_OPEN;
	if (wbi_session_send(s, 0, AMQP_CONNECTION_TUNE_OK_METHOD, &ok))
		wbi_session_send(s, 0, AMQP_CONNECTION_OPEN_METHOD, &open);
}

/* ---- channel 1 --------------------------------------------------------- */

static void handshake_open_channel(wbi_session *s)
{
	amqp_channel_open_t open = {.out_of_band = {0, NULL}};

	s->channel = CHANNEL_OPENING;
	wbi_session_ask(s, SESSION_CHANNEL, AMQP_CHANNEL_OPEN_METHOD, &open);
}

void wbi_session_on_handshake(wbi_session *s, const wbi_frame *frame)
{
	if (frame->method == AMQP_CONNECTION_START_METHOD &&
	    s->stage == SESSION_START) {
		handshake_on_start(s, frame->decoded);
	} else if (frame->method == AMQP_CONNECTION_TUNE_METHOD &&
		   s->stage == SESSION_TUNE) {
		handshake_on_tune(s, frame->decoded);
	} else if (frame->method == AMQP_CONNECTION_OPEN_OK_METHOD &&
		   s->stage == SESSION_OPEN) {
		s->stage = SESSION_CHANNEL_1;
		handshake_open_channel(s);
	} else {
		wbi_session_violation(s, "%s while %s",
				      amqp_method_name(frame->method),
				      wbi_session_stage_text(s));
	}
}

static void handshake_channel_ready(wbi_session *s)
{
	session_event blocked = {.kind = WB_BROKER_BLOCKED};

	s->channel = CHANNEL_OPEN;
	if (s->stage == SESSION_CHANNEL_1) {
		s->stage = SESSION_UP;
		wbi_session_push_kind(s, WB_BROKER_UP, 0);
		if (s->blocked)
			wbi_session_push_reason(
				s, &blocked,
				wb_str_from("since before it was up"), NULL);
	} else if (s->stage == SESSION_UP) {
		wbi_session_push_kind(s, WB_BROKER_CHANNEL_OPEN, 0);
	}
}

wb_code wbi_session_reopen(wbi_session *session, wb_error *err)
{
	if (session->stage != SESSION_UP)
		return WBI_FAIL(err, WB_ESTATE, "the connection is not up");
	if (session->channel != CHANNEL_CLOSED)
		return WBI_FAIL(err, WB_ESTATE,
				"the channel is open, or opening");
	handshake_open_channel(session);
	return WB_OK;
}

/* The broker closes channel 1: all that was outstanding on it is void. */
static void channel_on_close(wbi_session *s, const amqp_channel_close_t *close)
{
	session_event event = {.kind = WB_BROKER_CHANNEL_CLOSED,
			       .reply_code = close->reply_code};
	bool flow_stopped = s->flow_stopped;
	wb_str text = wbi_amqp_str(close->reply_text);
	amqp_channel_close_ok_t ok = {0};
	wb_error err = WB_ERROR_INIT;

	if (s->channel == CHANNEL_CLOSED) {
		wbi_session_violation(s, "it closed a closed channel");
		return;
	}
	wbi_reason_channel(s, close->reply_code, text, &err);
	s->channel = CHANNEL_CLOSED;
	s->flow_stopped = false;
	wbi_session_content_reset(s);
	wbi_confirms_forget(&s->confirms);
	if (!wbi_session_send(s, SESSION_CHANNEL, AMQP_CHANNEL_CLOSE_OK_METHOD,
			      &ok))
		return;
	if (s->stage == SESSION_CHANNEL_1) {
		wbi_session_end(s, &err);
		return;
	}
	wbi_session_consumer_lost(s, close->reply_code, text, &err);
	wbi_session_push_reason(s, &event, text, &err);
	if (flow_stopped && !s->blocked && s->stage == SESSION_UP)
		wbi_session_push_kind(s, WB_BROKER_UNBLOCKED, 0);
}

/* RabbitMQ has not sent channel.flow since version 2; as good as blocked. */
static void channel_on_flow(wbi_session *s, const amqp_channel_flow_t *flow)
{
	session_event event = {.kind = WB_BROKER_BLOCKED};
	amqp_channel_flow_ok_t ok = {.active = flow->active};
	bool was = s->flow_stopped;

	s->flow_stopped = !flow->active;
	if (!wbi_session_send(s, SESSION_CHANNEL, AMQP_CHANNEL_FLOW_OK_METHOD,
			      &ok) ||
	    s->blocked || was == s->flow_stopped)
		return;
	if (s->flow_stopped)
		wbi_session_push_reason(s, &event,
					wb_str_from("channel.flow"), NULL);
	else
		wbi_session_push_kind(s, WB_BROKER_UNBLOCKED, 0);
}

static void channel_on_confirm(wbi_session *s, const wbi_frame *frame)
{
	if (frame->method == AMQP_BASIC_ACK_METHOD) {
		const amqp_basic_ack_t *ack = frame->decoded;

		wbi_session_on_confirm(s, ack->delivery_tag, ack->multiple,
				       CONFIRM_ACKED);
	} else {
		const amqp_basic_nack_t *nack = frame->decoded;

		wbi_session_on_confirm(s, nack->delivery_tag, nack->multiple,
				       CONFIRM_NACKED);
	}
}

/* Methods of an open channel 1. */
static void channel_on_open_method(wbi_session *s, const wbi_frame *frame)
{
	switch (frame->method) {
	case AMQP_BASIC_ACK_METHOD:
	case AMQP_BASIC_NACK_METHOD:
		channel_on_confirm(s, frame);
		break;
	case AMQP_BASIC_DELIVER_METHOD:
		wbi_session_on_deliver(s, frame);
		break;
	case AMQP_BASIC_RETURN_METHOD:
		wbi_session_on_return(s, frame);
		break;
	case AMQP_CHANNEL_FLOW_METHOD:
		channel_on_flow(s, frame->decoded);
		break;
	default:
		wbi_session_on_consumer(s, frame);
		break;
	}
}

void wbi_session_on_channel(wbi_session *s, const wbi_frame *frame)
{
	amqp_confirm_select_t select = {.nowait = 0};

	if (frame->method == AMQP_CHANNEL_CLOSE_METHOD) {
		channel_on_close(s, frame->decoded);
	} else if (frame->method == AMQP_CHANNEL_OPEN_OK_METHOD &&
		   s->channel == CHANNEL_OPENING) {
		s->channel = CHANNEL_CONFIRMING;
		wbi_session_ask(s, SESSION_CHANNEL, AMQP_CONFIRM_SELECT_METHOD,
				&select);
	} else if (frame->method == AMQP_CONFIRM_SELECT_OK_METHOD &&
		   s->channel == CHANNEL_CONFIRMING) {
		handshake_channel_ready(s);
	} else if (s->channel == CHANNEL_OPEN) {
		channel_on_open_method(s, frame);
	} else {
		wbi_session_violation(s, "%s on a channel that is not open",
				      amqp_method_name(frame->method));
	}
}

/* ---- channel 0 after the handshake -------------------------------------- */

static void connection_on_close(wbi_session *s,
				const amqp_connection_close_t *close)
{
	amqp_connection_close_ok_t ok = {0};
	wb_error err = WB_ERROR_INIT;

	wbi_reason_connection(s, close->reply_code,
			      wbi_amqp_str(close->reply_text), &err);
	if (wbi_session_send(s, 0, AMQP_CONNECTION_CLOSE_OK_METHOD, &ok))
		wbi_session_end(s, &err);
}

static void connection_on_blocked(wbi_session *s, wb_str reason)
{
	session_event event = {.kind = WB_BROKER_BLOCKED};

	if (!s->blocked && s->stage == SESSION_UP)
		wbi_session_push_reason(s, &event, reason, NULL);
	s->blocked = true;
}

static void connection_on_unblocked(wbi_session *s)
{
	if (s->blocked && !s->flow_stopped && s->stage == SESSION_UP)
		wbi_session_push_kind(s, WB_BROKER_UNBLOCKED, 0);
	s->blocked = false;
	s->asked_us = s->now_us; /* it reads again only now */
}

void wbi_session_on_connection(wbi_session *s, const wbi_frame *frame)
{
	const amqp_connection_blocked_t *blocked = frame->decoded;
	wb_error err = WB_ERROR_INIT;

	switch (frame->method) {
	case AMQP_CONNECTION_CLOSE_METHOD:
		connection_on_close(s, frame->decoded);
		break;
	case AMQP_CONNECTION_BLOCKED_METHOD:
		connection_on_blocked(s, wbi_amqp_str(blocked->reason));
		break;
	case AMQP_CONNECTION_UNBLOCKED_METHOD:
		connection_on_unblocked(s);
		break;
	case AMQP_CONNECTION_CLOSE_OK_METHOD:
		if (s->stage == SESSION_CLOSING) {
			WBI_FAIL(&err, WB_ECLOSED, "closed as asked");
			wbi_session_end(s, &err);
			break;
		}
		/* fall through */
	default:
		wbi_session_violation(s, "%s out of turn",
				      amqp_method_name(frame->method));
		break;
	}
}
