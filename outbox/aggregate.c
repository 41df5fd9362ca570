/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Aggregates: load = snapshot + fold, command = load, decide, append with the
 * exact version. Events never change once they are committed, so a state that
 * was folded from committed ones is kept and folded on by the next load of the
 * same thing; one that has seen a caller's open write transaction is thrown
 * away, since that may yet be aborted.
 *
 * What is folded after an append is read back from the store, not taken from
 * the decision: the state is then what any later load will make of it. A crash
 * leaves what the transaction leaves: all of a command's events and its
 * snapshot, or nothing. One thread; the handle owns its state.
 */
#include <waybill/aggregate.h>

#include <inttypes.h>
#include <stdlib.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/text.h"
#include "outbox/decision.h"
#include "outbox/outbox_internal.h"
#include "outbox/stream.h"

enum { AGGREGATE_ATTEMPTS = 5 };

struct wb_aggregate {
	wb_outbox *outbox;
	const wb_aggregate_def *def;
	void *state;
	bool loaded;    /* the state is of `name` at `version` */
	bool committed; /* all that it was folded from is */
	char name[WB_STREAM_NAME_MAX + 1];
	size_t name_len;
	uint64_t version, snapshot; /* of the newest one known; 0: none */
	wb_decision decision;
};

/* ---- open, close --------------------------------------------------------- */

static void aggregate_clear(wb_aggregate *a)
{
	if (a->def->fini)
		a->def->fini(a->state, a->def->ctx);
	memset(a->state, 0, a->def->state_bytes);
	a->version = a->snapshot = 0;
	a->loaded = a->committed = false;
}

static wb_code aggregate_check(const wb_outbox *outbox,
			       const wb_aggregate_def *def, wb_error *err)
{
	if (!outbox || !def)
		return WBI_FAIL(err, WB_EINVAL, "aggregate: %s is NULL",
				outbox ? "def" : "outbox");
	if (def->size != sizeof(*def))
		return WBI_FAIL(err, WB_EINVAL,
				"aggregate: size is %zu, not %zu; start from "
				"WB_AGGREGATE_DEF_INIT",
				def->size, sizeof(*def));
	if (!def->category || !def->category[0] || strchr(def->category, '/') ||
	    strlen(def->category) > WB_STREAM_NAME_MAX / 2)
		return WBI_FAIL(err, WB_EINVAL,
				"aggregate: category must be a word without "
				"'/', such as \"booking\"");
	if (!def->apply || def->state_bytes == 0)
		return WBI_FAIL(err, WB_EINVAL, "aggregate %s: %s is needed",
				def->category,
				def->apply ? "state_bytes" : "apply");
	if (!def->save != !def->restore)
		return WBI_FAIL(err, WB_EINVAL,
				"aggregate %s: save and restore go together",
				def->category);
	if (def->snapshot_every > 0 && !def->tag)
		return WBI_FAIL(err, WB_EINVAL,
				"aggregate %s: snapshots need a tag",
				def->category);
	return WB_OK;
}

wb_code wb_aggregate_open(wb_outbox *outbox, const wb_aggregate_def *def,
			  wb_aggregate **ret, wb_error *err)
{
	wb_code code = aggregate_check(outbox, def, err);
	wb_aggregate *a;

	if (code != WB_OK)
		return code;
	a = calloc(1, sizeof(*a));
	if (a)
		a->state = calloc(1, def->state_bytes);
	if (!a || !a->state) {
		free(a);
		return WBI_FAIL(err, WB_ENOMEM, "aggregate: out of memory");
	}
	a->outbox = outbox;
	a->def = def;
	*ret = a;
	return WB_OK;
}

void wb_aggregate_close(wb_aggregate *aggregate)
{
	if (!aggregate)
		return;
	aggregate_clear(aggregate);
	wbi_decision_clear(&aggregate->decision);
	free(aggregate->state);
	free(aggregate);
}

const void *wb_aggregate_state(const wb_aggregate *aggregate)
{
	return aggregate->loaded ? aggregate->state : NULL;
}

uint64_t wb_aggregate_version(const wb_aggregate *aggregate)
{
	return aggregate->loaded ? aggregate->version : 0;
}

/* ---- load ---------------------------------------------------------------- */

static wb_str aggregate_name(const wb_aggregate *a)
{
	return wb_str_n(a->name, a->name_len);
}

/* Make `id` the one that the state is of; a state of another is dropped. */
static wb_code aggregate_turn_to(wb_aggregate *a, wb_str id, wb_error *err)
{
	size_t len = strlen(a->def->category);
	char name[WB_STREAM_NAME_MAX + 1];
	wb_code code;

	if (id.len == 0 || len + 1 + id.len > WB_STREAM_NAME_MAX)
		return WBI_FAIL(err, id.len == 0 ? WB_EINVAL : WB_ELIMIT,
				"aggregate %s: an id of %zu bytes; 1 to %zu "
				"are accepted",
				a->def->category, id.len,
				WB_STREAM_NAME_MAX - 1 - len);
	memcpy(name, a->def->category, len);
	name[len] = '/';
	memcpy(name + len + 1, id.ptr, id.len);
	len += 1 + id.len;
	code = wbi_stream_check_name(wb_str_n(name, len), err);
	if (code != WB_OK)
		return code;
	if (!a->loaded || !a->committed ||
	    !wb_str_eq(wb_str_n(name, len), aggregate_name(a)))
		aggregate_clear(a);
	memcpy(a->name, name, len);
	a->name_len = len;
	return WB_OK;
}

static wb_code aggregate_restore(wb_aggregate *a, const wb_snapshot *snapshot)
{
	const wb_aggregate_def *def = a->def;
	wb_error ignored = WB_ERROR_INIT;

	if (def->restore)
		return def->restore(a->state, snapshot->data, def->ctx,
				    &ignored);
	if (snapshot->data.len != def->state_bytes)
		return WB_EMISMATCH;
	memcpy(a->state, snapshot->data.ptr, def->state_bytes);
	return WB_OK;
}

/* Begin with the newest snapshot at or below `at` that is ahead of the state
 * and can be read; it is no matter if there is none. */
static wb_code aggregate_begin(wb_aggregate *a, MDB_txn *txn, uint64_t at,
			       wb_error *err)
{
	wb_snapshot snapshot;
	wb_code code;

	if (!a->def->tag)
		return WB_OK;
	code = wb_snapshot_find(a->outbox->store, txn, aggregate_name(a),
				wb_str_from(a->def->tag), at, &snapshot, err);
	if (code == WB_ENOTFOUND)
		return WB_OK;
	if (code != WB_OK)
		return code;
	if (snapshot.version <= a->version) {
		a->snapshot = snapshot.version;
		return WB_OK;
	}
	aggregate_clear(a);
	if (aggregate_restore(a, &snapshot) == WB_OK)
		a->version = a->snapshot = snapshot.version;
	else
		aggregate_clear(a);
	return WB_OK;
}

/* Apply what comes behind the state, up to version `at`. */
static wb_code aggregate_fold(wb_aggregate *a, MDB_txn *txn, uint64_t at,
			      wb_error *err)
{
	wb_stream_query query = WB_STREAM_QUERY_INIT;
	wb_stream_reader *reader;
	wb_stream_event event;
	wb_code code;

	if (a->version >= at)
		return WB_OK;
	query.stream = aggregate_name(a);
	query.after = a->version;
	code = wb_stream_open(a->outbox->store, txn, &query, &reader, err);
	if (code != WB_OK)
		return code;
	while (a->version < at) {
		code = wb_stream_next(reader, &event, err);
		if (code == WB_ENOTFOUND)
			code = WBI_FAIL(err, WB_ECORRUPT,
					"stream: an end before its version; "
					"run waybill fsck");
		if (code == WB_OK)
			code = a->def->apply(a->state, &event, a->def->ctx,
					     err);
		if (code != WB_OK)
			break;
		a->version++;
	}
	wb_stream_close(reader);
	return code;
}

/* How far the stream is; 0: there is none. */
static wb_code aggregate_head(const wb_aggregate *a, MDB_txn *txn,
			      uint64_t *ret, wb_error *err)
{
	wbi_stream_head head;
	wb_code code =
		wbi_stream_head_get(txn, wbi_store_get_tables(a->outbox->store),
				    aggregate_name(a), &head, err);

	*ret = head.list.count;
	return code == WB_ENOTFOUND ? WB_OK : code;
}

static wb_code aggregate_missing(const wb_aggregate *a, uint64_t at,
				 uint64_t version, wb_error *err)
{
	char shown[WB_STREAM_NAME_MAX + 1];

	return WBI_FAIL(err, WB_ENOTFOUND,
			"stream \"%s\": version %" PRIu64 " is not there, it "
			"is at %" PRIu64,
			wbi_text_show(aggregate_name(a), shown, sizeof(shown)),
			at, version);
}

static wb_code aggregate_load(wb_aggregate *a, MDB_txn *txn, uint64_t at,
			      wb_error *err)
{
	wbi_stream_txn in;
	uint64_t version;
	wb_code code = wbi_stream_txn_begin(a->outbox->store, txn, &in, err);

	if (code != WB_OK)
		return code;
	code = aggregate_head(a, in.txn, &version, err);
	if (code == WB_OK && at != WB_STREAM_ANY && at > version)
		code = aggregate_missing(a, at, version, err);
	if (at < version)
		version = at;
	if (code == WB_OK && a->version > version)
		aggregate_clear(a); /* it is ahead of what is wanted */
	if (code == WB_OK && version > 0)
		code = aggregate_begin(a, in.txn, version, err);
	/* A long fold must not hold pages back: in transactions of its own. */
	wbi_stream_txn_end(&in);
	if (code == WB_OK)
		code = aggregate_fold(a, txn, version, err);
	if (code != WB_OK) {
		aggregate_clear(a);
		return code;
	}
	a->loaded = true;
	a->committed = txn == NULL;
	return WB_OK;
}

wb_code wb_aggregate_load(wb_aggregate *aggregate, MDB_txn *txn, wb_str id,
			  uint64_t at, wb_error *err)
{
	wb_code code;

	if (!aggregate)
		return WBI_FAIL(err, WB_EINVAL, "aggregate is NULL");
	code = aggregate_turn_to(aggregate, id, err);
	return code == WB_OK ? aggregate_load(aggregate, txn, at, err) : code;
}

/* ---- snapshots ----------------------------------------------------------- */

static wb_code aggregate_save(wb_aggregate *a, MDB_txn *txn, wb_error *err)
{
	const wb_aggregate_def *def = a->def;
	wb_snapshot snapshot = {.version = a->version,
				.tag = wb_str_from(def->tag),
				.data = {a->state, def->state_bytes}};
	wb_code code = WB_OK;

	if (def->save)
		code = def->save(a->state, &snapshot.data, def->ctx, err);
	if (code == WB_OK)
		code = wb_snapshot_save(a->outbox->store, txn,
					aggregate_name(a), &snapshot,
					def->snapshot_keep, err);
	if (code == WB_OK)
		a->snapshot = a->version;
	return code;
}

/* One that is due. It is for speed only, so no room is no failure. */
static wb_code aggregate_save_due(wb_aggregate *a, MDB_txn *txn, wb_error *err)
{
	uint32_t every = a->def->snapshot_every;
	wb_error why = WB_ERROR_INIT;
	wb_code code;

	if (every == 0 || a->version / every == a->snapshot / every)
		return WB_OK;
	code = aggregate_save(a, txn, &why);
	if (code == WB_OK || code == WB_EQUOTA || code == WB_ELIMIT)
		return WB_OK;
	return WBI_FAIL(err, code, "%s", why.text);
}

wb_code wb_aggregate_snapshot(wb_aggregate *aggregate, MDB_txn *txn, wb_str id,
			      wb_error *err)
{
	wb_code code;

	if (!aggregate || !txn)
		return WBI_FAIL(err, WB_EINVAL,
				"aggregate snapshot: %s is "
				"NULL",
				aggregate ? "txn" : "aggregate");
	if (!aggregate->def->tag)
		return WBI_FAIL(err, WB_ESTATE,
				"aggregate %s: its definition has no tag for "
				"snapshots",
				aggregate->def->category);
	code = wb_aggregate_load(aggregate, txn, id, WB_STREAM_ANY, err);
	if (code != WB_OK || aggregate->version == 0)
		return code;
	return aggregate_save(aggregate, txn, err);
}

/* ---- commands ------------------------------------------------------------ */

static wb_code aggregate_decide(wb_aggregate *a,
				const wb_aggregate_command *command,
				wb_error *err)
{
	char shown[WB_STREAM_NAME_MAX + 1];
	wb_code code;

	if (command->expected && *command->expected != a->version)
		return WBI_FAIL(
			err, WB_ECONFLICT,
			"stream \"%s\": expected at version %" PRIu64
			", it is at version %" PRIu64
			"; load it again and decide anew",
			wbi_text_show(aggregate_name(a), shown, sizeof(shown)),
			*command->expected, a->version);
	wbi_decision_clear(&a->decision);
	a->decision.version = a->version;
	code = command->decide(&a->decision, a->state, command->arg, err);
	/* What was refused on the way and not told is a refusal all the same.
	 */
	if (code == WB_OK && a->decision.failed != WB_OK)
		code = WBI_FAIL(err, a->decision.failed,
				"a decision's event was refused");
	if (code != WB_OK && err && err->code == WB_OK)
		WBI_FAIL(err, code, "the command was refused");
	return code;
}

/* Append what was decided, and fold it. */
static wb_code aggregate_write(wb_aggregate *a, MDB_txn *txn,
			       wb_stream_written *ret, wb_error *err)
{
	wb_stream_write write = {.stream = aggregate_name(a),
				 .expected = a->version,
				 .events = a->decision.events,
				 .count = a->decision.count};
	wb_code code = wb_stream_append(a->outbox, txn, &write, ret, err);

	if (code != WB_OK)
		return code;
	a->committed = false;
	code = aggregate_fold(a, txn, ret->version, err);
	if (code == WB_OK)
		code = aggregate_save_due(a, txn, err);
	if (code != WB_OK)
		aggregate_clear(a); /* half of it may be applied */
	return code;
}

static wb_code aggregate_attempt(wb_aggregate *a,
				 const wb_aggregate_command *command,
				 wb_stream_written *ret, wb_error *err)
{
	wb_store *store = a->outbox->store;
	MDB_txn *txn;
	wb_code code = aggregate_load(a, NULL, WB_STREAM_ANY, err);

	if (code == WB_OK)
		code = aggregate_decide(a, command, err);
	ret->version = a->version;
	if (code != WB_OK || a->decision.count == 0)
		return code;
	code = wb_store_begin(store, &txn, err);
	if (code != WB_OK)
		return code;
	code = aggregate_write(a, txn, ret, err);
	if (code == WB_OK)
		code = wb_store_commit(store, txn, err);
	else
		wb_store_abort(txn);
	if (code == WB_OK)
		a->committed = true;
	else if (!a->committed)
		aggregate_clear(a); /* ahead of what is there */
	return code;
}

static wb_code aggregate_inside(wb_aggregate *a, MDB_txn *txn,
				const wb_aggregate_command *command,
				wb_stream_written *ret, wb_error *err)
{
	wb_code code = aggregate_load(a, txn, WB_STREAM_ANY, err);

	if (code == WB_OK)
		code = aggregate_decide(a, command, err);
	ret->version = a->version;
	if (code == WB_OK && a->decision.count > 0)
		code = aggregate_write(a, txn, ret, err);
	return code;
}

wb_code wb_aggregate_execute(wb_aggregate *aggregate, MDB_txn *txn, wb_str id,
			     const wb_aggregate_command *command,
			     wb_stream_written *ret, wb_error *err)
{
	wb_stream_written written = {0};
	wb_code code = WB_ECONFLICT;
	uint32_t attempts;

	if (!aggregate || !command || command->size != sizeof(*command) ||
	    !command->decide)
		return WBI_FAIL(
			err, WB_EINVAL, "aggregate command: %s",
			!aggregate ? "aggregate is NULL"
			: !command ? "command is NULL"
			: !command->decide
				? "decide is NULL"
				: "start from WB_AGGREGATE_COMMAND_INIT");
	code = aggregate_turn_to(aggregate, id, err);
	if (code != WB_OK)
		return code;
	attempts = command->attempts ? command->attempts : AGGREGATE_ATTEMPTS;
	if (txn)
		code = aggregate_inside(aggregate, txn, command, &written, err);
	else
		code = WB_ECONFLICT;
	for (; !txn && code == WB_ECONFLICT && attempts > 0; attempts--) {
		wb_error why = WB_ERROR_INIT;

		code = aggregate_attempt(aggregate, command, &written, &why);
		if (code == WB_OK)
			break;
		if (code == WB_ECONFLICT && attempts > 1 && !command->expected)
			continue;
		wbi_error_pass(err, &why);
		break;
	}
	wbi_decision_clear(&aggregate->decision);
	if (code == WB_OK && ret)
		*ret = written;
	return code;
}
