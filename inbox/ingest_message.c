/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From a message to what is stored of it. An event is copied out of the
 * delivery, whose bytes live for a moment only; where it came from, if from a
 * waybill journal, goes along as the extension attributes "wborigin" and
 * "wbposition". What is no event is copied whole, with the reason.
 *
 * Pure, but for the block that the caller gives. Any thread.
 */
#include <stdlib.h>

#include "inbox/ingest_internal.h"
#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/text.h"
#include "lib/event/attribute.h"
#include "lib/event/body_hash.h"
#include "lib/event/raw.h"
#include "lib/event/record.h"
#include "lib/journal/seen.h"

enum { MESSAGE_POSITION_MAX = 20 };

/* By the default exchange, from a producer that does not say who it is. */
#define MESSAGE_NO_SOURCE "amq.default"

/* ---- an event --------------------------------------------------------- */

static wb_str message_copy(char **at, wb_str from)
{
	wb_str to = wb_str_n(*at, from.len);

	if (from.len > 0)
		memcpy(*at, from.ptr, from.len);
	*at += from.len;
	return to;
}

/* Does the sender say where in its journal the event stands, in a way that can
 * be kept? */
static bool message_has_place(const wbi_received *received)
{
	const wb_event *e = &received->event;

	return received->position > 0 && received->origin.len > 0 &&
	       received->origin.len <= WBI_ORIGIN_LEN &&
	       wbi_text_is_clean(received->origin, NULL) &&
	       e->header_count + 2 <= WBI_RECORD_HEADERS_MAX;
}

size_t wbi_ingest_event_size(const wbi_received *received)
{
	const wb_event *e = &received->event;
	size_t size = e->data.len + sizeof(MESSAGE_NO_SOURCE) + WBI_ORIGIN_LEN +
		      MESSAGE_POSITION_MAX +
		      (e->header_count + 2) * sizeof(wb_header);

	for (size_t i = 0; i < WBI_ATTRIBUTES; i++)
		size += wbi_attribute_get(e, i).len;
	for (size_t i = 0; i < e->header_count; i++)
		size += e->headers[i].name.len + e->headers[i].value.len;
	return size;
}

/* Decimal, without the weight of snprintf(): it is done for every event. */
static wb_str message_copy_number(char **at, uint64_t number)
{
	char text[MESSAGE_POSITION_MAX];
	size_t from = sizeof(text);

	do {
		text[--from] = (char)('0' + number % 10);
		number /= 10;
	} while (number > 0);
	return message_copy(at, wb_str_n(text + from, sizeof(text) - from));
}

static void message_copy_place(const wbi_received *received, char **at,
			       wb_header *to)
{
	to[0].name = wb_str_from("wborigin");
	to[0].value = message_copy(at, received->origin);
	to[1].name = wb_str_from("wbposition");
	to[1].value = message_copy_number(at, received->position);
}

void wbi_ingest_event_copy(const wbi_received *received, void *block,
			   wb_event *ret)
{
	const wb_event *from = &received->event;
	bool place = message_has_place(received);
	wb_header *headers = block;
	char *at = (char *)(headers + from->header_count + 2);
	size_t count = from->header_count;

	*ret = *from;
	for (size_t i = 0; i < WBI_ATTRIBUTES; i++)
		*wbi_attribute_of(ret, i) =
			message_copy(&at, wbi_attribute_get(from, i));
	if (ret->source.len == 0)
		ret->source = wb_str_from(MESSAGE_NO_SOURCE);
	for (size_t i = 0; i < count; i++) {
		headers[i].name = message_copy(&at, from->headers[i].name);
		headers[i].value = message_copy(&at, from->headers[i].value);
	}
	if (place) {
		message_copy_place(received, &at, headers + count);
		count += 2;
	}
	ret->headers = headers;
	ret->header_count = count;
	ret->data = message_copy(&at, from->data);
}

/* ---- reading ---------------------------------------------------------- */

/* What the adapter could not decode has a header that says so. */
static wb_code message_whole(const wb_message *message, wb_error *err)
{
	wb_str name = wb_str_from(WB_HEADER_UNDECODED);

	for (size_t i = 0; i < message->header_count; i++) {
		const wb_header *h = &message->headers[i];

		if (h->name.len == name.len && wb_str_eq(h->name, name))
			return WBI_FAIL(err, WB_ELIMIT,
					"message that did not come whole: "
					"%.*s",
					h->value.len < 300 ? (int)h->value.len
							   : 300,
					h->value.ptr ? h->value.ptr : "");
	}
	return WB_OK;
}

wb_code wbi_ingest_read(const wb_message *message, bool id_from_body,
			const wb_limits *limits, char *id, wbi_received *ret,
			wb_error *err)
{
	wb_error why = WB_ERROR_INIT;
	wb_message named;
	wb_code code = message_whole(message, &why);

	if (code == WB_OK)
		code = wbi_envelope_read(message, limits, ret, &why);
	/* If it was for want of an id, the second time shows it. */
	if (code == WB_EINVAL && id_from_body && message->message_id.len == 0) {
		code = wbi_body_hash(message->body, id, err);
		if (code != WB_OK)
			return code;
		wb_error_clear(&why);
		named = *message;
		named.message_id = wb_str_n(id, WBI_BODY_HASH_LEN);
		code = wbi_envelope_read(&named, limits, ret, &why);
	}
	if (code != WB_OK)
		return WBI_FAIL(err, code, "%s", why.text);
	return WB_OK;
}

/* ---- what is set aside ------------------------------------------------ */

/* Said by a header of any of the usual names, or else by the property; only
 * what can be shown and searched for. */
static wb_str message_said(const wb_message *message, const char *name,
			   wb_str property)
{
	wb_str said = property;

	for (size_t i = 0; i < message->header_count; i++) {
		wb_str header = message->headers[i].name;

		if (header.len > 3 && !memcmp(header.ptr, "ce-", 3) &&
		    wb_str_eq(wb_str_n(header.ptr + 3, header.len - 3),
			      wb_str_from(name)))
			said = message->headers[i].value;
	}
	if (said.len > 255 || !wbi_text_is_clean(said, NULL))
		return WB_STR_NULL;
	return said;
}

static wbi_dead message_dead(const wb_message *m, const wb_error *why)
{
	wbi_dead dead = {
		.reason = why->code == WB_ELIMIT ? WBI_DEAD_TOO_LARGE
						 : WBI_DEAD_MALFORMED,
		.code = (uint32_t)why->code,
		.source = message_said(m, "source", m->app_id),
		.id = message_said(m, "id", m->message_id),
		.type = message_said(m, "type", m->type),
		.text = wb_str_from(why->text),
	};

	return dead;
}

size_t wbi_ingest_dead_size(const wb_message *message, const wb_error *why)
{
	wbi_dead dead = message_dead(message, why);

	return sizeof(dead) + dead.source.len + dead.id.len + dead.type.len +
	       dead.text.len + wbi_raw_size(message);
}

wbi_dead *wbi_ingest_dead_copy(const wb_message *message, const wb_error *why,
			       int64_t now_us, void *block)
{
	size_t raw = wbi_raw_size(message);
	wbi_dead *dead = block;
	char *at = (char *)(dead + 1);

	*dead = message_dead(message, why);
	dead->first_us = dead->last_us = now_us;
	dead->source = message_copy(&at, dead->source);
	dead->id = message_copy(&at, dead->id);
	dead->type = message_copy(&at, dead->type);
	dead->text = message_copy(&at, dead->text);
	wbi_raw_encode(message, (uint8_t *)at, raw);
	dead->bytes = wb_str_n(at, raw);
	return dead;
}

/* ---- one message, for redrive ----------------------------------------- */

static wb_code message_append(wb_store *store, MDB_txn *txn,
			      const wb_event *event, uint64_t age_us,
			      uint64_t *ret_position, wb_error *err)
{
	wbi_journal journal = wbi_journal_of(store, WBI_INBOX);
	uint64_t first, head, known;
	wbi_seen *seen = NULL;
	wb_code code = wbi_journal_range(&journal, txn, &first, &head, err);

	if (code == WB_OK)
		code = wbi_seen_open(store, txn, &seen, err);
	if (code == WB_OK)
		code = wbi_seen_add(seen, event->source, event->id, head + 1,
				    &known, err);
	if (code == WB_OK)
		code = wbi_seen_finish(seen, age_us, err);
	wbi_seen_close(seen);
	if (code == WB_EEXISTS) {
		*ret_position = 0;
		return WB_OK;
	}
	if (code == WB_OK)
		code = wbi_journal_append(&journal, txn, event, 1,
					  event->source, ret_position, err);
	return code;
}

wb_code wbi_ingest_message(wb_store *store, MDB_txn *txn,
			   const wb_message *message, bool id_from_body,
			   const wb_limits *limits, uint64_t age_us,
			   uint64_t *ret_position, wb_error *err)
{
	char id[WBI_BODY_HASH_LEN + 1];
	wbi_received received;
	wb_event event;
	void *block;
	wb_code code = wbi_ingest_read(message, id_from_body, limits, id,
				       &received, err);

	if (code != WB_OK)
		return code;
	block = malloc(wbi_ingest_event_size(&received));
	if (block) {
		wbi_ingest_event_copy(&received, block, &event);
		code = message_append(store, txn, &event, age_us, ret_position,
				      err);
	} else {
		code = WBI_FAIL(err, WB_ENOMEM, "no memory for a message");
	}
	free(block);
	wbi_envelope_read_fini(&received);
	return code;
}
