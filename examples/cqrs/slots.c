/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The read side: answers from the read model alone. It does not know where
 * parking's store is, and never waits for it; with --at-least it waits until
 * the model has what the asker has written.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <waybill/read.h>

enum { PATIENCE_MS = 5000 };

static int fail(const wb_error *err)
{
	fprintf(stderr, "slots: %s\n", err->text);
	return 1;
}

static int show(wb_read *read, const char *slot)
{
	wb_error err = WB_ERROR_INIT;
	bool aside = false;
	wb_str row;
	wb_code code = wb_read_get(read, "slots", wb_str_from(slot), &row,
				   &err);

	if (code == WB_ENOTFOUND) {
		fprintf(stderr, "slots: there is no slot %s\n", slot);
		return 3;
	}
	if (code != WB_OK)
		return fail(&err);
	printf("%.*s\n", (int)row.len, row.ptr);
	if (wb_read_is_aside(read, wb_str_from(slot), &aside, NULL, NULL) ==
		    WB_OK &&
	    aside)
		fprintf(stderr, "slots: %s has later events that could not be "
				"applied\n",
			slot);
	return 0;
}

/* All of them, or those in one state: one snapshot, so they add up. */
static int list(wb_read *read, const char *state)
{
	wb_read_query query = WB_READ_QUERY_INIT;
	wb_error err = WB_ERROR_INIT;
	wb_read_row row;
	wb_code code;

	query.table = "slots";
	query.index = state ? "by_state" : NULL;
	query.equal = wb_str_from(state);
	code = wb_read_scan(read, &query, &err);
	while (code == WB_OK) {
		code = wb_read_next(read, &row, &err);
		if (code == WB_OK)
			printf("%.*s\t%.*s\n", (int)row.key.len, row.key.ptr,
			       (int)row.value.len, row.value.ptr);
	}
	return code == WB_ENOTFOUND ? 0 : fail(&err);
}

static int totals(wb_read *read)
{
	wb_read_query query = WB_READ_QUERY_INIT;
	wb_error err = WB_ERROR_INIT;
	wb_read_row row;
	wb_code code;

	query.table = "totals";
	code = wb_read_scan(read, &query, &err);
	while (code == WB_OK) {
		code = wb_read_next(read, &row, &err);
		if (code == WB_OK)
			printf("%.*s %.*s\n", (int)row.key.len, row.key.ptr,
			       (int)row.value.len, row.value.ptr);
	}
	return code == WB_ENOTFOUND ? 0 : fail(&err);
}

static int lag(wb_read *read)
{
	wb_error err = WB_ERROR_INIT;
	wb_read_lag behind;

	if (wb_read_get_lag(read, &behind, &err) != WB_OK)
		return fail(&err);
	printf("generation %" PRIu32 ", position %" PRIu64 " of %" PRIu64
	       ", %.3f s behind\n",
	       wb_read_generation(read), wb_read_position(read), behind.head,
	       (double)behind.lag_us / 1e6);
	return 0;
}

static int answer(wb_read *read, int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[0], "show"))
		return show(read, argv[1]);
	if ((argc == 1 || argc == 2) && !strcmp(argv[0], "ls"))
		return list(read, argc == 2 ? argv[1] : NULL);
	if (argc == 1 && !strcmp(argv[0], "totals"))
		return totals(read);
	if (argc == 1 && !strcmp(argv[0], "lag"))
		return lag(read);
	fprintf(stderr, "Usage: SLOTS_DIR=DIR slots [--at-least POSITION] "
			"show SLOT | ls [STATE] | totals | lag\n");
	return 2;
}

int main(int argc, char **argv)
{
	const char *dir = getenv("SLOTS_DIR");
	wb_error err = WB_ERROR_INIT;
	uint64_t position = 0;
	wb_read *read;
	int at = 1, code;

	if (argc > 3 && !strcmp(argv[1], "--at-least")) {
		position = strtoull(argv[2], NULL, 10);
		at = 3;
	}
	if (!dir || at >= argc)
		return answer(NULL, 0, (char *[]){(char[]){""}});
	if (wb_read_open(dir, "slots", NULL, &read, &err) != WB_OK)
		return fail(&err);
	if (wb_read_wait(read, position, PATIENCE_MS, &err) != WB_OK ||
	    wb_read_begin(read, &err) != WB_OK)
		code = fail(&err);
	else
		code = answer(read, argc - at, argv + at);
	wb_read_close(read);
	return code;
}
