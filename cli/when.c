/* SPDX-License-Identifier: BSD-2-Clause */
/* A moment as an operator writes it. */
#include "cli/when.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/text.h"

enum { DATE_LEN = 10, WHEN_MOST = 1000000000 };

static int64_t unit_us(char unit)
{
	switch (unit) {
	case 's':
		return INT64_C(1000000);
	case 'm':
		return INT64_C(60000000);
	case 'h':
		return INT64_C(3600000000);
	case 'd':
		return INT64_C(86400000000);
	default:
		return 0;
	}
}

static bool parse_span(const char *text, int64_t *ret_us)
{
	char *end;
	long number;
	int64_t unit;

	if (text[0] < '0' || text[0] > '9')
		return false;
	number = strtol(text, &end, 10);
	unit = unit_us(*end);
	if (unit == 0 || end[1] != '\0' || number < 0 || number > WHEN_MOST ||
	    number > INT64_MAX / 4 / unit)
		return false;
	*ret_us = number * unit;
	return true;
}

static bool when_parse(const char *text, int64_t now_us, int64_t *ret_us)
{
	char whole[32];
	int64_t span;

	if (parse_span(text + (text[0] == '+'), &span)) {
		*ret_us = text[0] == '+' ? now_us + span : now_us - span;
		return true;
	}
	if (strlen(text) == DATE_LEN) {
		snprintf(whole, sizeof(whole), "%sT00:00:00Z", text);
		text = whole;
	}
	return wbi_time_parse(wb_str_from(text), ret_us);
}

int cli_when_flag(const cli_context *ctx, const char *flag, const char *text,
		  int64_t *ret_us)
{
	if (!text || when_parse(text, cli_real_us(), ret_us))
		return CLI_OK;
	return cli_usage(ctx, "--%s: '%s' is no time: " CLI_WHEN_HELP, flag,
			 text);
}
