/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Commits that fail, and deaths inside commits: this mdb_txn_commit() stands
 * before liblmdb's and asks what is to become of each. Only of those that can
 * reach the disk: write transactions, not the ones nested in them.
 */
#ifndef TESTS_KIT_COMMITS_H
#define TESTS_KIT_COMMITS_H

#include <lmdb.h>
#include <stdbool.h>

typedef struct kit_commit_fate {
	bool durable; /* it is committed; else aborted */
	int rc;       /* what the caller hears */
} kit_commit_fate;

typedef kit_commit_fate kit_commit_judge(void *ctx, MDB_env *env);

/* For commits of this thread. NULL: all of them are real again. */
void kit_commits_judge(kit_commit_judge *judge, void *ctx);

#endif
