/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of the HTTP server share: http.c is the thread and its
 * connections, http_answer.c what is answered. */
#ifndef CLI_HTTP_INTERNAL_H
#define CLI_HTTP_INTERNAL_H

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>

#include "cli/http.h"
#include "lib/base/loop.h"

enum {
	HTTP_CONNECTIONS = 256,
	HTTP_MEMORY = 32 * 1024, /* per connection: what a request may have */
	HTTP_IDLE_S = 30,
	HTTP_ROWS = 100,         /* per answer, unless limit= says otherwise */
	HTTP_ROWS_MAX = 1000,
	HTTP_ANSWER_MAX = 4 * 1024 * 1024, /* then the rest is another page */
	HTTP_WAIT_MAX_MS = 30000,
	HTTP_TOKEN_MAX = 256
};

/* One model that was asked for. */
typedef struct http_model {
	char name[WBI_MODEL_NAME_MAX + 1];
	wb_read *read; /* NULL: not open */
	uint32_t watched; /* generation whose file wakes the loop */
} http_model;

/* A request, from its first line to its end. */
typedef struct http_request {
	struct http_request *prev, *next; /* among those that wait */
	struct MHD_Connection *connection;
	bool waiting, waited;
	int64_t until_us;
	uint64_t position;
	uint32_t generation; /* that was read when it went to sleep */
	http_model *model;
} http_request;

struct cli_http {
	cli_http_options options;
	struct MHD_Daemon *daemon;
	char token[HTTP_TOKEN_MAX + 1];
	uint16_t port;
	wbi_loop loop;
	pthread_t thread;
	bool threaded;
	atomic_bool stop;
	http_request waiters; /* a ring */
	http_model models[CLI_PROJECTIONS_MAX];
	size_t model_count;
};

/* http.c */
/* Let the request sleep until its position is there, or its time is over; then
 * it is answered anew. */
void http_sleep(cli_http *http, http_request *request);
/* The model of this name, open; WB_ENOTFOUND. */
wb_code http_model_of(cli_http *http, wb_str name, http_model **ret,
		      wb_error *err);

/* http_answer.c */
enum MHD_Result http_answer(cli_http *http, http_request *request,
			    const char *url, const char *method);

#endif
