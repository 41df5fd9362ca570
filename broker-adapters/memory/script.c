/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The broker object itself, and the calls by which a test scripts it, gives it
 * over to chance and looks into it. A script call only notes what is wanted:
 * it happens in the next step of the connection concerned. One thread.
 */
#include <stdlib.h>

#include "broker-adapters/memory/model.h"
#include "lib/base/assert.h"
#include "lib/base/error.h"

/* ---- time and chance --------------------------------------------------- */

int64_t wbi_mem_now_us(const wb_memory *memory)
{
	return memory->clock->mono_us(memory->clock->ctx);
}

uint64_t wbi_mem_draw(wb_memory *memory, uint64_t below)
{
	uint64_t value;

	if (below <= 1)
		return 0;
	memory->random->fill(memory->random->ctx, &value, sizeof(value));
	return value % below;
}

/* Nothing is drawn for a chance of nothing, so that switching one kind of
 * chaos off leaves the course of the others alone. */
bool wbi_mem_chance(wb_memory *memory, uint16_t permille)
{
	return permille > 0 && wbi_mem_draw(memory, 1000) < permille;
}

int64_t wbi_mem_outage_us(wb_memory *memory)
{
	uint32_t max_us = memory->chaos.outage_max_us;

	return 1 + (int64_t)wbi_mem_draw(memory, max_us ? max_us : 1000000);
}

/* ---- the broker -------------------------------------------------------- */

static void script_apply(wb_memory *memory, const wb_memory_settings *from)
{
	wb_memory_settings *s = &memory->settings;

	*s = *from;
	s->heartbeat_ms = s->heartbeat_ms ? s->heartbeat_ms : 30000;
	s->close_timeout_ms = s->close_timeout_ms ? s->close_timeout_ms : 1000;
	s->read_max = s->read_max ? s->read_max : 1024;
	s->unsettled_max = s->unsettled_max ? s->unsettled_max : 65536;
	if (s->buffer_max_bytes == 0)
		s->buffer_max_bytes = (size_t)4 << 20;
	if (s->body_max_bytes == 0)
		s->body_max_bytes = (size_t)128 << 20;
	s->log_max = s->log_max ? s->log_max : 1000000;
}

wb_code wb_memory_set(wb_memory *memory, const wb_memory_settings *settings,
		      wb_error *err)
{
	if (settings->size != sizeof(*settings))
		return WBI_FAIL(err, WB_EINVAL,
				"memory settings: size is not that of this "
				"library; start from WB_MEMORY_SETTINGS_INIT");
	if (settings->confirm_min_us > settings->confirm_max_us)
		return WBI_FAIL(err, WB_EINVAL,
				"memory settings: confirm_min_us is above "
				"confirm_max_us");
	script_apply(memory, settings);
	return WB_OK;
}

wb_code wb_memory_new(const wb_clock *clock, const wb_random *random,
		      wb_memory **ret, wb_error *err)
{
	static const char *const given[][2] = {
		{"", "direct"},
		{"amq.direct", "direct"},
		{"amq.fanout", "fanout"},
		{"amq.topic", "topic"},
	};
	const wb_memory_settings settings = WB_MEMORY_SETTINGS_INIT;
	wb_memory *memory = calloc(1, sizeof(*memory));

	if (!memory)
		return WBI_FAIL(err, WB_ENOMEM, "memory broker: out of memory");
	memory->clock = clock ? clock : wb_system_clock();
	memory->random = random ? random : wb_system_random();
	memory->thaw_us = memory->unblock_us = INT64_MAX;
	script_apply(memory, &settings);
	for (size_t i = 0; i < WBI_COUNT(given); i++) {
		wb_code code = wb_memory_create_exchange(memory, given[i][0],
							 given[i][1], err);

		if (code != WB_OK) {
			wb_memory_free(memory);
			return code;
		}
	}
	*ret = memory;
	return WB_OK;
}

void wb_memory_free(wb_memory *memory)
{
	wbi_mem_item *item;

	if (!memory)
		return;
	WB_ASSERT(memory->link_count == 0);
	while ((item = wbi_mem_items_pop(&memory->stragglers)) != NULL)
		wbi_mem_item_free(item);
	wbi_mem_unbind(memory, NULL, NULL);
	for (size_t i = 0; i < memory->exchange_count; i++)
		free(memory->exchanges[i]);
	for (size_t i = 0; i < memory->queue_count; i++)
		wbi_mem_queue_free(memory->queues[i]);
	free(memory);
}

/* ---- script ------------------------------------------------------------ */

void wb_memory_nack_next(wb_memory *memory, uint32_t count)
{
	memory->nack_next = count;
}

void wb_memory_return_next(wb_memory *memory, uint32_t count)
{
	memory->return_next = count;
}

void wb_memory_refuse_next(wb_memory *memory, uint32_t count)
{
	memory->refuse_next = count;
}

void wb_memory_duplicate_next(wb_memory *memory, uint32_t count)
{
	memory->duplicate_next = count;
}

void wb_memory_freeze(wb_memory *memory, bool frozen)
{
	if (frozen && !memory->frozen)
		memory->frozen_since_us = wbi_mem_now_us(memory);
	memory->frozen = frozen;
	memory->thaw_us = INT64_MAX;
	wbi_mem_signal(memory);
}

void wb_memory_block(wb_memory *memory, bool blocked)
{
	memory->blocked = blocked;
	memory->unblock_us = INT64_MAX;
	wbi_mem_signal(memory);
}

/* The caller's connection as ours; a link is the `self` of its broker. */
static wbi_mem_link *script_link(const wb_memory *memory,
				 const wb_broker *connection)
{
	for (size_t i = 0; i < memory->link_count; i++)
		if (&memory->links[i]->broker == connection)
			return memory->links[i];
	return NULL;
}

wb_code wb_memory_cut(wb_memory *memory, const wb_memory_cut_options *options,
		      wb_error *err)
{
	wbi_mem_link *link = script_link(memory, options->connection);
	wbi_mem_cut *cut = memory->cuts;
	int64_t now_us = wbi_mem_now_us(memory);

	if (options->size != sizeof(*options) || (options->connection && !link))
		return WBI_FAIL(err, WB_EINVAL,
				"cut: start from WB_MEMORY_CUT_INIT, with a "
				"connection of this broker");
	while (cut < memory->cuts + WB_MEMORY_CUTS_MAX && cut->set)
		cut++;
	if (cut == memory->cuts + WB_MEMORY_CUTS_MAX)
		return WBI_FAIL(err, WB_ELIMIT, "cut: %d are still to come",
				WB_MEMORY_CUTS_MAX);
	*cut = (wbi_mem_cut){
		.set = true,
		.link = link,
		.publishes = options->after_publishes,
		.due_us = options->after_us < INT64_MAX / 2
				  ? now_us + (int64_t)options->after_us
				  : INT64_MAX,
		.take_max = options->take_max,
		.take_late_us = options->take_late_us,
		.confirm_max = options->confirm_max,
	};
	wbi_mem_signal(memory);
	return WB_OK;
}

void wb_memory_close_channel(wb_memory *memory, const wb_broker *connection,
			     uint16_t reply_code)
{
	for (size_t i = 0; i < memory->link_count; i++) {
		wbi_mem_link *link = memory->links[i];

		if (link->state == WBI_MEM_UP &&
		    (!connection || connection == &link->broker))
			link->close_code = reply_code;
	}
	wbi_mem_signal(memory);
}

wb_code wb_memory_put(wb_memory *memory, const wb_message *message,
		      wb_error *err)
{
	wb_str name = message->exchange;
	const wbi_mem_exchange *exchange = wbi_mem_find_exchange(
		memory, name, wbi_mem_now_us(memory));
	wbi_mem_message *copy;
	size_t queues;
	bool refused;

	if (!exchange)
		return WBI_FAIL(err, WB_ENOTFOUND, "put: no exchange '%.*s'",
				(int)name.len, name.ptr ? name.ptr : "");
	copy = wbi_mem_message_copy(message);
	if (!copy)
		return WBI_FAIL(err, WB_ENOMEM, "put: out of memory");
	queues = wbi_mem_route(memory, exchange, copy, wbi_mem_now_us(memory),
			       &refused);
	wbi_mem_message_unref(copy);
	wbi_mem_signal(memory);
	if (queues == 0)
		return WBI_FAIL(err, WB_ENOTFOUND,
				"put: '%.*s' of exchange '%.*s' is for no "
				"queue",
				(int)message->routing_key.len,
				message->routing_key.ptr
					? message->routing_key.ptr
					: "",
				(int)name.len, name.ptr ? name.ptr : "");
	return refused ? WBI_FAIL(err, WB_EAGAIN, "put: a queue is full")
		       : WB_OK;
}

wb_code wb_memory_create_exchange(wb_memory *memory, const char *name,
				  const char *type, wb_error *err)
{
	const wb_declaration what = {
		.kind = WB_TOPOLOGY_EXCHANGE,
		.name = wb_str_from(name),
		.exchange_type = wb_str_from(type),
	};
	wb_error why = WB_ERROR_INIT;

	if (strlen(name) > WBI_MEM_NAME_MAX)
		return WBI_FAIL(err, WB_ELIMIT,
				"an exchange's name has at most 255 bytes");
	if (wbi_mem_declare(memory, &what, wbi_mem_now_us(memory), &why) == 0)
		return WB_OK;
	return wb_error_set(err, why.code, why.foreign, __func__, "%s",
			    why.text);
}

static wb_code script_find_exchange(const wb_memory *memory, const char *name,
				    size_t *ret_index, wb_error *err)
{
	for (size_t i = 0; i < memory->exchange_count; i++)
		if (!strcmp(memory->exchanges[i]->name, name)) {
			*ret_index = i;
			return WB_OK;
		}
	return WBI_FAIL(err, WB_ENOTFOUND, "exchange '%s' does not exist",
			name);
}

wb_code wb_memory_delete_exchange(wb_memory *memory, const char *name,
				  wb_error *err)
{
	size_t at = 0;
	wb_code code = script_find_exchange(memory, name, &at, err);

	if (code != WB_OK)
		return code;
	wbi_mem_unbind(memory, memory->exchanges[at], NULL);
	free(memory->exchanges[at]);
	memory->exchanges[at] = memory->exchanges[--memory->exchange_count];
	return WB_OK;
}

wb_code wb_memory_hide_exchange(wb_memory *memory, const char *name,
				uint64_t hidden_us, wb_error *err)
{
	size_t at = 0;
	wb_code code = script_find_exchange(memory, name, &at, err);

	if (code != WB_OK)
		return code;
	memory->exchanges[at]->hidden_until_us =
		hidden_us < INT64_MAX / 2
			? wbi_mem_now_us(memory) + (int64_t)hidden_us
			: INT64_MAX;
	return WB_OK;
}

wb_code wb_memory_delete_queue(wb_memory *memory, const char *name,
			       wb_error *err)
{
	wbi_mem_queue *queue = wbi_mem_find_queue(memory, wb_str_from(name));

	if (!queue || !queue->exists)
		return WBI_FAIL(err, WB_ENOTFOUND, "queue '%s' does not exist",
				name);
	wbi_mem_unbind(memory, NULL, queue);
	wbi_mem_queue_delete(queue);
	wbi_mem_signal(memory);
	return WB_OK;
}

wb_code wb_memory_skip_offsets(wb_memory *memory, const char *name,
			       uint64_t count, wb_error *err)
{
	wbi_mem_queue *queue = wbi_mem_find_queue(memory, wb_str_from(name));

	if (!queue || !queue->exists || !queue->stream)
		return WBI_FAIL(err, WB_ENOTFOUND,
				"there is no stream queue '%s'", name);
	queue->next_place += count;
	return WB_OK;
}

/* Ends what chaos began; what a script asked for has no end of its own. */
static void script_calm(wb_memory *memory)
{
	if (memory->thaw_us != INT64_MAX)
		memory->thaw_us = INT64_MIN;
	if (memory->unblock_us != INT64_MAX)
		memory->unblock_us = INT64_MIN;
	if (memory->chaos.hide_exchange > 0)
		for (size_t i = 0; i < memory->exchange_count; i++)
			memory->exchanges[i]->hidden_until_us = 0;
	memset(&memory->chaos, 0, sizeof(memory->chaos));
}

wb_code wb_memory_set_chaos(wb_memory *memory, const wb_memory_chaos *chaos,
			    wb_error *err)
{
	if (chaos && chaos->size != sizeof(*chaos))
		return WBI_FAIL(err, WB_EINVAL,
				"chaos: start from WB_MEMORY_CHAOS_INIT");
	if (chaos)
		memory->chaos = *chaos;
	else
		script_calm(memory);
	wbi_mem_signal(memory);
	return WB_OK;
}

/* ---- inspection -------------------------------------------------------- */

wb_memory_stat wb_memory_get_stat(const wb_memory *memory)
{
	return memory->stat;
}

wb_memory_queue_stat wb_memory_get_queue_stat(const wb_memory *memory,
					      const char *queue)
{
	const wbi_mem_queue *found =
		wbi_mem_find_queue(memory, wb_str_from(queue));
	wb_memory_queue_stat stat = {0};

	if (found) {
		stat = found->stat;
		stat.ready = found->ready.count;
	}
	return stat;
}

const wb_message *wb_memory_arrival(const wb_memory *memory, const char *queue,
				    uint64_t index)
{
	const wbi_mem_queue *found =
		wbi_mem_find_queue(memory, wb_str_from(queue));

	if (!found || index >= found->log_count)
		return NULL;
	return &found->log[index]->view;
}

wb_str wb_memory_header(const wb_message *message, const char *name)
{
	for (size_t i = 0; i < message->header_count; i++)
		if (wb_str_eq(message->headers[i].name, wb_str_from(name)))
			return message->headers[i].value;
	return WB_STR_NULL;
}
