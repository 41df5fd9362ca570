/* SPDX-License-Identifier: BSD-2-Clause */
/* outbox stat --prometheus: the figures as metrics; no series twice. */
#include <stdio.h>
#include <string.h>

#include "cli/metrics.h"
#include "cli/stat.h"

static void metric_value(const stat_figures *f, const char *name,
			 const char *label, const char *of, double value)
{
	cli_metric_value(wb_store_service(f->view.store), name, label, of,
			 value);
}

static void gauge(const stat_figures *f, const char *name, double value,
		  const char *help)
{
	cli_metric_gauge(wb_store_service(f->view.store), name, value, help);
}

static void metrics_backlog(const stat_figures *f)
{
	gauge(f, "outbox_head_position", (double)f->view.head,
	      "Position of the last committed event.");
	gauge(f, "outbox_cursor_position", (double)f->view.cursor,
	      "All events up to this position are settled.");
	gauge(f, "outbox_backlog_events", (double)f->backlog,
	      "Events that are not settled.");
	gauge(f, "outbox_backlog_bytes", (double)f->backlog_bytes,
	      "Bytes of them.");
	gauge(f, "outbox_backlog_oldest_age_seconds",
	      (double)cli_stat_age_us(f, f->oldest_us) / 1e6,
	      "Age of the oldest of them.");
	gauge(f, "outbox_oldest_age_seconds",
	      (double)cli_stat_oldest_us(f) / 1e6,
	      "Age of the oldest event that is not delivered: unsettled, held "
	      "or parked.");
	gauge(f, "outbox_quota_used_bytes", (double)f->view.quota.used_bytes,
	      "Bytes that count against the quota.");
	gauge(f, "outbox_quota_hard_bytes", (double)f->view.quota.hard_bytes,
	      "The quota.");
	gauge(f, "outbox_quota_soft_bytes", (double)f->view.quota.soft_bytes,
	      "Its soft mark.");
}

static void metrics_aside(const stat_figures *f)
{
	gauge(f, "outbox_parked_keys", (double)f->parked_keys,
	      "Ordering keys with parked events.");
	gauge(f, "outbox_parked_bytes", (double)f->parked_bytes,
	      "Bytes of parked events.");
	gauge(f, "outbox_parked_oldest_age_seconds",
	      (double)cli_stat_age_us(f, f->parked_since_us) / 1e6,
	      "How long the first of them is parked.");
	cli_metric_head("outbox_parked_events", "gauge", "Parked events.");
	for (int i = 1; i < STAT_REASONS; i++)
		if (strcmp(wbi_park_reason_name((uint8_t)i), "unknown") != 0)
			metric_value(f, "outbox_parked_events", "reason",
				     wbi_park_reason_name((uint8_t)i),
				     (double)f->by_reason[i]);
	gauge(f, "outbox_held_exchanges", (double)f->view.held_count,
	      "Missing exchanges that events wait for.");
	cli_metric_head("outbox_held_events", "gauge",
		    "Events that wait for a missing exchange.");
	for (size_t i = 0; i < f->view.held_count; i++)
		metric_value(f, "outbox_held_events", "exchange",
			     f->view.held[i].exchange,
			     (double)f->held[i].events);
	cli_metric_head("outbox_held_bytes", "gauge", "Bytes of them.");
	for (size_t i = 0; i < f->view.held_count; i++)
		metric_value(f, "outbox_held_bytes", "exchange",
			     f->view.held[i].exchange,
			     (double)f->held[i].bytes);
	cli_metric_head("outbox_held_oldest_age_seconds", "gauge",
		    "Age of the oldest event that waits for it.");
	for (size_t i = 0; i < f->view.held_count; i++)
		metric_value(f, "outbox_held_oldest_age_seconds", "exchange",
			     f->view.held[i].exchange,
			     (double)cli_stat_age_us(f, f->held[i].oldest_us) /
				     1e6);
}

static const char *counter_help(enum wbi_relay_counter counter)
{
	static const char *const help[WBI_RELAY_COUNTERS] = {
		[WBI_RELAY_UNCONFIRMED] = "Events sent and not confirmed yet.",
		[WBI_RELAY_DELIVERED] = "Events that the broker has taken and "
					"routed.",
		[WBI_RELAY_UNROUTED] = "Events accepted although no queue was "
				       "bound.",
		[WBI_RELAY_PARKED] = "Events that were parked.",
		[WBI_RELAY_NACKS] = "Negative confirms.",
		[WBI_RELAY_RETURNS] = "Events that the broker returned.",
		[WBI_RELAY_REPEATS] = "Events sent again.",
		[WBI_RELAY_CONNECTS] = "Connections that were opened.",
		[WBI_RELAY_CHANNEL_CLOSES] = "Channels that the broker closed.",
	};

	return help[counter];
}

static void metrics_relay(const stat_figures *f)
{
	char name[96];

	if (f->has_status)
		gauge(f, "relay_status_age_seconds",
		      (double)(f->now_us - f->status.updated_us) / 1e6,
		      "How long ago the relay last said how it is.");
	cli_metric_head("relay_up", "gauge",
		    "1 while a relay is running and connected.");
	metric_value(f, "relay_up", NULL, NULL,
		     strcmp(cli_stat_relay_state(f), "running") == 0);
	for (int i = 0; i < WBI_RELAY_COUNTERS && f->has_status; i++) {
		bool is_gauge = i == WBI_RELAY_UNCONFIRMED;

		snprintf(name, sizeof(name), "relay_%s%s",
			 wbi_relay_counter_name((enum wbi_relay_counter)i),
			 is_gauge ? "" : "_total");
		cli_metric_head(name, is_gauge ? "gauge" : "counter",
			    counter_help((enum wbi_relay_counter)i));
		metric_value(f, name, NULL, NULL,
			     (double)f->status.counters[i]);
	}
}

static void metrics_types(const stat_figures *f)
{
	if (f->type_count == 0)
		return;
	cli_metric_head("relay_unrouted_by_type_total", "counter",
		    "Events of a type that were accepted unrouted.");
	for (size_t i = 0; i < f->type_count; i++)
		metric_value(f, "relay_unrouted_by_type_total", "type",
			     f->types[i].type, (double)f->types[i].count);
}

void cli_stat_metrics(const stat_figures *f)
{
	metrics_backlog(f);
	metrics_aside(f);
	metrics_relay(f);
	metrics_types(f);
}
