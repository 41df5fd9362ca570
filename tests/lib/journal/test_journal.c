/* SPDX-License-Identifier: BSD-2-Clause */
/* The journal: positions without gaps, whatever becomes of transactions. */
#include "tests/support/place.h"
#include "tests/support/testing.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/assert.h"
#include "lib/event/record.h"
#include "lib/journal/parked.h"

static void what_is_committed_reads_back_in_order(void **state)
{
	test_place *place = *state;
	wb_store *store = test_store_make(place->store);

	assert_int_equal(test_read_all(store, 1), 0);
	assert_int_equal(test_append(store, 1, 3), 1);
	assert_int_equal(test_append(store, 4, 100), 4);
	assert_int_equal(test_read_all(store, 1), 103);
	wb_store_close(store);
	store = test_store_open(place->store);
	assert_int_equal(test_append(store, 104, 1), 104);
	assert_int_equal(test_read_all(store, 1), 104);
	wb_store_close(store);
}

int main(void)
{
#define T(name)                                                               \
	cmocka_unit_test_setup_teardown(name, test_place_setup,               \
					test_place_teardown)
	const struct CMUnitTest tests[] = {
		T(what_is_committed_reads_back_in_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
