/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The read model: one row per booking, as of its last event, for whoever asks
 * by reference or by status. It follows the store's own events; it can be
 * deleted, and comes back the same, byte for byte.
 */
#include "examples/event-sourcing/booking.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { BOOKINGS };

/* A row back into a booking: the next event changes it. */
static wb_code row_read(wb_str row, booking *ret, wb_error *err)
{
	char text[BOOKING_ROW_MAX], status[16];
	int end = 0;

	if (row.len >= sizeof(text))
		return wb_error_set(err, WB_ECORRUPT, 0, __func__,
				    "a row of "
				    "%zu bytes",
				    row.len);
	memcpy(text, row.ptr, row.len);
	text[row.len] = '\0';
	memset(ret, 0, sizeof(*ret));
	if (sscanf(text, "%15s %*u %63s %n", status, ret->slot, &end) != 2)
		return wb_error_set(err, WB_ECORRUPT, 0, __func__,
				    "a row that is none");
	for (uint32_t s = 0; s <= BOOKING_REJECTED; s++)
		if (!strcmp(status, booking_status_name(s)))
			ret->status = s;
	if (end > 0)
		snprintf(ret->reason, sizeof(ret->reason), "%s", text + end);
	return WB_OK;
}

static wb_code model_apply(wb_model *model, const wb_event *event,
			   wb_error *err)
{
	char text[BOOKING_ROW_MAX];
	wb_str ref = event->subject, row;
	booking b = {.status = BOOKING_NONE};
	wb_code code;

	/* Events of other categories pass by. */
	if (ref.len < 9 || memcmp(ref.ptr, "booking/", 8) != 0)
		return WB_OK;
	ref = wb_str_n(ref.ptr + 8, ref.len - 8);
	code = wb_model_get(model, BOOKINGS, ref, &row, err);
	if (code == WB_OK)
		code = row_read(row, &b, err);
	else if (code == WB_ENOTFOUND)
		code = WB_OK;
	if (code == WB_OK)
		code = booking_change(&b, event, err);
	if (code != WB_OK)
		return code;
	snprintf(text, sizeof(text), "%s %" PRIu64 " %s%s%s",
		 booking_status_name(b.status), event->sequence, b.slot,
		 b.reason[0] ? " " : "", b.reason);
	return wb_model_put(model, BOOKINGS, ref, wb_str_from(text), err);
}

static wb_code by_status(wb_index_keys *ret, wb_str key, wb_str value,
			 wb_error *err)
{
	const char *space = memchr(value.ptr, ' ', value.len);

	(void)key;
	if (!space)
		return WB_OK;
	return wb_index_key_add(
		ret, wb_str_n(value.ptr, (size_t)(space - value.ptr)), err);
}

static const wb_model_index indexes[] = {{"status", by_status}};

static const wb_model_table tables[] = {
	{.name = "bookings",
	 .content_type = "text/plain",
	 .indexes = indexes,
	 .index_count = 1},
};

const wb_projection booking_model = {
	.size = sizeof(wb_projection),
	.name = "bookings",
	.version = 1,
	.source = WB_PROJECTION_OUTBOX,
	.types = (const char *const[]){"#", NULL},
	.tables = tables,
	.table_count = 1,
	.on_error = WB_ON_ERROR_QUARANTINE_KEY,
	.apply = model_apply,
};
