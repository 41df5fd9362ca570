/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See commits.h. The judge is a thread's own and not an argument, because
 * mdb_txn_commit() has no other way to find it; it is there only while
 * somebody steps what he judges.
 *
 * LMDB does not tell of a transaction that it is nested, or only reads. So
 * those are noted when they begin, the last COMMITS_NOTED of them: more than
 * can be open at a time. What is not noted is a write transaction.
 *
 * What is not modelled is a commit that LMDB itself leaves half-written: there
 * it goes back to the older of its two roots, which is the abort.
 */
#include "config.h" /* first: it asks for RTLD_NEXT */

#include "tests/kit/commits.h"

#include <dlfcn.h>
#include <stddef.h>
#include <string.h>

#include "lib/base/assert.h"

enum { COMMITS_NOTED = 32 };

#define COMMITS_EXPORT __attribute__((visibility("default")))

typedef struct commits_state {
	kit_commit_judge *judge;
	void *ctx;
	const MDB_txn *noted[COMMITS_NOTED]; /* nested, or for reading */
	unsigned next;
} commits_state;

static _Thread_local commits_state commits;

void kit_commits_judge(kit_commit_judge *judge, void *ctx)
{
	commits.judge = judge;
	commits.ctx = ctx;
}

/* Forget it, true: it was noted. An address is used again. */
static bool commits_take(const MDB_txn *txn)
{
	bool found = false;

	for (unsigned i = 0; i < COMMITS_NOTED; i++) {
		if (commits.noted[i] != txn)
			continue;
		commits.noted[i] = NULL;
		found = true;
	}
	return found;
}

static int commits_begin(MDB_env *env, MDB_txn *parent, unsigned flags,
			 MDB_txn **ret)
{
	int (*next)(MDB_env *, MDB_txn *, unsigned, MDB_txn **);
	void *symbol = dlsym(RTLD_NEXT, "mdb_txn_begin");

	WB_ASSERT(symbol);
	memcpy(&next, &symbol, sizeof(next));
	return next(env, parent, flags, ret);
}

COMMITS_EXPORT int mdb_txn_begin(MDB_env *env, MDB_txn *parent, unsigned flags,
				 MDB_txn **ret)
{
	int rc = commits_begin(env, parent, flags, ret);

	if (rc != 0)
		return rc;
	(void)commits_take(*ret);
	if (parent || flags & MDB_RDONLY)
		commits.noted[commits.next++ % COMMITS_NOTED] = *ret;
	return 0;
}

static int commits_real(MDB_txn *txn)
{
	int (*next)(MDB_txn *);
	void *symbol = dlsym(RTLD_NEXT, "mdb_txn_commit");

	WB_ASSERT(symbol);
	memcpy(&next, &symbol, sizeof(next));
	return next(txn);
}

COMMITS_EXPORT int mdb_txn_commit(MDB_txn *txn)
{
	kit_commit_fate fate = {.durable = true};
	int rc;

	if (!commits_take(txn) && commits.judge)
		fate = commits.judge(commits.ctx, mdb_txn_env(txn));
	if (!fate.durable) {
		mdb_txn_abort(txn);
		return fate.rc;
	}
	rc = commits_real(txn);
	return rc != 0 ? rc : fate.rc;
}
