/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A service that writes to streams is killed at its calls of the store, one
 * after the other, and started again. Each of its transactions adds one event
 * to stream "a/1" and one to one of three others; some take a snapshot, some
 * truncate. After each kill the store must be sound, every transaction in it
 * whole or not at all, every one that was committed there, and the snapshot
 * equal to the fold.
 *
 * WAYBILL_CRASH_KILLS says how many kills there are, spread over all calls;
 * `make faults` has one at each call and of each kind. Needs no broker.
 */
#include "tests/outbox/stream_rig.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <waybill/aggregate.h>

#include "lib/base/assert.h"
#include "tests/crash/child.h"

enum {
	CHILD_TURNS = 6, /* transactions of one run */
	KILLS = 45,
	KINDS = 3,
	RUN_DEADLINE_MS = 20000
};

static const char *const kinds[KINDS] = {"before", "after", "partial"};

/* ---- the service --------------------------------------------------------- */

/* Each event of "a/1" says its version; the state is their sum. */
typedef struct sum {
	uint64_t sum, count;
} sum;

static wb_code sum_apply(void *state, const wb_stream_event *event, void *ctx,
			 wb_error *err)
{
	char text[24] = "";
	sum *s = state;

	(void)ctx;
	(void)err;
	memcpy(text, event->event.data.ptr, event->event.data.len);
	s->sum += strtoull(text, NULL, 10);
	s->count++;
	return WB_OK;
}

static wb_code sum_add(wb_decision *d, const void *state, void *arg,
		       wb_error *err)
{
	wb_event event = {.type = S("added")};
	char text[24];

	(void)state;
	(void)arg;
	snprintf(text, sizeof(text), "%" PRIu64, wb_decision_version(d) + 1);
	event.data = wb_str_from(text);
	return wb_decide(d, &event, err);
}

static wb_aggregate_def sum_def(bool snapshots)
{
	wb_aggregate_def def = WB_AGGREGATE_DEF_INIT;

	def.category = "a";
	def.state_bytes = sizeof(sum);
	def.apply = sum_apply;
	if (snapshots) {
		def.tag = "sum";
		def.snapshot_every = 3;
	}
	return def;
}

/* Truncate to the last two versions; the relay is said to have delivered. */
static void child_truncate(stream_rig *rig, uint64_t version)
{
	wb_stream_cut cut = {.stream = S("a/1"),
			     .before = version - 1,
			     .max = 3,
			     .without_snapshot = true};
	wb_error err = WB_ERROR_INIT;
	uint64_t first, head;
	MDB_txn *txn;

	test_range(rig->store, &first, &head);
	rig_settle(rig, head, head);
	txn = rig_begin(rig);
	assert_ok(wb_stream_truncate(rig->store, txn, &cut, NULL, &err), err);
	rig_commit(rig, txn);
}

static void child_turn(stream_rig *rig, wb_aggregate *a, uint64_t *committed)
{
	wb_aggregate_command command = WB_AGGREGATE_COMMAND_INIT;
	wb_event event = {.type = S("other")};
	wb_stream_write other = {
		.expected = WB_STREAM_ANY, .events = &event, .count = 1};
	wb_error err = WB_ERROR_INIT;
	wb_stream_written written;
	MDB_txn *txn = rig_begin(rig);
	char name[16];

	command.decide = sum_add;
	assert_ok(
		wb_aggregate_execute(a, txn, S("1"), &command, &written, &err),
		err);
	snprintf(name, sizeof(name), "b/%d", (int)(written.version % 3));
	other.stream = wb_str_from(name);
	assert_ok(wb_stream_append(rig->outbox, txn, &other, NULL, &err), err);
	rig_commit(rig, txn);
	*committed = written.version;
	/* The snapshot that vouches for what is cut is there by then. */
	if (written.version % 4 == 0 && written.version > 4)
		child_truncate(rig, written.version / 3 * 3);
}

static int child_main(const char *store, const char *log)
{
	int fd = open(log, O_RDWR | O_CLOEXEC);
	uint64_t *committed = mmap(NULL, sizeof(*committed),
				   PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	wb_aggregate_def def = sum_def(true);
	wb_error err = WB_ERROR_INIT;
	wb_aggregate *a = NULL;
	stream_rig rig;

	assert_true(fd >= 0 && committed != MAP_FAILED);
	rig_open(&rig, store);
	assert_ok(wb_aggregate_open(rig.outbox, &def, &a, &err), err);
	for (int i = 0; i < CHILD_TURNS; i++)
		child_turn(&rig, a, committed);
	wb_aggregate_close(a);
	rig_close(&rig);
	return 0;
}

/* ---- kills --------------------------------------------------------------- */

typedef struct crash {
	char self[PATH_MAX], preload[PATH_MAX + 64];
	const char *store, *log, *points;
	uint64_t *committed; /* mapped from `log` */
	unsigned killed;
} crash;

static void crash_open(crash *c, const test_place *place)
{
	static char log[PATH_MAX + 8], points[PATH_MAX + 8];
	ssize_t len = readlink("/proc/self/exe", c->self, sizeof(c->self) - 1);
	char *slash;
	int fd;

	assert_true(len > 0);
	c->self[len] = '\0';
	slash = strrchr(c->self, '/');
	snprintf(c->preload, sizeof(c->preload),
		 "LD_PRELOAD=%.*s/.libs/killpoint.so", (int)(slash - c->self),
		 c->self);
	if (access(c->preload + strlen("LD_PRELOAD="), R_OK) != 0)
		skip();
	snprintf(log, sizeof(log), "%s/log", place->dir);
	snprintf(points, sizeof(points), "%s/points", place->dir);
	c->store = place->store;
	c->log = log;
	c->points = points;
	fd = open(log, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, sizeof(uint64_t)), 0);
	c->committed = mmap(NULL, sizeof(uint64_t), PROT_READ | PROT_WRITE,
			    MAP_SHARED, fd, 0);
	assert_true(c->committed != MAP_FAILED);
	close(fd);
}

static void crash_new_store(crash *c)
{
	stream_rig rig;

	test_remove_tree(c->store);
	rig_make(&rig, c->store);
	rig_close(&rig);
	*c->committed = 0;
}

/* N 0: not at all. Returns the status of its end. */
static int crash_run(const crash *c, unsigned long n, const char *kind)
{
	char number[40], when[40], points[PATH_MAX + 40];
	const char *const argv[] = {c->self, "child", c->store, c->log, NULL};
	const char *const env[] = {c->preload, number, when, points, NULL};

	snprintf(number, sizeof(number), "KILLPOINT_N=%lu", n);
	snprintf(when, sizeof(when), "KILLPOINT_WHEN=%s", kind);
	snprintf(points, sizeof(points), "KILLPOINT_LOG=%s", c->points);
	unlink(c->points);
	return child_run(argv, env, NULL, RUN_DEADLINE_MS);
}

static unsigned long crash_measure(crash *c)
{
	unsigned long lines = 0;
	char line[256];
	FILE *file;

	crash_new_store(c);
	assert_int_equal(crash_run(c, 0, "before"), 0);
	assert_int_equal(*c->committed, CHILD_TURNS);
	file = fopen(c->points, "r");
	assert_non_null(file);
	while (fgets(line, sizeof(line), file))
		lines++;
	fclose(file);
	return lines;
}

/* ---- what must hold ------------------------------------------------------ */

static uint64_t version_of(stream_rig *rig, const char *name,
			   wb_stream_info *ret)
{
	wb_code code;

	*ret = (wb_stream_info){.version = 0};
	code = wb_stream_stat(rig->store, NULL, wb_str_from(name), ret, NULL);
	assert_true(code == WB_OK || code == WB_ENOTFOUND);
	return ret->version;
}

static void judge_state(stream_rig *rig, uint64_t version, bool snapshots)
{
	wb_aggregate_def def = sum_def(snapshots);
	wb_error err = WB_ERROR_INIT;
	wb_aggregate *a = NULL;
	const sum *now;

	assert_ok(wb_aggregate_open(rig->outbox, &def, &a, &err), err);
	assert_ok(wb_aggregate_load(a, NULL, S("1"), WB_STREAM_ANY, &err), err);
	now = wb_aggregate_state(a);
	assert_int_equal(wb_aggregate_version(a), version);
	assert_int_equal(now->count, version);
	assert_int_equal(now->sum, version * (version + 1) / 2);
	wb_aggregate_close(a);
}

static void judge(const crash *c)
{
	uint64_t version, others = 0;
	wb_stream_info info, other;
	stream_rig rig;

	rig_assert_sound(c->store);
	rig_open(&rig, c->store);
	version = version_of(&rig, "a/1", &info);
	others += version_of(&rig, "b/0", &other);
	others += version_of(&rig, "b/1", &other);
	others += version_of(&rig, "b/2", &other);
	assert_int_equal(version, others);
	assert_in_range(version, *c->committed, *c->committed + 1);
	judge_state(&rig, version, true);
	if (version > 0 && info.floor == 1)
		judge_state(&rig, version, false);
	*c->committed = version;
	rig_close(&rig);
}

static unsigned kills_wanted(unsigned long all)
{
	const char *text = getenv("WAYBILL_CRASH_KILLS");

	if (!text)
		return KILLS;
	return strcmp(text, "all") ? (unsigned)strtoul(text, NULL, 10)
				   : (unsigned)all;
}

static void a_kill_at_any_call_leaves_whole_transactions(void **state)
{
	test_place *place = *state;
	unsigned long calls, all;
	unsigned kills;
	crash c = {.killed = 0};

	crash_open(&c, place);
	calls = crash_measure(&c);
	all = calls * KINDS;
	kills = kills_wanted(all);
	judge(&c);
	for (unsigned i = 0; i < kills; i++) {
		unsigned long at = (unsigned long)i * all / kills;
		int status;

		if (i % 4 == 0) /* else go on with what is there */
			crash_new_store(&c);
		status = crash_run(&c, at / KINDS + 1, kinds[at % KINDS]);
		if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
			c.killed++;
		else
			assert_int_equal(status, 0);
		judge(&c);
	}
	print_message("%u of %u runs killed, at %lu calls\n", c.killed, kills,
		      calls);
	assert_true(c.killed > kills / 2);
	munmap(c.committed, sizeof(uint64_t));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			a_kill_at_any_call_leaves_whole_transactions,
			test_place_setup, test_place_teardown),
	};

	if (argc == 4 && !strcmp(argv[1], "child"))
		return child_main(argv[2], argv[3]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
