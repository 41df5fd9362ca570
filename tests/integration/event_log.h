/* SPDX-License-Identifier: BSD-2-Clause */
/* The permit log (data/permit-receipts.csv.gz beside the project, when it is
 * there) as events: case → key, activity → type, the row → data. */
#ifndef TESTS_EVENT_LOG_H
#define TESTS_EVENT_LOG_H

#include <stdbool.h>
#include <stddef.h>

typedef struct event_log_row {
	char key[64];       /* case:concept:name */
	char activity[128]; /* concept:name, as it stands */
	char type[160];     /* "permit." + activity in lower case, words by - */
	char time[64];      /* time:timestamp */
	char resource[64];  /* org:resource: who did it */
	char line[1024];    /* the whole row */
} event_log_row;

typedef struct event_log {
	event_log_row *rows;
	size_t count;
} event_log;

/* False: the file is not there. Fails the test if it cannot be read. */
bool event_log_load(event_log *log);
void event_log_free(event_log *log);

#endif
