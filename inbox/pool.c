/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Two lists under one lock: what is to be run, what has been. A thread takes
 * from the first, runs it without the lock, puts it on the second and raises an
 * eventfd. Nothing here is durable: dispatch has written down what it gives.
 *
 * All calls but the tasks themselves come from the one thread that owns the
 * pool. The lock is held for a few instructions only.
 */
#include "inbox/pool.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"

typedef struct pool_list {
	wbi_task *first, *last;
} pool_list;

typedef struct pool_thread {
	pthread_t id;
	unsigned slot;
	struct wbi_pool *pool;
} pool_thread;

struct wbi_pool {
	pthread_mutex_t lock;
	pthread_cond_t more;
	pool_list todo, done;
	bool closing;
	int fd;
	unsigned count; /* threads that run */
	pool_thread threads[];
};

static void list_add(pool_list *list, wbi_task *task)
{
	task->next = NULL;
	if (list->last)
		list->last->next = task;
	else
		list->first = task;
	list->last = task;
}

static wbi_task *list_take(pool_list *list)
{
	wbi_task *task = list->first;

	if (!task)
		return NULL;
	list->first = task->next;
	if (!list->first)
		list->last = NULL;
	return task;
}

static void pool_raise(const wbi_pool *pool)
{
	uint64_t one = 1;
	ssize_t n;

	do
		n = write(pool->fd, &one, sizeof(one));
	while (n < 0 && errno == EINTR);
}

/* The next task; NULL: the pool is being closed. */
static wbi_task *pool_next(wbi_pool *pool)
{
	wbi_task *task = NULL;

	pthread_mutex_lock(&pool->lock);
	while (!pool->closing && !pool->todo.first)
		pthread_cond_wait(&pool->more, &pool->lock);
	if (!pool->closing)
		task = list_take(&pool->todo);
	pthread_mutex_unlock(&pool->lock);
	return task;
}

static void *pool_main(void *arg)
{
	const pool_thread *self = arg;
	wbi_pool *pool = self->pool;
	wbi_task *task;

	while ((task = pool_next(pool))) {
		task->run(task, self->slot);
		pthread_mutex_lock(&pool->lock);
		list_add(&pool->done, task);
		pthread_mutex_unlock(&pool->lock);
		pool_raise(pool);
	}
	return NULL;
}

/* Signals are the host's business, on the host's threads; but for a thread's own
 * faults, which the host may want to hear of before the end. */
static wb_code pool_start(wbi_pool *pool, unsigned threads, wb_error *err)
{
	static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
	sigset_t all, before;
	int rc = 0;

	sigfillset(&all);
	for (size_t i = 0; i < WBI_COUNT(faults); i++)
		sigdelset(&all, faults[i]);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	while (pool->count < threads && rc == 0) {
		pool_thread *t = &pool->threads[pool->count];

		t->slot = pool->count + 1;
		t->pool = pool;
		rc = pthread_create(&t->id, NULL, pool_main, t);
		if (rc == 0)
			pool->count++;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc != 0)
		return wbi_fail_errno(err, rc, __func__,
				      "start thread %u of %u for external "
				      "handlers",
				      pool->count + 1, threads);
	return WB_OK;
}

wb_code wbi_pool_open(unsigned threads, wbi_pool **ret, wb_error *err)
{
	wbi_pool *pool;
	wb_code code;

	WB_ASSERT(threads > 0 && threads <= WBI_POOL_MAX);
	pool = calloc(1, sizeof(*pool) + threads * sizeof(pool->threads[0]));
	if (!pool)
		return WBI_FAIL(err, WB_ENOMEM, "pool: out of memory");
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->more, NULL);
	pool->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (pool->fd < 0)
		code = wbi_fail_errno(err, errno, __func__, "eventfd");
	else
		code = pool_start(pool, threads, err);
	if (code == WB_OK)
		*ret = pool;
	else
		wbi_pool_close(pool);
	return code;
}

void wbi_pool_close(wbi_pool *pool)
{
	if (!pool)
		return;
	pthread_mutex_lock(&pool->lock);
	pool->closing = true;
	pthread_cond_broadcast(&pool->more);
	pthread_mutex_unlock(&pool->lock);
	for (unsigned i = 0; i < pool->count; i++)
		pthread_join(pool->threads[i].id, NULL);
	if (pool->fd >= 0)
		close(pool->fd);
	pthread_cond_destroy(&pool->more);
	pthread_mutex_destroy(&pool->lock);
	free(pool);
}

void wbi_pool_give(wbi_pool *pool, wbi_task *task)
{
	pthread_mutex_lock(&pool->lock);
	list_add(&pool->todo, task);
	pthread_cond_signal(&pool->more);
	pthread_mutex_unlock(&pool->lock);
}

wbi_task *wbi_pool_take(wbi_pool *pool)
{
	uint64_t count;
	wbi_task *task;

	/* Lowered before the look: what ends behind it raises it again. */
	while (read(pool->fd, &count, sizeof(count)) < 0 && errno == EINTR)
		;
	pthread_mutex_lock(&pool->lock);
	task = list_take(&pool->done);
	if (pool->done.first)
		pool_raise(pool);
	pthread_mutex_unlock(&pool->lock);
	return task;
}

int wbi_pool_fd(const wbi_pool *pool)
{
	return pool->fd;
}
