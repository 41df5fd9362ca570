/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The operator of the second service: dead letters are retried or discarded
 * one at a time, in transactions of his own beside a running worker, as the
 * command does it; and what its relay has parked is retried. Each act is noted
 * for the judge.
 */
#include <stdlib.h>

#include "inbox/work.h"
#include "tests/sim/operator.h"
#include "tests/sim/service.h"
#include "tests/sim/world.h"

enum { OPERATOR_LIST_MAX = 4096 };

typedef struct operator_dead {
	uint64_t number;
	size_t handler; /* SIM_HANDLERS: refused at ingest */
	size_t event;
	bool timer;
} operator_dead;

static size_t operator_handler(wb_str name)
{
	size_t h = 0;

	while (h < SIM_HANDLERS &&
	       !wb_str_eq(name, wb_str_from(sim_handler_names[h])))
		h++;
	return h;
}

/* The first dead letters there are, `max` of them. */
static size_t operator_list(sim_service *s, MDB_txn *txn, operator_dead *ret,
			    size_t max)
{
	wbi_cursor *cursor = NULL;
	uint64_t number;
	size_t count = 0;
	wb_str row;
	wbi_dead dead;
	wb_code code = wbi_cursor_open(txn, wbi_store_get_tables(s->store)->dead,
				       &cursor, &s->world->err);

	while (code == WB_OK && count < max) {
		code = wbi_cursor_move_at(cursor, WBI_NEXT, &number, &row,
					  &s->world->err);
		if (code == WB_OK)
			code = wbi_dead_decode(number, row, &dead,
					       &s->world->err);
		if (code != WB_OK)
			break;
		ret[count++] = (operator_dead){
			.number = number,
			.handler = operator_handler(dead.consumer),
			.timer = dead.lane == WBI_LANE_TIMER,
			.event = sim_event_number(dead.lane == WBI_LANE_TIMER
							  ? dead.key
							  : dead.id),
		};
	}
	wbi_cursor_close(cursor);
	if (code != WB_OK && code != WB_ENOTFOUND)
		sim_fail(s->world, "dead letters: %s", s->world->err.text);
	return count;
}

static sim_note *operator_note(sim_service *s, const operator_dead *dead)
{
	if (dead->event >= SIM_EVENTS_MAX) {
		sim_fail(s->world, "dead letter %llu is of no event",
			 (unsigned long long)dead->number);
		return NULL;
	}
	return dead->timer ? &s->timer_notes[dead->event]
			   : &s->notes[dead->handler][dead->event];
}

static void operator_act(sim_service *s, MDB_txn *txn,
			 const operator_dead *dead, bool bury)
{
	const wbi_store_tables *tables = wbi_store_get_tables(s->store);
	sim_world *w = s->world;
	sim_note *note = operator_note(s, dead);
	wb_code code;

	if (!note)
		return;
	code = bury ? wbi_work_bury(txn, tables, dead->number,
				    w->clock.real_us, &w->err)
		    : wbi_work_revive(txn, tables, dead->number,
				      w->clock.real_us, &w->err);
	if (code != WB_OK)
		sim_fail(w, "dead letter: %s", w->err.text);
	note->buried = note->buried || bury;
	note->revived = note->revived || !bury;
	s->tally.buried += bury;
	s->tally.revived += !bury;
	sim_log(w, "%s dead letter %llu", bury ? "discard" : "retry",
		(unsigned long long)dead->number);
}

static void operator_retry_parked(sim_service *s, uint64_t *ret)
{
	sim_parked_list *list = malloc(sizeof(*list));

	if (!list || sim_operator_list(s->store, list, &s->world->err) != WB_OK)
		sim_fail(s->world, "parked: %s", s->world->err.text);
	for (size_t i = 0; list && i < list->count && !s->world->failed; i++)
		if (list->rows[i].behind == 0 &&
		    sim_operator_retry(s->store, &list->rows[i],
				       &s->world->err) != WB_OK)
			sim_fail(s->world, "retry: %s", s->world->err.text);
	*ret += list ? list->total : 0;
	free(list);
}

void sim_service_operate(sim_service *s)
{
	bool bury = seeded_random_chance(&s->random, 200);
	operator_dead list[16];
	uint64_t parked = 0;
	MDB_txn *txn;
	size_t count;

	if (seeded_random_chance(&s->random, 300))
		operator_retry_parked(s, &parked);
	if (wb_store_begin(s->store, &txn, &s->world->err) != WB_OK) {
		sim_fail(s->world, "begin: %s", s->world->err.text);
		return;
	}
	count = operator_list(s, txn, list, 16);
	if (count > 0) {
		const operator_dead *dead =
			&list[seeded_random_below(&s->random, count)];

		if (dead->handler < SIM_HANDLERS)
			operator_act(s, txn, dead, bury);
	}
	if (wb_store_commit(s->store, txn, &s->world->err) != WB_OK)
		sim_fail(s->world, "commit: %s", s->world->err.text);
}

void sim_service_revive_all(sim_service *s, uint64_t *ret)
{
	operator_dead *list = calloc(OPERATOR_LIST_MAX, sizeof(*list));
	size_t count = 0;
	MDB_txn *txn;

	*ret = 0;
	operator_retry_parked(s, ret);
	if (!list || wb_store_begin(s->store, &txn, &s->world->err) != WB_OK) {
		sim_fail(s->world, "begin: %s", s->world->err.text);
		free(list);
		return;
	}
	if (!s->leave_dead)
		count = operator_list(s, txn, list, OPERATOR_LIST_MAX);
	for (size_t i = 0; i < count && !s->world->failed; i++) {
		if (list[i].handler == SIM_HANDLERS)
			continue;
		operator_act(s, txn, &list[i], false);
		++*ret;
	}
	if (wb_store_commit(s->store, txn, &s->world->err) != WB_OK)
		sim_fail(s->world, "commit: %s", s->world->err.text);
	free(list);
}
