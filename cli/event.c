/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One event from the flags of a command: strings are borrowed from the
 * options, data of a file is read whole, up to the limit. One thread.
 */
#include "cli/event.h"

#include <stdlib.h>

#include "lib/base/error.h"
#include "lib/base/text.h"

int cli_event_check(const cli_context *ctx, const cli_event_options *o)
{
	if (o->data && o->data_file)
		return cli_usage(ctx, "--data and --data-file: one of them");
	return CLI_OK;
}

static wb_code read_data(const char *path, size_t max, char **ret,
			 size_t *ret_len, wb_error *err)
{
	bool std = !strcmp(path, "-");
	FILE *file = std ? stdin : fopen(path, "re");
	char *bytes = malloc(max + 1);
	wb_code rc = WB_OK;

	if (!file || !bytes) {
		free(bytes);
		if (file && !std)
			fclose(file);
		return WBI_FAIL(err, file ? WB_ENOMEM : WB_ENOTFOUND,
				"%s: cannot be opened", path);
	}
	*ret_len = fread(bytes, 1, max + 1, file);
	if (ferror(file))
		rc = WBI_FAIL(err, WB_EIO, "%s: cannot be read", path);
	else if (*ret_len > max)
		rc = WBI_FAIL(err, WB_ELIMIT, "%s: over body_max_bytes (%zu)",
			      path, max);
	if (!std)
		fclose(file);
	if (rc == WB_OK)
		*ret = bytes;
	else
		free(bytes);
	return rc;
}

static wb_code fill_headers(const cli_event_options *o, cli_event *ret,
			    wb_error *err)
{
	char *const *pairs = o->headers.items;

	if (o->headers.count > CLI_EVENT_HEADERS_MAX)
		return WBI_FAIL(err, WB_ELIMIT, "over %d --header",
				CLI_EVENT_HEADERS_MAX);
	for (size_t i = 0; i < o->headers.count; i++) {
		const char *equals = strchr(pairs[i], '=');

		ret->headers[i].name =
			wb_str_n(pairs[i], (size_t)(equals - pairs[i]));
		ret->headers[i].value = wb_str_from(equals + 1);
	}
	ret->event.headers = ret->headers;
	ret->event.header_count = o->headers.count;
	return WB_OK;
}

static wb_code fill_event(const cli_event_options *o, wb_event *event,
			  wb_error *err)
{
	*event = (wb_event){.id = wb_str_from(o->id),
			    .type = wb_str_from(o->type),
			    .source = wb_str_from(o->source),
			    .subject = wb_str_from(o->subject),
			    .key = wb_str_from(o->key),
			    .content_type = wb_str_from(o->content_type),
			    .data_schema = wb_str_from(o->data_schema),
			    .correlation_id = wb_str_from(o->correlation_id),
			    .causation_id = wb_str_from(o->causation_id),
			    .traceparent = wb_str_from(o->traceparent),
			    .tracestate = wb_str_from(o->tracestate),
			    .reply_to = wb_str_from(o->reply_to),
			    .data = wb_str_from(o->data)};
	if (o->time && !wbi_time_parse(wb_str_from(o->time), &event->time_us))
		return WBI_FAIL(err, WB_EINVAL,
				"--time: '%.40s' is not an RFC 3339 time, such "
				"as 2026-01-31T12:00:00Z",
				o->time);
	return WB_OK;
}

wb_code cli_event_build(const cli_event_options *o, const wb_limits *limits,
			cli_event *ret, wb_error *err)
{
	size_t len = 0;
	wb_code rc;

	ret->bytes = NULL;
	rc = fill_event(o, &ret->event, err);
	if (rc == WB_OK)
		rc = fill_headers(o, ret, err);
	if (rc == WB_OK && o->data_file) {
		rc = read_data(o->data_file, limits->body_bytes, &ret->bytes,
			       &len, err);
		ret->event.data = wb_str_n(ret->bytes, len);
	}
	if (ret->event.data.len == 0)
		ret->event.content_type = WB_STR_NULL;
	if (ret->event.id.len == 0) {
		wb_uuid7(wb_system_clock(), wb_system_random(), ret->id);
		ret->event.id = wb_str_from(ret->id);
	}
	return rc;
}

void cli_event_fini(cli_event *event)
{
	free(event->bytes);
	event->bytes = NULL;
}

void cli_take_header(wbi_received *received, const char *name, wb_str *ret)
{
	wb_event *event = &received->event;
	wb_header *headers = received->headers;

	for (size_t i = 0; i < event->header_count; i++) {
		if (!wb_str_eq(headers[i].name, wb_str_from(name)))
			continue;
		*ret = headers[i].value;
		memmove(&headers[i], &headers[i + 1],
			(event->header_count - i - 1) * sizeof(headers[0]));
		event->header_count--;
		return;
	}
}
