/* SPDX-License-Identifier: BSD-2-Clause */
/* What no worker is opened with: each mistake is named. */
#include "tests/support/testing.h"

#include <string.h>

#include <waybill/memory.h>
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
	o.bind = (const char *const[]){"", "a", NULL};
	o.bind_commands = NULL;
	assert_refused(store, &h, &o, "1 to 255 bytes, not 0");
	o = (wb_worker_options)WB_WORKER_OPTIONS_INIT;
	o.size--;
	assert_refused(store, &h, &o, "WB_WORKER_OPTIONS_INIT");
	wb_store_close(store);
}

static void more_types_than_can_be_bound_are_refused(void **state)
{
	enum { MOST = 4096 };
	static char names[MOST + 1][8];
	static const char *many[MOST + 2];
	wb_worker_options o = WB_WORKER_OPTIONS_INIT;
	test_place *place = *state;
	wb_store *store = test_store_make(place->store);
	wb_handler h = good();

	for (unsigned i = 0; i <= MOST; i++) {
		snprintf(names[i], sizeof(names[i]), "t%u", i);
		many[i] = names[i];
	}
	h.types = many;
	assert_refused(store, &h, &o, "more than 4096 binding keys");
	wb_store_close(store);
}

static void log_nothing(void *ctx, wb_log_level level, const char *line)
{
	(void)ctx;
	(void)level;
	(void)line;
}

static wb_code try_open(wb_store *store, wb_memory *memory,
			const wb_worker_options *options, wb_error *err)
{
	wb_handler h = good();
	const wb_handler *one = &h;
	wb_worker *worker = NULL;
	wb_broker *publisher;
	wb_code code;

	assert_ok(wb_memory_connect(memory, &publisher, err), *err);
	code = wb_worker_open(store, NULL, publisher, &one, 1, options, &worker,
			      err);
	wb_worker_close(worker);
	wb_broker_free(publisher);
	return code;
}

/* With the defaults, without a queue, with a log and threads of one's own. */
static void what_is_left_open_is_filled_in(void **state)
{
	const wb_log log = {.write = log_nothing};
	wb_relay_options relay = WB_RELAY_OPTIONS_INIT;
	wb_worker_options o = WB_WORKER_OPTIONS_INIT;
	test_place *place = *state;
	wb_store *store = test_store_make(place->store);
	wb_error err = WB_ERROR_INIT;
	wb_memory *memory;

	assert_ok(wb_memory_new(NULL, NULL, &memory, &err), err);
	assert_ok(try_open(store, memory, NULL, &err), err);
	relay.log = &log;
	relay.sole_user = o.sole_user = true;
	o.relay = &relay;
	o.exchange = "";
	o.declare = WB_DECLARE_NEVER;
	assert_ok(try_open(store, memory, &o, &err), err);
	o.threads = 2;
	assert_ok(try_open(store, memory, &o, &err), err);
	wb_memory_free(memory);
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
		T(more_types_than_can_be_bound_are_refused),
		T(what_is_left_open_is_filled_in),
		T(a_worker_without_its_store_is_refused),
	};

	return cmocka_run_group_tests(tests, test_places_in_memory, NULL);
}
