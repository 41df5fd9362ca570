/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Participants: what a service does for somebody else's saga. A command comes,
 * is carried out exactly once in effect, and is answered; asked again, it is
 * answered again with the reply that is stored.
 *
 * A command says which saga, step and operation it is of, its epoch and its
 * deadline (attributes wbsaga, wbstep, wbop = "do" | "undo" | "probe", wbepoch,
 * wbdeadline as RFC 3339) and where the answer goes (reply_to). A reply is an
 * event of type COMMAND + ".reply" with the same saga, step, op and epoch, and
 * wboutcome = "done" | "rejected" | "pending" | "late", wbreason with the reason of
 * a refusal. So both sides can be written in any language; whoever answers without a barrier of its own must at least
 * bear a repeat.
 *
 *   - past its deadline, or of an older epoch than its barrier has seen: not
 *     carried out; answered "late", which changes nothing;
 *   - an undo before its "do": a tombstone, answered "done"; the late "do" is
 *     refused; an undo of what was rejected is nothing, answered "done";
 *   - a probe is answered from the barrier by waybill: "done", "rejected" or
 *     "pending"; of a step not seen it leaves a tombstone and says "rejected",
 *     so that the answer stays true.
 */
#ifndef WAYBILL_PARTICIPANT_H
#define WAYBILL_PARTICIPANT_H

#include <waybill/handler.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * One command. As a transactional handler's `handle`: WB_OK is done, class
 * REJECT rejected (what it wrote is taken back, the text is the reply's
 * reason), RETRY tried again with backoff: until its deadline, then it is late
 * (an undo has none), or for the hundredth time, then it is rejected; STOP stops
 * the participant. `event` is the command; its data is the saga's.
 */
typedef wb_code (*wb_command_fn)(wb_call *call, const wb_event *command,
				 wb_error *err);

typedef struct wb_command {
	const char *type;  /* "parking.block": the event's type; this and the
			      next two have 249 bytes at most */
	const char *undo;  /* "parking.unblock"; NULL: it cannot be undone */
	const char *probe; /* "parking.status"; NULL: not to be probed */
	wb_command_fn run;
	wb_command_fn run_undo;
} wb_command;

typedef struct wb_participant {
	size_t size;
	const char *name; /* as of a handler, whose name it is */
	const wb_command *commands;
	size_t count;
	uint64_t keep_s; /* barriers, after their last use; 0: 30 days. Longer
			    than any saga that it serves may take */
	uint32_t backoff_min_ms, backoff_max_ms; /* 1,000; 60,000 */
	/* As of wb_handler. */
	wb_code (*open)(const wb_handler *self, wb_store *store, MDB_txn *txn,
			void **ret_state, wb_error *err);
	void (*close)(void *state);
	void *ctx;
} wb_participant;

#define WB_PARTICIPANT_INIT WB_SIZED_INIT(wb_participant)

/* A participant as a handler for a worker; `participant` must outlive it. Free
 * with wb_participant_handler_free() after the worker. WB_EINVAL names what is
 * wrong in it. */
WB_API wb_code wb_participant_handler(const wb_participant *participant,
				      const wb_handler **ret, wb_error *err);
WB_API void wb_participant_handler_free(const wb_handler *handler);

/* ---- in a call of a command ---------------------------------------------- */

WB_API wb_str wb_command_saga(const wb_call *call);
WB_API wb_str wb_command_step(const wb_call *call);

/* What the reply carries, done or rejected; at most 64 KiB. */
WB_API wb_code wb_reply(wb_call *call, wb_str content_type, wb_str data,
			wb_error *err);

/* What an undo of this command will need; and, in run_undo, what it kept. */
WB_API wb_code wb_command_keep(wb_call *call, wb_str undo, wb_error *err);
WB_API wb_str wb_command_kept(const wb_call *call);

enum { WB_REPLY_TOKEN_MAX = 511 };

/*
 * PENDING: the answer comes later, in hours if need be. The token is durable:
 * put it into your own tables and answer with wb_reply_later(). The command is
 * answered "pending" meanwhile, which ends the orchestrator's waiting for the
 * step's deadline, not that for the saga's.
 */
WB_API wb_code wb_reply_pending(wb_call *call,
				char ret_token[WB_REPLY_TOKEN_MAX + 1],
				wb_error *err);

/*
 * Answer a pending command inside `txn`, a write transaction of the store.
 * WB_ESTATE: it is answered, or was undone meanwhile: whatever your service did
 * for it must be taken back. WB_ENOTFOUND: no such token here.
 */
WB_API wb_code wb_reply_later(wb_store *store, MDB_txn *txn, const char *token,
			      bool done, wb_str content_type, wb_str data,
			      wb_error *err);

#ifdef __cplusplus
}
#endif
#endif
