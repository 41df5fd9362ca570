/* SPDX-License-Identifier: BSD-2-Clause */
/* cmocka with what it wants included before it, and two short helpers. */
#ifndef TESTS_TESTING_H
#define TESTS_TESTING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include <waybill/base.h>

/* The call must succeed; its error text is shown if it does not. */
#define assert_ok(call, err)                                                  \
	do {                                                                  \
		if ((call) != WB_OK)                                          \
			fail_msg("%s: %s: %s", #call,                         \
				 wb_code_name((err).code), (err).text);       \
	} while (0)

/* The call must fail with `code`; clears the error behind it. */
#define assert_code(call, expected, err)                                      \
	do {                                                                  \
		assert_string_equal(wb_code_name(call),                       \
				    wb_code_name(expected));                  \
		wb_error_clear(&(err));                                       \
	} while (0)

#define S(literal) wb_str_n("" literal, sizeof(literal) - 1)

#endif
