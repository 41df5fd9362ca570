/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One event as bytes in a journal (docs/format.md, "Record"). Decoding is
 * bounds-checked and copies nothing: the event's strings point into the
 * record.
 */
#ifndef WBI_RECORD_H
#define WBI_RECORD_H

#include <waybill/event.h>

enum {
	WBI_RECORD_VERSION = 1,
	WBI_RECORD_FIXED = 68, /* bytes before the strings */
	WBI_RECORD_HEADERS_MAX = 1024
};

/*
 * What a record is besides an event. STREAM: it is version event.sequence of
 * the stream event.subject, and the stream's index knows it. STUB, with STREAM
 * only: the stream was truncated, and of the event there is left its id, type,
 * time and place.
 */
enum { WBI_RECORD_STREAM = 1, WBI_RECORD_STUB = 2 };

/* The encoded size of an event that wb_event_check() accepts. */
size_t wbi_record_size(const wb_event *event);

/*
 * Encode into `ret`, exactly wbi_record_size() bytes. The event must have
 * passed wb_event_check() and have its id, source and time.
 */
void wbi_record_encode(const wb_event *event, uint64_t position, uint8_t *ret,
		       size_t size);
/* The same of a record with flags. */
void wbi_record_encode_as(const wb_event *event, uint64_t position,
			  uint8_t flags, uint8_t *ret, size_t size);

/*
 * Check version, bounds and checksum, and point *ret_event into `bytes`. The
 * headers of the event are not unpacked: header_count is set, headers is NULL
 * until wbi_record_headers(). WB_ECORRUPT or WB_EVERSION, saying what.
 */
wb_code wbi_record_decode(const void *bytes, size_t size, wb_event *ret_event,
			  uint64_t *ret_position, wb_error *err);

/* The flags of a record that was decoded. */
uint8_t wbi_record_flags(wb_str record);

/*
 * Unpack the headers of a record that was decoded: fills `ret` (at least
 * header_count entries) and sets event->headers to it.
 */
wb_code wbi_record_headers(const void *bytes, size_t size, wb_event *event,
			   wb_header *ret, wb_error *err);

#endif
