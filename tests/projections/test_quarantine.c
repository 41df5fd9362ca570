/* SPDX-License-Identifier: BSD-2-Clause */
/* What an event does that cannot be applied is what the declaration says, and
 * is in the commit that moves over it. */
#include "tests/projections/rig.h"

#include <inttypes.h>
#include <unistd.h>

#include "lib/base/assert.h"
#include "projections/projector.h"

static wb_projector_stat stat_of(const rig *r)
{
	return wb_projector_get_stat(r->projector);
}

static bool aside(rig *r, const char *key, uint64_t *ret_events)
{
	wb_error err = WB_ERROR_INIT;
	wb_read *read = rig_read(r);
	bool is;

	assert_ok(wb_read_begin(read, &err), err);
	assert_ok(wb_read_is_aside(read, wb_str_from(key), &is, ret_events,
				   &err),
		  err);
	wb_read_close(read);
	return is;
}

static void stop_stays_at_the_event_until_it_is_mended(void **state)
{
	rig r;

	rig_init(&r, *state, WB_ON_ERROR_STOP);
	rig_append(&r, "a", "1");
	rig_append(&r, "b", "poison");
	rig_append(&r, "c", "1");
	rig_open(&r);
	rig_until(&r, WB_PROJECTOR_STUCK);
	assert_true(stat_of(&r).position == 1);
	assert_non_null(strstr(stat_of(&r).error.text, "event 2"));
	assert_int_equal(rig_count(&r, "a"), 1);
	assert_int_equal(rig_count(&r, "b"), 0);
	r.mended = true;
	rig_ask(&r, WB_PROJECTION_RESUME);
	rig_settle(&r);
	assert_int_equal(rig_count(&r, "b"), 1);
	assert_int_equal(rig_count(&r, "c"), 1);
	rig_fini(&r);
}

static void skip_records_and_goes_on(void **state)
{
	rig r;

	rig_init(&r, *state, WB_ON_ERROR_SKIP);
	rig_append(&r, "a", "1");
	rig_append(&r, "a", "poison");
	rig_append(&r, "a", "3");
	rig_open(&r);
	rig_settle(&r);
	assert_int_equal(rig_count(&r, "a"), 2);
	assert_true(stat_of(&r).skipped == 1 && stat_of(&r).applied == 2);
	assert_true(stat_of(&r).position == 3);
	rig_fini(&r);
}

static void a_failed_event_takes_only_its_key_aside(void **state)
{
	uint64_t events;
	rig r;

	rig_init(&r, *state, WB_ON_ERROR_QUARANTINE_KEY);
	rig_append_many(&r, 300, 10);
	rig_append(&r, "k0", "poison");
	rig_append_many(&r, 300, 10);
	rig_open(&r);
	rig_settle(&r);
	assert_true(stat_of(&r).position == 601);
	assert_true(aside(&r, "k0", &events) && events == 31);
	assert_false(aside(&r, "k1", &events));
	assert_int_equal(rig_count(&r, "k0"), 30);
	assert_int_equal(rig_count(&r, "k1"), 60);
	assert_true(stat_of(&r).quarantined_keys == 1);
	rig_fini(&r);
}

static void healing_applies_in_order_and_equals_a_rebuild(void **state)
{
	char healed[33], fresh[33];
	rig r;

	rig_init(&r, *state, WB_ON_ERROR_QUARANTINE_KEY);
	rig_append_many(&r, 500, 10);
	rig_append(&r, "k3", "poison");
	rig_append_many(&r, 500, 10);
	rig_append(&r, "k4", "poison");
	rig_append_many(&r, 500, 10);
	rig_open(&r);
	rig_settle(&r);
	assert_true(stat_of(&r).quarantined_keys == 2);
	/* It fails again: nothing is lost or moved. */
	rig_ask(&r, WB_PROJECTION_HEAL);
	rig_settle(&r);
	assert_true(stat_of(&r).quarantined_keys == 2);
	assert_true(stat_of(&r).quarantined_events == 101 + 51);
	r.mended = true;
	rig_ask(&r, WB_PROJECTION_HEAL);
	rig_append_many(&r, 100, 10);
	rig_settle(&r);
	assert_true(stat_of(&r).quarantined_keys == 0);
	assert_int_equal(rig_count(&r, "k3"), 161);
	rig_digest(&r, 0, healed);
	rig_fresh_digest(&r, fresh);
	assert_string_equal(healed, fresh);
	rig_fini(&r);
}

/* Else what it has not healed by then would stay aside for good. */
static void a_rebuild_that_heals_goes_live_when_all_is_healed(void **state)
{
	wb_error err = WB_ERROR_INIT;
	rig r;

	rig_init(&r, *state, WB_ON_ERROR_QUARANTINE_KEY);
	rig_append(&r, "k0", "poison");
	rig_append_many(&r, 500, 1);
	rig_open(&r);
	rig_settle(&r);
	rig_rebuild(&r, false);
	rig_settle(&r);
	assert_true(stat_of(&r).ready);
	assert_true(stat_of(&r).quarantined_events == 451);
	r.mended = true;
	rig_ask(&r, WB_PROJECTION_HEAL);
	rig_ask(&r, WB_PROJECTION_PROMOTE);
	for (int i = 0; stat_of(&r).generation == 1; i++) {
		assert_ok(wb_projector_step(r.projector, true, &err), err);
		assert_in_range(i, 0, 1000);
	}
	assert_true(stat_of(&r).quarantined_events == 0);
	assert_int_equal(rig_count(&r, "k0"), 451);
	rig_fini(&r);
}

static void one_key_is_healed_alone(void **state)
{
	wb_projection_request request = WB_PROJECTION_REQUEST_INIT;
	wb_error err = WB_ERROR_INIT;
	uint64_t events;
	rig r;

	rig_init(&r, *state, WB_ON_ERROR_QUARANTINE_KEY);
	rig_append(&r, "a", "poison");
	rig_append(&r, "b", "poison");
	rig_append(&r, "b", "2");
	rig_append(&r, "c", "poison");
	rig_open(&r);
	rig_settle(&r);
	r.mended = true;
	request.verb = WB_PROJECTION_HEAL;
	request.key = S("b");
	assert_ok(wb_projector_ask(r.projector, &request, &err), err);
	rig_settle(&r);
	assert_int_equal(rig_count(&r, "b"), 2);
	assert_false(aside(&r, "b", &events));
	assert_true(aside(&r, "a", &events) && aside(&r, "c", &events));
	rig_fini(&r);
}

/* No key, cut short, would be all keys: it is dropped as a whole, and is in no
 * other request's way. */
static void a_damaged_request_heals_nothing(void **state)
{
	static const char *const damaged[] = {"zz", "612", "0x", "+1"};
	uint64_t events;
	rig r;

	rig_init(&r, *state, WB_ON_ERROR_QUARANTINE_KEY);
	rig_append(&r, "a", "poison");
	rig_open(&r);
	rig_settle(&r);
	r.mended = true;
	for (size_t i = 0; i < WBI_COUNT(damaged); i++) {
		char path[PATH_MAX + 64];
		FILE *file;

		snprintf(path, sizeof(path),
			 "%s/projections/things/request.heal", r.place->store);
		file = fopen(path, "w");
		assert_non_null(file);
		fprintf(file, "promote 0\nrate 0\nkey %s\n", damaged[i]);
		assert_int_equal(fclose(file), 0);
		if (i + 1 == WBI_COUNT(damaged))
			rig_rebuild(&r, false);
		rig_settle(&r);
		assert_true(access(path, F_OK) != 0);
		assert_true(aside(&r, "a", &events));
	}
	assert_true(stat_of(&r).ready);
	rig_fini(&r);
}

static void new_code_heals_when_it_starts(void **state)
{
	rig r;

	rig_init(&r, *state, WB_ON_ERROR_QUARANTINE_KEY);
	rig_append(&r, "a", "poison");
	rig_append(&r, "a", "2");
	rig_open(&r);
	rig_settle(&r);
	assert_int_equal(rig_count(&r, "a"), 0);
	rig_close(&r);
	r.mended = true;
	rig_open(&r);
	rig_settle(&r);
	assert_int_equal(rig_count(&r, "a"), 2);
	rig_fini(&r);
}

static void an_event_without_a_key_is_aside_alone(void **state)
{
	rig r;

	rig_init(&r, *state, WB_ON_ERROR_QUARANTINE_KEY);
	rig_append(&r, "", "1"); /* the model refuses an empty key */
	rig_append(&r, "", "2");
	rig_append(&r, "a", "3");
	rig_open(&r);
	rig_settle(&r);
	assert_true(stat_of(&r).quarantined_keys == 0);
	assert_true(stat_of(&r).quarantined_events == 2);
	assert_int_equal(rig_count(&r, "a"), 1);
	rig_fini(&r);
}

static void what_is_aside_is_bounded(void **state)
{
	rig r;

	rig_init(&r, *state, WB_ON_ERROR_QUARANTINE_KEY);
	r.options.aside_max_bytes = 16 * 1024;
	for (int i = 0; i < 300; i++)
		rig_append(&r, "a", i == 0 ? "poison" : "more");
	rig_open(&r);
	rig_until(&r, WB_PROJECTOR_BLOCKED);
	assert_int_equal(stat_of(&r).error.code, WB_EQUOTA);
	rig_close(&r);
	r.options.aside_max_bytes = 1 << 20;
	rig_open(&r);
	rig_settle(&r);
	assert_true(stat_of(&r).position == 300);
	rig_fini(&r);
}

/* The first byte of the data is the key; "!" makes one that is too long. */
static wb_str key_of_data(const wb_event *event, char *buf, size_t size)
{
	buf[0] = event->data.ptr[0];
	if (buf[0] != '!')
		return wb_str_n(buf, 1);
	memset(buf, '!', size);
	return wb_str_n(buf, size);
}

static void what_goes_aside_goes_by_the_key_of_the_declaration(void **state)
{
	uint64_t events;
	rig r;

	rig_init(&r, *state, WB_ON_ERROR_QUARANTINE_KEY);
	r.projection.key = key_of_data;
	rig_append(&r, "a", "poison");
	rig_append(&r, "b", "poor");
	rig_append(&r, "a", "rich");
	rig_open(&r);
	rig_settle(&r);
	assert_true(aside(&r, "p", &events));
	assert_true(events == 2);
	assert_false(aside(&r, "a", &events));
	assert_int_equal(rig_count(&r, "a"), 1);
	assert_int_equal(rig_count(&r, "b"), 0);
	rig_append(&r, "b", "!");
	rig_until(&r, WB_PROJECTOR_STUCK);
	assert_non_null(strstr(stat_of(&r).error.text, "has 256 bytes"));
	rig_fini(&r);
}

int main(void)
{
#define T(name)                                                               \
	cmocka_unit_test_setup_teardown(name, test_place_setup,               \
					test_place_teardown)
	const struct CMUnitTest tests[] = {
		T(stop_stays_at_the_event_until_it_is_mended),
		T(skip_records_and_goes_on),
		T(a_failed_event_takes_only_its_key_aside),
		T(healing_applies_in_order_and_equals_a_rebuild),
		T(a_rebuild_that_heals_goes_live_when_all_is_healed),
		T(one_key_is_healed_alone),
		T(a_damaged_request_heals_nothing),
		T(new_code_heals_when_it_starts),
		T(an_event_without_a_key_is_aside_alone),
		T(what_is_aside_is_bounded),
		T(what_goes_aside_goes_by_the_key_of_the_declaration),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
