/* SPDX-License-Identifier: BSD-2-Clause */
/* Environments that are only looked at, and copies of them. */
#ifndef WBI_COPY_H
#define WBI_COPY_H

#include <waybill/store.h>

/*
 * Open the environment in `dir` for reading, beside live users of it or not.
 * Writes nothing to the data file; without lock.mdb, or where that may not be
 * written, nothing at all (then nobody else must be writing). Close with
 * wbi_env_close(). Not in a process that has it open, see below.
 */
wb_code wbi_env_open_readonly(const char *dir, MDB_env **ret, wb_error *err);
void wbi_env_close(MDB_env *env); /* NULL allowed */

/*
 * WB_EBUSY if this process has the store in `dir` open: LMDB would not notice,
 * and the second one's close would take the first one's locks with it (its
 * mutexes too, since 0.9.31).
 */
wb_code wbi_store_check_unopened(const char *dir, wb_error *err);

/*
 * A consistent, compacted copy into the directory `to` (made by the caller,
 * no data.mdb in it), synced. *ret_bytes: its size.
 */
wb_code wbi_env_copy(MDB_env *env, const char *to, uint64_t *ret_bytes,
		     wb_error *err);

#endif
