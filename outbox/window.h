/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The window: what is known of each journal position between the durable
 * cursor and the last one looked at. It decides what may be sent: of the
 * positions that share an ordering key only the first unsettled one. It knows
 * no broker and no store.
 *
 *        durable          low                    high
 *   ─────┼────────────────┼──────────────────────┼──────────▶ positions
 *        │ done, not yet  │ done, sent, waiting, │ not looked
 *        │ committed      │ delayed, to be parked│ at yet
 *
 * A slot moves along these lines and no others:
 *
 *   add ─▶ WAITING ─▶ READY ─▶ SENT ─▶ DONE
 *                      ▲ ▲      │ └──▶ PARK ─▶ DONE
 *                      │ └──────┤ (outcome unknown)
 *                      └ DELAYED◀┘ (nacked)
 *
 * but for those of a parked key: WAITING or add ─▶ PARK, and back again if the
 * key's parked events have gone meanwhile.
 *
 * Single thread. Memory is fixed at creation.
 */
#ifndef WBI_WINDOW_H
#define WBI_WINDOW_H

#include <waybill/base.h>

typedef enum wbi_slot_state {
	WBI_SLOT_EMPTY,
	WBI_SLOT_WAITING, /* behind an earlier position of its key */
	WBI_SLOT_READY,
	WBI_SLOT_DELAYED, /* nacked: ready again at due_us */
	WBI_SLOT_SENT,
	WBI_SLOT_PARK, /* to be copied to the parked events */
	WBI_SLOT_DONE
} wbi_slot_state;

enum { WBI_WINDOW_HELD = UINT16_MAX }; /* exchange of a slot that was held */

typedef struct wbi_slot {
	uint64_t hash; /* of the ordering key; 0: unordered */
	uint64_t next; /* the next position with this hash, or 0 */
	int64_t due_us;
	uint32_t nacks;
	uint16_t exchange;   /* an index, opaque here, or WBI_WINDOW_HELD */
	uint16_t reply_code; /* PARK: what the broker said, or 0 */
	uint8_t reason;      /* PARK: opaque here */
	uint8_t state;
	bool exposed; /* was sent, may have arrived, and is not yet behind the
			 durable cursor: after a crash it is sent again */
	bool stored;  /* PARK: only because its key has stored events, not
			 because of an earlier slot of this window */
} wbi_slot;

typedef struct wbi_window wbi_window;

/* `size` positions, 1..65,536; starts behind `durable`. */
wb_code wbi_window_new(uint32_t size, uint64_t durable, wbi_window **ret,
		       wb_error *err);
void wbi_window_free(wbi_window *window); /* NULL allowed */

/* Start again behind `durable`, forgetting every slot. */
void wbi_window_reset(wbi_window *window, uint64_t durable);

uint64_t wbi_window_durable(const wbi_window *window);
uint64_t wbi_window_low(const wbi_window *window);
uint64_t wbi_window_high(const wbi_window *window);
uint32_t wbi_window_sent(const wbi_window *window);
uint32_t wbi_window_exposed(const wbi_window *window);
uint32_t wbi_window_parking(const wbi_window *window);
uint32_t wbi_window_queued(const wbi_window *window); /* for pop */
bool wbi_window_sent_to(const wbi_window *window, uint16_t exchange);
bool wbi_window_full(const wbi_window *window);

/* The slot of a position in (durable, high]; borrowed. */
const wbi_slot *wbi_window_slot(const wbi_window *window, uint64_t position);

/*
 * Look at position high + 1; the window must not be full. Returns its state:
 * READY (then it is not queued: send it now, or wbi_window_requeue() it),
 * WAITING, or PARK if an earlier one of its key is to be parked.
 */
wbi_slot_state wbi_window_add(wbi_window *window, uint64_t hash,
			      uint16_t exchange);
/* The same for one that needs no sending. */
void wbi_window_add_done(wbi_window *window);
/*
 * The same for one whose key (`hash` is not 0) has stored parked events: PARK
 * with `follower` as its reason. But WAITING behind an earlier one of its key
 * that may still be sent.
 */
wbi_slot_state wbi_window_add_park(wbi_window *window, uint64_t hash,
				   uint16_t exchange, uint8_t follower);

/* The next position that may be sent, taken off the queue; 0: none. */
uint64_t wbi_window_pop(wbi_window *window);
/* Take a READY position out of the queue's middle; false: not queued. */
bool wbi_window_take(wbi_window *window, uint64_t position);
/* Put one that was handed out and not sent at the queue's front again. */
void wbi_window_requeue(wbi_window *window, uint64_t position);

/* READY → SENT; *ret_repeat tells whether it had been sent before. */
void wbi_window_mark_sent(wbi_window *window, uint64_t position,
			  bool *ret_repeat);
/* SENT or READY → DONE, and the next one of its key becomes ready. */
void wbi_window_mark_done(wbi_window *window, uint64_t position);
/* SENT → DELAYED until due_us. */
void wbi_window_mark_nacked(wbi_window *window, uint64_t position,
			    int64_t due_us);
/*
 * SENT or READY → PARK, and with it every later position of its key in the
 * window, with `follower` as their reason. Positions of the key that are added
 * before wbi_window_parked() park as well.
 */
void wbi_window_mark_park(wbi_window *window, uint64_t position,
			  uint8_t reason, uint16_t reply_code,
			  uint8_t follower);
/* PARK → DONE, once it is copied. In order of position. */
void wbi_window_parked(wbi_window *window, uint64_t position);
/* PARK with `stored` → READY: its key has no stored events any more. It is the
 * first of its key, and those behind it → WAITING. */
void wbi_window_unpark(wbi_window *window, uint64_t position);

/* Everything SENT may or may not have arrived: READY again, in order. */
void wbi_window_lost(wbi_window *window);
/*
 * Every unsettled slot of an exchange → DONE, or, while it waits behind another
 * exchange's event of its key or is to park, marked WBI_WINDOW_HELD and to be
 * marked done when it is popped. The lowest position of them, or 0. Nothing
 * may be SENT.
 */
uint64_t wbi_window_hold(wbi_window *window, uint16_t exchange);
/* DELAYED slots whose time has come → READY. */
void wbi_window_tick(wbi_window *window, int64_t now_us);
/* When wbi_window_tick() has something to do; INT64_MAX: nothing delayed. */
int64_t wbi_window_due_us(const wbi_window *window);

/* Positions up to `position` (at most low) are committed. */
void wbi_window_commit(wbi_window *window, uint64_t position);

#endif
