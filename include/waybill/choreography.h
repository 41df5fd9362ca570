/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sagas by choreography: services that listen to one another's events, and the
 * whole of it declared in one table that is compiled into each of them. Each
 * service runs its own rows; the table can be checked and drawn.
 *
 *   static const wb_reaction rows[] = {
 *     {"booking", "create",  NULL, "booking.created",
 *         .awaits = "parking.reserved|parking.unavailable|bill.expired",
 *         .within_ms = 90000000},
 *     {"billing", "bill",    "booking.created", "bill.paid", .later = true,
 *         .within_ms = 86400000, .silence = "bill.expired"},
 *     {"parking", "reserve", "bill.paid", "parking.reserved",
 *         .refuses = "parking.unavailable"},
 *     {"booking", "finish",  .on = "parking.reserved"},
 *     {"booking", "fail",    "parking.unavailable", .undoes = "create"},
 *     {"billing", "refund",  "parking.unavailable", .undoes = "bill"},
 *     {"booking", "lapse",   "bill.expired", .undoes = "create"}};
 *
 * What each step of a saga did here is one row, its barrier, written in the
 * step's own transaction. So an event that comes twice, under whatever id, does
 * nothing the second time; an undo that overtakes its action leaves a
 * tombstone, and the action is refused when it comes; an undo of nothing is
 * nothing. Rows are kept until `keep_s` after their saga was last heard of.
 */
#ifndef WAYBILL_CHOREOGRAPHY_H
#define WAYBILL_CHOREOGRAPHY_H

#include <waybill/handler.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Lists of event types are texts with '|' between them. NULL: none. */
typedef struct wb_reaction {
	const char *service;
	const char *step;    /* 1..64 of a-z 0-9 . _ -, once in the flow */
	const char *on;      /* the event it listens to; NULL: the flow begins
				with it, by wb_flow_begin() */
	const char *emits;   /* what it may emit once it is done */
	const char *refuses; /* what it emits when it cannot: by wb_reject(),
				which takes back what the call wrote */
	const char *undoes;  /* the step of its service that it takes back */
	const char *awaits;  /* once it is done, one of these must be heard by
				its service ... */
	bool later;          /* it may end later, by wb_flow_pending(), then
				wb_flow_complete() ... */
	uint32_t within_ms;  /* ... within this time, else: */
	const char *silence; /* what is emitted then, after `expire`; NULL:
				nothing, it shows as stuck */
	bool keeps;          /* has no effect that a failure must take back */
} wb_reaction;

typedef struct wb_flow {
	size_t size;
	const char *name; /* 1..48 of a-z 0-9 . _ - */
	const wb_reaction *reactions;
	size_t count;
	uint64_t keep_s; /* after the last change of a saga; 0: 30 days */
} wb_flow;

#define WB_FLOW_INIT WB_SIZED_INIT(wb_flow)

typedef enum wb_step_state {
	WB_STEP_NONE = 0,
	WB_STEP_PENDING, /* begun, to be completed */
	WB_STEP_DONE,
	WB_STEP_REFUSED, /* without effect: said so, or its undo came first */
	WB_STEP_UNDONE
} wb_step_state;

/* What a service does for one of its rows: as a handler's `handle`. `event` is
 * NULL for `expire`. */
typedef struct wb_flow_binding {
	const char *step;
	wb_code (*run)(wb_call *call, const wb_event *event, wb_error *err);
	wb_code (*expire)(wb_call *call, const wb_event *event, wb_error *err);
} wb_flow_binding;

/* One service's part in a flow. Static. Rows without `on` need no binding. */
typedef struct wb_flow_part {
	size_t size;
	const wb_flow *flow;
	const char *service;
	const wb_flow_binding *bindings;
	size_t count;
	/* As of wb_handler. */
	wb_code (*open)(const wb_handler *self, wb_store *store, MDB_txn *txn,
			void **ret_state, wb_error *err);
	void (*close)(void *state);
	void *ctx;
} wb_flow_part;

#define WB_FLOW_PART_INIT WB_SIZED_INIT(wb_flow_part)

/* ---- in a service ------------------------------------------------------- */

/* A part on a store: its handler for a worker, and the calls for the service's
 * own transactions. One thread each; several may be open. */
typedef struct wb_choreography wb_choreography;

/*
 * WB_EINVAL: the flow or the part is wrong, with the row (what
 * wb_flow_check() calls an error, and a row without its binding). WB_EMISMATCH:
 * the store is of another service. WB_ENOMEM. `part` must outlive it. Writes
 * nothing: a handler that begins sagas may open one in its own `open`.
 */
WB_API wb_code wb_choreography_open(wb_store *store, const wb_flow_part *part,
				    wb_choreography **ret, wb_error *err);
WB_API void wb_choreography_close(wb_choreography *choreography);

/* To be given to wb_worker_open(); named "flow.NAME"; borrowed. */
WB_API const wb_handler *
wb_choreography_handler(const wb_choreography *choreography);

/*
 * Begin saga `saga` (1..180 bytes, yours: a booking's reference) with `step`,
 * inside `txn`: emits `event`, whose type must be one of the step's, and whose
 * key is the saga unless it has one. `undo` is what will be needed to take the
 * step back. WB_EEXISTS: this saga has begun already. WB_EINVAL; of an append.
 */
WB_API wb_code wb_flow_begin(wb_choreography *choreography, MDB_txn *txn,
			     const char *step, wb_str saga,
			     const wb_event *event, wb_str undo, wb_error *err);

/*
 * Complete a step that is PENDING, emitting `event` (NULL: nothing).
 * WB_ESTATE: it is not pending (any more), with its state; WB_ENOTFOUND: there
 * is no such saga here. The transaction is then as before.
 */
WB_API wb_code wb_flow_complete(wb_choreography *choreography, MDB_txn *txn,
				const char *step, wb_str saga,
				const wb_event *event, wb_str undo,
				wb_error *err);

/* *ret_undo (may be NULL) points into the map. Any transaction. */
WB_API wb_code wb_flow_state(wb_choreography *choreography, MDB_txn *txn,
			     const char *step, wb_str saga, wb_step_state *ret,
			     wb_str *ret_undo, wb_error *err);

/* ---- in a call of a binding ---------------------------------------------- */

WB_API wb_str wb_flow_saga(const wb_call *call);

/* Emit an event of the flow: its type must be one that the row declares. The
 * saga's id, and where missing its key, correlation and causation, are filled
 * in. A row's `refuses` is emitted for it: set its data by wb_flow_refusal().
 */
WB_API wb_code wb_flow_emit(wb_call *call, const wb_event *event,
			    wb_error *err);
WB_API wb_code wb_flow_refusal(wb_call *call, wb_str content_type, wb_str data,
			       wb_error *err);

/* Keep what an undo of this step will need: at most 64 KiB. */
WB_API wb_code wb_flow_keep(wb_call *call, wb_str undo, wb_error *err);
/* In an undoing row: what the step kept, and what state it was in (DONE or
 * PENDING; steps of other states are not undone). Lives as long as the call. */
WB_API wb_str wb_flow_kept(const wb_call *call);
WB_API wb_step_state wb_flow_undoing(const wb_call *call);

/* This step is not done when the call returns WB_OK: wb_flow_complete() will
 * say so, or its time runs out. WB_EINVAL: the row is not declared `later`. */
WB_API wb_code wb_flow_pending(wb_call *call, wb_error *err);

/* ---- of the whole flow --------------------------------------------------- */

/* One thing that is wrong with a flow or a saga's definition. */
typedef struct wb_finding {
	bool warning;     /* worth a look; not an error */
	const char *rule; /* "no-listener", "not-undone", "no-deadline", ... */
	const char *step; /* NULL: the whole */
	char text[WB_ERROR_TEXT_MAX]; /* what is wrong, why, and the cure */
} wb_finding;

typedef void (*wb_finding_fn)(void *ctx, const wb_finding *finding);

/*
 * Look for what cannot work: an emitted event without a listener and a listener
 * to nothing, a failure (`refuses`, `silence`) that does not reach a step that
 * took effect before it, a wait without a deadline, a cycle without an end,
 * names used twice or unknown. WB_OK: nothing, but perhaps warnings; WB_EINVAL:
 * errors, of which *err has the first.
 */
WB_API wb_code wb_flow_check(const wb_flow *flow, wb_finding_fn found,
			     void *ctx, wb_error *err);

typedef enum wb_graph_format { WB_GRAPH_MERMAID, WB_GRAPH_DOT } wb_graph_format;

/* The flow as a drawing; *ret is the caller's to free(). */
WB_API wb_code wb_flow_graph(const wb_flow *flow, wb_graph_format format,
			     char **ret, wb_error *err);

#ifdef __cplusplus
}
#endif
#endif
