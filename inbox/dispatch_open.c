/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Opening handlers: is each declared as it must be, is its cursor of this
 * inbox, then its own open(), in a write transaction of its own. Cursors are
 * looked at before anything is called, so that a store that does not fit is
 * refused as it is.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "inbox/dispatch_internal.h"
#include "inbox/work.h"
#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/base/text.h"

enum {
	OPEN_HANDLERS_MAX = 256,
	OPEN_PATTERN_MAX = 255,
	OPEN_ATTEMPTS = 10,
	OPEN_BACKOFF_MIN_MS = 1000,
	OPEN_BACKOFF_MAX_MS = 300 * 1000,
	OPEN_DEADLINE_MS = 30 * 1000
};

/* ---- declarations ------------------------------------------------------ */

static wb_code open_check_name(const wbi_dispatch *d, size_t number,
			       const wb_handler *h, wb_error *err)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyz0123456789._-";
	char shown[128];

	if (!h->name || h->name[0] == '\0')
		return WBI_FAIL(err, WB_EINVAL, "handler %zu: it has no name",
				number);
	wbi_text_show(wb_str_from(h->name), shown, sizeof(shown));
	if (strlen(h->name) > WBI_CONSUMER_NAME_MAX ||
	    strspn(h->name, allowed) != strlen(h->name))
		return WBI_FAIL(err, WB_EINVAL,
				"handler %zu: '%s' is no name for one: 1 to %d "
				"of a-z 0-9 . _ -",
				number, shown, (int)WBI_CONSUMER_NAME_MAX);
	if (wbi_dispatch_find((wbi_dispatch *)(uintptr_t)d,
			      wb_str_from(h->name)))
		return WBI_FAIL(err, WB_EINVAL,
				"two handlers are named '%s': a name is a "
				"cursor, each needs its own",
				h->name);
	return WB_OK;
}

static wb_code open_check(const wbi_dispatch *d, size_t number,
			  const wb_handler *h, wb_error *err)
{
	const char *why = NULL;
	wb_code code;

	if (!h)
		return WBI_FAIL(err, WB_EINVAL, "handler %zu is NULL", number);
	if (h->size != sizeof(*h))
		return WBI_FAIL(err, WB_EINVAL,
				"handler %zu: size is %zu, not %zu; start from "
				"WB_HANDLER_INIT",
				number, h->size, sizeof(*h));
	code = open_check_name(d, number, h, err);
	if (code != WB_OK)
		return code;
	if (!h->types && !h->timer)
		why = "it has neither types nor a timer function: it would "
		      "never be called";
	else if (h->types && !h->handle)
		why = "it has types, and no function to handle them";
	else if (h->types && !h->types[0])
		why = "its list of types is empty; NULL for none, \"#\" for "
		      "all";
	else if (h->kind != WB_TRANSACTIONAL && h->kind != WB_EXTERNAL)
		why = "its kind is neither transactional nor external";
	else if (h->hears != WB_HEARS_EVENTS && h->hears != WB_HEARS_COMMANDS &&
		 h->hears != WB_HEARS_REPLIES)
		why = "it hears neither events, commands nor replies";
	else if (h->followers != WB_FOLLOWERS_WAIT &&
		 h->followers != WB_FOLLOWERS_GO_ON)
		why = "followers is neither wait nor go on";
	else if (h->begin != WB_BEGIN_FIRST && h->begin != WB_BEGIN_NEXT)
		why = "begin is neither first nor next";
	else if (h->backoff_min_ms && h->backoff_max_ms &&
		 h->backoff_min_ms > h->backoff_max_ms)
		why = "backoff_min_ms is over backoff_max_ms";
	if (why)
		return WBI_FAIL(err, WB_EINVAL, "handler '%s': %s", h->name,
				why);
	return WB_OK;
}

static wb_code open_topics(wbi_consumer_run *c, wb_error *err)
{
	const wb_handler *h = c->handler;
	size_t count = 0;

	while (h->types && h->types[count])
		count++;
	if (count == 0)
		return WB_OK;
	c->topics = calloc(count, sizeof(*c->topics));
	if (!c->topics)
		return WBI_FAIL(err, WB_ENOMEM, "handler '%s': out of memory",
				h->name);
	for (; c->topic_count < count; c->topic_count++) {
		wb_str pattern = wb_str_from(h->types[c->topic_count]);
		char shown[300];

		if (pattern.len > 0 && pattern.len <= OPEN_PATTERN_MAX &&
		    wbi_topic_compile(&c->topics[c->topic_count], pattern))
			continue;
		wbi_text_show(pattern, shown, sizeof(shown));
		return WBI_FAIL(err, WB_EINVAL,
				"handler '%s': '%s' is no pattern of a type: 1 "
				"to %d bytes, * and # stand for whole words "
				"between dots",
				h->name, shown, (int)OPEN_PATTERN_MAX);
	}
	return WB_OK;
}

static uint32_t open_or(uint32_t value, uint32_t standard)
{
	return value ? value : standard;
}

static wb_code open_add(wbi_dispatch *d, const wb_handler *h, wb_error *err)
{
	wbi_consumer_run *c = &d->consumers[d->count++];

	c->handler = h;
	c->name = wb_str_from(h->name);
	c->attempts_max = open_or(h->attempts_max, OPEN_ATTEMPTS);
	c->backoff_min_ms = open_or(h->backoff_min_ms, OPEN_BACKOFF_MIN_MS);
	c->backoff_max_ms = open_or(h->backoff_max_ms, OPEN_BACKOFF_MAX_MS);
	if (c->backoff_max_ms < c->backoff_min_ms) {
		/* one of the two is a default */
		if (h->backoff_min_ms)
			c->backoff_max_ms = c->backoff_min_ms;
		else
			c->backoff_min_ms = c->backoff_max_ms;
	}
	c->deadline_ms = open_or(h->deadline_ms, OPEN_DEADLINE_MS);
	c->due_us = INT64_MAX;
	c->limit = d->options.batch_max;
	d->has_external |= h->kind == WB_EXTERNAL;
	return open_topics(c, err);
}

wb_code wbi_dispatch_declare(wbi_dispatch *d, const wb_handler *const *handlers,
			     size_t count, wb_error *err)
{
	wb_code code = WB_OK;

	if (count > OPEN_HANDLERS_MAX || (count > 0 && !handlers))
		return WBI_FAIL(err, WB_EINVAL,
				"worker: %zu handlers, at most %d%s", count,
				(int)OPEN_HANDLERS_MAX,
				handlers ? "" : ", and the list is NULL");
	d->consumers = calloc(count > 0 ? count : 1, sizeof(*d->consumers));
	if (!d->consumers)
		return WBI_FAIL(err, WB_ENOMEM, "dispatch: out of memory");
	for (size_t i = 0; i < count && code == WB_OK; i++) {
		code = open_check(d, i + 1, handlers[i], err);
		if (code == WB_OK)
			code = open_add(d, handlers[i], err);
	}
	return code;
}

wb_code wbi_dispatch_check(const wb_handler *const *handlers, size_t count,
			   wb_error *err)
{
	wbi_dispatch *d = calloc(1, sizeof(*d));
	wb_code code;

	if (!d)
		return WBI_FAIL(err, WB_ENOMEM, "handlers: out of memory");
	code = wbi_dispatch_declare(d, handlers, count, err);
	for (size_t i = 0; i < d->count; i++)
		free(d->consumers[i].topics);
	free(d->consumers);
	free(d);
	return code;
}

/* ---- cursors ----------------------------------------------------------- */

static wb_code open_new_cursor(wbi_dispatch *d, wbi_consumer_run *c,
			       MDB_txn *txn, uint64_t first, uint64_t head,
			       wb_error *err)
{
	int64_t now_us = d->clock->real_us(d->clock->ctx);
	wbi_consumer row = {.kind = WBI_CONSUMER_HANDLER,
			    .created_us = now_us,
			    .updated_us = now_us};
	wb_code code;

	memcpy(row.origin, d->inbox.origin, WBI_ORIGIN_LEN + 1);
	row.position = head;
	if (c->handler->begin == WB_BEGIN_FIRST)
		row.position = first > 0 ? first - 1 : 0;
	c->position = row.position;
	code = wbi_work_count_rows(txn, d->tables, c->name, &row.waiting,
				   &row.timers, err);
	if (code != WB_OK)
		return code;
	return wbi_consumer_put(txn, d->tables->consumers, 'i', c->name, &row,
				err);
}

static wb_code open_check_cursor(const wbi_dispatch *d,
				 const wbi_consumer_run *c,
				 const wbi_consumer *row, uint64_t head,
				 wb_error *err)
{
	static const char cure[] =
		"bring back the inbox that it is of, or give "
		"the handler another name, under which it "
		"begins anew";

	if (row->kind != WBI_CONSUMER_HANDLER)
		return WBI_FAIL(err, WB_EMISMATCH,
				"handler '%s': its name is a projection's; "
				"give it another",
				c->handler->name);
	if (strcmp(row->origin, d->inbox.origin) != 0)
		return WBI_FAIL(err, WB_EMISMATCH,
				"handler '%s': its cursor is of the inbox %s, "
				"this one is %s: %s",
				c->handler->name, row->origin, d->inbox.origin,
				cure);
	if (row->position > head)
		return WBI_FAIL(err, WB_EMISMATCH,
				"handler '%s': its cursor is at %" PRIu64
				", past the inbox's head %" PRIu64 ": %s",
				c->handler->name, row->position, head, cure);
	return WB_OK;
}

static wb_code open_cursor(wbi_dispatch *d, wbi_consumer_run *c, MDB_txn *txn,
			   uint64_t first, uint64_t head, wb_error *err)
{
	wbi_consumer row;
	wb_code code = wbi_consumer_get(txn, d->tables->consumers, 'i', c->name,
					&row, err);

	if (code == WB_ENOTFOUND)
		return open_new_cursor(d, c, txn, first, head, err);
	if (code == WB_OK)
		code = open_check_cursor(d, c, &row, head, err);
	if (code != WB_OK)
		return code;
	c->position = row.position;
	if (row.error.len == 0)
		return WB_OK;
	wbi_log(d->log, WB_LOG_INFO, "handler '%s' goes on: it had %.*s",
		c->handler->name, (int)row.error.len, row.error.ptr);
	row.error = WB_STR_NULL;
	return wbi_consumer_put(txn, d->tables->consumers, 'i', c->name, &row,
				err);
}

static wb_code open_cursors(wbi_dispatch *d, wb_error *err)
{
	uint64_t first, head;
	MDB_txn *txn;
	wb_code code = wbi_txn_begin(wb_store_env(d->store), true, &txn, err);

	if (code != WB_OK)
		return code;
	code = wbi_journal_range(&d->inbox, txn, &first, &head, err);
	for (size_t i = 0; i < d->count && code == WB_OK; i++)
		code = open_cursor(d, &d->consumers[i], txn, first, head, err);
	if (code == WB_OK)
		return wbi_txn_commit(txn, err);
	wbi_txn_abort(txn);
	return code;
}

/* ---- the handlers' own ------------------------------------------------- */

static wb_code open_handler(wbi_dispatch *d, wbi_consumer_run *c, wb_error *err)
{
	const wb_handler *h = c->handler;
	wb_error why = WB_ERROR_INIT;
	MDB_txn *txn;
	wb_code code;

	if (!h->open) {
		c->opened = true;
		return WB_OK;
	}
	code = wbi_txn_begin(wb_store_env(d->store), true, &txn, err);
	if (code != WB_OK)
		return code;
	code = h->open(h, d->store, txn, &c->state, &why);
	if (code == WB_OK) {
		c->opened = true; /* so that it is closed, too */
		code = wbi_txn_commit(txn, &why);
	} else {
		wbi_txn_abort(txn);
	}
	if (code == WB_OK)
		return WB_OK;
	if (why.code == WB_OK)
		WBI_FAIL(&why,
			 code > WB_OK && code < WB_CODE_END ? code : WB_EFAILED,
			 "open() returned %d and no error", (int)code);
	return WBI_FAIL_FOREIGN(err, why.code, why.foreign,
				"handler '%s' cannot be opened: %.400s",
				h->name, why.text);
}

wb_code wbi_dispatch_start(wbi_dispatch *d, wb_error *err)
{
	wb_code code = open_cursors(d, err);

	if (code == WB_OK)
		code = wbi_dispatch_recover(d, err);
	for (size_t i = 0; i < d->count && code == WB_OK; i++)
		code = open_handler(d, &d->consumers[i], err);
	return code;
}

void wbi_dispatch_end(wbi_dispatch *d)
{
	for (size_t i = 0; i < d->count; i++) {
		wbi_consumer_run *c = &d->consumers[i];

		if (c->opened && c->handler->close)
			c->handler->close(c->state);
		free(c->topics);
	}
	free(d->consumers);
}
