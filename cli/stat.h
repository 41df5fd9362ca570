/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The figures of `waybill outbox stat`: all read first (stat_read.c), then said
 * for people or as JSON (cmd_stat.c) or as metrics (stat_metrics.c).
 */
#ifndef CLI_STAT_H
#define CLI_STAT_H

#include "cli/view.h"
#include "outbox/relay_report.h"

enum {
	STAT_EXACT = 100000, /* events counted; behind them it is estimated */
	STAT_KEYS_MAX = 1000,
	STAT_TYPES_MAX = 200, /* of events accepted unrouted */
	STAT_REASONS = 8
};

typedef struct stat_key {
	char key[512];
	uint64_t count, bytes, first_position;
	int64_t since_us;
	bool released;
} stat_key;

/* What waits for one missing exchange. */
typedef struct stat_held {
	uint64_t events, bytes;
	int64_t oldest_us; /* time of its first event; 0: not in the journal */
} stat_held;

/* How many events of a type were accepted although no queue was bound. */
typedef struct stat_type {
	char type[1100];
	uint64_t count;
} stat_type;

typedef struct stat_figures {
	cli_view view;
	int64_t now_us;
	uint64_t backlog, backlog_bytes;
	bool estimated;    /* the bytes */
	int64_t oldest_us; /* time of the oldest pending event; 0: none */
	stat_held held[CLI_HELD_MAX];
	bool held_at_least; /* there are more than were looked at */
	uint64_t parked, parked_bytes, parked_keys;
	int64_t parked_since_us;
	uint64_t by_reason[STAT_REASONS];
	stat_key *keys;
	size_t key_count, key_max;
	stat_type types[STAT_TYPES_MAX];
	size_t type_count, types_more;
	bool has_status;
	bool silent;             /* it ended without a word: killed */
	wbi_relay_status status; /* its texts are not to be used */
	char error[512];
} stat_figures;

/* Into zeroed figures with an open view, keys and key_max. */
wb_code cli_stat_read(stat_figures *f, wb_error *err);

/* How long ago; 0 if since_us is. */
int64_t cli_stat_age_us(const stat_figures *f, int64_t since_us);
/* The age of the oldest event that is not delivered: pending, held, parked. */
int64_t cli_stat_oldest_us(const stat_figures *f);
/* How long the relay is in the state that it is shown in. */
int64_t cli_stat_in_state_us(const stat_figures *f);
/* "running", "not running", "never ran"; static. */
const char *cli_stat_relay_state(const stat_figures *f);

/* Prometheus text exposition format 0.0.4, to stdout. */
void cli_stat_metrics(const stat_figures *f);

#endif
