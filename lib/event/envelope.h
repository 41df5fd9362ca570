/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Between an event and a message (docs/format.md, "Message"): CloudEvents 1.0
 * in binary mode with "ce-" headers, or structured mode.
 */
#ifndef WBI_ENVELOPE_H
#define WBI_ENVELOPE_H

#include <waybill/broker.h>
#include <waybill/event.h>

enum {
	WBI_ENVELOPE_HEADERS = 16, /* at most this many of our own */
	WBI_ENVELOPE_SCRATCH = 256 /* bytes for printed numbers and times */
};

/* Where an event comes from, beside what it says of itself. */
typedef struct wbi_envelope_context {
	wb_str service; /* app_id */
	wb_str origin;  /* of the journal */
	uint64_t position;
} wbi_envelope_context;

/*
 * Binary mode. Fills *ret but for exchange and routing_key; it borrows from
 * `event`, `context`, `headers` and `scratch`. `headers` has room for
 * event->header_count + WBI_ENVELOPE_HEADERS entries; names of extension
 * attributes get their "ce-" prefix in `names`, which has room for the sum of
 * name lengths + 3 per header. Cannot fail on an event that was checked.
 */
void wbi_envelope_binary(const wb_event *event,
			 const wbi_envelope_context *context,
			 wb_header *headers, char *names,
			 char scratch[WBI_ENVELOPE_SCRATCH], wb_message *ret);

/*
 * Structured mode: the same message, its body the JSON event format. JSON
 * data is put in as it stands, other data as data_base64. *ret_body is the
 * caller's to free and must outlive *ret. WB_EINVAL: content type says JSON
 * but the data is not. WB_ENOMEM.
 */
wb_code wbi_envelope_structured(const wb_event *event,
				const wbi_envelope_context *context,
				wb_message *ret, char **ret_body,
				wb_error *err);

#endif
