/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The service: one thread, one poll(2). Orders come on standard input, one a
 * line ("ORDER ITEM COUNT", or "stock ITEM COUNT"); the relay and the worker
 * each lend the loop one descriptor, which stands for their socket, their
 * timers and the store. There is nothing to tick and no thread to lock out.
 *
 * It ends when the input has ended and every order is settled, or at SIGTERM:
 * then both drain. Killed at any point, it goes on where it was at its start.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <waybill/amqp.h>

#include "examples/embedded/shop.h"

enum { FD_INPUT, FD_SIGNALS, FD_RELAY, FD_WORKER, FDS };

typedef struct service {
	shop shop;
	/* Two connections: a broker under an alarm stops reading from the one
	 * that publishes, and consuming must go on. */
	wb_broker *publisher, *consumer;
	wb_routes *routes;
	wb_relay *relay;
	wb_worker *worker;
	bool bound;       /* the queue was there */
	char input[4096]; /* what has come of a line */
	size_t input_len;
	bool input_ended, stopping;
} service;

/* ---- input --------------------------------------------------------------- */

static wb_code service_line(service *s, const char *line, wb_error *err)
{
	char name[SHOP_NAME_MAX + 1], item[SHOP_NAME_MAX + 1];
	long count;

	if (sscanf(line, "stock %200s %ld", item, &count) == 2)
		return shop_stock(&s->shop, item, count, err);
	if (sscanf(line, "%200s %200s %ld", name, item, &count) == 3)
		return shop_order(&s->shop, name, item, count, err);
	fprintf(stderr, "shop: not an order: %s\n", line);
	return WB_OK;
}

/* Each line is a transaction; a commit wakes the relay through its own
 * descriptor. */
static wb_code service_read(service *s, wb_error *err)
{
	ssize_t n = read(STDIN_FILENO, s->input + s->input_len,
			 sizeof(s->input) - 1 - s->input_len);
	char *end;

	s->input_ended = n <= 0;
	s->input_len += n > 0 ? (size_t)n : 0;
	s->input[s->input_len] = '\0';
	while ((end = strchr(s->input, '\n'))) {
		*end = '\0';
		if (service_line(s, s->input, err))
			return err->code;
		s->input_len -= (size_t)(end + 1 - s->input);
		memmove(s->input, end + 1, s->input_len + 1);
	}
	if (s->input_len == sizeof(s->input) - 1)
		s->input_len = 0; /* a line without an end: dropped */
	return WB_OK;
}

/* ---- the loop ------------------------------------------------------------ */

static void service_stop(service *s)
{
	s->stopping = true;
	wb_worker_stop(s->worker);
	wb_relay_stop(s->relay);
}

static bool service_is_done(const service *s)
{
	return wb_relay_get_stat(s->relay).state == WB_RELAY_STOPPED &&
	       wb_worker_get_stat(s->worker).state == WB_WORKER_STOPPED;
}

/* Every order is settled, and the broker knows of it. */
static bool service_is_settled(service *s)
{
	return s->input_ended && wb_relay_get_stat(s->relay).idle &&
	       shop_count(&s->shop, "placed") == 0;
}

static wb_code service_turn(service *s, struct pollfd *fds, wb_error *err)
{
	struct signalfd_siginfo info;

	fds[FD_INPUT].fd = s->input_ended ? -1 : STDIN_FILENO;
	if (poll(fds, FDS, -1) < 0 && errno != EINTR)
		return wb_error_set(err, WB_EIO, errno, __func__, "poll");
	if (fds[FD_SIGNALS].revents &&
	    read(fds[FD_SIGNALS].fd, &info, sizeof(info)) > 0)
		service_stop(s);
	if (fds[FD_INPUT].revents && service_read(s, err))
		return err->code;
	if (fds[FD_RELAY].revents && wb_relay_dispatch(s->relay, err))
		return err->code;
	if (fds[FD_WORKER].revents && wb_worker_dispatch(s->worker, err))
		return err->code;
	if (!s->stopping && service_is_settled(s))
		service_stop(s);
	return WB_OK;
}

static int service_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC);
}

static wb_code service_loop(service *s, wb_error *err)
{
	struct pollfd fds[FDS] = {{0}};

	for (size_t i = 0; i < FDS; i++)
		fds[i].events = POLLIN;
	fds[FD_SIGNALS].fd = service_signals();
	if (wb_relay_fd(s->relay, &fds[FD_RELAY].fd, err) ||
	    wb_worker_fd(s->worker, &fds[FD_WORKER].fd, err) ||
	    wb_relay_dispatch(s->relay, err) ||
	    wb_worker_dispatch(s->worker, err))
		return err->code;
	while (!service_is_done(s) && service_turn(s, fds, err) == WB_OK)
		;
	close(fds[FD_SIGNALS].fd);
	return err->code;
}

/* ---- putting it together ------------------------------------------------- */

static wb_code service_connect(const char *uri, const char *name,
			       wb_broker **ret, wb_error *err)
{
	wb_amqp_options options = WB_AMQP_OPTIONS_INIT;

	options.uri = uri;
	options.connection_name = name;
	return wb_amqp_new(&options, ret, err);
}

/* Before the worker has bound its queue there is none for our own orders: the
 * relay would park them as unroutable. It asks again after a backoff. */
static wb_code service_prepare(void *ctx, wb_error *err)
{
	service *s = ctx;

	if (wb_worker_get_stat(s->worker).state == WB_WORKER_RUNNING)
		s->bound = true;
	return s->bound ? WB_OK
			: wb_error_set(err, WB_EAGAIN, 0, __func__,
				       "the queue is not bound yet");
}

/* Nobody need listen to what became of an order. */
static wb_code service_relay(service *s, wb_error *err)
{
	static const wb_route routes[] = {
		{.type = "order.placed"},
		{.type = "#", .unroutable = WB_UNROUTABLE_ACCEPT},
	};
	wb_relay_options options = WB_RELAY_OPTIONS_INIT;

	if (wb_routes_new(routes, 2, &s->routes, err))
		return err->code;
	options.routes = s->routes;
	options.prepare = service_prepare;
	options.prepare_ctx = s;
	return wb_relay_open(s->shop.store, s->publisher, &options, &s->relay,
			     err);
}

static wb_code service_open(service *s, char **argv, wb_error *err)
{
	static const wb_handler *const handlers[] = {&shop_reserve};
	wb_worker_options options = WB_WORKER_OPTIONS_INIT;

	options.queue = argv[3];
	shop_reserve.ctx = &s->shop;
	if (shop_open(&s->shop, argv[1], err) ||
	    service_connect(argv[2], "shop relay", &s->publisher, err) ||
	    service_connect(argv[2], "shop worker", &s->consumer, err) ||
	    wb_worker_open(s->shop.store, s->consumer, NULL, handlers, 1,
			   &options, &s->worker, err))
		return err->code;
	return service_relay(s, err);
}

static void service_close(service *s)
{
	wb_relay_close(s->relay);
	wb_routes_free(s->routes);
	if (s->worker)
		wb_worker_close(s->worker);
	wb_broker_free(s->consumer);
	wb_broker_free(s->publisher);
	shop_close(&s->shop);
}

int main(int argc, char **argv)
{
	wb_error err = WB_ERROR_INIT;
	service s = {.worker = NULL};

	if (argc != 4) {
		fprintf(stderr, "Usage: shop DIRECTORY AMQP-URI QUEUE < orders\n");
		return 2;
	}
	if (service_open(&s, argv, &err) == WB_OK &&
	    service_loop(&s, &err) == WB_OK)
		printf("%zu confirmed, %zu refused, %zu still to settle, "
		       "%ld pieces left\n",
		       shop_count(&s.shop, "confirmed"),
		       shop_count(&s.shop, "refused"),
		       shop_count(&s.shop, "placed"), shop_left(&s.shop));
	service_close(&s);
	if (err.code)
		fprintf(stderr, "shop: %s\n", err.text);
	return err.code != WB_OK;
}
