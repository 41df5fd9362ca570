/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/support/testing.h"

#include <stdlib.h>

#include "outbox/window.h"
#include "tests/support/seeded_random.h"

static wbi_window *window_of(uint32_t size)
{
	wb_error err = WB_ERROR_INIT;
	wbi_window *window = NULL;

	assert_ok(wbi_window_new(size, 0, &window, &err), err);
	return window;
}

static void send(wbi_window *window, uint64_t position)
{
	bool repeat;

	wbi_window_mark_sent(window, position, &repeat);
}

static void one_key_goes_one_at_a_time(void **state)
{
	wbi_window *w = window_of(8);

	(void)state;
	assert_int_equal(wbi_window_add(w, 7, 0), WBI_SLOT_READY);
	send(w, 1);
	assert_int_equal(wbi_window_add(w, 7, 0), WBI_SLOT_WAITING);
	assert_int_equal(wbi_window_add(w, 8, 0), WBI_SLOT_READY);
	send(w, 3);
	assert_int_equal(wbi_window_pop(w), 0);
	wbi_window_mark_done(w, 3);
	assert_int_equal(wbi_window_low(w), 0);
	wbi_window_mark_done(w, 1);
	assert_int_equal(wbi_window_low(w), 1);
	assert_int_equal(wbi_window_pop(w), 2);
	send(w, 2);
	wbi_window_mark_done(w, 2);
	assert_int_equal(wbi_window_low(w), 3);
	wbi_window_commit(w, 3);
	assert_int_equal(wbi_window_exposed(w), 0);
	wbi_window_free(w);
}

static void unordered_positions_wait_for_nobody(void **state)
{
	wbi_window *w = window_of(4);

	(void)state;
	for (int i = 0; i < 4; i++)
		assert_int_equal(wbi_window_add(w, 0, 0), WBI_SLOT_READY);
	assert_true(wbi_window_full(w));
	wbi_window_free(w);
}

static void parking_takes_the_followers_along(void **state)
{
	wbi_window *w = window_of(8);

	(void)state;
	wbi_window_add(w, 5, 0);
	send(w, 1);
	wbi_window_add(w, 5, 0);
	wbi_window_add(w, 6, 0);
	send(w, 3);
	wbi_window_mark_park(w, 1, 1, 312, 9);
	assert_int_equal(wbi_window_add(w, 5, 0), WBI_SLOT_PARK);
	assert_int_equal(wbi_window_parking(w), 3);
	assert_int_equal(wbi_window_slot(w, 1)->reason, 1);
	assert_int_equal(wbi_window_slot(w, 2)->reason, 9);
	assert_int_equal(wbi_window_slot(w, 4)->reason, 9);
	wbi_window_parked(w, 1);
	wbi_window_parked(w, 2);
	wbi_window_parked(w, 4);
	assert_int_equal(wbi_window_low(w), 2);
	/* The chain is gone: what is added now is not behind anything. */
	assert_int_equal(wbi_window_add(w, 5, 0), WBI_SLOT_READY);
	wbi_window_free(w);
}

static void what_need_not_park_goes_in_order(void **state)
{
	wbi_window *w = window_of(8);

	(void)state;
	assert_int_equal(wbi_window_add_park(w, 77, 0, 9), WBI_SLOT_PARK);
	assert_int_equal(wbi_window_add_park(w, 77, 0, 9), WBI_SLOT_PARK);
	/* Its key looks free by now, but two of it still stand here. */
	assert_int_equal(wbi_window_add(w, 77, 0), WBI_SLOT_PARK);
	assert_int_equal(wbi_window_parking(w), 3);
	wbi_window_unpark(w, 1);
	assert_int_equal(wbi_window_parking(w), 0);
	assert_int_equal(wbi_window_pop(w), 1);
	assert_int_equal(wbi_window_pop(w), 0);
	send(w, 1);
	wbi_window_mark_done(w, 1);
	assert_int_equal(wbi_window_pop(w), 2);
	wbi_window_free(w);
}

static void what_is_lost_is_sent_again_in_order(void **state)
{
	wbi_window *w = window_of(8);
	bool repeat = false;

	(void)state;
	for (int i = 1; i <= 4; i++) {
		wbi_window_add(w, (uint64_t)i + 10, 0);
		send(w, (uint64_t)i);
	}
	wbi_window_mark_done(w, 2);
	wbi_window_mark_nacked(w, 3, 500);
	wbi_window_lost(w);
	assert_int_equal(wbi_window_sent(w), 0);
	assert_int_equal(wbi_window_pop(w), 1);
	wbi_window_mark_sent(w, 1, &repeat);
	assert_true(repeat);
	assert_int_equal(wbi_window_pop(w), 4);
	assert_int_equal(wbi_window_pop(w), 0);
	wbi_window_tick(w, 499);
	assert_int_equal(wbi_window_pop(w), 0);
	assert_int_equal(wbi_window_due_us(w), 500);
	wbi_window_tick(w, 500);
	assert_int_equal(wbi_window_pop(w), 3);
	assert_int_equal(wbi_window_exposed(w), 4);
	wbi_window_free(w);
}

static void a_held_exchange_leaves_the_window(void **state)
{
	wbi_window *w = window_of(8);

	(void)state;
	wbi_window_add(w, 1, 0); /* 1: key 1, exchange 0 */
	send(w, 1);
	wbi_window_add(w, 1, 1); /* 2: key 1, exchange 1, waits */
	wbi_window_add(w, 2, 1); /* 3: key 2, exchange 1 */
	send(w, 3);
	wbi_window_add(w, 2, 0); /* 4: key 2, exchange 0, waits */
	wbi_window_lost(w);
	assert_int_equal(wbi_window_hold(w, 1), 2);
	assert_int_equal(wbi_window_slot(w, 3)->state, WBI_SLOT_DONE);
	assert_int_equal(wbi_window_slot(w, 2)->exchange, WBI_WINDOW_HELD);
	assert_int_equal(wbi_window_pop(w), 1);
	assert_int_equal(wbi_window_pop(w), 4);
	send(w, 1);
	wbi_window_mark_done(w, 1);
	assert_int_equal(wbi_window_pop(w), 2);
	wbi_window_free(w);
}

/* A thousand random walks: never two of a key in flight, never out of order,
 * every position settled once. */
static void random_walks_keep_order_per_key(void **state)
{
	enum { KEYS = 9, POSITIONS = 600 };
	seeded_random random;

	(void)state;
	seeded_random_init(&random, 42);
	for (int walk = 0; walk < 300; walk++) {
		uint32_t size = 1 + (uint32_t)seeded_random_below(&random, 40);
		wbi_window *w = window_of(size);
		uint64_t key_of[POSITIONS + 1], last[KEYS + 1] = {0};
		uint64_t flying[64], count = 0, settled = 0;

		while (settled < POSITIONS) {
			uint64_t p = wbi_window_pop(w), dice;

			if (p == 0 && !wbi_window_full(w) &&
			    wbi_window_high(w) < POSITIONS) {
				uint64_t key = 1 + seeded_random_below(
							   &random, KEYS);

				p = wbi_window_high(w) + 1;
				key_of[p] = key;
				if (wbi_window_add(w, key, 0) !=
				    WBI_SLOT_READY)
					p = 0;
			}
			if (p != 0) {
				send(w, p);
				flying[count++] = p;
			}
			if (count == 0)
				continue;
			dice = seeded_random_below(&random, 20);
			if (dice == 0) {
				wbi_window_lost(w);
				count = 0;
			} else if (dice < 12) {
				uint64_t i =
					seeded_random_below(&random, count);

				p = flying[i];
				flying[i] = flying[--count];
				assert_true(last[key_of[p]] < p);
				last[key_of[p]] = p;
				wbi_window_mark_done(w, p);
				settled++;
			} else if (dice < 14) {
				wbi_window_mark_nacked(w, flying[--count], 0);
				wbi_window_tick(w, 1);
			}
			wbi_window_commit(w, wbi_window_low(w));
		}
		assert_int_equal(wbi_window_low(w), POSITIONS);
		wbi_window_free(w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_key_goes_one_at_a_time),
		cmocka_unit_test(unordered_positions_wait_for_nobody),
		cmocka_unit_test(parking_takes_the_followers_along),
		cmocka_unit_test(what_need_not_park_goes_in_order),
		cmocka_unit_test(what_is_lost_is_sent_again_in_order),
		cmocka_unit_test(a_held_exchange_leaves_the_window),
		cmocka_unit_test(random_walks_keep_order_per_key),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
