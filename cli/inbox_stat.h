/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The figures of `waybill inbox stat`: all read first (inbox_read.c), then said
 * for people or as JSON (cmd_inbox_stat.c) or as metrics (inbox_metrics.c).
 */
#ifndef CLI_INBOX_STAT_H
#define CLI_INBOX_STAT_H

#include "cli/inbox.h"
#include "lib/journal/journal.h"

enum {
	INBOX_EXACT = 100000, /* rows looked at per table, then "at least" */
	INBOX_REASONS = 8
};

/* Of one consumer, beside its row. */
typedef struct inbox_consumer {
	uint64_t backlog;    /* events its cursor has not reached */
	int64_t oldest_us;   /* time of its oldest unhandled event; 0: none */
	uint64_t waiting, running, queued, stuck, crashed; /* rows of `work` */
	uint64_t dead;       /* letters that are there */
	int64_t next_us;     /* when its next row is due; INT64_MAX: none */
	bool at_least;       /* its rows were not all looked at */
} inbox_consumer;

typedef struct inbox_figures {
	wb_store *store;
	wbi_journal journal;
	int64_t now_us;
	uint64_t first, head;
	wbi_quota quota;
	cli_consumers list;
	inbox_consumer *more; /* one for each of the list */
	uint64_t letters;     /* dead letters, all of them */
	uint64_t by_reason[INBOX_REASONS];
	uint64_t refused_letters; /* of them, of ingest */
	int64_t letters_since_us; /* when the oldest of them died */
	bool letters_at_least;
	bool has_status, active; /* a worker has the store */
	wbi_ingest_status status; /* its texts are not to be used */
	char queue[300], vhost[300], error[512];
} inbox_figures;

/* Into zeroed figures with an open store; fini in each case. */
wb_code inbox_figures_read(inbox_figures *f, wb_error *err);
void inbox_figures_fini(inbox_figures *f);

/* How long ago; 0 if since_us is, or is to come. */
int64_t inbox_age_us(const inbox_figures *f, int64_t since_us);
/* The age of the oldest event that some consumer has not handled. */
int64_t inbox_oldest_age_us(const inbox_figures *f);
/* What the worker last said it was, and what it is: "running", "not running",
 * "never ran"; static. */
const char *inbox_said_state(const inbox_figures *f);
const char *inbox_worker_state(const inbox_figures *f);

void inbox_metrics(const inbox_figures *f);

#endif
