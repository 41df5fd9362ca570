/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The outbox: append an event in the transaction that changes your own data.
 * Either both are committed or neither is; the relay publishes what is.
 */
#ifndef WAYBILL_OUTBOX_H
#define WAYBILL_OUTBOX_H

#include <waybill/event.h>
#include <waybill/route.h>
#include <waybill/store.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct wb_outbox wb_outbox;

typedef struct wb_outbox_options {
	size_t size;
	wb_limits limits;        /* zero fields: the defaults */
	const wb_routes *routes; /* the relay's routes, to refuse a routing key
				    that would be too long; borrowed; NULL:
				    the event's type is the routing key */
	const char *source;      /* default source; NULL: "/" + service */
} wb_outbox_options;

#define WB_OUTBOX_OPTIONS_INIT WB_SIZED_INIT(wb_outbox_options)

/*
 * A handle for appending; cheap. The store must outlive it. One handle per
 * thread. `options` may be NULL. WB_EINVAL (the default source cannot be one,
 * as "/" before a service name of 255 bytes), WB_ENOMEM.
 */
WB_API wb_code wb_outbox_open(wb_store *store, const wb_outbox_options *options,
			      wb_outbox **ret, wb_error *err);
WB_API void wb_outbox_close(wb_outbox *outbox);

/*
 * Append one event inside `txn`, a write transaction (nested ones too) of the
 * store's environment. *ret_position (may be NULL) is its position in the
 * journal: positions are 1, 2, 3, ... in commit order, without gaps. Nothing
 * of `event` is kept after the call.
 *
 * WB_EINVAL, WB_ELIMIT: the event could never be published; says which
 *   attribute and why. WB_EQUOTA: the hard mark is reached. After these the
 *   transaction is as before and may be used and committed.
 * WB_EMAPFULL, WB_ENOSPC, WB_ENOMEM, WB_EIO, WB_ECORRUPT, WB_ESTATE (the
 *   transaction had failed before, or holds too much), WB_EACCESS (it is
 *   read-only): the transaction must be aborted.
 */
WB_API wb_code wb_outbox_append(wb_outbox *outbox, MDB_txn *txn,
				const wb_event *event, uint64_t *ret_position,
				wb_error *err);

/*
 * Append `count` events in order; all or none of them. On WB_EINVAL, WB_ELIMIT
 * and WB_EQUOTA none is appended, the transaction is as before, and
 * *ret_failed (may be NULL) is the index of the event that was refused.
 * *ret_first is the position of the first one.
 */
WB_API wb_code wb_outbox_append_batch(wb_outbox *outbox, MDB_txn *txn,
				      const wb_event *events, size_t count,
				      uint64_t *ret_first, size_t *ret_failed,
				      wb_error *err);

#ifdef __cplusplus
}
#endif
#endif
