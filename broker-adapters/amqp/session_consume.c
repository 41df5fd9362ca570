/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The consumer of channel 1 and the settling of its deliveries. The unacked
 * ones are kept in a sorted array: so a broker that sends more than prefetch
 * is found out, and an ack of something that is not outstanding is refused
 * here (the broker would close the channel for it).
 *
 * Delivery numbers given to the owner never start again; the broker's tags do,
 * with each channel. What was delivered on a channel that has closed can no
 * longer be settled: it will come again.
 */
#include <stdlib.h>

#include "broker-adapters/amqp/session_internal.h"
#include "lib/base/error.h"

static const char CONSUMER_TAG[] = "waybill";

static wb_code consumer_check_wish(const wbi_session *session,
				   const wb_consumption *what, wb_error *err)
{
	if (session->stage != SESSION_UP || session->channel != CHANNEL_OPEN)
		return WBI_FAIL(err, WB_ESTATE,
				"the connection or its channel is not up");
	if (session->consumer.state != CONSUMER_NONE)
		return WBI_FAIL(err, WB_ESTATE,
				"this connection has a consumer already");
	if (what->prefetch == 0)
		return WBI_FAIL(err, WB_EINVAL,
				"prefetch must be 1 to 65535: 0 would mean "
				"without a limit");
	if (what->queue.len == 0 || what->queue.len > SESSION_SHORT_MAX)
		return WBI_FAIL(err, WB_ELIMIT,
				"a queue's name has 1 to 255 bytes, not %zu",
				what->queue.len);
	return WB_OK;
}

static bool consumer_of_stream(const wb_consumption *what)
{
	for (size_t i = 0; i < what->argument_count; i++)
		if (wb_str_eq(what->arguments[i].name,
			      wb_str_from(WB_STREAM_OFFSET)))
			return true;
	return false;
}

wb_code wbi_session_consume(wbi_session *session, const wb_consumption *what,
			    uint64_t token, wb_error *err)
{
	amqp_table_entry_t entries[SESSION_ARGUMENTS_MAX];
	session_consumer *c = &session->consumer;
	amqp_basic_qos_t qos = {.prefetch_count = what->prefetch};
	amqp_basic_consume_t consume = {
		.queue = wbi_amqp_bytes(what->queue),
		.consumer_tag = amqp_cstring_bytes(CONSUMER_TAG),
	};
	wb_code code = consumer_check_wish(session, what, err);

	if (code == WB_OK)
		code = wbi_session_arguments(what->queue, what->arguments,
					     what->argument_count, entries,
					     &consume.arguments, err);
	if (code != WB_OK)
		return code;
	c->token = token;
	c->unacked_max = c->count + what->prefetch;
	if (consumer_of_stream(what))
		c->unacked_max += SESSION_CHUNK_MAX;
	c->state = CONSUMER_QOS;
	if (wbi_session_ask(session, SESSION_CHANNEL, AMQP_BASIC_QOS_METHOD,
			    &qos))
		wbi_session_ask(session, SESSION_CHANNEL,
				AMQP_BASIC_CONSUME_METHOD, &consume);
	return WB_OK;
}

uint64_t wbi_session_last_delivery(const wbi_session *session)
{
	return session->consumer.last;
}

void wbi_session_consumer_reset(wbi_session *session)
{
	session_consumer *c = &session->consumer;

	c->state = CONSUMER_NONE;
	c->first = c->count = 0;
	c->base = c->last;
}

void wbi_session_consumer_lost(wbi_session *session, uint16_t reply_code,
			       wb_str text, const wb_error *error)
{
	session_event event = {.kind = WB_BROKER_CANCELLED,
			       .reply_code = reply_code,
			       .token = session->consumer.token};
	bool had = session->consumer.state != CONSUMER_NONE;

	wbi_session_consumer_reset(session);
	if (had)
		wbi_session_push_reason(session, &event, text, error);
}

/* The broker cancels: the channel lives on, and what came is still ours. */
static void consumer_on_cancel(wbi_session *s, const amqp_basic_cancel_t *what)
{
	session_event event = {.kind = WB_BROKER_CANCELLED,
			       .token = s->consumer.token};
	amqp_basic_cancel_ok_t ok = {.consumer_tag = what->consumer_tag};
	wb_error err = WB_ERROR_INIT;

	WBI_FAIL(&err, WB_ECLOSED,
		 "the broker cancelled the consumer: its queue was deleted, or "
		 "the queue's leader is gone");
	s->consumer.state = CONSUMER_NONE;
	if (!what->nowait &&
	    !wbi_session_send(s, SESSION_CHANNEL, AMQP_BASIC_CANCEL_OK_METHOD,
			      &ok))
		return;
	wbi_session_push_reason(s, &event, WB_STR_NULL, &err);
}

void wbi_session_on_consumer(wbi_session *session, const wbi_frame *frame)
{
	session_consumer *c = &session->consumer;

	if (frame->method == AMQP_BASIC_QOS_OK_METHOD &&
	    c->state == CONSUMER_QOS) {
		c->state = CONSUMER_CONSUME;
	} else if (frame->method == AMQP_BASIC_CONSUME_OK_METHOD &&
		   c->state == CONSUMER_CONSUME) {
		c->state = CONSUMER_ACTIVE;
		wbi_session_push_kind(session, WB_BROKER_CONSUMING, c->token);
	} else if (frame->method == AMQP_BASIC_CANCEL_METHOD &&
		   c->state == CONSUMER_ACTIVE) {
		consumer_on_cancel(session, frame->decoded);
	} else {
		wbi_session_violation(session, "%s out of turn",
				      amqp_method_name(frame->method));
	}
}

/* ---- unacked deliveries ------------------------------------------------ */

/* Room for one more behind the last. */
static bool consumer_room(session_consumer *c)
{
	uint32_t capacity = c->capacity ? c->capacity * 2 : 64;
	uint64_t *unacked;

	if (c->first + c->count < c->capacity)
		return true;
	if (c->first > c->capacity / 2) {
		memmove(c->unacked, c->unacked + c->first,
			c->count * sizeof(*c->unacked));
		c->first = 0;
		return true;
	}
	unacked = realloc(c->unacked, capacity * sizeof(*unacked));
	if (!unacked)
		return false;
	c->unacked = unacked;
	c->capacity = capacity;
	return true;
}

bool wbi_session_count_delivery(wbi_session *session, uint64_t tag,
				uint64_t *ret_delivery)
{
	session_consumer *c = &session->consumer;

	if (c->state != CONSUMER_ACTIVE || c->count >= c->unacked_max) {
		wbi_session_violation(session,
				      "a delivery beyond what was asked for");
		return false;
	}
	if (tag <= c->last - c->base || tag > UINT64_MAX / 2) {
		wbi_session_violation(session, "delivery tags that go back");
		return false;
	}
	if (!consumer_room(c)) {
		wbi_session_no_memory(session);
		return false;
	}
	c->last = c->base + tag;
	c->unacked[c->first + c->count++] = c->last;
	*ret_delivery = c->last;
	return true;
}

/* How many outstanding ones are at or below `delivery`. */
static uint32_t consumer_upto(const session_consumer *c, uint64_t delivery)
{
	uint32_t low = 0, high = c->count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (c->unacked[c->first + middle] <= delivery)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Is this delivery outstanding, and may we speak of it now? *ret_upto: its
 * place, counted from 1. */
static wb_code consumer_check(const wbi_session *s, uint64_t delivery,
			      uint32_t *ret_upto, wb_error *err)
{
	const session_consumer *c = &s->consumer;
	uint32_t upto;

	if (s->stage != SESSION_UP || s->channel != CHANNEL_OPEN)
		return WBI_FAIL(err, WB_ESTATE,
				"the connection or its channel is not up: the "
				"delivery will come again");
	upto = consumer_upto(c, delivery);
	if (upto == 0 || c->unacked[c->first + upto - 1] != delivery)
		return WBI_FAIL(err, WB_EINVAL,
				"delivery %llu is not outstanding: settled "
				"already, or of a channel that has closed",
				(unsigned long long)delivery);
	if (wbi_buffer_len(&s->output) >
	    (size_t)s->options.buffer_max_bytes + SESSION_CONTROL_RESERVE)
		return WBI_FAIL(err, WB_EAGAIN,
				"too many bytes wait to be sent already");
	*ret_upto = upto;
	return WB_OK;
}

static void consumer_remove(session_consumer *c, uint32_t upto, bool multiple)
{
	uint64_t *at = c->unacked + c->first + upto;

	if (multiple || upto == 1) {
		c->first += upto;
		c->count -= upto;
	} else {
		memmove(at - 1, at, (c->count - upto) * sizeof(*at));
		c->count--;
	}
	if (c->count == 0)
		c->first = 0;
}

wb_code wbi_session_ack(wbi_session *session, uint64_t delivery, bool multiple,
			wb_error *err)
{
	session_consumer *c = &session->consumer;
	amqp_basic_ack_t ack = {.delivery_tag = delivery - c->base,
				.multiple = multiple};
	uint32_t upto = 0;
	wb_code code = consumer_check(session, delivery, &upto, err);

	if (code == WB_OK)
		code = wbi_codec_put_method(&session->codec, &session->output,
					    SESSION_CHANNEL,
					    AMQP_BASIC_ACK_METHOD, &ack, err);
	if (code != WB_OK)
		return code;
	session->sent_us = session->now_us;
	consumer_remove(c, upto, multiple);
	return WB_OK;
}

wb_code wbi_session_reject(wbi_session *session, uint64_t delivery,
			   bool requeue, wb_error *err)
{
	session_consumer *c = &session->consumer;
	amqp_basic_reject_t reject = {.delivery_tag = delivery - c->base,
				      .requeue = requeue};
	uint32_t upto = 0;
	wb_code code = consumer_check(session, delivery, &upto, err);

	if (code == WB_OK)
		code = wbi_codec_put_method(
			&session->codec, &session->output, SESSION_CHANNEL,
			AMQP_BASIC_REJECT_METHOD, &reject, err);
	if (code != WB_OK)
		return code;
	session->sent_us = session->now_us;
	consumer_remove(c, upto, false);
	return WB_OK;
}
