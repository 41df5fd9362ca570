/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A request is shared by two owners, the resolver and the look-up's thread,
 * and freed by whichever lets go last; so a resolver can be freed while
 * getaddrinfo hangs, and the thread then frees the request, the answer and
 * the eventfd by itself. Neither ever waits for the other: the lock is held
 * for a few assignments only.
 *
 * The number of threads is bounded: the count of running look-ups lives in a
 * block with its own references, since it too may outlive the resolver.
 *
 * The thread blocks every signal, so that it never takes one meant for the
 * host program.
 */
#include "broker-adapters/amqp/resolve.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"

enum { RESOLVE_STACK_BYTES = 1 << 20 };

typedef struct resolve_count {
	atomic_int references; /* the resolver and every running request */
	atomic_int running;
} resolve_count;

typedef struct resolve_request {
	pthread_mutex_t lock;
	int owners; /* under lock; 2: resolver and thread */
	bool done;  /* under lock */
	int status; /* of getaddrinfo; valid once done */
	int errnum; /* for EAI_SYSTEM */
	struct addrinfo *list;
	int event_fd;
	wbi_lookup_fn lookup;
	resolve_count *count;
	char service[8];
	char host[];
} resolve_request;

struct wbi_resolver {
	wbi_lookup_fn lookup;
	resolve_count *count;
	resolve_request *request; /* on a thread */
	struct addrinfo *ready;   /* numeric: no thread */
};

static void count_unref(resolve_count *count)
{
	if (atomic_fetch_sub(&count->references, 1) == 1)
		free(count);
}

static void request_unref(resolve_request *request)
{
	bool last;

	pthread_mutex_lock(&request->lock);
	WB_ASSERT(request->owners > 0);
	last = --request->owners == 0;
	pthread_mutex_unlock(&request->lock);
	if (!last)
		return;
	if (request->list)
		freeaddrinfo(request->list);
	close(request->event_fd);
	pthread_mutex_destroy(&request->lock);
	count_unref(request->count);
	free(request);
}

static const struct addrinfo resolve_hints = {.ai_family = AF_UNSPEC,
					      .ai_socktype = SOCK_STREAM,
					      .ai_flags = AI_NUMERICSERV};

static void *resolve_main(void *arg)
{
	resolve_request *request = arg;
	struct addrinfo *list = NULL;
	const uint64_t one = 1;
	ssize_t n;
	int status = request->lookup(request->host, request->service,
				     &resolve_hints, &list);

	pthread_mutex_lock(&request->lock);
	request->status = status;
	request->errnum = errno;
	request->list = status == 0 ? list : NULL;
	request->done = true;
	pthread_mutex_unlock(&request->lock);
	do
		n = write(request->event_fd, &one, sizeof(one));
	while (n < 0 && errno == EINTR);
	atomic_fetch_sub(&request->count->running, 1);
	request_unref(request);
	return NULL;
}

wb_code wbi_resolver_new(wbi_lookup_fn lookup, wbi_resolver **ret,
			 wb_error *err)
{
	wbi_resolver *resolver = calloc(1, sizeof(*resolver));
	resolve_count *count = calloc(1, sizeof(*count));

	if (!resolver || !count) {
		free(resolver);
		free(count);
		return WBI_FAIL(err, WB_ENOMEM, "out of memory");
	}
	atomic_init(&count->references, 1);
	atomic_init(&count->running, 0);
	resolver->count = count;
	resolver->lookup = lookup ? lookup : getaddrinfo;
	*ret = resolver;
	return WB_OK;
}

void wbi_resolver_cancel(wbi_resolver *resolver)
{
	if (resolver->request)
		request_unref(resolver->request);
	if (resolver->ready)
		freeaddrinfo(resolver->ready);
	resolver->request = NULL;
	resolver->ready = NULL;
}

void wbi_resolver_free(wbi_resolver *resolver)
{
	if (!resolver)
		return;
	wbi_resolver_cancel(resolver);
	count_unref(resolver->count);
	free(resolver);
}

static resolve_request *request_new(wbi_resolver *resolver, const char *host,
				    const char *service)
{
	size_t len = strlen(host) + 1;
	resolve_request *request = calloc(1, sizeof(*request) + len);

	if (!request)
		return NULL;
	request->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (request->event_fd < 0) {
		free(request);
		return NULL;
	}
	pthread_mutex_init(&request->lock, NULL);
	request->owners = 1;
	request->lookup = resolver->lookup;
	request->count = resolver->count;
	atomic_fetch_add(&request->count->references, 1);
	snprintf(request->service, sizeof(request->service), "%s", service);
	memcpy(request->host, host, len);
	return request;
}

/* pthread_create on a detached thread with every signal blocked. */
static int request_run(resolve_request *request)
{
	pthread_attr_t attr;
	sigset_t all, before;
	pthread_t thread;
	int status = pthread_attr_init(&attr);

	if (status)
		return status;
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, RESOLVE_STACK_BYTES);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	request->owners++;
	atomic_fetch_add(&request->count->running, 1);
	status = pthread_create(&thread, &attr, resolve_main, request);
	if (status) {
		request->owners--;
		atomic_fetch_sub(&request->count->running, 1);
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return status;
}

wb_code wbi_resolver_start(wbi_resolver *resolver, const char *host,
			   uint16_t port, wb_error *err)
{
	struct addrinfo hints = resolve_hints;
	resolve_request *request;
	char service[8];
	int status;

	wbi_resolver_cancel(resolver);
	snprintf(service, sizeof(service), "%u", port);
	hints.ai_flags |= AI_NUMERICHOST;
	if (getaddrinfo(host, service, &hints, &resolver->ready) == 0)
		return WB_OK;
	resolver->ready = NULL;
	if (atomic_load(&resolver->count->running) > WBI_RESOLVE_ABANDONED_MAX)
		return WBI_FAIL(err, WB_EAGAIN,
				"%s: %d look-ups of host names still hang; is "
				"the name server reachable?",
				host, WBI_RESOLVE_ABANDONED_MAX + 1);
	request = request_new(resolver, host, service);
	if (!request)
		return WBI_FAIL(err, WB_ENOMEM,
				"%s: no memory or descriptor to look it up",
				host);
	status = request_run(request);
	if (status) {
		request_unref(request);
		return wbi_fail_errno(err, status, __func__,
				      "%s: cannot start its look-up", host);
	}
	resolver->request = request;
	return WB_OK;
}

int wbi_resolver_fd(const wbi_resolver *resolver)
{
	return resolver->request ? resolver->request->event_fd : -1;
}

static wb_code resolve_fail(const resolve_request *request, wb_error *err)
{
	if (request->status == EAI_SYSTEM)
		return wb_error_set(err, WB_EUNREACHABLE, request->errnum,
				    __func__, "%s: look-up failed: errno %d",
				    request->host, request->errnum);
	return wb_error_set(err, WB_EUNREACHABLE, 0, __func__,
			    "%s: look-up failed: %s", request->host,
			    gai_strerror(request->status));
}

wb_code wbi_resolver_take(wbi_resolver *resolver, struct addrinfo **ret,
			  wb_error *err)
{
	resolve_request *request = resolver->request;
	wb_code code = WB_OK;
	bool done;

	if (resolver->ready) {
		*ret = resolver->ready;
		resolver->ready = NULL;
		return WB_OK;
	}
	if (!request)
		return WBI_FAIL(err, WB_ESTATE, "no look-up was started");
	pthread_mutex_lock(&request->lock);
	done = request->done;
	pthread_mutex_unlock(&request->lock);
	if (!done)
		return WB_EAGAIN;
	if (request->list)
		*ret = request->list;
	else
		code = resolve_fail(request, err);
	request->list = NULL;
	wbi_resolver_cancel(resolver);
	return code;
}
