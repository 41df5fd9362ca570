/* SPDX-License-Identifier: BSD-2-Clause */
/* The orchestrator from the inside. */
#ifndef WBI_ORCHESTRATOR_H
#define WBI_ORCHESTRATOR_H

#include <waybill/saga.h>

#include "saga/barrier.h"
#include "saga/definition.h"
#include "saga/extra.h"
#include "saga/operator.h"

enum {
	WBI_SAGA_KINDS_MAX = 256,
	WBI_SAGA_LOG_MAX = 1000,
	WBI_SAGA_PRUNE = 2,
	WBI_SAGA_TEXT_MAX = 200
};

#define WBI_SAGA_KEEP_S UINT64_C(2592000)       /* 30 days */
#define WBI_SAGA_DEADLINE_MS UINT64_C(86400000) /* 24 hours */

typedef struct wbi_orchestrated {
	const wb_saga *saga;
	uint8_t *bytes;
	size_t len;
	char hash[WBI_SAGA_HASH_LEN + 1];
	wb_handler facade; /* what its local steps see as their handler */
} wbi_orchestrated;

struct wb_orchestrator {
	wb_store *store;
	const wbi_store_tables *tables;
	wb_clock clock;
	const wb_random *random;
	char *reply_to;
	wb_handler handler;
	wbi_orchestrated *kinds;
	size_t count;
};

#define WBI_SAGAS_HANDLER "sagas"

/* The timers of a saga: its step's and its own: "s/ID", "d/ID". An operator's
 * order is "v/ID" (operator.h). */
char *wbi_saga_timer_name(char which, wb_str id, char ret[256]);

/* Of wb_call.extra in a local step and in `reply`. */
typedef struct wbi_saga_call {
	wbi_extra kind;
	wb_str id;
	char *data; /* own memory */
	size_t data_len;
	const char *reason; /* the run's */
} wbi_saga_call;

/* run.c: one input, all that follows from it, in the call's transaction. */
typedef struct wbi_saga_input {
	wb_str id;
	wbi_input input;       /* of an answer: but for `step` */
	wb_str step;           /* of an answer: the step's name */
	wb_str in, in_id;      /* for the log */
	wb_str reason;         /* of a refusal */
	const wb_event *reply; /* NULL: none */
	const wbi_order *order; /* of a verb */
} wbi_saga_input;

wb_code wbi_saga_run(wb_call *call, const wbi_saga_input *input, wb_error *err);

#endif
