/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A town with the three services of examples/choreography, as they are shipped
 * or in their naive form, on a memory broker, with a clock that is moved; with
 * customers who book and pay, and a postman between the services who decides
 * when, in what order and how often each event is delivered to each listener.
 *
 * A service is a process: it takes in, handles and publishes, and its commands
 * run in it. It can die at any of its commits, before or after it is durable,
 * and at any of its calls of the broker; then it is started anew.
 *
 * In the end the stores are counted, afresh, against what the customers know:
 * nothing is asked of the services. No part of it needs a test framework; what
 * fails is in `why`.
 */
#ifndef TESTS_TOWN_H
#define TESTS_TOWN_H

#include <limits.h>
#include <stdio.h>

#include <waybill/memory.h>
#include <waybill/worker.h>

#include "examples/choreography/billing.h"
#include "examples/choreography/booking.h"
#include "examples/choreography/naive/naive.h"
#include "examples/choreography/parking.h"
#include "tests/kit/commits.h"
#include "tests/kit/mortal.h"
#include "tests/support/fake_clock.h"
#include "tests/support/seeded_random.h"

typedef struct town town;

enum { TOWN_BOOKING, TOWN_BILLING, TOWN_PARKING, TOWN_SERVICES, TOWN_NOBODY };

extern const char *const town_names[TOWN_SERVICES];

/* ---- what goes wrong ----------------------------------------------------- */

typedef enum town_doom_kind {
	TOWN_DOOM_NONE,
	TOWN_DOOM_BEFORE_COMMIT,
	TOWN_DOOM_AFTER_COMMIT,
	TOWN_DOOM_CONSUMER, /* at a call of this connection */
	TOWN_DOOM_PUBLISHER
} town_doom_kind;

/* One death: of `service`, at the nth commit or call from the start on. */
typedef struct town_doom {
	int service;
	town_doom_kind kind;
	uint64_t nth;
} town_doom;

/* One delivery: an event, by type and customer, to a service. */
typedef struct town_delivery {
	char type[32];
	size_t customer;
	int to;
} town_delivery;

typedef struct town_plan {
	uint64_t seed;
	bool naive;
	size_t slots;
	uint32_t copies;  /* of each event under its id; 0: 1 */
	uint32_t aliases; /* and of these under other ids */
	town_doom doom;
	/* `held` is not delivered before `before` was and all has come to rest;
	 * or, if that does not come or is NULL, before all bills have run out.
	 * NULL: nothing is held. */
	const town_delivery *held, *before;
	/* Per mille, by seed; of steps, commits, events. */
	uint16_t death, commit_trouble, duplicate, alias, jump;
	int64_t delay_us; /* of a delivery, at most; drawn */
	bool chaos;       /* of the broker */
	uint32_t batch;   /* of a worker; 0: the default */
	FILE *log;
} town_plan;

/* ---- customers ----------------------------------------------------------- */

typedef enum town_habit {
	TOWN_PAYS,
	TOWN_PAYS_IN_PARTS, /* 60.00, then 40.00 */
	TOWN_PAYS_SOME,     /* 30.00, and no more */
	TOWN_PAYS_NOTHING,
	TOWN_PAYS_LATE /* when the bill is about to expire */
} town_habit;

typedef struct town_customer {
	char ref[FLOW_REF_MAX];
	town_habit habit;
	bool booked;    /* for certain */
	int64_t paid;   /* for certain */
	int64_t unsure; /* by commands that died: perhaps that, too */
} town_customer;

/* ---- the count ----------------------------------------------------------- */

typedef struct town_count {
	uint64_t bookings, done, failed;
	uint64_t stuck;    /* neither, or a bill that is pending */
	uint64_t unknown;  /* a customer has a booking that is not there */
	uint64_t reserved; /* slots */
	uint64_t doubled;  /* money given back to who has his slot, or twice */
	uint64_t wrong;    /* booking, bill and slot contradict each other */
	uint64_t refunded, expired;
	int64_t in;   /* what the customers have paid */
	int64_t kept; /* of done bookings */
	int64_t back;
	int64_t missing; /* paid, and neither; and what was given too much */
	uint64_t open;   /* sagas that have not ended, in all stores */
	uint64_t dead;   /* dead letters */
	uint64_t deaths, deliveries;
} town_count;

/* Is it all as it must be? */
bool town_count_is_good(const town_count *c);
void town_count_print(const town_count *c, const char *what, FILE *to);

/* ---- the town ------------------------------------------------------------ */

typedef struct town_service {
	char dir[PATH_MAX];
	wb_store *store; /* NULL: it is dead */
	kit_mortal *consumer, *publisher;
	wb_choreography *flow;
	const wb_handler *handler;
	wb_worker *worker;
	naive *naive;
	uint64_t commits; /* in all its lives */
} town_service;

typedef struct town_letter {
	uint64_t index; /* of the arrival at the post */
	int64_t due_us; /* monotonic */
	int to;
	bool posted, held;
	bool alias; /* the same event under another id */
} town_letter;

struct town {
	town_plan plan;
	fake_clock clock;
	seeded_random random, code_random;
	char dir[PATH_MAX];
	wb_memory *memory;
	wb_routes *routes;
	wb_relay_options relay;
	wb_worker_options worker;
	town_service services[TOWN_SERVICES];
	booking_tables booking;
	billing_tables billing;
	parking_tables parking;
	int running;  /* whose code runs; TOWN_NOBODY: ours */
	bool durable; /* what became of the last commit of a store */
	bool doom_came;
	bool calm; /* no more random trouble */
	town_customer *customers;
	size_t customer_count;
	town_letter *letters;
	size_t letter_count, letter_room, letter_first;
	uint64_t collected; /* arrivals at the post */
	bool before_came, released;
	uint64_t aliases;
	int64_t latest_us; /* that the wall clock has shown */
	town_count count;
	wb_error err;
	bool failed;
	char why[1024];
};

void town_fail(town *t, const char *format, ...) WB_PRINTF(2, 3);

/* `base`: for the stores. Always to be ended by town_fini(). */
bool town_init(town *t, const town_plan *plan, const char *base);
void town_fini(town *t);

/* A customer who wants slot number `slot`. */
void town_add_customer(town *t, size_t slot, town_habit habit);

/* All customers book and pay, the time of bills runs out, everything comes to
 * rest and is counted. False: `why` says what did not. That the count is good
 * is for the caller to see. */
bool town_run(town *t);

/* Parts of it. */
void town_step(town *t);
void town_rest(town *t);
bool town_book(town *t, size_t customer);
/* False: it was refused, or the service died. */
bool town_pay(town *t, size_t customer, int64_t amount);
bool town_look_at_bill(town *t, size_t customer, bill *ret);
void town_advance(town *t, int64_t us);

/* town_service.c */
void town_services_init(town *t);
void town_service_start(town *t, int which);
void town_service_step(town *t, int which);
void town_service_kill(town *t, int which);
void town_service_drop(town *t, int which);
bool town_service_rests(const town *t, int which);
/* A command of the service: `run` within a transaction, with `arg`. True: it
 * is durable. */
typedef wb_code town_command(town *t, MDB_txn *txn, void *arg, wb_error *err);
bool town_service_command(town *t, int which, town_command *run, void *arg);

/* town_post.c */
bool town_post_init(town *t);
void town_post_step(town *t);
bool town_post_is_empty(const town *t, int64_t *ret_next_us);
void town_post_release(town *t);
/* An event that no service has sent: for the one customer, to one service. */
void town_post_forge(town *t, const char *type, size_t customer, int to);
bool town_letter_at(const town *t, size_t index, town_delivery *ret);

/* town_count.c */
void town_counting(town *t);

#endif
