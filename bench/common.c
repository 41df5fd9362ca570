/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The benchmarks' workload and measuring tools. Everything is a function of
 * its arguments, so that two programs given the same ones do the same work.
 */
#include "bench/common.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

void bench_die(const char *what, const char *why)
{
	fprintf(stderr, "bench: %s: %s\n", what, why);
	exit(1);
}

const char *bench_text(int argc, char **argv, const char *name,
		       const char *other)
{
	for (int i = 1; i + 1 < argc; i++)
		if (!strcmp(argv[i], name))
			return argv[i + 1];
	return other;
}

bool bench_flag(int argc, char **argv, const char *name)
{
	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], name))
			return true;
	return false;
}

uint64_t bench_number(int argc, char **argv, const char *name, uint64_t other)
{
	const char *text = bench_text(argc, argv, name, NULL);
	char *end;
	uint64_t value;

	if (!text)
		return other;
	value = strtoull(text, &end, 10);
	if (end == text || *end)
		bench_die(name, "not a number");
	return value;
}

bench_shape bench_shape_from(int argc, char **argv)
{
	bench_shape s = {
		.count = bench_number(argc, argv, "--count", 300000),
		.keys = (uint32_t)bench_number(argc, argv, "--keys", 5000),
		.hot = (uint32_t)bench_number(argc, argv, "--hot", 8),
		.hot_permille =
			(uint32_t)bench_number(argc, argv, "--hot-permille", 24),
		.body = (uint32_t)bench_number(argc, argv, "--body", 256),
	};

	if (s.keys == 0 || s.hot > s.keys || s.hot_permille > 1000 ||
	    s.body < 64 || s.body > BENCH_BODY_MAX)
		bench_die("workload", "out of range");
	return s;
}

/* splitmix64's finaliser: spreads consecutive numbers evenly. */
static uint64_t common_mix(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

size_t bench_key(const bench_shape *shape, uint64_t i, char ret[BENCH_KEY_MAX])
{
	uint64_t draw = common_mix(i);
	uint64_t key;

	if (shape->hot > 0 && draw % 1000 < shape->hot_permille)
		key = (draw >> 32) % shape->hot;
	else
		key = (draw >> 32) % shape->keys;
	return (size_t)snprintf(ret, BENCH_KEY_MAX, "order/%06" PRIu64, key);
}

static const char common_head[] = "{\"total\":\"12.50\",\"note\":\"";
enum { COMMON_STAMP_AT = sizeof(common_head) - 1, COMMON_STAMP_LEN = 20 };

void bench_body(char *ret, size_t size)
{
	for (size_t i = 0; i < size; i++)
		ret[i] = i < COMMON_STAMP_AT ? common_head[i]
					      : (char)('a' + i % 26);
	ret[size - 2] = '"';
	ret[size - 1] = '}';
}

void bench_stamp(char *body)
{
	char digits[COMMON_STAMP_LEN + 1];

	snprintf(digits, sizeof(digits), "%0*" PRIu64, COMMON_STAMP_LEN,
		 bench_now_ns());
	memcpy(body + COMMON_STAMP_AT, digits, COMMON_STAMP_LEN);
}

uint64_t bench_stamped(const char *body, size_t size)
{
	uint64_t ns = 0;

	if (size < COMMON_STAMP_AT + COMMON_STAMP_LEN)
		return 0;
	for (size_t i = 0; i < COMMON_STAMP_LEN; i++) {
		char c = body[COMMON_STAMP_AT + i];

		if (c < '0' || c > '9')
			return 0;
		ns = ns * 10 + (uint64_t)(c - '0');
	}
	return ns;
}

wb_event bench_event(wb_str key, wb_str body)
{
	return (wb_event){
		.type = wb_str_from("order.placed"),
		.source = wb_str_from("/bench"),
		.key = key,
		.content_type = wb_str_from("application/json"),
		.data = body,
	};
}

uint64_t bench_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

void bench_sleep_until_ns(uint64_t when)
{
	struct timespec ts = {.tv_sec = (time_t)(when / 1000000000),
			      .tv_nsec = (long)(when % 1000000000)};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) ==
	       EINTR)
		;
}

uint64_t bench_cpu_us(void)
{
	struct rusage ru;

	getrusage(RUSAGE_SELF, &ru);
	return (uint64_t)(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) * 1000000 +
	       (uint64_t)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec);
}

uint64_t bench_rss_anon_kb(void)
{
	FILE *f = fopen("/proc/self/status", "r");
	char line[256];
	uint64_t kb = 0;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "RssAnon: %" SCNu64, &kb) == 1)
			break;
	if (f)
		fclose(f);
	return kb;
}

static int common_compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

uint64_t bench_percentile(uint64_t *values, size_t count, double p)
{
	if (count == 0)
		return 0;
	qsort(values, count, sizeof(*values), common_compare);
	return values[(size_t)(p * (double)(count - 1) + 0.5)];
}
