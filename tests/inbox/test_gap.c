/* SPDX-License-Identifier: BSD-2-Clause */
/* A remembered gap says of every key what a search would say. */
#include "tests/support/place.h"
#include "tests/support/seeded_random.h"
#include "tests/support/testing.h"

#include "inbox/gap.h"
#include "inbox/work.h"

/* Short keys of few letters: many are prefixes of others. */
static wb_str some_key(seeded_random *random, char buf[8])
{
	size_t len = 1 + seeded_random_below(random, 4);

	for (size_t i = 0; i < len; i++)
		buf[i] = (char)('a' + seeded_random_below(random, 3));
	return wb_str_n(buf, len);
}

static void a_gap_answers_as_a_search_does(void **state)
{
	static const wb_str names[] = {{"a", 1}, {"b", 1}, {"ba", 2}};
	test_place *place = *state;
	wb_store *store = test_store_make(place->store);
	const wbi_store_tables *tables = wbi_store_get_tables(store);
	wb_error err = WB_ERROR_INIT;
	wbi_gap gaps[3] = {{.known = false}};
	unsigned remembered = 0;
	seeded_random random;
	MDB_txn *txn;
	char buf[8];

	seeded_random_init(&random, 11);
	assert_ok(wb_store_begin(store, &txn, &err), err);
	for (uint64_t i = 1; i < 20000; i++) {
		size_t n = seeded_random_below(&random, 3);
		wbi_work_id id = {names[n], WBI_LANE_KEYED,
				  some_key(&random, buf), i};
		bool have, want;

		if (i % 500 == 0) {
			wbi_work row = {.due_us = 1, .record = S("r")};

			assert_ok(wbi_work_add(txn, tables, &id, &row, &err),
				  err);
			gaps[n].known = false;
			continue;
		}
		remembered += gaps[n].known;
		assert_ok(wbi_gap_has_group(txn, tables, &id, &gaps[n], &have,
					    &err),
			  err);
		assert_ok(wbi_work_has_group(txn, tables, &id, &want, &err),
			  err);
		assert_int_equal(have, want);
	}
	assert_true(remembered > 10000);
	wb_store_abort(txn);
	wb_store_close(store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_gap_answers_as_a_search_does,
						test_place_setup,
						test_place_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
