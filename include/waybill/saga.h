/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sagas by orchestration: one service asks others, step by step, and takes back
 * what took effect when a step cannot be had.
 *
 *   static const wb_step steps[] = {
 *     {"create",  .run = make_booking, .run_undo = fail_booking},
 *     {"block",   .command = "parking.block", .undo = "parking.unblock"},
 *     {"pay",     .command = "billing.authorize_payment",
 *                 .undo = "billing.refund", .deadline_ms = 30000},
 *     {"reserve", .kind = WB_PIVOT, .command = "parking.reserve"},
 *     {"finish",  .kind = WB_RETRIABLE, .run = complete_booking}};
 *
 * State, commands, timers and the log of a saga change in one commit. A saga is
 * pinned to the definition it began with, which is stored by its hash: a new
 * version takes new sagas only. A saga whose definition no module brings any
 * more parks and says so.
 *
 * What became of a step: DONE; REJECTED, it had no effect and is not undone;
 * UNKNOWN, its time ran out and it may have happened: it is probed where it has
 * a probe, else undone. Undo goes backwards over what took effect. Undo that
 * keeps failing ends PARKED, which only an operator's verb leaves.
 */
#ifndef WAYBILL_SAGA_H
#define WAYBILL_SAGA_H

#include <waybill/choreography.h>
#include <waybill/handler.h>
#include <waybill/participant.h>
#include <waybill/route.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum wb_step_kind {
	WB_COMPENSABLE = 0, /* can be undone; before the pivot */
	WB_PIVOT,           /* the last that may be refused: then it goes on */
	WB_RETRIABLE        /* behind the pivot: must succeed, or parks */
} wb_step_kind;

/* A local step: in the orchestrator's own transaction, as a transactional
 * handler: WB_OK is done, class REJECT rejected, RETRY tried again. */
typedef wb_code (*wb_step_fn)(wb_call *call, wb_error *err);

/* Zero in a numeric field means the default. */
typedef struct wb_step {
	const char *name; /* 1..64 of a-z 0-9 . _ -, once in its saga */
	wb_step_kind kind;
	const char *command; /* event type; or else `run` */
	const char *undo;    /* event type; or else `run_undo`; or neither, if
				it has no effect to take back: `keeps` */
	const char *probe;   /* event type; NULL: not to be probed */
	wb_step_fn run, run_undo;
	uint32_t deadline_ms;    /* of one attempt; 30,000 */
	uint32_t attempts_max;   /* 3; of a RETRIABLE step 20 */
	uint32_t undo_attempts_max; /* 10 */
	uint32_t backoff_min_ms; /* 1,000 */
	uint32_t backoff_max_ms; /* 60,000 */
	bool keeps;
	/* A reply came: take from it what later steps need, by wb_saga_set().
	 * NULL: nothing. */
	wb_code (*reply)(wb_call *call, const wb_event *reply, wb_error *err);
} wb_step;

typedef struct wb_saga {
	size_t size;
	const char *name; /* its kind; 1..48 of a-z 0-9 . _ - */
	const wb_step *steps;
	size_t count;         /* 1..64 */
	uint64_t deadline_ms; /* of all its actions; then it is undone, unless
				 it is past the pivot; 0: 24 hours */
	uint64_t keep_s;      /* after its end; 0: 30 days */
	/* As of wb_handler: for local steps. */
	wb_code (*open)(const wb_handler *self, wb_store *store, MDB_txn *txn,
			void **ret_state, wb_error *err);
	void (*close)(void *state);
	void *ctx;
} wb_saga;

#define WB_SAGA_INIT WB_SIZED_INIT(wb_saga)

typedef enum wb_saga_status {
	WB_SAGA_RUNNING = 1,
	WB_SAGA_COMPENSATING,
	WB_SAGA_COMPLETED,
	WB_SAGA_COMPENSATED,
	WB_SAGA_PARKED,   /* needs an operator; the reason is in its row */
	WB_SAGA_ABANDONED /* by an operator: ended as it stood */
} wb_saga_status;

/* ---- the orchestrator ---------------------------------------------------- */

typedef struct wb_orchestrator wb_orchestrator;

/*
 * All kinds of sagas of a store: `sagas` are `count` definitions, of which
 * several may have one name: the first one takes new sagas, the others those
 * that run under them. `reply_to` is the queue of the store's worker, where
 * answers go; NULL: the service's name. WB_EINVAL: what wb_saga_check() calls
 * an error. `sagas` must outlive it. Writes nothing: a handler that starts
 * sagas may open one in its own `open`.
 */
WB_API wb_code wb_orchestrator_open(wb_store *store,
				    const wb_saga *const *sagas, size_t count,
				    const char *reply_to, wb_orchestrator **ret,
				    wb_error *err);
WB_API void wb_orchestrator_close(wb_orchestrator *orchestrator);

/* To be given to wb_worker_open(); named "sagas"; borrowed. */
WB_API const wb_handler *
wb_orchestrator_handler(const wb_orchestrator *orchestrator);

/*
 * Start a saga of kind `name` inside `txn`; the worker takes it from there.
 * `id`: 1..180 bytes, unique; `data`: at most 64 KiB, the body of its commands.
 * WB_EEXISTS: there is one of this id; WB_ENOTFOUND: no such kind.
 */
WB_API wb_code wb_saga_start(wb_orchestrator *orchestrator, MDB_txn *txn,
			     const char *name, wb_str id, wb_str content_type,
			     wb_str data, wb_error *err);

/* What a relay must know of a service's part in sagas. */
typedef struct wb_saga_routing {
	size_t size;
	const wb_route *own; /* routes of yours; NULL with own_count 0 */
	size_t own_count;
	const wb_saga *const *sagas; /* of its orchestrator */
	size_t saga_count;
	const wb_participant *const *participants;
	size_t participant_count;
	const char *commands; /* the exchange; NULL: "commands" */
} wb_saga_routing;

#define WB_SAGA_ROUTING_INIT WB_SIZED_INIT(wb_saga_routing)

/*
 * The routes for wb_relay_options: yours first; then, for each type that none
 * of yours names, the commands of the sagas to `commands` by their type, and
 * the replies of the participants by the default exchange to the queue in their
 * reply_to. A route of yours for "#" stays the last: it takes what is left. As
 * wb_routes_new(); WB_EINVAL: too many, with the cure.
 */
WB_API wb_code wb_saga_routes_new(const wb_saga_routing *routing,
				  wb_routes **ret, wb_error *err);

/* In a call of a local step or of `reply`. */
WB_API wb_str wb_saga_id(const wb_call *call);
WB_API wb_str wb_saga_data(const wb_call *call); /* lives as long as the call */
/* In an undo: why it is undone; "" while it goes forward. */
WB_API wb_str wb_saga_reason(const wb_call *call);
WB_API wb_code wb_saga_set(wb_call *call, wb_str data, wb_error *err);

/* ---- definitions --------------------------------------------------------- */

/*
 * Look for what cannot work: a step behind the pivot that may be refused (is
 * not RETRIABLE), a compensable step before it without an undo, two pivots,
 * steps whose deadlines do not fit the saga's, names used twice, a command
 * that none of `commands` (types that participants answer; count 0: not
 * looked at) takes. As wb_flow_check().
 */
WB_API wb_code wb_saga_check(const wb_saga *saga, const char *const *commands,
			     size_t count, wb_finding_fn found, void *ctx,
			     wb_error *err);

/* As wb_flow_graph(). */
WB_API wb_code wb_saga_graph(const wb_saga *saga, wb_graph_format format,
			     char **ret, wb_error *err);

#ifdef __cplusplus
}
#endif
#endif
