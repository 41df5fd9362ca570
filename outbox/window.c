/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A ring of slots by position, a table from key hash to the slot that ends
 * that key's chain, and a queue of positions that may be sent.
 *
 * Two keys with one hash share a chain: that costs a little parallelism and no
 * correctness. Invariants: the head of a chain is its only slot that is READY,
 * SENT, DELAYED or PARK-first; every other one is WAITING (or PARK when the
 * head is). `low` is the last position of the unbroken run of DONE slots
 * behind `durable`. Nothing here survives a crash, nor needs to: it is built
 * again from the durable cursor.
 */
#include "outbox/window.h"

#include <stdlib.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"

struct wbi_window {
	uint32_t size;  /* positions that may be open at once */
	uint32_t mask;  /* of slots and queue: a power of two, less one */
	uint32_t chain_mask;
	uint64_t durable, low, high;
	uint32_t sent, exposed, parking, delayed;
	int64_t due_us; /* no DELAYED slot is due before */
	uint32_t queue_start, queue_count;
	uint8_t follower; /* reason of those that park behind another */
	wbi_slot *slots;
	uint64_t *queue;
	uint32_t *chains; /* by hash: the tail's slot, plus one; 0: free */
};

static wbi_slot *window_at(const wbi_window *window, uint64_t position)
{
	WB_ASSERT(position > window->durable && position <= window->high);
	return &window->slots[position & window->mask];
}

wb_code wbi_window_new(uint32_t size, uint64_t durable, wbi_window **ret,
		       wb_error *err)
{
	wbi_window *window = calloc(1, sizeof(*window));
	uint32_t slots = 2;

	WB_ASSERT(size >= 1 && size <= 65536);
	while (slots < size)
		slots *= 2;
	if (!window)
		return WBI_FAIL(err, WB_ENOMEM, "no memory for a window");
	window->size = size;
	window->mask = slots - 1;
	window->chain_mask = slots * 4 - 1;
	window->slots = calloc(slots, sizeof(*window->slots));
	window->queue = calloc(slots, sizeof(*window->queue));
	window->chains = calloc((size_t)slots * 4, sizeof(*window->chains));
	if (!window->slots || !window->queue || !window->chains) {
		wbi_window_free(window);
		return WBI_FAIL(err, WB_ENOMEM,
				"no memory for a window of %u positions", size);
	}
	wbi_window_reset(window, durable);
	*ret = window;
	return WB_OK;
}

void wbi_window_free(wbi_window *window)
{
	if (!window)
		return;
	free(window->slots);
	free(window->queue);
	free(window->chains);
	free(window);
}

void wbi_window_reset(wbi_window *window, uint64_t durable)
{
	size_t slots = (size_t)window->mask + 1;

	memset(window->slots, 0, slots * sizeof(*window->slots));
	memset(window->chains, 0, slots * 4 * sizeof(*window->chains));
	window->durable = window->low = window->high = durable;
	window->sent = window->exposed = window->parking = window->delayed = 0;
	window->due_us = INT64_MAX;
	window->queue_start = window->queue_count = 0;
}

uint64_t wbi_window_durable(const wbi_window *window)
{
	return window->durable;
}

uint64_t wbi_window_low(const wbi_window *window)
{
	return window->low;
}

uint64_t wbi_window_high(const wbi_window *window)
{
	return window->high;
}

uint32_t wbi_window_sent(const wbi_window *window)
{
	return window->sent;
}

uint32_t wbi_window_exposed(const wbi_window *window)
{
	return window->exposed;
}

uint32_t wbi_window_parking(const wbi_window *window)
{
	return window->parking;
}

uint32_t wbi_window_queued(const wbi_window *window)
{
	return window->queue_count;
}

bool wbi_window_sent_to(const wbi_window *window, uint16_t exchange)
{
	for (uint64_t at = window->low + 1; at <= window->high; at++) {
		const wbi_slot *slot = window_at(window, at);

		if (slot->state == WBI_SLOT_SENT && slot->exchange == exchange)
			return true;
	}
	return false;
}

bool wbi_window_full(const wbi_window *window)
{
	return window->high - window->durable >= window->size;
}

const wbi_slot *wbi_window_slot(const wbi_window *window, uint64_t position)
{
	return window_at(window, position);
}

/*
 * ---- chains: linear probing, deletion by closing the gap ----
 *
 * An entry is no more than the number of the slot that ends the chain; its hash
 * is found there. So the table stays small enough for the first cache.
 */

static uint64_t chain_hash(const wbi_window *window, uint32_t i)
{
	return window->slots[window->chains[i] - 1].hash;
}

static uint32_t chain_find(const wbi_window *window, uint64_t hash)
{
	uint32_t i = (uint32_t)hash & window->chain_mask;

	while (window->chains[i] != 0 && chain_hash(window, i) != hash)
		i = (i + 1) & window->chain_mask;
	return i;
}

static void chain_remove(wbi_window *window, uint64_t hash)
{
	uint32_t hole = chain_find(window, hash);
	uint32_t i = hole;

	WB_ASSERT(window->chains[hole] != 0);
	for (;;) {
		uint32_t home;

		i = (i + 1) & window->chain_mask;
		if (window->chains[i] == 0)
			break;
		home = (uint32_t)chain_hash(window, i) & window->chain_mask;
		/* May it move to the hole, or is its home behind that? */
		if (((i - home) & window->chain_mask) <
		    ((i - hole) & window->chain_mask))
			continue;
		window->chains[hole] = window->chains[i];
		hole = i;
	}
	window->chains[hole] = 0;
}

/* ---- the queue of positions that may be sent ---------------------------- */

static void queue_push(wbi_window *window, uint64_t position)
{
	WB_ASSERT(window->queue_count <= window->mask);
	window->queue[(window->queue_start + window->queue_count) &
		      window->mask] = position;
	window->queue_count++;
}

void wbi_window_requeue(wbi_window *window, uint64_t position)
{
	WB_ASSERT(window_at(window, position)->state == WBI_SLOT_READY);
	WB_ASSERT(window->queue_count <= window->mask);
	window->queue_start = (window->queue_start - 1) & window->mask;
	window->queue[window->queue_start] = position;
	window->queue_count++;
}

uint64_t wbi_window_pop(wbi_window *window)
{
	uint64_t position;

	if (window->queue_count == 0)
		return 0;
	position = window->queue[window->queue_start];
	window->queue_start = (window->queue_start + 1) & window->mask;
	window->queue_count--;
	WB_ASSERT(window_at(window, position)->state == WBI_SLOT_READY);
	return position;
}

bool wbi_window_take(wbi_window *window, uint64_t position)
{
	uint32_t i = 0;

	while (i < window->queue_count &&
	       window->queue[(window->queue_start + i) & window->mask] !=
		       position)
		i++;
	if (i == window->queue_count)
		return false;
	for (; i > 0; i--)
		window->queue[(window->queue_start + i) & window->mask] =
			window->queue[(window->queue_start + i - 1) &
				      window->mask];
	window->queue_start = (window->queue_start + 1) & window->mask;
	window->queue_count--;
	return true;
}

/* ---- adding ------------------------------------------------------------- */

static wbi_slot *window_push(wbi_window *window)
{
	wbi_slot *slot;

	WB_ASSERT(!wbi_window_full(window));
	window->high++;
	slot = window_at(window, window->high);
	*slot = (wbi_slot){.state = WBI_SLOT_EMPTY};
	return slot;
}

static void window_advance_low(wbi_window *window)
{
	while (window->low < window->high &&
	       window_at(window, window->low + 1)->state == WBI_SLOT_DONE)
		window->low++;
}

/* Put the newest slot at the end of its key's chain; returns the one before
 * it, NULL: it is the first. */
static const wbi_slot *window_link(wbi_window *window, wbi_slot *slot,
				   uint64_t hash)
{
	wbi_slot *tail = NULL;
	uint32_t *chain;

	slot->hash = hash;
	if (hash == 0)
		return NULL;
	chain = &window->chains[chain_find(window, hash)];
	if (*chain != 0) {
		tail = &window->slots[*chain - 1];
		WB_ASSERT(tail->hash == hash && tail->next == 0);
		tail->next = window->high;
	}
	*chain = (uint32_t)(window->high & window->mask) + 1;
	return tail;
}

static void window_park(wbi_window *window, wbi_slot *slot, uint8_t reason,
			bool stored)
{
	slot->state = WBI_SLOT_PARK;
	slot->reason = reason;
	slot->stored = stored;
	window->parking++;
}

wbi_slot_state wbi_window_add(wbi_window *window, uint64_t hash,
			      uint16_t exchange)
{
	wbi_slot *slot = window_push(window);
	const wbi_slot *before = window_link(window, slot, hash);

	slot->exchange = exchange;
	if (!before)
		slot->state = WBI_SLOT_READY;
	else if (before->state != WBI_SLOT_PARK)
		slot->state = WBI_SLOT_WAITING;
	else
		window_park(window, slot, window->follower, before->stored);
	return (wbi_slot_state)slot->state;
}

wbi_slot_state wbi_window_add_park(wbi_window *window, uint64_t hash,
				   uint16_t exchange, uint8_t follower)
{
	wbi_slot *slot;

	WB_ASSERT(hash != 0);
	window->follower = follower;
	if (wbi_window_add(window, hash, exchange) == WBI_SLOT_READY) {
		slot = window_at(window, window->high);
		window_park(window, slot, follower, true);
	}
	return (wbi_slot_state)window_at(window, window->high)->state;
}

void wbi_window_add_done(wbi_window *window)
{
	window_push(window)->state = WBI_SLOT_DONE;
	window_advance_low(window);
}

/* ---- settling ----------------------------------------------------------- */

/* Out of its chain's head: the next one of the key may go. */
static void window_unlink(wbi_window *window, wbi_slot *slot, bool wake)
{
	uint64_t next = slot->next;

	slot->next = 0;
	if (slot->hash == 0)
		return;
	if (next == 0) {
		chain_remove(window, slot->hash);
		return;
	}
	if (wake) {
		wbi_slot *after = window_at(window, next);

		WB_ASSERT(after->state == WBI_SLOT_WAITING);
		after->state = WBI_SLOT_READY;
		queue_push(window, next);
	}
}

static void window_leave(wbi_window *window, const wbi_slot *slot)
{
	if (slot->state == WBI_SLOT_SENT)
		window->sent--;
	else if (slot->state == WBI_SLOT_DELAYED)
		window->delayed--;
	else
		WB_ASSERT(slot->state == WBI_SLOT_READY);
}

void wbi_window_mark_sent(wbi_window *window, uint64_t position,
			  bool *ret_repeat)
{
	wbi_slot *slot = window_at(window, position);

	WB_ASSERT(slot->state == WBI_SLOT_READY);
	slot->state = WBI_SLOT_SENT;
	window->sent++;
	*ret_repeat = slot->exposed;
	if (!slot->exposed) {
		slot->exposed = true;
		window->exposed++;
	}
	WB_ASSERT(window->exposed <= window->size);
}

void wbi_window_mark_done(wbi_window *window, uint64_t position)
{
	wbi_slot *slot = window_at(window, position);

	window_leave(window, slot);
	slot->state = WBI_SLOT_DONE;
	window_unlink(window, slot, true);
	window_advance_low(window);
}

void wbi_window_mark_nacked(wbi_window *window, uint64_t position,
			    int64_t due_us)
{
	wbi_slot *slot = window_at(window, position);

	WB_ASSERT(slot->state == WBI_SLOT_SENT);
	window->sent--;
	window->delayed++;
	slot->state = WBI_SLOT_DELAYED;
	slot->due_us = due_us;
	if (slot->nacks < UINT32_MAX)
		slot->nacks++;
	if (due_us < window->due_us)
		window->due_us = due_us;
}

void wbi_window_mark_park(wbi_window *window, uint64_t position,
			  uint8_t reason, uint16_t reply_code, uint8_t follower)
{
	wbi_slot *slot = window_at(window, position);

	window_leave(window, slot);
	window_park(window, slot, reason, false);
	slot->reply_code = reply_code;
	/* It reached no queue: should it be sent again, that is no repeat.
	 * And it may stand here for long: it must not use up the window. */
	if (slot->exposed)
		window->exposed--;
	slot->exposed = false;
	window->follower = follower;
	for (uint64_t at = slot->next; at != 0;) {
		wbi_slot *behind = window_at(window, at);

		WB_ASSERT(behind->state == WBI_SLOT_WAITING);
		window_park(window, behind, follower, false);
		at = behind->next;
	}
}

void wbi_window_parked(wbi_window *window, uint64_t position)
{
	wbi_slot *slot = window_at(window, position);

	WB_ASSERT(slot->state == WBI_SLOT_PARK);
	for (uint64_t at = slot->next; at != 0;) {
		wbi_slot *behind = window_at(window, at);

		at = behind->stored ? 0 : behind->next;
		behind->stored = true;
	}
	window->parking--;
	slot->state = WBI_SLOT_DONE;
	window_unlink(window, slot, false);
	window_advance_low(window);
}

void wbi_window_unpark(wbi_window *window, uint64_t position)
{
	uint64_t at = position;

	while (at != 0) {
		wbi_slot *slot = window_at(window, at);

		WB_ASSERT(slot->state == WBI_SLOT_PARK && slot->stored);
		window->parking--;
		slot->reason = 0;
		slot->stored = false;
		slot->state = WBI_SLOT_WAITING;
		at = slot->next;
	}
	window_at(window, position)->state = WBI_SLOT_READY;
	queue_push(window, position);
}

/* ---- upsets ------------------------------------------------------------- */

static void queue_rebuild(wbi_window *window)
{
	window->queue_start = window->queue_count = 0;
	for (uint64_t at = window->low + 1; at <= window->high; at++)
		if (window_at(window, at)->state == WBI_SLOT_READY)
			queue_push(window, at);
}

void wbi_window_lost(wbi_window *window)
{
	for (uint64_t at = window->low + 1; at <= window->high; at++) {
		wbi_slot *slot = window_at(window, at);

		if (slot->state == WBI_SLOT_SENT) {
			slot->state = WBI_SLOT_READY;
			window->sent--;
		}
	}
	WB_ASSERT(window->sent == 0);
	queue_rebuild(window);
}

uint64_t wbi_window_hold(wbi_window *window, uint16_t exchange)
{
	uint64_t lowest = 0;

	WB_ASSERT(window->sent == 0);
	for (uint64_t at = window->low + 1; at <= window->high; at++) {
		wbi_slot *slot = window_at(window, at);

		if (slot->exchange != exchange ||
		    slot->state == WBI_SLOT_DONE)
			continue;
		if (lowest == 0)
			lowest = at;
		/* One that waits behind another exchange's event of its key
		 * is only marked: it is done when its turn comes. So is one
		 * that is to park: until it has, the hold answers for it. */
		if (slot->state == WBI_SLOT_WAITING ||
		    slot->state == WBI_SLOT_PARK)
			slot->exchange = WBI_WINDOW_HELD;
		else
			wbi_window_mark_done(window, at);
	}
	queue_rebuild(window);
	return lowest;
}

void wbi_window_tick(wbi_window *window, int64_t now_us)
{
	int64_t due_us = INT64_MAX;

	if (window->delayed == 0 || now_us < window->due_us)
		return;
	for (uint64_t at = window->low + 1; at <= window->high; at++) {
		wbi_slot *slot = window_at(window, at);

		if (slot->state != WBI_SLOT_DELAYED)
			continue;
		if (slot->due_us <= now_us) {
			slot->state = WBI_SLOT_READY;
			window->delayed--;
			queue_push(window, at);
		} else if (slot->due_us < due_us) {
			due_us = slot->due_us;
		}
	}
	window->due_us = due_us;
}

int64_t wbi_window_due_us(const wbi_window *window)
{
	return window->delayed > 0 ? window->due_us : INT64_MAX;
}

void wbi_window_commit(wbi_window *window, uint64_t position)
{
	WB_ASSERT(position >= window->durable && position <= window->low);
	while (window->durable < position) {
		wbi_slot *slot = window_at(window, window->durable + 1);

		if (slot->exposed)
			window->exposed--;
		*slot = (wbi_slot){.state = WBI_SLOT_EMPTY};
		window->durable++;
	}
}
