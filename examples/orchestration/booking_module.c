/* SPDX-License-Identifier: BSD-2-Clause */
/* What waybill-worker loads for booking. When the saga changes, put the new one
 * in front and leave the old one behind it until none runs under it. */
#include <waybill/module.h>

#include "examples/orchestration/booking.h"

static const wb_saga *const sagas[] = {&booking_saga};

WB_MODULE_EXPORT const struct wb_module wb_module = {
	.abi = WB_MODULE_ABI,
	.size = sizeof(struct wb_module),
	.name = "booking",
	.sagas = sagas,
	.saga_count = 1,
};
