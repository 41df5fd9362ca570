/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Events of a RabbitMQ stream queue, for a track to apply: a connection of its
 * own, a consumer from an offset, and what came and is not in a commit yet.
 *
 * The position of an event is its offset + 1. A message stays here until it is
 * released, so what an aborted transaction had applied is applied again; it is
 * acked then, which is how the broker is kept from sending more than fits.
 */
#ifndef WBI_FEED_H
#define WBI_FEED_H

#include <waybill/broker.h>

#include "lib/base/backoff.h"
#include "projections/rows.h"

typedef struct wbi_feed_options {
	wb_broker *broker; /* used, not owned */
	const char *queue;
	uint16_t prefetch;
	wb_limits limits;
	const wb_clock *clock;
	const wb_random *random;
	const wb_log *log;
} wbi_feed_options;

typedef struct wbi_feed_item {
	uint64_t position;
	uint64_t delivery;
	uint32_t print; /* of the message */
	char origin[WBI_ORIGIN_LEN + 1]; /* of a waybill journal, or "" */
	uint64_t origin_position;
	uint8_t *record; /* as of a journal */
	size_t record_size;
	wb_error malformed; /* why it is no event; then the record is one that
			       stands for it */
} wbi_feed_item;

typedef struct wbi_feed wbi_feed;

wb_code wbi_feed_new(const wbi_feed_options *options, wbi_feed **ret,
		     wb_error *err);
void wbi_feed_free(wbi_feed *feed); /* NULL allowed */

/*
 * Read on behind a checkpoint, whose event must be there still (with no id it
 * is not known): connects in the next steps. What it has is dropped.
 */
void wbi_feed_start(wbi_feed *feed, const wbi_checkpoint *at);
/* Disconnect, drop everything: for as long as nobody applies, since a delivery
 * that is unacked for half an hour would close the channel. */
void wbi_feed_stop(wbi_feed *feed);
bool wbi_feed_started(const wbi_feed *feed);

/* Hear the broker. Never blocks. */
void wbi_feed_step(wbi_feed *feed);
int64_t wbi_feed_deadline_us(const wbi_feed *feed);
int wbi_feed_fd(const wbi_feed *feed);

/*
 * Why there is no reading on: WB_EMISMATCH (the stream was trimmed, re-created
 * or cut off: by name), which stays until start; or that it is not connected
 * (any other code). WB_OK: it reads.
 */
const wb_error *wbi_feed_trouble(const wbi_feed *feed);

/* The first event behind this position that is here; NULL: none. It lives until
 * it is released. */
const wbi_feed_item *wbi_feed_after(wbi_feed *feed, uint64_t position);
/* Up to here all is committed. */
void wbi_feed_release(wbi_feed *feed, uint64_t position);
/* Does the broker wait for a release? Then commit. */
bool wbi_feed_presses(const wbi_feed *feed);
/* All that came was looked at, and nothing has come for a while. */
bool wbi_feed_quiet(const wbi_feed *feed, uint64_t position);
/* All that came was looked at; more may be on its way. */
bool wbi_feed_drained(const wbi_feed *feed, uint64_t position);
/* Of the last event that came. */
uint64_t wbi_feed_last(const wbi_feed *feed);

#endif
