/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/integration/event_log.h"

#include <ctype.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/support/testing.h"

enum { LOG_ROWS_MAX = 20000, LOG_FIELDS_MAX = 32 };

static const char *log_path(void)
{
	static const char *const places[] = {
		"../shared/data/permit-receipts.csv.gz",
		TOP_SRCDIR "/../shared/data/permit-receipts.csv.gz",
	};
	const char *given = getenv("WAYBILL_TEST_EVENT_LOG");

	if (given)
		return access(given, R_OK) == 0 ? given : NULL;
	for (size_t i = 0; i < 2; i++)
		if (access(places[i], R_OK) == 0)
			return places[i];
	return NULL;
}

/* Split in place at commas outside quotes; drops the quotes. */
static size_t split(char *line, char *fields[LOG_FIELDS_MAX])
{
	size_t count = 0;
	bool quoted = false;
	char *out = line;

	fields[count++] = line;
	for (char *p = line; *p && *p != '\n' && *p != '\r'; p++) {
		if (*p == '"') {
			quoted = !quoted;
		} else if (*p == ',' && !quoted) {
			*out++ = '\0';
			assert_true(count < LOG_FIELDS_MAX);
			fields[count++] = out;
		} else {
			*out++ = *p;
		}
	}
	*out = '\0';
	return count;
}

static size_t column(char *header, const char *name)
{
	char *fields[LOG_FIELDS_MAX];
	size_t count = split(header, fields);

	for (size_t i = 0; i < count; i++)
		if (!strcmp(fields[i], name))
			return i;
	fail_msg("no column %s", name);
	return 0;
}

static size_t column_of(const char *header, const char *name)
{
	char copy[1024];

	snprintf(copy, sizeof(copy), "%s", header);
	return column(copy, name);
}

static void make_type(const char *activity, char *ret, size_t size)
{
	size_t len = (size_t)snprintf(ret, size, "permit.");

	for (; *activity && len + 1 < size; activity++)
		ret[len++] = isalnum((unsigned char)*activity)
				     ? (char)tolower((unsigned char)*activity)
				     : '-';
	ret[len] = '\0';
}

bool event_log_load(event_log *log)
{
	const char *path = log_path();
	char command[1200], header[1024], line[1024];
	size_t key, activity, when, resource;
	FILE *in;

	if (!path)
		return false;
	snprintf(command, sizeof(command), "gzip -dc '%s'", path);
	in = popen(command, "r");
	assert_non_null(in);
	assert_non_null(fgets(header, sizeof(header), in));
	key = column_of(header, "case:concept:name");
	activity = column_of(header, "concept:name");
	when = column_of(header, "time:timestamp");
	resource = column_of(header, "org:resource");
	log->rows = calloc(LOG_ROWS_MAX, sizeof(*log->rows));
	log->count = 0;
	assert_non_null(log->rows);
	while (fgets(line, sizeof(line), in)) {
		event_log_row *row = &log->rows[log->count++];
		char *fields[LOG_FIELDS_MAX];

		assert_true(log->count < LOG_ROWS_MAX);
		snprintf(row->line, sizeof(row->line), "%s", line);
		row->line[strcspn(row->line, "\r\n")] = '\0';
		assert_true(split(line, fields) > when);
		snprintf(row->key, sizeof(row->key), "%s", fields[key]);
		snprintf(row->activity, sizeof(row->activity), "%s",
			 fields[activity]);
		snprintf(row->time, sizeof(row->time), "%s", fields[when]);
		snprintf(row->resource, sizeof(row->resource), "%s",
			 fields[resource]);
		make_type(row->activity, row->type, sizeof(row->type));
	}
	assert_int_equal(pclose(in), 0);
	return true;
}

void event_log_free(event_log *log)
{
	free(log->rows);
	log->rows = NULL;
}
