/* SPDX-License-Identifier: BSD-2-Clause */
/* A directory for one test, and what tests of stores do in it again and again.
 * Everything fails the test by itself. */
#ifndef TESTS_PLACE_H
#define TESTS_PLACE_H

#include <limits.h>

#include <waybill/event.h>

#include "lib/journal/journal.h"

typedef struct test_place {
	char dir[PATH_MAX];   /* made new, mode 0700 */
	char store[PATH_MAX]; /* DIR/store, not made */
} test_place;

/* For cmocka_unit_test_setup_teardown: *state is a test_place. */
/* Of a group of tests: places in memory where there is some, for those that are
 * not about the disk and would wait for it at every commit. */
int test_places_in_memory(void **state);
int test_place_setup(void **state);
int test_place_teardown(void **state);

/* "DIR/NAME" in one of a few static buffers. */
const char *test_path(const char *dir, const char *name);
void test_remove_tree(const char *dir);
void test_copy_file(const char *from, const char *to);
long test_file_size(const char *path);

/* Options of a small store of service "test". */
wb_store_options test_store_options(void);
wb_store *test_store_open(const char *dir);
wb_store *test_store_make(const char *dir);

/* Take away the tables that stores did not have before there was an inbox. */
void test_store_make_old(const char *dir);

/* A commit of another process has its number in its meta page and can be read by
 * nobody yet, as while it waits for the disk; false: it never was. */
void test_store_commit_pending(const char *dir, bool pending);

/* Commit `count` events in one transaction, data "event N" with N from
 * `number` on; returns the position of the first. */
uint64_t test_append(wb_store *store, unsigned number, size_t count);
/* Read all from position 1 (or the first there is) and compare with what
 * test_append wrote from `number` on; returns how many. */
uint64_t test_read_all(wb_store *store, unsigned number);
void test_range(wb_store *store, uint64_t *ret_first, uint64_t *ret_head);
/* The relay says: settled up to `position`, prune up to `floor`. */
void test_set_cursor(wb_store *store, uint64_t position, uint64_t floor);

#endif
