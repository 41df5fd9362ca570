/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the benchmarks share: the workload, so that both sides of a pair do the
 * same work, and small measuring tools. The measured programs print one line
 * of name=value pairs; bench/run pairs them and works out the ratios.
 */
#ifndef BENCH_COMMON_H
#define BENCH_COMMON_H

#include <waybill/event.h>

/*
 * The workload: events of `body` bytes of JSON whose keys are drawn from
 * `keys`; of every thousand events `hot_permille` go to `hot` keys among them,
 * evenly. With keys = 1 all events have one key.
 */
typedef struct bench_shape {
	uint64_t count;
	uint32_t keys, hot, hot_permille, body;
} bench_shape;

enum { BENCH_KEY_MAX = 24, BENCH_BODY_MAX = 65536 };

/* Reads --count --keys --hot --hot-permille --body; the rest are defaults. */
bench_shape bench_shape_from(int argc, char **argv);

/* The key of event number `i`, the same in every run; returns its length. */
size_t bench_key(const bench_shape *shape, uint64_t i,
		 char ret[BENCH_KEY_MAX]);

/* `size` bytes of JSON, the same in every run. */
void bench_body(char *ret, size_t size);

/* Write the time into such a body, in place; read it again, in any process of
 * this machine. 0: there is none. */
void bench_stamp(char *body);
uint64_t bench_stamped(const char *body, size_t size);

/* Event number i; borrows `key` and `body`. */
wb_event bench_event(wb_str key, wb_str body);

/* The value behind `name` in the arguments, or `other`. */
const char *bench_text(int argc, char **argv, const char *name,
		       const char *other);
uint64_t bench_number(int argc, char **argv, const char *name, uint64_t other);
bool bench_flag(int argc, char **argv, const char *name);

uint64_t bench_now_ns(void); /* monotonic */
uint64_t bench_cpu_us(void); /* user and system, this process */
uint64_t bench_rss_anon_kb(void);
void bench_sleep_until_ns(uint64_t when);

/* Sorts `values`; the p-th part (0..1) of them lies below the result. */
uint64_t bench_percentile(uint64_t *values, size_t count, double p);

/* Says what failed, and exits. */
_Noreturn void bench_die(const char *what, const char *why);

#endif
