/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A town and its customers, turn by turn. See town.h. What a customer knows is
 * what was committed: who gets no answer because the service died looks before
 * he asks again, as anybody does.
 */
#include "tests/examples/choreography/town.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "tests/kit/scratch.h"

enum {
	TOWN_TURNS = 400000,
	TOWN_QUIET = 8, /* turns at rest before it counts */
	TOWN_TURN_US = 500,
	TOWN_GAP = 2, /* turns between two customers */
	TOWN_PART = 6000,
	TOWN_SOME = 3000
};

#define TOWN_JUMP_US (INT64_C(26) * 3600 * 1000000)

void town_fail(town *t, const char *format, ...)
{
	va_list args;

	if (t->failed)
		return;
	t->failed = true;
	va_start(args, format);
	vsnprintf(t->why, sizeof(t->why), format, args);
	va_end(args);
}

/* ---- build --------------------------------------------------------------- */

static wb_code town_make_slots(town *t, MDB_txn *txn, void *arg, wb_error *err)
{
	wb_code code = WB_OK;

	(void)arg;
	for (size_t i = 0; i < t->plan.slots && code == WB_OK; i++) {
		char name[32], uuid[WB_UUID_TEXT_LEN + 1];

		snprintf(name, sizeof(name), "s%zu", i);
		wb_uuid7(&t->clock.clock, &t->code_random.random, uuid);
		code = parking_add(&t->parking, txn, wb_str_from(name), uuid,
				   err);
	}
	return code;
}

static void town_set_chaos(town *t)
{
	wb_memory_chaos chaos = WB_MEMORY_CHAOS_INIT;

	chaos.nack = (uint16_t)seeded_random_below(&t->random, 50);
	chaos.cut = (uint16_t)seeded_random_below(&t->random, 12);
	chaos.channel_close = (uint16_t)seeded_random_below(&t->random, 6);
	chaos.duplicate = (uint16_t)seeded_random_below(&t->random, 300);
	chaos.refuse = (uint16_t)seeded_random_below(&t->random, 200);
	chaos.misplace = (uint16_t)seeded_random_below(&t->random, 300);
	chaos.outage_max_us = 200000;
	if (wb_memory_set_chaos(t->memory, &chaos, &t->err) != WB_OK)
		town_fail(t, "chaos: %s", t->err.text);
}

bool town_init(town *t, const town_plan *plan, const char *base)
{
	memset(t, 0, sizeof(*t));
	t->plan = *plan;
	t->running = TOWN_NOBODY;
	if (plan->doom.kind == TOWN_DOOM_NONE)
		t->plan.doom.service = TOWN_NOBODY;
	fake_clock_init(&t->clock);
	seeded_random_init(&t->random, plan->seed ^ 0x746f776e);
	seeded_random_init(&t->code_random, plan->seed ^ 0x636f6465);
	t->calm = true;
	if (!kit_scratch_make(base, t->dir) ||
	    wb_memory_new(&t->clock.clock, &t->code_random.random, &t->memory,
			  &t->err) != WB_OK ||
	    !town_post_init(t)) {
		town_fail(t, "town: %s", t->err.text);
		return false;
	}
	town_services_init(t);
	for (int i = 0; i < 2 * TOWN_SERVICES && !t->failed; i++)
		town_service_start(t, i % TOWN_SERVICES);
	for (int i = 0; i < 3 && !t->failed; i++)
		if (town_service_command(t, TOWN_PARKING, town_make_slots,
					 NULL))
			break;
	/* No trouble before the queues are there. */
	town_rest(t);
	t->calm = false;
	if (plan->chaos)
		town_set_chaos(t);
	return !t->failed;
}

void town_fini(town *t)
{
	for (int i = 0; i < TOWN_SERVICES; i++)
		town_service_drop(t, i);
	kit_commits_judge(NULL, NULL);
	wb_memory_free(t->memory);
	wb_routes_free(t->routes);
	kit_scratch_remove(t->dir);
	free(t->customers);
	free(t->letters);
}

/* ---- turns --------------------------------------------------------------- */

void town_advance(town *t, int64_t us)
{
	fake_clock_advance_us(&t->clock, us);
	if (t->clock.real_us > t->latest_us)
		t->latest_us = t->clock.real_us;
}

static void town_jump(town *t)
{
	int64_t us = (int64_t)seeded_random_below(&t->random, 7200000000u) -
		     3600000000;

	fake_clock_jump_us(&t->clock, us);
	if (t->clock.real_us > t->latest_us)
		t->latest_us = t->clock.real_us;
}

void town_step(town *t)
{
	for (int i = 0; i < TOWN_SERVICES && !t->failed; i++)
		town_service_step(t, i);
	town_post_step(t);
	if (!t->calm && seeded_random_chance(&t->random, t->plan.jump))
		town_jump(t);
	town_advance(t, TOWN_TURN_US);
}

static bool town_services_rest(const town *t)
{
	for (int i = 0; i < TOWN_SERVICES; i++)
		if (!town_service_rests(t, i))
			return false;
	return true;
}

/* Nothing moves but by time: let some go by. */
static void town_wait(town *t, int64_t next_us)
{
	wb_worker_stat stat;

	if (next_us != INT64_MAX)
		fake_clock_advance_to_us(&t->clock, next_us);
	for (int i = 0; i < TOWN_SERVICES && !t->plan.naive; i++) {
		if (!t->services[i].worker)
			continue;
		stat = wb_worker_get_stat(t->services[i].worker);
		if (stat.waiting > 0 || stat.state != WB_WORKER_RUNNING)
			town_advance(t, 100000);
	}
}

void town_rest(town *t)
{
	unsigned quiet = 0;
	int64_t next_us;

	for (int i = 0; i < TOWN_TURNS && !t->failed; i++) {
		bool empty;

		town_step(t);
		empty = town_post_is_empty(t, &next_us);
		quiet = empty && town_services_rest(t) ? quiet + 1 : 0;
		if (quiet > TOWN_QUIET && t->before_came && !t->released) {
			town_post_release(t);
			quiet = 0;
		}
		if (quiet > TOWN_QUIET)
			return;
		if (i % 32 == 31)
			town_wait(t, next_us);
	}
	if (!t->failed)
		town_fail(t, "it does not come to rest");
}

/* ---- customers ----------------------------------------------------------- */

void town_add_customer(town *t, size_t slot, town_habit habit)
{
	size_t n = t->customer_count;
	void *grown = t->customers;

	if ((n & (n - 1)) == 0) /* at each power of two */
		grown = realloc(t->customers,
				(n ? 2 * n : 1) * sizeof(*t->customers));
	if (!grown) {
		town_fail(t, "out of memory");
		return;
	}
	t->customers = grown;
	memset(&t->customers[n], 0, sizeof(t->customers[n]));
	snprintf(t->customers[n].ref, sizeof(t->customers[n].ref), "s%zu:%zu",
		 slot, n);
	t->customers[n].habit = habit;
	t->customer_count++;
}

typedef struct town_order {
	wb_str ref;
	int64_t amount;
} town_order;

static wb_code town_order_booking(town *t, MDB_txn *txn, void *arg,
				  wb_error *err)
{
	const town_order *o = arg;

	return booking_create(&t->booking, t->services[TOWN_BOOKING].flow, txn,
			      o->ref, err);
}

static wb_code town_order_payment(town *t, MDB_txn *txn, void *arg,
				  wb_error *err)
{
	const town_order *o = arg;

	return billing_pay(&t->billing, t->services[TOWN_BILLING].flow, txn,
			   o->ref, o->amount, t->clock.real_us, err);
}

/* In the naive service a command is its own affair. */
static bool town_naive_order(town *t, int which, const town_order *o)
{
	town_service *s = &t->services[which];
	wb_error err = WB_ERROR_INIT;

	if (!s->store)
		town_service_start(t, which);
	if (!s->store || t->failed)
		return false;
	t->durable = false;
	t->running = which;
	if (which == TOWN_BOOKING)
		(void)naive_create_booking(s->naive, o->ref, &err);
	else
		(void)naive_pay_bill(s->naive, o->ref, o->amount, &err);
	t->running = TOWN_NOBODY;
	if (kit_mortal_is_dead(s->consumer))
		town_service_kill(t, which);
	return t->durable;
}

bool town_book(town *t, size_t customer)
{
	town_customer *c = &t->customers[customer];
	town_order o = {.ref = wb_str_from(c->ref)};

	c->booked = t->plan.naive
			    ? town_naive_order(t, TOWN_BOOKING, &o)
			    : town_service_command(t, TOWN_BOOKING,
						   town_order_booking, &o);
	return c->booked;
}

bool town_pay(town *t, size_t customer, int64_t amount)
{
	town_customer *c = &t->customers[customer];
	town_order o = {.ref = wb_str_from(c->ref), .amount = amount};
	bool paid = t->plan.naive
			    ? town_naive_order(t, TOWN_BILLING, &o)
			    : town_service_command(t, TOWN_BILLING,
						   town_order_payment, &o);

	if (paid)
		c->paid += amount;
	return paid;
}

bool town_look_at_bill(town *t, size_t customer, bill *ret)
{
	town_service *s = &t->services[TOWN_BILLING];
	wb_error err = WB_ERROR_INIT;
	MDB_txn *txn;
	bool found;

	if (!s->store)
		town_service_start(t, TOWN_BILLING);
	if (!s->store ||
	    mdb_txn_begin(wb_store_env(s->store), NULL, MDB_RDONLY, &txn) != 0)
		return false;
	found = billing_get(&t->billing, txn,
			    wb_str_from(t->customers[customer].ref), ret,
			    &err) == WB_OK;
	mdb_txn_abort(txn);
	return found;
}

static int64_t town_wants_to_pay(const town_customer *c, bool late)
{
	switch (c->habit) {
	case TOWN_PAYS:
		return BILLING_TOTAL - c->paid;
	case TOWN_PAYS_IN_PARTS:
		return c->paid ? BILLING_TOTAL - c->paid : TOWN_PART;
	case TOWN_PAYS_SOME:
		return c->paid ? 0 : TOWN_SOME;
	case TOWN_PAYS_LATE:
		return late ? BILLING_TOTAL - c->paid : 0;
	case TOWN_PAYS_NOTHING:
		return 0;
	}
	return 0;
}

/* True: he has done something. */
static bool town_customer_turn(town *t, size_t i, bool late)
{
	town_customer *c = &t->customers[i];
	int64_t amount;
	bill b;

	if (!c->booked) {
		(void)town_book(t, i);
		return true;
	}
	amount = town_wants_to_pay(c, late);
	if (amount <= 0 || !town_look_at_bill(t, i, &b) ||
	    b.state != BILL_PENDING)
		return false;
	/* Too much is refused, and costs nothing. */
	if (i % 3 == 0 && town_pay(t, i, BILLING_TOTAL + 1))
		town_fail(t, "an overpayment was taken");
	(void)town_pay(t, i, amount);
	return true;
}

/* Round after round, until nobody wants anything that he can have. */
static void town_customers_act(town *t, bool late)
{
	bool again = true;

	for (int round = 0; again && round < 1000 && !t->failed; round++) {
		again = false;
		for (size_t i = 0; i < t->customer_count && !t->failed; i++) {
			if (!town_customer_turn(t, i, late))
				continue;
			again = true;
			for (int n = 0; n < TOWN_GAP && !t->failed; n++)
				town_step(t);
		}
		town_rest(t);
	}
}

/* A moment before the bills expire, and over it, in small steps. */
static void town_last_moment(town *t)
{
	int64_t latest_us = 0;
	bool any = false;
	bill b;

	for (size_t i = 0; i < t->customer_count && !t->failed; i++) {
		if (t->customers[i].habit != TOWN_PAYS_LATE ||
		    !town_look_at_bill(t, i, &b))
			continue;
		any = true;
		if (b.made_us > latest_us)
			latest_us = b.made_us;
	}
	if (!any)
		return;
	latest_us += (int64_t)FLOW_BILL_MS * 1000 - 20 * TOWN_TURN_US;
	if (latest_us > t->clock.real_us)
		town_advance(t, latest_us - t->clock.real_us);
	for (size_t i = 0; i < t->customer_count && !t->failed; i++) {
		if (t->customers[i].habit == TOWN_PAYS_LATE)
			(void)town_customer_turn(t, i, true);
		town_step(t);
	}
}

/* No more trouble; what was put off while the clock was ahead is due. */
static void town_calm_down(town *t)
{
	t->calm = true;
	if (t->plan.chaos &&
	    wb_memory_set_chaos(t->memory, NULL, &t->err) != WB_OK)
		town_fail(t, "calm: %s", t->err.text);
	if (t->clock.real_us < t->latest_us)
		fake_clock_jump_us(&t->clock, t->latest_us - t->clock.real_us);
}

bool town_run(town *t)
{
	for (size_t i = 0; i < t->customer_count && !t->failed; i++) {
		(void)town_customer_turn(t, i, false);
		for (int n = 0; n < TOWN_GAP && !t->failed; n++)
			town_step(t);
	}
	town_customers_act(t, false);
	town_last_moment(t);
	town_customers_act(t, true);
	/* The time of all bills runs out; then what was held comes. */
	town_advance(t, TOWN_JUMP_US);
	town_rest(t);
	town_post_release(t);
	town_calm_down(t);
	town_customers_act(t, true);
	town_advance(t, TOWN_JUMP_US);
	town_rest(t);
	if (!t->failed)
		town_counting(t);
	return !t->failed;
}
