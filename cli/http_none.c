/* SPDX-License-Identifier: BSD-2-Clause */
/* Built without libmicrohttpd: nothing is served. */
#include "cli/http.h"

#include "lib/base/error.h"

wb_code cli_http_open(const cli_http_options *options, cli_http **ret,
		      wb_error *err)
{
	(void)options;
	(void)ret;
	return WBI_FAIL(err, WB_ESTATE,
			"this waybill is built without libmicrohttpd: it "
			"serves nothing over HTTP");
}

void cli_http_close(cli_http *http)
{
	(void)http;
}

uint16_t cli_http_port(const cli_http *http)
{
	(void)http;
	return 0;
}
