/* SPDX-License-Identifier: BSD-2-Clause */
/* The benchmarks' projection as a module: a counter per key, for
 * `waybill projection run`. No state of its own. */
#include <waybill/module.h>

#include "bench/count.h"

static const wb_projection counts = BENCH_COUNTS(WB_PROJECTION_OUTBOX);
static const wb_projection *const projections[] = {&counts};

WB_MODULE_EXPORT const struct wb_module wb_module = {
	.abi = WB_MODULE_ABI,
	.size = sizeof(struct wb_module),
	.name = "counts",
	.projections = projections,
	.projection_count = 1,
};
