/* SPDX-License-Identifier: BSD-2-Clause */
/* A store that keeps all, and what tests of streams do in it again and again.
 * Everything fails the test by itself, unless it returns a code. */
#ifndef TESTS_STREAM_RIG_H
#define TESTS_STREAM_RIG_H

#include <waybill/stream.h>

#include "tests/support/place.h"
#include "tests/support/testing.h"

typedef struct stream_rig {
	wb_store *store;
	wb_outbox *outbox;
} stream_rig;

void rig_make(stream_rig *rig, const char *dir);
void rig_open(stream_rig *rig, const char *dir);
void rig_close(stream_rig *rig);

MDB_txn *rig_begin(stream_rig *rig);
void rig_commit(stream_rig *rig, MDB_txn *txn);

/* One event "thing.done" with data "STREAM N", N being `number`, committed.
 * With `id` NULL it gets a new one. */
wb_code rig_append(stream_rig *rig, const char *stream, uint64_t expected,
		   unsigned number, const char *id, wb_stream_written *ret,
		   wb_error *err);
/* `count` of them behind the version it has, in one commit; `number` is the
 * version. */
void rig_grow(stream_rig *rig, const char *stream, unsigned count);

/* Read what rig_grow() wrote in versions `from` to `to`, both ways. */
void rig_assert_stream(stream_rig *rig, const char *stream, uint64_t from,
		       uint64_t to);

/* The relay says: settled up to `position`, done with up to `floor`. */
void rig_settle(stream_rig *rig, uint64_t position, uint64_t floor);

/* The store must pass fsck; prints findings. It must be closed. */
void rig_assert_sound(const char *dir);

#endif
