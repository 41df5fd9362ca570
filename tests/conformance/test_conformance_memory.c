/* SPDX-License-Identifier: BSD-2-Clause */
/* The conformance suite on the memory broker. */
#include "tests/conformance/memory_fixture.h"

int main(void)
{
	conformance_fixture fixture;
	memory_fixture m;
	int failed;

	if (!memory_fixture_init(&m, 1, &fixture))
		return 1;
	failed = conformance_run(&fixture);
	if (failed == 0)
		memory_fixture_fini(&m);
	return failed;
}
