/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What an external call wants to be durable when it has ended well: events to
 * append, timers to set or cancel, in order. It has no transaction, so they are
 * copied here and done in the transaction of its outcome. Bounded; one thread
 * at a time.
 */
#ifndef WBI_LATER_H
#define WBI_LATER_H

#include <waybill/handler.h>

enum { WBI_LATER_MAX = 64, WBI_LATER_BYTES_MAX = 1 << 20 };

typedef struct wbi_later wbi_later;

wbi_later *wbi_later_new(void); /* NULL: out of memory */
void wbi_later_free(wbi_later *later);
void wbi_later_clear(wbi_later *later);

/* Everything is copied. WB_ELIMIT: more than that is not kept of one call.
 * WB_ENOMEM. */
wb_code wbi_later_emit(wbi_later *later, const wb_event *event, wb_error *err);
wb_code wbi_later_timer_set(wbi_later *later, wb_str name, int64_t due_us,
			    wb_str data, wb_error *err);
wb_code wbi_later_timer_cancel(wbi_later *later, wb_str name, wb_error *err);

/* Do it all by wb_emit, wb_timer_set and wb_timer_cancel with `call`, which
 * has a transaction. The first error ends it. */
wb_code wbi_later_apply(const wbi_later *later, wb_call *call, wb_error *err);

#endif
