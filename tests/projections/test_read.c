/* SPDX-License-Identifier: BSD-2-Clause */
/* Reading a model: by key, prefix, range and index, page by page, in one
 * snapshot, with a deadline; and waiting for one's own writes. */
#include "tests/projections/rig.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/bytes.h"
#include "tests/support/fake_clock.h"

static void begin(wb_read *read)
{
	wb_error err = WB_ERROR_INIT;

	assert_ok(wb_read_begin(read, &err), err);
}

/* The keys of a scan, each with a blank behind it. */
static const char *keys_of(wb_read *read, const wb_read_query *query, int most,
			   char *ret)
{
	wb_error err = WB_ERROR_INIT;
	wb_read_row row;
	wb_code code = WB_OK;

	ret[0] = '\0';
	assert_ok(wb_read_scan(read, query, &err), err);
	while (most-- > 0) {
		code = wb_read_next(read, &row, &err);
		if (code != WB_OK)
			break;
		strncat(ret, row.key.ptr, row.key.len);
		strcat(ret, " ");
	}
	assert_true(code == WB_OK || code == WB_ENOTFOUND);
	return ret;
}

static void rows_come_by_prefix_and_range_both_ways(void **state)
{
	wb_read_query q = WB_READ_QUERY_INIT;
	char text[1024];
	wb_read *read;
	rig r;

	rig_init(&r, *state, WB_ON_ERROR_STOP);
	rig_append(&r, "a", "x");
	rig_append(&r, "a1", "x");
	rig_append(&r, "a2", "x");
	rig_append(&r, "b", "x");
	rig_append(&r, "\xc3\xbf", "x");
	rig_open(&r);
	rig_settle(&r);
	read = rig_read(&r);
	begin(read);
	q.table = "counts";
	assert_string_equal(keys_of(read, &q, 99, text),
			    "a a1 a2 b \xc3\xbf ");
	q.prefix = S("a");
	assert_string_equal(keys_of(read, &q, 99, text), "a a1 a2 ");
	q.reverse = true;
	assert_string_equal(keys_of(read, &q, 99, text), "a2 a1 a ");
	q.prefix = S("\xc3");
	assert_string_equal(keys_of(read, &q, 99, text), "\xc3\xbf ");
	q.prefix = WB_STR_NULL;
	q.from = S("a1");
	q.to = S("b");
	assert_string_equal(keys_of(read, &q, 99, text), "a2 a1 ");
	q.reverse = false;
	assert_string_equal(keys_of(read, &q, 99, text), "a1 a2 ");
	q.from = q.to = WB_STR_NULL;
	q.equal = S("a");
	assert_string_equal(keys_of(read, &q, 99, text), "a ");
	q.reverse = true;
	assert_string_equal(keys_of(read, &q, 99, text), "a ");
	q.equal = S("nobody");
	assert_string_equal(keys_of(read, &q, 99, text), "");
	wb_read_close(read);
	rig_fini(&r);
}

static void an_index_follows_every_change(void **state)
{
	wb_read_query q = WB_READ_QUERY_INIT;
	wb_error err = WB_ERROR_INIT;
	uint8_t two[8], three[8];
	char text[1024];
	wb_read *read;
	rig r;

	rig_init(&r, *state, WB_ON_ERROR_STOP);
	rig_append(&r, "a", "red 1");
	rig_append(&r, "b", "red 1");
	rig_append(&r, "c", "reddish 1");
	rig_open(&r);
	rig_settle(&r);
	rig_append(&r, "a", "blue 2");
	rig_append(&r, "c", "none");
	rig_append(&r, "c", "red 3");
	rig_settle(&r);
	read = rig_read(&r);
	begin(read);
	q.table = "last";
	q.index = "by_word";
	assert_string_equal(keys_of(read, &q, 99, text), "a b c ");
	q.equal = S("red");
	assert_string_equal(keys_of(read, &q, 99, text), "b c ");
	q.reverse = true;
	assert_string_equal(keys_of(read, &q, 99, text), "c b ");
	q = (wb_read_query)WB_READ_QUERY_INIT;
	q.table = "counts";
	q.index = "by_count";
	wbi_put_be64(two, 2);
	wbi_put_be64(three, 3);
	q.from = wb_str_n(two, 8);
	assert_string_equal(keys_of(read, &q, 99, text), "a c ");
	q.to = wb_str_n(three, 8);
	assert_string_equal(keys_of(read, &q, 99, text), "a ");
	q.index = "by_name";
	assert_code(wb_read_scan(read, &q, &err), WB_EINVAL, err);
	q.table = "nothing";
	assert_code(wb_read_scan(read, &q, &err), WB_EINVAL, err);
	wb_read_close(read);
	rig_fini(&r);
}

static void pages_join_without_a_row_twice_or_left_out(void **state)
{
	wb_read_query q = WB_READ_QUERY_INIT;
	char token[WB_READ_CURSOR_MAX + 1] = "", text[64];
	wb_error err = WB_ERROR_INIT;
	wb_read *read;
	unsigned n;
	rig r;

	rig_init(&r, *state, WB_ON_ERROR_STOP);
	rig_append_many(&r, 997, 97);
	rig_open(&r);
	rig_settle(&r);
	read = rig_read(&r);
	for (int way = 0; way < 2; way++) {
		q.reverse = way == 1;
		q.table = "last";
		q.index = "by_word";
		q.cursor = WB_STR_NULL;
		for (n = 0; n < 200;) {
			const char *at = text;

			begin(read);
			keys_of(read, &q, 5, text);
			while ((at = strchr(at, ' ')) != NULL) {
				at++;
				n++;
			}
			if (text[0] == '\0')
				break;
			wb_read_cursor(read, token);
			q.cursor = wb_str_from(token);
			/* A row that is there all the time, and a rebuild. */
			if (n == 20 && way == 0) {
				rig_rebuild(&r, true);
				rig_settle(&r);
				usleep(2000);
			}
		}
		assert_int_equal(n, 97);
	}
	begin(read);
	q.index = NULL;
	assert_code(wb_read_scan(read, &q, &err), WB_EINVAL, err);
	token[9] ^= 1;
	q.index = "by_word";
	assert_code(wb_read_scan(read, &q, &err), WB_EINVAL, err);
	wb_read_close(read);
	rig_fini(&r);
}

static void a_snapshot_does_not_move(void **state)
{
	wb_error err = WB_ERROR_INIT;
	wb_str value;
	wb_read *read;
	rig r;

	rig_init(&r, *state, WB_ON_ERROR_STOP);
	rig_append(&r, "a", "1");
	rig_open(&r);
	rig_settle(&r);
	read = rig_read(&r);
	assert_code(wb_read_get(read, "last", S("a"), &value, &err), WB_ESTATE,
		    err);
	begin(read);
	rig_append(&r, "a", "2");
	rig_settle(&r);
	assert_true(wb_read_position(read) == 1);
	assert_ok(wb_read_get(read, "last", S("a"), &value, &err), err);
	assert_true(wb_str_eq(value, S("1")));
	begin(read);
	assert_true(wb_read_position(read) == 2);
	assert_ok(wb_read_get(read, "last", S("a"), &value, &err), err);
	assert_true(wb_str_eq(value, S("2")));
	assert_code(wb_read_get(read, NULL, S("a"), &value, &err), WB_EINVAL,
		    err);
	assert_int_equal(strlen(wb_read_origin(read)), 36);
	wb_read_close(read);
	rig_fini(&r);
}

static long model_bytes(const rig *r)
{
	char path[PATH_MAX + 64];

	snprintf(path, sizeof(path), "%s/projections/things/gen-1/data.mdb",
		 r->place->store);
	return test_file_size(path);
}

static void a_reader_that_is_held_does_not_make_the_file_grow(void **state)
{
	wb_read_options o = WB_READ_OPTIONS_INIT;
	wb_error err = WB_ERROR_INIT;
	fake_clock clock;
	long before, after;
	wb_str value;
	wb_read *read;
	rig r;

	fake_clock_init(&clock);
	o.clock = &clock.clock;
	o.snapshot_ms = 1000;
	rig_init(&r, *state, WB_ON_ERROR_STOP);
	rig_append_many(&r, 2000, 500);
	rig_open(&r);
	rig_settle(&r);
	assert_ok(wb_read_open_projector(r.projector, &o, &read, &err), err);
	begin(read);
	fake_clock_advance_us(&clock, 999 * 1000);
	assert_ok(wb_read_get(read, "last", S("k1"), &value, &err), err);
	fake_clock_advance_us(&clock, 2000);
	assert_code(wb_read_get(read, "last", S("k1"), &value, &err),
		    WB_ETIMEOUT, err);
	assert_true(wb_read_position(read) == 0);
	/* It has let go: pages are used again. */
	for (int i = 0; i < 5; i++) {
		rig_append_many(&r, 500, 500);
		rig_settle(&r);
	}
	before = model_bytes(&r);
	for (int i = 0; i < 30; i++) {
		rig_append_many(&r, 500, 500);
		rig_settle(&r);
	}
	after = model_bytes(&r);
	assert_true(after <= before + before / 2);
	begin(read);
	assert_ok(wb_read_get(read, "last", S("k1"), &value, &err), err);
	wb_read_close(read);
	rig_fini(&r);
}

static void *run_projector(void *arg)
{
	rig *r = arg;

	/* A host's thread: errors would show as a wait that ends late. */
	(void)wb_projector_run(r->projector, false, NULL);
	return NULL;
}

static void a_wait_ends_when_its_position_is_there(void **state)
{
	wb_error err = WB_ERROR_INIT;
	pthread_t thread;
	wb_str value;
	wb_read *read;
	rig r;

	rig_init(&r, *state, WB_ON_ERROR_STOP);
	rig_append(&r, "a", "0");
	rig_open(&r);
	rig_settle(&r);
	read = rig_read(&r);
	assert_int_equal(pthread_create(&thread, NULL, run_projector, &r), 0);
	for (unsigned i = 1; i <= 100; i++) {
		char data[16];
		uint64_t position;

		snprintf(data, sizeof(data), "%u", i);
		position = rig_append(&r, "a", data);
		assert_ok(wb_read_wait(read, position, 5000, &err), err);
		begin(read);
		assert_true(wb_read_position(read) >= position);
		assert_ok(wb_read_get(read, "last", S("a"), &value, &err), err);
		assert_true(wb_str_eq(value, wb_str_from(data)));
	}
	assert_code(wb_read_wait(read, 102, 30, &err), WB_ETIMEOUT, err);
	wb_projector_stop(r.projector);
	pthread_join(thread, NULL);
	wb_read_close(read);
	rig_fini(&r);
}

static void one_process_opens_a_model_once(void **state)
{
	wb_error err = WB_ERROR_INIT;
	wb_read *read, *beside;
	rig r;

	rig_init(&r, *state, WB_ON_ERROR_STOP);
	assert_code(wb_read_open(r.place->store, "things", NULL, &read, &err),
		    WB_ENOTFOUND, err);
	rig_append(&r, "a", "1");
	rig_open(&r);
	rig_settle(&r);
	assert_code(wb_read_open(r.place->store, "things", NULL, &read, &err),
		    WB_EBUSY, err);
	rig_close(&r);
	assert_ok(wb_read_open(r.place->store, "things", NULL, &read, &err),
		  err);
	assert_ok(wb_read_open_beside(read, NULL, &beside, &err), err);
	wb_read_close(read);
	begin(beside);
	assert_true(wb_read_position(beside) == 1);
	wb_read_close(beside);
	assert_code(wb_read_open(r.place->store, "../x", NULL, &read, &err),
		    WB_EINVAL, err);
	rig_fini(&r);
}

int main(void)
{
#define T(name)                                                               \
	cmocka_unit_test_setup_teardown(name, test_place_setup,               \
					test_place_teardown)
	const struct CMUnitTest tests[] = {
		T(rows_come_by_prefix_and_range_both_ways),
		T(an_index_follows_every_change),
		T(pages_join_without_a_row_twice_or_left_out),
		T(a_snapshot_does_not_move),
		T(a_reader_that_is_held_does_not_make_the_file_grow),
		T(a_wait_ends_when_its_position_is_there),
		T(one_process_opens_a_model_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
