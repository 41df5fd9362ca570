/* SPDX-License-Identifier: BSD-2-Clause */
/* A stranger's test of a stranger's handler, by the installed test kit: no
 * framework, no network, and a partner that is down for thirty days. */
#include <assert.h>
#include <stdio.h>
#include <waybill/test.h>

#define DAY_US (INT64_C(24) * 3600 * 1000000)

static int64_t down_until_us;

static wb_code ask(wb_call *call, const wb_event *event, wb_error *err)
{
	wb_event answer = {.type = wb_str_from("partner.answered"),
			   .key = event->key};

	if (wb_call_now_us(call) < down_until_us)
		return wb_retry(err, "the partner is down");
	return wb_emit(call, &answer, err);
}

static const char *const types[] = {"order.placed", NULL};
static const wb_handler handler = {.size = sizeof(wb_handler),
				   .name = "ask",
				   .types = types,
				   .attempts_max = 100000,
				   .handle = ask};
static const wb_handler *const handlers[] = {&handler};

static int failed(const wb_error *err)
{
	return fprintf(stderr, "kit: %s\n", err->text), 1;
}

int main(void)
{
	wb_event event = {.type = wb_str_from("order.placed"),
			  .key = wb_str_from("order/42")};
	wb_error err = WB_ERROR_INIT;
	wb_test *t;

	if (wb_test_new(handlers, 1, NULL, &t, &err))
		return failed(&err);
	down_until_us = wb_test_now_us(t) + 30 * DAY_US;
	if (wb_test_trouble_at(t, WB_TEST_CRASH_AFTER_COMMIT, 2, &err) ||
	    wb_test_given(t, &event, &err) ||
	    wb_test_advance(t, 31 * DAY_US, &err))
		return failed(&err);
	assert(wb_test_trouble_came(t));
	assert(wb_test_emitted(t, 0) && !wb_test_emitted(t, 1));
	assert(wb_str_eq(wb_test_emitted(t, 0)->key, event.key));
	assert(!wb_test_waiting_at(t, 0) && !wb_test_dead_at(t, 0));
	wb_test_free(t);
	puts("thirty days of retries, and one answer");
	return 0;
}
