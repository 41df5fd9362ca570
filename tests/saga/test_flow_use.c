/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One service's part in a flow as it is used from outside: by operators, in the
 * service's own transactions, with a declaration that is wrong or was changed.
 */
#include "tests/support/testing.h"

#include <waybill/choreography.h>

#include "inbox/timer.h"
#include "lib/journal/saga_rows.h"
#include "saga/operator.h"
#include "tests/saga/flow_rig.h"
#include "tests/support/place.h"

/* ---- tests: operators ---------------------------------------------------- */

static void order(services *r, const char *saga, const char *refusal)
{
	const wbi_saga_id id = {WBI_SAGA_FLOW, wb_str_from(saga), S("order")};

	service_order(&r->all[SHOP], &id, WBI_VERB_ABANDON, refusal);
}

static void a_step_that_is_pending_is_abandoned_and_may_yet_end(void **state)
{
	services *r = rig_of(state);
	wb_error err = WB_ERROR_INIT;

	played.pack = refuses;
	say(r, "pay.done", "a");
	order(r, "a", NULL);
	services_rest(r);
	assert_saga(r, "a", WB_SAGA_ABANDONED, "abandoned by kim: a test");
	wait_hours(r, 1);
	assert_saga(r, "a", WB_SAGA_ABANDONED, "abandoned by kim: a test");
	assert_ok(complete(r, "weigh", "a", NULL, WB_STR_NULL, &err), err);
	assert_saga(r, "a", WB_SAGA_ABANDONED, "abandoned by kim: a test");
	order(r, "none", "there is no such saga");
	services_fini(r);
}

/* Given, and put off, while the saga ends. */
static void an_order_that_comes_too_late_is_refused(void **state)
{
	const wbi_actor actor = {S("kim"), S("a test")};
	services *r = rig_of(state);
	service *s = &r->all[SHOP];
	wb_error err = WB_ERROR_INIT;

	say(r, "pay.done", "a");
	order(r, "a", NULL);
	assert_ok(wbi_timer_operator_move(s->store, S("flow.order"), S("a/!"),
					  r->clock.real_us + HOUR_US / 2,
					  &actor, &err),
		  err);
	assert_ok(complete(r, "weigh", "a", NULL, WB_STR_NULL, &err), err);
	wait_hours(r, 1);
	assert_saga(r, "a", WB_SAGA_COMPLETED, "");
	assert_int_equal(service_audited(s, "saga abandon refused"), 1);
	services_fini(r);
}

static void what_is_no_order_is_a_dead_letter(void **state)
{
	/* Version, verb, number, time, length of who; who, why. */
	static const char retry[] =
		"\1\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\3kimx";
	static const char gone[] = "\1\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\3kimx";
	char name[190];
	services *r = rig_of(state);
	service *s = &r->all[SHOP];

	snprintf(name, sizeof(name), "%0181d/!", 1);
	say(r, "pay.done", "a");
	set_timer(r, "a/!", S("what?"));
	set_timer(r, name, wb_str_n(gone, sizeof(gone) - 1));
	assert_int_equal(dead_letters(r), 2);
	set_timer(r, "b/!", wb_str_n(gone, sizeof(gone) - 1));
	assert_int_equal(service_audited(s, "saga abandon refused"), 1);
	set_timer(r, "a/!", wb_str_n(retry, sizeof(retry) - 1));
	assert_int_equal(service_audited(s, "saga retry refused"), 1);
	assert_int_equal(dead_letters(r), 2);
	services_fini(r);
}

/* ---- tests: the service's own transactions ------------------------------- */

static void a_beginning_says_what_is_wrong_with_it(void **state)
{
	static wb_header many[MANY_HEADERS];
	static char bytes[KEEP_MAX + 1];
	const wb_event wrong_type = {.type = S("order.closed")};
	const wb_event heavy = {.type = S("order.placed"),
				.headers = many,
				.header_count = MANY_HEADERS};
	const wb_str large = wb_str_n(bytes, sizeof(bytes));
	const struct {
		const char *step;
		wb_str saga;
		const wb_event *event;
		wb_str undo;
		wb_code code;
		const char *text;
	} wrong[] = {
		{"place", WB_STR_NULL, &placed, WB_STR_NULL, WB_EINVAL,
		 "1 to 180 bytes"},
		{"place", wb_str_n(bytes, 181), &placed, WB_STR_NULL, WB_EINVAL,
		 "1 to 180 bytes"},
		{NULL, S("a"), &placed, WB_STR_NULL, WB_EINVAL, "no step of"},
		{"plaice", S("a"), &placed, WB_STR_NULL, WB_EINVAL,
		 "no step of"},
		{"pay", S("a"), &placed, WB_STR_NULL, WB_EINVAL, "no step of"},
		{"pack", S("a"), &placed, WB_STR_NULL, WB_EINVAL,
		 "cannot begin a saga"},
		{"place", S("a"), NULL, WB_STR_NULL, WB_EINVAL,
		 "the event is NULL"},
		{"place", S("a"), &placed, large, WB_EINVAL, "64 KiB"},
		{"place", S("a"), &wrong_type, WB_STR_NULL, WB_EINVAL,
		 "may not emit \"order.closed\""},
		{"place", S("a"), &heavy, WB_STR_NULL, WB_ELIMIT,
		 "1100 headers"}};
	services *r = rig_of(state);
	wb_error err = WB_ERROR_INIT;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(begin(r, wrong[i].step, wrong[i].saga,
				       wrong[i].event, wrong[i].undo, &err),
				 wrong[i].code);
		if (!strstr(err.text, wrong[i].text))
			fail_msg("not \"%s\", but \"%s\"", wrong[i].text,
				 err.text);
		wb_error_clear(&err);
	}
	assert_code(wb_flow_begin(NULL, NULL, "place", S("a"), &placed,
				  WB_STR_NULL, &err),
		    WB_EINVAL, err);
	assert_code(wb_flow_begin(r->all[SHOP].part, NULL, "place", S("a"),
				  &placed, WB_STR_NULL, &err),
		    WB_EINVAL, err);
	place(r, "a");
	assert_int_equal(begin(r, "place", S("a"), &placed, WB_STR_NULL, &err),
			 WB_EEXISTS);
	assert_int_equal(heard_of("order.placed", "a"), 1);
	services_fini(r);
}

static void a_completion_says_what_is_wrong_with_it(void **state)
{
	static char bytes[KEEP_MAX + 1];
	services *r = rig_of(state);
	wb_error err = WB_ERROR_INIT;
	wb_step_state is;
	MDB_dbi dbi;
	MDB_txn *txn;

	say(r, "pay.done", "a");
	assert_code(complete(r, "weigh", "a", NULL,
			     wb_str_n(bytes, sizeof(bytes)), &err),
		    WB_ELIMIT, err);
	assert_code(complete(r, "weight", "a", NULL, WB_STR_NULL, &err),
		    WB_EINVAL, err);
	assert_code(complete(r, "weigh", "b", NULL, WB_STR_NULL, &err),
		    WB_ENOTFOUND, err);
	/* It declares nothing that it may emit. */
	assert_int_equal(complete(r, "weigh", "a", &closed, WB_STR_NULL, &err),
			 WB_EINVAL);
	assert_non_null(strstr(err.text, "its row declares nothing"));
	wb_error_clear(&err);
	assert_int_equal(complete(r, "pack", "a", NULL, WB_STR_NULL, &err),
			 WB_ESTATE);
	assert_non_null(strstr(err.text, "is done, not pending"));
	wb_error_clear(&err);
	txn = service_begin(&r->all[SHOP], &dbi);
	assert_code(wb_flow_state(r->all[SHOP].part, txn, "pay", S("a"), &is,
				  NULL, &err),
		    WB_EINVAL, err);
	wb_store_abort(txn);
	assert_code(wb_flow_state(r->all[SHOP].part, NULL, "pack", S("a"), &is,
				  NULL, &err),
		    WB_EINVAL, err);
	services_fini(r);
}

/* Its own key and correlation stay; what it says of a saga does not. */
static void what_begins_a_saga_may_have_attributes_of_its_own(void **state)
{
	const wb_header headers[] = {{S("tenant"), S("t1")},
				     {S("wbsaga"), S("another")}};
	const wb_event e = {.type = S("order.placed"),
			    .key = S("customer 3"),
			    .correlation_id = S("web 17"),
			    .headers = headers,
			    .header_count = 2};
	services *r = rig_of(state);
	wb_error err = WB_ERROR_INIT;

	assert_ok(begin(r, "place", S("a"), &e, S("an undo"), &err), err);
	assert_int_equal(heard_of("order.placed", "a"), 1);
	assert_int_equal(heard_of("order.placed", "another"), 0);
	say(r, "pay.failed", "a");
	assert_saga(r, "a", WB_SAGA_COMPLETED, "");
	services_fini(r);
}

/* ---- tests: declarations ------------------------------------------------- */

static void a_part_that_is_wrong_is_refused(void **state)
{
	const wb_flow_binding other[][2] = {
		{{"packs", on_pack, NULL}},
		{{NULL, on_pack, NULL}},
		{{"pay", on_pack, NULL}},
		{{"pack", on_pack, NULL}, {"pack", on_pack, NULL}},
		{{"pack", on_pack, NULL}},
		{{"pack", NULL, NULL}}};
	static const char *const texts[] = {
		"is no step of service",  "is no step of service",
		"is no step of service",  "bound twice",
		"has no function to run", "has no function to run"};
	const wb_flow_part good = part_of(&played);
	wb_flow_part wrong[] = {good, good, good, good, good};
	test_place *place = *state;
	wb_store_options so = test_store_options();
	wb_error err = WB_ERROR_INIT;
	wb_choreography *c = NULL;
	wb_store *store;

	so.service = "shop";
	assert_ok(wb_store_create(place->store, &so, &err), err);
	assert_ok(wb_store_open(place->store, &so, &store, &err), err);
	wrong[0].size = 0;
	wrong[1].service = NULL;
	wrong[2].bindings = NULL;
	wrong[3].flow = NULL;
	wrong[4].service = "nobody";
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_code(wb_choreography_open(store, &wrong[i], &c, &err),
			    WB_EINVAL, err);
	assert_code(wb_choreography_open(store, NULL, &c, &err), WB_EINVAL,
		    err);
	assert_code(wb_choreography_open(NULL, &good, &c, &err), WB_EINVAL,
		    err);
	for (size_t i = 0; i < sizeof(other) / sizeof(other[0]); i++) {
		wb_flow_part p = good;

		p.bindings = other[i];
		p.count = i == 3 ? 2 : 1;
		assert_int_equal(wb_choreography_open(store, &p, &c, &err),
				 WB_EINVAL);
		if (!strstr(err.text, texts[i]))
			fail_msg("not \"%s\", but \"%s\"", texts[i], err.text);
		wb_error_clear(&err);
	}
	assert_null(c);
	assert_ok(wb_choreography_open(store, &good, &c, &err), err);
	wb_choreography_close(c);
	wb_choreography_close(NULL);
	wb_store_close(store);
}

/* ---- a flow that was changed --------------------------------------------- */

static wb_code is_busy(wb_call *call, wb_error *err)
{
	(void)call;
	return wb_retry(err, "the shelf is busy");
}

/* It waits to be tried again under the former flow. */
static void an_event_that_the_flow_no_longer_names_is_passed_by(void **state)
{
	static const wb_reaction fewer[] = {
		{"shop", "place", NULL, "order.placed", .keeps = true},
		{"bank", "pay", "order.placed", .keeps = true}};
	static const wb_flow later = {sizeof(later), "order", fewer,
				      sizeof(fewer) / sizeof(fewer[0]), 86400};
	services *r = rig_of(state);
	service *s = &r->all[SHOP];
	unsigned before;

	played.pack = is_busy;
	say(r, "pay.done", "s-1");
	before = played.packed;
	assert_true(before > 0);
	assert_int_equal(wb_worker_get_stat(s->worker).waiting, 1);
	service_kill(s);
	part.flow = &later;
	part.count = 0;
	service_start(r, SHOP);
	fake_clock_advance_us(&r->clock, HOUR_US);
	services_rest(r);
	assert_int_equal(wb_worker_get_stat(s->worker).waiting, 0);
	assert_int_equal(wb_worker_get_stat(s->worker).dead, 0);
	assert_int_equal(played.packed, before);
	services_fini(r);
}

int main(void)
{
#define T(name)                                                                \
	cmocka_unit_test_setup_teardown(name, test_place_setup,                \
					test_place_teardown)
	const struct CMUnitTest tests[] = {
		T(an_event_that_the_flow_no_longer_names_is_passed_by),
		T(a_step_that_is_pending_is_abandoned_and_may_yet_end),
		T(an_order_that_comes_too_late_is_refused),
		T(what_is_no_order_is_a_dead_letter),
		T(a_beginning_says_what_is_wrong_with_it),
		T(a_completion_says_what_is_wrong_with_it),
		T(what_begins_a_saga_may_have_attributes_of_its_own),
		T(a_part_that_is_wrong_is_refused),
	};

	return cmocka_run_group_tests(tests, test_places_in_memory, NULL);
}
