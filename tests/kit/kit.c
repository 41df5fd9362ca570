/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The test kit's world: made, crashed and torn down. The worker is the shipped
 * one; its connections are mortal (mortal.h) and its commits are judged
 * (commits.h), so that it can die where a process can: nothing that it does
 * afterwards reaches the broker or the store.
 *
 * The kit owns all but the handlers. One thread; two kits on two threads do not
 * know each other. A test that is killed leaves its directory behind.
 */
#include "tests/kit/kit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/error.h"
#include "tests/kit/commits.h"
#include "tests/kit/scratch.h"

enum { KIT_STEPS_MAX = 100000 };

static const uint64_t KIT_MAP_BYTES = UINT64_C(1) << 30;

wb_code kit_pass(wb_error *err, const wb_error *from)
{
	wbi_error_pass(err, from);
	return from->code;
}

/* ---- commits ------------------------------------------------------------- */

static void kit_die(wb_test *t)
{
	t->trouble.crashed = true;
	kit_mortal_kill(t->consumer);
	kit_mortal_kill(t->publisher);
}

kit_commit_fate kit_judge_commit(void *ctx, MDB_env *env)
{
	kit_commit_fate fate = {.durable = true};
	wb_test *t = ctx;

	t->trouble.visible = true;
	if (t->trouble.crashed)
		return (kit_commit_fate){false, ENOSPC};
	if (!t->store || env != wb_store_env(t->store) || t->trouble.nth == 0 ||
	    --t->trouble.nth > 0)
		return fate;
	t->trouble.came = true;
	fate.durable = t->trouble.what == WB_TEST_CRASH_AFTER_COMMIT;
	fate.rc = ENOSPC;
	if (t->trouble.what != WB_TEST_DISK_FULL)
		kit_die(t);
	return fate;
}

wb_code wb_test_trouble_at(wb_test *test, wb_test_trouble what, uint32_t nth,
			   wb_error *err)
{
	if (!test->trouble.visible)
		return WBI_FAIL(err, WB_ESTATE,
				"commits cannot be seen: link libwaybill-test "
				"dynamically, and before liblmdb");
	test->trouble.what = what;
	test->trouble.nth = nth;
	test->trouble.came = false;
	return WB_OK;
}

bool wb_test_trouble_came(const wb_test *test)
{
	return test->trouble.came;
}

/* ---- the worker ---------------------------------------------------------- */

static wb_code kit_connection(wb_test *t, kit_mortal **ret, wb_error *err)
{
	wb_broker *broker;
	wb_code code = wb_memory_connect(t->memory, &broker, err);

	if (code != WB_OK)
		return code;
	*ret = kit_mortal_new(broker, 0);
	if (*ret)
		return WB_OK;
	wb_broker_free(broker);
	return WBI_FAIL(err, WB_ENOMEM, "a connection");
}

void kit_worker_drop(wb_test *t)
{
	kit_commits_judge(kit_judge_commit, t);
	if (t->worker)
		wb_worker_close(t->worker);
	kit_commits_judge(NULL, NULL);
	t->worker = NULL;
	if (t->consumer)
		wb_broker_free(kit_mortal_broker(t->consumer));
	if (t->publisher)
		wb_broker_free(kit_mortal_broker(t->publisher));
	t->consumer = t->publisher = NULL;
	t->trouble.crashed = false;
}

static wb_code kit_worker_open(wb_test *t, wb_error *err)
{
	wb_code code = kit_connection(t, &t->consumer, err);

	if (code == WB_OK)
		code = kit_connection(t, &t->publisher, err);
	if (code != WB_OK)
		return code;
	kit_commits_judge(kit_judge_commit, t);
	code = wb_worker_open(t->store, kit_mortal_broker(t->consumer),
			      kit_mortal_broker(t->publisher), t->handlers,
			      t->handler_count, &t->options, &t->worker, err);
	kit_commits_judge(NULL, NULL);
	return code;
}

/* A trouble comes once: so the second attempt is not disturbed by it. */
wb_code kit_worker_start(wb_test *t, wb_error *err)
{
	wb_error why = WB_ERROR_INIT;
	wb_code code = kit_worker_open(t, &why);

	if (t->trouble.crashed || (code == WB_ENOSPC && t->trouble.came)) {
		kit_worker_drop(t);
		wb_error_clear(&why);
		code = kit_worker_open(t, &why);
	}
	if (code != WB_OK)
		kit_worker_drop(t);
	return kit_pass(err, &why);
}

wb_code wb_test_crash(wb_test *test, wb_error *err)
{
	kit_die(test);
	kit_worker_drop(test);
	return kit_worker_start(test, err);
}

/* ---- making it ----------------------------------------------------------- */

static void kit_choose(wb_test *t, const wb_test_options *o)
{
	if (o->worker)
		memcpy(&t->options, o->worker,
		       o->worker->size < sizeof(t->options)
			       ? o->worker->size
			       : sizeof(t->options));
	t->options.size = sizeof(t->options);
	t->relay_options = (wb_relay_options)WB_RELAY_OPTIONS_INIT;
	if (t->options.relay)
		memcpy(&t->relay_options, t->options.relay,
		       t->options.relay->size < sizeof(t->relay_options)
			       ? t->options.relay->size
			       : sizeof(t->relay_options));
	t->relay_options.size = sizeof(t->relay_options);
	t->relay_options.clock = t->options.clock = &t->clock.clock;
	t->relay_options.random = t->options.random = &t->random.random;
	t->relay_options.log = t->options.log = o->log;
	t->options.relay = &t->relay_options;
	t->options.threads = 0;
	t->options.declare = WB_DECLARE_CREATE;
	if (!t->options.exchange)
		t->options.exchange = "events";
	t->steps_max = o->steps_max ? o->steps_max : KIT_STEPS_MAX;
}

static wb_code kit_open_store(wb_test *t, const wb_test_options *o,
			      wb_error *err)
{
	wb_store_options options = WB_STORE_OPTIONS_INIT;
	char path[PATH_MAX + 8];
	wb_code code;

	if (o->store)
		memcpy(&options, o->store,
		       o->store->size < sizeof(options) ? o->store->size
							: sizeof(options));
	options.size = sizeof(options);
	options.clock = &t->clock.clock;
	options.random = &t->random.random;
	options.log = o->log;
	if (!options.service)
		options.service = "test";
	if (!options.map_bytes)
		options.map_bytes = KIT_MAP_BYTES;
	if (!kit_scratch_make(kit_scratch_base(), t->dir))
		return wbi_fail_errno(err, errno, __func__,
				      "make a directory in %s",
				      kit_scratch_base());
	snprintf(path, sizeof(path), "%s/store", t->dir);
	kit_commits_judge(kit_judge_commit, t);
	code = wb_store_create(path, &options, err);
	kit_commits_judge(NULL, NULL);
	if (code == WB_OK)
		code = wb_store_open(path, &options, &t->store, err);
	if (code == WB_OK && !t->options.queue)
		t->options.queue = wb_store_service(t->store);
	return code;
}

wb_code wb_test_new(const wb_handler *const *handlers, size_t count,
		    const wb_test_options *options, wb_test **ret,
		    wb_error *err)
{
	wb_test_options o = WB_TEST_OPTIONS_INIT;
	wb_test *t = calloc(1, sizeof(*t));
	wb_error why = WB_ERROR_INIT;

	if (!t)
		return WBI_FAIL(err, WB_ENOMEM, "a test kit");
	if (options)
		memcpy(&o, options,
		       options->size < sizeof(o) ? options->size : sizeof(o));
	fake_clock_init(&t->clock);
	if (o.start_us)
		t->clock.real_us = o.start_us;
	seeded_random_init(&t->random, o.seed ? o.seed : 1);
	t->handlers = handlers;
	t->handler_count = count;
	kit_choose(t, &o);
	if (kit_open_store(t, &o, &why) == WB_OK &&
	    wb_memory_new(&t->clock.clock, &t->random.random, &t->memory,
			  &why) == WB_OK &&
	    kit_topology(t, &why) == WB_OK &&
	    kit_worker_start(t, &why) == WB_OK &&
	    wb_test_run(t, &why) == WB_OK)
		*ret = t;
	else
		wb_test_free(t);
	return kit_pass(err, &why);
}

void wb_test_free(wb_test *test)
{
	if (!test)
		return;
	kit_worker_drop(test);
	kit_lists_free(test);
	wb_memory_free(test->memory);
	wb_store_close(test->store);
	kit_scratch_remove(test->dir);
	free(test->given.arrivals);
	free(test->value);
	free(test->why);
	free(test);
}

/* ---- its parts ----------------------------------------------------------- */

wb_memory *wb_test_broker(wb_test *test)
{
	return test->memory;
}

wb_store *wb_test_store(wb_test *test)
{
	return test->store;
}

wb_worker_stat wb_test_stat(const wb_test *test)
{
	return wb_worker_get_stat(test->worker);
}
