/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the relay last said of itself, for `waybill outbox stat` in another
 * process: the row relay.status (lib/journal/parked.h) with names for its
 * counters. Written with the cursor and when the state changes, so it is as
 * old as `updated_us` says.
 */
#ifndef WBI_RELAY_REPORT_H
#define WBI_RELAY_REPORT_H

#include <waybill/relay.h>

#include "lib/base/standstill.h"
#include "lib/journal/parked.h"

/* Over the life of the store, but for UNCONFIRMED, which is a gauge. */
enum wbi_relay_counter {
	WBI_RELAY_UNCONFIRMED,
	WBI_RELAY_DELIVERED,
	WBI_RELAY_UNROUTED,
	WBI_RELAY_PARKED,
	WBI_RELAY_NACKS,
	WBI_RELAY_RETURNS,
	WBI_RELAY_REPEATS,
	WBI_RELAY_CONNECTS,
	WBI_RELAY_CHANNEL_CLOSES,
	WBI_RELAY_COUNTERS
};

/* "delivered", ...; static. */
const char *wbi_relay_counter_name(enum wbi_relay_counter counter);

/* "waiting", "down", "running", ...; static. */
const char *wbi_relay_state_name(wb_relay_state state);

/* For who waits until it is idle, to be called now and then. WB_ETIMEOUT: nothing
 * has been delivered or set aside for `most_us`; the text has its trouble. */
wb_code wbi_relay_gets_on(const wb_relay *relay, wbi_standstill *still,
			  int64_t most_us, wb_error *err);

/* The name of the durable count of events of a type that were accepted
 * unrouted (wbi_count_add): "unrouted/" + type. Borrows `buf`. */
wb_str wbi_relay_unrouted_name(wb_str type, char buf[WBI_COUNT_NAME_MAX]);

#endif
