/* SPDX-License-Identifier: BSD-2-Clause */
/* What no worker is opened with: each mistake is named. */
#include "tests/support/testing.h"

#include <string.h>

#include <waybill/worker.h>

#include "tests/support/place.h"

enum { MANY = 300 };

static const char *const types[] = {"order.#", NULL};

static wb_code handle(wb_call *call, const wb_event *event, wb_error *err)
{
	(void)call;
	(void)event;
	(void)err;
	return WB_OK;
}

static wb_handler good(void)
{
	wb_handler h = WB_HANDLER_INIT;

	h.name = "count";
	h.types = types;
	h.handle = handle;
	return h;
}

static void assert_refused(wb_store *store, const wb_handler *h,
			   const wb_worker_options *options, const char *text)
{
	wb_error err = WB_ERROR_INIT;
	wb_worker *worker = NULL;

	assert_int_equal(wb_worker_open(store, NULL, NULL, &h, 1, options,
					&worker, &err),
			 WB_EINVAL);
	assert_null(worker);
	if (!strstr(err.text, text))
		fail_msg("not \"%s\", but \"%s\"", text, err.text);
}

static void a_handler_that_is_none_is_named(void **state)
{
	test_place *place = *state;
	wb_store *store = test_store_make(place->store);
	wb_handler h = good();

	h.name = NULL;
	assert_refused(store, &h, NULL, "name");
	h.name = "";
	assert_refused(store, &h, NULL, "name");
	h = good();
	h.size = 7;
	assert_refused(store, &h, NULL, "size is 7");
	h = good();
	h.kind = (wb_handler_kind)9;
	assert_refused(store, &h, NULL, "neither transactional nor external");
	h = good();
	h.hears = (wb_hears)9;
	assert_refused(store, &h, NULL, "neither events, commands nor replies");
	h = good();
	h.followers = (wb_followers)9;
	assert_refused(store, &h, NULL, "neither wait nor go on");
	h = good();
	h.begin = (wb_begin)9;
	assert_refused(store, &h, NULL, "neither first nor next");
	h = good();
	h.backoff_min_ms = 2;
	h.backoff_max_ms = 1;
	assert_refused(store, &h, NULL, "backoff_min_ms is over");
	assert_refused(store, NULL, NULL, "handler 1 is NULL");
	wb_store_close(store);
}

static void an_option_that_is_none_is_named(void **state)
{
	char name[MANY];
	const char *const empty[] = {"", NULL}, *const longer[] = {name, NULL};
	wb_worker_options o = WB_WORKER_OPTIONS_INIT;
	test_place *place = *state;
	wb_store *store = test_store_make(place->store);
	wb_handler h = good();

	memset(name, 'a', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	o.declare = (wb_declare_policy)9;
	assert_refused(store, &h, &o, "declare is 9");
	o = (wb_worker_options)WB_WORKER_OPTIONS_INIT;
	o.bind = empty;
	assert_refused(store, &h, &o, "1 to 255 bytes, not 0");
	o.bind = longer;
	assert_refused(store, &h, &o, "1 to 255 bytes, not 299");
	o.bind = NULL;
	o.bind_commands = longer;
	assert_refused(store, &h, &o, "1 to 255 bytes, not 299");
	wb_store_close(store);
}

static void a_worker_without_its_store_is_refused(void **state)
{
	static const wb_handler *many[MANY];
	test_place *place = *state;
	wb_store *store = test_store_make(place->store);
	wb_error err = WB_ERROR_INIT;
	wb_worker *worker = NULL;

	assert_code(
		wb_worker_open(NULL, NULL, NULL, NULL, 0, NULL, &worker, &err),
		WB_EINVAL, err);
	assert_code(
		wb_worker_open(store, NULL, NULL, NULL, 0, NULL, NULL, &err),
		WB_EINVAL, err);
	assert_code(
		wb_worker_open(store, NULL, NULL, NULL, 1, NULL, &worker, &err),
		WB_EINVAL, err);
	assert_code(wb_worker_open(store, NULL, NULL, many, MANY, NULL, &worker,
				   &err),
		    WB_EINVAL, err);
	assert_null(worker);
	wb_store_close(store);
}

int main(void)
{
#define T(name)                                                                \
	cmocka_unit_test_setup_teardown(name, test_place_setup,                \
					test_place_teardown)
	const struct CMUnitTest tests[] = {
		T(a_handler_that_is_none_is_named),
		T(an_option_that_is_none_is_named),
		T(a_worker_without_its_store_is_refused),
	};

	return cmocka_run_group_tests(tests, test_places_in_memory, NULL);
}
