/* SPDX-License-Identifier: BSD-2-Clause */
/* inbox stat --prometheus: the figures as metrics; no series twice. */
#include <string.h>

#include "cli/inbox_stat.h"
#include "cli/metrics.h"

static void gauge(const inbox_figures *f, const char *name, double value,
		  const char *help)
{
	cli_metric_gauge(wb_store_service(f->store), name, value, help);
}

static void counter(const inbox_figures *f, const char *name, uint64_t value,
		    const char *help)
{
	cli_metric_counter(wb_store_service(f->store), name, (double)value,
			   help);
}

static void metrics_inbox(const inbox_figures *f)
{
	gauge(f, "inbox_head_position", (double)f->head,
	      "Position of the last event that was taken in.");
	gauge(f, "inbox_oldest_age_seconds",
	      (double)inbox_oldest_age_us(f) / 1e6,
	      "Age of the oldest event that some handler has not handled.");
	gauge(f, "inbox_quota_used_bytes", (double)f->quota.used_bytes,
	      "Bytes that count against the quota.");
	gauge(f, "inbox_quota_hard_bytes", (double)f->quota.hard_bytes,
	      "The quota.");
	gauge(f, "inbox_quota_soft_bytes", (double)f->quota.soft_bytes,
	      "Its soft mark.");
	gauge(f, "inbox_dead_oldest_age_seconds",
	      (double)inbox_age_us(f, f->letters_since_us) / 1e6,
	      "How long ago the oldest dead letter died.");
	cli_metric_head("inbox_dead_letters", "gauge", "Dead letters.");
	for (int i = 1; i < INBOX_REASONS; i++)
		cli_metric_value(wb_store_service(f->store),
				 "inbox_dead_letters", "reason",
				 wbi_dead_reason_name((uint8_t)i),
				 (double)f->by_reason[i]);
	if (!f->has_status)
		return;
	counter(f, "inbox_received_total", f->status.received,
		"Messages that were delivered to this store, ever.");
	counter(f, "inbox_duplicates_total", f->status.duplicates,
		"Of them, those that were known already.");
	counter(f, "inbox_refused_total", f->status.refused,
		"Of them, those that were set aside as dead letters.");
}

static void metrics_worker(const inbox_figures *f)
{
	gauge(f, "worker_up", f->active,
	      "1 while a worker has the store, connected or not.");
	gauge(f, "worker_consuming",
	      f->active && !strcmp(inbox_worker_state(f), "running"),
	      "1 while it is taking messages in.");
	if (f->has_status)
		gauge(f, "worker_status_age_seconds",
		      (double)inbox_age_us(f, f->status.updated_us) / 1e6,
		      "How long ago it last said how it is.");
}

/* ---- by handler --------------------------------------------------------- */

typedef double figure_of(const inbox_figures *f, size_t i);

static double of_position(const inbox_figures *f, size_t i)
{
	return (double)f->list.items[i].row.position;
}

static double of_backlog(const inbox_figures *f, size_t i)
{
	return (double)f->more[i].backlog;
}

static double of_lag(const inbox_figures *f, size_t i)
{
	return (double)inbox_age_us(f, f->more[i].oldest_us) / 1e6;
}

static double of_waiting(const inbox_figures *f, size_t i)
{
	return (double)f->list.items[i].row.waiting;
}

static double of_timers(const inbox_figures *f, size_t i)
{
	return (double)f->list.items[i].row.timers;
}

static double of_letters(const inbox_figures *f, size_t i)
{
	return (double)f->more[i].dead;
}

static double of_stopped(const inbox_figures *f, size_t i)
{
	return f->list.items[i].error[0] != '\0';
}

static double of_handled(const inbox_figures *f, size_t i)
{
	return (double)f->list.items[i].row.handled;
}

static double of_retries(const inbox_figures *f, size_t i)
{
	return (double)f->list.items[i].row.retries;
}

static double of_dead(const inbox_figures *f, size_t i)
{
	return (double)f->list.items[i].row.dead;
}

static double of_emitted(const inbox_figures *f, size_t i)
{
	return (double)f->list.items[i].row.emitted;
}

static void metrics_handlers(const inbox_figures *f)
{
	static const struct {
		const char *name, *type, *help;
		figure_of *figure;
	} families[] = {
		{"inbox_handler_position", "gauge",
		 "All events up to this position are handled or set aside.",
		 of_position},
		{"inbox_handler_backlog_events", "gauge",
		 "Events that it has not reached.", of_backlog},
		{"inbox_handler_lag_seconds", "gauge",
		 "Age of its oldest unhandled event.", of_lag},
		{"inbox_handler_waiting_events", "gauge",
		 "Events that wait for a retry, or behind one.", of_waiting},
		{"inbox_handler_timers", "gauge", "Timers that are set.",
		 of_timers},
		{"inbox_handler_dead_letters", "gauge",
		 "Its dead letters that are there.", of_letters},
		{"inbox_handler_stopped", "gauge",
		 "1 if it has stopped with an error.", of_stopped},
		{"inbox_handler_handled_total", "counter",
		 "Calls that ended well.", of_handled},
		{"inbox_handler_retries_total", "counter",
		 "Calls that asked to be made again.", of_retries},
		{"inbox_handler_dead_total", "counter",
		 "Events that became dead letters, ever.", of_dead},
		{"inbox_handler_emitted_total", "counter",
		 "Events that its calls appended to the outbox.", of_emitted},
	};

	for (size_t j = 0; j < sizeof(families) / sizeof(families[0]); j++) {
		cli_metric_head(families[j].name, families[j].type,
				families[j].help);
		for (size_t i = 0; i < f->list.count; i++)
			cli_metric_value(wb_store_service(f->store),
					 families[j].name, "handler",
					 f->list.items[i].name,
					 families[j].figure(f, i));
	}
}

void inbox_metrics(const inbox_figures *f)
{
	metrics_inbox(f);
	metrics_worker(f);
	metrics_handlers(f);
}
