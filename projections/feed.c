/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reading a stream queue. A stream may be trimmed at its front, deleted and made
 * again, or lose its end, and the broker then begins somewhere else without a
 * word (RabbitMQ 3.10, measured). So reading begins at the event that was
 * applied last, not behind it: it must come, at its offset, with its id and its
 * bytes. If nothing comes, the stream's last messages are looked at, to tell a
 * stream that ends earlier from a slow broker. Offsets have holes (the broker
 * writes entries of its own), and a front that is trimmed under a reader looks
 * the same: at a hole the last event is asked for again, and if it is there
 * still, so is all behind it. What a journal lost on its way to the stream shows
 * in its positions (origins.h).
 *
 * A crash loses what is here; the checkpoint says where to go on.
 */
#include "projections/feed.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "inbox/ingest_internal.h"
#include "lib/base/assert.h"
#include "lib/base/bytes.h"
#include "lib/base/crc32c.h"
#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/event/body_hash.h"
#include "lib/event/record.h"

enum {
	FEED_TOKEN = 1,
	FEED_QUIET_US = 300000,  /* caught up: nothing came for so long ... */
	FEED_EMPTY_US = 2000000, /* ... or so long, if nothing ever came: a busy
				    broker takes a while to find the first */
	FEED_VERIFY_US = 2000000, /* the checkpoint's event must have come; */
	FEED_VERIFY_MAX_US = 60000000, /* doubled if the broker is slow */
	FEED_CLOSE_US = 5000000,
	FEED_ACK_AGAIN_US = 10000,
	FEED_BYTES_MAX = 64 << 20,
	FEED_TAKE_MAX = 4096, /* per step */
	FEED_BACKOFF_MIN_MS = 100,
	FEED_BACKOFF_MAX_MS = 10000
};

typedef enum feed_state {
	FEED_STOPPED,
	FEED_CLOSING, /* until DOWN comes, or connect_at_us */
	FEED_DOWN,    /* connects at connect_at_us */
	FEED_CONNECTING,
	FEED_ASKED, /* to consume */
	FEED_READING
} feed_state;

typedef enum feed_check {
	FEED_CHECKED,  /* or there is nothing to check */
	FEED_CHECKING, /* the first delivery must be the checkpoint's */
	FEED_PROBING   /* it did not come: what are the last ones there? */
} feed_check;

struct wbi_feed {
	wbi_feed_options options;
	char queue[256];
	feed_state state;
	feed_check check;
	uint64_t last; /* the event that came, or was applied, last; 0: none */
	char last_id[256]; /* "": not known */
	uint32_t last_print;
	uint64_t hole; /* what follows this one was looked for twice */
	uint64_t probed; /* the last position that probing saw */
	int64_t patience_us;
	int64_t now_us, connect_at_us, heard_us; /* heard: last delivery */
	int64_t pause_us; /* after CLOSING */
	uint64_t ack_due; /* this delivery, and all before it; 0: none */
	wbi_backoff backoff;
	wb_error trouble;

	/* A ring. */
	wbi_feed_item *items;
	size_t capacity, first, count;
	size_t cursor; /* what wbi_feed_after() gave last, from `first` */
	size_t bytes;
};

wb_code wbi_feed_new(const wbi_feed_options *options, wbi_feed **ret,
		     wb_error *err)
{
	wbi_feed *feed;

	if (!options->queue || strlen(options->queue) < 1 ||
	    strlen(options->queue) > 255)
		return WBI_FAIL(err, WB_EINVAL,
				"queue: the name of a stream queue, 1 to 255 "
				"bytes");
	feed = calloc(1, sizeof(*feed));
	if (!feed)
		return WBI_FAIL(err, WB_ENOMEM, "read a stream");
	feed->options = *options;
	snprintf(feed->queue, sizeof(feed->queue), "%s", options->queue);
	feed->backoff = (wbi_backoff){FEED_BACKOFF_MIN_MS, FEED_BACKOFF_MAX_MS,
				      0};
	*ret = feed;
	return WB_OK;
}

/* ---- what is here -------------------------------------------------------- */

static wbi_feed_item *feed_at(const wbi_feed *feed, size_t index)
{
	WB_ASSERT(index < feed->count);
	return &feed->items[(feed->first + index) % feed->capacity];
}

static void feed_drop_first(wbi_feed *feed)
{
	wbi_feed_item *item = feed_at(feed, 0);

	feed->bytes -= item->record_size;
	free(item->record);
	feed->first = (feed->first + 1) % feed->capacity;
	feed->count--;
	feed->cursor -= feed->cursor > 0;
}

static void feed_clear(wbi_feed *feed)
{
	while (feed->count > 0)
		feed_drop_first(feed);
	feed->first = feed->cursor = 0;
}

static wbi_feed_item *feed_add(wbi_feed *feed)
{
	size_t capacity = feed->capacity ? feed->capacity * 2 : 256;
	wbi_feed_item *grown, *item;

	if (feed->count == feed->capacity) {
		grown = calloc(capacity, sizeof(*grown));
		if (!grown)
			return NULL;
		for (size_t i = 0; i < feed->count; i++)
			grown[i] = *feed_at(feed, i);
		free(feed->items);
		feed->items = grown;
		feed->capacity = capacity;
		feed->first = 0;
	}
	feed->count++;
	item = feed_at(feed, feed->count - 1);
	memset(item, 0, sizeof(*item));
	return item;
}

const wbi_feed_item *wbi_feed_after(wbi_feed *feed, uint64_t position)
{
	if (feed->cursor > 0 && feed->cursor <= feed->count &&
	    feed_at(feed, feed->cursor - 1)->position > position)
		feed->cursor = 0; /* taken back */
	while (feed->cursor < feed->count &&
	       feed_at(feed, feed->cursor)->position <= position)
		feed->cursor++;
	return feed->cursor < feed->count ? feed_at(feed, feed->cursor) : NULL;
}

/* One that is not taken just now is sent with the next step: a prefetch that
 * stays full would get nothing more, and so there would be no next one. */
static void feed_ack(wbi_feed *feed)
{
	wb_code code;

	if (feed->ack_due == 0)
		return;
	code = wb_broker_ack(feed->options.broker, feed->ack_due, true, NULL);
	if (wb_code_class(code) != WB_CLASS_RETRY)
		feed->ack_due = 0;
}

void wbi_feed_release(wbi_feed *feed, uint64_t position)
{
	uint64_t delivery = 0;

	while (feed->count > 0 && feed_at(feed, 0)->position <= position) {
		delivery = feed_at(feed, 0)->delivery;
		feed_drop_first(feed);
	}
	/* All before it too, such as those that were only looked at. */
	if (delivery == 0 || feed->state != FEED_READING)
		return;
	if (feed->ack_due < delivery)
		feed->ack_due = delivery;
	feed_ack(feed);
}

bool wbi_feed_presses(const wbi_feed *feed)
{
	return feed->count >= feed->options.prefetch / 2u ||
	       feed->bytes > FEED_BYTES_MAX / 2;
}

bool wbi_feed_drained(const wbi_feed *feed, uint64_t position)
{
	return feed->state == FEED_READING && feed->check == FEED_CHECKED &&
	       feed->last <= position;
}

static int64_t feed_quiet_at_us(const wbi_feed *feed)
{
	return feed->heard_us +
	       (feed->last == 0 ? FEED_EMPTY_US : FEED_QUIET_US);
}

bool wbi_feed_quiet(const wbi_feed *feed, uint64_t position)
{
	return wbi_feed_drained(feed, position) &&
	       feed->now_us >= feed_quiet_at_us(feed);
}

uint64_t wbi_feed_last(const wbi_feed *feed)
{
	return feed->last;
}

const wb_error *wbi_feed_trouble(const wbi_feed *feed)
{
	return &feed->trouble;
}

/* ---- start and stop ------------------------------------------------------ */

void wbi_feed_stop(wbi_feed *feed)
{
	wb_broker_event event;

	if (feed->state == FEED_STOPPED)
		return;
	feed_clear(feed);
	feed->state = FEED_STOPPED;
	wb_broker_close(feed->options.broker);
	wb_broker_step(feed->options.broker);
	while (wb_broker_next(feed->options.broker, &event))
		continue;
}

void wbi_feed_free(wbi_feed *feed)
{
	if (!feed)
		return;
	wbi_feed_stop(feed);
	free(feed->items);
	free(feed);
}

bool wbi_feed_started(const wbi_feed *feed)
{
	return feed->state != FEED_STOPPED;
}

void wbi_feed_start(wbi_feed *feed, const wbi_checkpoint *at)
{
	wbi_feed_stop(feed);
	feed->state = FEED_DOWN;
	feed->connect_at_us = 0;
	feed->last = at->position;
	snprintf(feed->last_id, sizeof(feed->last_id), "%s", at->event_id);
	feed->last_print = at->print;
	feed->hole = 0;
	feed->patience_us = FEED_VERIFY_US;
	feed->check = at->position > 0 ? FEED_CHECKING : FEED_CHECKED;
	wb_error_clear(&feed->trouble);
	WBI_FAIL(&feed->trouble, WB_EUNREACHABLE, "connecting to the broker");
}

/* ---- the connection ------------------------------------------------------ */

static int64_t feed_trouble(wbi_feed *feed, const wb_error *why)
{
	wb_error_clear(&feed->trouble);
	WBI_FAIL_FOREIGN(&feed->trouble, WB_EUNREACHABLE, why->foreign,
			 "stream %s: %.300s", feed->queue,
			 why->text[0] ? why->text : "the connection is down");
	return wbi_backoff_next_us(&feed->backoff, feed->options.random);
}

/* The connection is gone. Much may happen before there is another. */
static void feed_down(wbi_feed *feed, int64_t pause_us)
{
	feed->state = FEED_DOWN;
	feed->ack_due = 0;
	if (feed->check == FEED_CHECKED && feed->last > 0)
		feed->check = FEED_CHECKING;
	feed->connect_at_us = feed->now_us + pause_us;
}

/* Close it, to have another after `pause_us`. */
static void feed_leave(wbi_feed *feed, int64_t pause_us)
{
	feed_down(feed, 0);
	feed->state = FEED_CLOSING;
	feed->pause_us = pause_us;
	feed->connect_at_us = feed->now_us + FEED_CLOSE_US;
	wb_broker_close(feed->options.broker);
}

/* A mismatch: nobody but an operator ends it. */
static void feed_mismatch(wbi_feed *feed, const char *format, ...)
	WB_PRINTF(2, 3);

static void feed_mismatch(wbi_feed *feed, const char *format, ...)
{
	char text[WB_ERROR_TEXT_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	wbi_feed_stop(feed);
	wb_error_clear(&feed->trouble);
	WBI_FAIL(&feed->trouble, WB_EMISMATCH,
		 "stream %s %.300s; build the model anew: waybill projection "
		 "rebuild --promote",
		 feed->queue, text);
}

static void feed_consume(wbi_feed *feed)
{
	wb_argument offset = {.name = wb_str_from(WB_STREAM_OFFSET)};
	const wb_consumption what = {.queue = wb_str_from(feed->queue),
				     .prefetch = feed->options.prefetch,
				     .arguments = &offset,
				     .argument_count = 1};
	wb_error err = WB_ERROR_INIT;

	if (feed->last == 0 || feed->check == FEED_PROBING) {
		offset.text = wb_str_from(feed->last ? "last" : "first");
	} else {
		offset.is_number = true;
		offset.number = (int64_t)feed->last - 1;
	}
	if (wb_broker_consume_as(feed->options.broker, &what, FEED_TOKEN,
				 &err) != WB_OK)
		feed_leave(feed, feed_trouble(feed, &err));
	else
		feed->state = FEED_ASKED;
}

static void feed_connect(wbi_feed *feed)
{
	wb_error err = WB_ERROR_INIT;

	if (feed->now_us < feed->connect_at_us)
		return;
	if (wb_broker_connect(feed->options.broker, &err) == WB_OK)
		feed->state = FEED_CONNECTING;
	else
		feed_down(feed, feed_trouble(feed, &err));
}

/* ---- deliveries ---------------------------------------------------------- */

static bool feed_offset(const wb_message *message, uint64_t *ret)
{
	char text[24], *end;

	for (size_t i = 0; i < message->header_count; i++) {
		const wb_header *h = &message->headers[i];

		if (!wb_str_eq(h->name, wb_str_from(WB_STREAM_OFFSET)) ||
		    h->value.len >= sizeof(text))
			continue;
		snprintf(text, sizeof(text), "%.*s", (int)h->value.len,
			 h->value.ptr);
		*ret = strtoull(text, &end, 10);
		return text[0] >= '0' && text[0] <= '9' && *end == '\0' &&
		       *ret < INT64_MAX;
	}
	return false;
}

static uint32_t feed_print_str(uint32_t crc, wb_str s)
{
	uint8_t len[4];

	wbi_put_le32(len, (uint32_t)s.len);
	return wbi_crc32c(wbi_crc32c(crc, len, sizeof(len)), s.ptr, s.len);
}

/* A fingerprint of what its publisher gave, whatever that means to us. */
static uint32_t feed_print(const wb_message *m)
{
	uint32_t crc = feed_print_str(0, m->message_id);

	crc = feed_print_str(crc, m->type);
	crc = feed_print_str(crc, m->app_id);
	return feed_print_str(crc, m->body);
}

/* Encode an event as a journal would have it; it is the last one now. */
static bool feed_encode(wbi_feed *feed, wbi_feed_item *item,
			const wb_event *event)
{
	item->record_size = wbi_record_size(event);
	item->record = malloc(item->record_size);
	if (!item->record)
		return false;
	wbi_record_encode(event, item->position, item->record,
			  item->record_size);
	feed->last = item->position;
	feed->last_print = item->print;
	snprintf(feed->last_id, sizeof(feed->last_id), "%.*s",
		 (int)event->id.len, event->id.ptr);
	return true;
}

static bool feed_encode_received(wbi_feed *feed, wbi_feed_item *item,
				 const wbi_received *received)
{
	void *block = malloc(wbi_ingest_event_size(received));
	wb_event event;
	bool ok;

	if (!block)
		return false;
	wbi_ingest_event_copy(received, block, &event);
	if (received->position > 0 && received->origin.len == WBI_ORIGIN_LEN) {
		memcpy(item->origin, received->origin.ptr, WBI_ORIGIN_LEN);
		item->origin_position = received->position;
	}
	ok = feed_encode(feed, item, &event);
	free(block);
	return ok;
}

/* What is no event still has a place, and bytes to keep. */
static bool feed_encode_malformed(wbi_feed *feed, wbi_feed_item *item,
				  const wb_message *message)
{
	char id[32], source[300];
	wb_event event = {.type = wb_str_from("waybill.malformed"),
			  .data = message->body};

	snprintf(id, sizeof(id), "offset-%" PRIu64, item->position - 1);
	snprintf(source, sizeof(source), "/stream/%.240s", feed->queue);
	event.id = wb_str_from(id);
	event.source = wb_str_from(source);
	return feed_encode(feed, item, &event);
}

static void feed_keep(wbi_feed *feed, const wb_broker_event *event,
		      uint64_t position)
{
	char id[WBI_BODY_HASH_LEN + 1];
	wbi_received received;
	wbi_feed_item *item = feed_add(feed);
	bool ok = false;

	if (item) {
		item->position = position;
		item->delivery = event->delivery;
		item->print = feed_print(&event->message);
		if (wbi_ingest_read(&event->message, false,
				    &feed->options.limits, id, &received,
				    &item->malformed) == WB_OK) {
			ok = feed_encode_received(feed, item, &received);
			wbi_envelope_read_fini(&received);
		} else if (item->malformed.code != WB_ENOMEM) {
			ok = feed_encode_malformed(feed, item, &event->message);
		}
	}
	if (!ok) {
		const wb_error why = {.text = "out of memory"};

		/* Again from the last one that is here, by a new consumer. */
		if (item)
			feed->count--;
		feed_leave(feed, feed_trouble(feed, &why));
		return;
	}
	feed->bytes += item->record_size;
}

/* One of the last that there are. If the event is among them, the broker was
 * slow, and it is asked for again, with more patience. */
static void feed_probe(wbi_feed *feed, uint64_t position)
{
	feed->probed = position;
	if (position < feed->last)
		return;
	feed->check = FEED_CHECKING;
	if (feed->patience_us < FEED_VERIFY_MAX_US)
		feed->patience_us *= 2;
	feed_leave(feed, 0);
}

/* The first delivery that is not before it: is it what was applied last? */
static void feed_verify(wbi_feed *feed, const wb_message *message,
			uint64_t position, wb_str id)
{
	bool known = feed->last_id[0] != '\0';

	if (position > feed->last + 1)
		feed_mismatch(feed,
			      "was trimmed: offsets %" PRIu64 " to %" PRIu64
			      " are gone",
			      feed->last, position - 2);
	else if (position > feed->last && known)
		feed_mismatch(feed,
			      "was trimmed up to offset %" PRIu64
			      ", which the model has applied last: nothing is "
			      "left to know the stream by",
			      feed->last - 1);
	else if (position == feed->last && known &&
		 (!wb_str_eq(id, wb_str_from(feed->last_id)) ||
		  feed_print(message) != feed->last_print))
		feed_mismatch(feed,
			      "was re-created: another event stands at offset "
			      "%" PRIu64,
			      feed->last - 1);
	else
		feed->check = FEED_CHECKED;
	feed->patience_us = FEED_VERIFY_US;
}

/* The id that the event has, or will be given. */
static wb_str feed_id(const wbi_feed *feed, const wb_broker_event *event,
		      uint64_t position, wbi_received *received,
		      char buf[32])
{
	char id[WBI_BODY_HASH_LEN + 1];
	wb_str none;

	if (wbi_ingest_read(&event->message, false, &feed->options.limits, id,
			    received, NULL) == WB_OK)
		return received->event.id;
	memset(received, 0, sizeof(*received));
	snprintf(buf, 32, "offset-%" PRIu64, position - 1);
	none = wb_str_from(buf);
	return none;
}

/* Is there a hole before this one that was not looked into yet? */
static bool feed_hole(wbi_feed *feed, uint64_t position)
{
	if (feed->last == 0 || position <= feed->last + 1 ||
	    feed->hole == feed->last)
		return false;
	feed->hole = feed->last;
	feed_leave(feed, 0);
	return true;
}

static void feed_compare(wbi_feed *feed, const wb_broker_event *event,
		       uint64_t position)
{
	wbi_received received;
	char buf[32];

	if (feed->check == FEED_PROBING) {
		feed_probe(feed, position);
	} else if (feed->check == FEED_CHECKING && position >= feed->last) {
		feed_verify(feed, &event->message, position,
			    feed_id(feed, event, position, &received, buf));
		wbi_envelope_read_fini(&received);
	}
}

static void feed_deliver(wbi_feed *feed, const wb_broker_event *event)
{
	uint64_t offset;

	feed->heard_us = feed->now_us;
	if (!feed_offset(&event->message, &offset)) {
		feed_mismatch(feed, "is none: a message came without an "
				    "offset");
		return;
	}
	feed_compare(feed, event, offset + 1);
	if (feed->state != FEED_READING)
		return;
	if (feed->check != FEED_CHECKED || offset + 1 <= feed->last)
		/* Only looked at; it must not fill the prefetch. */
		feed->ack_due = event->delivery;
	else if (!feed_hole(feed, offset + 1))
		feed_keep(feed, event, offset + 1);
}

/* ---- the step ------------------------------------------------------------ */

static void feed_hear(wbi_feed *feed, const wb_broker_event *event)
{
	switch (event->kind) {
	case WB_BROKER_UP:
		feed_consume(feed);
		return;
	case WB_BROKER_CONSUMING:
		feed->state = FEED_READING;
		feed->heard_us = feed->now_us;
		feed->backoff.count = 0;
		wb_error_clear(&feed->trouble);
		return;
	case WB_BROKER_DELIVERY:
		if (feed->state == FEED_READING)
			feed_deliver(feed, event);
		return;
	case WB_BROKER_CANCELLED:
	case WB_BROKER_CHANNEL_CLOSED:
		if (feed->state != FEED_CLOSING)
			feed_leave(feed, feed_trouble(feed, &event->error));
		return;
	case WB_BROKER_DOWN:
		feed_down(feed, feed->state == FEED_CLOSING
					? feed->pause_us
					: feed_trouble(feed, &event->error));
		return;
	default:
		return;
	}
}

/* The checkpoint's event has not come: see what is there instead. */
static void feed_overdue(wbi_feed *feed)
{
	if (feed->state != FEED_READING || feed->check == FEED_CHECKED ||
	    feed->now_us - feed->heard_us < feed->patience_us)
		return;
	if (feed->check == FEED_CHECKING) {
		feed->check = FEED_PROBING;
		feed->probed = 0;
		feed_leave(feed, 0);
	} else if (feed->probed > 0) {
		feed_mismatch(feed,
			      "ends at offset %" PRIu64 ", before offset "
			      "%" PRIu64 ", which the model has applied: it was "
			      "re-created, or has lost its end",
			      feed->probed - 1, feed->last - 1);
	} else {
		feed_mismatch(feed,
			      "is empty, and the model has applied offset "
			      "%" PRIu64 " of it: it was re-created",
			      feed->last - 1);
	}
}

void wbi_feed_step(wbi_feed *feed)
{
	wb_broker *broker = feed->options.broker;
	wb_broker_event event;

	feed->now_us = feed->options.clock->mono_us(feed->options.clock->ctx);
	if (feed->state == FEED_STOPPED)
		return;
	if (feed->state == FEED_CLOSING && feed->now_us >= feed->connect_at_us)
		feed_down(feed, feed->pause_us);
	if (feed->state == FEED_DOWN)
		feed_connect(feed);
	wb_broker_step(broker);
	for (int i = 0; i < FEED_TAKE_MAX && feed->bytes < FEED_BYTES_MAX;
	     i++) {
		if (!wb_broker_next(broker, &event))
			break;
		feed_hear(feed, &event);
		if (feed->state == FEED_STOPPED)
			return;
	}
	feed_ack(feed);
	feed_overdue(feed);
}

int64_t wbi_feed_deadline_us(const wbi_feed *feed)
{
	int64_t at_us;

	if (feed->state == FEED_STOPPED)
		return INT64_MAX;
	at_us = wb_broker_deadline_us(feed->options.broker);
	if (feed->ack_due > 0 && feed->now_us + FEED_ACK_AGAIN_US < at_us)
		at_us = feed->now_us + FEED_ACK_AGAIN_US;
	if ((feed->state == FEED_DOWN || feed->state == FEED_CLOSING) &&
	    feed->connect_at_us < at_us)
		at_us = feed->connect_at_us;
	if (feed->state == FEED_READING && feed->check != FEED_CHECKED &&
	    feed->heard_us + feed->patience_us < at_us)
		at_us = feed->heard_us + feed->patience_us;
	if (feed->state == FEED_READING &&
	    feed_quiet_at_us(feed) > feed->now_us &&
	    feed_quiet_at_us(feed) < at_us)
		at_us = feed_quiet_at_us(feed);
	return at_us;
}

int wbi_feed_fd(const wbi_feed *feed)
{
	return wb_broker_fd(feed->options.broker);
}
