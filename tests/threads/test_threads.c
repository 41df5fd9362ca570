/* SPDX-License-Identifier: BSD-2-Clause */
/* A whole service in one process, every part on a thread of its own: what each
 * does is done once and in order, and it ends when anybody says so. Run under
 * the thread sanitizer, too: see tests/support/analyze.sh. */
#include "tests/threads/house.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <waybill/outbox.h>
#include <waybill/read.h>

enum {
	APPENDERS = 4,
	READERS = 2,
	ROUNDS =
		60, /* transactions of each appender, a third of them aborted */
	PER_ROUND = 3,
	INCOMING = 200,
	PATIENCE_S = 20,
	LIVES = 8
};

/* What a thread found; asserted on the main one, where a test may fail. */
typedef struct hand {
	house *house;
	pthread_t thread;
	unsigned number;
	unsigned done; /* events committed, or snapshots read */
	uint64_t last; /* position */
	atomic_bool *over;
	wb_code code;
	wb_error err;
} hand;

static void hands_start(hand *hands, size_t count, house *h,
			void *(*main)(void *), atomic_bool *over)
{
	for (size_t i = 0; i < count; i++) {
		hands[i] = (hand){.house = h,
				  .number = (unsigned)i,
				  .over = over,
				  .err = WB_ERROR_INIT};
		assert_int_equal(
			pthread_create(&hands[i].thread, NULL, main, &hands[i]),
			0);
	}
}

static void hands_join(hand *hands, size_t count)
{
	for (size_t i = 0; i < count; i++)
		pthread_join(hands[i].thread, NULL);
	for (size_t i = 0; i < count; i++)
		assert_ok(hands[i].code, hands[i].err);
}

/* ---- appenders ----------------------------------------------------------- */

static wb_code append_round(hand *me, wb_outbox *outbox, bool commit,
			    wb_error *err)
{
	wb_event event = {.type = S("thing.done")};
	wb_store *store = me->house->store;
	char key[16], data[16];
	MDB_txn *txn;
	wb_code code = wb_store_begin(store, &txn, err);

	if (code != WB_OK)
		return code;
	snprintf(key, sizeof(key), "own-%u", me->number);
	event.key = wb_str_from(key);
	for (unsigned i = 1; code == WB_OK && i <= PER_ROUND; i++) {
		snprintf(data, sizeof(data), "%u", me->done + i);
		event.data = wb_str_from(data);
		code = wb_outbox_append(outbox, txn, &event, &me->last, err);
	}
	if (code != WB_OK || !commit) {
		wb_store_abort(txn);
		return code;
	}
	code = wb_store_commit(store, txn, err);
	if (code == WB_OK)
		me->done += PER_ROUND;
	return code;
}

static void *append_main(void *arg)
{
	hand *me = arg;
	wb_outbox *outbox = NULL;

	me->code = wb_outbox_open(me->house->store, NULL, &outbox, &me->err);
	for (unsigned i = 0; me->code == WB_OK && i < ROUNDS; i++)
		me->code = append_round(me, outbox, i % 3 != 1, &me->err);
	wb_outbox_close(outbox);
	return NULL;
}

/* ---- readers ------------------------------------------------------------- */

/* All counts of a snapshot are as many events as its position says. */
static wb_code read_sum(hand *me, wb_read *read, wb_error *err)
{
	wb_read_query query = WB_READ_QUERY_INIT;
	wb_code code = wb_read_begin(read, err);
	uint64_t sum = 0, position = wb_read_position(read);
	wb_read_row row;

	if (code == WB_OK)
		code = wb_read_scan(read, &query, err);
	while (code == WB_OK && (code = wb_read_next(read, &row, err)) == WB_OK)
		sum += strtoul(row.value.ptr, NULL, 10);
	if (code != WB_ENOTFOUND)
		return code;
	if (sum != position || position < me->last)
		return wb_error_set(err, WB_ECORRUPT, 0, __func__,
				    "the model is not of its position");
	me->last = position;
	me->done++;
	return WB_OK;
}

static void *read_main(void *arg)
{
	hand *me = arg;
	wb_read *read = NULL;

	me->code = wb_read_open_projector(me->house->projector, NULL, &read,
					  &me->err);
	if (me->code != WB_OK)
		return NULL;
	do {
		me->code = wb_read_wait(read, me->last + 1, 20, &me->err);
		if (me->code == WB_ETIMEOUT)
			wb_error_clear(&me->err);
		if (me->code == WB_OK || me->code == WB_ETIMEOUT)
			me->code = read_sum(me, read, &me->err);
	} while (me->code == WB_OK && !atomic_load(me->over));
	wb_read_close(read);
	return NULL;
}

/* The model has come up to `position`. */
static void wait_for_model(house *h, uint64_t position)
{
	wb_error err = WB_ERROR_INIT;
	wb_read *read;

	assert_ok(wb_read_open_projector(h->projector, NULL, &read, &err), err);
	assert_ok(wb_read_wait(read, position, PATIENCE_S * 1000, &err), err);
	wb_read_close(read);
}

/* ---- what came of it ----------------------------------------------------- */

/* Each key's data count up from 1, so nothing is lost or out of turn, and what
 * comes again is one of those before it; the worker's keys have every fifth
 * number. Returns how many came for the first time. */
static unsigned arrived_once(house *h, uint64_t arrived)
{
	unsigned own[APPENDERS] = {0}, in[5] = {0}, once = 0;

	for (uint64_t i = 0; i < arrived; i++) {
		const wb_message *m = wb_memory_arrival(h->out, "all", i);
		wb_str key = wb_memory_header(m, "ce-partitionkey");
		bool is_own = wb_str_eq(m->type, S("thing.done"));
		unsigned of = (unsigned)(key.ptr[key.len - 1] - '0'), number;
		unsigned *last = is_own ? &own[of] : &in[of];
		char data[16] = "";

		assert_in_range(of, 0, is_own ? APPENDERS - 1 : 4);
		assert_in_range(m->body.len, 1, sizeof(data) - 1);
		memcpy(data, m->body.ptr, m->body.len);
		number = (unsigned)strtoul(data, NULL, 10);
		assert_true(is_own ? number <= *last + 1 : number % 5 == of);
		if (number <= *last)
			continue;
		*last = number;
		once++;
	}
	return once;
}

static void wait_until(const atomic_uint *what, unsigned count)
{
	for (int i = 0; i < PATIENCE_S * 1000; i++) {
		if (atomic_load(what) >= count)
			return;
		usleep(1000);
	}
	fail_msg("%u, not %u", atomic_load(what), count);
}

static void every_part_on_a_thread_of_its_own_does_all_once(void **state)
{
	enum { OWN = APPENDERS * ROUNDS * PER_ROUND * 2 / 3 };
	test_place *place = *state;
	hand appenders[APPENDERS], readers[READERS];
	atomic_bool over = false;
	house h;

	house_open(&h, place->store);
	house_fill(&h, INCOMING);
	house_start(&h);
	hands_start(readers, READERS, &h, read_main, &over);
	hands_start(appenders, APPENDERS, &h, append_main, NULL);
	hands_join(appenders, APPENDERS);
	wait_until(&h.called, INCOMING);
	wait_until(&h.counted, INCOMING);
	wait_for_model(&h, OWN + INCOMING);
	atomic_store(&over, true);
	hands_join(readers, READERS);
	house_stop(&h);
	house_join(&h);
	house_send_rest(&h);
	assert_int_equal(wb_memory_get_queue_stat(h.out, "all").arrived,
			 OWN + INCOMING);
	assert_int_equal(arrived_once(&h, OWN + INCOMING), OWN + INCOMING);
	assert_int_equal(h.called, INCOMING);
	assert_true(readers[0].done > 0 && readers[1].done > 0);
	house_close(&h);
}

/* ---- stop ---------------------------------------------------------------- */

/* For the signal's handler, which takes no context. */
static house *_Atomic stopped_by_signal;

static void on_signal(int number)
{
	house *h = atomic_load(&stopped_by_signal);

	(void)number;
	if (h)
		house_stop(h);
}

static void *stop_main(void *arg)
{
	hand *me = arg;

	for (unsigned i = 0; i < me->number * 100; i++)
		sched_yield();
	house_stop(me->house);
	return NULL;
}

/* Early and late, twice and at once; a stop that comes before the loop begins
 * is not forgotten, and what was committed is not lost. A second stop waits for
 * no confirms, so some may come again. */
static void anybody_may_stop_it_at_any_time(void **state)
{
	struct sigaction action = {.sa_handler = on_signal}, before;
	test_place *place = *state;
	hand stoppers[3], appender[1];

	assert_int_equal(sigaction(SIGUSR1, &action, &before), 0);
	for (unsigned life = 0; life < LIVES; life++) {
		char dir[PATH_MAX];
		unsigned sent;
		house h;

		snprintf(dir, sizeof(dir), "%.4000s/life-%u", place->dir, life);
		house_open(&h, dir);
		house_fill(&h, 20);
		if (life % 4 == 0)
			house_stop(&h);
		house_start(&h);
		hands_start(appender, 1, &h, append_main, NULL);
		if (life % 4 == 1)
			hands_start(stoppers, 3, &h, stop_main, NULL);
		usleep(life * 1000);
		atomic_store(&stopped_by_signal, &h);
		for (size_t i = 0; life % 4 > 1 && i < HOUSE_PARTS; i++)
			pthread_kill(h.parts[i].thread, SIGUSR1);
		if (life % 4 == 1)
			hands_join(stoppers, 3);
		house_join(&h);
		atomic_store(&stopped_by_signal, NULL);
		hands_join(appender, 1);
		assert_int_equal(appender[0].done, ROUNDS * PER_ROUND * 2 / 3);
		house_send_rest(&h);
		sent = arrived_once(
			&h, wb_memory_get_queue_stat(h.out, "all").arrived);
		assert_in_range(sent, appender[0].done, appender[0].done + 20);
		house_close(&h);
		test_remove_tree(dir);
	}
	sigaction(SIGUSR1, &before, NULL);
}

#define T(test)                                                                \
	cmocka_unit_test_setup_teardown(test, test_place_setup,                \
					test_place_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(every_part_on_a_thread_of_its_own_does_all_once),
		T(anybody_may_stop_it_at_any_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
