/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Random lives of a relay over the memory broker's chaos: killed and opened
 * again, its commits refused, exchanges gone and there again, keys retried and
 * parked events discarded at any moment. At the end all is calm, every key is
 * retried, and nothing may be lost, phantom or out of order.
 *
 * `test_relay_chaos FIRST COUNT` runs other seeds than `make check` does.
 */
#include "tests/support/testing.h"

#include <stdlib.h>

#include "lib/event/record.h"
#include "outbox/parked.h"
#include "outbox/relay_internal.h"
#include "tests/outbox/relay_rig.h"
#include "tests/support/checker.h"

enum {
	TURNS = 250,
	KEYS = 4,
	SPIN_MAX = 3000,
	ROWS_MAX = 64,
	EVENTS_MAX = TURNS * 4 + 1
};

static unsigned long long first_seed = 1, seed_count = 150;

typedef struct parked_row {
	char key[16], id[32];
	uint64_t position;
} parked_row;

typedef struct life {
	relay_rig rig;
	seeded_random dice;
	checker *checker;
	MDB_txn *reader; /* the relay's map is full while it is there */
	uint64_t appended, discarded;
	bool is_discarded[EVENTS_MAX]; /* by the number in its id */
	parked_row rows[ROWS_MAX];
	size_t row_count;
} life;

static const wbi_actor operator = {{"tester", 6}, {"because", 7}};

static uint64_t draw(life *l, uint64_t below)
{
	return seeded_random_below(&l->dice, below);
}

/* ---- the world ----------------------------------------------------------- */

static void life_options(life *l)
{
	wb_relay_options *o = &l->rig.options;

	o->window = (uint32_t[]){1, 2, 3, 8, 40, 200}[draw(l, 6)];
	o->commit_ms = 1 + (uint32_t)draw(l, 100);
	o->batch_bytes = 200 + (uint32_t)draw(l, 20000);
	o->backoff_min_ms = 1 + (uint32_t)draw(l, 10);
	o->backoff_max_ms = 50;
	o->confirm_timeout_ms = 2000;
	o->probe_ms = 1 + (uint32_t)draw(l, 100);
	o->parked_max_bytes = draw(l, 4) ? 1 << 20 : 12288;
}

static void life_chaos(life *l)
{
	wb_memory_chaos chaos = WB_MEMORY_CHAOS_INIT;
	wb_error err = WB_ERROR_INIT;
	uint16_t level = (uint16_t)draw(l, 3);

	chaos.nack = (uint16_t)(30 * level);
	chaos.return_ = (uint16_t)(30 * draw(l, 3));
	chaos.cut = (uint16_t)(5 * level);
	chaos.channel_close = (uint16_t)(5 * draw(l, 3));
	chaos.hide_exchange = (uint16_t)(5 * level);
	chaos.freeze = 2;
	chaos.block = 4;
	chaos.refuse = 100;
	chaos.outage_max_us = 200000;
	chaos.read_max = 1 + (uint32_t)draw(l, 20);
	assert_ok(wb_memory_set_chaos(l->rig.memory, &chaos, &err), err);
}

static void life_begin(life *l, const char *dir, uint64_t seed)
{
	const wb_route other = {.type = "other.#", .exchange = "other"};
	wb_memory_settings settings = WB_MEMORY_SETTINGS_INIT;
	wb_error err = WB_ERROR_INIT;

	memset(l, 0, sizeof(*l));
	relay_rig_init(&l->rig, dir, seed);
	seeded_random_init(&l->dice, seed * 7919);
	l->checker = checker_new();
	assert_non_null(l->checker);
	settings.confirm_max_us = (uint32_t)draw(l, 20000);
	settings.confirm_min_us = settings.confirm_max_us / 10;
	settings.confirm_order = (wb_memory_order)draw(l, 3);
	settings.heartbeat_ms = 500;
	assert_ok(wb_memory_set(l->rig.memory, &settings, &err), err);
	life_options(l);
	relay_rig_routes(&l->rig, &other, 1);
	assert_ok(wb_memory_create_exchange(l->rig.memory, "other", "topic",
					    &err),
		  err);
	relay_rig_bind(&l->rig, "other", "#");
	relay_rig_start(&l->rig);
	life_chaos(l);
}

/* ---- what may happen in a turn ------------------------------------------- */

static void life_append(life *l)
{
	bool other = draw(l, 3) == 0, abort = draw(l, 20) == 0;
	uint64_t which = draw(l, KEYS + 1), position;
	char id[32], key[16] = "";
	wb_event event = {.type = wb_str_from(other ? "other.a" : "a")};
	wb_error err = WB_ERROR_INIT;
	static char data[2000];
	MDB_txn *txn;

	snprintf(id, sizeof(id), "e%llu", (unsigned long long)++l->appended);
	if (which > 0) /* a key stays with one exchange */
		snprintf(key, sizeof(key), "%c%d", other ? 'o' : 'a',
			 (int)which);
	event.id = wb_str_from(id);
	event.key = wb_str_from(key);
	event.data = wb_str_n(data, draw(l, 10) ? draw(l, 100) : 2000);
	assert_ok(wb_store_begin(l->rig.store, &txn, &err), err);
	assert_ok(wb_outbox_append(l->rig.outbox, txn, &event, &position, &err),
		  err);
	if (abort)
		wb_store_abort(txn);
	else
		assert_ok(wb_store_commit(l->rig.store, txn, &err), err);
	assert_true(checker_appended(l->checker, event.id, event.key, position,
				     abort ? CHECKER_ABORTED
					   : CHECKER_COMMITTED));
}

/* Steps as a loop makes them; never many without a pause. */
static void life_step(life *l, int64_t ms)
{
	int64_t end_us = l->rig.clock.mono_us + ms * 1000;
	wb_error err = WB_ERROR_INIT;
	unsigned spin = 0;

	while (l->rig.clock.mono_us < end_us) {
		assert_ok(wb_relay_step(l->rig.relay, draw(l, 8) == 0, &err),
			  err);
		spin++;
		if (wb_relay_deadline_us(l->rig.relay) >
		    l->rig.clock.mono_us) {
			fake_clock_advance_us(&l->rig.clock,
					      500 + (int64_t)draw(l, 1000));
			spin = 0;
		}
		if (spin % 64 == 63) /* a step takes some time, too */
			fake_clock_advance_us(&l->rig.clock, 100);
		assert_true(spin < SPIN_MAX);
	}
}

static bool life_visit(void *ctx, wb_str key, uint64_t position,
		       const wbi_parked *row)
{
	life *l = ctx;
	parked_row *r = &l->rows[l->row_count];
	uint64_t stored;
	wb_event event;

	assert_int_equal(wbi_record_decode(row->record.ptr, row->record.len,
					   &event, &stored, NULL),
			 WB_OK);
	assert_int_equal(stored, position);
	snprintf(r->key, sizeof(r->key), "%.*s", (int)key.len, key.ptr);
	snprintf(r->id, sizeof(r->id), "%.*s", (int)event.id.len,
		 event.id.ptr);
	r->position = position;
	return ++l->row_count < ROWS_MAX;
}

static void life_look_parked(life *l)
{
	wb_error err = WB_ERROR_INIT;
	MDB_txn *txn;

	l->row_count = 0;
	assert_ok(wbi_txn_begin(wbi_store_relay_env(l->rig.store), false, &txn,
				&err),
		  err);
	assert_ok(wbi_parked_each(l->rig.store, txn, NULL, life_visit, l, &err),
		  err);
	wbi_txn_abort(txn);
}

static uint64_t number_of(wb_str id)
{
	uint64_t number;
	char text[32];

	snprintf(text, sizeof(text), "%.*s", (int)id.len, id.ptr);
	number = strtoull(text + 1, NULL, 10);
	assert_in_range(number, 1, EVENTS_MAX - 1);
	return number;
}

/* A verb may find no room, or nothing any more. */
static void life_verb(life *l, const parked_row *r, bool retry)
{
	wb_str key = wb_str_from(r->key);
	wb_code code;

	if (retry) {
		code = wbi_parked_retry(l->rig.store, key, r->position,
					&operator, NULL);
	} else {
		code = wbi_parked_discard(l->rig.store, key, r->position,
					  &operator, NULL);
		if (code == WB_OK) {
			l->discarded++;
			l->is_discarded[number_of(wb_str_from(r->id))] = true;
			assert_true(checker_parked(l->checker,
						   wb_str_from(r->id)));
		}
	}
	assert_true(code == WB_OK || code == WB_ENOTFOUND ||
		    code == WB_EAGAIN || code == WB_EMAPFULL);
}

static void life_retry_all(life *l)
{
	life_look_parked(l);
	for (size_t i = 0; i < l->row_count; i++)
		life_verb(l, &l->rows[i], true);
}

static void life_refuse_commits(life *l)
{
	MDB_env *env = wbi_store_relay_env(l->rig.store);

	if (l->reader) {
		mdb_txn_abort(l->reader);
		l->reader = NULL;
	}
	assert_int_equal(mdb_env_set_mapsize(env, draw(l, 2) ? 1 : 1 << 24),
			 0);
	if (draw(l, 2))
		assert_int_equal(mdb_txn_begin(env, NULL, MDB_RDONLY,
					       &l->reader),
				 0);
}

static void life_allow_commits(life *l)
{
	mdb_txn_abort(l->reader);
	l->reader = NULL;
	assert_int_equal(mdb_env_set_mapsize(wbi_store_relay_env(l->rig.store),
					     1 << 24),
			 0);
}

static void life_turn(life *l)
{
	uint64_t what = draw(l, 100);

	if (what < 50) {
		for (uint64_t n = 1 + draw(l, 4); n > 0; n--)
			life_append(l);
	} else if (what < 58) {
		life_look_parked(l);
		if (l->row_count > 0)
			life_verb(l, &l->rows[draw(l, l->row_count)], true);
	} else if (what < 63) {
		life_look_parked(l);
		if (l->row_count > 0)
			life_verb(l, &l->rows[draw(l, l->row_count)], false);
	} else if (what < 66) {
		relay_rig_kill(&l->rig);
		life_options(l);
		relay_rig_start(&l->rig);
	} else if (what < 69) {
		(void)wb_memory_hide_exchange(l->rig.memory,
					      draw(l, 2) ? "events" : "other",
					      1 + draw(l, 500000), NULL);
	} else if (what < 72) {
		life_refuse_commits(l);
	} else if (what < 76) {
		life_allow_commits(l);
	}
	life_step(l, 1 + (int64_t)draw(l, draw(l, 4) ? 5 : 100));
}

/* ---- the end ------------------------------------------------------------- */

static void life_calm(life *l)
{
	wb_error err = WB_ERROR_INIT;
	wb_relay_stat stat;

	assert_ok(wb_memory_set_chaos(l->rig.memory, NULL, &err), err);
	wb_memory_block(l->rig.memory, false);
	life_allow_commits(l);
	for (int i = 0; i < 200; i++) {
		life_retry_all(l);
		life_step(l, 300);
		life_look_parked(l);
		stat = wb_relay_get_stat(l->rig.relay);
		if (stat.idle && stat.held == 0 && l->row_count == 0 &&
		    stat.cursor == stat.head)
			return;
	}
	fail_msg("the relay does not come to rest: state %d, cursor %llu of "
		 "%llu, %llu unconfirmed, %zu parked: %s",
		 (int)stat.state, (unsigned long long)stat.cursor,
		 (unsigned long long)stat.head,
		 (unsigned long long)stat.unconfirmed, l->row_count,
		 l->rig.relay->why);
}

static void life_judge(life *l)
{
	wb_relay_stat stat = wb_relay_get_stat(l->rig.relay);
	checker_counts counts;

	for (uint64_t i = 0;; i++) {
		const wb_message *m =
			wb_memory_arrival(l->rig.memory, "all", i);

		if (!m)
			break;
		/* What a lost connection had on its way may come at any later
		 * time. It comes after itself, unless that was discarded. */
		if (!l->is_discarded[number_of(m->message_id)])
			assert_true(checker_arrived(l->checker,
						    m->message_id));
	}
	counts = checker_count(l->checker);
	if (!checker_is_clean(&counts)) {
		checker_print(&counts, stderr);
		checker_explain(l->checker, stderr, 5);
	}
	assert_true(checker_is_clean(&counts));
	assert_int_equal(stat.cursor, stat.head);
	assert_int_equal(counts.parked, l->discarded);
}

static void a_life(const char *dir, uint64_t seed)
{
	static life l;

	print_message("seed %llu\n", (unsigned long long)seed);
	life_begin(&l, dir, seed);
	for (int i = 0; i < TURNS; i++)
		life_turn(&l);
	life_calm(&l);
	life_judge(&l);
	relay_rig_fini(&l.rig);
	checker_free(l.checker);
	test_remove_tree(dir);
}

static void random_lives_lose_and_reorder_nothing(void **state)
{
	test_place *place = *state;

	for (unsigned long long i = 0; i < seed_count; i++)
		a_life(place->store, first_seed + i);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			random_lives_lose_and_reorder_nothing,
			test_place_setup, test_place_teardown),
	};

	if (argc > 2) {
		first_seed = strtoull(argv[1], NULL, 10);
		seed_count = strtoull(argv[2], NULL, 10);
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
