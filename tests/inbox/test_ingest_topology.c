/* SPDX-License-Identifier: BSD-2-Clause */
/* What a refused declaration is told as: the text names the thing, what is
 * wrong with it and what to do, also when the broker's words are cut off. */
#include "tests/inbox/ingest_rig.h"

#include "inbox/ingest_internal.h"
#include "tests/support/testing.h"

enum { NOTHING = 100 };

/* Which declaration is of this name and kind. */
static uint32_t index_of(const wbi_ingest *ingest, wb_str name, int kind)
{
	wb_argument arguments[INGEST_ARGUMENTS_MAX];
	wb_declaration d;

	for (uint32_t i = 0; i < NOTHING; i++)
		if (wbi_ingest_declaration(ingest, i, arguments, &d) &&
		    wb_str_eq(d.name, name) && (int)d.kind == kind)
			return i;
	fail_msg("nothing is declared as '%.*s'", (int)name.len, name.ptr);
	return NOTHING;
}

static void assert_told(ingest_rig *rig, uint32_t index, uint16_t reply,
			const char *text, wb_code code, const char *word)
{
	wb_error err = WB_ERROR_INIT;
	wb_broker_event event = {.kind = WB_BROKER_DECLARE_FAILED,
				 .reply_code = reply,
				 .text = wb_str_from(text)};

	wb_error_set(&event.error, WB_EIO, 0, __func__, "%s", text);
	assert_int_equal(wbi_ingest_explain(rig->ingest, index, &event, &err),
			 code);
	if (!strstr(err.text, word))
		fail_msg("'%s' is not in: %s", word, err.text);
}

static uint32_t owner_of(ingest_rig *rig)
{
	return index_of(rig->ingest, S("q.owner"), WB_TOPOLOGY_EXCHANGE);
}

static void a_right_that_is_wanting_is_named(void **state)
{
	test_place *place = *state;
	ingest_rig rig;

	ingest_rig_init(&rig, place->store, 1);
	ingest_rig_start(&rig);
	assert_told(&rig, owner_of(&rig), 403, "access refused", WB_EACCESS,
		    "grant configure and read");
	assert_told(
		&rig, index_of(rig.ingest, S("events"), WB_TOPOLOGY_EXCHANGE),
		403, "access refused", WB_EACCESS, "check or never: access");
	ingest_rig_kill(&rig);
	rig.options.declare = WB_DECLARE_CHECK;
	ingest_rig_start(&rig);
	assert_told(&rig, 0, 403, "access refused", WB_EACCESS,
		    "check or never");
	ingest_rig_fini(&rig);
}

static void a_difference_is_told_as_far_as_the_broker_does(void **state)
{
	static const char *const whole =
		"inequivalent arg 'x-delivery-limit' for queue 'q': received "
		"the value '20' of type 'long' but current is the value '5' "
		"of type 'long'";
	test_place *place = *state;
	ingest_rig rig;
	uint32_t queue, events;

	ingest_rig_init(&rig, place->store, 1);
	ingest_rig_start(&rig);
	queue = index_of(rig.ingest, S("q"), WB_TOPOLOGY_QUEUE);
	events = index_of(rig.ingest, S("events"), WB_TOPOLOGY_EXCHANGE);
	assert_told(&rig, queue, 406, whole, WB_ESTATE,
		    "set delivery_limit to 5");
	assert_told(&rig, queue, 406,
		    "inequivalent arg 'x-queue-type' for queue 'q': received "
		    "'quorum' bu",
		    WB_ESTATE,
		    "x-queue-type is something else at the broker and quorum");
	assert_told(&rig, queue, 406, "inequivalent arg 'durable' for que",
		    WB_ESTATE, "durable is something else");
	assert_told(&rig, events, 406,
		    "inequivalent arg 'type' for exchange 'events': received "
		    "topic but current is fanout",
		    WB_ESTATE, "exchange 'events': type is fanout");
	/* No difference at all, or one that has no name. */
	assert_told(&rig, queue, 406, "something else", WB_EIO,
		    "something else");
	assert_told(&rig, queue, 406, "inequivalent arg ", WB_EIO,
		    "inequivalent arg");
	ingest_rig_fini(&rig);
}

static void an_owner_that_is_another_is_told_as_far_as_it_is_known(void **state)
{
	test_place *place = *state;
	ingest_rig rig;

	ingest_rig_init(&rig, place->store, 1);
	ingest_rig_start(&rig);
	assert_told(&rig, owner_of(&rig), 406,
		    "inequivalent arg 'alternate-exchange' for exchange "
		    "'q.owner': received 'me' but cur",
		    WB_EMISMATCH, "owner unknown");
	assert_told(&rig, owner_of(&rig), 406,
		    "inequivalent arg 'alternate-exchange' for exchange "
		    "'q.owner': received 'me' but current is none",
		    WB_EMISMATCH, "names no store");
	/* What else is wrong with it is nobody's queue. */
	assert_told(&rig, owner_of(&rig), 406,
		    "inequivalent arg 'type' for exchange 'q.owner': received "
		    "'fanout' but current is 'direct'",
		    WB_ESTATE, "type is direct");
	ingest_rig_kill(&rig);
	rig.options.declare = WB_DECLARE_CHECK;
	ingest_rig_start(&rig);
	assert_told(&rig, 0, 406,
		    "inequivalent arg 'alternate-exchange' for exchange "
		    "'events': received 'me' but current is 'you'",
		    WB_ESTATE, "alternate-exchange is you");
	ingest_rig_fini(&rig);
}

static void what_is_missing_is_told_only_where_it_is_checked(void **state)
{
	static const char *const commands[] = {"pay", NULL};
	test_place *place = *state;
	ingest_rig rig;

	ingest_rig_init(&rig, place->store, 1);
	rig.options.bind_commands = commands;
	rig.options.commands = "orders";
	ingest_rig_start(&rig);
	assert_told(&rig, owner_of(&rig), 404, "no exchange", WB_EIO,
		    "no exchange");
	ingest_rig_kill(&rig);
	rig.options.declare = WB_DECLARE_CHECK;
	ingest_rig_start(&rig);
	assert_told(&rig, index_of(rig.ingest, S("q"), WB_TOPOLOGY_QUEUE), 404,
		    "no queue", WB_ESTATE, "waybill setup");
	assert_told(&rig,
		    index_of(rig.ingest, S("orders"), WB_TOPOLOGY_EXCHANGE),
		    404, "no exchange", WB_ESTATE,
		    "by which the commands for participants come");
	ingest_rig_fini(&rig);
}

static void any_other_refusal_is_passed_on(void **state)
{
	wb_broker_event event = {.kind = WB_BROKER_DECLARE_FAILED,
				 .reply_code = 540};
	wb_error err = WB_ERROR_INIT;
	test_place *place = *state;
	ingest_rig rig;

	ingest_rig_init(&rig, place->store, 1);
	ingest_rig_start(&rig);
	/* WB_EMISMATCH says that the queue is another store's, only that. */
	wb_error_set(&event.error, WB_EMISMATCH, 0, __func__, "odd");
	assert_code(wbi_ingest_explain(rig.ingest, 0, &event, &err), WB_ESTATE,
		    err);
	event.error = (wb_error)WB_ERROR_INIT;
	assert_code(wbi_ingest_explain(rig.ingest, 0, &event, &err), WB_ESTATE,
		    err);
	assert_told(&rig, 0, 541, "internal", WB_EIO, "internal");
	ingest_rig_fini(&rig);
}

static void what_cannot_be_taken_from_is_refused(void **state)
{
	char name[INGEST_QUEUE_MAX + 2];
	test_place *place = *state;
	wb_error err = WB_ERROR_INIT;
	wb_worker_options o;
	wbi_ingest *ingest;
	ingest_rig rig;

	memset(name, 'q', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	ingest_rig_init(&rig, place->store, 1);
	ingest_rig_start(&rig);
	o = rig.options;
	for (int i = 0; i < 6; i++) {
		const char *const queues[] = {NULL, "", name, "q", "q", "q"};

		o.queue = queues[i];
		o.prefetch = i == 3 ? 0 : i == 4 ? 65536 : 1;
		o.batch_max = i == 5 ? 0 : 1;
		assert_code(wbi_ingest_open(rig.store, rig.broker, &o, &ingest,
					    &err),
			    WB_EINVAL, err);
	}
	ingest_rig_fini(&rig);
}

int main(void)
{
#define T(name)                                                                \
	cmocka_unit_test_setup_teardown(name, test_place_setup,                \
					test_place_teardown)
	const struct CMUnitTest tests[] = {
		T(a_right_that_is_wanting_is_named),
		T(a_difference_is_told_as_far_as_the_broker_does),
		T(an_owner_that_is_another_is_told_as_far_as_it_is_known),
		T(what_is_missing_is_told_only_where_it_is_checked),
		T(any_other_refusal_is_passed_on),
		T(what_cannot_be_taken_from_is_refused),
	};

	return cmocka_run_group_tests(tests, test_places_in_memory, NULL);
}
