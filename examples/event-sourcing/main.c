/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * booking: the service's command line. Commands go through the aggregate and
 * leave events; questions are answered by the read model, and those about the
 * past by the events themselves. waybill-relay publishes what is committed.
 *
 * A command that was killed has left all of its events or none. The read model
 * is brought up to date by whoever asks; a larger service would leave that to
 * a thread of its own.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <waybill/read.h>

#include "examples/event-sourcing/booking.h"

typedef struct service {
	wb_store *store;
	wb_outbox *outbox;
	wb_aggregate *booking;
	wb_error err;
	uint64_t version; /* --expect or --at; 0: not given */
} service;

/* ---- commands ----------------------------------------------------------- */

static wb_code execute(service *s, const char *ref, const char *done,
		       wb_code (*what)(wb_decision *, const void *, void *,
				       wb_error *),
		       const char *arg)
{
	wb_aggregate_command command = WB_AGGREGATE_COMMAND_INIT;
	wb_stream_written written;
	wb_code code;

	command.decide = what;
	command.arg = (void *)(uintptr_t)arg;
	command.expected = s->version ? &s->version : NULL;
	code = wb_aggregate_execute(s->booking, NULL, wb_str_from(ref),
				    &command, &written, &s->err);
	if (code == WB_OK)
		printf("%s %s, version %" PRIu64 "\n", done, ref,
		       written.version);
	return code;
}

static wb_code create(service *s, char **args)
{
	char ref[BOOKING_SLOT_MAX + WB_UUID_TEXT_LEN + 2];
	char id[WB_UUID_TEXT_LEN + 1];

	wb_uuid7(wb_system_clock(), wb_system_random(), id);
	snprintf(ref, sizeof(ref), "%.*s:%s", (int)BOOKING_SLOT_MAX, args[0],
		 id);
	return execute(s, ref, "created", booking_create, args[0]);
}

static wb_code reserve(service *s, char **args)
{
	return execute(s, args[0], "reserved", booking_reserve, NULL);
}

static wb_code complete(service *s, char **args)
{
	return execute(s, args[0], "completed", booking_complete, NULL);
}

static wb_code reject(service *s, char **args)
{
	return execute(s, args[0], "rejected", booking_reject, args[1]);
}

/* ---- the past: from the events ------------------------------------------ */

static wb_code history(service *s, char **args)
{
	wb_stream_query query = WB_STREAM_QUERY_INIT;
	wb_stream_reader *reader;
	wb_stream_event event;
	uint64_t count = 0;
	char name[256];
	wb_code code;

	snprintf(name, sizeof(name), "booking/%s", args[0]);
	query.stream = wb_str_from(name);
	code = wb_stream_open(s->store, NULL, &query, &reader, &s->err);
	if (code != WB_OK)
		return code;
	while ((code = wb_stream_next(reader, &event, &s->err)) == WB_OK) {
		printf("%" PRIu64 "  %.*s  %.*s\n", event.event.sequence,
		       (int)event.event.type.len, event.event.type.ptr,
		       (int)event.event.data.len,
		       event.event.data.len ? event.event.data.ptr : "");
		count++;
	}
	wb_stream_close(reader);
	if (code == WB_ENOTFOUND && count == 0)
		return wb_error_set(&s->err, WB_ENOTFOUND, 0, __func__,
				    "there is no such booking");
	return code == WB_ENOTFOUND ? WB_OK : code;
}

static wb_code booking_at(service *s, const char *ref)
{
	const booking *b;
	wb_code code = wb_aggregate_load(s->booking, NULL, wb_str_from(ref),
					 s->version, &s->err);

	if (code != WB_OK)
		return code;
	b = wb_aggregate_state(s->booking);
	printf("%s %" PRIu64 " %s%s%s\n", booking_status_name(b->status),
	       wb_aggregate_version(s->booking), b->slot,
	       b->reason[0] ? " " : "", b->reason);
	return WB_OK;
}

/* ---- the present: from the read model ----------------------------------- */

typedef wb_code (*question)(service *s, wb_read *read, const char *arg);

/* Bring the model up to the last event, and ask it; with `rebuild`, after
 * making it anew from the first event on. */
static wb_code ask(service *s, question q, const char *arg, bool rebuild)
{
	wb_projection_request request = WB_PROJECTION_REQUEST_INIT;
	wb_projector *projector;
	wb_read *read = NULL;
	wb_code code = wb_projector_open(s->store, &booking_model, NULL,
					 &projector, &s->err);

	if (code != WB_OK)
		return code;
	request.verb = WB_PROJECTION_REBUILD;
	request.promote = true;
	code = wb_projector_run(projector, true, &s->err);
	if (code == WB_OK && rebuild)
		code = wb_projector_ask(projector, &request, &s->err);
	if (code == WB_OK && rebuild)
		code = wb_projector_run(projector, true, &s->err);
	if (code == WB_OK)
		code = wb_read_open_projector(projector, NULL, &read, &s->err);
	if (code == WB_OK)
		code = wb_read_begin(read, &s->err);
	if (code == WB_OK)
		code = q(s, read, arg);
	wb_read_close(read);
	wb_projector_close(projector);
	return code;
}

static wb_code show_one(service *s, wb_read *read, const char *ref)
{
	wb_str row;
	wb_code code =
		wb_read_get(read, "bookings", wb_str_from(ref), &row, &s->err);

	if (code == WB_ENOTFOUND)
		return wb_error_set(&s->err, code, 0, __func__,
				    "there is no such booking");
	if (code == WB_OK)
		printf("%.*s\n", (int)row.len, row.ptr);
	return code;
}

static wb_code show_all(service *s, wb_read *read, const char *status)
{
	wb_read_query query = WB_READ_QUERY_INIT;
	wb_read_row row;
	wb_code code;

	query.table = "bookings";
	if (status) {
		query.index = "status";
		query.equal = wb_str_from(status);
	}
	code = wb_read_scan(read, &query, &s->err);
	while (code == WB_OK) {
		code = wb_read_next(read, &row, &s->err);
		if (code == WB_OK)
			printf("%.*s  %.*s\n", (int)row.key.len, row.key.ptr,
			       (int)row.value.len, row.value.ptr);
	}
	return code == WB_ENOTFOUND ? WB_OK : code;
}

static wb_code booking_(service *s, char **args)
{
	if (s->version > 0)
		return booking_at(s, args[0]);
	return ask(s, show_one, args[0], false);
}

static wb_code bookings(service *s, char **args)
{
	return ask(s, show_all, args[0], false);
}

static wb_code rebuild(service *s, char **args)
{
	return ask(s, show_all, args[0], true);
}

/* ---- the command line --------------------------------------------------- */

static const struct command {
	const char *name, *args;
	int args_min, args_max;
	wb_code (*run)(service *s, char **args);
} commands[] = {
	{"create-booking", "SLOT", 1, 1, create},
	{"reserve", "REF [--expect VERSION]", 1, 1, reserve},
	{"complete", "REF [--expect VERSION]", 1, 1, complete},
	{"reject", "REF REASON [--expect VERSION]", 2, 2, reject},
	{"history", "REF", 1, 1, history},
	{"booking", "REF [--at VERSION]", 1, 1, booking_},
	{"bookings", "[STATUS]", 0, 1, bookings},
	{"rebuild", "", 0, 0, rebuild},
};

static int usage(void)
{
	fprintf(stderr, "usage: BOOKING_STORE=DIR booking COMMAND\n");
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		fprintf(stderr, "  %s %s\n", commands[i].name,
			commands[i].args);
	return 2;
}

static wb_code service_open(service *s, const char *dir)
{
	wb_store_options options = WB_STORE_OPTIONS_INIT;
	wb_code code;

	options.service = "booking";
	options.keep_bytes = UINT64_MAX; /* its history is its data */
	code = wb_store_create(dir, &options, &s->err);
	if (code != WB_OK && code != WB_EEXISTS)
		return code;
	wb_error_clear(&s->err);
	code = wb_store_open(dir, NULL, &s->store, &s->err);
	if (code == WB_OK)
		code = wb_outbox_open(s->store, NULL, &s->outbox, &s->err);
	if (code == WB_OK)
		code = wb_aggregate_open(s->outbox, &booking_aggregate,
					 &s->booking, &s->err);
	return code;
}

static int run(const struct command *command, service *s, char **args)
{
	const char *dir = getenv("BOOKING_STORE");
	wb_code code = service_open(s, dir ? dir : "booking-store");

	if (code == WB_OK)
		code = command->run(s, args);
	wb_aggregate_close(s->booking);
	wb_outbox_close(s->outbox);
	wb_store_close(s->store);
	if (code == WB_OK)
		return 0;
	fprintf(stderr, "booking: %s\n", s->err.text);
	return code == WB_ECONFLICT ? 3 : 1;
}

int main(int argc, char **argv)
{
	service s = {.err = WB_ERROR_INIT};
	char *args[3] = {NULL, NULL, NULL};
	int count = 0;

	for (int i = 2; i < argc; i++) {
		bool option = !strcmp(argv[i], "--expect") ||
			      !strcmp(argv[i], "--at");

		if (option && i + 1 < argc)
			s.version = strtoull(argv[++i], NULL, 10);
		else if (!option && count < 2)
			args[count++] = argv[i];
		else
			return usage();
	}
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (argc > 1 && !strcmp(argv[1], commands[i].name) &&
		    count >= commands[i].args_min &&
		    count <= commands[i].args_max)
			return run(&commands[i], &s, args);
	return usage();
}
