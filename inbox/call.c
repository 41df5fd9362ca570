/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a handler can ask of its call. In a transactional call everything
 * happens in the call's transaction, at once; an external one has none, so what
 * it wants is kept (later.h) and done with its outcome. Either way a crash
 * leaves all of it, with the outcome, or nothing.
 *
 * On the thread of the call. What is handed out lives until the call ends.
 */
#include "inbox/call.h"

#include <inttypes.h>
#include <stdio.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/store/table.h"

wb_code wbi_call_wrote(wb_call *call, wb_code code, const wb_error *err)
{
	call->touched = true;
	switch (code) {
	case WB_OK:
	case WB_EINVAL:
	case WB_ELIMIT:
	case WB_ENOTFOUND:
	case WB_EEXISTS:
		return code;
	default:
		break;
	}
	if (call->trouble == WB_OK && call->trouble_error && err)
		*call->trouble_error = *err;
	if (call->trouble == WB_OK)
		call->trouble = code;
	return code;
}

wb_code wbi_call_nest_begin(wb_call *call, wbi_call_nest *ret, wb_error *err)
{
	MDB_txn *child;
	wb_code code = wbi_call_wrote(
		call, wbi_txn_nest(call->txn, &child, err), err);

	if (code != WB_OK)
		return code;
	*ret = (wbi_call_nest){.parent = call->txn,
			       .emitted = call->emitted,
			       .timers_set = call->timers_set,
			       .timers_gone = call->timers_gone};
	call->txn = child;
	return WB_OK;
}

wb_code wbi_call_nest_end(wb_call *call, const wbi_call_nest *nest,
			  wb_code code, wb_error *err)
{
	MDB_txn *child = call->txn;

	if (code == WB_ESTATE && !call->alone &&
	    !wbi_txn_is_sound(child, call->tables->meta))
		(void)wbi_call_wrote(call, code, err);
	call->txn = nest->parent;
	if (code == WB_OK && call->trouble == WB_OK)
		return wbi_call_wrote(call, wbi_txn_commit(child, err), err);
	wbi_txn_abort(child);
	call->emitted = nest->emitted;
	call->timers_set = nest->timers_set;
	call->timers_gone = nest->timers_gone;
	return code == WB_OK ? call->trouble : code;
}

MDB_txn *wb_call_txn(wb_call *call)
{
	call->touched = true; /* for all we know */
	return call->txn;
}

wb_store *wb_call_store(wb_call *call)
{
	return call->store;
}

void *wb_call_state(wb_call *call)
{
	return call->state;
}

const wb_handler *wb_call_handler(const wb_call *call)
{
	return call->handler;
}

uint32_t wb_call_attempt(const wb_call *call)
{
	return call->attempt;
}

uint64_t wb_call_position(const wb_call *call)
{
	return call->timer ? 0 : call->id.position;
}

int64_t wb_call_now_us(const wb_call *call)
{
	return call->now_us;
}

const char *wb_call_idempotency_key(const wb_call *call)
{
	/* Made only for those who ask; a call is never a constant object. */
	wb_call *c = (wb_call *)(uintptr_t)call;
	const wb_event *e = call->event;
	int len;

	if (c->key[0] != '\0')
		return c->key;
	if (e)
		len = snprintf(c->key, sizeof(c->key), "%s:%.*s:%.*s",
			       call->handler->name, (int)e->source.len,
			       e->source.ptr, (int)e->id.len, e->id.ptr);
	else
		len = snprintf(c->key, sizeof(c->key), "%s:timer:%.*s:%" PRId64,
			       call->handler->name, (int)call->timer->name.len,
			       call->timer->name.ptr, call->timer->due_us);
	WB_ASSERT(len > 0 && (size_t)len < sizeof(c->key));
	return c->key;
}

/* ---- emitting ---------------------------------------------------------- */

/* What `event` leaves open follows from what is handled. */
static wb_event call_fill(const wb_call *call, const wb_event *event)
{
	const wb_event *cause = call->event;
	wb_event e = *event;

	if (!cause)
		return e;
	if (e.causation_id.len == 0)
		e.causation_id = cause->id;
	if (e.correlation_id.len == 0)
		e.correlation_id = cause->correlation_id.len > 0
					   ? cause->correlation_id
					   : cause->id;
	if (e.traceparent.len == 0) {
		e.traceparent = cause->traceparent;
		if (e.tracestate.len == 0)
			e.tracestate = cause->tracestate;
	}
	return e;
}

wb_code wb_emit(wb_call *call, const wb_event *event, wb_error *err)
{
	wb_error own = WB_ERROR_INIT;
	wb_event filled;
	wb_code code;

	if (!call || !event)
		return WBI_FAIL(err, WB_EINVAL, "emit: %s is NULL",
				call ? "event" : "call");
	filled = call_fill(call, event);
	if (call->later) {
		code = wbi_later_emit(call->later, &filled, &own);
	} else {
		code = wb_outbox_append(call->outbox, call->txn, &filled, NULL,
					&own);
		wbi_call_wrote(call, code, &own);
	}
	if (code == WB_OK)
		call->emitted++;
	else
		wbi_error_pass(err, &own);
	return code;
}

wb_str wb_event_header(const wb_event *event, const char *name)
{
	wb_str want = wb_str_from(name);

	if (!event || !event->headers)
		return WB_STR_NULL;
	for (size_t i = 0; i < event->header_count; i++)
		if (wb_str_eq(event->headers[i].name, want))
			return event->headers[i].value;
	return WB_STR_NULL;
}

/* ---- how a call ends --------------------------------------------------- */

WB_PRINTF(4, 0)
static wb_code call_end(wb_error *err, wb_code code, const char *where,
			const char *format, va_list args)
{
	char text[WB_ERROR_TEXT_MAX];

	vsnprintf(text, sizeof(text), format, args);
	return wb_error_set(err, code, 0, where, "%s", text);
}

wb_code wb_retry(wb_error *err, const char *format, ...)
{
	va_list args;
	wb_code code;

	va_start(args, format);
	code = call_end(err, WB_EFAILED, __func__, format, args);
	va_end(args);
	return code;
}

wb_code wb_reject(wb_error *err, const char *format, ...)
{
	va_list args;
	wb_code code;

	va_start(args, format);
	code = call_end(err, WB_EREJECTED, __func__, format, args);
	va_end(args);
	return code;
}

wb_code wb_stop(wb_error *err, const char *format, ...)
{
	va_list args;
	wb_code code;

	va_start(args, format);
	code = call_end(err, WB_ESTOPPED, __func__, format, args);
	va_end(args);
	return code;
}
