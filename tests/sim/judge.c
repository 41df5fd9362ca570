/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The judgement: each committed event has exactly one end. What arrived is in
 * the queue's log, what is parked and held is read from the store by the code
 * that the command uses, what was discarded was noted when it was.
 */
#include "lib/event/envelope.h"
#include "lib/event/record.h"
#include "lib/journal/journal.h"
#include "lib/journal/maintain.h"
#include "lib/journal/parked.h"
#include "tests/sim/content.h"
#include "tests/sim/operator.h"
#include "tests/sim/world.h"

void sim_judge_whole(sim_world *w, const wb_message *message,
		     const char *app_id)
{
	wb_error err = WB_ERROR_INIT;
	const char *what = NULL;
	wbi_received r;

	if (wbi_envelope_read(message, NULL, &r, &err) != WB_OK) {
		sim_fail(w, "'%.*s' cannot be read: %s",
			 (int)message->message_id.len, message->message_id.ptr,
			 err.text);
		return;
	}
	what = sim_content_differs(&r.event);
	if (!what && !wb_str_eq(message->app_id, wb_str_from(app_id)))
		what = "its app id";
	if (!what && !message->persistent)
		what = "its delivery mode";
	if (what)
		sim_fail(w, "'%.*s' has changed on its way: %s",
			 (int)message->message_id.len, message->message_id.ptr,
			 what);
	wbi_envelope_read_fini(&r);
}

static void judge_queue(sim_world *w)
{
	const wb_message *m;

	for (uint64_t i = 0; (m = wb_memory_arrival(w->memory, "all", i));
	     i++) {
		if (!checker_arrived(w->checker, m->message_id))
			sim_fail(w, "out of memory");
		sim_judge_whole(w, m, "sim");
		for (size_t j = 0; j < m->message_id.len; j++)
			w->digest = w->digest * 1099511628211u +
				    (unsigned char)m->message_id.ptr[j];
	}
}

static uint64_t judge_parked(sim_world *w)
{
	sim_parked_list list;

	if (sim_operator_list(w->store, &list, &w->err) != WB_OK)
		sim_fail(w, "parked: %s", w->err.text);
	for (size_t i = 0; i < list.count; i++)
		if (!checker_parked(w->checker, wb_str_from(list.rows[i].id)))
			sim_fail(w, "out of memory");
	if (list.total > list.count)
		sim_fail(w, "too many parked events for the list");
	return list.total;
}

/* ---- what is held ------------------------------------------------------ */

/* The events of one exchange from a position on. */
static wb_code judge_held_events(sim_world *w, const char *exchange,
				 uint64_t first, wb_error *err)
{
	wbi_journal journal = wbi_journal_of(w->store, WBI_OUTBOX);
	wbi_reader reader;
	wb_event event;
	wb_str record;
	MDB_txn *txn;
	wb_code code = wbi_txn_begin(wb_store_env(w->store), false, &txn, err);

	if (code != WB_OK)
		return code;
	code = wbi_reader_open(&reader, &journal, txn, first - 1, err);
	while (code == WB_OK) {
		code = wbi_reader_next(&reader, &event, &record, err);
		if (code == WB_OK &&
		    !strcmp(wb_routes_match(w->options.routes, event.type)
				    ->exchange,
			    exchange) &&
		    !checker_held(w->checker, event.id))
			code = WB_ENOMEM;
	}
	wbi_reader_close(&reader);
	wbi_txn_abort(txn);
	return code == WB_ENOTFOUND ? WB_OK : code;
}

static void judge_held(sim_world *w)
{
	const wbi_relay_tables *tables = wbi_store_relay_tables(w->store);
	wbi_held row;
	MDB_txn *txn;

	for (size_t i = 0; i < SIM_EXCHANGES && !w->failed; i++) {
		const char *name = w->exchanges[i].name;
		wb_code code = wbi_txn_begin(wbi_store_relay_env(w->store),
					     false, &txn, &w->err);

		if (code == WB_OK) {
			code = wbi_held_get(txn, tables->held,
					    wb_str_from(name), &row, &w->err);
			wbi_txn_abort(txn);
		}
		if (code == WB_OK && !w->exchanges[i].missing)
			sim_fail(w, "'%s' is held, but it is there", name);
		if (code == WB_OK)
			code = judge_held_events(w, name, row.first_position,
						 &w->err);
		if (code != WB_OK && code != WB_ENOTFOUND)
			sim_fail(w, "held: %s", w->err.text);
	}
}

/* ---- counts ------------------------------------------------------------ */

/* Every loss of a connection or channel may repeat a window, a nack or a
 * straggler one event, a restore all; nothing else repeats anything. */
static uint64_t judge_repeats_max(const sim_world *w)
{
	wb_memory_stat stat = wb_memory_get_stat(w->memory);
	uint64_t losses = stat.downs + stat.channel_closes + w->tally.deaths +
			  w->tally.restarts * SIM_RELAYS + SIM_RELAYS;

	return losses * w->options.window + stat.nacked + stat.stragglers +
	       w->repeats_max;
}

static uint64_t judge_unrouted(sim_world *w)
{
	const wbi_relay_tables *tables = wbi_store_relay_tables(w->store);
	uint64_t count = 0;
	MDB_txn *txn;
	wb_code code = wbi_txn_begin(wbi_store_relay_env(w->store), false, &txn,
				     &w->err);

	if (code == WB_OK) {
		code = wbi_count_get(txn, tables->status,
				     wb_str_from("unrouted/audit.noted"),
				     &count, &w->err);
		wbi_txn_abort(txn);
	}
	if (code != WB_OK)
		sim_fail(w, "unrouted: %s", w->err.text);
	return count;
}

static void judge_counts(sim_world *w)
{
	const checker_counts *n = &w->tally.counts;
	uint64_t unrouted = judge_unrouted(w);

	if (!checker_is_clean(n))
		sim_fail(w, "lost %llu, phantom %llu, reordered %llu",
			 (unsigned long long)n->lost,
			 (unsigned long long)n->phantom,
			 (unsigned long long)n->reordered);
	if (n->parked > 0 && !w->leave_parked && !w->leave_missing)
		sim_fail(w, "%llu still parked",
			 (unsigned long long)n->parked);
	/* One that was counted may have arrived too: a copy of it, sent on a
	 * connection that was lost, was routed. */
	if (n->unseen > unrouted)
		sim_fail(w, "%llu were not seen, %llu counted as unrouted",
			 (unsigned long long)n->unseen,
			 (unsigned long long)unrouted);
	if (n->duplicate > judge_repeats_max(w))
		sim_fail(w, "%llu repeats, %llu at most can be explained",
			 (unsigned long long)n->duplicate,
			 (unsigned long long)judge_repeats_max(w));
}

/* ---- the store, as `waybill fsck` sees it -------------------------------- */

static void judge_finding(void *ctx, const wbi_finding *finding)
{
	sim_fail(ctx, "check: %s %s at %llu: %s", finding->file,
		 finding->table, (unsigned long long)finding->position,
		 finding->text);
}

static void judge_store(sim_world *w, uint64_t parked, uint64_t cursor)
{
	const wbi_check_report report = {.finding = judge_finding, .ctx = w};
	wbi_check_result result = {0};
	char path[PATH_MAX];
	wb_code code;

	for (size_t i = 0; i < SIM_RELAYS; i++)
		sim_relay_kill(w, &w->relays[i]);
	wb_outbox_close(w->outbox);
	wb_store_close(w->store);
	w->outbox = NULL;
	w->store = NULL;
	code = wbi_store_check(
		sim_world_path(w, "store", w->store_number, path), &report,
		&result, &w->err);
	w->tally.checked++;
	if (code != WB_OK)
		sim_fail(w, "check: %s", w->err.text);
	if (result.head != w->head || result.parked != parked ||
	    result.cursor != cursor)
		sim_fail(w,
			 "check: head %llu, not %llu; parked %llu, not %llu; "
			 "cursor %llu, not %llu",
			 (unsigned long long)result.head,
			 (unsigned long long)w->head,
			 (unsigned long long)result.parked,
			 (unsigned long long)parked,
			 (unsigned long long)result.cursor,
			 (unsigned long long)cursor);
}

void sim_world_judge(sim_world *w)
{
	wb_memory_stat stat = wb_memory_get_stat(w->memory);
	uint64_t parked;

	judge_queue(w);
	parked = judge_parked(w);
	judge_held(w);
	w->tally.counts = checker_count(w->checker);
	w->tally.downs = stat.downs;
	w->tally.channel_closes = stat.channel_closes;
	w->tally.nacks = stat.nacked;
	w->tally.returns = stat.returned;
	w->tally.blocks = stat.blocks;
	if (!w->failed)
		judge_counts(w);
	if (!w->failed && w->seed % (w->streams ? SIM_CHECK_STREAMS_EVERY
						 : SIM_CHECK_EVERY) == 0)
		judge_store(w, parked, w->head);
}
