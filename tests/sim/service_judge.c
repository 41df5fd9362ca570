/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The judgement of the second service: what arrived in its queue against what
 * each handler left behind. Every event that arrived has had each handler's
 * effects exactly once, or is a dead letter of it, was discarded by the
 * operator, or waits behind a dead letter of its key; first arrivals of a key
 * have had them in order; every effect has told of itself exactly once, in the
 * order of effects per key; a timer fired once; nothing came from nowhere.
 *
 * The queue's log and the rows are the witnesses. A dead letter that was
 * retried after its key went on is out of order by the operator's wish. What
 * was taken in after a backup that was brought back is forgotten, and may have
 * told of effects that are undone: it is judged by what the store has now.
 */
#include "tests/sim/service.h"

#include <inttypes.h>
#include <stdlib.h>

#include "lib/event/envelope.h"
#include "lib/event/record.h"
#include "lib/journal/inbox_rows.h"
#include "lib/journal/maintain.h"
#include "lib/journal/seen.h"
#include "tests/sim/world.h"

typedef struct judge_arrival {
	char id[SIM_ID_MAX], key[SIM_ID_MAX], type[SIM_ID_MAX];
	size_t number;
} judge_arrival;

/* One message in "results": an effect that told of itself. */
typedef struct judge_told {
	char id[SIM_ID_MAX], key[SIM_ID_MAX];
	uint64_t position;
	uint64_t index; /* of arrival */
} judge_told;

typedef struct judge {
	sim_service *s;
	sim_world *w;
	MDB_txn *txn;
	wbi_seen *seen;
	judge_arrival *arrivals; /* the first of each event */
	size_t arrival_count;
	uint64_t malformed;
	judge_told *told; /* by id, then by arrival */
	size_t told_count;
	/* it is dead, or waits behind one */
	bool rest[SIM_HANDLERS][SIM_EVENTS_MAX];
	bool refused[SIM_EVENTS_MAX]; /* too large */
	bool restored;
} judge;

static void judge_text(char ret[SIM_ID_MAX], wb_str from)
{
	snprintf(ret, SIM_ID_MAX, "%.*s", (int)from.len,
		 from.ptr ? from.ptr : "");
}

/* ---- what arrived -------------------------------------------------------- */

static void judge_take_arrival(judge *j, const wb_event *event, bool *seen)
{
	judge_arrival *a = &j->arrivals[j->arrival_count];

	a->number = sim_event_number(event->id);
	if (a->number >= SIM_EVENTS_MAX) {
		sim_fail(j->w, "nobody sent '%.*s'", (int)event->id.len,
			 event->id.ptr);
		return;
	}
	if (seen[a->number])
		return;
	seen[a->number] = true;
	judge_text(a->id, event->id);
	judge_text(a->key, event->key);
	judge_text(a->type, event->type);
	j->arrival_count++;
}

static void judge_arrivals(judge *j)
{
	bool *seen = calloc(SIM_EVENTS_MAX, sizeof(*seen));
	const wb_message *m;
	wbi_received r;

	j->arrivals = calloc(SIM_EVENTS_MAX, sizeof(*j->arrivals));
	if (!seen || !j->arrivals)
		sim_fail(j->w, "out of memory");
	for (uint64_t i = 0; !j->w->failed &&
			     (m = wb_memory_arrival(j->w->memory, SIM_QUEUE, i));
	     i++) {
		if (wbi_envelope_read(m, NULL, &r, NULL) != WB_OK) {
			j->malformed++;
			continue;
		}
		judge_take_arrival(j, &r.event, seen);
		wbi_envelope_read_fini(&r);
	}
	free(seen);
}

/* ---- what became of it --------------------------------------------------- */

typedef bool judge_tell(checker *c, wb_str id);

/* Tell the checker of each id in a log. */
static void judge_log(judge *j, MDB_dbi log, checker *c, judge_tell *tell)
{
	MDB_val key, value;
	MDB_cursor *cursor;
	bool good = mdb_cursor_open(j->txn, log, &cursor) == 0;

	while (good && mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0) {
		const char *id = value.mv_data;

		good = tell(c, wb_str_n(id, value.mv_size));
		for (size_t i = 0; i < value.mv_size; i++)
			j->w->digest = j->w->digest * 1099511628211u +
				       (unsigned char)id[i];
	}
	mdb_cursor_close(cursor);
	if (!good)
		sim_fail(j->w, "a log cannot be read");
}

static void judge_note_rest(judge *j, const char *consumer, wb_str id)
{
	size_t number = sim_event_number(id), h = 0;

	while (h < SIM_HANDLERS && strcmp(sim_handler_names[h], consumer) != 0)
		h++;
	if (h < SIM_HANDLERS && number < SIM_EVENTS_MAX)
		j->rest[h][number] = true;
}

/* Dead letters of a handler, events or timers. */
static void judge_dead(judge *j, const char *consumer, bool timers, checker *c)
{
	const wbi_store_tables *tables = wbi_store_get_tables(j->s->store);
	wbi_cursor *cursor = NULL;
	uint64_t number;
	wbi_dead dead;
	wb_str row;
	wb_code code = wbi_cursor_open(j->txn, tables->dead, &cursor,
				       &j->w->err);

	while (code == WB_OK) {
		code = wbi_cursor_move_at(cursor, WBI_NEXT, &number, &row,
					  &j->w->err);
		if (code == WB_OK)
			code = wbi_dead_decode(number, row, &dead, &j->w->err);
		if (code != WB_OK ||
		    !wb_str_eq(dead.consumer, wb_str_from(consumer)) ||
		    timers != (dead.lane == WBI_LANE_TIMER))
			continue;
		j->s->tally.dead++;
		if (!timers)
			judge_note_rest(j, consumer, dead.id);
		if (dead.reason == WBI_DEAD_TOO_LARGE &&
		    sim_event_number(dead.id) < SIM_EVENTS_MAX)
			j->refused[sim_event_number(dead.id)] = true;
		if (!checker_parked(c, timers ? dead.key : dead.id))
			sim_fail(j->w, "out of memory");
	}
	wbi_cursor_close(cursor);
	if (code != WB_ENOTFOUND)
		sim_fail(j->w, "dead letters: %s", j->w->err.text);
}

static wb_code judge_held_row(judge *j, wb_str key, wb_str value,
			      const char *consumer, checker *c, wb_error *err)
{
	wb_event event;
	uint64_t position;
	wbi_work_id id;
	wbi_work row;
	wb_code code = wbi_work_key_parse(key, &id, err);

	if (code == WB_OK)
		code = wbi_work_decode(key, value, &row, err);
	if (code != WB_OK || row.state == WBI_WORK_DEAD ||
	    !wb_str_eq(id.consumer, wb_str_from(consumer)))
		return code;
	if (row.state != WBI_WORK_QUEUED)
		return wb_error_set(err, WB_ESTATE, 0, __func__,
				    "a row of %s is still in state %d",
				    consumer, row.state);
	if (id.lane == WBI_LANE_CRASHED)
		return wb_error_set(err, WB_ESTATE, 0, __func__,
				    "%s: attempts of a crash are left at "
				    "%" PRIu64,
				    consumer, id.position);
	code = wbi_record_decode(row.record.ptr, row.record.len, &event,
				 &position, err);
	if (code != WB_OK)
		return code;
	judge_note_rest(j, consumer, event.id);
	return checker_held(c, event.id) ? WB_OK : WB_ENOMEM;
}

/* What waits behind a dead letter. */
static void judge_held(judge *j, const char *consumer, checker *c)
{
	const wbi_store_tables *tables = wbi_store_get_tables(j->s->store);
	wbi_cursor *cursor = NULL;
	wb_str key, value;
	wb_code code = wbi_cursor_open(j->txn, tables->work, &cursor,
				       &j->w->err);

	while (code == WB_OK) {
		code = wbi_cursor_move(cursor, WBI_NEXT, &key, &value,
				       &j->w->err);
		if (code == WB_OK)
			code = judge_held_row(j, key, value, consumer, c,
					      &j->w->err);
	}
	wbi_cursor_close(cursor);
	if (code != WB_ENOTFOUND)
		sim_fail(j->w, "work: %s", j->w->err.text);
}

/* ---- one handler --------------------------------------------------------- */

static void judge_complain(judge *j, const char *what, checker *c,
			   bool at_least_once, bool may_rest)
{
	checker_counts n = checker_count(c);
	bool bad = !checker_is_clean(&n) || (n.duplicate > 0 && !at_least_once);

	if (bad)
		sim_fail(j->w,
			 "%s: lost %" PRIu64 ", phantom %" PRIu64
			 ", reordered %" PRIu64 ", %s %" PRIu64,
			 what, n.lost, n.phantom, n.reordered,
			 at_least_once ? "repeats" : "applied again",
			 n.duplicate);
	else if (n.parked + n.held > 0 && !may_rest)
		sim_fail(j->w, "%s: %" PRIu64 " dead, %" PRIu64 " behind them",
			 what, n.parked, n.held);
	if (bad)
		checker_explain(c, stdout, 5);
	if (at_least_once)
		n.duplicate = 0; /* as it is meant to be outside */
	checker_add(&j->s->tally.applied, &n);
}

/* Where it is in the order: as the queue had it, or, if that loses track of
 * places, as it was first taken in. */
static uint64_t judge_place(judge *j, size_t index)
{
	const judge_arrival *a = &j->arrivals[index];
	uint64_t position = 0;
	wb_code code;

	if (!j->s->misplaced)
		return index + 1;
	code = wbi_seen_get(j->seen, sim_event_source(a->number),
			    wb_str_from(a->id), &position, &j->w->err);
	if (code != WB_OK && code != WB_ENOTFOUND)
		sim_fail(j->w, "seen: %s", j->w->err.text);
	return position;
}

/* Too large in one form may be small enough in the other, if the routes have
 * changed when it is sent again. */
static bool judge_is_certain(const judge *j, size_t number)
{
	return !j->s->forgotten[number] && !j->refused[number];
}

static void judge_appended(judge *j, sim_handler h, checker *c)
{
	sim_service *s = j->s;
	bool strict = s->handlers[h].followers == WB_FOLLOWERS_WAIT;
	/* A restore undoes what was taken in, discarded and given up since, but
	 * not what was done outside in the order that was then. */
	bool undone = h == SIM_OUTSIDE && j->restored;

	for (size_t i = 0; i < j->arrival_count; i++) {
		const judge_arrival *a = &j->arrivals[i];
		const sim_note *note = &s->notes[h][a->number];
		wb_str id = wb_str_from(a->id);

		if (!sim_handler_wants(h, wb_str_from(a->type)))
			continue;
		if (!checker_appended(c, id,
				      undone || (note->revived && !strict)
					      ? WB_STR_NULL
					      : wb_str_from(a->key),
				      judge_place(j, i),
				      judge_is_certain(j, a->number)
					      ? CHECKER_COMMITTED
					      : CHECKER_FORGOTTEN) ||
		    (note->buried && !checker_discarded(c, id)))
			sim_fail(j->w, "out of memory");
	}
}

static void judge_outside(judge *j, checker *c)
{
	char id[SIM_ID_MAX];

	for (size_t i = 0; i < j->s->outside_count; i++) {
		size_t n = j->s->outside[i];

		snprintf(id, sizeof(id), "%c%zu",
			 n >= SIM_EVENTS_MAX / 2 ? 'x' : 'e',
			 n % (SIM_EVENTS_MAX / 2));
		if (!checker_arrived(c, wb_str_from(id)))
			sim_fail(j->w, "out of memory");
	}
}

static void judge_handler(judge *j, sim_handler h)
{
	const char *name = sim_handler_names[h];
	checker *c = checker_new();

	if (!c) {
		sim_fail(j->w, "out of memory");
		return;
	}
	judge_appended(j, h, c);
	if (h == SIM_OUTSIDE)
		judge_outside(j, c);
	else
		judge_log(j, j->s->logs[h], c, checker_arrived);
	judge_dead(j, name, false, c);
	judge_held(j, name, c);
	if (!j->w->failed)
		judge_complain(j, name, c, h == SIM_OUTSIDE, j->s->leave_dead);
	checker_free(c);
}

static bool judge_timer_set(checker *c, wb_str id)
{
	return checker_appended(c, id, WB_STR_NULL, 1, CHECKER_COMMITTED);
}

/* Was this timer set? A restore may have undone that, and cannot undo what an
 * operator had done with it: discarded it. */
static bool judge_is_set(judge *j, const char *id)
{
	MDB_val key, value = {0, NULL};
	MDB_cursor *cursor;
	bool found = false;

	if (mdb_cursor_open(j->txn, j->s->logs[SIM_TIMERS], &cursor) != 0)
		return false;
	while (!found && mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0)
		found = wb_str_eq(wb_str_n(value.mv_data, value.mv_size),
				  wb_str_from(id));
	mdb_cursor_close(cursor);
	return found;
}

static void judge_timers(judge *j)
{
	checker *c = checker_new();

	if (!c) {
		sim_fail(j->w, "out of memory");
		return;
	}
	judge_log(j, j->s->logs[SIM_TIMERS], c, judge_timer_set);
	for (size_t i = 0; i < j->arrival_count; i++)
		if (j->s->timer_notes[j->arrivals[i].number].buried &&
		    (!j->restored || judge_is_set(j, j->arrivals[i].id)))
			checker_discarded(c, wb_str_from(j->arrivals[i].id));
	judge_log(j, j->s->fired, c, checker_arrived);
	judge_dead(j, sim_handler_names[SIM_TIMERS], true, c);
	if (!j->w->failed)
		judge_complain(j, "timers fired", c, false, j->s->leave_dead);
	checker_free(c);
}

/* ---- what the effects told ----------------------------------------------- */

static int judge_by_id(const void *a, const void *b)
{
	const judge_told *x = a, *y = b;
	int order = strcmp(x->id, y->id);

	return order ? order : (x->index > y->index) - (x->index < y->index);
}

/* By id; one that was told by two records of the outbox is a second effect. */
static void judge_gather_told(judge *j)
{
	const wb_message *m;
	uint64_t count = wb_memory_get_queue_stat(j->w->memory, SIM_RESULTS)
				 .arrived;

	j->told = calloc(count + 1, sizeof(*j->told));
	for (uint64_t i = 0; j->told && i < count; i++) {
		judge_told *t = &j->told[i];
		char position[SIM_ID_MAX];

		m = wb_memory_arrival(j->w->memory, SIM_RESULTS, i);
		sim_judge_whole(j->w, m, "consumer");
		judge_text(t->id, m->message_id);
		judge_text(t->key, wb_memory_header(m, "ce-partitionkey"));
		judge_text(position, wb_memory_header(m, "ce-wbposition"));
		t->position = strtoull(position, NULL, 10);
		t->index = i;
	}
	if (!j->told) {
		sim_fail(j->w, "out of memory");
		return;
	}
	j->told_count = count;
	qsort(j->told, count, sizeof(*j->told), judge_by_id);
	for (uint64_t i = 1; i < count; i++)
		if (!j->restored &&
		    !strcmp(j->told[i].id, j->told[i - 1].id) &&
		    j->told[i].position != j->told[i - 1].position)
			sim_fail(j->w,
				 "'%s' was told twice, at %" PRIu64
				 " and %" PRIu64,
				 j->told[i].id, j->told[i - 1].position,
				 j->told[i].position);
}

static const judge_told *judge_find_told(const judge *j, const char *id)
{
	size_t low = 0, high = j->told_count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (strcmp(j->told[mid].id, id) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low < j->told_count && !strcmp(j->told[low].id, id)
		       ? &j->told[low]
		       : NULL;
}

/* Positions of two origins have no order between them. */
static void judge_expect(judge *j, checker *c, char letter, const char *event,
			 checker_fate fate)
{
	char id[SIM_ID_MAX + 1];
	const judge_told *told;
	bool ordered;

	snprintf(id, sizeof(id), "%c%s", letter, event);
	told = judge_find_told(j, id);
	ordered = told && !j->restored;
	if (!checker_appended(c, wb_str_from(id),
			      ordered ? wb_str_from(told->key) : WB_STR_NULL,
			      ordered ? told->position : 0, fate))
		sim_fail(j->w, "out of memory");
}

static checker_fate judge_fate(const judge *j, sim_handler h, size_t number)
{
	if (!judge_is_certain(j, number))
		return CHECKER_FORGOTTEN;
	if (!j->s->notes[h][number].buried && !j->rest[h][number])
		return CHECKER_COMMITTED;
	return j->restored ? CHECKER_FORGOTTEN : CHECKER_ABORTED;
}

/* Exactly the effects have told of themselves: what arrived, without what is
 * dead, held or discarded. */
static void judge_told_all(judge *j, checker *c)
{
	static const struct {
		sim_handler handler;
		char letter;
	} tellers[] = {{SIM_COUNT, 'c'}, {SIM_OUTSIDE, 'o'}};

	for (size_t t = 0; t < sizeof(tellers) / sizeof(tellers[0]); t++)
		for (size_t i = 0; i < j->arrival_count; i++) {
			const judge_arrival *a = &j->arrivals[i];
			sim_handler h = tellers[t].handler;

			judge_expect(j, c, tellers[t].letter, a->id,
				     judge_fate(j, h, a->number));
		}
}

static void judge_results(judge *j)
{
	checker *c = checker_new();
	const wb_message *m;

	if (!c) {
		sim_fail(j->w, "out of memory");
		return;
	}
	judge_gather_told(j);
	if (!j->w->failed)
		judge_told_all(j, c);
	for (uint64_t i = 0; !j->w->failed &&
			     (m = wb_memory_arrival(j->w->memory, SIM_RESULTS,
						    i));
	     i++)
		if (!checker_arrived(c, m->message_id))
			sim_fail(j->w, "out of memory");
	if (!j->w->failed) /* the relay may repeat itself */
		judge_complain(j, "told", c, true, false);
	checker_free(c);
}

/* ---- the rest ------------------------------------------------------------ */

/* Refused before any handler: what has no id, each that came at least once, and
 * what is too large. */
static void judge_refused(judge *j)
{
	uint64_t before = j->s->tally.dead;
	checker *c = checker_new();

	if (!c) {
		sim_fail(j->w, "out of memory");
		return;
	}
	judge_dead(j, "", false, c);
	j->s->tally.malformed += j->malformed;
	if (j->s->tally.dead - before + j->s->excused < j->malformed)
		sim_fail(j->w,
			 "%" PRIu64 " messages without an id came, %" PRIu64
			 " are set aside",
			 j->malformed, j->s->tally.dead - before);
	checker_free(c);
}

/* Each call adds one to a key's count, in the transaction of its log. */
static void judge_sum(judge *j)
{
	uint64_t sum = 0, count;
	MDB_val key, value;
	MDB_cursor *cursor;
	MDB_stat stat;

	if (mdb_stat(j->txn, j->s->logs[SIM_COUNT], &stat) != 0 ||
	    mdb_cursor_open(j->txn, j->s->counts, &cursor) != 0) {
		sim_fail(j->w, "counts cannot be read");
		return;
	}
	while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0) {
		memcpy(&count, value.mv_data, sizeof(count));
		sum += count;
	}
	mdb_cursor_close(cursor);
	if (sum != stat.ms_entries)
		sim_fail(j->w, "counted to %" PRIu64 ", with %zu calls", sum,
			 stat.ms_entries);
}

static void judge_finding(void *ctx, const wbi_finding *finding)
{
	sim_fail(ctx, "check: %s %s at %llu: %s", finding->file,
		 finding->table, (unsigned long long)finding->position,
		 finding->text);
}

static void judge_check(judge *j)
{
	const wbi_check_report report = {.finding = judge_finding, .ctx = j->w};
	wbi_check_result result = {0};
	char path[PATH_MAX];

	sim_service_close(j->s);
	if (wbi_store_check(sim_world_path(j->w, "consumer",
					   j->s->store_number, path),
			    &report, &result, &j->w->err) != WB_OK)
		sim_fail(j->w, "check of the consumer's store: %s",
			 j->w->err.text);
}

static void judge_all(judge *j)
{
	judge_arrivals(j);
	if (!j->w->failed)
		judge_refused(j);
	for (size_t h = 0; h < SIM_HANDLERS && !j->w->failed; h++)
		judge_handler(j, (sim_handler)h);
	if (!j->w->failed)
		judge_timers(j);
	if (!j->w->failed)
		judge_results(j);
	if (!j->w->failed)
		judge_sum(j);
}

void sim_service_judge(sim_service *s)
{
	judge *j = calloc(1, sizeof(*j));

	if (!j ||
	    wbi_txn_begin(wb_store_env(s->store), false, &j->txn,
			  &s->world->err) != WB_OK ||
	    wbi_seen_open(s->store, j->txn, &j->seen, &s->world->err) !=
		    WB_OK) {
		sim_fail(s->world, "the judge: %s", s->world->err.text);
		wbi_txn_abort(j ? j->txn : NULL);
		free(j);
		return;
	}
	j->s = s;
	j->w = s->world;
	j->restored = s->tally.service_restores > 0;
	judge_all(j);
	wbi_seen_close(j->seen);
	wbi_txn_abort(j->txn);
	if (!j->w->failed && j->w->seed % SIM_CHECK_EVERY == 0)
		judge_check(j);
	free(j->arrivals);
	free(j->told);
	free(j);
}
