/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The adapter ties one session (the protocol) to one transport (the bytes) and
 * goes through the hosts. It is DOWN, OPENING (the transport is connecting),
 * RUNNING (a session exists) or ENDED (a DOWN of our own waits to be taken).
 *
 * Hosts are tried in the order of the URI, each within its connect timeout;
 * only when every one has failed is there one DOWN, which names the failure of
 * each. The next connect() begins with the host after the one used last, so a
 * host that accepts connections and drops them cannot hold us.
 *
 * publish() makes no system call until ADAPTER_WRITE_AT bytes have gathered;
 * then, at flush() and in step() everything is handed to the kernel at once.
 * While the kernel takes no more, only step() tries again.
 *
 * A lost connection is reported only after all that the broker still said has
 * been read: its reason for closing is worth more than a broken pipe.
 *
 * Nothing is kept across a crash. One thread at a time; all memory is the
 * adapter's.
 */
#include "broker-adapters/amqp/adapter.h"

#include <stdio.h>
#include <stdlib.h>

#include "broker-adapters/amqp/options.h"
#include "broker-adapters/amqp/session.h"
#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/log.h"

enum {
	ADAPTER_READ_BYTES = 65536,
	ADAPTER_READS_PER_STEP = 4,
	ADAPTER_WRITES_PER_STEP = 64, /* a TLS record is 16 KiB */
	ADAPTER_WRITE_AT = 65536,
	ADAPTER_FAILURES_MAX = 400,
};

typedef enum adapter_phase {
	ADAPTER_DOWN,
	ADAPTER_OPENING,
	ADAPTER_RUNNING,
	ADAPTER_ENDED
} adapter_phase;

typedef struct amqp_adapter {
	wb_broker broker; /* what the caller holds */
	wbi_amqp_config config;
	wbi_transport transport;
	wbi_session *session;   /* stays until connect or free after a DOWN, as
				   texts in that event are borrowed from it */
	uint64_t last_delivery; /* of all sessions before */
	adapter_phase phase;
	bool up;            /* UP was handed out in this connection */
	bool closing;       /* close() was called */
	bool write_blocked; /* the kernel took no more */
	bool write_again;   /* it would have, but one call has done enough */
	size_t host;        /* in use, or the next to use */
	size_t failed;      /* hosts that failed since connect() */
	int64_t host_deadline_us;
	wb_error down; /* ENDED: what DOWN will say */
	uint16_t down_reply_code;
	char failures[ADAPTER_FAILURES_MAX]; /* "host: reason; ..." */
	uint8_t input[ADAPTER_READ_BYTES];
} amqp_adapter;

static int64_t amqp_now_us(const amqp_adapter *a)
{
	return a->config.clock.mono_us(a->config.clock.ctx);
}

static const wbi_amqp_host *amqp_host(const amqp_adapter *a)
{
	return &a->config.hosts[a->host];
}

/* ---- time -------------------------------------------------------------- */

static int64_t amqp_deadline_us(void *self)
{
	const amqp_adapter *a = self;

	switch (a->phase) {
	case ADAPTER_OPENING:
		return a->transport.ops->deadline_us(a->transport.self);
	case ADAPTER_RUNNING:
		if (wbi_session_is_over(a->session) || a->write_again)
			return 0;
		return wbi_session_deadline_us(a->session);
	case ADAPTER_ENDED:
		return 0;
	default:
		return INT64_MAX;
	}
}

/* After whatever may have brought the deadline nearer. */
static void amqp_arm(amqp_adapter *a, int64_t now_us)
{
	a->transport.ops->wake_at(a->transport.self, amqp_deadline_us(a),
				  now_us);
}

/* ---- from host to host ------------------------------------------------- */

static void amqp_next_host(amqp_adapter *a)
{
	a->host = (a->host + 1) % a->config.host_count;
	a->failed++;
}

/* DOWN after the last host: its own error if there was only one, else all of
 * them; worth a retry if any of them is. */
static void amqp_end(amqp_adapter *a, const wb_error *err, uint16_t reply_code)
{
	a->phase = ADAPTER_ENDED;
	a->down_reply_code = 0;
	if (a->config.host_count == 1 || a->closing) {
		a->down = *err;
		a->down_reply_code = reply_code;
		return;
	}
	snprintf(a->down.text, sizeof(a->down.text),
		 "none of %zu brokers can be used: %s", a->config.host_count,
		 a->failures);
}

static void amqp_note_failure(amqp_adapter *a, const wb_error *err)
{
	size_t used = strlen(a->failures);
	/* Each host gets its share of the room, so that the last is seen. */
	size_t share = sizeof(a->failures) / a->config.host_count;

	if (a->failed == 0 ||
	    (a->down.class_ != WB_CLASS_RETRY && err->class_ == WB_CLASS_RETRY))
		a->down = *err;
	snprintf(a->failures + used, sizeof(a->failures) - used, "%s%s: %.*s",
		 used > 0 ? "; " : "", amqp_host(a)->host, (int)share,
		 err->text);
	if (a->config.host_count > 1)
		wbi_log(&a->config.log, WB_LOG_INFO, "amqp: %s port %u: %s",
			amqp_host(a)->host, amqp_host(a)->port, err->text);
}

static wb_code amqp_open(amqp_adapter *a, int64_t now_us, wb_error *err)
{
	const wbi_amqp_host *host = amqp_host(a);

	a->host_deadline_us = now_us + (int64_t)host->connect_timeout_ms * 1000;
	a->write_blocked = a->write_again = false;
	a->phase = ADAPTER_OPENING;
	return a->transport.ops->open(a->transport.self, host,
				      a->host_deadline_us, err);
}

/* The present host does not work: go on with the next, until there is one
 * that does not fail at once, or none is left. */
static void amqp_host_failed(amqp_adapter *a, const wb_error *reason,
			     uint16_t reply_code, int64_t now_us)
{
	wb_error err = *reason;
	wb_code code;

	do {
		a->transport.ops->shut(a->transport.self);
		amqp_note_failure(a, &err);
		amqp_next_host(a);
		if (a->failed >= a->config.host_count || a->closing) {
			amqp_end(a, &err, reply_code);
			return;
		}
		wb_error_clear(&err);
		reply_code = 0;
		code = amqp_open(a, now_us, &err);
	} while (code != WB_OK);
}

/* The transport is open: begin to speak. */
static wb_code amqp_begin_session(amqp_adapter *a, int64_t now_us,
				  wb_error *err)
{
	const wbi_amqp_config *c = &a->config;
	const wbi_amqp_host *host = amqp_host(a);
	int64_t left_ms = (a->host_deadline_us - now_us) / 1000;
	const wbi_session_options options = {
		.user = host->user,
		.password = host->password ? host->password : "",
		.external_auth = host->external_auth,
		.vhost = host->vhost,
		.connection_name = c->connection_name,
		.heartbeat_s = host->heartbeat_s,
		.frame_max_bytes = c->frame_max_bytes,
		.body_max_bytes = c->body_max_bytes,
		.unsettled_max = c->unsettled_max,
		.buffer_max_bytes = c->buffer_max_bytes,
		.handshake_timeout_ms = left_ms > 0 ? (uint32_t)left_ms : 1,
		.close_timeout_ms = c->close_timeout_ms,
		.delivery_base = a->last_delivery,
		.log = &c->log,
	};

	wbi_session_free(a->session);
	a->session = NULL;
	a->phase = ADAPTER_RUNNING;
	return wbi_session_new(&options, now_us, &a->session, err);
}

static void amqp_advance(amqp_adapter *a, int64_t now_us)
{
	wb_error err = WB_ERROR_INIT;
	wb_code code =
		a->transport.ops->advance(a->transport.self, now_us, &err);

	if (code == WB_OK)
		code = amqp_begin_session(a, now_us, &err);
	if (code != WB_OK && code != WB_EAGAIN)
		amqp_host_failed(a, &err, 0, now_us);
}

/* ---- bytes ------------------------------------------------------------- */

/* True: the connection is lost, and *err says how. */
static bool amqp_read(amqp_adapter *a, int64_t now_us, wb_error *err)
{
	const wbi_transport *t = &a->transport;

	for (int i = 0; i < ADAPTER_READS_PER_STEP; i++) {
		size_t len = 0;
		wb_code code = t->ops->read(t->self, a->input, sizeof(a->input),
					    &len, err);

		if (code == WB_EAGAIN)
			return false;
		if (code != WB_OK)
			return true;
		wbi_session_feed(a->session, a->input, len, now_us);
		/* A short read has most likely emptied the socket; if not, fd
		 * stays readable. */
		if (wbi_session_is_over(a->session) || len < sizeof(a->input))
			return false;
	}
	return false;
}

/* What cannot be written is lost, but what the broker had to say is not. */
static void amqp_write_failed(amqp_adapter *a, const wb_error *reason)
{
	wb_error err = WB_ERROR_INIT;

	if (!wbi_session_is_over(a->session) &&
	    amqp_read(a, amqp_now_us(a), &err))
		reason = &err;
	wbi_session_fail(a->session, reason->code, reason->text);
}

static void amqp_write(amqp_adapter *a)
{
	wbi_buffer *out = wbi_session_output(a->session);
	wb_error err = WB_ERROR_INIT;

	a->write_blocked = a->write_again = false;
	for (int i = 0; i < ADAPTER_WRITES_PER_STEP; i++) {
		size_t len = wbi_buffer_len(out), sent = 0;
		wb_code code;

		if (len == 0)
			return;
		code = a->transport.ops->write(a->transport.self,
					       wbi_buffer_data(out), len, &sent,
					       &err);
		if (code == WB_EAGAIN) {
			a->write_blocked = true;
			return;
		}
		if (code != WB_OK) {
			amqp_write_failed(a, &err);
			return;
		}
		wbi_buffer_consume(out, sent);
	}
	a->write_again = wbi_buffer_len(out) > 0;
}

/* Write, outside of step: the deadline may be nearer than before. */
static void amqp_write_now(amqp_adapter *a)
{
	if (!a->write_blocked)
		amqp_write(a);
	amqp_arm(a, amqp_now_us(a));
}

static void amqp_exchange(amqp_adapter *a, int64_t now_us)
{
	wb_error err = WB_ERROR_INIT;

	if (!wbi_session_is_over(a->session) && amqp_read(a, now_us, &err))
		wbi_session_fail(a->session, err.code, err.text);
	if (!wbi_session_is_over(a->session))
		wbi_session_tick(a->session, now_us);
	/* Even when it is over: a last answer to the broker. */
	amqp_write(a);
}

/* ---- the slots --------------------------------------------------------- */

static wb_code amqp_connect(void *self, wb_error *err)
{
	amqp_adapter *a = self;
	wb_error failure = WB_ERROR_INIT;
	int64_t now_us = amqp_now_us(a);

	if (a->phase != ADAPTER_DOWN)
		return WBI_FAIL(err, WB_ESTATE,
				"already connected or connecting");
	if (a->session)
		a->last_delivery = wbi_session_last_delivery(a->session);
	wbi_session_free(a->session);
	a->session = NULL;
	a->up = a->closing = false;
	a->failed = 0;
	a->failures[0] = '\0';
	wb_error_clear(&a->down);
	if (amqp_open(a, now_us, &failure) != WB_OK)
		amqp_host_failed(a, &failure, 0, now_us);
	amqp_arm(a, now_us);
	return WB_OK;
}

static int amqp_fd(void *self)
{
	amqp_adapter *a = self;

	return a->transport.ops->fd(a->transport.self);
}

static void amqp_step(void *self)
{
	amqp_adapter *a = self;
	int64_t now_us = amqp_now_us(a);

	if (a->phase == ADAPTER_OPENING)
		amqp_advance(a, now_us);
	if (a->phase == ADAPTER_RUNNING)
		amqp_exchange(a, now_us);
	amqp_arm(a, now_us);
}

/* A session has ended. True: the caller gets to see this DOWN. */
static bool amqp_session_down(amqp_adapter *a, const wb_broker_event *event)
{
	int64_t now_us = amqp_now_us(a);

	if (!a->up && !a->closing) {
		amqp_host_failed(a, &event->error, event->reply_code, now_us);
		amqp_arm(a, now_us);
		return false;
	}
	a->transport.ops->shut(a->transport.self);
	a->phase = ADAPTER_DOWN;
	amqp_next_host(a);
	amqp_arm(a, now_us);
	return true;
}

static bool amqp_next(void *self, wb_broker_event *ret)
{
	amqp_adapter *a = self;

	if (a->phase == ADAPTER_RUNNING && wbi_session_next(a->session, ret)) {
		if (ret->kind == WB_BROKER_UP)
			a->up = true;
		if (ret->kind != WB_BROKER_DOWN || amqp_session_down(a, ret))
			return true;
	}
	*ret = (wb_broker_event){.kind = WB_BROKER_NONE};
	if (a->phase != ADAPTER_ENDED)
		return false;
	ret->kind = WB_BROKER_DOWN;
	ret->reply_code = a->down_reply_code;
	ret->error = a->down;
	ret->text = wb_str_from(a->down.text);
	a->phase = ADAPTER_DOWN;
	amqp_arm(a, amqp_now_us(a));
	return true;
}

static wb_code amqp_not_running(wb_error *err)
{
	return WBI_FAIL(err, WB_ESTATE, "not connected to the broker");
}

/* One list of hosts is one broker: the first one's is every one's. */
static const char *amqp_vhost(void *self)
{
	const amqp_adapter *a = self;
	const char *vhost = a->config.hosts[0].vhost;

	return vhost ? vhost : "/";
}

static wb_code amqp_publish(void *self, const wb_message *message,
			    uint64_t token, wb_error *err)
{
	amqp_adapter *a = self;
	wb_code code;

	if (a->phase != ADAPTER_RUNNING)
		return amqp_not_running(err);
	code = wbi_session_publish(a->session, message, token, err);
	if (code == WB_OK && !a->write_blocked &&
	    wbi_buffer_len(wbi_session_output(a->session)) >= ADAPTER_WRITE_AT)
		amqp_write_now(a);
	return code;
}

static void amqp_flush(void *self)
{
	amqp_adapter *a = self;

	if (a->phase == ADAPTER_RUNNING && !a->write_blocked &&
	    wbi_buffer_len(wbi_session_output(a->session)) > 0)
		amqp_write_now(a);
}

static wb_code amqp_reopen(void *self, wb_error *err)
{
	amqp_adapter *a = self;
	wb_code code;

	if (a->phase != ADAPTER_RUNNING)
		return amqp_not_running(err);
	code = wbi_session_reopen(a->session, err);
	if (code == WB_OK)
		amqp_write_now(a);
	return code;
}

static wb_code amqp_declare(void *self, const wb_declaration *declaration,
			    uint64_t token, wb_error *err)
{
	amqp_adapter *a = self;
	wb_code code;

	if (a->phase != ADAPTER_RUNNING)
		return amqp_not_running(err);
	code = wbi_session_declare(a->session, declaration, token, err);
	if (code == WB_OK)
		amqp_write_now(a);
	return code;
}

static wb_code amqp_consume(void *self, const wb_consumption *what,
			    uint64_t token, wb_error *err)
{
	amqp_adapter *a = self;
	wb_code code;

	if (a->phase != ADAPTER_RUNNING)
		return amqp_not_running(err);
	code = wbi_session_consume(a->session, what, token, err);
	if (code == WB_OK)
		amqp_write_now(a);
	return code;
}

static wb_code amqp_ack(void *self, uint64_t delivery, bool multiple,
			wb_error *err)
{
	amqp_adapter *a = self;
	wb_code code;

	if (a->phase != ADAPTER_RUNNING)
		return amqp_not_running(err);
	code = wbi_session_ack(a->session, delivery, multiple, err);
	if (code == WB_OK)
		amqp_write_now(a);
	return code;
}

static wb_code amqp_reject(void *self, uint64_t delivery, bool requeue,
			   wb_error *err)
{
	amqp_adapter *a = self;
	wb_code code;

	if (a->phase != ADAPTER_RUNNING)
		return amqp_not_running(err);
	code = wbi_session_reject(a->session, delivery, requeue, err);
	if (code == WB_OK)
		amqp_write_now(a);
	return code;
}

static void amqp_close(void *self)
{
	amqp_adapter *a = self;
	int64_t now_us = amqp_now_us(a);
	wb_error err = WB_ERROR_INIT;

	if (a->phase != ADAPTER_OPENING && a->phase != ADAPTER_RUNNING)
		return;
	a->closing = true;
	if (a->phase == ADAPTER_RUNNING) {
		wbi_session_close(a->session, now_us);
		amqp_write_now(a);
		return;
	}
	(void)WBI_FAIL(&err, WB_ECLOSED, "closed before it was connected");
	amqp_host_failed(a, &err, 0, now_us);
	amqp_arm(a, now_us);
}

static void amqp_free(void *self)
{
	amqp_adapter *a = self;

	wbi_session_free(a->session);
	a->transport.ops->free(a->transport.self);
	wbi_amqp_config_fini(&a->config);
	free(a);
}

/* ---- making one -------------------------------------------------------- */

static amqp_adapter *amqp_make(const wbi_amqp_config *config,
			       wbi_transport transport)
{
	static const wb_broker_ops ops = {
		"rabbitmq",  amqp_vhost,   amqp_connect,
		amqp_fd,     amqp_deadline_us, amqp_step,
		amqp_next,   amqp_publish, amqp_flush,
		amqp_reopen, amqp_declare, amqp_consume,
		amqp_ack,    amqp_reject,  amqp_close,
		amqp_free};
	amqp_adapter *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	a->broker = (wb_broker){&ops, a};
	a->config = *config;
	a->transport = transport;
	return a;
}

wb_code wbi_amqp_new_with_transport(const wb_amqp_options *options,
				    wbi_transport transport, wb_broker **ret,
				    wb_error *err)
{
	wbi_amqp_config config;
	amqp_adapter *a;
	wb_code code = wbi_amqp_config_init(options, &config, err);

	if (code != WB_OK)
		return code;
	a = amqp_make(&config, transport);
	if (!a) {
		wbi_amqp_config_fini(&config);
		return WBI_FAIL(err, WB_ENOMEM, "out of memory");
	}
	*ret = &a->broker;
	return WB_OK;
}

wb_code wb_amqp_new(const wb_amqp_options *options, wb_broker **ret,
		    wb_error *err)
{
	wbi_transport transport;
	wb_code code;

	code = wbi_socket_transport_new(options ? options->log : NULL, NULL,
					&transport, err);
	if (code != WB_OK)
		return code;
	code = wbi_amqp_new_with_transport(options, transport, ret, err);
	if (code != WB_OK)
		transport.ops->free(transport.self);
	return code;
}
