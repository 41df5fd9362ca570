/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The flow "order" of two services: the shop, whose part is under test, and the
 * bank, which says what it is told to and remembers what it hears. All fails
 * the test by itself.
 */
#ifndef TESTS_FLOW_RIG_H
#define TESTS_FLOW_RIG_H

#include <waybill/choreography.h>
#include <waybill/saga.h>

#include "tests/saga/services.h"

#define HOUR_US (INT64_C(3600) * 1000000)

enum { KEEP_MAX = 64 * 1024, MANY_HEADERS = 1100 };

enum { SHOP, BANK };

/* What the next call of a binding does, and how often each was called. */
typedef struct play {
	wb_code (*pack)(wb_call *call, wb_error *err);
	wb_code (*close)(wb_call *call, wb_error *err);
	unsigned packed, unpacked, closed;
	char kept[32]; /* what the last undo saw */
	wb_step_state undoing;
} play;

/* What the shop is opened with: a test may change them before. */
extern play played;
extern wb_flow_part part;
extern wb_flow_binding bindings[];

/* What begins a saga, and what closes one. */
extern const wb_event placed, closed;

wb_flow_part part_of(play *p);
services *rig_of(void **state);

/* For a binding: its own play, and two of what it may do. */
play *play_of(wb_call *call);
wb_code on_pack(wb_call *call, const wb_event *event, wb_error *err);
wb_code packs(wb_call *call, wb_error *err);
wb_code refuses(wb_call *call, wb_error *err);

/* The bank says it, of a saga ("": of none, by `correlation` perhaps). */
void say_as(services *r, const char *type, const char *saga,
	    const char *correlation);
void say(services *r, const char *type, const char *saga);
/* What the bank heard: how often that, and the data of the last. */
size_t heard_of(const char *type, const char *saga);
const char *last_heard(void);

/* The shop's own transactions, committed if it said WB_OK. */
wb_code begin(services *r, const char *step, wb_str saga, const wb_event *event,
	      wb_str undo, wb_error *err);
wb_code complete(services *r, const char *step, const char *saga,
		 const wb_event *event, wb_str undo, wb_error *err);
void place(services *r, const char *saga);

void wait_hours(services *r, int64_t hours);
/* By hand, as from another version of the flow, or a damaged tool. */
void set_timer(services *r, const char *name, wb_str data);

void assert_step(services *r, const char *step, const char *saga,
		 wb_step_state state);
/* What the saga is at, and what is said of it. */
void assert_saga(services *r, const char *saga, uint8_t status,
		 const char *reason);
void assert_waits(services *r, const char *saga, const char *step);
/* The nth entry of its log says this. */
void assert_log(services *r, const char *saga, uint64_t n, const char *step,
		const char *what, const char *out);
unsigned dead_letters(services *r);

#endif
