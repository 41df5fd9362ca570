/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A read model is filled, keeps a key aside, is healed, built anew and flipped,
 * goes back and is flipped again; in steps, and inside a host's event loop. If
 * the projector stops, a new one is opened; if it is stuck, an operator lets it
 * go on. In the end the model is what one made anew is. And readers.
 */
#include <stdlib.h>

#include "lib/base/assert.h"
#include "tests/crash/crash_points.h"
#include "tests/crash/fail_points.h"
#include "tests/projections/rig.h"
#include "tests/support/fake_clock.h"

enum {
	MODEL_TURNS = 2000,
	MODEL_TURN_US = 100000,
	MODEL_IDLE = 10,
	MODEL_EVENTS = 12
};

/* ---- the model ----------------------------------------------------------- */

/* How many events each key has had; and a row while that is odd. */
enum { MODEL_COUNTS, MODEL_ODD };

static wb_code by_count(wb_index_keys *ret, wb_str key, wb_str value,
			wb_error *err)
{
	(void)key;
	return wb_index_key_add(ret, value, err);
}

static const wb_model_index count_indexes[] = {{"by_count", by_count}};
static const wb_model_table model_tables[] = {
	{"counts", "text/plain", count_indexes, 1}, {"odd", NULL, NULL, 0}};

static wb_code model_odd(wb_model *model, wb_str key, wb_error *err)
{
	wb_code code = wb_model_del(model, MODEL_ODD, key, err);

	if (code != WB_ENOTFOUND)
		return code;
	return wb_model_put(model, MODEL_ODD, key, S("odd"), err);
}

static wb_code model_apply(wb_model *model, const wb_event *event,
			   wb_error *err)
{
	rig *r = wb_model_projection(model)->ctx;
	char text[24];
	wb_str old = S("0");
	wb_code code = wb_model_get(model, MODEL_COUNTS, event->key, &old, err);

	if (code != WB_OK && code != WB_ENOTFOUND)
		return code;
	snprintf(text, sizeof(text), "%d", atoi(old.ptr) + 1);
	code = wb_model_put(model, MODEL_COUNTS, event->key,
			    wb_str_n(text, strlen(text) + 1), err);
	if (code == WB_OK)
		code = model_odd(model, event->key, err);
	if (code == WB_OK && wb_str_eq(event->data, S("poison")) && !r->mended)
		return wb_error_set(err, WB_EREJECTED, 0, __func__, "poison");
	return code;
}

static void model_init(rig *r, test_place *place, const char *dir)
{
	snprintf(place->dir, sizeof(place->dir), "%s", dir);
	snprintf(place->store, sizeof(place->store), "%s/store", dir);
	rig_init(r, place, WB_ON_ERROR_QUARANTINE_KEY);
	r->projection.tables = model_tables;
	r->projection.table_count = WBI_COUNT(model_tables);
	r->projection.apply = model_apply;
	rig_append_many(r, MODEL_EVENTS, 3);
}

/* ---- in steps ------------------------------------------------------------ */

static wb_code model_open(rig *r, wb_error *err)
{
	wb_code code = wb_projection_check(&r->projection, err);

	return code == WB_OK
		       ? wb_projector_open(r->store, &r->projection,
					   &r->options, &r->projector, err)
		       : code;
}

/* Twice, if it fails. */
static void model_open_again(rig *r)
{
	wb_error err = WB_ERROR_INIT;

	rig_close(r);
	if (fail_goes_on(model_open(r, &err), &err))
		return;
	err = (wb_error)WB_ERROR_INIT;
	assert_ok(model_open(r, &err), err);
}

/* As an operator would: twice, if it fails. */
static void model_ask(rig *r, const wb_projection_request *request, bool here)
{
	for (int i = 0; i < 2; i++) {
		wb_error why = WB_ERROR_INIT;
		wb_code code =
			here ? wb_projector_ask(r->projector, request, &why)
			     : wb_projection_ask(r->place->store, "things",
						 request, &why);

		if ((i > 0 && code == WB_EBUSY) || fail_goes_on(code, &why))
			return; /* asked for, and not durable: once is enough */
	}
	fail_msg("asked twice, failed twice");
}

static void model_look_on(rig *r)
{
	const wb_projection_request resume = {.size = sizeof(resume),
					      .verb = WB_PROJECTION_RESUME};
	wb_projector_stat stat = wb_projector_get_stat(r->projector);

	if (stat.state != WB_PROJECTOR_STUCK)
		return;
	fail_judge(stat.error.code, &stat.error);
	model_ask(r, &resume, true);
}

typedef wb_code model_turn(wb_projector *p, wb_error *err);

static wb_code turn_step(wb_projector *p, wb_error *err)
{
	return wb_projector_step(p, true, err);
}

static wb_code turn_dispatch(wb_projector *p, wb_error *err)
{
	int fd;
	wb_code code = wb_projector_fd(p, &fd, err);

	return code == WB_OK ? wb_projector_dispatch(p, err) : code;
}

static void model_turns(rig *r, fake_clock *clock, model_turn *turn)
{
	for (int i = 0, idle = 0; i < MODEL_TURNS && idle < MODEL_IDLE; i++) {
		wb_error why = WB_ERROR_INIT;

		if (!fail_goes_on(turn(r->projector, &why), &why))
			model_open_again(r);
		model_look_on(r);
		idle = wb_projector_get_stat(r->projector).idle ? idle + 1 : 0;
		fake_clock_advance_us(clock, MODEL_TURN_US);
	}
}

/* What the failing call was part of is over by now, so the rest must go well.
 */
static void model_end(rig *r, bool flipped)
{
	char model[33], fresh[33];

	fail_hold(true);
	if (!r->projector)
		rig_open(r);
	rig_settle(r);
	if (flipped && !fail_may_stop_one())
		assert_true(wb_projector_get_stat(r->projector).generation > 1);
	rig_digest(r, 0, model);
	rig_fresh_digest(r, fresh);
	assert_string_equal(model, fresh);
	rig_fini(r);
}

static wb_code model_do(const char *dir, model_turn *turn,
			void (*then)(rig *r, fake_clock *clock,
				     model_turn *turn),
			wb_error *err)
{
	test_place place;
	fake_clock clock;
	wb_code code;
	rig r;

	fail_hold(true);
	fake_clock_init(&clock);
	model_init(&r, &place, dir);
	r.options.clock = &clock.clock;
	fail_hold(false);
	code = model_open(&r, err);
	if (code == WB_OK)
		model_turns(&r, &clock, turn);
	if (code == WB_OK)
		then(&r, &clock, turn);
	r.options.clock = NULL;
	if (r.projector)
		rig_close(&r);
	model_end(&r, code == WB_OK);
	return code;
}

/* ---- what operators ask for ---------------------------------------------- */

static void model_verbs(rig *r, fake_clock *clock, model_turn *turn)
{
	static const wb_projection_request requests[] = {
		{sizeof(requests[0]), WB_PROJECTION_HEAL, false, 0, {0}},
		{sizeof(requests[0]), WB_PROJECTION_REBUILD, true, 0, {0}},
		{sizeof(requests[0]), WB_PROJECTION_ROLLBACK, false, 0, {0}},
		{sizeof(requests[0]), WB_PROJECTION_REBUILD, true, 0, {0}}};

	fail_hold(true);
	rig_append(r, "k1", "poison");
	rig_append_many(r, 6, 3);
	fail_hold(false);
	model_turns(r, clock, turn);
	r->mended = true;
	for (size_t i = 0; i < WBI_COUNT(requests); i++) {
		bool here = i % 2 == 0;

		if (!here)
			rig_close(r);
		model_ask(r, &requests[i], here);
		if (!here)
			model_open_again(r);
		model_turns(r, clock, turn);
	}
}

/* It runs in the loop's own time, until it is told to stop. */
static void model_run_out(rig *r, fake_clock *clock, model_turn *turn)
{
	wb_error why = WB_ERROR_INIT;

	model_verbs(r, clock, turn);
	wb_projector_stop(r->projector);
	(void)fail_goes_on(wb_projector_run(r->projector, false, &why), &why);
}

static wb_code projection_run(const char *dir, wb_error *err)
{
	return model_do(dir, turn_step, model_verbs, err);
}

static wb_code projection_loop_run(const char *dir, wb_error *err)
{
	return model_do(dir, turn_dispatch, model_run_out, err);
}

static void model_sound(const char *dir, wb_code code)
{
	(void)code;
	crash_assert_sound(test_path(dir, "store"));
}

const fail_work fail_projection = {"projection", NULL, projection_run,
				   model_sound};
const fail_work fail_projection_loop = {"projection-loop", NULL,
					projection_loop_run, model_sound};

/* ---- readers ------------------------------------------------------------- */

static void read_prepare(const char *dir)
{
	test_place place;
	rig r;

	model_init(&r, &place, dir);
	rig_append(&r, "k1", "poison");
	rig_open(&r);
	rig_settle(&r);
	rig_fini(&r);
}

static wb_code read_rows(wb_read *read, wb_error *err)
{
	wb_read_query query = WB_READ_QUERY_INIT;
	char cursor[WB_READ_CURSOR_MAX + 1];
	wb_read_row row;
	wb_str value;
	wb_code code = wb_read_get(read, "counts", S("k0"), &value, err);

	query.table = "counts";
	query.index = "by_count";
	if (code == WB_OK)
		code = wb_read_scan(read, &query, err);
	while (code == WB_OK) {
		code = wb_read_next(read, &row, err);
		wb_read_cursor(read, cursor);
	}
	if (code != WB_ENOTFOUND || err->code != WB_OK)
		return code;
	query.cursor = wb_str_from(cursor); /* behind the last there is none */
	code = wb_read_scan(read, &query, err);
	if (code == WB_OK)
		code = wb_read_next(read, &row, err);
	return code == WB_ENOTFOUND && err->code == WB_OK ? WB_OK : code;
}

static wb_code read_all(wb_read *read, wb_error *err)
{
	bool aside = false;
	uint64_t events;
	wb_read_lag lag;
	wb_code code = wb_read_wait(read, MODEL_EVENTS, 10, err);

	if (code == WB_OK)
		code = wb_read_begin(read, err);
	if (code == WB_OK)
		code = read_rows(read, err);
	if (code == WB_OK)
		code = wb_read_is_aside(read, S("k1"), &aside, &events, err);
	if (code == WB_OK)
		assert_true(aside);
	return code == WB_OK ? wb_read_get_lag(read, &lag, err) : code;
}

static wb_code read_run(const char *dir, wb_error *err)
{
	wb_read *read = NULL, *beside = NULL;
	wb_code code;

	code = wb_read_open(test_path(dir, "store"), "things", NULL, &read,
			    err);
	if (code == WB_OK)
		code = wb_read_open_beside(read, NULL, &beside, err);
	if (code == WB_OK)
		code = read_all(read, err);
	if (code == WB_OK)
		code = read_all(beside, err);
	wb_read_close(read);
	wb_read_close(beside);
	return code;
}

const fail_work fail_read = {"read", read_prepare, read_run, model_sound};

/* Beside the projector, in its process. */
static wb_code read_beside_run(const char *dir, wb_error *err)
{
	test_place place;
	wb_read *read = NULL;
	wb_code code;
	rig r;

	fail_hold(true);
	model_init(&r, &place, dir);
	rig_append(&r, "k1", "poison");
	rig_open(&r);
	rig_settle(&r);
	fail_hold(false);
	code = wb_read_open_projector(r.projector, NULL, &read, err);
	if (code == WB_OK)
		code = read_all(read, err);
	fail_hold(true);
	wb_read_close(read);
	rig_fini(&r);
	return code;
}

const fail_work fail_read_beside = {"read-beside", NULL, read_beside_run,
				    model_sound};
