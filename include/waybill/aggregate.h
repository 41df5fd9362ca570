/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Aggregates: things whose state is what their events amount to. A definition
 * says how one event changes the state; loading folds a stream, from the
 * newest snapshot on if there is one; a command looks at the state and decides
 * which events come next, and they are appended only if nobody else was
 * quicker.
 *
 *   static wb_code reserve(wb_decision *d, const void *state, void *arg,
 *                          wb_error *err)
 *   {
 *           const booking *b = state;
 *           wb_event event = {.type = wb_str_from("BookingReserved")};
 *
 *           if (b->status != PENDING)
 *                   return wb_error_set(err, WB_EREJECTED, 0, __func__,
 *                                       "the booking is %s", ...);
 *           return wb_decide(d, &event, err);
 *   }
 */
#ifndef WAYBILL_AGGREGATE_H
#define WAYBILL_AGGREGATE_H

#include <waybill/stream.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Static data; `ctx` is handed to each of its functions. A state is
 * `state_bytes` of zeros before the first event. It must follow from the
 * events alone: no clock, no randomness, nothing read elsewhere.
 */
typedef struct wb_aggregate_def {
	size_t size;
	const char *category; /* of its streams: "booking" of "booking/42" */
	size_t state_bytes;
	/* What an event does to the state. Must accept every event that was
	 * ever decided; an error stops the load and is returned by it. */
	wb_code (*apply)(void *state, const wb_stream_event *event, void *ctx,
			 wb_error *err);
	/* Free what the state points to. NULL: nothing. */
	void (*fini)(void *state, void *ctx);
	/* The state as bytes, which live until the next call on the aggregate;
	 * NULL: the state is its own bytes and points to nothing. */
	wb_code (*save)(const void *state, wb_str *ret, void *ctx,
			wb_error *err);
	/* The same back into a state of zeros. An error: the snapshot is passed
	 * by, and the state folded from the events. */
	wb_code (*restore)(void *state, wb_str data, void *ctx, wb_error *err);
	const char *tag;         /* what save() writes, such as "booking.1":
				    change it with the layout; NULL: there are
				    no snapshots */
	uint32_t snapshot_every; /* one whenever so many events were added; 0:
				    only by wb_aggregate_snapshot() */
	uint32_t snapshot_keep;  /* 0: 2 */
	void *ctx;
} wb_aggregate_def;

#define WB_AGGREGATE_DEF_INIT WB_SIZED_INIT(wb_aggregate_def)

typedef struct wb_aggregate wb_aggregate;

/*
 * Room for one state at a time. `def` and the outbox are borrowed and must
 * outlive it. One thread. WB_EINVAL names the field.
 */
WB_API wb_code wb_aggregate_open(wb_outbox *outbox, const wb_aggregate_def *def,
				 wb_aggregate **ret, wb_error *err);
WB_API void wb_aggregate_close(wb_aggregate *aggregate); /* NULL allowed */

/*
 * The state of `id` as of version `at`, or WB_STREAM_ANY: as it is. One that
 * does not exist is at version 0, in a state of zeros. `txn` is a transaction
 * of the store, or NULL for short ones of its own.
 *
 * WB_ENOTFOUND: it has no version `at` yet. WB_ETRUNCATED: the events below
 * were truncated and no snapshot stands for them. WB_ECORRUPT. Or what apply()
 * returned. After an error there is no state.
 */
WB_API wb_code wb_aggregate_load(wb_aggregate *aggregate, MDB_txn *txn,
				 wb_str id, uint64_t at, wb_error *err);

/* What was loaded last, or what the last command has made of it; borrowed
 * until the next call. NULL and 0 before, and after an error. */
WB_API const void *wb_aggregate_state(const wb_aggregate *aggregate);
WB_API uint64_t wb_aggregate_version(const wb_aggregate *aggregate);

/* ---- commands ---------------------------------------------------------- */

typedef struct wb_decision wb_decision;

enum { WB_DECISION_EVENTS_MAX = 1000 };

/* Add an event to what a command decides; copied. WB_ELIMIT, WB_ENOMEM. */
WB_API wb_code wb_decide(wb_decision *decision, const wb_event *event,
			 wb_error *err);
/* The version that the decision is made on; its events are the next ones. */
WB_API uint64_t wb_decision_version(const wb_decision *decision);

typedef struct wb_aggregate_command {
	size_t size;
	/* Look at the state, call wb_decide() for each event, or return why
	 * not (WB_EREJECTED). May be called again after a conflict, so it
	 * changes nothing but *decision. */
	wb_code (*decide)(wb_decision *decision, const void *state, void *arg,
			  wb_error *err);
	void *arg;
	const uint64_t *expected; /* only at this version, which somebody has
				     seen; NULL: whatever it is */
	uint32_t attempts;        /* with transactions of its own; 0: 5 */
} wb_aggregate_command;

#define WB_AGGREGATE_COMMAND_INIT WB_SIZED_INIT(wb_aggregate_command)

/*
 * Load `id`, decide, append, and bring the state up to what was appended; take
 * a snapshot if one is due. *ret (may be NULL) is where the last event stands;
 * if nothing was decided, the version it has, and position 0.
 *
 * With `txn` NULL: decided without a lock, then appended and committed in a
 * transaction of its own; if another was quicker, all of it once more, up to
 * `attempts` times. With a write transaction of the store: inside it, once,
 * since nobody else can write; committing it is the caller's.
 *
 * WB_ECONFLICT: it is not at `expected`, or another was quicker each time.
 * What decide() returned: nothing was written. WB_EINVAL, WB_ELIMIT,
 * WB_EQUOTA: its events were refused. After these a caller's transaction is as
 * before; after any other error it must be aborted.
 */
WB_API wb_code wb_aggregate_execute(wb_aggregate *aggregate, MDB_txn *txn,
				    wb_str id,
				    const wb_aggregate_command *command,
				    wb_stream_written *ret, wb_error *err);

/* Keep a snapshot of `id` as it is, in `txn`, a write transaction. Nothing is
 * done for one that does not exist. WB_ESTATE: the definition has no tag. */
WB_API wb_code wb_aggregate_snapshot(wb_aggregate *aggregate, MDB_txn *txn,
				     wb_str id, wb_error *err);

#ifdef __cplusplus
}
#endif
#endif
