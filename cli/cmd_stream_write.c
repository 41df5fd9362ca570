/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * waybill stream append and truncate. An append is one transaction; a
 * truncation is many short ones, with a pause between them so that the service
 * gets LMDB's lock, and the first of them says in the audit who does it and
 * why. A crash leaves it done up to the floor that it recorded; doing it again
 * does the rest. One thread.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#include <waybill/stream.h>

#include "cli/actor.h"
#include "cli/event.h"
#include "cli/table.h"
#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/journal/parked.h"

/* What the store refuses is an answer; what fails is not. */
static int write_failed(const cli_context *ctx, const wb_error *err)
{
	bool answer = err->class_ == WB_CLASS_REJECT ||
		      err->code == WB_ECONFLICT || err->code == WB_EQUOTA;

	return cli_fail(ctx, answer ? CLI_NOT_ALL : CLI_FAILED, "%s",
			err->text[0] ? err->text : wb_code_text(err->code));
}

/* ---- append ------------------------------------------------------------ */

typedef struct append_options {
	cli_event_options event;
	char *expect;
} append_options;

/* clang-format off */
static const cli_flag append_flags[] = {
	{{.name = "expect", .kind = WBI_CONFIG_TEXT,
	  .offset = offsetof(append_options, expect), .arg = "VERSION",
	  .init = "any",
	  .help = "Only if the stream is at this version; none: if it does "
		  "not exist; exists: if it does; any: whatever it is."}, 0},
	CLI_EVENT_TEXT(append_options, event.type, "type", "TYPE",
		       .help = "The event's type."),
	CLI_EVENT_TEXT(append_options, event.key, "key", "KEY",
		       .help = "Ordering key; default: the stream's name."),
	CLI_EVENT_OWN_FLAGS(append_options, event),
};
/* clang-format on */

static bool parse_expect(const char *text, uint64_t *ret)
{
	uint64_t value = 0;

	if (!strcmp(text, "any"))
		*ret = WB_STREAM_ANY;
	else if (!strcmp(text, "exists"))
		*ret = WB_STREAM_EXISTS;
	else if (!strcmp(text, "none"))
		*ret = WB_STREAM_NONE;
	else {
		for (const char *p = text; *p; p++) {
			if (*p < '0' || *p > '9' || value > UINT64_MAX / 100)
				return false;
			value = value * 10 + (uint64_t)(*p - '0');
		}
		*ret = value;
	}
	return text[0] != '\0';
}

static wb_code append_commit(cli_outbox *open, const wb_stream_write *write,
			     wb_stream_written *ret, wb_error *err)
{
	MDB_txn *txn;
	wb_code rc = wb_store_begin(open->store, &txn, err);

	if (rc != WB_OK)
		return rc;
	rc = wb_stream_append(open->outbox, txn, write, ret, err);
	if (rc == WB_OK)
		return wb_store_commit(open->store, txn, err);
	wb_store_abort(txn);
	return rc;
}

static void append_say(const cli_context *ctx, const wb_event *event,
		       const wb_stream_written *written)
{
	if (ctx->json)
		cli_json_print(json_pack(
			"{s:s, s:I, s:I, s:b, s:s%}", "stream", ctx->args[0],
			"version", (json_int_t)written->version, "position",
			(json_int_t)written->position, "repeated",
			written->repeated, "id", event->id.ptr, event->id.len));
	else
		printf("%s %.*s as version %" PRIu64 " of %s, position %" PRIu64
		       "\n",
		       written->repeated ? "was there already:" : "appended",
		       (int)event->id.len, event->id.ptr, written->version,
		       ctx->args[0], written->position);
}

static int append_run(cli_context *ctx)
{
	const append_options *o = ctx->options;
	wb_stream_write write = {.stream = wb_str_from(ctx->args[0]),
				 .count = 1};
	wb_stream_written written = {.version = 0};
	wb_error err = WB_ERROR_INIT;
	cli_outbox open;
	cli_event built = {.bytes = NULL};
	int code;

	if (!o->event.type)
		return cli_usage(ctx, "--type is missing");
	if (!parse_expect(o->expect, &write.expected))
		return cli_usage(ctx, "--expect: a version, none, exists or "
				      "any");
	code = cli_event_check(ctx, &o->event);
	if (code != CLI_OK)
		return code;
	code = cli_open_outbox(ctx, &open);
	write.events = &built.event;
	if (code == CLI_OK &&
	    (cli_event_build(&o->event, &open.limits, &built, &err) != WB_OK ||
	     append_commit(&open, &write, &written, &err) != WB_OK))
		code = write_failed(ctx, &err);
	if (code == CLI_OK)
		append_say(ctx, &built.event, &written);
	cli_event_fini(&built);
	cli_close_outbox(&open);
	return code;
}

/* ---- truncate ---------------------------------------------------------- */

enum { CUT_EVENTS = 100, CUT_PAUSE_NS = 50000 };

typedef struct truncate_options {
	uint64_t before;
	bool without_snapshot;
	char *why, *who;
} truncate_options;

#define AT(member) .offset = offsetof(truncate_options, member)

static const cli_flag truncate_flags[] = {
	{{.name = "before",
	  .kind = WBI_CONFIG_NUMBER,
	  AT(before),
	  .max = UINT64_MAX,
	  .init = "0",
	  .arg = "VERSION",
	  .help = "The lowest version to stay; one more than the last lets "
		  "all of them go."},
	 0},
	{{.name = "without-snapshot",
	  .kind = WBI_CONFIG_BOOL,
	  AT(without_snapshot),
	  .help = "Even if no snapshot holds what the events did: what they "
		  "amounted to is lost then."},
	 0},
	CLI_FLAG_WHY(truncate_options, "reason"),
	CLI_FLAG_WHO(truncate_options),
};

static wb_code truncate_audit(const cli_context *ctx, wb_store *store,
			      MDB_txn *txn, wb_error *err)
{
	const truncate_options *o = ctx->options;
	char name[CLI_ACTOR_NAME], why[1024];
	wbi_audit row = {.time_us = cli_real_us(),
			 .what = wb_str_from("truncate"),
			 .key = wb_str_from(ctx->args[0])};

	row.who = cli_actor(o->who, NULL, name).who;
	snprintf(why, sizeof(why), "below version %" PRIu64 "%s%s", o->before,
		 o->why ? ": " : "", o->why ? o->why : "");
	row.why = wb_str_from(why);
	return wbi_audit_add(txn, wbi_store_get_tables(store)->audit, &row,
			     NULL, err);
}

/* One transaction; *floor is how far it is. */
static wb_code truncate_some(const cli_context *ctx, wb_store *store,
			     const wb_stream_cut *cut, bool first,
			     uint64_t *floor, wb_error *err)
{
	MDB_txn *txn;
	wb_code rc = wb_store_begin(store, &txn, err);

	if (rc != WB_OK)
		return rc;
	rc = wb_stream_truncate(store, txn, cut, floor, err);
	if (rc == WB_OK && first)
		rc = truncate_audit(ctx, store, txn, err);
	if (rc == WB_OK)
		return wb_store_commit(store, txn, err);
	wb_store_abort(txn);
	return rc;
}

static wb_code truncate_all(const cli_context *ctx, wb_store *store,
			    uint64_t *ret_from, uint64_t *ret_floor,
			    wb_error *err)
{
	const struct timespec pause = {0, CUT_PAUSE_NS};
	const truncate_options *o = ctx->options;
	wb_stream_cut cut = {.stream = wb_str_from(ctx->args[0]),
			     .before = o->before,
			     .max = CUT_EVENTS,
			     .without_snapshot = o->without_snapshot};
	wb_stream_info info;
	uint64_t floor;
	wb_code rc = wb_stream_stat(store, NULL, cut.stream, &info, err);

	if (rc != WB_OK)
		return rc;
	*ret_from = floor = info.floor;
	if (o->before <= floor) {
		*ret_floor = floor;
		return WB_OK;
	}
	for (bool first = true; rc == WB_OK && floor < o->before;
	     first = false) {
		rc = truncate_some(ctx, store, &cut, first, &floor, err);
		nanosleep(&pause, NULL);
	}
	*ret_floor = floor;
	return rc;
}

static int truncate_run(cli_context *ctx)
{
	const truncate_options *o = ctx->options;
	uint64_t from = 0, floor = 0;
	wb_error err = WB_ERROR_INIT;
	wb_store *store = NULL;
	int code;

	if (o->before == 0)
		return cli_usage(ctx, "--before VERSION is missing");
	if (o->without_snapshot && !o->why)
		return cli_usage(ctx, "truncating without a snapshot loses "
				      "what the events did: say why with "
				      "--reason TEXT");
	code = cli_open_store(ctx, &store);
	if (code != CLI_OK)
		return code;
	if (truncate_all(ctx, store, &from, &floor, &err) != WB_OK)
		code = write_failed(ctx, &err);
	else if (ctx->json)
		cli_json_print(json_pack("{s:s, s:I, s:I}", "stream",
					 ctx->args[0], "truncated",
					 (json_int_t)(floor - from), "floor",
					 (json_int_t)floor));
	else
		printf("truncated %" PRIu64
		       " events of %s, its floor is %" PRIu64 "\n",
		       floor - from, ctx->args[0], floor);
	wb_store_close(store);
	return code;
}

/* ---- the commands ------------------------------------------------------ */

const cli_command cli_command_stream_append = {
	.name = "stream append",
	.args = "NAME",
	.summary = "Append an event to a stream",
	.help = "The event becomes the stream's next version and is published "
		"like any other of the\noutbox. If the stream is not at the "
		"version that --expect says, nothing is written,\nboth are "
		"named, and the exit status is 3. Repeating an append with "
		"its --id and\nversion changes nothing and says where it "
		"is.\n\nThe store must have been made with --keep-all.\n\n"
		"  waybill init --store shop --service shop --keep-all\n"
		"  waybill stream append --store shop booking/42 --expect none "
		"--type BookingCreated --data '{\"slot\":\"A1\"}'\n",
	.groups = WBI_GROUP_STORE | WBI_GROUP_LIMITS | WBI_GROUP_ROUTES |
		  WBI_GROUP_LOG,
	.flags = append_flags,
	.flag_count = WBI_COUNT(append_flags),
	.options_size = sizeof(append_options),
	.args_min = 1,
	.args_max = 1,
	.needs_store = true,
	.run = append_run,
};

const cli_command cli_command_stream_truncate = {
	.name = "stream truncate",
	.args = "NAME",
	.summary = "Let go of a stream's old versions",
	.help = "What the events below --before said is removed from the "
		"store; their ids, types,\ntimes and places stay. Nothing is "
		"truncated that the relay has not delivered, or that\na "
		"projection has still to read; nor, without "
		"--without-snapshot, what no snapshot\nholds the sum of: the "
		"exit status is 3 then. There is no way back but an archive\n"
		"(waybill stream export) or a backup. It is kept in the "
		"audit.\n\n"
		"  waybill stream truncate --store shop booking/42 --before "
		"100 "
		"--reason 'two years old'\n",
	.groups = WBI_GROUP_STORE | WBI_GROUP_LOG,
	.flags = truncate_flags,
	.flag_count = WBI_COUNT(truncate_flags),
	.options_size = sizeof(truncate_options),
	.args_min = 1,
	.args_max = 1,
	.needs_store = true,
	.run = truncate_run,
};
