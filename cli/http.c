/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The HTTP server's thread: libmicrohttpd's epoll descriptor and the models'
 * files in one loop (lib/base/loop.h). A request that waits for a position is
 * suspended, so that one thread serves them all; it owns the readers.
 *
 * Everything is bounded: connections, what a request may hold, an answer, a
 * wait. It only reads; a crash leaves nothing.
 */
#include "cli/http_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/error.h"
#include "lib/base/log.h"

enum { HTTP_TICK_MS = 1000, HTTP_WAITING_MS = 20 };

/* ---- models -------------------------------------------------------------- */

static wb_code model_open(cli_http *http, http_model *model, wb_error *err)
{
	const cli_projectors *own = http->options.projectors;
	wb_code code = WB_ENOTFOUND;

	for (size_t i = 0; own && i < own->count; i++) {
		if (strcmp(own->names[i], model->name) != 0)
			continue;
		return wb_read_open_projector(own->projectors[i], NULL,
					      &model->read, err);
	}
	code = wb_read_open(http->options.dir, model->name, NULL, &model->read,
			    err);
	return code;
}

wb_code http_model_of(cli_http *http, wb_str name, http_model **ret,
		      wb_error *err)
{
	http_model *model;
	wb_code code;

	for (size_t i = 0; i < http->model_count; i++) {
		*ret = &http->models[i];
		if (wb_str_eq(wb_str_from((*ret)->name), name))
			return WB_OK;
	}
	if (name.len > WBI_MODEL_NAME_MAX)
		return WBI_FAIL(err, WB_ENOTFOUND, "no such projection");
	if (http->model_count == CLI_PROJECTIONS_MAX)
		return WBI_FAIL(err, WB_ELIMIT, "too many projections");
	model = &http->models[http->model_count];
	memset(model, 0, sizeof(*model));
	memcpy(model->name, name.ptr, name.len);
	code = model_open(http, model, err);
	if (code != WB_OK)
		return code;
	http->model_count++;
	*ret = model;
	return WB_OK;
}

/* ---- requests that wait -------------------------------------------------- */

/* Its file's changes wake the loop; without that, the tick does. */
static void model_watch(cli_http *http, http_model *model, uint32_t live)
{
	char path[PATH_MAX];
	int len;

	if (live == model->watched)
		return;
	len = snprintf(path, sizeof(path),
		       "%s/projections/%s/gen-%u/data.mdb", http->options.dir,
		       model->name, live);
	if (len > 0 && (size_t)len < sizeof(path))
		(void)wbi_loop_watch(&http->loop, path);
	model->watched = live;
}

void http_sleep(cli_http *http, http_request *request)
{
	model_watch(http, request->model, request->generation);
	request->waiting = true;
	request->next = &http->waiters;
	request->prev = http->waiters.prev;
	request->prev->next = request;
	http->waiters.prev = request;
	MHD_suspend_connection(request->connection);
}

static void request_wake(http_request *request)
{
	request->prev->next = request->next;
	request->next->prev = request->prev;
	request->waiting = false;
	request->waited = true;
	MHD_resume_connection(request->connection);
}

static bool request_is_due(const http_request *request, int64_t now_us)
{
	wb_read *read = request->model->read;
	bool there;

	if (now_us >= request->until_us ||
	    wb_read_begin(read, NULL) != WB_OK)
		return true;
	there = wb_read_position(read) >= request->position;
	wb_read_end(read);
	return there;
}

static void requests_look(cli_http *http, bool all)
{
	http_request *request = http->waiters.next, *next;
	int64_t now_us = cli_mono_us();

	for (; request != &http->waiters; request = next) {
		next = request->next;
		if (all || request_is_due(request, now_us))
			request_wake(request);
	}
}

/* ---- libmicrohttpd's calls ----------------------------------------------- */

static enum MHD_Result handle(void *ctx, struct MHD_Connection *connection,
			      const char *url, const char *method,
			      const char *version, const char *upload,
			      size_t *upload_size, void **own)
{
	http_request *request = *own;

	(void)version;
	(void)upload;
	if (!request) {
		request = calloc(1, sizeof(*request));
		if (!request)
			return MHD_NO;
		request->connection = connection;
		*own = request;
		return MHD_YES; /* the rest of the request comes now */
	}
	if (*upload_size > 0) {
		*upload_size = 0; /* nobody wants a body */
		return MHD_YES;
	}
	return http_answer(ctx, request, url, method);
}

static void completed(void *ctx, struct MHD_Connection *connection, void **own,
		      enum MHD_RequestTerminationCode why)
{
	(void)ctx;
	(void)connection;
	(void)why;
	free(*own);
	*own = NULL;
}

WB_PRINTF(2, 0)
static void complain(void *ctx, const char *format, va_list args)
{
	cli_http *http = ctx;
	char text[256];

	vsnprintf(text, sizeof(text), format, args);
	text[strcspn(text, "\n")] = '\0';
	wbi_log(http->options.log, WB_LOG_DEBUG, "http: %s", text);
}

/* ---- the thread ---------------------------------------------------------- */

static void *serve(void *arg)
{
	cli_http *http = arg;

	while (!atomic_load(&http->stop)) {
		bool waits = http->waiters.next != &http->waiters;
		MHD_UNSIGNED_LONG_LONG wanted;
		int ms = waits ? HTTP_WAITING_MS : HTTP_TICK_MS;

		if (MHD_get_timeout(http->daemon, &wanted) == MHD_YES &&
		    wanted < (MHD_UNSIGNED_LONG_LONG)ms)
			ms = (int)wanted;
		(void)wbi_loop_wait(&http->loop, ms, NULL);
		(void)wbi_loop_woken(&http->loop, -1);
		requests_look(http, false);
		(void)MHD_run(http->daemon);
	}
	requests_look(http, true); /* suspended ones may not be stopped */
	return NULL;
}

/* ---- open and close ------------------------------------------------------ */

static wb_code read_token(cli_http *http, wb_error *err)
{
	const char *path = http->options.token_file;
	ssize_t len;
	int fd;

	if (!path)
		return WB_OK;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return wbi_fail_errno(err, errno, __func__, "%s", path);
	len = read(fd, http->token, HTTP_TOKEN_MAX);
	close(fd);
	http->token[len > 0 ? len : 0] = '\0';
	http->token[strcspn(http->token, "\r\n")] = '\0';
	if (strlen(http->token) < 8)
		return WBI_FAIL(err, WB_EINVAL,
				"%s: a token has at least 8 characters", path);
	return WB_OK;
}

static wb_code check_address(const cli_http *http, struct sockaddr_in *ret,
			     wb_error *err)
{
	const char *address = http->options.address;

	memset(ret, 0, sizeof(*ret));
	ret->sin_family = AF_INET;
	ret->sin_port = htons(http->options.port);
	if (inet_pton(AF_INET, address ? address : "127.0.0.1",
		      &ret->sin_addr) != 1)
		return WBI_FAIL(err, WB_EINVAL,
				"%.80s is not an IPv4 address", address);
	if (ntohl(ret->sin_addr.s_addr) >> 24 != 127 && !http->token[0])
		return WBI_FAIL(err, WB_EINVAL,
				"%s is seen from elsewhere: give a token, and "
				"put TLS in front of it",
				address);
	return WB_OK;
}

static wb_code start_daemon(cli_http *http, const struct sockaddr_in *address,
			    wb_error *err)
{
	const union MHD_DaemonInfo *info;
	int failed;

	errno = 0;
	http->daemon = MHD_start_daemon(
		MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG,
		http->options.port, NULL, NULL, handle, http,
		MHD_OPTION_EXTERNAL_LOGGER, complain, http,
		MHD_OPTION_SOCK_ADDR, address, MHD_OPTION_CONNECTION_LIMIT,
		(unsigned)HTTP_CONNECTIONS, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
		(size_t)HTTP_MEMORY, MHD_OPTION_CONNECTION_TIMEOUT,
		(unsigned)HTTP_IDLE_S, MHD_OPTION_NOTIFY_COMPLETED, completed,
		http, MHD_OPTION_END);
	failed = errno;
	if (!http->daemon)
		return WBI_FAIL_FOREIGN(
			err, failed == EADDRINUSE ? WB_EBUSY : WB_EIO, failed,
			"listen on port %u: %s", http->options.port,
			failed ? strerror(failed) : "refused");
	info = MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_BIND_PORT);
	http->port = info ? info->port : http->options.port;
	info = MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	if (!info)
		return WBI_FAIL(err, WB_EIO, "libmicrohttpd has no epoll");
	return wbi_loop_open(&http->loop, info->epoll_fd, err);
}

wb_code cli_http_open(const cli_http_options *options, cli_http **ret,
		      wb_error *err)
{
	struct sockaddr_in address;
	cli_http *http = calloc(1, sizeof(*http));
	wb_code code;
	int failed;

	if (!http)
		return WBI_FAIL(err, WB_ENOMEM, "serve");
	http->options = *options;
	http->waiters.next = http->waiters.prev = &http->waiters;
	wbi_loop_init(&http->loop);
	code = read_token(http, err);
	if (code == WB_OK)
		code = check_address(http, &address, err);
	if (code == WB_OK)
		code = wbi_loop_hang_bell(&http->loop, err);
	if (code == WB_OK)
		code = start_daemon(http, &address, err);
	if (code == WB_OK) {
		failed = pthread_create(&http->thread, NULL, serve, http);
		http->threaded = failed == 0;
		if (failed)
			code = wbi_fail_errno(err, failed, __func__, "thread");
	}
	if (code != WB_OK) {
		cli_http_close(http);
		return code;
	}
	wbi_log(options->log, WB_LOG_INFO, "http: %s:%u%s",
		options->address ? options->address : "127.0.0.1", http->port,
		http->token[0] ? ", with a token" : "");
	*ret = http;
	return WB_OK;
}

void cli_http_close(cli_http *http)
{
	if (!http)
		return;
	atomic_store(&http->stop, true);
	if (http->threaded) {
		wbi_loop_ring(&http->loop);
		pthread_join(http->thread, NULL);
	}
	if (http->daemon)
		MHD_stop_daemon(http->daemon);
	for (size_t i = 0; i < http->model_count; i++)
		wb_read_close(http->models[i].read);
	wbi_loop_fini(&http->loop);
	free(http);
}

uint16_t cli_http_port(const cli_http *http)
{
	return http->port;
}
