/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A participant alone with the worker: commands come in whatever shape and
 * order, and what it did and answered is counted.
 */
#include "tests/support/testing.h"

#include <stdlib.h>

#include <waybill/choreography.h>
#include <waybill/participant.h>
#include <waybill/saga.h>
#include <waybill/test.h>

#include "lib/base/text.h"

#define HOUR_US (INT64_C(3600) * 1000000)

enum { KEEP_MAX = 64 * 1024 };

/* How the next call ends, and how many there were. */
typedef struct play {
	wb_code (*does)(wb_call *call, wb_error *err);
	int done, undone;
	char kept[32]; /* what the last undo saw */
	char token[WB_REPLY_TOKEN_MAX + 1];
} play;

static play *play_of(wb_call *call)
{
	return wb_call_handler(call)->ctx;
}

static wb_code on_block(wb_call *call, const wb_event *command, wb_error *err)
{
	play *p = play_of(call);

	(void)command;
	p->done++;
	return p->does ? p->does(call, err) : WB_OK;
}

static wb_code on_unblock(wb_call *call, const wb_event *command, wb_error *err)
{
	play *p = play_of(call);
	wb_str kept = wb_command_kept(call);

	(void)command;
	assert_true(wb_str_eq(wb_command_step(call), S("block")));
	snprintf(p->kept, sizeof(p->kept), "%.*s", (int)kept.len, kept.ptr);
	p->undone++;
	return p->does ? p->does(call, err) : WB_OK;
}

static const wb_command commands[] = {
	{"parking.block", "parking.unblock", "parking.status", on_block,
	 on_unblock},
	{"parking.reserve", NULL, NULL, on_block, NULL}};

/* ---- the rig ------------------------------------------------------------- */

typedef struct rig {
	play play;
	wb_participant participant;
	const wb_handler *handler;
	wb_worker_options worker;
	wb_test *test;
	size_t seen; /* replies */
	wb_error err;
} rig;

static rig *rig_new(uint64_t keep_s)
{
	wb_test_options options = WB_TEST_OPTIONS_INIT;
	rig *r = calloc(1, sizeof(*r));

	assert_non_null(r);
	r->participant = (wb_participant)WB_PARTICIPANT_INIT;
	r->participant.name = "parking";
	r->participant.commands = commands;
	r->participant.count = 2;
	r->participant.keep_s = keep_s;
	r->participant.backoff_max_ms = 30000;
	r->participant.ctx = &r->play;
	assert_ok(wb_participant_handler(&r->participant, &r->handler, &r->err),
		  r->err);
	r->worker = (wb_worker_options)WB_WORKER_OPTIONS_INIT;
	r->worker.exchange = r->worker.commands = "events";
	options.worker = &r->worker;
	assert_ok(wb_test_new(&r->handler, 1, &options, &r->test, &r->err),
		  r->err);
	return r;
}

static void rig_free(rig *r)
{
	wb_test_free(r->test);
	wb_participant_handler_free(r->handler);
	free(r);
}

static void rig_run(rig *r)
{
	assert_ok(wb_test_run(r->test, &r->err), r->err);
}

/* An attribute that is NULL is not there. */
typedef struct told {
	const char *saga, *step, *epoch;
	int64_t wait_us; /* until its deadline; 0: none */
	bool unanswered;
} told;

static void tell_as(rig *r, const char *type, const told *t)
{
	char deadline[WBI_TIME_TEXT_MAX];
	wb_header headers[4];
	wb_event e = {.type = wb_str_from(type),
		      .reply_to = t->unanswered ? WB_STR_NULL : S("booking"),
		      .headers = headers};
	size_t len =
		wbi_time_format(wb_test_now_us(r->test) + t->wait_us, deadline);

	if (t->saga)
		headers[e.header_count++] =
			(wb_header){S("wbsaga"), wb_str_from(t->saga)};
	if (t->step)
		headers[e.header_count++] =
			(wb_header){S("wbstep"), wb_str_from(t->step)};
	if (t->epoch)
		headers[e.header_count++] =
			(wb_header){S("wbepoch"), wb_str_from(t->epoch)};
	if (t->wait_us)
		headers[e.header_count++] =
			(wb_header){S("wbdeadline"), wb_str_n(deadline, len)};
	assert_ok(wb_test_given(r->test, &e, &r->err), r->err);
	rig_run(r);
}

static void tell(rig *r, const char *type, const char *saga, const char *epoch)
{
	const told t = {.saga = saga, .step = "block", .epoch = epoch};

	tell_as(r, type, &t);
}

static bool header_is(const wb_event *e, const char *name, const char *value)
{
	return wb_str_eq(wb_event_header(e, name), wb_str_from(value));
}

/* One more reply; "": without a reason. */
static const wb_event *assert_reply(rig *r, const char *outcome,
				    const char *reason)
{
	const wb_event *e = wb_test_emitted(r->test, r->seen++);

	assert_non_null(e);
	if (!header_is(e, "wboutcome", outcome) ||
	    !header_is(e, "wbreason", reason))
		fail_msg("\"%.*s\" (%.*s), not \"%s\" (%s)",
			 (int)wb_event_header(e, "wboutcome").len,
			 wb_event_header(e, "wboutcome").ptr,
			 (int)wb_event_header(e, "wbreason").len,
			 wb_event_header(e, "wbreason").ptr, outcome, reason);
	assert_true(header_is(e, "wbstep", "block"));
	return e;
}

static void assert_silent(rig *r)
{
	assert_null(wb_test_emitted(r->test, r->seen));
}

/* ---- what a command does ------------------------------------------------- */

static wb_code does_answer(wb_call *call, wb_error *err)
{
	if (wb_command_keep(call, S("a note"), err) != WB_OK ||
	    wb_command_keep(call, S("receipt 7"), err) != WB_OK)
		return err->code;
	return wb_reply(call, S("text/plain"), S("bay 9"), err);
}

static wb_code does_reject(wb_call *call, wb_error *err)
{
	wb_code code = wb_reply(call, S("text/plain"), S("try bay 8"), err);

	return code == WB_OK ? wb_reject(err, "taken\n%0300d", 7) : code;
}

static wb_code does_retry(wb_call *call, wb_error *err)
{
	(void)call;
	return wb_retry(err, "the gate does not answer");
}

static wb_code does_stop(wb_call *call, wb_error *err)
{
	(void)call;
	return wb_stop(err, "no gate is configured");
}

static wb_code does_later(wb_call *call, wb_error *err)
{
	return wb_reply_pending(call, play_of(call)->token, err);
}

/* ---- tests --------------------------------------------------------------- */

static void a_command_is_carried_out_once_and_answered_each_time(void **state)
{
	rig *r = rig_new(0);

	(void)state;
	r->play.does = does_answer;
	for (int i = 0; i < 3; i++) {
		const wb_event *e;

		tell(r, "parking.block", "s1", "1");
		e = assert_reply(r, "done", "");
		assert_true(wb_str_eq(e->type, S("parking.block.reply")));
		assert_true(wb_str_eq(e->data, S("bay 9")));
		assert_true(wb_str_eq(e->content_type, S("text/plain")));
		assert_true(header_is(e, "wbop", "do"));
	}
	assert_int_equal(r->play.done, 1);
	/* Who does not want to know is not told. */
	tell_as(r, "parking.block",
		&(told){"s1", "block", "1", .unanswered = true});
	assert_silent(r);
	tell(r, "parking.unblock", "s1", "2");
	assert_reply(r, "done", "");
	assert_string_equal(r->play.kept, "receipt 7");
	assert_int_equal(r->play.undone, 1);
	rig_free(r);
}

static void a_command_that_is_none_is_a_dead_letter(void **state)
{
	char saga[182], step[66];
	const told wrong[] = {{.step = "block"},
			      {.saga = saga, .step = "block"},
			      {.saga = "s1"},
			      {.saga = "s1", .step = step}};
	rig *r = rig_new(0);

	(void)state;
	memset(saga, 's', sizeof(saga));
	memset(step, 's', sizeof(step));
	saga[sizeof(saga) - 1] = step[sizeof(step) - 1] = '\0';
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		const wb_test_dead *dead;

		tell_as(r, "parking.block", &wrong[i]);
		dead = wb_test_dead_at(r->test, i);
		assert_non_null(dead);
		assert_string_equal(dead->reason, "rejected");
		assert_non_null(strstr(dead->text, "wbsaga (1 to 180"));
	}
	assert_silent(r);
	assert_int_equal(r->play.done, 0);
	rig_free(r);
}

static void an_older_epoch_is_late_and_a_strange_one_is_none(void **state)
{
	static const char *const strange[] = {"", "x", "1/", "0",
					      "99999999999"};
	rig *r = rig_new(0);

	(void)state;
	tell(r, "parking.block", "s1", "3");
	assert_reply(r, "done", "");
	tell(r, "parking.block", "s1", "2");
	assert_reply(r, "late", "of an older epoch");
	tell(r, "parking.unblock", "s1", "2");
	assert_reply(r, "late", "of an older epoch");
	for (size_t i = 0; i < sizeof(strange) / sizeof(strange[0]); i++) {
		tell(r, "parking.block", "s1", strange[i]);
		assert_reply(r, "done", "");
	}
	tell(r, "parking.unblock", "s1", "4");
	assert_reply(r, "done", "");
	tell(r, "parking.unblock", "s1", "3");
	assert_reply(r, "late", "of an older epoch");
	tell(r, "parking.unblock", "s1", NULL);
	assert_reply(r, "done", "");
	assert_int_equal(r->play.done, 1);
	assert_int_equal(r->play.undone, 1);
	rig_free(r);
}

static void past_its_deadline_only_an_undo_is_carried_out(void **state)
{
	const told late = {"s1", "block", "1", .wait_us = -1};
	const told in_time = {"s1", "block", "1", .wait_us = HOUR_US};
	rig *r = rig_new(0);

	(void)state;
	tell_as(r, "parking.block", &late);
	assert_reply(r, "late", "past its deadline");
	tell_as(r, "parking.status", &late);
	assert_reply(r, "late", "past its deadline");
	assert_int_equal(r->play.done, 0);
	tell_as(r, "parking.block", &in_time);
	assert_reply(r, "done", "");
	tell_as(r, "parking.unblock", &late);
	assert_reply(r, "done", "");
	assert_int_equal(r->play.undone, 1);
	rig_free(r);
}

static void a_refusal_is_remembered_with_its_reason(void **state)
{
	char reason[256];
	rig *r = rig_new(0);

	(void)state;
	/* As a header has room for it, and clean. */
	memset(reason, '0', sizeof(reason));
	memcpy(reason, "taken\\x0a", 9);
	reason[sizeof(reason) - 1] = '\0';
	r->play.does = does_reject;
	tell(r, "parking.block", "s1", "1");
	assert_true(wb_str_eq(assert_reply(r, "rejected", reason)->data,
			      S("try bay 8")));
	r->play.does = NULL;
	tell(r, "parking.block", "s1", "1");
	assert_true(wb_str_eq(assert_reply(r, "rejected", reason)->data,
			      S("try bay 8")));
	tell(r, "parking.status", "s1", "1");
	assert_reply(r, "rejected", reason);
	tell(r, "parking.unblock", "s1", "2");
	assert_reply(r, "done", "there was nothing to undo");
	assert_int_equal(r->play.done, 1);
	assert_int_equal(r->play.undone, 0);
	rig_free(r);
}

static void what_is_undone_stays_undone(void **state)
{
	rig *r = rig_new(0);

	(void)state;
	tell(r, "parking.unblock", "early", "2");
	assert_reply(r, "done", "there was nothing to undo");
	tell(r, "parking.block", "early", "1");
	assert_reply(r, "rejected", "undone before it came");
	tell(r, "parking.block", "s1", NULL);
	assert_reply(r, "done", "");
	tell(r, "parking.unblock", "s1", NULL);
	assert_reply(r, "done", "");
	tell(r, "parking.block", "s1", NULL);
	assert_reply(r, "rejected", "undone");
	assert_int_equal(r->play.done, 1);
	rig_free(r);
}

static void a_probe_says_what_became_of_it_and_forbids_the_rest(void **state)
{
	rig *r = rig_new(0);

	(void)state;
	tell(r, "parking.status", "never", "1");
	assert_reply(r, "rejected", "it never came");
	tell(r, "parking.block", "never", "1");
	assert_reply(r, "rejected", "undone before it came");
	r->play.does = does_answer;
	tell(r, "parking.block", "s1", "1");
	assert_reply(r, "done", "");
	tell(r, "parking.status", "s1", "1");
	assert_true(wb_str_eq(assert_reply(r, "done", "")->data, S("bay 9")));
	r->play.does = does_later;
	tell(r, "parking.block", "s2", "1");
	assert_reply(r, "pending", "");
	tell(r, "parking.status", "s2", "1");
	assert_true(header_is(assert_reply(r, "pending", ""), "wbop", "probe"));
	assert_int_equal(r->play.done, 2);
	rig_free(r);
}

static void an_undo_that_says_no_may_be_told_again(void **state)
{
	rig *r = rig_new(0);

	(void)state;
	tell(r, "parking.block", "s1", "1");
	assert_reply(r, "done", "");
	r->play.does = does_later; /* an undo cannot be answered later */
	tell(r, "parking.unblock", "s1", "2");
	assert_reply(r, "rejected", "an undo cannot be answered later");
	r->play.does = does_reject;
	tell(r, "parking.unblock", "s1", "2");
	assert_true(wb_str_eq(wb_test_emitted(r->test, r->seen++)->data,
			      S("try bay 8")));
	r->play.does = NULL;
	tell(r, "parking.unblock", "s1", "2");
	assert_reply(r, "done", "");
	assert_int_equal(r->play.undone, 3);
	rig_free(r);
}

static void a_command_is_tried_again_until_it_is_late(void **state)
{
	const told t = {"s1", "block", "1", .wait_us = HOUR_US / 4};
	rig *r = rig_new(0);

	(void)state;
	r->play.does = does_retry;
	tell_as(r, "parking.block", &t);
	assert_silent(r);
	assert_ok(wb_test_advance(r->test, HOUR_US, &r->err), r->err);
	assert_reply(r, "late", "past its deadline");
	assert_in_range(r->play.done, 10, 99);
	assert_null(wb_test_waiting_at(r->test, 0));
	assert_null(wb_test_dead_at(r->test, 0));
	rig_free(r);
}

/* A dead letter would keep all else that the saga asks of it waiting. */
static void who_has_tried_a_hundred_times_says_no(void **state)
{
	const told t = {"s1", "block", "1", .wait_us = 24 * HOUR_US};
	rig *r = rig_new(0);

	(void)state;
	r->play.does = does_retry;
	tell_as(r, "parking.block", &t);
	assert_ok(wb_test_advance(r->test, 10 * HOUR_US, &r->err), r->err);
	assert_reply(r, "rejected", "the gate does not answer");
	assert_in_range(r->play.done, 100, 101);
	r->play.does = NULL;
	tell(r, "parking.block", "s2", "1");
	assert_reply(r, "done", "");
	r->play.does = does_retry;
	tell(r, "parking.unblock", "s2", "2");
	assert_ok(wb_test_advance(r->test, 10 * HOUR_US, &r->err), r->err);
	assert_reply(r, "rejected", "the gate does not answer");
	assert_in_range(r->play.undone, 100, 101);
	assert_null(wb_test_dead_at(r->test, 0));
	/* It is still there to be undone. */
	r->play.does = NULL;
	tell(r, "parking.unblock", "s2", "2");
	assert_reply(r, "done", "");
	rig_free(r);
}

static void a_participant_that_stops_says_why(void **state)
{
	rig *r = rig_new(0);

	(void)state;
	tell(r, "parking.block", "s1", "1");
	assert_reply(r, "done", "");
	r->play.does = does_stop;
	tell(r, "parking.unblock", "s1", "1");
	assert_non_null(strstr(wb_test_stopped(r->test, "parking"),
			       "no gate is configured"));
	r->play.does = NULL;
	assert_ok(wb_test_crash(r->test, &r->err), r->err);
	rig_run(r);
	assert_reply(r, "done", "");
	rig_free(r);
}

static void a_barrier_is_forgotten_when_its_time_is_over(void **state)
{
	rig *r = rig_new(3600);

	(void)state;
	tell(r, "parking.block", "s1", "1");
	r->play.does = does_later;
	tell(r, "parking.block", "open", "1");
	assert_ok(wb_test_advance(r->test, 2 * HOUR_US, &r->err), r->err);
	tell(r, "parking.status", "other", "1");
	tell(r, "parking.block", "s1", "1");
	assert_int_equal(r->play.done, 3); /* nobody remembers the first */
	/* What is to be answered yet is not forgotten. */
	tell(r, "parking.block", "open", "1");
	assert_int_equal(r->play.done, 3);
	rig_free(r);
}

/* ---- later --------------------------------------------------------------- */

static wb_code later(rig *r, const char *token, bool done, wb_str type,
		     wb_str data)
{
	wb_store *store = wb_test_store(r->test);
	wb_code code;
	MDB_txn *txn;

	assert_ok(wb_store_begin(store, &txn, &r->err), r->err);
	code = wb_reply_later(store, txn, token, done, type, data, &r->err);
	if (code != WB_OK) {
		wb_store_abort(txn);
		return code;
	}
	assert_ok(wb_store_commit(store, txn, &r->err), r->err);
	rig_run(r);
	return WB_OK;
}

static void who_is_answered_later_hears_it_once(void **state)
{
	const told unanswered = {"s3", "block", "1", .unanswered = true};
	const wb_event *e;
	rig *r = rig_new(0);

	(void)state;
	r->play.does = does_later;
	tell(r, "parking.block", "s1", "7");
	assert_reply(r, "pending", "");
	assert_string_equal(r->play.token, "block/s1");
	assert_ok(later(r, r->play.token, true, S("text/plain"), S("bay 9")),
		  r->err);
	e = assert_reply(r, "done", "");
	assert_true(wb_str_eq(e->data, S("bay 9")));
	assert_true(header_is(e, "wbepoch", "7"));
	assert_code(later(r, r->play.token, true, WB_STR_NULL, WB_STR_NULL),
		    WB_ESTATE, r->err);
	tell(r, "parking.block", "s2", "1");
	assert_reply(r, "pending", "");
	assert_ok(later(r, r->play.token, false, WB_STR_NULL, WB_STR_NULL),
		  r->err);
	assert_reply(r, "rejected", "");
	tell_as(r, "parking.block", &unanswered);
	assert_ok(later(r, r->play.token, true, WB_STR_NULL, WB_STR_NULL),
		  r->err);
	assert_silent(r);
	tell(r, "parking.block", "s4", "1");
	assert_reply(r, "pending", "");
	r->play.does = NULL;
	tell(r, "parking.unblock", "s4", "2");
	assert_reply(r, "done", "");
	assert_int_equal(later(r, "block/s4", true, WB_STR_NULL, WB_STR_NULL),
			 WB_ESTATE);
	assert_non_null(strstr(r->err.text, "take back what was done"));
	rig_free(r);
}

static void a_token_that_is_none_is_refused(void **state)
{
	static char bytes[KEEP_MAX + 1], saga[200], step[80];
	const wb_str large = wb_str_n(bytes, sizeof(bytes));
	const struct {
		const char *token;
		wb_str type, data;
		wb_code code;
	} wrong[] = {{NULL, WB_STR_NULL, WB_STR_NULL, WB_EINVAL},
		     {"block", WB_STR_NULL, WB_STR_NULL, WB_EINVAL},
		     {"block/s1", wb_str_n(bytes, 256), WB_STR_NULL, WB_EINVAL},
		     {"block/s1", WB_STR_NULL, large, WB_EINVAL},
		     {"/s1", WB_STR_NULL, WB_STR_NULL, WB_ENOTFOUND},
		     {"block/", WB_STR_NULL, WB_STR_NULL, WB_ENOTFOUND},
		     {saga, WB_STR_NULL, WB_STR_NULL, WB_ENOTFOUND},
		     {step, WB_STR_NULL, WB_STR_NULL, WB_ENOTFOUND},
		     {"block/s1", WB_STR_NULL, WB_STR_NULL, WB_ENOTFOUND}};
	rig *r = rig_new(0);

	(void)state;
	snprintf(saga, sizeof(saga), "block/%0181d", 1);
	snprintf(step, sizeof(step), "%065d/s1", 1);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_code(later(r, wrong[i].token, true, wrong[i].type,
				  wrong[i].data),
			    wrong[i].code, r->err);
	assert_code(wb_reply_later(NULL, NULL, "a/b", true, WB_STR_NULL,
				   WB_STR_NULL, &r->err),
		    WB_EINVAL, r->err);
	rig_free(r);
}

/* ---- misuse -------------------------------------------------------------- */

static wb_code does_too_much(wb_call *call, wb_error *err)
{
	static const char bytes[KEEP_MAX + 1];
	const wb_str large = wb_str_n(bytes, sizeof(bytes));

	assert_code(wb_command_keep(call, large, err), WB_ELIMIT, *err);
	assert_code(wb_reply(call, WB_STR_NULL, large, err), WB_ELIMIT, *err);
	assert_code(wb_reply(call, wb_str_n(bytes, 256), S("x"), err),
		    WB_ELIMIT, *err);
	return wb_reply(call, WB_STR_NULL, wb_str_n(bytes, KEEP_MAX), err);
}

static void more_than_a_barrier_holds_is_refused(void **state)
{
	rig *r = rig_new(0);

	(void)state;
	r->play.does = does_too_much;
	tell(r, "parking.block", "s1", "1");
	assert_int_equal(assert_reply(r, "done", "")->data.len, KEEP_MAX);
	rig_free(r);
}

/* As in a module that has sagas and a part in a flow, too. */
static wb_code does_as_others(wb_call *call, wb_error *err)
{
	const wb_event e = {.type = S("slot.blocked")};

	assert_int_equal(wb_saga_id(call).len, 0);
	assert_int_equal(wb_saga_data(call).len, 0);
	assert_int_equal(wb_saga_reason(call).len, 0);
	assert_code(wb_saga_set(call, S("x"), err), WB_EINVAL, *err);
	assert_int_equal(wb_flow_saga(call).len, 0);
	assert_int_equal(wb_flow_kept(call).len, 0);
	assert_int_equal(wb_flow_undoing(call), WB_STEP_NONE);
	assert_code(wb_flow_emit(call, &e, err), WB_EINVAL, *err);
	assert_code(wb_flow_refusal(call, S("a"), S("b"), err), WB_EINVAL,
		    *err);
	assert_code(wb_flow_keep(call, S("x"), err), WB_EINVAL, *err);
	assert_code(wb_flow_pending(call, err), WB_EINVAL, *err);
	return WB_OK;
}

static void a_call_of_a_command_is_none_of_a_saga_or_a_flow(void **state)
{
	char token[WB_REPLY_TOKEN_MAX + 1];
	rig *r = rig_new(0);

	(void)state;
	r->play.does = does_as_others;
	tell(r, "parking.block", "s1", "1");
	assert_reply(r, "done", "");
	/* And outside of any call there is no command. */
	assert_int_equal(wb_command_saga(NULL).len, 0);
	assert_int_equal(wb_command_step(NULL).len, 0);
	assert_int_equal(wb_command_kept(NULL).len, 0);
	assert_code(wb_reply(NULL, S("a"), S("b"), &r->err), WB_EINVAL, r->err);
	assert_code(wb_command_keep(NULL, S("a"), &r->err), WB_EINVAL, r->err);
	assert_code(wb_reply_pending(NULL, token, &r->err), WB_EINVAL, r->err);
	rig_free(r);
}

static void what_is_declared_wrongly_is_said(void **state)
{
	static char large[251];
	const wb_command bad[][1] = {{{NULL, NULL, NULL, on_block, NULL}},
				     {{large, NULL, NULL, on_block, NULL}},
				     {{"a", large, NULL, on_block, on_unblock}},
				     {{"a", NULL, large, on_block, NULL}},
				     {{"a", NULL, NULL, NULL, NULL}},
				     {{"a", "b", NULL, on_block, NULL}},
				     {{"a", NULL, NULL, on_block, on_unblock}}};
	const wb_participant good = {.size = sizeof(good),
				     .name = "p",
				     .commands = commands,
				     .count = 1};
	wb_participant wrong[] = {good, good, good, good, good};
	const wb_handler *handler = NULL;
	wb_error err = WB_ERROR_INIT;

	(void)state;
	memset(large, 'a', sizeof(large) - 1);
	assert_code(wb_participant_handler(NULL, &handler, &err), WB_EINVAL,
		    err);
	wrong[0].size = 0;
	wrong[1].name = NULL;
	wrong[2].commands = NULL;
	wrong[3].count = 0;
	wrong[4].count = 257;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_code(wb_participant_handler(&wrong[i], &handler, &err),
			    WB_EINVAL, err);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		wb_participant p = good;

		p.commands = bad[i];
		assert_int_equal(wb_participant_handler(&p, &handler, &err),
				 WB_EINVAL);
		assert_non_null(strstr(err.text, "participant p: command 1"));
		wb_error_clear(&err);
	}
	assert_null(handler);
	wb_participant_handler_free(NULL);
}

int main(void)
{
#define T(name) cmocka_unit_test(name)
	const struct CMUnitTest tests[] = {
		T(a_command_is_carried_out_once_and_answered_each_time),
		T(a_command_that_is_none_is_a_dead_letter),
		T(an_older_epoch_is_late_and_a_strange_one_is_none),
		T(past_its_deadline_only_an_undo_is_carried_out),
		T(a_refusal_is_remembered_with_its_reason),
		T(what_is_undone_stays_undone),
		T(a_probe_says_what_became_of_it_and_forbids_the_rest),
		T(an_undo_that_says_no_may_be_told_again),
		T(a_command_is_tried_again_until_it_is_late),
		T(who_has_tried_a_hundred_times_says_no),
		T(a_participant_that_stops_says_why),
		T(a_barrier_is_forgotten_when_its_time_is_over),
		T(who_is_answered_later_hears_it_once),
		T(a_token_that_is_none_is_refused),
		T(more_than_a_barrier_holds_is_refused),
		T(a_call_of_a_command_is_none_of_a_saga_or_a_flow),
		T(what_is_declared_wrongly_is_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
