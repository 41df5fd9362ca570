/* SPDX-License-Identifier: BSD-2-Clause */
/* Creating, opening and attaching stores, and what is refused. */
#include "tests/support/place.h"
#include "tests/support/testing.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static void a_store_is_created_once_and_opened_again(void **state)
{
	test_place *place = *state;
	wb_store_options options = test_store_options();
	wb_error err = WB_ERROR_INIT;
	wb_store *store = NULL;
	char origin[WBI_ORIGIN_LEN + 1];

	assert_code(wb_store_open(place->store, NULL, &store, &err),
		    WB_ENOTFOUND, err);
	assert_ok(wb_store_create(place->store, &options, &err), err);
	assert_code(wb_store_create(place->store, &options, &err), WB_EEXISTS,
		    err);
	store = test_store_open(place->store);
	assert_code(wb_store_create(place->store, &options, &err), WB_EEXISTS,
		    err);
	assert_string_equal(wb_store_service(store), "test");
	assert_string_equal(wb_store_dir(store), place->store);
	memcpy(origin, wbi_store_get_info(store)->outbox_origin,
	       sizeof(origin));
	assert_int_equal(strlen(origin), WBI_ORIGIN_LEN);
	wb_store_close(store);
	store = test_store_open(place->store);
	assert_string_equal(wbi_store_get_info(store)->outbox_origin, origin);
	wb_store_close(store);
}

int main(void)
{
#define T(name)                                                               \
	cmocka_unit_test_setup_teardown(name, test_place_setup,               \
					test_place_teardown)
	const struct CMUnitTest tests[] = {
		T(a_store_is_created_once_and_opened_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
