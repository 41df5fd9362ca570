/* SPDX-License-Identifier: BSD-2-Clause */
/* billing for waybill-worker. */
#include <waybill/module.h>

#include "examples/choreography/billing.h"

static const wb_flow_part *const parts[] = {&billing_part};

WB_MODULE_EXPORT const struct wb_module wb_module = {
	.abi = WB_MODULE_ABI,
	.size = sizeof(struct wb_module),
	.name = "billing",
	.flow_parts = parts,
	.flow_part_count = 1,
};
