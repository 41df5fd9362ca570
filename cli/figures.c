/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The figures of a read model: read from its own rows, and where the store is
 * open from the journal, which knows more; and said as metrics (text exposition
 * format 0.0.4). Only reads.
 */
#include "cli/figures.h"

#include "cli/command.h"
#include "lib/base/assert.h"
#include "lib/journal/journal.h"

/* What the journal itself says is newer than what the projector said. */
static void figures_from_store(wb_store *store, cli_figures *f)
{
	wbi_journal journal = wbi_journal_of(
		store, f->live.shape.source == WB_PROJECTION_OUTBOX
			       ? WBI_OUTBOX
			       : WBI_INBOX);
	uint64_t first, head;
	wbi_reader reader;
	wb_event event;
	MDB_txn *txn;
	wb_str record;

	if (strcmp(journal.origin, f->live.at.origin) != 0 ||
	    wbi_txn_begin(wb_store_env(store), false, &txn, NULL) != WB_OK)
		return;
	if (wbi_journal_range(&journal, txn, &first, &head, NULL) == WB_OK) {
		f->head = head;
		f->lag_us = 0;
	}
	if (wbi_reader_open(&reader, &journal, txn, f->live.at.position,
			    NULL) == WB_OK) {
		if (wbi_reader_next(&reader, &event, &record, NULL) == WB_OK)
			f->lag_us = cli_real_us() - event.time_us;
		wbi_reader_close(&reader);
	}
	wbi_txn_abort(txn);
	if (f->lag_us < 0)
		f->lag_us = 0;
}

wb_code cli_figures_read(wbi_home *home, wb_store *store, cli_figures *f,
			 wb_error *err)
{
	wb_code code = wbi_model_look(home, &f->model, err);

	f->name = wbi_home_name(home);
	if (code == WB_OK && f->model.pointer.live > 0)
		code = wbi_generation_look(home, f->model.pointer.live,
					   &f->live, err);
	if (code != WB_OK)
		return code;
	/* One that is just being made cannot be opened yet. */
	if (f->model.building.generation > 0)
		(void)wbi_generation_look(home, f->model.building.generation,
					  &f->building, NULL);
	f->head = f->live.row.head > f->live.at.position ? f->live.row.head
							 : f->live.at.position;
	f->lag_us = f->head > f->live.at.position ? f->live.row.lag_us : 0;
	if (f->live.row.missing > 0)
		(void)wbi_missing_look(home, f->live.number, f->missing_origin,
				       &f->missing_first, NULL);
	if (store && f->live.number > 0)
		figures_from_store(store, f);
	return WB_OK;
}

const char *cli_figures_state(const cli_figures *f)
{
	if (!f->model.running)
		return f->live.row.state == WB_PROJECTOR_STUCK ? "stuck"
							       : "not running";
	return f->model.paused
		       ? "paused"
		       : wb_projector_state_name(f->live.row.state);
}

double cli_figures_rate(const cli_figures *f)
{
	return f->model.running && f->head > f->live.at.position
		       ? (double)f->live.row.rate_milli / 1000
		       : 0;
}

/* ---- as metrics ---------------------------------------------------------- */

static double metric_of(const cli_figures *f, size_t which)
{
	switch (which) {
	case 0:
		return (double)f->live.at.position;
	case 1:
		return (double)f->head;
	case 2:
		return (double)(f->head - f->live.at.position);
	case 3:
		return (double)f->lag_us / 1e6;
	case 4:
		return (double)f->live.aside_keys;
	case 5:
		return (double)f->live.aside_events;
	case 6:
		return (double)f->live.skipped;
	case 7:
		return f->live.number;
	case 8:
		return f->model.running && f->live.row.state !=
						   WB_PROJECTOR_STUCK;
	case 9:
		return (double)f->building.at.position;
	case 10:
		return (double)f->live.row.missing;
	default:
		return (double)f->live.file_bytes;
	}
}

void cli_figures_metrics(FILE *out, const cli_figures *all, size_t count)
{
	static const struct {
		const char *name, *help;
	} metrics[] = {
		{"position", "All events up to here are in the model."},
		{"head_position", "Of the journal it follows."},
		{"lag_events", "Events that are not in the model."},
		{"lag_seconds", "Age of the oldest of them."},
		{"quarantined_keys", "Keys whose events are kept aside."},
		{"quarantined_events", "Events that are kept aside."},
		{"skipped_events", "Events that were skipped."},
		{"generation", "The live one."},
		{"running", "1 if a projector runs and is not stuck."},
		{"building_position", "Of the generation being filled."},
		{"missing_events", "Of a stream: below the highest of their "
				   "journal, and not there."},
		{"file_bytes", "Of the live generation."},
	};

	for (size_t m = 0; m < WBI_COUNT(metrics); m++) {
		fprintf(out, "# HELP waybill_projection_%s %s\n"
		       "# TYPE waybill_projection_%s gauge\n",
		       metrics[m].name, metrics[m].help, metrics[m].name);
		for (size_t i = 0; i < count; i++)
			fprintf(out, "waybill_projection_%s{projection=\"%s\"} "
			       "%.17g\n",
			       metrics[m].name, all[i].name,
			       metric_of(&all[i], m));
	}
}
