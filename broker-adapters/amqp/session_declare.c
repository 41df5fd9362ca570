/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Channel 2: declarations, one with the broker at a time, the others waiting
 * in order as finished frames. A refusal closes the channel; it is opened
 * again for the next one, so that each gets an answer of its own.
 */
#include <stdlib.h>

#include "broker-adapters/amqp/session_internal.h"
#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/text.h"

static declare *declares_first(session_declares *d)
{
	WB_ASSERT(d->count > 0);
	return &d->ring[d->head];
}

static void declare_fini(declare *what)
{
	free(what->name);
	free(what->exchange);
	wbi_buffer_fini(&what->frame);
	*what = (declare){0};
}

static void declares_pop(session_declares *d)
{
	declare_fini(declares_first(d));
	d->head = (d->head + 1) % SESSION_DECLARES_MAX;
	d->count--;
	d->sent = false;
}

void wbi_session_declares_fini(wbi_session *session)
{
	session_declares *d = &session->declares;

	while (d->count > 0)
		declares_pop(d);
	d->channel = CHANNEL_CLOSED;
}

/* Get the first one on its way, if it is not yet. */
static void declares_go_on(wbi_session *s)
{
	session_declares *d = &s->declares;
	amqp_channel_open_t open = {.out_of_band = {0, NULL}};
	const wbi_buffer *frame;

	if (d->count == 0 || d->sent || s->stage != SESSION_UP)
		return;
	if (d->channel == CHANNEL_CLOSED) {
		d->channel = CHANNEL_OPENING;
		wbi_session_ask(s, SESSION_CHANNEL_DECLARE,
				AMQP_CHANNEL_OPEN_METHOD, &open);
	} else if (d->channel == CHANNEL_OPEN) {
		frame = &declares_first(d)->frame;
		if (wbi_buffer_append(&s->output, wbi_buffer_data(frame),
				      wbi_buffer_len(frame)) != WB_OK) {
			wbi_session_no_memory(s);
			return;
		}
		s->sent_us = s->asked_us = s->now_us;
		d->sent = true;
	}
}

/* ---- arguments --------------------------------------------------------- */

wb_code wbi_session_arguments(wb_str name, const wb_argument *arguments,
			      size_t count,
			      amqp_table_entry_t entries[SESSION_ARGUMENTS_MAX],
			      amqp_table_t *ret, wb_error *err)
{
	if (count > SESSION_ARGUMENTS_MAX)
		return WBI_FAIL(err, WB_ELIMIT,
				"%zu arguments for '%.*s': %d is the most",
				count, (int)name.len, name.ptr,
				SESSION_ARGUMENTS_MAX);
	for (size_t i = 0; i < count; i++) {
		const wb_argument *a = &arguments[i];
		/* cppcheck-suppress uninitvar ; here it is filled */
		amqp_field_value_t *v = &entries[i].value;

		entries[i].key = wbi_amqp_bytes(a->name);
		if (a->is_bool) {
			v->kind = AMQP_FIELD_KIND_BOOLEAN;
			v->value.boolean = a->number != 0;
		} else if (a->is_number) {
			v->kind = AMQP_FIELD_KIND_I64;
			v->value.i64 = a->number;
		} else {
			v->kind = AMQP_FIELD_KIND_UTF8;
			v->value.bytes = wbi_amqp_bytes(a->text);
		}
	}
	ret->entries = entries;
	ret->num_entries = (int)count;
	return WB_OK;
}

/* ---- encoding ---------------------------------------------------------- */

static wb_code declare_arguments(const wb_declaration *from,
				 amqp_table_entry_t *entries, amqp_table_t *ret,
				 wb_error *err)
{
	return wbi_session_arguments(from->name, from->arguments,
				     from->argument_count, entries, ret, err);
}

static wb_code declare_exchange(const wbi_session *s,
				const wb_declaration *from, amqp_table_t table,
				declare *to, wb_error *err)
{
	amqp_exchange_declare_t method = {
		.exchange = wbi_amqp_bytes(from->name),
		.type = wbi_amqp_bytes(from->exchange_type),
		.passive = from->check_only,
		.durable = 1,
		.arguments = table,
	};

	/* A passive declaration looks at the name only, but wants a type. */
	if (from->check_only && from->exchange_type.len == 0)
		method.type = amqp_cstring_bytes("topic");
	to->answer = AMQP_EXCHANGE_DECLARE_OK_METHOD;
	return wbi_codec_put_method(&s->codec, &to->frame,
				    SESSION_CHANNEL_DECLARE,
				    AMQP_EXCHANGE_DECLARE_METHOD, &method, err);
}

static wb_code declare_queue(const wbi_session *s, const wb_declaration *from,
			     amqp_table_t table, declare *to, wb_error *err)
{
	amqp_queue_declare_t method = {
		.queue = wbi_amqp_bytes(from->name),
		.passive = from->check_only,
		.durable = 1,
		.arguments = table,
	};

	to->answer = AMQP_QUEUE_DECLARE_OK_METHOD;
	return wbi_codec_put_method(&s->codec, &to->frame,
				    SESSION_CHANNEL_DECLARE,
				    AMQP_QUEUE_DECLARE_METHOD, &method, err);
}

static wb_code declare_binding(const wbi_session *s, const wb_declaration *from,
			       amqp_table_t table, declare *to, wb_error *err)
{
	amqp_queue_bind_t method = {
		.queue = wbi_amqp_bytes(from->name),
		.exchange = wbi_amqp_bytes(from->exchange),
		.routing_key = wbi_amqp_bytes(from->binding_key),
		.arguments = table,
	};

	to->answer = AMQP_QUEUE_BIND_OK_METHOD;
	return wbi_codec_put_method(&s->codec, &to->frame,
				    SESSION_CHANNEL_DECLARE,
				    AMQP_QUEUE_BIND_METHOD, &method, err);
}

static wb_code declare_check(const wb_declaration *from, wb_error *err)
{
	if (from->name.len == 0 || from->name.len > SESSION_SHORT_MAX ||
	    from->exchange.len > SESSION_SHORT_MAX ||
	    from->exchange_type.len > SESSION_SHORT_MAX ||
	    from->binding_key.len > SESSION_SHORT_MAX)
		return WBI_FAIL(err, WB_ELIMIT,
				"declaring '%.*s': a name has 1 to 255 bytes, "
				"a type or key 255 at the most",
				(int)(from->name.len < 64 ? from->name.len
							  : 64),
				from->name.ptr);
	if (from->kind == WB_TOPOLOGY_BINDING && from->check_only)
		return WBI_FAIL(err, WB_EINVAL,
				"AMQP has no way to check a binding");
	if (from->kind == WB_TOPOLOGY_EXCHANGE && !from->check_only &&
	    from->exchange_type.len == 0)
		return WBI_FAIL(err, WB_EINVAL,
				"exchange '%.*s' needs a type (topic, ...)",
				(int)from->name.len, from->name.ptr);
	return WB_OK;
}

static wb_code declare_init(const wbi_session *s, const wb_declaration *from,
			    uint64_t token, declare *to, wb_error *err)
{
	amqp_table_entry_t entries[SESSION_ARGUMENTS_MAX];
	amqp_table_t table = {0, NULL};
	wb_code code = declare_arguments(from, entries, &table, err);

	if (code != WB_OK)
		return code;
	*to = (declare){.token = token,
			.kind = from->kind,
			.check_only = from->check_only,
			.name = wbi_text_dup(from->name),
			.exchange = wbi_text_dup(from->exchange)};
	wbi_buffer_init(&to->frame, s->frame_max);
	if (!to->name || !to->exchange)
		code = WBI_FAIL(err, WB_ENOMEM, "no memory to declare");
	else if (from->kind == WB_TOPOLOGY_EXCHANGE)
		code = declare_exchange(s, from, table, to, err);
	else if (from->kind == WB_TOPOLOGY_QUEUE)
		code = declare_queue(s, from, table, to, err);
	else
		code = declare_binding(s, from, table, to, err);
	if (code != WB_OK)
		declare_fini(to);
	return code;
}

wb_code wbi_session_declare(wbi_session *session, const wb_declaration *what,
			    uint64_t token, wb_error *err)
{
	session_declares *d = &session->declares;
	wb_code code;

	if (session->stage != SESSION_UP)
		return WBI_FAIL(err, WB_ESTATE, "the connection is not up");
	if (d->count == SESSION_DECLARES_MAX)
		return WBI_FAIL(err, WB_EAGAIN,
				"%d declarations wait for answers already",
				SESSION_DECLARES_MAX);
	code = declare_check(what, err);
	if (code == WB_OK)
		code = declare_init(session, what, token,
				    &d->ring[(d->head + d->count) %
					     SESSION_DECLARES_MAX],
				    err);
	if (code != WB_OK)
		return code;
	d->count++;
	declares_go_on(session);
	return WB_OK;
}

/* ---- answers ----------------------------------------------------------- */

static void declare_on_close(wbi_session *s, const amqp_channel_close_t *close)
{
	session_declares *d = &s->declares;
	session_event event = {.kind = WB_BROKER_DECLARE_FAILED,
			       .reply_code = close->reply_code};
	amqp_channel_close_ok_t ok = {0};
	wb_error err = WB_ERROR_INIT;

	if (d->channel == CHANNEL_CLOSED) {
		wbi_session_violation(s, "it closed a closed channel");
		return;
	}
	d->channel = CHANNEL_CLOSED;
	if (!wbi_session_send(s, SESSION_CHANNEL_DECLARE,
			      AMQP_CHANNEL_CLOSE_OK_METHOD, &ok) ||
	    d->count == 0)
		return;
	event.token = declares_first(d)->token;
	wbi_reason_declare(s, declares_first(d), close->reply_code,
			   wbi_amqp_str(close->reply_text), &err);
	declares_pop(d);
	wbi_session_push_reason(s, &event, wbi_amqp_str(close->reply_text),
				&err);
	declares_go_on(s);
}

void wbi_session_on_declare(wbi_session *session, const wbi_frame *frame)
{
	session_declares *d = &session->declares;
	uint64_t token;

	if (frame->method == AMQP_CHANNEL_CLOSE_METHOD) {
		declare_on_close(session, frame->decoded);
	} else if (frame->method == AMQP_CHANNEL_OPEN_OK_METHOD &&
		   d->channel == CHANNEL_OPENING) {
		d->channel = CHANNEL_OPEN;
		declares_go_on(session);
	} else if (d->sent && frame->method == declares_first(d)->answer) {
		token = declares_first(d)->token;
		declares_pop(d);
		wbi_session_push_kind(session, WB_BROKER_DECLARED, token);
		declares_go_on(session);
	} else {
		wbi_session_violation(session, "%s out of turn",
				      amqp_method_name(frame->method));
	}
}
