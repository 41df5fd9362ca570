/* SPDX-License-Identifier: BSD-2-Clause */
/* The projection under measurement: a counter per key. */
#ifndef BENCH_COUNT_H
#define BENCH_COUNT_H

#include <waybill/projection.h>

wb_code bench_count(wb_model *model, const wb_event *event, wb_error *err);

extern const char *const bench_count_types[];
extern const wb_model_table bench_count_tables[1];

/* An initialiser, of one from this source. */
#define BENCH_COUNTS(source_)                                                  \
	{.size = sizeof(wb_projection), .name = "counts", .version = 1,        \
	 .source = source_, .types = bench_count_types,                        \
	 .tables = bench_count_tables, .table_count = 1,                       \
	 .on_error = WB_ON_ERROR_STOP, .apply = bench_count}

#endif
