/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which publish was settled, and how. A confirm comes in any order; `multiple`
 * means every tag up to this one that is still outstanding; a return comes
 * before its ack and has no tag, so it is matched by its message id, and the
 * ack that follows it is swallowed.
 *
 * The ring holds the publishes from the oldest that is not done to the newest:
 * unsettled_max of them at most. So one straggler may hold back new publishes
 * before that many are truly unsettled; a bound in memory matters more.
 *
 * Each entry is settled once and taken once, and what a `multiple` has covered
 * is not looked at again: the cost per publish is constant. Only a return
 * looks through the outstanding ones, from the oldest.
 */
#include <stdlib.h>

#include "broker-adapters/amqp/session_internal.h"
#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/hash.h"

static confirm *confirms_at(const session_confirms *c, uint64_t serial)
{
	return &c->ring[serial & (c->capacity - 1)];
}

static bool confirms_grow(session_confirms *c)
{
	uint64_t capacity = c->capacity ? c->capacity * 2 : 256;
	confirm *ring = malloc(capacity * sizeof(*ring));

	if (!ring)
		return false;
	for (uint64_t serial = c->head; serial < c->next; serial++)
		ring[serial & (capacity - 1)] = *confirms_at(c, serial);
	free(c->ring);
	c->ring = ring;
	c->capacity = capacity;
	return true;
}

wb_code wbi_confirms_room(wbi_session *session, wb_error *err)
{
	session_confirms *c = &session->confirms;

	if (c->next - c->head >= session->options.unsettled_max)
		return WBI_FAIL(err, WB_EAGAIN,
				"%u publishes wait for their confirms already",
				session->options.unsettled_max);
	if (c->next - c->head == c->capacity && !confirms_grow(c))
		return WBI_FAIL(err, WB_ENOMEM,
				"no memory for another publish");
	return WB_OK;
}

void wbi_confirms_add(session_confirms *c, uint64_t token, wb_str message_id)
{
	*confirms_at(c, c->next++) = (confirm){
		.token = token,
		.link = wbi_hash(c->seed, message_id.ptr, message_id.len),
		.state = CONFIRM_OUT};
}

static void confirms_advance(session_confirms *c)
{
	while (c->head < c->next &&
	       confirms_at(c, c->head)->state == CONFIRM_DONE)
		c->head++;
}

/* Settle one, if it is still outstanding. True if there is something new to
 * take. A returned one was settled by its return. */
static bool confirms_settle(session_confirms *c, uint64_t serial,
			    confirm_state how)
{
	confirm *entry = confirms_at(c, serial);

	if (entry->state == CONFIRM_RETURNED)
		entry->state = CONFIRM_DONE;
	if (entry->state != CONFIRM_OUT)
		return false;
	entry->state = how;
	if (c->settled_count++ > 0)
		confirms_at(c, c->settled_last)->link = serial;
	else
		c->settled_first = serial;
	c->settled_last = serial;
	return true;
}

void wbi_session_on_confirm(wbi_session *session, uint64_t tag, bool multiple,
			    confirm_state how)
{
	session_confirms *c = &session->confirms;
	uint64_t newest = c->next - 1 - c->base;
	uint64_t from, to;

	if (tag > newest || (tag == 0 && !multiple)) {
		wbi_session_violation(session,
				      "a confirm for delivery tag %llu, of "
				      "%llu that were used",
				      (unsigned long long)tag,
				      (unsigned long long)newest);
		return;
	}
	to = multiple && tag == 0 ? c->next - 1 : c->base + tag;
	from = multiple ? c->covered : to;
	if (from < c->head)
		from = c->head;
	for (uint64_t serial = from; serial <= to; serial++)
		if (confirms_settle(c, serial, how))
			wbi_session_push_settled(session);
	if (multiple && to + 1 > c->covered)
		c->covered = to + 1;
	confirms_advance(c);
}

bool wbi_confirms_return(session_confirms *c, wb_str message_id,
			 uint64_t *ret_token)
{
	uint64_t hash = wbi_hash(c->seed, message_id.ptr, message_id.len);
	uint64_t from = c->covered > c->head ? c->covered : c->head;

	for (uint64_t serial = from; serial < c->next; serial++) {
		confirm *entry = confirms_at(c, serial);

		if (entry->state == CONFIRM_OUT && entry->link == hash) {
			entry->state = CONFIRM_RETURNED;
			*ret_token = entry->token;
			return true;
		}
	}
	return false;
}

confirm_state wbi_confirms_take(session_confirms *c, uint64_t *ret_token)
{
	confirm *entry;
	confirm_state how;

	WB_ASSERT(c->settled_count > 0);
	entry = confirms_at(c, c->settled_first);
	how = entry->state;
	WB_ASSERT(how == CONFIRM_ACKED || how == CONFIRM_NACKED);
	*ret_token = entry->token;
	if (--c->settled_count > 0)
		c->settled_first = entry->link;
	entry->state = CONFIRM_DONE;
	confirms_advance(c);
	return how;
}

void wbi_confirms_forget(session_confirms *c)
{
	for (uint64_t serial = c->head; serial < c->next; serial++) {
		confirm *entry = confirms_at(c, serial);

		if (entry->state == CONFIRM_OUT ||
		    entry->state == CONFIRM_RETURNED)
			entry->state = CONFIRM_DONE;
	}
	c->base = c->next - 1;
	c->covered = c->next;
	confirms_advance(c);
}

void wbi_confirms_fini(session_confirms *c)
{
	free(c->ring);
	*c = (session_confirms){0};
}
