/* SPDX-License-Identifier: BSD-2-Clause */
/* Environments: the files of one, looked at before LMDB maps them. */
#ifndef WBI_ENV_H
#define WBI_ENV_H

#include "lib/store/table.h"

typedef struct wbi_env_options {
	uint64_t map_bytes; /* 0: what the file says */
	unsigned max_dbs;
	unsigned max_readers; /* 0: LMDB's own 126 */
	/* Commits do not reach the disk before wbi_env_sync(): a crash of the
	 * machine, but not of the process, may leave a file that must not be
	 * opened again. For what is built anew in such a case only. */
	bool no_sync;
} wbi_env_options;

/* The files of an environment, as far as they are there, must be the caller's
 * alone and LMDB's. *ret_exists: there is a data file. */
wb_code wbi_env_check_files(const char *dir, bool *ret_exists, wb_error *err);

/* Open, or make, the environment in `dir`, with MDB_NOTLS. Close with
 * wbi_env_close() (copy.h). */
wb_code wbi_env_open(const char *dir, const wbi_env_options *options,
		     MDB_env **ret, wb_error *err);
/* Open one that is there; what its file says of itself is checked before. */
wb_code wbi_env_open_checked(const char *dir, const wbi_env_options *options,
			     MDB_env **ret, wb_error *err);

/* From now on commits are synced, and what was committed before is when this
 * returns. No transaction may be open. */
wb_code wbi_env_make_safe(MDB_env *env, wb_error *err);

/* Clear the reader slots of dead processes. */
wb_code wbi_env_check_readers(MDB_env *env, int *ret_cleared, wb_error *err);

#endif
