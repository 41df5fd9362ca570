/* SPDX-License-Identifier: BSD-2-Clause */
/* parking: has the slots. */
#ifndef ORCHESTRATION_PARKING_H
#define ORCHESTRATION_PARKING_H

#include <waybill/participant.h>

/* Table "slots": SLOT → "STATE REF DOOR": available, blocked or reserved; for
 * whom, or "-"; open or closed. */
#define SLOTS_TABLE "slots"

extern const wb_participant parking_participant;

#endif
