/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The text attributes of an event as a table, in the order in which a record
 * holds them (docs/format.md, "Record"): never reorder, never remove.
 */
#ifndef WBI_ATTRIBUTE_H
#define WBI_ATTRIBUTE_H

#include <waybill/event.h>

typedef struct wbi_attribute {
	const char *name; /* as in wb_event */
	size_t offset;    /* of its wb_str in wb_event */
	size_t max_bytes;
	const char *why; /* where the maximum comes from */
} wbi_attribute;

enum { WBI_ATTRIBUTES = 12 };

extern const wbi_attribute wbi_attributes[WBI_ATTRIBUTES];

static inline wb_str *wbi_attribute_of(wb_event *event, size_t i)
{
	return (wb_str *)((char *)event + wbi_attributes[i].offset);
}

static inline wb_str wbi_attribute_get(const wb_event *event, size_t i)
{
	return *(const wb_str *)((const char *)event +
				 wbi_attributes[i].offset);
}

/* Hard maxima, whatever the limits say: what a record can hold and a broker
 * will take. */
enum {
	WBI_DATA_MAX = 512 * 1024 * 1024,
	WBI_HEADER_BYTES_MAX = 1024 * 1024,
	WBI_HEADERS_MAX = 1024,
	WBI_HEADER_NAME_MAX = 125 /* "ce-" before it: AMQP 0-9-1, 4.2.5.5 */
};

/* The limits in force: defaults for zero fields, hard maxima applied. `limits`
 * may be NULL. */
wb_limits wbi_limits_of(const wb_limits *limits);

/* wb_event_check(), but names beginning with "wb" are allowed: for the parts
 * of waybill that put them there. */
wb_code wbi_event_check_own(const wb_event *event, const wb_limits *limits,
			    wb_error *err);

/* Is this the name of an attribute that wb_event has a field for, or that
 * CloudEvents 1.0 gives another meaning ("data")? */
bool wbi_attribute_is_reserved(wb_str name);

#endif
