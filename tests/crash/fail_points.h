/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pieces of work in which one call fails: the Nth allocation (fail_alloc.c),
 * the Nth call of LMDB (fail_store.c), of the system (fail_system.c). The works
 * say nothing of that; the driver (fail_points.c) runs each again and again, in
 * a process of its own.
 */
#ifndef TESTS_FAIL_POINTS_H
#define TESTS_FAIL_POINTS_H

#include <stddef.h>

#include <waybill/base.h>

typedef struct fail_work {
	const char *name;
	/* What is there before; nothing fails in it. NULL: nothing. */
	void (*prepare)(const char *dir);
	/* The work. One that gives up gives its code, and says in *err why; one
	 * that goes on until all is done gives WB_OK. It frees what it had. */
	wb_code (*run)(const char *dir, wb_error *err);
	/* What must hold then; nothing fails any more. NULL: nothing. */
	void (*check)(const char *dir, wb_code code);
} fail_work;

extern const fail_work fail_store;
extern const fail_work fail_host;
extern const fail_work fail_outbox;
extern const fail_work fail_stream;
extern const fail_work fail_aggregate;
extern const fail_work fail_upkeep;
extern const fail_work fail_routes;
extern const fail_work fail_brokers;
extern const fail_work fail_amqp;
extern const fail_work fail_relay;
extern const fail_work fail_mend;
extern const fail_work fail_relay_loop;
extern const fail_work fail_worker;
extern const fail_work fail_worker_loop;
extern const fail_work fail_sagas;
extern const fail_work fail_town;
extern const fail_work fail_projection;
extern const fail_work fail_projection_loop;
extern const fail_work fail_read;
extern const fail_work fail_read_beside;
extern const fail_work fail_kit;

/* Of a work that does something that must not fail, in the middle. */
void fail_hold(bool held);

/* So many blocks a library may lose, or keep, when it finds no memory. */
void fail_allow_blocks(long count);

/*
 * What a part that goes on by itself may say in a step: nothing, or that it has
 * stopped because of the failure, with the reason. false: it must be closed and
 * opened anew; a wrong error ends the process.
 */
bool fail_goes_on(wb_code code, const wb_error *err);
/* By such an error a handler may stop, and its worker go on; or a rebuild. */
bool fail_may_stop_one(void);
/* Ends the process, unless this is an error that the failure explains. */
void fail_judge(wb_code code, const wb_error *err);

/* ---- for what makes calls fail ------------------------------------------- */

typedef enum fail_kind {
	FAIL_ALLOC,
	FAIL_STORE,
	FAIL_SYSTEM,
	FAIL_KINDS
} fail_kind;

/* `call` is about to be made, and may fail with each of `codes`: is it the one?
 * *ret is then the code. */
bool fail_now(fail_kind kind, const char *call, const int *codes, size_t count,
	      int *ret);

/* Between these, fail_now() counts. */
bool fail_is_counting(void);

/* Blocks that were allocated since, and not freed. */
long fail_live_blocks(void);

/* Of what failed, as waybill must call it. */
wb_code fail_code_of(fail_kind kind, int code);

#endif
