/* SPDX-License-Identifier: BSD-2-Clause */
/* What fsck says of a store, in this process. */
#include "lib/journal/walk.h"
#include "tests/crash/crash_points.h"
#include "tests/support/testing.h"

static void say_finding(void *ctx, const wbi_finding *finding)
{
	(void)ctx;
	fail_msg("%s %s %llu: %s", finding->file, finding->table,
		 (unsigned long long)finding->position, finding->text);
}

static void say_nothing(void *ctx, uint64_t done, uint64_t total)
{
	(void)ctx;
	(void)done;
	(void)total;
}

void crash_assert_sound(const char *dir)
{
	const wbi_walk_output output = {say_finding, say_nothing, NULL};
	wbi_check_result result = {0};
	wb_error err = WB_ERROR_INIT;

	assert_ok(wbi_walk_store(dir, &output, &result, &err), err);
}
