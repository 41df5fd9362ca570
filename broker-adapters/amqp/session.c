/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The life of a session: made with its first bytes already in the output, fed,
 * ticked, over. Each frame goes to the file that knows its subject (the list
 * is in session_internal.h); whatever is wrong comes back here as the reason
 * of the one end there is.
 *
 * Time is only ever told, by feed, tick and close; a publish in between is
 * taken to be as old as the last of them, so that a heartbeat goes out early
 * rather than late. Nothing here survives a crash and nothing has to: the
 * broker forgets the connection, and both sides count as unknown what was
 * not settled.
 */
#include <stdio.h>
#include <stdlib.h>

#include "broker-adapters/amqp/session_internal.h"
#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/base/text.h"

enum {
	MS = 1000,
	SECOND = 1000 * 1000,
	ANSWER_MAX_S = 60, /* a quorum queue may take its time to be made */
	HEADER_TEXTS_MAX = 2 * 1024 * 1024 /* nested ones, printed */
};

static wb_code session_check_options(const wbi_session_options *o,
				     wb_error *err)
{
	if (!o->vhost || strlen(o->vhost) > SESSION_SHORT_MAX)
		return WBI_FAIL(err, WB_EINVAL,
				"a vhost of at most 255 bytes is needed");
	if (!o->external_auth && (!o->user || !o->password))
		return WBI_FAIL(err, WB_EINVAL,
				"PLAIN needs a user and a password: give both, "
				"or use external authentication");
	if (o->frame_max_bytes != 0 &&
	    (o->frame_max_bytes < AMQP_FRAME_MIN_SIZE ||
	     o->frame_max_bytes > INT32_MAX / 2))
		return WBI_FAIL(err, WB_EINVAL,
				"frame_max_bytes is %u: the least is %d",
				o->frame_max_bytes, AMQP_FRAME_MIN_SIZE);
	if (o->unsettled_max == 0 || o->buffer_max_bytes == 0 ||
	    o->body_max_bytes == 0)
		return WBI_FAIL(err, WB_EINVAL,
				"unsettled_max, buffer_max_bytes and "
				"body_max_bytes must not be 0");
	return WB_OK;
}

/* One message may be larger than buffer_max_bytes and passes through the empty
 * buffer alone, with its frames' overhead; control frames have a reserve. */
static size_t session_output_max(const wbi_session_options *o)
{
	size_t message = (size_t)o->body_max_bytes + o->body_max_bytes / 256;
	size_t most = o->buffer_max_bytes;

	if (most < message)
		most = message;
	return most + (size_t)4 * SESSION_CONTROL_RESERVE + o->frame_max_bytes;
}

wb_code wbi_session_new(const wbi_session_options *options, int64_t now_us,
			wbi_session **ret, wb_error *err)
{
	wb_code code = session_check_options(options, err);
	wbi_session *s;

	if (code != WB_OK)
		return code;
	s = calloc(1, sizeof(*s));
	if (!s)
		return WBI_FAIL(err, WB_ENOMEM, "no memory for a session");
	s->options = *options;
	if (s->options.frame_max_bytes == 0)
		s->options.frame_max_bytes = 131072;
	s->frame_max = AMQP_FRAME_MIN_SIZE;
	s->now_us = s->heard_us = s->sent_us = now_us;
	s->stage_deadline_us =
		now_us + (int64_t)options->handshake_timeout_ms * MS;
	s->confirms.next = s->confirms.head = s->confirms.covered = 1;
	s->consumer.base = s->consumer.last = options->delivery_base;
	s->confirms.seed = (uint64_t)now_us ^ (uint64_t)(uintptr_t)s;
	wbi_buffer_init(&s->output, session_output_max(&s->options));
	wbi_buffer_init(&s->scratch,
			(size_t)s->options.frame_max_bytes + HEADER_TEXTS_MAX);
	s->user = wbi_text_dup(wb_str_from(options->user));
	s->vhost = wbi_text_dup(wb_str_from(options->vhost));
	s->connection_name =
		wbi_text_dup(wb_str_from(options->connection_name));
	code = wbi_codec_init(&s->codec, WBI_CODEC_CLIENT, err);
	if (code == WB_OK && s->user && s->vhost && s->connection_name)
		code = wbi_buffer_append(&s->output, "AMQP\0\0\11\1", 8);
	else
		code = WB_ENOMEM;
	if (code != WB_OK) {
		wbi_session_free(s);
		return WBI_FAIL(err, code, "no memory for a session");
	}
	*ret = s;
	return WB_OK;
}

void wbi_session_free(wbi_session *session)
{
	if (!session)
		return;
	wbi_session_content_reset(session);
	wbi_session_events_fini(session);
	wbi_session_declares_fini(session);
	wbi_confirms_fini(&session->confirms);
	wbi_codec_fini(&session->codec);
	if (session->output.bytes) /* the login may still be in there */
		explicit_bzero(session->output.bytes, session->output.capacity);
	wbi_buffer_fini(&session->output);
	wbi_buffer_fini(&session->scratch);
	free(session->consumer.unacked);
	free(session->user);
	free(session->vhost);
	free(session->connection_name);
	free(session);
}

wbi_buffer *wbi_session_output(wbi_session *session)
{
	return &session->output;
}

bool wbi_session_is_over(const wbi_session *session)
{
	return session->stage == SESSION_OVER;
}

void wbi_session_end(wbi_session *session, const wb_error *reason)
{
	WB_ASSERT(reason->code != WB_OK);
	if (session->stage == SESSION_OVER)
		return;
	session->stage = SESSION_OVER;
	session->channel = CHANNEL_CLOSED;
	session->events.down = *reason;
	session->events.has_down = true;
	wbi_session_content_reset(session);
	wbi_session_declares_fini(session);
	wbi_session_consumer_reset(session);
	wbi_confirms_forget(&session->confirms);
}

void wbi_session_violation(wbi_session *session, const char *format, ...)
{
	wb_error err = WB_ERROR_INIT;
	char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	WBI_FAIL(&err, WB_EPROTO, "the broker broke the AMQP protocol: %s",
		 text);
	wbi_session_end(session, &err);
}

void wbi_session_no_memory(wbi_session *session)
{
	wb_error err = WB_ERROR_INIT;

	WBI_FAIL(&err, WB_ENOMEM, "no memory for what the broker sent");
	wbi_session_end(session, &err);
}

bool wbi_session_send(wbi_session *session, uint16_t channel,
		      amqp_method_number_t id, void *method)
{
	wb_error err = WB_ERROR_INIT;

	if (wbi_codec_put_method(&session->codec, &session->output, channel, id,
				 method, &err) != WB_OK) {
		wbi_session_end(session, &err);
		return false;
	}
	session->sent_us = session->now_us;
	return true;
}

bool wbi_session_ask(wbi_session *session, uint16_t channel,
		     amqp_method_number_t id, void *method)
{
	session->asked_us = session->now_us;
	return wbi_session_send(session, channel, id, method);
}

/* ---- frames ------------------------------------------------------------ */

static bool session_is_connection_method(amqp_method_number_t id)
{
	return id >> 16 == AMQP_CONNECTION_CLOSE_METHOD >> 16;
}

static void session_dispatch_method(wbi_session *s, const wbi_frame *frame)
{
	if (session_is_connection_method(frame->method) !=
	    (frame->channel == 0))
		wbi_session_violation(s, "a method on the wrong channel");
	else if (frame->channel == 0 && s->stage < SESSION_CHANNEL_1 &&
		 frame->method != AMQP_CONNECTION_CLOSE_METHOD)
		wbi_session_on_handshake(s, frame);
	else if (frame->channel == 0)
		wbi_session_on_connection(s, frame);
	else if (s->stage < SESSION_CHANNEL_1)
		wbi_session_violation(s, "a channel's method before open-ok");
	else if (frame->channel == SESSION_CHANNEL_DECLARE)
		wbi_session_on_declare(s, frame);
	else if (s->content.kind != CONTENT_NONE &&
		 frame->method != AMQP_CHANNEL_CLOSE_METHOD)
		wbi_session_violation(s, "a method in the middle of a message");
	else
		wbi_session_on_channel(s, frame);
}

/* RabbitMQ's channel and its reader write side by side: deliveries and confirms
 * of a channel may come behind its close, until it is open again. */
static bool session_is_late(const wbi_session *s, const wbi_frame *frame)
{
	if (frame->channel != SESSION_CHANNEL || s->stage < SESSION_UP ||
	    (s->channel != CHANNEL_CLOSED && s->channel != CHANNEL_OPENING))
		return false;
	return frame->type != AMQP_FRAME_METHOD ||
	       (frame->method != AMQP_CHANNEL_CLOSE_METHOD &&
		frame->method != AMQP_CHANNEL_OPEN_OK_METHOD);
}

static void session_dispatch(wbi_session *s, const wbi_frame *frame)
{
	if (session_is_late(s, frame))
		return;
	switch (frame->type) {
	case AMQP_FRAME_METHOD:
		session_dispatch_method(s, frame);
		break;
	case AMQP_FRAME_HEADER:
	case AMQP_FRAME_BODY:
		if (frame->channel != SESSION_CHANNEL)
			wbi_session_violation(s, "content on channel %u",
					      frame->channel);
		else
			wbi_session_on_content(s, frame);
		break;
	default: /* a heartbeat: having heard it was its whole purpose */
		break;
	}
}

void wbi_session_feed(wbi_session *session, const uint8_t *bytes, size_t len,
		      int64_t now_us)
{
	wb_error err = WB_ERROR_INIT;
	wbi_frame frame;
	size_t used;

	session->now_us = now_us;
	if (len > 0)
		session->heard_us = now_us;
	while (len > 0 && session->stage != SESSION_OVER) {
		if (wbi_codec_decode(&session->codec, bytes, len, &used, &frame,
				     &err) != WB_OK) {
			wbi_session_end(session, &err);
			return;
		}
		bytes += used;
		len -= used;
		if (frame.type != 0)
			session_dispatch(session, &frame);
		wbi_codec_release(&session->codec, &frame);
	}
}

/* ---- time -------------------------------------------------------------- */

/*
 * When what was asked of a connection that is up must have been answered:
 * heartbeats alone do not show that a channel works. INT64_MAX: nothing is
 * owed, or the broker blocks us, and then it does not read either.
 */
static int64_t session_answer_us(const wbi_session *s)
{
	const session_declares *d = &s->declares;
	bool owed = s->channel == CHANNEL_OPENING ||
		    s->channel == CHANNEL_CONFIRMING ||
		    d->channel == CHANNEL_OPENING || d->sent ||
		    s->consumer.state == CONSUMER_QOS ||
		    s->consumer.state == CONSUMER_CONSUME;

	if (!owed || s->blocked)
		return INT64_MAX;
	return s->asked_us + (int64_t)ANSWER_MAX_S * SECOND;
}

int64_t wbi_session_deadline_us(const wbi_session *session)
{
	int64_t send, dead, answer = session_answer_us(session);

	if (session->stage == SESSION_OVER)
		return INT64_MAX;
	if (session->stage != SESSION_UP)
		return session->stage_deadline_us;
	if (session->heartbeat_us == 0)
		return answer;
	send = session->sent_us + session->heartbeat_us / 2;
	dead = session->heard_us + session->heartbeat_us * 2;
	if (dead > send)
		dead = send;
	return dead < answer ? dead : answer;
}

static void session_timed_out(wbi_session *s)
{
	wb_error err = WB_ERROR_INIT;

	if (s->stage == SESSION_CLOSING)
		WBI_FAIL(&err, WB_ECLOSED,
			 "closed as asked; the broker did not answer within "
			 "%u ms",
			 s->options.close_timeout_ms);
	else
		WBI_FAIL(&err, WB_ETIMEOUT,
			 "no AMQP connection after %u ms: stuck %s",
			 s->options.handshake_timeout_ms,
			 wbi_session_stage_text(s));
	wbi_session_end(s, &err);
}

void wbi_session_tick(wbi_session *session, int64_t now_us)
{
	wb_error err = WB_ERROR_INIT;

	session->now_us = now_us;
	if (session->stage == SESSION_OVER)
		return;
	if (session->stage != SESSION_UP) {
		if (now_us >= session->stage_deadline_us)
			session_timed_out(session);
		return;
	}
	if (now_us >= session_answer_us(session)) {
		WBI_FAIL(&err, WB_ETIMEOUT,
			 "the broker is there and has not answered in %d s: "
			 "connecting again",
			 (int)ANSWER_MAX_S);
		wbi_session_end(session, &err);
		return;
	}
	if (session->heartbeat_us == 0)
		return;
	if (now_us - session->heard_us >= session->heartbeat_us * 2) {
		WBI_FAIL(&err, WB_ETIMEOUT,
			 "not one byte from the broker in %d s (heartbeat "
			 "%d s): it or the network is gone",
			 (int)((now_us - session->heard_us) / SECOND),
			 (int)(session->heartbeat_us / SECOND));
		wbi_session_end(session, &err);
		return;
	}
	if (now_us - session->sent_us < session->heartbeat_us / 2)
		return;
	/* Bytes that wait already are as good a sign of life. */
	if (wbi_buffer_len(&session->output) == 0 &&
	    wbi_codec_put_heartbeat(&session->output, &err) != WB_OK)
		wbi_session_end(session, &err);
	session->sent_us = now_us;
}

/* ---- the end ----------------------------------------------------------- */

void wbi_session_fail(wbi_session *session, wb_code code, const char *reason)
{
	wb_error err = WB_ERROR_INIT;

	if (session->stage == SESSION_OVER)
		return;
	if (session->stage == SESSION_CLOSING)
		WBI_FAIL(&err, WB_ECLOSED, "closed as asked");
	else if (session->stage == SESSION_TUNE && session->login_sent)
		WBI_FAIL(&err, code,
			 "%s, right after the login as user '%s': are the "
			 "name and the password right?",
			 reason, session->user);
	else if (session->stage < SESSION_UP)
		WBI_FAIL(&err, code, "%s, %s", reason,
			 wbi_session_stage_text(session));
	else
		WBI_FAIL(&err, code, "%s", reason);
	wbi_buffer_clear(&session->output);
	wbi_session_end(session, &err);
}

void wbi_session_close(wbi_session *session, int64_t now_us)
{
	amqp_connection_close_t close = {
		.reply_code = AMQP_REPLY_SUCCESS,
		.reply_text = amqp_cstring_bytes("goodbye"),
	};
	wb_error err = WB_ERROR_INIT;

	session->now_us = now_us;
	if (session->stage == SESSION_OVER || session->stage == SESSION_CLOSING)
		return;
	if (session->stage < SESSION_CHANNEL_1) {
		WBI_FAIL(&err, WB_ECLOSED, "closed as asked, %s",
			 wbi_session_stage_text(session));
		wbi_session_end(session, &err);
		return;
	}
	session->stage_deadline_us =
		now_us + (int64_t)session->options.close_timeout_ms * MS;
	session->stage = SESSION_CLOSING;
	wbi_session_send(session, 0, AMQP_CONNECTION_CLOSE_METHOD, &close);
}
