/* SPDX-License-Identifier: BSD-2-Clause */
/* What waybill-worker loads for billing. */
#include <waybill/module.h>

#include "examples/orchestration/billing.h"

static const wb_participant *const participants[] = {&billing_participant};

WB_MODULE_EXPORT const struct wb_module wb_module = {
	.abi = WB_MODULE_ABI,
	.size = sizeof(struct wb_module),
	.name = "billing",
	.participants = participants,
	.participant_count = 1,
};
