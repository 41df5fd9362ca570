/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Exchanges, bound to the queue that the judgement of the relay reads, to that of
 * the second service and to the stream of the models. They are made
 * again by another client, whose connection suffers as all others do: it tries
 * in each turn until both answers have come. Between them the exchange has no
 * queue, and what comes is returned.
 */
#include "tests/sim/world.h"

/* Whose queue is last is bound last: what the relay is judged by comes first. */
static const char *const topology_queues[] = {"all", SIM_HISTORY,
						SIM_QUEUE};

enum { TOPOLOGY_QUEUES = 3 };

static void topology_hear(sim_world *w)
{
	wb_broker_event event = {.kind = WB_BROKER_NONE};

	wb_broker_step(w->admin);
	while (wb_broker_next(w->admin, &event)) {
		if (event.kind == WB_BROKER_UP)
			w->admin_up = true;
		if (event.kind == WB_BROKER_UP || event.kind == WB_BROKER_DOWN)
			w->admin_connecting = false;
		if (event.kind == WB_BROKER_DOWN)
			w->admin_up = false;
		w->admin_declared += event.kind == WB_BROKER_DECLARED;
	}
}

/* True: the client is connected. */
static bool topology_connect(sim_world *w)
{
	topology_hear(w);
	if (w->admin_up || w->admin_connecting)
		return w->admin_up;
	w->admin_connecting = wb_broker_connect(w->admin, NULL) == WB_OK;
	topology_hear(w);
	return w->admin_up;
}

/* True: it is there, and bound. */
static bool topology_restore(sim_world *w, sim_exchange *exchange)
{
	const wb_declaration make = {
		.kind = WB_TOPOLOGY_EXCHANGE,
		.name = wb_str_from(exchange->name),
		.exchange_type = wb_str_from("topic"),
	};
	wb_declaration bind = {
		.kind = WB_TOPOLOGY_BINDING,
		.exchange = wb_str_from(exchange->name),
		.binding_key = wb_str_from("#"),
	};

	if (!topology_connect(w))
		return false;
	w->admin_declared = 0;
	if (wb_broker_declare(w->admin, &make, 1, NULL) == WB_OK)
		topology_hear(w);
	for (size_t i = 0; i < w->bound_queues; i++) {
		bind.name = wb_str_from(topology_queues[i]);
		if (wb_broker_declare(w->admin, &bind, 2, NULL) == WB_OK)
			topology_hear(w);
	}
	return w->admin_declared == 1 + w->bound_queues;
}

static void topology_restore_all(sim_world *w)
{
	for (size_t i = 0; i < SIM_EXCHANGES; i++)
		if (!topology_restore(w, &w->exchanges[i]))
			sim_fail(w, "exchange '%s' cannot be made",
				 w->exchanges[i].name);
}

/* Where the second service tells what it did: never deleted. */
static void topology_results(sim_world *w)
{
	const wb_declaration make = {
		.kind = WB_TOPOLOGY_EXCHANGE,
		.name = wb_str_from(SIM_RESULTS),
		.exchange_type = wb_str_from("topic"),
	};
	const wb_declaration bind = {
		.kind = WB_TOPOLOGY_BINDING,
		.name = wb_str_from(SIM_RESULTS),
		.exchange = wb_str_from(SIM_RESULTS),
		.binding_key = wb_str_from("#"),
	};

	if (wb_broker_declare(w->admin, &make, 1, &w->err) != WB_OK ||
	    wb_broker_declare(w->admin, &bind, 2, &w->err) != WB_OK)
		sim_fail(w, "declare: %s", w->err.text);
	topology_hear(w);
}

static void topology_history(sim_world *w)
{
	const wb_argument stream = {.name = wb_str_from("x-queue-type"),
				    .text = wb_str_from("stream")};
	const wb_declaration make = {.kind = WB_TOPOLOGY_QUEUE,
				     .name = wb_str_from(SIM_HISTORY),
				     .arguments = &stream,
				     .argument_count = 1};

	if (wb_broker_declare(w->admin, &make, 1, &w->err) != WB_OK)
		sim_fail(w, "declare: %s", w->err.text);
	topology_hear(w);
}

void sim_topology_make(sim_world *w)
{
	static const char *const queues[] = {"all", SIM_RESULTS};
	wb_declaration queue = {.kind = WB_TOPOLOGY_QUEUE};

	for (size_t i = 0; i < 2; i++) {
		queue.name = wb_str_from(queues[i]);
		if (!topology_connect(w) ||
		    wb_broker_declare(w->admin, &queue, 0, &w->err) != WB_OK) {
			sim_fail(w, "declare: %s", w->err.text);
			return;
		}
		topology_hear(w);
	}
	topology_results(w);
	topology_history(w);
	w->exchanges[0].name = "events";
	w->exchanges[1].name = "orders";
	w->bound_queues = 1;
	topology_restore_all(w);
}

void sim_topology_bind(sim_world *w)
{
	w->bound_queues = TOPOLOGY_QUEUES;
	topology_restore_all(w);
}

void sim_topology_delete(sim_world *w, size_t exchange, int64_t back_us)
{
	sim_exchange *x = &w->exchanges[exchange];

	x->back_us = back_us;
	if (x->missing)
		return;
	x->missing = true;
	w->tally.deleted++;
	sim_log(w, "exchange '%s' is deleted", x->name);
	if (wb_memory_delete_exchange(w->memory, x->name, &w->err) != WB_OK)
		sim_fail(w, "delete: %s", w->err.text);
}

void sim_topology_tend(sim_world *w)
{
	for (size_t i = 0; i < SIM_EXCHANGES; i++) {
		sim_exchange *x = &w->exchanges[i];

		if (!x->missing || w->clock.mono_us < x->back_us ||
		    !topology_restore(w, x))
			continue;
		x->missing = false;
		sim_log(w, "exchange '%s' is there again", x->name);
	}
}
