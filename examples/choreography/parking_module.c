/* SPDX-License-Identifier: BSD-2-Clause */
/* parking for waybill-worker. */
#include <waybill/module.h>

#include "examples/choreography/parking.h"

static const wb_flow_part *const parts[] = {&parking_part};

WB_MODULE_EXPORT const struct wb_module wb_module = {
	.abi = WB_MODULE_ABI,
	.size = sizeof(struct wb_module),
	.name = "parking",
	.flow_parts = parts,
	.flow_part_count = 1,
};
