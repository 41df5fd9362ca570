/* SPDX-License-Identifier: BSD-2-Clause */
/* See scene.h. The programs are found beside this one, the node by the
 * variables that rabbitmq-node sets for what it runs. */
#include "tests/faults/scene.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "outbox/parked.h"
#include "tests/crash/stream.h"
#include "tests/kit/scratch.h"
#include "tests/support/testing.h"

enum {
	SCENE_POLL_MS = 10,
	SCENE_TERM_MS = 2000,
	SCENE_DATA_MAX = 1 << 20,
	SCENE_TOLD_MAX = 3000
};

int64_t scene_now_us(void)
{
	return wb_system_clock()->mono_us(NULL);
}

void scene_sleep_ms(int ms)
{
	const struct timespec pause = {ms / 1000, ms % 1000 * 1000000L};

	nanosleep(&pause, NULL);
}

static const char *scene_bin(const char *name)
{
	static char path[PATH_MAX + 64];
	char self[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);

	assert_true(len > 0);
	self[len] = '\0';
	*strrchr(self, '/') = '\0';
	snprintf(path, sizeof(path), "%s/../crash/%s", self, name);
	return path;
}

/* ---- setup and teardown -------------------------------------------------- */

int scene_setup(void **state)
{
	const char *tmp = getenv("TMPDIR");
	static unsigned number;
	scene *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	alarm(SCENE_TEST_S);
	snprintf(s->dir, sizeof(s->dir), "%.4000s/waybill-faults-XXXXXX",
		 tmp && *tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(s->dir));
	snprintf(s->out, sizeof(s->out), "%s/out", s->dir);
	snprintf(s->uri, sizeof(s->uri), "%s", getenv("WAYBILL_TEST_AMQP"));
	snprintf(s->exchange, sizeof(s->exchange), "faults-%ld-%u",
		 (long)getpid(), number++);
	snprintf(s->queue, sizeof(s->queue), "%s", s->exchange);
	*state = s;
	return 0;
}

/* The end of what the processes said, for whoever reads of a failure. */
static void scene_tell(const char *path)
{
	char text[SCENE_TOLD_MAX];
	FILE *out = fopen(path, "r");
	size_t len;

	if (!out)
		return;
	if (fseek(out, -(long)sizeof(text), SEEK_END) != 0)
		rewind(out);
	len = fread(text, 1, sizeof(text), out);
	printf("--- the end of what the processes said\n%.*s\n---\n", (int)len,
	       text);
	fclose(out);
}

/* After a failed test its processes are still there. */
int scene_teardown(void **state)
{
	scene *s = *state;

	child_kill(s->relay);
	child_kill(s->second);
	child_kill(s->collector);
	wb_outbox_close(s->outbox);
	wb_store_close(s->store);
	ledger_fini(&s->ledger);
	if (!s->balanced)
		scene_tell(s->out);
	if (!getenv("WAYBILL_TEST_KEEP"))
		kit_scratch_remove(s->dir);
	alarm(0);
	free(s);
	return 0;
}

void scene_store(scene *s, const char *disk, uint64_t map_bytes,
		 const wb_clock *clock)
{
	wb_store_options options = WB_STORE_OPTIONS_INIT;
	wb_error err = WB_ERROR_INIT;
	char path[PATH_MAX + 8];

	snprintf(path, sizeof(path), "%s/store", disk ? disk : s->dir);
	assert_true(ledger_init(&s->ledger, path, map_bytes));
	snprintf(s->ledger.arrivals, sizeof(s->ledger.arrivals),
		 "%.4000s/arrivals", s->dir);
	options.clock = clock;
	assert_ok(wb_store_open(path, &options, &s->store, &err), err);
	assert_ok(wb_outbox_open(s->store, NULL, &s->outbox, &err), err);
	s->ledger.open = s->store;
}

void scene_broker(scene *s, const char *binding, const wb_argument *arguments,
		  size_t count)
{
	wb_declaration what[3] = {
		declare_exchange(s->exchange), declare_queue(s->queue),
		declare_binding(s->queue, s->exchange, binding)};

	if (arguments) {
		what[1].arguments = arguments;
		what[1].argument_count = count;
	}
	assert_true(declare_all(getenv("WAYBILL_TEST_AMQP"), what, 3));
}

void scene_bind(scene *s, const char *exchange, const char *key)
{
	wb_declaration what = declare_binding(s->queue, exchange, key);

	assert_true(declare_all(getenv("WAYBILL_TEST_AMQP"), &what, 1));
}

void scene_usual(scene *s, const char *binding)
{
	scene_store(s, NULL, 64 << 20, NULL);
	scene_broker(s, binding, NULL, 0);
	scene_collect(s);
}

/* ---- processes ----------------------------------------------------------- */

pid_t scene_relay(scene *s, const char *const env[],
		  const char *const settings[])
{
	const char *argv[CHILD_ARGS_MAX] = {
		scene_bin("relayer"), s->ledger.store, s->uri,
		s->exchange,          "window=50",     "backoff_min_ms=5",
		"backoff_max_ms=300", "probe_ms=200"};
	size_t count = 8;
	pid_t pid;

	for (size_t i = 0; settings && settings[i]; i++) {
		assert_true(count < CHILD_ARGS_MAX - 1);
		argv[count++] = settings[i];
	}
	pid = child_start(argv, env, s->out);
	assert_true(pid > 0);
	return pid;
}

void scene_collect(scene *s)
{
	const char *argv[] = {scene_bin("collector"),
			      getenv("WAYBILL_TEST_AMQP"), s->queue,
			      s->ledger.arrivals, NULL};

	s->collector = child_start(argv, NULL, s->out);
	assert_true(s->collector > 0);
}

void scene_node(const char *command)
{
	const char *argv[] = {getenv("WAYBILL_TEST_NODE"), command,
			      getenv("WAYBILL_TEST_NODE_DIR"), NULL};

	assert_int_equal(child_run(argv, NULL, NULL, SCENE_WAIT_MS), 0);
}

void scene_ctl(const char *const args[])
{
	const char *argv[CHILD_ARGS_MAX] = {getenv("WAYBILL_TEST_RABBITMQCTL"),
					    "-q"};

	for (size_t i = 0; args[i]; i++)
		argv[i + 2] = args[i];
	assert_int_equal(child_run(argv, NULL, NULL, SCENE_WAIT_MS), 0);
}

/* ---- the service --------------------------------------------------------- */

static wb_code scene_commit(scene *s, const wb_event *event,
			    uint64_t *ret_position, wb_error *err)
{
	MDB_txn *txn;
	wb_code code = wb_store_begin(s->store, &txn, err);

	if (code != WB_OK)
		return code;
	code = wb_outbox_append(s->outbox, txn, event, ret_position, err);
	if (code == WB_OK)
		return wb_store_commit(s->store, txn, err);
	wb_store_abort(txn);
	return code;
}

static wb_code scene_enter(scene *s, const wb_event *event, wb_error *err)
{
	uint64_t position = 0;
	wb_code code = scene_commit(s, event, &position, err);

	assert_true(checker_appended(
		s->ledger.checker, event->id, event->key, position,
		code == WB_OK ? CHECKER_COMMITTED : CHECKER_ABORTED));
	if (code == WB_OK)
		s->ledger.head = position;
	return code;
}

void scene_append(scene *s, unsigned count)
{
	wb_error err = WB_ERROR_INIT;
	stream_event e;

	while (count-- > 0) {
		stream_event_of(s->ledger.next++, &e);
		assert_ok(scene_enter(s, &e.event, &err), err);
	}
}

wb_code scene_try(scene *s, const char *type, const char *key, size_t size,
		  wb_error *err)
{
	static char data[SCENE_DATA_MAX];
	wb_event event = {.type = wb_str_from(type),
			  .key = wb_str_from(key),
			  .data = wb_str_n(data, size)};
	char id[32];

	assert_true(size <= sizeof(data));
	snprintf(id, sizeof(id), "e-%" PRIu64, s->ledger.next++);
	event.id = wb_str_from(id);
	return scene_enter(s, &event, err);
}

void scene_append_as(scene *s, const char *type, const char *key, size_t size)
{
	wb_error err = WB_ERROR_INIT;

	assert_ok(scene_try(s, type, key, size, &err), err);
}

/* ---- what happened ------------------------------------------------------- */

void scene_settle(scene *s)
{
	assert_true(ledger_wait(&s->ledger, SCENE_WAIT_MS));
}

void scene_await_parked(scene *s, uint64_t rows)
{
	uint64_t now = 0;

	for (int ms = 0; ms < SCENE_WAIT_MS; ms += SCENE_POLL_MS) {
		assert_true(ledger_parked_rows(&s->ledger, &now));
		if (now == rows)
			return;
		scene_sleep_ms(SCENE_POLL_MS);
	}
	fail_msg("%" PRIu64 " parked, not %" PRIu64, now, rows);
}

void scene_retry(scene *s, const char *key)
{
	const wbi_actor actor = {S("faults"), S("test")};
	wb_error err = WB_ERROR_INIT;

	assert_ok(wbi_parked_retry(s->store, wb_str_from(key), 0, &actor, &err),
		  err);
}

static wbi_relay_status scene_status(scene *s)
{
	wbi_relay_status status = {.pid = 0};
	wb_error err = WB_ERROR_INIT;
	MDB_txn *txn;

	assert_ok(
		wbi_txn_begin(wbi_store_relay_env(s->store), false, &txn, &err),
		err);
	(void)wbi_relay_status_get(
		txn, wbi_store_relay_tables(s->store)->status, &status, &err);
	wbi_txn_abort(txn);
	assert_int_equal(err.code, WB_OK);
	return status;
}

void scene_await_state(scene *s, wb_relay_state state)
{
	int64_t until = scene_now_us() + (int64_t)SCENE_WAIT_MS * 1000;

	while (scene_now_us() < until) {
		wbi_relay_status status = scene_status(s);

		if (status.pid != 0 && status.state == state)
			return;
		scene_sleep_ms(SCENE_POLL_MS);
	}
	fail_msg("the relay is %s, not %s",
		 wbi_relay_state_name(scene_status(s).state),
		 wbi_relay_state_name(state));
}

uint64_t scene_counter(scene *s, enum wbi_relay_counter counter)
{
	return scene_status(s).counters[counter];
}

void scene_await_counter(scene *s, enum wbi_relay_counter counter,
			 uint64_t above)
{
	wbi_relay_status status;

	for (int ms = 0; ms < SCENE_WAIT_MS; ms += SCENE_POLL_MS) {
		if (scene_counter(s, counter) > above)
			return;
		scene_sleep_ms(SCENE_POLL_MS);
	}
	status = scene_status(s);
	for (int i = 0; i < WBI_RELAY_COUNTERS; i++)
		printf("  %s %" PRIu64 "\n",
		       wbi_relay_counter_name((enum wbi_relay_counter)i),
		       status.counters[i]);
	fail_msg("%s did not go above %" PRIu64 "; the relay (pid %" PRIu32
		 ") is %s since %" PRId64 " us, said so at %" PRId64,
		 wbi_relay_counter_name(counter), above, status.pid,
		 wbi_relay_state_name(status.state), status.since_us,
		 status.updated_us);
}

static void scene_drain(pid_t *pid)
{
	int status;

	if (*pid <= 0)
		return;
	kill(*pid, SIGTERM);
	status = child_wait(*pid, SCENE_TERM_MS);
	*pid = 0;
	if (status != 0)
		fail_msg("the relay did not end well: status %d", status);
}

void scene_end(scene *s, unsigned incidents)
{
	checker_counts counts;

	scene_drain(&s->relay);
	scene_drain(&s->second);
	assert_true(ledger_close_books(&s->ledger, &counts));
	printf("  repeats=%" PRIu64 " window=%d incidents=%u again=%" PRIu64
	       " ",
	       ledger_repeats(&s->ledger), SCENE_WINDOW, incidents,
	       s->ledger.again);
	checker_print(&counts, stdout);
	fflush(stdout);
	assert_true(checker_is_clean(&counts));
	assert_int_equal(counts.committed, counts.delivered + counts.parked);
	assert_true(ledger_repeats(&s->ledger) <=
		    (uint64_t)incidents * SCENE_WINDOW);
	s->balanced = true;
}
