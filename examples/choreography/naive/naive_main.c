/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A naive service as a process, and its commands:
 *
 *   naive booking run | create-booking REF
 *   naive billing run | pay-bill REF AMOUNT
 *   naive parking run
 *
 * NAIVE_STORE and WAYBILL_AMQP say where store and broker are. What is asked
 * for (bookings, bills, slots) is answered by the other form's commands, as the
 * tables are the same.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <waybill/amqp.h>

#include "examples/choreography/naive/naive.h"
#include "examples/choreography/rows.h"

enum { PATIENCE_US = 20 * 1000000 };

typedef struct process {
	wb_store *store;
	wb_broker *broker;
	naive *naive;
	wb_error err;
} process;

static int64_t now_us(void)
{
	const wb_clock *clock = wb_system_clock();

	return clock->mono_us(clock->ctx);
}

static wb_code turn(process *p)
{
	struct pollfd fd = {wb_broker_fd(p->broker), POLLIN, 0};

	poll(&fd, 1, 20);
	return naive_step(p->naive, &p->err);
}

static wb_code serve(process *p)
{
	wb_code code = WB_OK;

	while (code == WB_OK)
		code = turn(p);
	return code;
}

static wb_code connected(process *p)
{
	int64_t until_us = now_us() + PATIENCE_US;
	wb_code code = WB_OK;

	while (code == WB_OK && !naive_is_up(p->naive)) {
		code = turn(p);
		if (now_us() > until_us)
			return wb_error_set(&p->err, WB_ETIMEOUT, 0, __func__,
					    "the broker does not answer");
	}
	return code;
}

/* What was published is on its way when the connection is closed well. */
static void goodbye(process *p)
{
	wb_broker_event event = {.kind = WB_BROKER_NONE};
	int64_t until_us = now_us() + PATIENCE_US;

	wb_broker_close(p->broker);
	while (event.kind != WB_BROKER_DOWN && now_us() < until_us) {
		struct pollfd fd = {wb_broker_fd(p->broker), POLLIN, 0};

		poll(&fd, 1, 20);
		wb_broker_step(p->broker);
		while (event.kind != WB_BROKER_DOWN &&
		       wb_broker_next(p->broker, &event))
			;
	}
}

static wb_code command(process *p, int argc, char **argv)
{
	int64_t amount = 0;
	wb_code code = connected(p);

	if (code != WB_OK)
		return code;
	if (argc == 4 && !strcmp(argv[2], "create-booking"))
		code = naive_create_booking(p->naive, wb_str_from(argv[3]),
					    &p->err);
	else if (argc == 5 && !strcmp(argv[2], "pay-bill") &&
		 money_read(wb_str_from(argv[4]), &amount))
		code = naive_pay_bill(p->naive, wb_str_from(argv[3]), amount,
				      &p->err);
	else
		return wb_error_set(&p->err, WB_EINVAL, 0, __func__,
				    "usage: naive SERVICE run | create-booking "
				    "REF | pay-bill REF AMOUNT");
	goodbye(p);
	return code;
}

static wb_code process_open(process *p, const char *service, bool deaf)
{
	wb_store_options options = WB_STORE_OPTIONS_INIT;
	wb_amqp_options amqp = WB_AMQP_OPTIONS_INIT;
	naive_options o = {.service = service,
			   .exchange = "events",
			   .deaf = deaf,
			   .clock = wb_system_clock(),
			   .random = wb_system_random()};
	const char *dir = getenv("NAIVE_STORE");
	wb_code code;

	amqp.uri = getenv("WAYBILL_AMQP");
	if (!dir || !amqp.uri)
		return wb_error_set(&p->err, WB_EINVAL, 0, __func__,
				    "set NAIVE_STORE and WAYBILL_AMQP");
	options.service = service;
	code = wb_store_create(dir, &options, &p->err);
	if (code != WB_OK && code != WB_EEXISTS)
		return code;
	wb_error_clear(&p->err);
	code = wb_store_open(dir, NULL, &p->store, &p->err);
	if (code == WB_OK)
		code = wb_amqp_new(&amqp, &p->broker, &p->err);
	o.store = p->store;
	o.broker = p->broker;
	return code == WB_OK ? naive_open(&o, &p->naive, &p->err) : code;
}

int main(int argc, char **argv)
{
	process p = {.err = WB_ERROR_INIT};
	bool runs = argc == 3 && !strcmp(argv[2], "run");
	wb_code code = process_open(&p, argc > 1 ? argv[1] : "", !runs);

	if (code == WB_OK)
		code = runs ? serve(&p) : command(&p, argc, argv);
	if (code != WB_OK)
		fprintf(stderr, "naive: %s\n", p.err.text);
	naive_close(p.naive);
	wb_broker_free(p.broker);
	wb_store_close(p.store);
	return code == WB_OK ? 0 : 1;
}
