/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Handlers for a worker that is killed: what they do with an event follows from
 * its number (work_of.h). "count" is transactional: it writes down each time it
 * is applied, counts per key, and emits a follow-up; when it fails it has done
 * all of this before, so that what is not taken back shows. "call" is external:
 * its effect is a line in a file.
 *
 * Events of other producers are none of theirs: they end well and leave nothing.
 *
 * The line goes out by syscall(2), past a preloaded library: that dies at the
 * calls around it, and a torn line would be of no use.
 */
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <waybill/module.h>

#include "tests/crash/work_of.h"

/* Of the preloaded library, if there is one. */
extern atomic_int killpoint_handling
	__attribute__((weak, visibility("default")));

typedef struct tables {
	MDB_dbi applied, counts;
} tables;

static void note(int by)
{
	if (&killpoint_handling)
		atomic_fetch_add(&killpoint_handling, by);
}

static uint64_t number_of(const wb_event *event)
{
	char text[32];

	if (!wb_str_eq(event->source, wb_str_from("/feeder")))
		return 0;
	snprintf(text, sizeof(text), "%.*s", (int)event->id.len, event->id.ptr);
	return strtoull(text + 2, NULL, 10); /* behind "e-" */
}

/* ---- the transactional one ---------------------------------------------- */

static wb_code count_open(const wb_handler *self, wb_store *store, MDB_txn *txn,
			  void **ret_state, wb_error *err)
{
	static tables t;
	int rc = mdb_dbi_open(txn, WORK_APPLIED, MDB_CREATE | MDB_INTEGERKEY,
			      &t.applied);

	(void)store;
	if (rc == 0)
		rc = mdb_dbi_open(txn, WORK_COUNTS, MDB_CREATE, &t.counts);
	*ret_state = &t;
	return wb_store_error(rc, err, self->name);
}

/* One more in this row; *ret is how many there are now. */
static int count_up(MDB_txn *txn, MDB_dbi table, wb_str name, uint64_t *ret)
{
	MDB_val key = {name.len, (void *)name.ptr}, value;
	int rc = mdb_get(txn, table, &key, &value);

	*ret = 0;
	if (rc == 0)
		memcpy(ret, value.mv_data, sizeof(*ret));
	else if (rc != MDB_NOTFOUND)
		return rc;
	++*ret;
	value = (MDB_val){sizeof(*ret), ret};
	return mdb_put(txn, table, &key, &value, 0);
}

static wb_code count_apply(wb_call *call, const wb_event *event, wb_error *err)
{
	const tables *t = wb_call_state(call);
	MDB_val key, value = {event->id.len, (void *)event->id.ptr};
	MDB_txn *txn = wb_call_txn(call);
	wb_event after = {.type = wb_str_from("work.done"), .key = event->key};
	uint64_t of_key = 0, total = 0;
	char id[40];
	int rc = 0;

	snprintf(id, sizeof(id), "f-%" PRIu64, number_of(event));
	after.id = wb_str_from(id);
	if (event->key.len > 0)
		rc = count_up(txn, t->counts, event->key, &of_key);
	if (rc == 0)
		rc = count_up(txn, t->counts, wb_str_from(WORK_TOTAL), &total);
	key = (MDB_val){sizeof(total), &total};
	if (rc == 0)
		rc = mdb_put(txn, t->applied, &key, &value, 0);
	return rc ? wb_store_error(rc, err, "counting")
		  : wb_emit(call, &after, err);
}

/* ---- the external one --------------------------------------------------- */

static wb_code call_open(const wb_handler *self, wb_store *store, MDB_txn *txn,
			 void **ret_state, wb_error *err)
{
	const char *path = getenv(WORK_EFFECTS);
	static int fd = -1;

	(void)store;
	(void)txn;
	if (path && fd < 0)
		fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC,
			  0600);
	*ret_state = &fd;
	return fd < 0 ? wb_stop(err, "%s: no file for effects", self->name)
		      : WB_OK;
}

static wb_code call_apply(wb_call *call, const wb_event *event, wb_error *err)
{
	const int *fd = wb_call_state(call);
	char line[700];
	int len = snprintf(line, sizeof(line), "%.*s %u %s\n",
			   (int)event->id.len, event->id.ptr,
			   wb_call_attempt(call),
			   wb_call_idempotency_key(call));

	if (syscall(SYS_write, *fd, line, (size_t)len) != len)
		return wb_stop(err, "the file for effects");
	return WB_OK;
}

/* ---- both --------------------------------------------------------------- */

/* What a test may ask for beside that. */
static bool is_broken(void)
{
	const char *path = getenv(WORK_BROKEN);

	return path && access(path, F_OK) == 0;
}

static bool is_poison(uint64_t number)
{
	const char *poison = getenv(WORK_POISON);

	return poison && strtoull(poison, NULL, 10) == number;
}

static wb_code handle(wb_call *call, const wb_event *event, wb_error *err)
{
	bool external = wb_call_handler(call)->kind == WB_EXTERNAL;
	uint64_t number = number_of(event);
	bool refused = work_is_refused(number, external) &&
		       !getenv(WORK_HEALED);
	bool again = wb_call_attempt(call) <= work_retries(number, external) ||
		     is_broken();
	wb_code code = WB_OK;

	if (number == 0)
		return WB_OK;
	note(1);
	if (!external)
		code = count_apply(call, event, err);
	else if (!refused && !again)
		code = call_apply(call, event, err);
	note(-1);
	if (!external && is_poison(number))
		abort();
	if (code == WB_OK && refused)
		code = wb_reject(err, "refused");
	else if (code == WB_OK && again)
		code = wb_retry(err, "not yet");
	return code;
}

static const char *const everything[] = {"#", NULL};

static wb_handler count_handler = {.size = sizeof(wb_handler),
					 .name = "count",
					 .types = everything,
					 .attempts_max = 100000,
					 .backoff_min_ms = 1,
					 .backoff_max_ms = 4,
					 .open = count_open,
					 .handle = handle};

static wb_handler call_handler = {.size = sizeof(wb_handler),
					.name = "call",
					.types = everything,
					.kind = WB_EXTERNAL,
					.attempts_max = 100000,
					.backoff_min_ms = 1,
					.backoff_max_ms = 4,
					.open = call_open,
					.handle = handle};

static const wb_handler *const handlers[] = {&count_handler, &call_handler};

__attribute__((constructor)) static void set_attempts(void)
{
	const char *most = getenv(WORK_ATTEMPTS);

	if (most)
		count_handler.attempts_max = call_handler.attempts_max =
			(uint32_t)strtoul(most, NULL, 10);
}

WB_MODULE_EXPORT const struct wb_module wb_module = {
	.abi = WB_MODULE_ABI,
	.size = sizeof(struct wb_module),
	.name = "crash",
	.handlers = handlers,
	.handler_count = 2};
