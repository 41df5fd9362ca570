/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See commits.h. The judge is global because mdb_txn_commit() has no other way
 * to find it; a simulator has one world at a time, and one thread.
 *
 * What is not modelled is a commit that LMDB itself leaves half-written: there
 * it goes back to the older of its two roots, which is the abort.
 */
#include "config.h" /* first: it asks for RTLD_NEXT */

#include "tests/sim/commits.h"

#include <dlfcn.h>
#include <string.h>

#include "lib/base/assert.h"

static sim_commit_judge *commits_judge;
static void *commits_ctx;

void sim_commits_judge(sim_commit_judge *judge, void *ctx)
{
	commits_judge = judge;
	commits_ctx = ctx;
}

static int commits_real(MDB_txn *txn)
{
	int (*next)(MDB_txn *);
	void *symbol = dlsym(RTLD_NEXT, "mdb_txn_commit");

	WB_ASSERT(symbol);
	memcpy(&next, &symbol, sizeof(next));
	return next(txn);
}

int mdb_txn_commit(MDB_txn *txn)
{
	sim_commit_fate fate = {.durable = true};
	int rc;

	if (commits_judge)
		fate = commits_judge(commits_ctx, mdb_txn_env(txn));
	if (!fate.durable) {
		mdb_txn_abort(txn);
		return fate.rc;
	}
	rc = commits_real(txn);
	return rc != 0 ? rc : fate.rc;
}
