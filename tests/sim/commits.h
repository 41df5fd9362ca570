/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Commits that fail, and deaths inside commits: this program's own
 * mdb_txn_commit() stands before liblmdb's and asks what is to become of each.
 */
#ifndef TESTS_SIM_COMMITS_H
#define TESTS_SIM_COMMITS_H

#include <lmdb.h>
#include <stdbool.h>

typedef struct sim_commit_fate {
	bool durable; /* it is committed; else aborted */
	int rc;       /* what the caller hears */
} sim_commit_fate;

typedef sim_commit_fate sim_commit_judge(void *ctx, MDB_env *env);

/* NULL: all commits are real again. */
void sim_commits_judge(sim_commit_judge *judge, void *ctx);

#endif
