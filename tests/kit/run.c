/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Running: step the worker until all is at rest. The clock follows what the
 * worker's own deadlines ask for while there is something to do, and what is
 * due later only in wb_test_advance(): from one due row to the next, so that a
 * month is as many steps as there are calls in it.
 *
 * At rest: the worker is connected and idle, and its queue is empty. Bounded by
 * steps_max; where nothing could wake it any more it ends at once.
 */
#include "tests/kit/kit.h"

#include "lib/base/error.h"
#include "tests/kit/commits.h"

enum { RUN_STUCK_STEPS = 16 };

/* A worker that has died in the step is started anew. */
static wb_code run_step(wb_test *t, wb_error *err)
{
	wb_error why = WB_ERROR_INIT;
	wb_code code;

	kit_commits_judge(kit_judge_commit, t);
	code = wb_worker_step(t->worker, true, &why);
	kit_commits_judge(NULL, NULL);
	if (!t->trouble.crashed)
		return code == WB_OK ? WB_OK : kit_pass(err, &why);
	kit_worker_drop(t);
	return kit_worker_start(t, err);
}

static bool run_is_at_rest(const wb_test *t)
{
	wb_worker_stat stat = wb_worker_get_stat(t->worker);
	wb_memory_queue_stat queue =
		wb_memory_get_queue_stat(t->memory, t->options.queue);

	return stat.state == WB_WORKER_RUNNING && stat.idle &&
	       queue.ready == 0 && queue.unacked == 0;
}

static const char *run_state(wb_worker_state state)
{
	static const char *const names[] = {
		[WB_WORKER_WAITING] = "waiting for another worker",
		[WB_WORKER_DOWN] = "not connected",
		[WB_WORKER_RUNNING] = "running",
		[WB_WORKER_PAUSED] = "paused",
		[WB_WORKER_DRAINING] = "draining",
		[WB_WORKER_STOPPED] = "stopped",
		[WB_WORKER_FAILED] = "failed",
	};

	return (size_t)state < sizeof(names) / sizeof(names[0]) ? names[state]
								 : "unknown";
}

static wb_code run_restless(const wb_test *t, uint32_t steps, wb_error *err)
{
	wb_worker_stat stat = wb_worker_get_stat(t->worker);
	wb_memory_queue_stat queue =
		wb_memory_get_queue_stat(t->memory, t->options.queue);

	return WBI_FAIL(err, WB_ETIMEOUT,
			"not at rest after %u steps: the worker is %s%s%s; "
			"queue '%s': %llu ready, %llu unacked; %llu handled, "
			"%llu retries, %llu emitted%s",
			steps, run_state(stat.state),
			stat.error.code != WB_OK ? ", " : "",
			stat.error.code != WB_OK ? stat.error.text : "",
			t->options.queue, (unsigned long long)queue.ready,
			(unsigned long long)queue.unacked,
			(unsigned long long)stat.handled,
			(unsigned long long)stat.retries,
			(unsigned long long)stat.emitted,
			stat.idle ? "; it is idle" : "");
}

static wb_code run_until_rest(wb_test *t, wb_error *err)
{
	uint32_t stuck = 0;
	wb_code code;

	for (uint32_t i = 0; i < t->steps_max; i++) {
		int64_t next;

		code = run_step(t, err);
		if (code != WB_OK)
			return code;
		if (run_is_at_rest(t))
			return WB_OK;
		next = wb_worker_deadline_us(t->worker);
		stuck = next == INT64_MAX ? stuck + 1 : 0;
		if (stuck > RUN_STUCK_STEPS)
			return run_restless(t, i + 1, err);
		if (next != INT64_MAX)
			fake_clock_advance_to_us(&t->clock, next);
	}
	return run_restless(t, t->steps_max, err);
}

wb_code wb_test_run(wb_test *test, wb_error *err)
{
	wb_code code = run_until_rest(test, err);

	return code == WB_OK ? kit_lists_refresh(test, err) : code;
}

wb_code wb_test_advance(wb_test *test, uint64_t us, wb_error *err)
{
	int64_t target = test->clock.mono_us, due = 0;
	wb_code code;

	if (us > (uint64_t)(INT64_MAX / 4))
		return WBI_FAIL(err, WB_EINVAL, "us: more than a clock holds");
	target += (int64_t)us;
	code = run_until_rest(test, err);
	for (uint32_t i = 0; code == WB_OK && i < test->steps_max; i++) {
		int64_t left = target - test->clock.mono_us;

		code = kit_next_due(test, test->clock.real_us, &due, err);
		if (code != WB_OK || left <= 0 ||
		    due - test->clock.real_us > left)
			break;
		fake_clock_advance_us(&test->clock, due - test->clock.real_us);
		code = run_until_rest(test, err);
	}
	if (code != WB_OK)
		return code;
	if (target > test->clock.mono_us && due - test->clock.real_us <=
						    target - test->clock.mono_us)
		return run_restless(test, test->steps_max, err);
	fake_clock_advance_to_us(&test->clock, target);
	return wb_test_run(test, err);
}

void wb_test_jump(wb_test *test, int64_t us)
{
	fake_clock_jump_us(&test->clock, us);
}

int64_t wb_test_now_us(const wb_test *test)
{
	return test->clock.real_us;
}
