/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * RabbitMQ through the shipped adapter as a fixture of the conformance tests.
 * Needs WAYBILL_TEST_AMQP; for what needs the broker's operator (alarm, body
 * limit) also WAYBILL_TEST_NODE, WAYBILL_TEST_NODE_DIR and
 * WAYBILL_TEST_RABBITMQCTL, as tests/support/rabbitmq-node sets them.
 */
#ifndef TESTS_RABBIT_FIXTURE_H
#define TESTS_RABBIT_FIXTURE_H

#include "tests/conformance/conformance.h"

enum { FIXTURE_SKIP = 77 };

typedef struct rabbit_fixture {
	const char *uri;
	void *admin; /* another client's connection: rabbitmq-c's own */
} rabbit_fixture;

/* 0; or the exit code, the reason printed: FIXTURE_SKIP, or 1. */
int rabbit_fixture_init(rabbit_fixture *r, conformance_fixture *ret);
void rabbit_fixture_fini(rabbit_fixture *r);

#endif
