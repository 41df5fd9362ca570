/* SPDX-License-Identifier: BSD-2-Clause */
/* Any run of calls, outcomes and operators keeps the rules of groups: the store
 * against a model in memory that walks over everything. */
#include "tests/inbox/work_rig.h"

#include <stdlib.h>

#include "tests/support/seeded_random.h"

enum { KEYS = 4, ROWS = 400, STEPS = 6000 };

/* What the rules say, by walking over everything. */
typedef struct model_row {
	bool there;
	uint8_t state;
	int64_t due_us;
	uint64_t number; /* of its dead letter, 0: none */
	bool blocks;
} model_row;

typedef struct model {
	fixture f;
	seeded_random random;
	model_row rows[KEYS][ROWS];
	uint64_t next; /* position to be given */
	int64_t now;
	uint64_t last_done[KEYS];
	unsigned calls;
} model;

/* Of the first two the followers wait, of the third some go on; the last stands
 * for events without a key. */
enum { WAITING_KEYS = 2 };
static const char *const names[KEYS] = {"a", "ab", "b", ""};

static wbi_work_id model_id(int key, uint64_t position)
{
	if (key == KEYS - 1) /* without one */
		return (wbi_work_id){H, WBI_LANE_UNKEYED, S(""), position};
	return keyed(names[key], position);
}

static int model_first(const model *m, int key)
{
	for (int i = 0; i < ROWS; i++)
		if (m->rows[key][i].there)
			return i;
	return -1;
}

static int model_running(const model *m, int key)
{
	for (int i = 0; i < ROWS; i++)
		if (m->rows[key][i].there &&
		    m->rows[key][i].state == WBI_WORK_RUNNING)
			return i;
	return -1;
}

/* Nobody of the group is called: the first one may go. */
static void model_settle(model *m, int key)
{
	int first = model_first(m, key);
	model_row *row;

	if (key == KEYS - 1 || first < 0 || model_running(m, key) >= 0)
		return;
	row = &m->rows[key][first];
	for (int i = first + 1; i < ROWS; i++)
		if (m->rows[key][i].there &&
		    m->rows[key][i].state == WBI_WORK_WAITING)
			m->rows[key][i].state = WBI_WORK_QUEUED;
	if (row->state != WBI_WORK_QUEUED)
		return;
	row->state = WBI_WORK_WAITING;
	if (row->due_us < m->now)
		row->due_us = m->now;
}

static bool model_blocks(model *m, int key)
{
	return key < WAITING_KEYS || seeded_random_chance(&m->random, 500);
}

static void model_add(model *m)
{
	int key = (int)seeded_random_below(&m->random, KEYS);
	uint64_t at = m->next;
	model_row row = {.there = true, .state = WBI_WORK_QUEUED};

	if (at == ROWS)
		return;
	m->next++;
	if (seeded_random_chance(&m->random, 100)) { /* dies at once */
		bool blocks = model_blocks(m, key);

		if (model_first(m, key) >= 0)
			return;
		row.number = die(&m->f, model_id(key, at), blocks, m->now);
		row.blocks = blocks && key != KEYS - 1;
		row.there = row.blocks;
		row.state = WBI_WORK_DEAD;
		m->rows[key][at] = row;
		return;
	}
	row.due_us = m->now + (int64_t)seeded_random_below(&m->random, 50);
	add(&m->f, model_id(key, at), row.due_us);
	if (key == KEYS - 1 || model_first(m, key) < 0)
		row.state = WBI_WORK_WAITING;
	m->rows[key][at] = row;
}

static void model_done(model *m, int key, uint64_t at)
{
	if (key < WAITING_KEYS)
		assert_true(m->last_done[key] < at);
	m->last_done[key] = at;
	m->calls++;
	done(&m->f, model_id(key, at), m->now);
	m->rows[key][at] = (model_row){.there = false};
	model_settle(m, key);
}

static void model_die(model *m, int key, uint64_t at)
{
	model_row *row = &m->rows[key][at];
	bool blocks = model_blocks(m, key);

	row->number = die(&m->f, model_id(key, at), blocks, m->now);
	row->blocks = blocks && key != KEYS - 1;
	row->there = row->blocks;
	row->state = WBI_WORK_DEAD;
	row->due_us = 0;
	model_settle(m, key);
}

/* The call of the row that is due first ends somehow. */
static void model_end(model *m, int key, uint64_t at)
{
	model_row *row = &m->rows[key][at];

	switch (seeded_random_below(&m->random, 4)) {
	case 0:
	case 1:
		model_done(m, key, at);
		break;
	case 2:
		row->state = WBI_WORK_WAITING;
		row->due_us = m->now +
			      (int64_t)seeded_random_below(&m->random, 80) + 1;
		change(&m->f, model_id(key, at), WBI_WORK_WAITING, row->due_us,
		       m->now);
		if (key != KEYS - 1 && model_first(m, key) < (int)at)
			row->state = WBI_WORK_QUEUED;
		model_settle(m, key);
		break;
	default:
		model_die(m, key, at);
	}
}

static void model_call(model *m)
{
	uint64_t at = due(&m->f, m->now);
	int key = 0;
	int64_t best = INT64_MAX;

	for (int k = 0; k < KEYS; k++)
		for (int i = 0; i < ROWS; i++) {
			const model_row *row = &m->rows[k][i];

			if (row->there && row->state == WBI_WORK_WAITING &&
			    row->due_us < best)
				best = row->due_us;
		}
	if (best > m->now) {
		assert_int_equal(at, 0);
		assert_true(next_us(&m->f, m->now) == best);
		return;
	}
	while (!m->rows[key][at].there)
		key++;
	assert_int_equal(m->rows[key][at].state, WBI_WORK_WAITING);
	assert_true(m->rows[key][at].due_us == best);
	if (!seeded_random_chance(&m->random, 400)) {
		model_end(m, key, at);
		return;
	}
	change(&m->f, model_id(key, at), WBI_WORK_RUNNING, 0, m->now);
	m->rows[key][at].state = WBI_WORK_RUNNING;
	m->rows[key][at].due_us = 0;
}

static void model_outcome(model *m)
{
	int key = (int)seeded_random_below(&m->random, KEYS);
	int at = model_running(m, key);

	if (at >= 0)
		model_end(m, key, (uint64_t)at);
}

static void model_revive(model *m, int key, uint64_t at)
{
	model_row *row = &m->rows[key][at];

	assert_ok(wbi_work_revive(m->f.txn, m->f.tables, row->number, m->now,
				  &m->f.err),
		  m->f.err);
	*row = (model_row){.there = true,
			   .state = key == KEYS - 1 ? WBI_WORK_WAITING
						    : WBI_WORK_QUEUED,
			   .due_us = m->now};
	model_settle(m, key);
}

static void model_operator(model *m)
{
	int key = (int)seeded_random_below(&m->random, KEYS);
	uint64_t from = seeded_random_below(&m->random, ROWS);

	for (uint64_t i = 0; i < ROWS; i++) {
		uint64_t at = (from + i) % ROWS;
		model_row *row = &m->rows[key][at];

		if (row->number == 0)
			continue;
		if (seeded_random_chance(&m->random, 600)) {
			model_revive(m, key, at);
			return;
		}
		assert_ok(wbi_work_bury(m->f.txn, m->f.tables, row->number,
					m->now, &m->f.err),
			  m->f.err);
		*row = (model_row){.there = false};
		model_settle(m, key);
		return;
	}
}

/* Row by row: the store says what the model says, and no more. */
static void model_compare(model *m)
{
	uint64_t bytes, rows, there = 0, dues = 0;

	for (int k = 0; k < KEYS; k++) {
		unsigned active = 0;

		for (uint64_t i = 0; i < ROWS; i++) {
			const model_row *row = &m->rows[k][i];
			wbi_work got;

			if (!row->there)
				continue;
			there++;
			got = get(&m->f, model_id(k, i));
			assert_int_equal(got.state, row->state);
			if (row->state == WBI_WORK_WAITING ||
			    row->state == WBI_WORK_RUNNING) {
				assert_true(got.due_us == row->due_us);
				active++;
			}
		}
		assert_true(k == KEYS - 1 || active <= 1);
		dues += active;
	}
	assert_ok(wbi_table_size(m->f.txn, m->f.tables->work, &bytes, &rows,
				 &m->f.err),
		  m->f.err);
	assert_int_equal(rows, there);
	assert_ok(wbi_table_size(m->f.txn, m->f.tables->due, &bytes, &rows,
				 &m->f.err),
		  m->f.err);
	assert_int_equal(rows, dues);
	assert_int_equal(consumer(&m->f).waiting, there);
}

static void model_run(void **state, uint64_t seed)
{
	test_place *place = *state;
	model *m = calloc(1, sizeof(*m));

	assert_non_null(m);
	m->f = begin(state);
	seeded_random_init(&m->random, seed);
	m->next = 1;
	m->now = 1;
	for (int step = 0; step < STEPS; step++) {
		uint64_t draw = seeded_random_below(&m->random, 100);

		m->now += (int64_t)seeded_random_below(&m->random, 6);
		if (draw < 8)
			model_add(m);
		else if (draw < 60)
			model_call(m);
		else if (draw < 90)
			model_outcome(m);
		else
			model_operator(m);
		model_compare(m);
	}
	assert_int_equal(m->next, ROWS);
	assert_in_range(m->calls, 100, ROWS);
	end(&m->f);
	free(m);
	test_remove_tree(place->store);
}

static void any_run_of_calls_keeps_the_rules(void **state)
{
	for (uint64_t seed = 1; seed <= 5; seed++)
		model_run(state, seed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			any_run_of_calls_keeps_the_rules, test_place_setup,
			test_place_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
