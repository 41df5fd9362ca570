/* SPDX-License-Identifier: BSD-2-Clause */
/* See doom.h. */
#include "tests/crash/doom.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const whens[] = {"before", "after", "partial"};

enum { WHENS = 3, LINE_MAX_BYTES = 200 };

bool doom_init(doom *d, const char *name, const char *bin, const char *dir)
{
	*d = (doom){.name = name, .point_max = 256};
	snprintf(d->preload, sizeof(d->preload),
		 "LD_PRELOAD=%.4000s/.libs/killpoint.so", bin);
	snprintf(d->log, sizeof(d->log), "%.4000s/%s.points", dir, name);
	snprintf(d->log_env, sizeof(d->log_env), "KILLPOINT_LOG=%s", d->log);
	d->points = calloc(d->point_max, sizeof(*d->points));
	if (access(strchr(d->preload, '=') + 1, R_OK) == 0 && d->points)
		return true;
	perror(d->preload);
	return false;
}

void doom_fini(doom *d)
{
	free(d->points);
}

const char *const *doom_counted(doom *d)
{
	unlink(d->log);
	d->env[0] = d->preload;
	d->env[1] = d->log_env;
	d->env[2] = NULL;
	return d->env;
}

bool doom_measure(doom *d, int status)
{
	FILE *file = fopen(d->log, "r");
	char line[LINE_MAX_BYTES];

	d->calls = 0;
	while (file && fgets(line, sizeof(line), file))
		d->calls++;
	if (file)
		fclose(file);
	if (d->calls > 0) {
		printf("a %s makes %lu calls in a run\n", d->name, d->calls);
		return true;
	}
	fprintf(stderr, "doom: the %s makes no calls (status %d)\n", d->name,
		status);
	return false;
}

/* In strides that reach every number sooner or later, and early ones more
 * often: what was done before a kill is not done again. */
const char *const *doom_next(doom *d)
{
	static const unsigned long stride = 7919; /* a prime */
	unsigned long share = d->turn % 3 == 0 ? 1 : d->turn % 3 + 1;
	unsigned long all = d->calls / share + 1;
	unsigned long at = d->turn * stride % all;

	snprintf(d->number, sizeof(d->number), "KILLPOINT_N=%lu", at + 1);
	snprintf(d->when, sizeof(d->when), "KILLPOINT_WHEN=%s",
		 whens[d->turn / 3 % WHENS]);
	d->turn++;
	doom_counted(d);
	d->env[2] = d->number;
	d->env[3] = d->when;
	d->env[4] = NULL;
	return d->env;
}

static size_t doom_row(doom *d, const char *name)
{
	size_t i = 0;

	while (i < d->row_count && strcmp(d->rows[i].name, name) != 0)
		i++;
	if (i == DOOM_FUNCTIONS)
		return 0;
	if (i == d->row_count) {
		snprintf(d->rows[i].name, sizeof(d->rows[i].name), "%s", name);
		d->row_count++;
	}
	return i;
}

static bool doom_point(doom *d, const char *point)
{
	void *grown;

	for (size_t i = 0; i < d->point_count; i++)
		if (!strcmp(d->points[i], point))
			return true;
	if (d->point_count == d->point_max) {
		grown = realloc(d->points,
				2 * d->point_max * sizeof(*d->points));
		if (!grown)
			return false;
		d->points = grown;
		d->point_max *= 2;
	}
	snprintf(d->points[d->point_count++], sizeof(*d->points), "%s", point);
	return true;
}

static doom_moment doom_moment_of(const char *function, unsigned txns,
				  unsigned unacked, int handling)
{
	static const char *const of_commit[] = {"mdb_txn_commit", "pwrite",
						"writev",	  "write",
						"fdatasync",	  "msync"};

	if (handling > 0)
		return DOOM_HANDLING;
	if (txns == 0)
		return unacked > 0 ? DOOM_UNACKED : DOOM_ELSEWHERE;
	for (size_t i = 0; i < sizeof(of_commit) / sizeof(*of_commit); i++)
		if (!strcmp(function, of_commit[i]))
			return DOOM_COMMITTING;
	return DOOM_IN_TXN;
}

bool doom_note(doom *d)
{
	unsigned txns, unconfirmed, unacked;
	unsigned long ordinal, nth;
	FILE *log = fopen(d->log, "r");
	char name[40], point[96];
	doom_moment moment;
	size_t row;
	int handling, n = 0;

	if (log) {
		n = fscanf(log, "%lu %39s %lu %u %u %u %d", &ordinal, name,
			   &nth, &txns, &unconfirmed, &unacked, &handling);
		fclose(log);
	}
	if (n != 7) {
		fprintf(stderr, "doom: the %s left no line\n", d->name);
		return false;
	}
	moment = doom_moment_of(name, txns, unacked, handling);
	row = doom_row(d, name);
	d->kills++;
	d->moments[moment]++;
	d->rows[row].kills++;
	d->rows[row].moments[moment]++;
	snprintf(point, sizeof(point), "%s %s %lu", d->when, name, nth);
	return doom_point(d, point);
}

void doom_print(const doom *d)
{
	printf("%-8s %-16s %6s %9s %9s %9s %9s %9s\n", "victim", "function",
	       "kills", "handling", "in commit", "in txn", "unacked", "else");
	for (size_t i = 0; i < d->row_count; i++)
		printf("%-8s %-16s %6u %9u %9u %9u %9u %9u\n", d->name,
		       d->rows[i].name, d->rows[i].kills,
		       d->rows[i].moments[DOOM_HANDLING],
		       d->rows[i].moments[DOOM_COMMITTING],
		       d->rows[i].moments[DOOM_IN_TXN],
		       d->rows[i].moments[DOOM_UNACKED],
		       d->rows[i].moments[DOOM_ELSEWHERE]);
}
