/* SPDX-License-Identifier: BSD-2-Clause */
/* What waybill-worker loads for parking. */
#include <waybill/module.h>

#include "examples/orchestration/parking.h"

static const wb_participant *const participants[] = {&parking_participant};

WB_MODULE_EXPORT const struct wb_module wb_module = {
	.abi = WB_MODULE_ABI,
	.size = sizeof(struct wb_module),
	.name = "parking",
	.participants = participants,
	.participant_count = 1,
};
