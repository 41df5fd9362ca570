/* SPDX-License-Identifier: BSD-2-Clause */
/* One event from the flags of a command. */
#ifndef CLI_EVENT_H
#define CLI_EVENT_H

#include <waybill/event.h>

#include "cli/command.h"
#include "lib/event/envelope.h"

enum { CLI_EVENT_HEADERS_MAX = 256 };

typedef struct cli_event_options {
	char *id, *type, *source, *subject, *key, *time;
	char *content_type, *data_schema, *data, *data_file;
	char *correlation_id, *causation_id, *traceparent, *tracestate;
	char *reply_to;
	wbi_config_items headers;
} cli_event_options;

/* clang-format off */
#define CLI_EVENT_TEXT(S, member, flag, arg_, ...)                            \
	{{.name = flag, .kind = WBI_CONFIG_TEXT,                              \
	  .offset = offsetof(S, member), .arg = arg_, __VA_ARGS__}, 0}

/* Its flags, where the options of a command S have one as `m`; type, subject
 * and key apart. */
#define CLI_EVENT_OWN_FLAGS(S, m)                                             \
	CLI_EVENT_TEXT(S, m.data, "data", "TEXT",                             \
		.help = "The data, as it stands."),                           \
	CLI_EVENT_TEXT(S, m.data_file, "data-file", "FILE",                   \
		.help = "The data is the content of this file; '-': standard "\
			"input."),                                            \
	CLI_EVENT_TEXT(S, m.content_type, "content-type", "TYPE",             \
		.help = "Of the data.", .init = "application/json"),          \
	CLI_EVENT_TEXT(S, m.id, "id", "ID",                                   \
		.help = "Default: a new UUID, version 7."),                   \
	CLI_EVENT_TEXT(S, m.source, "source", "URI",                          \
		.help = "Default: / and the service's name."),                \
	CLI_EVENT_TEXT(S, m.time, "time", "TIME",                             \
		.help = "RFC 3339; default: now."),                           \
	CLI_EVENT_TEXT(S, m.data_schema, "data-schema", "URI",                \
		.help = "Schema of the data."),                               \
	CLI_EVENT_TEXT(S, m.correlation_id, "correlation-id", "ID",           \
		.help = "What this belongs to."),                             \
	CLI_EVENT_TEXT(S, m.causation_id, "causation-id", "ID",               \
		.help = "The event that this one follows from."),             \
	CLI_EVENT_TEXT(S, m.traceparent, "traceparent", "TEXT",               \
		.help = "W3C trace context."),                                \
	CLI_EVENT_TEXT(S, m.tracestate, "tracestate", "TEXT",                 \
		.help = "The same."),                                         \
	CLI_EVENT_TEXT(S, m.reply_to, "reply-to", "QUEUE",                    \
		.help = "Queue that an answer should go to."),                \
	{{.name = "header", .kind = WBI_CONFIG_TEXTS,                         \
	  .offset = offsetof(S, m.headers), .arg = "NAME=VALUE",              \
	  .help = "An extension attribute; as many as are wanted."}, 0}

#define CLI_EVENT_FLAGS(S, m)                                                 \
	CLI_EVENT_TEXT(S, m.type, "type", "TYPE",                             \
		.help = "One event from these flags, of this type."),         \
	CLI_EVENT_TEXT(S, m.key, "key", "KEY",                                \
		.help = "Ordering key: events of one key are delivered in "   \
			"order."),                                            \
	CLI_EVENT_TEXT(S, m.subject, "subject", "SUBJECT",                    \
		.help = "What it is about, such as order/42."),               \
	CLI_EVENT_OWN_FLAGS(S, m)
/* clang-format on */

typedef struct cli_event {
	wb_event event; /* has an id */
	wb_header headers[CLI_EVENT_HEADERS_MAX];
	char id[WB_UUID_TEXT_LEN + 1];
	char *bytes;
} cli_event;

/* Flags that exclude each other: CLI_OK, or CLI_USAGE with the reason said. */
int cli_event_check(const cli_context *ctx, const cli_event_options *o);

/* Borrows from `o`; free with cli_event_fini() in each case. */
wb_code cli_event_build(const cli_event_options *o, const wb_limits *limits,
			cli_event *ret, wb_error *err);
void cli_event_fini(cli_event *event);

/* Of an event that was read from a line: the attribute of this name, which is
 * then not one of its headers any more. *ret stays if there is none. */
void cli_take_header(wbi_received *received, const char *name, wb_str *ret);

#endif
