/* SPDX-License-Identifier: BSD-2-Clause */
/* See feeder.h. Every wait has a deadline. */
#include "tests/crash/feeder.h"

#include <poll.h>
#include <string.h>

#include <waybill/amqp.h>

#include "lib/event/envelope.h"
#include "tests/crash/stream.h"

enum {
	FEEDER_PATIENCE_US = 30000000,
	FEEDER_QUIET_US = 300000, /* then no more will be delivered */
	FEEDER_TAKEN_MAX = 64
};

static bool feeder_say(const char *what, const wb_error *err)
{
	fprintf(stderr, "feeder: %s: %s\n", what,
		err && err->code ? err->text : "no answer");
	return false;
}

static int64_t feeder_now_us(void)
{
	const wb_clock *clock = wb_system_clock();

	return clock->mono_us(clock->ctx);
}

static void feeder_pause(wb_broker *broker)
{
	struct pollfd fd = {wb_broker_fd(broker), POLLIN, 0};

	poll(&fd, 1, 10);
	wb_broker_step(broker);
}

static wb_broker *feeder_connect(const char *uri)
{
	int64_t until = feeder_now_us() + FEEDER_PATIENCE_US;
	wb_amqp_options options = WB_AMQP_OPTIONS_INIT;
	wb_error err = WB_ERROR_INIT;
	wb_broker *broker = NULL;
	wb_broker_event event = {.kind = WB_BROKER_NONE};

	options.uri = uri;
	options.connection_name = "feeder";
	if (wb_amqp_new(&options, &broker, &err) == WB_OK &&
	    wb_broker_connect(broker, &err) == WB_OK)
		while (event.kind != WB_BROKER_DOWN &&
		       feeder_now_us() < until) {
			feeder_pause(broker);
			while (wb_broker_next(broker, &event))
				if (event.kind == WB_BROKER_UP)
					return broker;
		}
	feeder_say("connecting",
		   event.kind == WB_BROKER_DOWN ? &event.error : &err);
	wb_broker_free(broker);
	return NULL;
}

bool feeder_open(feeder *f, const char *uri, const char *exchange)
{
	*f = (feeder){.broker = feeder_connect(uri)};
	snprintf(f->exchange, sizeof(f->exchange), "%s", exchange);
	return f->broker != NULL;
}

void feeder_close(feeder *f)
{
	wb_broker_free(f->broker);
	f->broker = NULL;
}

/* What has happened; anything but a confirm is a failure. */
static bool feeder_hear(feeder *f)
{
	wb_broker_event event;

	while (wb_broker_next(f->broker, &event)) {
		if (event.kind == WB_BROKER_ACKED)
			f->confirmed++;
		else
			return feeder_say("publishing", &event.error);
	}
	return true;
}

bool feeder_send(feeder *f, uint64_t number)
{
	const wbi_envelope_context context = {.service = wb_str_from("feeder")};
	wb_header headers[WBI_ENVELOPE_HEADERS];
	char names[1], scratch[WBI_ENVELOPE_SCRATCH];
	int64_t until = feeder_now_us() + FEEDER_PATIENCE_US;
	wb_error err = WB_ERROR_INIT;
	wb_message message;
	stream_event e;

	stream_event_of(number, &e);
	e.event.source = wb_str_from("/feeder");
	wbi_envelope_binary(&e.event, &context, headers, names, scratch,
			    &message);
	message.exchange = wb_str_from(f->exchange);
	message.routing_key = e.event.type;
	while (wb_broker_publish(f->broker, &message, f->sent + 1, &err) !=
	       WB_OK) {
		if (err.code != WB_EAGAIN || feeder_now_us() > until)
			return feeder_say("publishing", &err);
		wb_error_clear(&err);
		wb_broker_flush(f->broker);
		feeder_pause(f->broker);
		if (!feeder_hear(f))
			return false;
	}
	f->sent++;
	return true;
}

bool feeder_settle(feeder *f)
{
	int64_t until = feeder_now_us() + FEEDER_PATIENCE_US;

	wb_broker_flush(f->broker);
	while (f->confirmed < f->sent) {
		if (feeder_now_us() > until)
			return feeder_say("confirms", NULL);
		feeder_pause(f->broker);
		if (!feeder_hear(f))
			return false;
	}
	return true;
}

bool feeder_feed(feeder *f, uint64_t first, unsigned count,
		 seeded_random *random)
{
	bool ok = true;

	for (uint64_t n = first; ok && n < first + count; n++) {
		uint64_t back = seeded_random_below(random, 6);

		ok = feeder_send(f, n);
		if (ok && n >= first + back)
			ok = feeder_send(f, n - back);
	}
	for (uint64_t n = first; ok && n < first + count; n++)
		ok = feeder_send(f, n);
	return ok && feeder_settle(f);
}

/* ---- another consumer --------------------------------------------------- */

/* Take deliveries until there are `most`, or none has come for a while. */
static bool feeder_take(wb_broker *broker, uint64_t *taken, unsigned most,
			unsigned *ret_count)
{
	int64_t until = feeder_now_us() + FEEDER_QUIET_US;
	wb_broker_event event;
	unsigned n = 0;

	while (n < most && feeder_now_us() < until) {
		feeder_pause(broker);
		while (wb_broker_next(broker, &event)) {
			if (event.kind == WB_BROKER_CANCELLED ||
			    event.kind == WB_BROKER_DOWN)
				return feeder_say("consuming", &event.error);
			if (event.kind == WB_BROKER_DELIVERY && n < most)
				taken[n++] = event.delivery;
			if (event.kind == WB_BROKER_DELIVERY)
				until = feeder_now_us() + FEEDER_QUIET_US;
		}
	}
	*ret_count = n;
	return true;
}

/* What comes again meanwhile goes back where it was when the connection
 * closes. */
static bool feeder_leave(wb_broker *broker)
{
	int64_t until = feeder_now_us() + FEEDER_PATIENCE_US;
	wb_broker_event event;

	wb_broker_close(broker);
	while (feeder_now_us() < until) {
		feeder_pause(broker);
		while (wb_broker_next(broker, &event))
			if (event.kind == WB_BROKER_DOWN)
				return true;
	}
	return feeder_say("closing", NULL);
}

bool feeder_shuffle(const char *uri, const char *queue, unsigned most,
		    uint64_t seed)
{
	wb_broker *broker = feeder_connect(uri);
	uint64_t taken[FEEDER_TAKEN_MAX];
	wb_error err = WB_ERROR_INIT;
	seeded_random random;
	unsigned n = 0;
	bool ok;

	if (!broker)
		return false;
	if (most > FEEDER_TAKEN_MAX)
		most = FEEDER_TAKEN_MAX;
	seeded_random_init(&random, seed);
	ok = wb_broker_consume(broker, wb_str_from(queue), (uint16_t)most, 1,
			       &err) == WB_OK ||
	     feeder_say("consuming", &err);
	ok = ok && feeder_take(broker, taken, most, &n);
	for (; ok && n > 0; n--) {
		uint64_t at = seeded_random_below(&random, n);

		ok = wb_broker_reject(broker, taken[at], true, &err) == WB_OK ||
		     feeder_say("giving back", &err);
		taken[at] = taken[n - 1];
	}
	wb_broker_flush(broker);
	ok = feeder_leave(broker) && ok;
	wb_broker_free(broker);
	return ok;
}
