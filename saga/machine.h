/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An orchestrated saga as a state machine: from a state and an input to the
 * next state and what is to be done. Pure: no store, no clock, no broker. The
 * orchestrator (orchestrator.c) writes the state and carries out the actions
 * in one commit.
 *
 * Every change of status and of a step's state goes through one setter each,
 * which asserts that the change is on the list of legal ones (machine.c).
 */
#ifndef WBI_MACHINE_H
#define WBI_MACHINE_H

#include <waybill/saga.h>

enum {
	WBI_SAGA_STEPS_MAX = 64,
	WBI_COMMAND_TYPE_MAX = 249, /* ".reply" goes behind it */
	WBI_REPLY_TYPE_MAX = 255,
	WBI_MACHINE_ACTIONS = 4,
	WBI_ATTEMPTS_DO = 3,
	WBI_ATTEMPTS_RETRIABLE = 20,
	WBI_ATTEMPTS_UNDO = 10
};

/* What a step of an orchestrated saga is at. */
typedef enum wbi_at {
	WBI_AT_NONE = 0,
	WBI_AT_ASKED,   /* told to act; its deadline runs */
	WBI_AT_PENDING, /* answered: later; only the saga's runs */
	WBI_AT_WAITING, /* backoff before it is told again */
	WBI_AT_PROBING, /* asked what became of it */
	WBI_AT_DONE,
	WBI_AT_REJECTED,     /* without effect */
	WBI_AT_UNKNOWN,      /* may have taken effect: to be undone */
	WBI_AT_UNDOING,      /* told to undo; its deadline runs */
	WBI_AT_UNDO_WAITING, /* backoff before it is told again */
	WBI_AT_UNDONE,
	WBI_AT_END
} wbi_at;

typedef enum wbi_op { WBI_OP_DO = 1, WBI_OP_UNDO, WBI_OP_PROBE } wbi_op;

typedef enum wbi_outcome {
	WBI_OUTCOME_DONE = 1,
	WBI_OUTCOME_REJECTED,
	WBI_OUTCOME_PENDING,
	WBI_OUTCOME_RETRY /* of a local step: nothing happened, try again */
} wbi_outcome;

/* Why it is PARKED. */
typedef enum wbi_parking {
	WBI_PARKING_NONE = 0,
	WBI_PARKING_ACTION,    /* a RETRIABLE step keeps failing */
	WBI_PARKING_UNDO,      /* an undo keeps failing */
	WBI_PARKING_UNKNOWN,   /* the pivot may have taken effect: no probe
				  answers, and it has no undo */
	WBI_PARKING_DEFINITION /* no module brings its definition */
} wbi_parking;

typedef struct wbi_machine_step {
	uint8_t at;        /* wbi_at */
	uint32_t attempts; /* to act, or to probe while PROBING */
	uint32_t undo_attempts;
	bool skipped; /* an operator's word stands for it */
} wbi_machine_step;

typedef struct wbi_machine {
	uint8_t status;   /* wb_saga_status; 0: not started */
	uint8_t parking;  /* wbi_parking */
	uint8_t before;   /* PARKED: the status it had */
	bool overdue;     /* the saga's deadline has passed */
	uint32_t epoch;   /* 1, and one more at each change of direction */
	uint32_t serial;  /* of the last timer that was set: others are stale */
	uint32_t current; /* the step that acts or is undone */
	uint32_t count;
	wbi_machine_step steps[WBI_SAGA_STEPS_MAX];
} wbi_machine;

typedef enum wbi_verb {
	WBI_VERB_RETRY = 1, /* try the step again, its attempts forgotten */
	WBI_VERB_SKIP,      /* take it for done, or for undone */
	WBI_VERB_COMPENSATE,
	WBI_VERB_ABANDON,
	WBI_VERB_RESUME /* its definition is there again */
} wbi_verb;

typedef enum wbi_input_kind {
	WBI_INPUT_START = 1,
	WBI_INPUT_ANSWER,   /* a reply, or the end of a local step */
	WBI_INPUT_TIMER,    /* the step's: deadline or backoff */
	WBI_INPUT_DEADLINE, /* the saga's */
	WBI_INPUT_VERB,
	WBI_INPUT_NO_DEFINITION
} wbi_input_kind;

typedef struct wbi_input {
	wbi_input_kind kind;
	uint32_t step, epoch; /* ANSWER */
	uint32_t serial;      /* TIMER */
	wbi_op op;            /* ANSWER */
	wbi_outcome outcome;  /* ANSWER */
	wbi_verb verb;        /* VERB */
} wbi_input;

typedef enum wbi_action_kind {
	WBI_ACTION_TELL = 1,      /* send the command, or run the local step */
	WBI_ACTION_DEADLINE,      /* set the step's timer to its deadline_ms */
	WBI_ACTION_BACKOFF,       /* set it to the backoff after `attempts` */
	WBI_ACTION_NO_TIMER,      /* take the step's timer away */
	WBI_ACTION_SAGA_DEADLINE, /* set the saga's timer */
	WBI_ACTION_END            /* status is final: take all timers away */
} wbi_action_kind;

typedef struct wbi_action {
	wbi_action_kind kind;
	uint32_t step;
	wbi_op op;
	uint32_t attempts;
} wbi_action;

typedef struct wbi_actions {
	wbi_action items[WBI_MACHINE_ACTIONS];
	size_t count;
} wbi_actions;

typedef enum wbi_verdict {
	WBI_VERDICT_MOVED,
	WBI_VERDICT_STALE,  /* late or double: nothing changed */
	WBI_VERDICT_ILLEGAL /* a verb that is not possible now */
} wbi_verdict;

/*
 * One input. *machine and *ret are changed only by MOVED. For ILLEGAL *ret_why
 * is a static text that says why not, and what would be possible.
 */
wbi_verdict wbi_machine_step_by(const wb_saga *saga, wbi_machine *machine,
				const wbi_input *input, wbi_actions *ret,
				const char **ret_why);

/* The lists themselves, for the test that walks them all. */
bool wbi_machine_status_may(uint8_t from, uint8_t to);
bool wbi_machine_at_may(uint8_t from, uint8_t to);

/* Defaults filled in. */
uint32_t wbi_step_attempts(const wb_step *step, wbi_op op);
bool wbi_step_is_local(const wb_step *step, wbi_op op);
bool wbi_step_has_undo(const wb_step *step);

const char *wbi_at_name(uint8_t at); /* static, "unknown" */
const char *wbi_saga_status_name(uint8_t status);
const char *wbi_parking_name(uint8_t parking);

/* ---- the types of commands and of their replies -------------------------- */

/* Is there room for ".reply" behind it? NULL, none at all, fits. */
bool wbi_command_fits(const char *type);
/* What a reply to the command, which fits, is called; into ret. */
void wbi_reply_type(const char *command, char ret[WBI_REPLY_TYPE_MAX + 1]);

#endif
