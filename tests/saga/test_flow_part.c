/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One service's part in a flow, alone with the worker: what it is given comes
 * in any order, twice, or never; what its bindings do is wrong.
 */
#include "tests/support/testing.h"

#include <waybill/choreography.h>
#include <waybill/participant.h>

#include "lib/journal/saga_rows.h"
#include "tests/saga/flow_rig.h"
#include "tests/support/place.h"

/* ---- what a binding does ------------------------------------------------- */

static wb_code retries(wb_call *call, wb_error *err)
{
	return play_of(call)->packed < 3 ? wb_retry(err, "the shelf is busy")
					 : packs(call, err);
}

static wb_code rejects(wb_call *call, wb_error *err)
{
	(void)call;
	return wb_reject(err, "it cannot be closed");
}

static wb_code closes_with_a_note(wb_call *call, wb_error *err)
{
	wb_code code = wb_flow_keep(call, S("box 3"), err);

	return code == WB_OK ? wb_flow_pending(call, err) : code;
}

/* All that a binding must not do; it is told, and goes on. */
static wb_code misbehaves(wb_call *call, wb_error *err)
{
	static wb_header many[MANY_HEADERS];
	static const char bytes[1024 * 1024 + 1];
	const wb_str large = wb_str_n(bytes, sizeof(bytes));
	const wb_event foreign = {.type = S("pay.done")};
	const wb_event unknown = {.type = S("order.unheard-of")};
	const wb_event heavy = {.type = S("order.packed"),
				.headers = many,
				.header_count = MANY_HEADERS};

	assert_code(wb_flow_emit(call, NULL, err), WB_EINVAL, *err);
	assert_code(wb_flow_emit(call, &heavy, err), WB_EINVAL, *err);
	assert_code(wb_flow_emit(call, &unknown, err), WB_EINVAL, *err);
	assert_int_equal(wb_flow_emit(call, &foreign, err), WB_EINVAL);
	assert_non_null(strstr(err->text, "declares order.packed|order.split"));
	wb_error_clear(err);
	assert_code(wb_flow_pending(call, err), WB_EINVAL, *err);
	assert_code(wb_flow_refusal(call, S("a"), large, err), WB_ELIMIT, *err);
	assert_code(wb_flow_refusal(call, wb_str_n(bytes, 256), S("b"), err),
		    WB_ELIMIT, *err);
	assert_code(wb_flow_keep(call, wb_str_n(bytes, KEEP_MAX + 1), err),
		    WB_ELIMIT, *err);
	/* Nor is it a command, or a step of a saga that is conducted. */
	assert_code(wb_reply(call, S("a"), S("b"), err), WB_EINVAL, *err);
	assert_int_equal(wb_saga_data(call).len, 0);
	return WB_OK;
}

/* ---- tests: what comes --------------------------------------------------- */

static void a_step_runs_once_and_says_what_it_declares(void **state)
{
	services *r = rig_of(state);

	played.pack = packs;
	place(r, "a");
	say(r, "pay.done", "a");
	say(r, "pay.done", "a");
	assert_int_equal(played.packed, 1);
	assert_int_equal(heard_of("order.packed", "a"), 1);
	assert_int_equal(heard_of("order.split", "a"), 1);
	assert_log(r, "a", 3, "pack", "none -> done",
		   "order.packed, order.split");
	assert_log(r, "a", 5, "pack", "done -> the same", "");
	say(r, "ship.failed", "a");
	say(r, "ship.failed", "a");
	assert_int_equal(played.unpacked, 1);
	assert_string_equal(played.kept, "shelf 7");
	assert_int_equal(played.undoing, WB_STEP_DONE);
	assert_step(r, "pack", "a", WB_STEP_UNDONE);
	say(r, "pay.done", "a");
	assert_int_equal(played.packed, 1);
	services_fini(r);
}

static void a_refusal_is_told_in_all_its_words_and_leaves_nothing(void **state)
{
	services *r = rig_of(state);

	played.pack = refuses;
	place(r, "a");
	say(r, "pay.done", "a");
	assert_int_equal(heard_of("pack.refused", "a"), 1);
	assert_int_equal(heard_of("pack.told", "a"), 1);
	assert_int_equal(heard_of("order.packed", "a"), 0);
	assert_string_equal(last_heard(), "sold out");
	assert_log(r, "a", 3, "pack", "none -> refused",
		   "pack.refused, pack.told");
	assert_step(r, "pack", "a", WB_STEP_REFUSED);
	/* There is nothing to be undone of it. */
	say(r, "ship.failed", "a");
	assert_int_equal(played.unpacked, 0);
	assert_step(r, "pack", "a", WB_STEP_REFUSED);
	services_fini(r);
}

static void an_undo_that_comes_first_forbids_its_step(void **state)
{
	services *r = rig_of(state);

	say(r, "ship.failed", "a");
	say(r, "pay.done", "a");
	assert_int_equal(played.packed, 0);
	assert_int_equal(played.unpacked, 0);
	assert_log(r, "a", 1, "unpack",
		   "nothing to undo -> its action is "
		   "forbidden",
		   "");
	assert_log(r, "a", 2, "pack", "undone before it came -> refused", "");
	say(r, "ship.failed", "a");
	assert_log(r, "a", 4, "unpack", "nothing to undo -> the same", "");
	services_fini(r);
}

static void a_step_that_wants_it_is_tried_again(void **state)
{
	services *r = rig_of(state);

	played.pack = retries;
	place(r, "a");
	say(r, "pay.done", "a");
	for (int i = 0; i < 10; i++) {
		fake_clock_advance_us(&r->clock, 10 * INT64_C(1000000));
		services_rest(r);
	}
	assert_int_equal(heard_of("order.packed", "a"), 1);
	assert_int_equal(dead_letters(r), 0);
	services_fini(r);
}

static void who_may_not_refuse_and_does_is_a_dead_letter(void **state)
{
	services *r = rig_of(state);

	played.close = rejects;
	say(r, "ship.done", "a");
	assert_int_equal(dead_letters(r), 1);
	assert_step(r, "close", "a", WB_STEP_NONE);
	services_fini(r);
}

static void an_event_belongs_to_the_saga_that_it_names(void **state)
{
	char saga[182];
	services *r = rig_of(state);

	memset(saga, 's', sizeof(saga));
	saga[sizeof(saga) - 1] = '\0';
	say_as(r, "pay.done", "", "b");
	assert_step(r, "pack", "b", WB_STEP_DONE);
	say_as(r, "pay.done", "c", "d");
	assert_step(r, "pack", "c", WB_STEP_DONE);
	assert_step(r, "pack", "d", WB_STEP_NONE);
	assert_int_equal(dead_letters(r), 0);
	say_as(r, "pay.done", "", saga);
	assert_int_equal(dead_letters(r), 1);
	services_fini(r);
}

static void what_a_binding_must_not_do_it_is_told(void **state)
{
	services *r = rig_of(state);

	played.pack = misbehaves;
	place(r, "a");
	say(r, "pay.done", "a");
	assert_step(r, "pack", "a", WB_STEP_DONE);
	assert_int_equal(heard_of("order.packed", "a"), 0);
	services_fini(r);
}

/* ---- tests: time --------------------------------------------------------- */

static void what_is_not_completed_in_time_is_seen(void **state)
{
	services *r = rig_of(state);
	wb_error err = WB_ERROR_INIT;

	say(r, "pay.done", "a");
	assert_step(r, "weigh", "a", WB_STEP_PENDING);
	wait_hours(r, 2);
	assert_saga(r, "a", WB_SAGA_PARKED,
		    "weigh was not completed by service shop");
	/* What else comes changes nothing about that. */
	say(r, "pay.done", "a");
	assert_saga(r, "a", WB_SAGA_PARKED,
		    "weigh was not completed by service shop");
	assert_ok(complete(r, "weigh", "a", NULL, WB_STR_NULL, &err), err);
	assert_saga(r, "a", WB_SAGA_COMPLETED, "");
	services_fini(r);
}

static void of_two_waits_the_nearer_one_is_shown(void **state)
{
	services *r = rig_of(state);

	say(r, "ship.done", "a");
	place(r, "b");
	fake_clock_advance_us(&r->clock, HOUR_US / 2);
	place(r, "a");
	say(r, "ship.done", "b");
	assert_waits(r, "a", "close");
	assert_waits(r, "b", "place");
	fake_clock_advance_us(&r->clock, HOUR_US / 4 * 3);
	services_rest(r);
	assert_waits(r, "a", "place");
	assert_saga(r, "a", WB_SAGA_RUNNING, "");
	assert_saga(r, "b", WB_SAGA_PARKED,
		    "place waits for pay.done|pay.failed from service bank");
	services_fini(r);
}

static void who_stays_silent_is_spoken_for(void **state)
{
	services *r = rig_of(state);
	wb_error err = WB_ERROR_INIT;

	played.pack = packs;
	played.close = closes_with_a_note;
	say(r, "pay.done", "a");
	assert_ok(complete(r, "weigh", "a", NULL, WB_STR_NULL, &err), err);
	say(r, "ship.done", "a");
	wait_hours(r, 2);
	assert_int_equal(heard_of("order.lapsed", "a"), 1);
	assert_step(r, "close", "a", WB_STEP_UNDONE);
	assert_step(r, "pack", "a", WB_STEP_UNDONE);
	assert_string_equal(played.kept, "shelf 7");
	assert_saga(r, "a", WB_SAGA_COMPENSATED, "");
	assert_int_equal(complete(r, "close", "a", &closed, WB_STR_NULL, &err),
			 WB_ESTATE);
	assert_non_null(strstr(err.text, "is undone, not pending"));
	services_fini(r);
}

static wb_code on_expire(wb_call *call, const wb_event *event, wb_error *err)
{
	assert_null(event);
	assert_int_equal(wb_flow_undoing(call), WB_STEP_PENDING);
	assert_true(wb_str_eq(wb_flow_kept(call), S("box 3")));
	return wb_flow_refusal(call, WB_STR_NULL, S("too late"), err);
}

static void who_expires_may_say_more_of_it(void **state)
{
	services *r;

	bindings[3].expire = on_expire;
	r = rig_of(state);
	played.close = closes_with_a_note;
	say(r, "ship.done", "a");
	wait_hours(r, 2);
	bindings[3].expire = NULL;
	assert_int_equal(heard_of("order.lapsed", "a"), 1);
	assert_string_equal(last_heard(), "too late");
	services_fini(r);
}

static void a_wait_that_was_over_before_its_time_is_no_more(void **state)
{
	services *r = rig_of(state);
	wb_error err = WB_ERROR_INIT;

	say(r, "ship.done", "a");
	assert_step(r, "close", "a", WB_STEP_PENDING);
	assert_ok(complete(r, "close", "a", &closed, S("box 4"), &err), err);
	assert_int_equal(heard_of("order.closed", "a"), 1);
	wait_hours(r, 1);
	assert_int_equal(heard_of("order.lapsed", "a"), 0);
	assert_step(r, "close", "a", WB_STEP_DONE);
	say(r, "close.failed", "a");
	assert_string_equal(played.kept, "box 4");
	assert_step(r, "close", "a", WB_STEP_UNDONE);
	services_fini(r);
}

static void what_has_ended_is_forgotten_in_time(void **state)
{
	services *r = rig_of(state);
	wb_error err = WB_ERROR_INIT;

	assert_ok(begin(r, "place", S("a"), &placed, S("an undo"), &err), err);
	say(r, "pay.failed", "a");
	place(r, "open");
	wait_hours(r, 25);
	say(r, "pay.failed", "b");
	say(r, "pay.failed", "c");
	assert_step(r, "place", "a", WB_STEP_NONE);
	place(r, "a");
	services_fini(r);
}

static void a_timer_that_fits_nothing_does_nothing(void **state)
{
	static const char *const names[] = {"a/weighed", "a/pay", "a/pack",
					    "b/weigh",   "weigh", "/weigh",
					    "a/weigh"};
	services *r = rig_of(state);
	wb_error err = WB_ERROR_INIT;

	say(r, "pay.done", "a");
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		set_timer(r, names[i], S("12345678")); /* of another wait */
		set_timer(r, names[i], S("1234"));
	}
	assert_step(r, "weigh", "a", WB_STEP_PENDING);
	assert_saga(r, "a", WB_SAGA_RUNNING, "");
	assert_int_equal(dead_letters(r), 0);
	assert_ok(complete(r, "weigh", "a", NULL, WB_STR_NULL, &err), err);
	services_fini(r);
}

int main(void)
{
#define T(name)                                                                \
	cmocka_unit_test_setup_teardown(name, test_place_setup,                \
					test_place_teardown)
	const struct CMUnitTest tests[] = {
		T(a_step_runs_once_and_says_what_it_declares),
		T(a_refusal_is_told_in_all_its_words_and_leaves_nothing),
		T(an_undo_that_comes_first_forbids_its_step),
		T(a_step_that_wants_it_is_tried_again),
		T(who_may_not_refuse_and_does_is_a_dead_letter),
		T(an_event_belongs_to_the_saga_that_it_names),
		T(what_a_binding_must_not_do_it_is_told),
		T(what_is_not_completed_in_time_is_seen),
		T(of_two_waits_the_nearer_one_is_shown),
		T(who_stays_silent_is_spoken_for),
		T(who_expires_may_say_more_of_it),
		T(a_wait_that_was_over_before_its_time_is_no_more),
		T(what_has_ended_is_forgotten_in_time),
		T(a_timer_that_fits_nothing_does_nothing),
	};

	return cmocka_run_group_tests(tests, test_places_in_memory, NULL);
}
