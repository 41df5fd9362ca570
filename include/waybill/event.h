/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An event, as a service appends it and as a consumer gets it: a CloudEvents
 * 1.0 event whose data bytes are never parsed, changed or printed again.
 */
#ifndef WAYBILL_EVENT_H
#define WAYBILL_EVENT_H

#include <waybill/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One extra attribute. Names and values of an event that is appended must be
 * UTF-8 without control characters. */
typedef struct wb_header {
	wb_str name;
	wb_str value;
} wb_header;

/*
 * A delivery that is beyond the broker adapter's limits (headers nested too
 * deep, a body too large) comes all the same, so that it can be set aside
 * instead of coming again for ever: without the part that is beyond them, and
 * with this header, whose value says what is missing and why.
 */
#define WB_HEADER_UNDECODED "waybill-undecoded"

/*
 * All strings are borrowed from whoever filled the struct. Zero-initialise,
 * then set what you have: only `type` is required for an append.
 */
typedef struct wb_event {
	wb_str id;       /* CloudEvents id; empty at append: a new UUIDv7 */
	wb_str type;     /* e.g. "order.placed"; the default routing key */
	wb_str source;   /* URI reference; empty at append: "/" + service */
	wb_str subject;  /* e.g. "order/42": aggregate type / aggregate id */
	wb_str key;      /* ordering key; empty: the event is unordered */
	wb_str content_type; /* of data, e.g. "application/json"; not
				"application/cloudevents...", which says of a
				message that its body is an event */
	wb_str data_schema;
	wb_str correlation_id;
	wb_str causation_id;
	wb_str traceparent; /* W3C trace context, carried unchanged */
	wb_str tracestate;
	wb_str reply_to;    /* queue that an answer should go to */
	int64_t time_us;    /* UTC, since 1970; 0 at append: now */
	uint64_t sequence;  /* version in its stream, from 1; 0: none */
	const wb_header *headers; /* extension attributes, in order */
	size_t header_count;
	wb_str data;
} wb_event;

/*
 * Limits that an event must keep to be accepted. Zero in any field means the
 * default, which is what the macro holds. All are inclusive.
 */
typedef struct wb_limits {
	size_t body_bytes;     /* data: 1 MiB */
	size_t header_count;   /* extra attributes: 64 */
	size_t header_bytes;   /* names and values of extra ones: 64 KiB */
	size_t key_bytes;      /* ordering key: 255, never more */
} wb_limits;

#define WB_LIMITS_DEFAULT {1024UL * 1024, 64, 64UL * 1024, 255}

/*
 * Is this event one that could be published? Checks
 * - lengths: every attribute at most 255 bytes (what an AMQP short string
 *   holds: AMQP 0-9-1, 4.2.5.3), but data_schema 1,024 and tracestate 512;
 * - UTF-8 without control characters (CloudEvents 1.0, "Type System");
 * - header names: lower-case ASCII letters and digits, at most 125 of them,
 *   each once, none of the attributes above by its CloudEvents name
 *   (partitionkey, dataschema, ...), "data", or beginning with "wb", but
 *   for those of sagas (waybill/participant.h): wbsaga, wbstep, ...;
 * - time: a year of 0000 to 9999 (RFC 3339);
 * - the limits. `limits` may be NULL. Whatever they say, data holds at most
 *   512 MiB, headers 1,024 and 1 MiB.
 *
 * WB_EINVAL or WB_ELIMIT, naming the attribute; the event is not changed.
 */
WB_API wb_code wb_event_check(const wb_event *event, const wb_limits *limits,
			      wb_error *err);

#ifdef __cplusplus
}
#endif
#endif
