/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Several processes write to few streams at once, each expecting the version
 * that it has read. Whatever each of them was told was accepted must be there,
 * at the version it was told, and nothing else.
 *
 * WAYBILL_RACE_ATTEMPTS says how many there are in all; `make faults` has
 * 100,000.
 */
#include "tests/outbox/stream_rig.h"

#include <inttypes.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	WRITERS = 3,
	STREAMS = 4,
	ATTEMPTS = 5000,
	REPEAT_EVERY = 7 /* accepted writes that are made once more */
};

/* What a writer was told; shared memory. */
typedef struct accepted {
	uint32_t stream, attempt;
	uint64_t version, position;
} accepted;

typedef struct race_book {
	unsigned attempts; /* of each writer */
	struct side {
		unsigned accepted, conflicts, repeated;
		bool failed;
		wb_error err;
	} sides[WRITERS];
	accepted rows[]; /* attempts of each */
} race_book;

typedef struct writer {
	race_book *race;
	unsigned number;
	uint32_t seed;
	stream_rig rig;
	wb_error *err;
} writer;

static void stream_name(unsigned stream, char ret[16])
{
	snprintf(ret, 16, "race/%u", stream);
}

static void event_id(unsigned number, unsigned attempt, char ret[32])
{
	snprintf(ret, 32, "w%u-%u", number, attempt);
}

static wb_code write_once(writer *w, const char *stream, uint64_t expected,
			  const char *id, wb_stream_written *ret)
{
	wb_event event = {.type = S("raced"), .id = wb_str_from(id)};
	wb_stream_write write = {.stream = wb_str_from(stream),
				 .expected = expected,
				 .events = &event,
				 .count = 1};
	MDB_txn *txn = NULL;
	wb_code code = wb_store_begin(w->rig.store, &txn, w->err);

	if (code != WB_OK)
		return code;
	code = wb_stream_append(w->rig.outbox, txn, &write, ret, w->err);
	if (code == WB_OK)
		return wb_store_commit(w->rig.store, txn, w->err);
	wb_store_abort(txn);
	return code;
}

static wb_code attempt_one(writer *w, unsigned attempt)
{
	struct side *side = &w->race->sides[w->number];
	wb_stream_written written, again;
	wb_stream_info info = {0};
	char name[16], id[32];
	unsigned stream;
	wb_code code;

	w->seed = w->seed * 1664525 + 1013904223;
	stream = (w->seed >> 16) % STREAMS;
	stream_name(stream, name);
	event_id(w->number, attempt, id);
	code = wb_stream_stat(w->rig.store, NULL, wb_str_from(name), &info,
			      NULL);
	if (code != WB_OK && code != WB_ENOTFOUND)
		return code;
	if (w->seed & 0x1000)
		usleep(w->seed % 64); /* let somebody else in */
	code = write_once(w, name, info.version, id, &written);
	if (code == WB_ECONFLICT) {
		side->conflicts++;
		wb_error_clear(w->err);
		return WB_OK;
	}
	if (code != WB_OK)
		return code;
	w->race->rows[w->number * w->race->attempts + side->accepted++] =
		(accepted){stream, attempt, written.version, written.position};
	if (side->accepted % REPEAT_EVERY != 0)
		return WB_OK;
	code = write_once(w, name, info.version, id, &again);
	if (code == WB_OK && again.repeated &&
	    again.version == written.version &&
	    again.position == written.position)
		side->repeated++;
	return code;
}

static _Noreturn void writer_run(race_book *race, unsigned number,
				 const char *dir)
{
	struct side *side = &race->sides[number];
	writer w = {.race = race,
		    .number = number,
		    .seed = number * 7919 + 1,
		    .err = &side->err};
	wb_code code = wb_store_open(dir, NULL, &w.rig.store, &side->err);

	if (code == WB_OK)
		code = wb_outbox_open(w.rig.store, NULL, &w.rig.outbox,
				      &side->err);
	for (unsigned i = 0; code == WB_OK && i < race->attempts; i++)
		code = attempt_one(&w, i);
	side->failed = code != WB_OK;
	wb_outbox_close(w.rig.outbox);
	wb_store_close(w.rig.store);
	_exit(0);
}

/* What was accepted is there. */
static void judge_accepted(stream_rig *rig, const accepted *row,
			   unsigned number)
{
	wb_stream_query query = WB_STREAM_QUERY_INIT;
	wb_error err = WB_ERROR_INIT;
	wb_stream_reader *reader = NULL;
	wb_stream_event got;
	char name[16], id[32];

	stream_name(row->stream, name);
	event_id(number, row->attempt, id);
	query.stream = wb_str_from(name);
	query.after = row->version - 1;
	assert_ok(wb_stream_open(rig->store, NULL, &query, &reader, &err), err);
	assert_ok(wb_stream_next(reader, &got, &err), err);
	assert_true(wb_str_eq(got.event.id, wb_str_from(id)));
	assert_int_equal(got.event.sequence, row->version);
	assert_int_equal(got.position, row->position);
	wb_stream_close(reader);
}

/* And nothing else: as many versions as were accepted. */
static uint64_t count_versions(stream_rig *rig)
{
	uint64_t sum = 0, first, head;
	wb_error err = WB_ERROR_INIT;
	wb_stream_info info;
	char name[16];

	for (unsigned i = 0; i < STREAMS; i++) {
		stream_name(i, name);
		assert_ok(wb_stream_stat(rig->store, NULL, wb_str_from(name),
					 &info, &err),
			  err);
		sum += info.version;
	}
	test_range(rig->store, &first, &head);
	assert_int_equal(head, sum);
	return sum;
}

static unsigned attempts_each(void)
{
	const char *text = getenv("WAYBILL_RACE_ATTEMPTS");
	unsigned all = text ? (unsigned)strtoul(text, NULL, 10) : ATTEMPTS;

	assert_in_range(all, WRITERS, 10000000);
	return all / WRITERS;
}

static void race_all(race_book *race, const char *dir)
{
	pid_t pids[WRITERS];
	int status;

	for (unsigned i = 0; i < WRITERS; i++) {
		pids[i] = fork();
		assert_true(pids[i] >= 0);
		if (pids[i] == 0)
			writer_run(race, i, dir);
	}
	for (unsigned i = 0; i < WRITERS; i++) {
		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		assert_int_equal(status, 0);
		if (race->sides[i].failed)
			fail_msg("writer %u: %s", i, race->sides[i].err.text);
	}
}

static void exactly_what_was_accepted_is_there(void **state)
{
	unsigned each = attempts_each(), all = 0, conflicts = 0, repeated = 0;
	size_t size = sizeof(race_book) + WRITERS * each * sizeof(accepted);
	race_book *race = mmap(NULL, size, PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	test_place *place = *state;
	stream_rig rig;

	assert_true(race != MAP_FAILED);
	race->attempts = each;
	rig_make(&rig, place->store);
	rig_close(&rig); /* no environment may be open across a fork */
	race_all(race, place->store);
	rig_assert_sound(place->store);
	rig_open(&rig, place->store);
	for (unsigned i = 0; i < WRITERS; i++) {
		const struct side *side = &race->sides[i];

		assert_int_equal(side->accepted + side->conflicts, each);
		assert_int_equal(side->repeated, side->accepted / REPEAT_EVERY);
		for (unsigned n = 0; n < side->accepted; n++)
			judge_accepted(&rig, &race->rows[i * each + n], i);
		all += side->accepted;
		conflicts += side->conflicts;
		repeated += side->repeated;
	}
	assert_int_equal(count_versions(&rig), all);
	assert_true(conflicts > 0); /* else nothing was tried here */
	print_message("%u accepted, %u conflicts, %u repeats\n", all, conflicts,
		      repeated);
	rig_close(&rig);
	munmap(race, size);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			exactly_what_was_accepted_is_there, test_place_setup,
			test_place_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
