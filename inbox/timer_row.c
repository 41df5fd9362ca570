/* SPDX-License-Identifier: BSD-2-Clause */
/* The record of a timer's row, for those who only read rows: any thread, no
 * state; what it hands out points into the record. */
#include "inbox/timer.h"

#include "lib/base/bytes.h"
#include "lib/base/error.h"

wb_code wbi_timer_unpack(const wbi_work_id *id, wb_str record, wb_timer *ret,
			 wb_error *err)
{
	if (record.len < WBI_TIMER_HEAD)
		return WBI_FAIL(err, WB_ECORRUPT,
				"timer '%.*s' of handler '%.*s' is cut off: "
				"run `waybill fsck`",
				(int)id->key.len, id->key.ptr,
				(int)id->consumer.len, id->consumer.ptr);
	*ret = (wb_timer){.name = id->key,
			  .due_us = (int64_t)wbi_get_le64(
				  (const uint8_t *)record.ptr),
			  .data = wb_str_n(record.ptr + WBI_TIMER_HEAD,
					   record.len - WBI_TIMER_HEAD)};
	return WB_OK;
}
