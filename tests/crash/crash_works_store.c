/* SPDX-License-Identifier: BSD-2-Clause */
/* A store is created; events are appended. */
#include "tests/crash/crash_points.h"

#include <stdlib.h>

#include "tests/crash/disk_trace.h"
#include "tests/support/place.h"
#include "tests/support/testing.h"

enum { APPEND_BEFORE = 6 };

/* ---- creation ----------------------------------------------------------- */

static void creation_run(const char *dir)
{
	wb_store_options options = test_store_options();
	const char *at = test_path(dir, "store");
	wb_error err = WB_ERROR_INIT;
	wb_store *store;

	assert_ok(wb_store_create(at, &options, &err), err);
	disk_trace_mark(1);
	store = test_store_open(at);
	test_append(store, 1, 1);
	disk_trace_mark(2);
	wb_store_close(store);
}

/* What was begun can be opened, or be made anew in its place; where LMDB's first
 * write was torn it is refused, with the cure. */
static void creation_check(const char *dir, uint64_t marked)
{
	wb_store_options options = test_store_options();
	const char *at = test_path(dir, "store");
	wb_error err = WB_ERROR_INIT;
	wb_store *store = NULL;
	wb_code code = wb_store_open(at, NULL, &store, &err);

	if (code != WB_OK) {
		assert_int_equal(marked, 0);
		err = (wb_error)WB_ERROR_INIT;
		code = wb_store_create(at, &options, &err);
		if (code == WB_ECORRUPT) {
			/* The cure that it names. */
			assert_non_null(strstr(err.text, "remove"));
			test_remove_tree(at);
			err = (wb_error)WB_ERROR_INIT;
			code = wb_store_create(at, &options, &err);
		}
		assert_ok(code, err);
		store = test_store_open(at);
	}
	if (marked < 2 && test_read_all(store, 1) == 0)
		test_append(store, 1, 1);
	assert_int_equal(test_read_all(store, 1), 1);
	wb_store_close(store);
	crash_assert_sound(at);
}

const crash_work crash_creation = {"creation", NULL, creation_run,
				   creation_check};

/* ---- append ------------------------------------------------------------- */

static void append_prepare(const char *dir)
{
	wb_store *store = test_store_make(test_path(dir, "store"));

	test_append(store, 1, APPEND_BEFORE);
	wb_store_close(store);
}

static void append_run(const char *dir)
{
	wb_store *store = test_store_open(test_path(dir, "store"));

	for (unsigned i = 0; i < 5; i++) {
		test_append(store, APPEND_BEFORE + 1 + 7 * i, 7);
		disk_trace_mark(APPEND_BEFORE + 7 * (i + 1));
	}
	wb_store_close(store);
}

static void append_check(const char *dir, uint64_t marked)
{
	const char *at = test_path(dir, "store");
	uint64_t first, head, least = marked ? marked : APPEND_BEFORE;
	wb_store *store;

	crash_assert_sound(at);
	store = test_store_open(at);
	test_range(store, &first, &head);
	assert_int_equal(first, 1);
	/* All that was promised, and of the next commit all or nothing. */
	assert_true(head == least || head == least + 7);
	assert_int_equal(test_read_all(store, 1), head);
	test_append(store, (unsigned)head + 1, 3);
	assert_int_equal(test_read_all(store, 1), head + 3);
	wb_store_close(store);
	crash_assert_sound(at);
}

const crash_work crash_append = {"append", append_prepare, append_run,
				 append_check};
