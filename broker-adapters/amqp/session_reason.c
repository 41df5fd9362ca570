/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The broker's reply codes and words as errors that name the thing, the cause
 * and the cure. RabbitMQ says in prose what a program would rather have in
 * fields ("NOT_FOUND - no exchange 'x' in vhost '/'"), so the prose is looked
 * at where it is needed, and always shown. Wherever its wording differs the
 * code alone still gives a right, if poorer, answer.
 *
 * Pure.
 */
#include <stdio.h>

#include "broker-adapters/amqp/session_internal.h"
#include "lib/base/error.h"
#include "lib/base/text.h"

enum { SHOWN_MAX = 240 };

/* The broker's words, safe to show, NUL-terminated. */
typedef struct reason_text {
	char shown[SHOWN_MAX];
} reason_text;

static reason_text reason_show(wb_str text)
{
	reason_text t = {.shown = ""};

	wbi_text_show(text, t.shown, sizeof(t.shown));
	return t;
}

/* What stands in quotes behind `before`; empty if it is not there. */
static reason_text reason_quoted(const reason_text *t, const char *before)
{
	const char *at = strstr(t->shown, before);
	reason_text name = {{0}};
	size_t len;

	if (!at)
		return name;
	at += strlen(before);
	len = strcspn(at, "'");
	memcpy(name.shown, at, len);
	return name;
}

/* ---- connection.close -------------------------------------------------- */

static void reason_login(const wbi_session *s, const reason_text *t,
			 wb_error *ret)
{
	WBI_FAIL_FOREIGN(ret, WB_EACCESS, AMQP_ACCESS_REFUSED,
			 "login refused: user '%s' (%s), vhost '%s': check "
			 "name and password, and that this user may come from "
			 "this machine (guest may not, from another). The "
			 "broker says: %s",
			 s->user, s->options.external_auth ? "EXTERNAL"
							   : "PLAIN",
			 s->vhost, t->shown);
}

/* 530, and the older 402. */
static void reason_vhost(const wbi_session *s, uint16_t code,
			 const reason_text *t, wb_error *ret)
{
	if (strstr(t->shown, "limit")) {
		WBI_FAIL_FOREIGN(ret, WB_EACCESS, code,
				 "vhost '%s' or user '%s' has as many "
				 "connections as it may have. The broker says: "
				 "%s",
				 s->vhost, s->user, t->shown);
		ret->class_ = WB_CLASS_RETRY;
	} else if (strstr(t->shown, "not found")) {
		WBI_FAIL_FOREIGN(ret, WB_ENOTFOUND, code,
				 "vhost '%s' does not exist: create it with "
				 "`rabbitmqctl add_vhost`, or correct the path "
				 "of the AMQP URI. The broker says: %s",
				 s->vhost, t->shown);
		ret->class_ = WB_CLASS_STOP;
	} else {
		WBI_FAIL_FOREIGN(ret, WB_EACCESS, code,
				 "user '%s' may not use vhost '%s': give it "
				 "permissions with `rabbitmqctl "
				 "set_permissions`. The broker says: %s",
				 s->user, s->vhost, t->shown);
	}
}

void wbi_reason_connection(const wbi_session *session, uint16_t code,
			   wb_str text, wb_error *ret)
{
	reason_text t = reason_show(text);
	bool early = session->stage <= SESSION_OPEN;

	if (code == AMQP_ACCESS_REFUSED && early)
		reason_login(session, &t, ret);
	else if ((code == AMQP_NOT_ALLOWED || code == AMQP_INVALID_PATH) &&
		 early)
		reason_vhost(session, code, &t, ret);
	else if (code == AMQP_ACCESS_REFUSED || code == AMQP_NOT_ALLOWED)
		WBI_FAIL_FOREIGN(ret, WB_EACCESS, code,
				 "the broker closed the connection: %s",
				 t.shown);
	else if (code >= AMQP_FRAME_ERROR && code <= AMQP_UNEXPECTED_FRAME)
		WBI_FAIL_FOREIGN(ret, WB_EPROTO, code,
				 "the broker says that we broke the protocol "
				 "(%u): %s",
				 code, t.shown);
	else
		WBI_FAIL_FOREIGN(ret, WB_ECLOSED, code,
				 "the broker closed the connection (%u): %s",
				 code, t.shown);
}

/* ---- channel.close, channel 1 ------------------------------------------ */

static void reason_missing(const wbi_session *s, const reason_text *t,
			   wb_error *ret)
{
	reason_text exchange = reason_quoted(t, "no exchange '");
	reason_text queue = reason_quoted(t, "no queue '");

	if (exchange.shown[0])
		WBI_FAIL_FOREIGN(ret, WB_ENOTFOUND, AMQP_NOT_FOUND,
				 "exchange '%s' does not exist on vhost '%s': "
				 "create it with `waybill setup` or set "
				 "declare: create",
				 exchange.shown, s->vhost);
	else if (queue.shown[0])
		WBI_FAIL_FOREIGN(ret, WB_ENOTFOUND, AMQP_NOT_FOUND,
				 "queue '%s' does not exist on vhost '%s': "
				 "create it with `waybill setup` or set "
				 "declare: create",
				 queue.shown, s->vhost);
	else
		WBI_FAIL_FOREIGN(ret, WB_ENOTFOUND, AMQP_NOT_FOUND,
				 "something is missing on vhost '%s'. The "
				 "broker says: %s",
				 s->vhost, t->shown);
}

static void reason_precondition(const reason_text *t, wb_error *ret)
{
	if (strstr(t->shown, "larger than"))
		WBI_FAIL_FOREIGN(ret, WB_ELIMIT, AMQP_PRECONDITION_FAILED,
				 "a message is larger than the broker takes: "
				 "lower the body limit here, or raise its "
				 "max_message_size. The broker says: %s",
				 t->shown);
	else if (strstr(t->shown, "timed out"))
		WBI_FAIL_FOREIGN(ret, WB_ETIMEOUT, AMQP_PRECONDITION_FAILED,
				 "a delivery was not acked in time: take fewer "
				 "at once (prefetch), or raise the broker's "
				 "consumer_timeout. The broker says: %s",
				 t->shown);
	else
		WBI_FAIL_FOREIGN(ret, WB_ECLOSED, AMQP_PRECONDITION_FAILED,
				 "the broker closed the channel (406): %s",
				 t->shown);
}

static void reason_access(const wbi_session *s, const char *right,
			  const reason_text *t, wb_error *ret)
{
	WBI_FAIL_FOREIGN(ret, WB_EACCESS, AMQP_ACCESS_REFUSED,
			 "user '%s' lacks the %s permission on vhost '%s': "
			 "`rabbitmqctl set_permissions -p VHOST USER CONFIGURE "
			 "WRITE READ`. The broker says: %s",
			 s->user, right, s->vhost, t->shown);
}

void wbi_reason_channel(const wbi_session *session, uint16_t code, wb_str text,
			wb_error *ret)
{
	reason_text t = reason_show(text);
	bool consumes = session->consumer.state != CONSUMER_NONE;

	if (code == AMQP_NOT_FOUND)
		reason_missing(session, &t, ret);
	else if (code == AMQP_PRECONDITION_FAILED)
		reason_precondition(&t, ret);
	else if (code == AMQP_ACCESS_REFUSED)
		reason_access(session, consumes ? "read" : "write", &t, ret);
	else
		WBI_FAIL_FOREIGN(ret, WB_ECLOSED, code,
				 "the broker closed the channel (%u): %s", code,
				 t.shown);
}

/* ---- channel.close, channel 2 ------------------------------------------ */

static const char *reason_kind(const declare *what)
{
	switch (what->kind) {
	case WB_TOPOLOGY_EXCHANGE:
		return "exchange";
	case WB_TOPOLOGY_QUEUE:
		return "queue";
	default:
		return "binding of queue";
	}
}

static const char *reason_right(const declare *what)
{
	if (what->kind == WB_TOPOLOGY_BINDING)
		return "write (queue) or read (exchange)";
	return "configure";
}

void wbi_reason_declare(const wbi_session *session, const declare *what,
			uint16_t code, wb_str text, wb_error *ret)
{
	const char *kind = reason_kind(what);
	reason_text t = reason_show(text);

	if (code == AMQP_NOT_FOUND && what->kind == WB_TOPOLOGY_BINDING)
		reason_missing(session, &t, ret);
	else if (code == AMQP_NOT_FOUND)
		WBI_FAIL_FOREIGN(ret, WB_ENOTFOUND, code,
				 "%s '%s' does not exist on vhost '%s': create "
				 "it with `waybill setup` or set declare: "
				 "create",
				 kind, what->name, session->vhost);
	else if (code == AMQP_PRECONDITION_FAILED)
		WBI_FAIL_FOREIGN(ret, WB_EMISMATCH, code,
				 "%s '%s' exists with other properties, which "
				 "cannot be changed: delete it and let it be "
				 "created again, or use a policy, or set "
				 "declare: check or never. The broker says: %s",
				 kind, what->name, t.shown);
	else if (code == AMQP_ACCESS_REFUSED)
		reason_access(session, reason_right(what), &t, ret);
	else
		WBI_FAIL_FOREIGN(ret, WB_EPROTO, code,
				 "the broker refuses %s '%s' (%u): %s", kind,
				 what->name, code, t.shown);
}
