/* SPDX-License-Identifier: BSD-2-Clause */
/* The conformance suite on RabbitMQ, through the shipped adapter. Skipped
 * without a broker. */
#include "tests/conformance/rabbit_fixture.h"

int main(void)
{
	conformance_fixture fixture;
	rabbit_fixture r;
	int code = rabbit_fixture_init(&r, &fixture);

	if (code == 0) {
		code = conformance_run(&fixture);
		rabbit_fixture_fini(&r);
	}
	return code;
}
