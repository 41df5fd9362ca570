/* SPDX-License-Identifier: BSD-2-Clause */
/* Ingest: what is no event, stores without room, queues of other stores, and
 * what an operator reads. */
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/event/raw.h"
#include "tests/inbox/ingest_rig.h"
#include "tests/support/testing.h"

/* ---- what is no event ------------------------------------------------- */

static wbi_dead dead_at(ingest_rig *rig, uint64_t number, MDB_txn **ret_txn)
{
	wb_error err = WB_ERROR_INIT;
	wbi_dead dead;

	assert_ok(wbi_txn_begin(wb_store_env(rig->store), false, ret_txn, &err),
		  err);
	assert_ok(wbi_dead_get(*ret_txn, wbi_store_get_tables(rig->store)->dead,
			       number, &dead, &err),
		  err);
	return dead;
}

static bool holds(wb_str text, const char *part)
{
	size_t len = strlen(part);

	for (size_t at = 0; at + len <= text.len; at++)
		if (!memcmp(text.ptr + at, part, len))
			return true;
	return false;
}

static wb_message message_of(const wb_header *headers, size_t count,
			     wb_str body)
{
	wb_message message = {.exchange = S("events"),
			      .routing_key = S("a.b"),
			      .headers = headers,
			      .header_count = count,
			      .body = body};

	return message;
}

static void what_is_no_event_is_set_aside_with_its_bytes(void **state)
{
	test_place *place = *state;
	const wb_header headers[] = {{S("ce-specversion"), S("1.0")},
				     {S("ce-type"), S("a.b")},
				     {S("ce-source"), S("/who")},
				     {S("odd"), S("\x01\xff")}};
	wb_message message = message_of(headers, 4, S("body \0 bytes"));
	wb_header back[8];
	wb_error err = WB_ERROR_INIT;
	wb_message raw;
	wbi_dead dead;
	ingest_rig rig;
	MDB_txn *txn;

	ingest_rig_init(&rig, place->store, 1);
	ingest_rig_start(&rig);
	ingest_rig_ready(&rig);
	ingest_rig_fill(&rig, 1, 3);
	ingest_rig_publish(&rig, &message);
	ingest_rig_fill(&rig, 4, 6);
	ingest_rig_settle(&rig);
	ingest_rig_assert_each_once(&rig, 6);
	assert_int_equal(ingest_rig_stat(&rig).refused, 1);
	assert_int_equal(ingest_rig_stat(&rig).received, 7);
	assert_int_equal(ingest_rig_queue(&rig).acked, 7);
	dead = dead_at(&rig, 1, &txn);
	assert_int_equal(dead.reason, WBI_DEAD_MALFORMED);
	assert_int_equal(dead.code, WB_EINVAL);
	assert_int_equal(dead.consumer.len, 0);
	assert_int_equal(dead.position, 0);
	assert_true(dead.first_us > 0 && dead.first_us == dead.last_us);
	assert_true(wb_str_eq(dead.source, S("/who")));
	assert_true(wb_str_eq(dead.type, S("a.b")));
	assert_true(holds(dead.text, "without an id"));
	assert_ok(wbi_raw_decode(dead.bytes, back, 8, &raw, &err), err);
	assert_true(wb_str_eq(raw.body, message.body));
	assert_true(wb_str_eq(raw.routing_key, message.routing_key));
	assert_int_equal(raw.header_count, 4);
	assert_true(wb_str_eq(raw.headers[3].value, S("\x01\xff")));
	wbi_txn_abort(txn);
	ingest_rig_fini(&rig);
}

static void what_is_set_aside_is_so_once_though_it_comes_again(void **state)
{
	test_place *place = *state;
	wb_message message = message_of(NULL, 0, S("no id"));
	ingest_rig rig;

	ingest_rig_init(&rig, place->store, 1);
	ingest_rig_start(&rig);
	ingest_rig_ready(&rig);
	ingest_rig_fill(&rig, 1, 1);
	ingest_rig_settle(&rig);
	wb_memory_duplicate_next(rig.memory, 1);
	ingest_rig_publish(&rig, &message);
	ingest_rig_settle(&rig);
	assert_int_equal(ingest_rig_stat(&rig).refused, 1);
	assert_int_equal(ingest_rig_stat(&rig).duplicates, 1);
	/* Committed, and dead before the ack is read. */
	message.body = S("another");
	ingest_rig_publish(&rig, &message);
	while (ingest_rig_stat(&rig).refused < 2)
		ingest_rig_run(&rig, 1);
	ingest_rig_kill(&rig);
	ingest_rig_start(&rig);
	ingest_rig_settle(&rig);
	assert_int_equal(ingest_rig_stat(&rig).duplicates, 1);
	assert_int_equal(ingest_rig_dead(&rig), 2);
	/* But what was sent twice was sent twice. */
	ingest_rig_publish(&rig, &message);
	ingest_rig_settle(&rig);
	assert_int_equal(ingest_rig_dead(&rig), 3);
	ingest_rig_fini(&rig);
}

static void what_is_over_a_limit_says_so(void **state)
{
	test_place *place = *state;
	const wb_header undecoded = {S(WB_HEADER_UNDECODED),
				     S("a table nested deeper than 8 levels")};
	char *body = calloc(1, 3000);
	wb_message message = message_of(NULL, 0, wb_str_n(body, 3000));
	wbi_dead dead;
	ingest_rig rig;
	MDB_txn *txn;

	ingest_rig_init(&rig, place->store, 1);
	rig.options.limits.body_bytes = 1000;
	ingest_rig_start(&rig);
	ingest_rig_ready(&rig);
	message.message_id = S("large");
	ingest_rig_publish(&rig, &message);
	message = message_of(&undecoded, 1, S(""));
	message.message_id = S("deep");
	ingest_rig_publish(&rig, &message);
	ingest_rig_settle(&rig);
	assert_int_equal(ingest_rig_stat(&rig).refused, 2);
	dead = dead_at(&rig, 1, &txn);
	assert_int_equal(dead.reason, WBI_DEAD_TOO_LARGE);
	assert_true(wb_str_eq(dead.id, S("large")));
	wbi_txn_abort(txn);
	dead = dead_at(&rig, 2, &txn);
	assert_int_equal(dead.reason, WBI_DEAD_TOO_LARGE);
	assert_true(holds(dead.text, "deeper than 8 levels"));
	wbi_txn_abort(txn);
	ingest_rig_fini(&rig);
	free(body);
}

static void without_an_id_the_body_can_stand_for_one(void **state)
{
	test_place *place = *state;
	wb_message message = message_of(NULL, 0, S("abc"));
	ingest_rig rig;

	ingest_rig_init(&rig, place->store, 1);
	rig.options.id_from_body = true;
	ingest_rig_start(&rig);
	ingest_rig_ready(&rig);
	ingest_rig_publish(&rig, &message);
	ingest_rig_publish(&rig, &message);
	message.routing_key = WB_STR_NULL; /* no type either: no event */
	ingest_rig_publish(&rig, &message);
	ingest_rig_settle(&rig);
	assert_int_equal(ingest_rig_count(&rig), 1);
	assert_int_equal(ingest_rig_stat(&rig).duplicates, 1);
	assert_int_equal(ingest_rig_stat(&rig).refused, 1);
	/* FIPS 180-4's own example. */
	assert_true(wb_str_eq(
		ingest_rig_event(&rig, 1)->id,
		S("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f200"
		  "15ad")));
	ingest_rig_fini(&rig);
}

static void a_sender_without_a_name_has_one_all_the_same(void **state)
{
	test_place *place = *state;
	wb_message message = {
		.routing_key = S("q"), .message_id = S("m-1"), .body = S("x")};
	ingest_rig rig;

	ingest_rig_init(&rig, place->store, 1);
	ingest_rig_start(&rig);
	ingest_rig_ready(&rig);
	ingest_rig_publish(&rig, &message);
	ingest_rig_publish(&rig, &message);
	ingest_rig_settle(&rig);
	assert_int_equal(ingest_rig_count(&rig), 1);
	assert_true(
		wb_str_eq(ingest_rig_event(&rig, 1)->source, S("amq.default")));
	ingest_rig_fini(&rig);
}

static void a_refused_message_can_be_taken_in_later(void **state)
{
	test_place *place = *state;
	wb_message message = message_of(NULL, 0, S("late"));
	wb_error err = WB_ERROR_INIT;
	uint64_t position = 7;
	ingest_rig rig;
	MDB_txn *txn;

	ingest_rig_init(&rig, place->store, 1);
	assert_ok(wb_store_begin(rig.store, &txn, &err), err);
	assert_code(wbi_ingest_message(rig.store, txn, &message, false, NULL, 0,
				       &position, &err),
		    WB_EINVAL, err);
	assert_int_equal(position, 7);
	assert_ok(wbi_ingest_message(rig.store, txn, &message, true, NULL, 0,
				     &position, &err),
		  err);
	assert_int_equal(position, 1);
	assert_ok(wbi_ingest_message(rig.store, txn, &message, true, NULL, 0,
				     &position, &err),
		  err);
	assert_int_equal(position, 0);
	assert_ok(wb_store_commit(rig.store, txn, &err), err);
	assert_int_equal(ingest_rig_count(&rig), 1);
	ingest_rig_fini(&rig);
}

/* ---- no room ---------------------------------------------------------- */

/* A consumer that has handled nothing keeps the inbox full. */
static void put_consumer(ingest_rig *rig, uint64_t position)
{
	wbi_consumer row = {.kind = WBI_CONSUMER_HANDLER, .position = position};
	wb_error err = WB_ERROR_INIT;
	MDB_txn *txn;

	strcpy(row.origin, wbi_store_get_info(rig->store)->inbox_origin);
	assert_ok(wb_store_begin(rig->store, &txn, &err), err);
	assert_ok(wbi_consumer_put(txn,
				   wbi_store_get_tables(rig->store)->consumers,
				   'i', S("slow"), &row, &err),
		  err);
	assert_ok(wb_store_commit(rig->store, txn, &err), err);
}

static void init_small(ingest_rig *rig, const char *dir)
{
	wb_store_options options = test_store_options();
	wb_error err = WB_ERROR_INIT;

	ingest_rig_init(rig, dir, 1);
	wb_store_close(rig->store);
	test_remove_tree(dir);
	options.clock = &rig->clock.clock;
	options.random = &rig->random.random;
	options.quota_bytes = 200 * 1024;
	assert_ok(wb_store_create(dir, &options, &err), err);
	assert_ok(wb_store_open(dir, &options, &rig->store, &err), err);
	put_consumer(rig, 0);
}

static void without_room_nothing_is_acked_until_there_is(void **state)
{
	test_place *place = *state;
	uint64_t held;
	ingest_rig rig;

	init_small(&rig, place->store);
	ingest_rig_start(&rig);
	ingest_rig_ready(&rig);
	ingest_rig_fill(&rig, 1, 3000);
	ingest_rig_run(&rig, 3000);
	assert_int_equal(ingest_rig_stat(&rig).state, WB_WORKER_PAUSED);
	assert_int_equal(ingest_rig_stat(&rig).error.code, WB_EQUOTA);
	held = ingest_rig_count(&rig);
	assert_in_range(held, 300, 2500);
	assert_int_equal(ingest_rig_queue(&rig).acked, held);
	assert_int_equal(ingest_rig_queue(&rig).unacked, 1000);
	assert_false(ingest_rig_stat(&rig).idle);
	for (uint64_t upto = held; held < 3000; upto += 200) {
		put_consumer(&rig, upto < 3000 ? upto : 3000);
		ingest_rig_run(&rig, 2000);
		held = ingest_rig_count(&rig);
		assert_in_range(upto, 0, 4000);
	}
	put_consumer(&rig, 3000);
	ingest_rig_settle(&rig);
	assert_int_equal(ingest_rig_stat(&rig).error.code, WB_OK);
	assert_int_equal(ingest_rig_stat(&rig).appended, 3000);
	assert_int_equal(ingest_rig_stat(&rig).duplicates, 0);
	assert_int_equal(wb_memory_get_stat(rig.memory).connects, 1);
	ingest_rig_fini(&rig);
}

/* What a service does that enlarges its map and fills it. */
static void enlarge(const char *dir)
{
	static char large[3 << 20];
	MDB_val key = {1, (void *)(uintptr_t) "k"};
	MDB_val value = {sizeof(large), large};
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;

	if (mdb_env_create(&env) || mdb_env_set_maxdbs(env, 4) ||
	    mdb_env_set_mapsize(env, 64 << 20) ||
	    mdb_env_open(env, dir, MDB_NOTLS, 0600) ||
	    mdb_txn_begin(env, NULL, 0, &txn) ||
	    mdb_dbi_open(txn, "own", MDB_CREATE, &dbi) ||
	    mdb_put(txn, dbi, &key, &value, 0) || mdb_txn_commit(txn))
		_exit(1);
	_exit(0);
}

static void a_map_that_another_process_enlarged_is_taken_over(void **state)
{
	test_place *place = *state;
	wb_store_options options = test_store_options();
	wb_error err = WB_ERROR_INIT;
	int status = 1;
	ingest_rig rig;
	pid_t child;

	ingest_rig_init(&rig, place->store, 1);
	wb_store_close(rig.store);
	test_remove_tree(place->store);
	options.clock = &rig.clock.clock;
	options.random = &rig.random.random;
	options.map_bytes = 2 << 20;
	assert_ok(wb_store_create(place->store, &options, &err), err);
	assert_ok(wb_store_open(place->store, &options, &rig.store, &err), err);
	ingest_rig_start(&rig);
	ingest_rig_ready(&rig);
	ingest_rig_fill(&rig, 1, 10);
	child = fork();
	if (child == 0)
		enlarge(place->store);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	/* Not alone in its process, it may only say so. */
	ingest_rig_run(&rig, 100);
	assert_int_equal(ingest_rig_stat(&rig).state, WB_WORKER_PAUSED);
	assert_non_null(strstr(ingest_rig_stat(&rig).error.text, "enlarged"));
	assert_int_equal(ingest_rig_queue(&rig).acked, 0);
	rig.options.sole_user = true;
	ingest_rig_settle(&rig);
	ingest_rig_assert_each_once(&rig, 10);
	ingest_rig_fini(&rig);
}

/* LMDB finds a full map in the middle of a transaction, or at its end. */
static void a_full_map_undoes_the_commit_and_acks_nothing_of_it(void **state)
{
	test_place *place = *state;
	wb_store_options options = test_store_options();
	wb_error err = WB_ERROR_INIT;
	uint64_t count;
	ingest_rig rig;

	ingest_rig_init(&rig, place->store, 1);
	wb_store_close(rig.store);
	test_remove_tree(place->store);
	options.clock = &rig.clock.clock;
	options.random = &rig.random.random;
	options.map_bytes = 1024 * 1024;
	options.quota_bytes = 1024 * 1024;
	assert_ok(wb_store_create(place->store, &options, &err), err);
	assert_ok(wb_store_open(place->store, &options, &rig.store, &err), err);
	put_consumer(&rig, 0);
	rig.options.prefetch = 500;
	ingest_rig_start(&rig);
	ingest_rig_ready(&rig);
	ingest_rig_fill(&rig, 1, 5000);
	ingest_rig_run(&rig, 5000);
	assert_int_equal(ingest_rig_stat(&rig).state, WB_WORKER_PAUSED);
	assert_int_equal(ingest_rig_stat(&rig).error.code, WB_EMAPFULL);
	count = ingest_rig_count(&rig);
	assert_in_range(count, 500, 4999);
	assert_int_equal(ingest_rig_queue(&rig).acked, count);
	assert_int_equal(ingest_rig_stat(&rig).received, count);
	ingest_rig_assert_each_once(&rig, (unsigned)count);
	ingest_rig_fini(&rig);
}

static void the_wait_for_room_looks_once_a_second(void **state)
{
	test_place *place = *state;
	wb_error err = WB_ERROR_INIT;
	int64_t steps = 0, end_us;
	bool committed;
	ingest_rig rig;

	init_small(&rig, place->store);
	ingest_rig_start(&rig);
	ingest_rig_ready(&rig);
	ingest_rig_fill(&rig, 1, 3000);
	ingest_rig_run(&rig, 3000);
	end_us = rig.clock.mono_us + 100 * 1000000;
	while (rig.clock.mono_us < end_us) {
		int64_t at_us = wbi_ingest_deadline_us(rig.ingest);

		fake_clock_advance_to_us(&rig.clock, at_us);
		assert_ok(wbi_ingest_step(rig.ingest, &committed, &err), err);
		steps++;
	}
	assert_in_range(steps, 90, 110);
	ingest_rig_fini(&rig);
}

/* RabbitMQ closes a channel that holds a delivery for half an hour. */
static void a_long_wait_for_room_is_made_without_a_connection(void **state)
{
	test_place *place = *state;
	ingest_rig rig;

	init_small(&rig, place->store);
	ingest_rig_start(&rig);
	ingest_rig_ready(&rig);
	ingest_rig_fill(&rig, 1, 3000);
	ingest_rig_run(&rig, 1000);
	assert_int_equal(ingest_rig_queue(&rig).unacked, 1000);
	fake_clock_advance_us(&rig.clock, 300000000);
	ingest_rig_run(&rig, 5);
	assert_int_equal(ingest_rig_queue(&rig).unacked, 0);
	ingest_rig_run(&rig, 20000);
	assert_int_equal(wb_memory_get_stat(rig.memory).connects, 1);
	assert_int_equal(ingest_rig_stat(&rig).state, WB_WORKER_PAUSED);
	for (uint64_t upto = 200; ingest_rig_stat(&rig).appended < 3000;
	     upto += 200) {
		put_consumer(&rig, upto < 3000 ? upto : 3000);
		ingest_rig_run(&rig, 2000);
		assert_in_range(upto, 0, 6000);
	}
	ingest_rig_settle(&rig);
	assert_int_equal(ingest_rig_stat(&rig).appended, 3000);
	ingest_rig_fini(&rig);
}

static void a_lost_connection_while_there_is_no_room_is_had_again(void **state)
{
	test_place *place = *state;
	wb_memory_cut_options cut = WB_MEMORY_CUT_INIT;
	ingest_rig rig;

	init_small(&rig, place->store);
	ingest_rig_start(&rig);
	ingest_rig_ready(&rig);
	ingest_rig_fill(&rig, 1, 3000);
	ingest_rig_run(&rig, 1000);
	cut.connection = rig.broker;
	assert_int_equal(wb_memory_cut(rig.memory, &cut, NULL), WB_OK);
	ingest_rig_run(&rig, 5);
	assert_int_equal(ingest_rig_queue(&rig).consumers, 0);
	for (uint64_t upto = 200; ingest_rig_stat(&rig).appended < 3000;
	     upto += 200) {
		put_consumer(&rig, upto < 3000 ? upto : 3000);
		ingest_rig_run(&rig, 2000);
		assert_in_range(upto, 0, 6000);
	}
	ingest_rig_settle(&rig);
	assert_int_equal(ingest_rig_stat(&rig).appended, 3000);
	ingest_rig_fini(&rig);
}

/* ---- transactions ----------------------------------------------------- */

static int64_t hurried_us(void *ctx)
{
	fake_clock *clock = ctx;

	fake_clock_advance_us(clock, 2000);
	return clock->mono_us;
}

static int64_t real_us(void *ctx)
{
	return ((fake_clock *)ctx)->real_us;
}

/* Each look at the clock says that the transaction has lasted long enough. */
static void a_slow_transaction_is_cut_short_and_gets_on(void **state)
{
	test_place *place = *state;
	uint64_t most = 0, before = 0;
	ingest_rig rig;
	wb_clock slow = {real_us, hurried_us, &rig.clock};

	ingest_rig_init(&rig, place->store, 1);
	rig.options.clock = &slow;
	ingest_rig_start(&rig);
	ingest_rig_ready(&rig);
	ingest_rig_fill(&rig, 1, 999);
	for (int i = 0; before < 999; i++) {
		uint64_t now;

		ingest_rig_run(&rig, 1);
		now = ingest_rig_stat(&rig).received;
		most = now - before > most ? now - before : most;
		before = now;
		assert_in_range(i, 0, 200);
	}
	assert_in_range(most, 1, 32);
	ingest_rig_assert_each_once(&rig, 999);
	ingest_rig_fini(&rig);
}

/* ---- whose queue it is ------------------------------------------------ */

static wb_code step_until_error(ingest_rig *rig, wb_error *err)
{
	wb_code code = WB_OK;
	bool committed;

	for (int i = 0; i < 10000 && code == WB_OK; i++) {
		code = wbi_ingest_step(rig->ingest, &committed, err);
		fake_clock_advance_us(&rig->clock, 1000);
	}
	return code;
}

static void a_queue_of_another_store_is_refused(void **state)
{
	test_place *place = *state;
	wb_store_options options = test_store_options();
	wb_error err = WB_ERROR_INIT;
	wbi_ingest_status owner;
	const char *second = test_path(place->dir, "second");
	ingest_rig rig;

	ingest_rig_init(&rig, place->store, 1);
	ingest_rig_start(&rig);
	ingest_rig_ready(&rig);
	ingest_rig_fill(&rig, 1, 10);
	ingest_rig_settle(&rig);
	owner = ingest_rig_status(&rig, (char[64]){0}, 64);
	assert_int_equal(strlen(owner.owner), WB_UUID_TEXT_LEN);
	ingest_rig_kill(&rig);
	wb_store_close(rig.store);
	options.clock = &rig.clock.clock;
	options.random = &rig.random.random;
	assert_ok(wb_store_create(second, &options, &err), err);
	assert_ok(wb_store_open(second, &options, &rig.store, &err), err);
	ingest_rig_fill(&rig, 11, 20);
	ingest_rig_start(&rig);
	assert_int_equal(step_until_error(&rig, &err), WB_EMISMATCH);
	assert_non_null(strstr(err.text, "queue 'q' belongs to another store"));
	assert_non_null(strstr(err.text, owner.owner));
	assert_non_null(strstr(err.text, "delete exchange 'q.owner'"));
	assert_int_equal(ingest_rig_stat(&rig).state, WB_WORKER_FAILED);
	assert_int_equal(ingest_rig_queue(&rig).ready, 10);
	/* The cure that it names helps. */
	ingest_rig_kill(&rig);
	assert_int_equal(wb_memory_delete_exchange(rig.memory, "q.owner", NULL),
			 WB_OK);
	ingest_rig_start(&rig);
	ingest_rig_settle(&rig);
	assert_int_equal(ingest_rig_count(&rig), 10);
	ingest_rig_fini(&rig);
}

static void an_owner_that_no_store_has_made_is_told(void **state)
{
	test_place *place = *state;
	wb_error err = WB_ERROR_INIT;
	ingest_rig rig;

	ingest_rig_init(&rig, place->store, 1);
	assert_int_equal(wb_memory_create_exchange(rig.memory, "q.owner",
						   "fanout", NULL),
			 WB_OK);
	ingest_rig_start(&rig);
	assert_int_equal(step_until_error(&rig, &err), WB_EMISMATCH);
	assert_non_null(strstr(err.text, "names no store"));
	ingest_rig_fini(&rig);
}

static void a_store_is_its_queue_s_owner_after_every_restart(void **state)
{
	test_place *place = *state;
	ingest_rig rig;

	ingest_rig_init(&rig, place->store, 1);
	for (int i = 1; i < 30; i++) {
		ingest_rig_start(&rig);
		ingest_rig_run(&rig, i);
		ingest_rig_kill(&rig);
	}
	ingest_rig_start(&rig);
	ingest_rig_ready(&rig);
	ingest_rig_fini(&rig);
}

static void a_store_keeps_to_its_queue_once_it_has_taken_from_it(void **state)
{
	test_place *place = *state;
	wb_error err = WB_ERROR_INIT;
	wbi_ingest *other = NULL;
	ingest_rig rig;

	ingest_rig_init(&rig, place->store, 1);
	ingest_rig_start(&rig);
	ingest_rig_ready(&rig);
	ingest_rig_kill(&rig);
	/* Nothing was taken in yet: a mistake is still cheap. */
	rig.options.queue = "r";
	ingest_rig_start(&rig);
	ingest_rig_ready(&rig);
	ingest_rig_fill(&rig, 1, 1);
	ingest_rig_settle(&rig);
	rig.options.queue = "q";
	assert_int_equal(wbi_ingest_open(rig.store, rig.broker, &rig.options,
					 &other, &err),
			 WB_EMISMATCH);
	assert_non_null(strstr(err.text, "takes from queue 'r' of vhost '/'"));
	assert_null(other);
	rig.options.queue = "r";
	ingest_rig_fini(&rig);
}

/* ---- what is declared ------------------------------------------------- */

/* By another connection; the reply code. */
static uint16_t declare(ingest_rig *rig, const wb_declaration *what)
{
	wb_error err = WB_ERROR_INIT;
	wb_broker_event event;
	wb_broker *broker;

	assert_ok(wb_memory_connect(rig->memory, &broker, &err), err);
	assert_ok(wb_broker_connect(broker, &err), err);
	wb_broker_step(broker);
	assert_ok(wb_broker_declare(broker, what, 1, &err), err);
	wb_broker_step(broker);
	while (wb_broker_next(broker, &event))
		if (event.kind != WB_BROKER_UP)
			break;
	wb_broker_free(broker);
	return event.reply_code;
}

static void an_argument_that_differs_is_named_with_the_cure(void **state)
{
	test_place *place = *state;
	const wb_argument arguments[] = {
		{.name = S("x-queue-type"), .text = S("quorum")},
		{.name = S("x-single-active-consumer"),
		 .is_bool = true,
		 .number = 1},
		{.name = S("x-delivery-limit"), .is_number = true, .number = 5},
		{.name = S("x-dead-letter-exchange"), .text = S("q.dead")},
		{.name = S("x-dead-letter-routing-key"), .text = S("q")}};
	const wb_declaration queue = {.kind = WB_TOPOLOGY_QUEUE,
				      .name = S("q"),
				      .arguments = arguments,
				      .argument_count = 5};
	ingest_rig rig;

	ingest_rig_init(&rig, place->store, 1);
	assert_int_equal(declare(&rig, &queue), 0);
	ingest_rig_start(&rig);
	ingest_rig_run(&rig, 2000);
	assert_int_equal(ingest_rig_stat(&rig).state, WB_WORKER_DOWN);
	assert_non_null(strstr(ingest_rig_stat(&rig).error.text,
			       "queue 'q': x-delivery-limit is 5 at the broker "
			       "and 20 here"));
	assert_non_null(strstr(ingest_rig_stat(&rig).error.text,
			       "set delivery_limit to 5"));
	rig.options.delivery_limit = 5;
	ingest_rig_ready(&rig);
	ingest_rig_fini(&rig);
}

static void only_checked_means_that_nothing_is_made(void **state)
{
	test_place *place = *state;
	const wb_declaration queue = {.kind = WB_TOPOLOGY_QUEUE,
				      .name = S("q")};
	ingest_rig rig;

	ingest_rig_init(&rig, place->store, 1);
	rig.options.declare = WB_DECLARE_CHECK;
	ingest_rig_start(&rig);
	ingest_rig_run(&rig, 1000);
	assert_non_null(strstr(ingest_rig_stat(&rig).error.text, "events"));
	assert_int_equal(
		wb_memory_create_exchange(rig.memory, "events", "topic", NULL),
		WB_OK);
	ingest_rig_run(&rig, 2000);
	assert_non_null(strstr(ingest_rig_stat(&rig).error.text, "'q'"));
	assert_int_equal(declare(&rig, &queue), 0);
	ingest_rig_ready(&rig);
	assert_int_equal(wb_memory_delete_exchange(rig.memory, "q.owner", NULL),
			 WB_ENOTFOUND);
	ingest_rig_fini(&rig);
}

static void never_declaring_only_consumes(void **state)
{
	test_place *place = *state;
	const wb_declaration queue = {.kind = WB_TOPOLOGY_QUEUE,
				      .name = S("q")};
	ingest_rig rig;

	ingest_rig_init(&rig, place->store, 1);
	rig.options.declare = WB_DECLARE_NEVER;
	ingest_rig_start(&rig);
	ingest_rig_run(&rig, 1000);
	assert_non_null(strstr(ingest_rig_stat(&rig).error.text, "no queue"));
	assert_in_range(wb_memory_get_stat(rig.memory).connects, 2, 8);
	assert_int_equal(declare(&rig, &queue), 0);
	ingest_rig_ready(&rig);
	ingest_rig_fini(&rig);
}

/* ---- the horizon ------------------------------------------------------ */

static void what_is_older_than_the_horizon_is_forgotten(void **state)
{
	test_place *place = *state;
	ingest_rig rig;

	ingest_rig_init(&rig, place->store, 1);
	rig.options.dedupe_s = 3600;
	ingest_rig_start(&rig);
	ingest_rig_ready(&rig);
	ingest_rig_fill(&rig, 1, 100);
	ingest_rig_settle(&rig);
	/* The wall clock does not matter, nor does a restart. */
	fake_clock_jump_us(&rig.clock, INT64_C(1000) * 86400 * 1000000);
	fake_clock_advance_us(&rig.clock, INT64_C(1800) * 1000000);
	ingest_rig_fill(&rig, 101, 110);
	ingest_rig_settle(&rig);
	ingest_rig_kill(&rig);
	ingest_rig_start(&rig);
	fake_clock_advance_us(&rig.clock, INT64_C(1700) * 1000000);
	ingest_rig_fill(&rig, 1, 10);
	ingest_rig_settle(&rig);
	assert_int_equal(ingest_rig_stat(&rig).duplicates, 10);
	fake_clock_advance_us(&rig.clock, INT64_C(200) * 1000000);
	ingest_rig_fill(&rig, 111, 130);
	ingest_rig_settle(&rig);
	assert_int_equal(ingest_rig_stat(&rig).duplicates, 10);
	/* What came first is too old to be known, what came later is not. */
	ingest_rig_fill(&rig, 1, 10);
	ingest_rig_fill(&rig, 101, 110);
	ingest_rig_settle(&rig);
	assert_int_equal(ingest_rig_stat(&rig).duplicates, 20);
	ingest_rig_fini(&rig);
}

#define CASE(name)                                                             \
	cmocka_unit_test_setup_teardown(name, test_place_setup,                \
					test_place_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(what_is_no_event_is_set_aside_with_its_bytes),
		CASE(what_is_set_aside_is_so_once_though_it_comes_again),
		CASE(what_is_over_a_limit_says_so),
		CASE(without_an_id_the_body_can_stand_for_one),
		CASE(a_sender_without_a_name_has_one_all_the_same),
		CASE(a_refused_message_can_be_taken_in_later),
		CASE(without_room_nothing_is_acked_until_there_is),
		CASE(a_map_that_another_process_enlarged_is_taken_over),
		CASE(a_full_map_undoes_the_commit_and_acks_nothing_of_it),
		CASE(the_wait_for_room_looks_once_a_second),
		CASE(a_long_wait_for_room_is_made_without_a_connection),
		CASE(a_lost_connection_while_there_is_no_room_is_had_again),
		CASE(a_slow_transaction_is_cut_short_and_gets_on),
		CASE(a_queue_of_another_store_is_refused),
		CASE(an_owner_that_no_store_has_made_is_told),
		CASE(a_store_is_its_queue_s_owner_after_every_restart),
		CASE(a_store_keeps_to_its_queue_once_it_has_taken_from_it),
		CASE(an_argument_that_differs_is_named_with_the_cure),
		CASE(only_checked_means_that_nothing_is_made),
		CASE(never_declaring_only_consumes),
		CASE(what_is_older_than_the_horizon_is_forgotten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
