/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The town of examples/orchestration in one process: booking, billing and
 * parking, the shipped example with its stores and the shipped worker, on one
 * broker in memory and one clock that is moved by hand. Whoever uses it (the
 * simulator by seed, a test point by point) says who dies when, who fails for
 * how long, what comes twice; and asks for the counts at the end.
 *
 * A service dies in the middle of a call to its broker or in a commit, which
 * may be durable or not; nothing that it does afterwards reaches anybody.
 */
#ifndef TESTS_SIM_TOWN_H
#define TESTS_SIM_TOWN_H

#include <limits.h>
#include <stdio.h>

#include <waybill/memory.h>
#include <waybill/worker.h>

#include "examples/orchestration/billing.h"
#include "examples/orchestration/booking.h"
#include "examples/orchestration/contract.h"
#include "examples/orchestration/parking.h"
#include "tests/kit/commits.h"
#include "tests/kit/mortal.h"
#include "tests/support/fake_clock.h"
#include "tests/support/seeded_random.h"

enum { TOWN_BOOKING, TOWN_BILLING, TOWN_PARKING, TOWN_SERVICES };

enum {
	TOWN_SAGAS_MAX = 1200,
	TOWN_PLACES_MAX = 1200, /* slots, and as many accounts at most */
	TOWN_COMMANDS_MAX = 2,
	TOWN_CALM_TURNS = 200000
};

typedef struct town town;

/* How a participant's functions behave until a time of the wall's clock. */
typedef struct town_mood {
	int64_t retry_until_us;       /* "try again later" */
	int64_t refuse_undo_until_us; /* an undo that says no */
	uint16_t refuse;              /* permille of actions: no */
	uint16_t crash;               /* permille of calls: dead inside */
} town_mood;

typedef struct town_service {
	town *town;
	int which;
	const char *name;
	char dir[PATH_MAX];
	wb_store *store; /* open while the town stands */
	kit_mortal *consumer, *publisher;
	wb_worker *worker; /* NULL: dead */
	const wb_handler *handler;
	wb_orchestrator *orchestrator;
	/* The example's participant, each function behind town_do. */
	const wb_participant *example;
	wb_participant participant;
	wb_command commands[TOWN_COMMANDS_MAX];
	town_mood mood;
	int64_t down_until_us; /* monotonic: it is not started before */
	int64_t away_us;       /* that long, when it dies */
	/* One death that is asked for; 0: none. */
	uint64_t die_at_commit; /* of those from now on */
	bool die_durable;       /* that commit is still made */
	uint64_t die_at_call;   /* to the broker, in its next life */
	uint64_t deaths, starts, commits;
} town_service;

/* One saga that was started, and what it asked for. */
typedef struct town_saga {
	char ref[REF_LEN_MAX + 1];
	int slot, account;
} town_saga;

typedef struct town_counts {
	uint64_t started, completed, compensated, parked, unended;
	uint64_t bookings_pending, bookings_completed, bookings_failed;
	uint64_t available, blocked, reserved;
	uint64_t paid, refunded, cancelled, declined, pending;
	uint64_t dead; /* dead letters, all services */
} town_counts;

struct town {
	char dir[PATH_MAX];
	FILE *log; /* NULL: silent */
	fake_clock clock;
	seeded_random random;      /* of what happens */
	seeded_random code_random; /* of the code under test */
	seeded_random broker_random;
	wb_memory *memory;
	wb_routes *routes[TOWN_SERVICES];
	wb_relay_options relay[TOWN_SERVICES];
	wb_worker_options worker[TOWN_SERVICES];
	town_service all[TOWN_SERVICES];
	town_service *stepping;  /* its code is running */
	uint16_t commit_trouble; /* permille, of the stepping one's */
	/* What booking runs: the example's saga, its limits perhaps others. */
	wb_step steps[BOOKING_STEPS];
	wb_saga saga;
	const wb_saga *sagas[4];
	size_t saga_count;
	town_saga started[TOWN_SAGAS_MAX];
	size_t count;
	int slots, accounts;
	int64_t balances[TOWN_PLACES_MAX]; /* at the beginning */
	uint64_t resent;
	char definition[65];
	bool failed;
	char why[512];
	wb_error err;
};

/* Below `dir`, which must be there. Before town_open() the caller may change
 * steps, saga, sagas, worker and relay options. */
bool town_init(town *t, const char *dir, uint64_t seed);
/* Stores are made, workers started; when it returns, all queues are there. */
bool town_open(town *t);
void town_close(town *t);
void town_fail(town *t, const char *format, ...) WB_PRINTF(2, 3);
void town_log(town *t, const char *format, ...) WB_PRINTF(2, 3);

/* One step of each service that is alive; who is dead and may, comes back. */
void town_step(town *t);
void town_start(town_service *s);
void town_kill(town_service *s);
/* Until every saga has ended, is parked, or waits for a person; time goes on
 * as needed. */
void town_rest(town *t);

/* town_life.c: what people do, each as the command line does it. */
void town_slot(town *t, const char *door); /* one slot more */
void town_account(town *t, int64_t balance, const char *how);
/* The next saga; its number. */
size_t town_book(town *t, int slot, int account);
void town_door(town *t, int slot, const char *door);
/* A person answers for its bill; false: that is not pending. */
bool town_answer(town *t, size_t saga, bool approve);
/* `waybill saga VERB`: an order, which the worker carries out. False: it is not
 * possible now. */
bool town_order(town *t, size_t saga, int verb);
/* A command or a reply of before comes once more, under another id. */
void town_resend(town *t);

/* town_trouble.c: the example's participant with a mood. */
void town_wrap(town_service *s, const wb_participant *example);

/* town_judge.c: count; what should not be is a failure. */
void town_judge(town *t, town_counts *ret);
/* The status of a saga (wb_saga_status), and its reason. */
uint8_t town_status(town *t, size_t saga, char reason[256]);
/* The hash of the one that it is pinned to; lives until the next call. */
const char *town_definition(town *t, size_t saga);
/* Has everything come to its end, as far as it can without anybody? */
bool town_is_at_rest(town *t);

MDB_txn *town_begin(town_service *s, const char *table, MDB_dbi *ret);

#endif
