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
	WBI_ENVELOPE_HEADERS = 16,  /* at most this many of our own */
	WBI_ENVELOPE_SCRATCH = 256, /* bytes for printed numbers and times */
	WBI_JSON_DEPTH = 32,
	WBI_JSON_VALUES = 100 * 1000 /* about 130 bytes each in jansson */
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
 * Structured mode: the same properties, no headers, and as its body the JSON
 * event format. JSON data is put in as it stands, other data as data_base64.
 * *ret_body is the caller's to free and must outlive *ret. WB_EINVAL,
 * WB_ELIMIT: as wbi_envelope_check_structured(). WB_ENOMEM.
 */
wb_code wbi_envelope_structured(const wb_event *event,
				const wbi_envelope_context *context,
				wb_message *ret, char **ret_body,
				wb_error *err);

/*
 * Could this event be sent in structured mode? WB_EINVAL: content type says
 * JSON but data is not (or holds a key twice, or is nested deeper than
 * WBI_JSON_DEPTH). WB_ELIMIT: more than WBI_JSON_VALUES values. WB_ENOMEM.
 */
wb_code wbi_envelope_check_structured(const wb_event *event, wb_error *err);

/*
 * An event as one line of an archive: the JSON event format without a line
 * end, made so that reading it gives the same event, its data byte for byte.
 * Where it stood in a journal is not part of it; reply_to is the attribute
 * WBI_LINE_REPLY_TO. *ret_line is the caller's to free. WB_ENOMEM.
 */
#define WBI_LINE_REPLY_TO "wbreplyto"
wb_code wbi_envelope_line(const wb_event *event, char **ret_line,
			  size_t *ret_len, wb_error *err);

/* Does this content type say JSON: .../json or ...+json, any parameters? */
bool wbi_content_type_is_json(wb_str content_type);
/* Does a message with this content type hold the whole event in its body
 * (CloudEvents, AMQP Protocol Binding, 3)? In any case of letters. */
bool wbi_content_type_is_structured(wb_str content_type);

/* Which of the forms a message had; tried in this order. */
typedef enum wbi_form {
	WBI_FORM_STRUCTURED, /* content type application/cloudevents+json */
	WBI_FORM_BINARY,     /* ce-specversion */
	WBI_FORM_AMQP,       /* cloudEvents_specversion, cloudEvents:... */
	WBI_FORM_BARE,       /* specversion, id and type without a prefix */
	WBI_FORM_RAW         /* no CloudEvents at all */
} wbi_form;

/*
 * A message understood as an event. `event` borrows from the message and from
 * this struct; both must stay where they are. event.headers are extension
 * attributes; `others` are all headers that are not attributes of the event:
 * those a broker added (x-...), and those whose name or value no event can
 * have.
 */
typedef struct wbi_received {
	wb_event event;
	wbi_form form;
	wb_str origin;     /* of a waybill journal; empty: another sender */
	uint64_t position; /* there; 0: unknown */
	const wb_header *others;
	size_t other_count;
	/* private: what has to be freed */
	wb_header *headers;
	void *json;
	char *bytes;
} wbi_received;

/*
 * Understand a message from whoever sent it (docs/format.md, "Reading").
 * Where an attribute is missing, the AMQP property stands in: message_id,
 * type or else the routing key, app_id or else the exchange, correlation_id,
 * timestamp. `limits` may be NULL.
 *
 * WB_EINVAL: no id at all, or not an event, with the reason. WB_ELIMIT: over a
 * limit. WB_ENOMEM. After an error there is nothing to free.
 */
wb_code wbi_envelope_read(const wb_message *message, const wb_limits *limits,
			  wbi_received *ret, wb_error *err);
void wbi_envelope_read_fini(wbi_received *received);

#endif
