/* SPDX-License-Identifier: BSD-2-Clause */
/* A piece of work in which any allocation may fail, once. */
#ifndef TESTS_ALLOC_POINTS_H
#define TESTS_ALLOC_POINTS_H

#include <waybill/base.h>

typedef struct alloc_work {
	const char *name;
	/* What is there before; nothing fails in it. NULL: nothing. */
	void (*prepare)(const char *dir);
	/* The work. One that gives up gives its code; one that goes on until all
	 * is done gives WB_OK. It frees what it had. */
	wb_code (*run)(const char *dir);
	/* What must hold then; nothing fails any more. NULL: nothing. */
	void (*check)(const char *dir, wb_code code);
} alloc_work;

extern const alloc_work alloc_store;
extern const alloc_work alloc_outbox;
extern const alloc_work alloc_stream;
extern const alloc_work alloc_routes;
extern const alloc_work alloc_brokers;
extern const alloc_work alloc_relay;
extern const alloc_work alloc_worker;
extern const alloc_work alloc_sagas;
extern const alloc_work alloc_projection;
extern const alloc_work alloc_read;
extern const alloc_work alloc_upkeep;

/* Of a work that prepares something that must not fail, in the middle. */
void alloc_hold(bool held);

#endif
