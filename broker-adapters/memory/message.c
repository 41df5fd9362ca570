/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Messages as the broker keeps them: one allocation with all their bytes,
 * shared by every queue, log and event that refers to it. Immutable after the
 * copy. One thread, like everything here.
 */
#include <stdlib.h>

#include "broker-adapters/memory/model.h"
#include "lib/base/assert.h"
#include "lib/base/error.h"

/* AMQP 0-9-1, 4.2.5.3: a short string holds at most 255 bytes. */
static wb_code message_check_short(wb_str text, const char *what, wb_error *err)
{
	if (text.len > WBI_MEM_NAME_MAX)
		return WBI_FAIL(err, WB_ELIMIT,
				"%s has %zu bytes; AMQP allows at most 255",
				what, text.len);
	return WB_OK;
}

wb_code wbi_mem_message_check(const wb_message *message, wb_error *err)
{
	const struct {
		wb_str text;
		const char *what;
	} shorts[] = {
		{message->exchange, "exchange"},
		{message->routing_key, "routing key"},
		{message->message_id, "message id"},
		{message->type, "type"},
		{message->app_id, "app id"},
		{message->content_type, "content type"},
		{message->correlation_id, "correlation id"},
		{message->reply_to, "reply to"},
	};

	if (message->message_id.len == 0)
		return WBI_FAIL(err, WB_EINVAL,
				"a message needs a message id: a return is "
				"matched by it");
	for (size_t i = 0; i < WBI_COUNT(shorts); i++)
		if (message_check_short(shorts[i].text, shorts[i].what, err))
			return WB_ELIMIT;
	for (size_t i = 0; i < message->header_count; i++)
		if (message_check_short(message->headers[i].name,
					"a header's name", err))
			return WB_ELIMIT;
	return WB_OK;
}

static wb_str message_pack(char **at, wb_str text)
{
	wb_str copy = {*at, text.len};

	if (text.len > 0)
		memcpy(*at, text.ptr, text.len);
	*at += text.len;
	return copy;
}

static size_t message_bytes(const wb_message *m)
{
	size_t bytes = m->exchange.len + m->routing_key.len +
		       m->message_id.len + m->type.len + m->app_id.len +
		       m->content_type.len + m->correlation_id.len +
		       m->reply_to.len + m->body.len;

	for (size_t i = 0; i < m->header_count; i++)
		bytes += m->headers[i].name.len + m->headers[i].value.len;
	return bytes;
}

wbi_mem_message *wbi_mem_message_copy(const wb_message *message)
{
	size_t table = message->header_count * sizeof(wb_header);
	size_t bytes = message_bytes(message);
	wbi_mem_message *copy = malloc(sizeof(*copy) + table + bytes);
	wb_header *headers;
	char *at;

	if (!copy)
		return NULL;
	headers = (wb_header *)(copy + 1);
	at = (char *)headers + table;
	copy->refs = 1;
	copy->charge = bytes;
	copy->view = *message;
	copy->view.exchange = message_pack(&at, message->exchange);
	copy->view.routing_key = message_pack(&at, message->routing_key);
	copy->view.message_id = message_pack(&at, message->message_id);
	copy->view.type = message_pack(&at, message->type);
	copy->view.app_id = message_pack(&at, message->app_id);
	copy->view.content_type = message_pack(&at, message->content_type);
	copy->view.correlation_id = message_pack(&at, message->correlation_id);
	copy->view.reply_to = message_pack(&at, message->reply_to);
	copy->view.body = message_pack(&at, message->body);
	copy->view.headers = headers;
	for (size_t i = 0; i < message->header_count; i++) {
		headers[i].name = message_pack(&at, message->headers[i].name);
		headers[i].value = message_pack(&at, message->headers[i].value);
	}
	WB_ASSERT(at == (char *)headers + table + bytes);
	return copy;
}

wbi_mem_message *wbi_mem_message_ref(wbi_mem_message *message)
{
	WB_ASSERT(message->refs > 0 && message->refs < UINT32_MAX);
	message->refs++;
	return message;
}

void wbi_mem_message_unref(wbi_mem_message *message)
{
	if (!message)
		return;
	WB_ASSERT(message->refs > 0);
	if (--message->refs == 0)
		free(message);
}

static size_t message_declaration_bytes(const wb_declaration *d)
{
	size_t bytes = d->name.len + d->exchange_type.len + d->exchange.len +
		       d->binding_key.len;

	for (size_t i = 0; i < d->argument_count; i++)
		bytes += d->arguments[i].name.len + d->arguments[i].text.len;
	return bytes;
}

wbi_mem_request *wbi_mem_request_copy(const wb_declaration *declaration)
{
	size_t table = declaration->argument_count * sizeof(wb_argument);
	size_t bytes = message_declaration_bytes(declaration);
	wbi_mem_request *copy = calloc(1, sizeof(*copy) + table + bytes);
	wb_declaration *d;
	wb_argument *arguments;
	char *at;

	if (!copy)
		return NULL;
	arguments = (wb_argument *)(copy + 1);
	at = (char *)arguments + table;
	d = &copy->declaration;
	*d = *declaration;
	d->name = message_pack(&at, declaration->name);
	d->exchange_type = message_pack(&at, declaration->exchange_type);
	d->exchange = message_pack(&at, declaration->exchange);
	d->binding_key = message_pack(&at, declaration->binding_key);
	d->arguments = arguments;
	for (size_t i = 0; i < d->argument_count; i++) {
		arguments[i] = declaration->arguments[i];
		arguments[i].name = message_pack(&at, arguments[i].name);
		arguments[i].text = message_pack(&at, arguments[i].text);
	}
	return copy;
}
