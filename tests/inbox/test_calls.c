/* SPDX-License-Identifier: BSD-2-Clause */
/* The page of calls in progress: what one process notes another reads, whole or
 * not at all, also when the first was killed. */
#include "tests/support/place.h"
#include "tests/support/testing.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "inbox/calls.h"

static wbi_calls *open_page(const char *dir)
{
	wb_error err = WB_ERROR_INIT;
	wbi_calls *calls;

	assert_ok(wbi_calls_open(dir, &calls, &err), err);
	return calls;
}

static void what_is_entered_is_read_until_it_is_left(void **state)
{
	test_place *place = *state;
	wbi_calls *calls = open_page(place->dir), *other;
	wbi_work_id id = {S("billing"), WBI_LANE_KEYED, S("order-1"), 12};
	wbi_call_noted noted;

	assert_false(wbi_calls_get(calls, 0, &noted));
	wbi_calls_enter(calls, 0, &id, true, 30000, 123456);
	other = open_page(place->dir);
	assert_true(wbi_calls_get(other, 0, &noted));
	assert_true(wb_str_eq(noted.id.consumer, S("billing")));
	assert_true(wb_str_eq(noted.id.key, S("order-1")));
	assert_int_equal(noted.id.lane, WBI_LANE_KEYED);
	assert_int_equal(noted.id.position, 12);
	assert_true(noted.due);
	assert_int_equal(noted.end, WBI_CALL_UNKNOWN);
	assert_int_equal(noted.started_us, 123456);
	assert_int_equal(noted.deadline_ms, 30000);
	wbi_calls_mark(other, 0, WBI_CALL_HUNG);
	assert_true(wbi_calls_get(calls, 0, &noted));
	assert_int_equal(noted.end, WBI_CALL_HUNG);
	wbi_calls_leave(calls, 0);
	assert_false(wbi_calls_get(other, 0, &noted));
	/* The mark was that call's. */
	wbi_calls_enter(calls, 0, &id, false, 1, 1);
	assert_true(wbi_calls_get(other, 0, &noted));
	assert_int_equal(noted.end, WBI_CALL_UNKNOWN);
	assert_false(noted.due);
	wbi_calls_clear(calls);
	assert_false(wbi_calls_get(other, 0, &noted));
	wbi_calls_close(other);
	wbi_calls_close(calls);
}

static void the_longest_names_fit_in_every_slot(void **state)
{
	test_place *place = *state;
	wbi_calls *calls = open_page(place->dir);
	char text[255];
	wbi_work_id id = {wb_str_n(text, 64), WBI_LANE_TIMER,
			  wb_str_n(text, 255), UINT64_MAX};
	wbi_call_noted noted;

	memset(text, 'x', sizeof(text));
	for (unsigned i = 0; i < WBI_CALLS_MAX; i++) {
		id.position = UINT64_MAX - i;
		wbi_calls_enter(calls, i, &id, true, i, i);
	}
	for (unsigned i = 0; i < WBI_CALLS_MAX; i++) {
		assert_true(wbi_calls_get(calls, i, &noted));
		assert_true(noted.id.position == UINT64_MAX - i);
		assert_true(wb_str_eq(noted.id.key, id.key));
		assert_int_equal(noted.deadline_ms, i);
	}
	wbi_calls_close(calls);
}

/* Ids whose parts all say the same number. */
static wbi_work_id patterned(unsigned n, char text[255])
{
	memset(text, 'a' + (int)(n % 26), 255);
	return (wbi_work_id){wb_str_n(text, 1 + n % 64), WBI_LANE_KEYED,
			     wb_str_n(text, n % 256), n};
}

static void write_without_end(const char *dir)
{
	wbi_calls *calls = open_page(dir);
	char text[255];

	for (unsigned n = 1;; n++) {
		wbi_work_id id = patterned(n, text);

		wbi_calls_enter(calls, 3, &id, n % 2, n, n);
		if (n % 3 == 0)
			wbi_calls_leave(calls, 3);
	}
}

/* What was read must be of one call; returns its number. */
static uint64_t assert_whole(const wbi_call_noted *noted)
{
	unsigned n = (unsigned)noted->id.position;
	char text[255];
	wbi_work_id id = patterned(n, text);

	assert_true(wb_str_eq(noted->id.consumer, id.consumer));
	assert_true(wb_str_eq(noted->id.key, id.key));
	assert_int_equal(noted->deadline_ms, n);
	assert_int_equal(noted->started_us, n);
	assert_int_equal(noted->due, n % 2);
	return n;
}

static void a_reader_never_sees_a_half_written_call(void **state)
{
	enum { READS = 20000 };
	test_place *place = *state;
	wbi_calls *calls = open_page(place->dir);
	unsigned seen = 0, changed = 0;
	uint64_t before = 0;
	wbi_call_noted noted;
	int status;
	pid_t child = fork();

	if (child == 0) {
		write_without_end(place->dir);
		_exit(1);
	}
	assert_true(child > 0);
	for (unsigned i = 0; i < 500 * READS && seen < READS; i++) {
		if (!wbi_calls_get(calls, 3, &noted))
			continue;
		seen++;
		changed += before != assert_whole(&noted);
		before = noted.id.position;
	}
	kill(child, SIGKILL);
	assert_int_equal(waitpid(child, &status, 0), child);
	print_message("%u reads, %u of another call\n", seen, changed);
	assert_int_equal(seen, READS);
	/* Killed anywhere, what it left is whole too. */
	if (wbi_calls_get(calls, 3, &noted))
		assert_whole(&noted);
	wbi_calls_close(calls);
}

static void a_killed_process_leaves_its_call(void **state)
{
	test_place *place = *state;
	wbi_work_id id = {S("billing"), WBI_LANE_UNKEYED, S(""), 5};
	wbi_call_noted noted;
	wbi_calls *calls;
	pid_t child = fork();

	if (child == 0) {
		calls = open_page(place->dir);
		wbi_calls_enter(calls, 0, &id, false, 1, 1);
		wbi_calls_mark(calls, 0, WBI_CALL_CRASHED);
		kill(getpid(), SIGKILL);
	}
	assert_int_equal(waitpid(child, NULL, 0), child);
	calls = open_page(place->dir);
	assert_true(wbi_calls_get(calls, 0, &noted));
	assert_int_equal(noted.id.position, 5);
	assert_int_equal(noted.end, WBI_CALL_CRASHED);
	wbi_calls_close(calls);
}

/* Byte `at` of the file turned over. */
static void damage(const char *path, off_t at)
{
	int fd = open(path, O_RDWR);
	uint8_t byte;

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= 0x40;
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	close(fd);
}

static void a_damaged_page_counts_as_empty(void **state)
{
	enum { HEAD = 512, SLOT = 512 };
	/* magic, version, the boot, the head's checksum; a slot's text */
	static const off_t places[] = {1, 8, 30, 84, HEAD + 8 + 6,
				       HEAD + 8 + 40};
	test_place *place = *state;
	const char *path = test_path(place->dir, "calls");
	wbi_work_id id = {S("billing"), WBI_LANE_KEYED, S("order-1"), 12};
	wbi_call_noted noted;

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		wbi_calls *calls = open_page(place->dir);

		wbi_calls_enter(calls, 0, &id, true, 1, 1);
		wbi_calls_close(calls);
		damage(path, places[i]);
		calls = open_page(place->dir);
		assert_false(wbi_calls_get(calls, 0, &noted));
		wbi_calls_enter(calls, 0, &id, true, 1, 1);
		assert_true(wbi_calls_get(calls, 0, &noted));
		wbi_calls_close(calls);
	}
	/* How it ended is outside the checksum: what is none is unknown. */
	wbi_calls *odd = open_page(place->dir);
	wbi_calls_enter(odd, 0, &id, true, 1, 1);
	wbi_calls_mark(odd, 0, (wbi_call_end)77);
	assert_true(wbi_calls_get(odd, 0, &noted));
	assert_int_equal(noted.end, WBI_CALL_UNKNOWN);
	wbi_calls_close(odd);
	assert_int_equal(truncate(path, 700), 0);
	wbi_calls *calls = open_page(place->dir);
	assert_false(wbi_calls_get(calls, WBI_CALLS_MAX - 1, &noted));
	assert_int_equal(test_file_size(path), HEAD + SLOT * WBI_CALLS_MAX);
	wbi_calls_enter(calls, 0, &id, true, 1, 1);
	wbi_calls_close(calls);
	/* One that is longer is none of ours either. */
	assert_int_equal(truncate(path, HEAD + SLOT * WBI_CALLS_MAX + 1), 0);
	calls = open_page(place->dir);
	assert_false(wbi_calls_get(calls, 0, &noted));
	assert_int_equal(test_file_size(path), HEAD + SLOT * WBI_CALLS_MAX);
	wbi_calls_close(calls);
}

static void *enter_beside(void *ctx)
{
	wbi_work_id id = {S("billing"), WBI_LANE_UNKEYED, S(""), 6};

	wbi_calls_enter(ctx, 2, &id, true, 1, 1);
	return NULL;
}

static void a_thread_marks_its_own_call_only(void **state)
{
	test_place *place = *state;
	wbi_calls *calls = open_page(place->dir);
	wbi_work_id id = {S("billing"), WBI_LANE_KEYED, S("order-1"), 12};
	wbi_call_noted noted;
	pthread_t thread;

	assert_false(wbi_calls_mark_self(calls, WBI_CALL_CRASHED));
	assert_int_equal(pthread_create(&thread, NULL, enter_beside, calls), 0);
	wbi_calls_enter(calls, 5, &id, true, 1, 1);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_true(wbi_calls_mark_self(calls, WBI_CALL_CRASHED));
	assert_true(wbi_calls_get(calls, 5, &noted));
	assert_int_equal(noted.end, WBI_CALL_CRASHED);
	assert_true(wbi_calls_get(calls, 2, &noted));
	assert_int_equal(noted.end, WBI_CALL_UNKNOWN);
	wbi_calls_leave(calls, 5);
	assert_false(wbi_calls_mark_self(calls, WBI_CALL_CRASHED));
	wbi_calls_close(calls);
}

static void what_cannot_be_a_page_is_refused(void **state)
{
	test_place *place = *state;
	wb_error err = WB_ERROR_INIT;
	char longer[PATH_MAX];
	wbi_calls *calls;

	assert_int_equal(mkdir(test_path(place->dir, "calls"), 0700), 0);
	assert_code(wbi_calls_open(place->dir, &calls, &err), WB_EIO, err);
	assert_code(wbi_calls_open(test_path(place->dir, "none"), &calls, &err),
		    WB_ENOTFOUND, err);
	assert_int_equal(mkdir(test_path(place->dir, "pipe"), 0700), 0);
	assert_int_equal(mkfifo(test_path(place->dir, "pipe/calls"), 0600), 0);
	assert_code(wbi_calls_open(test_path(place->dir, "pipe"), &calls, &err),
		    WB_EINVAL, err);
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	assert_code(wbi_calls_open(longer, &calls, &err), WB_EINVAL, err);
}

#define TEST(f)                                                               \
	cmocka_unit_test_setup_teardown(f, test_place_setup,                  \
					test_place_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_is_entered_is_read_until_it_is_left),
		TEST(the_longest_names_fit_in_every_slot),
		TEST(a_reader_never_sees_a_half_written_call),
		TEST(a_killed_process_leaves_its_call),
		TEST(a_thread_marks_its_own_call_only),
		TEST(a_damaged_page_counts_as_empty),
		TEST(what_cannot_be_a_page_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
