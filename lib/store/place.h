/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where a store lies: whose directory it is, what is on it, and whether its
 * files can be LMDB's. All of it before anything is mapped, since LMDB trusts
 * its file with the process's memory.
 */
#ifndef WBI_PLACE_H
#define WBI_PLACE_H

#include <waybill/base.h>

/*
 * The directory must be one, no symbolic link, the caller's own and closed to
 * others, on a local file system. Else WB_EACCESS with the cure; WB_ENOTFOUND
 * if it is not there. FUSE gets a WARN: it may be a network file system.
 */
wb_code wbi_place_check_dir(const char *dir, const wb_log *log, wb_error *err);
/* The same for a regular file; one that is not there is fine. */
wb_code wbi_place_check_file(const char *path, wb_error *err);
/* Only: on a local file system? For a host's own directory. */
wb_code wbi_place_check_fs(const char *dir, const wb_log *log, wb_error *err);

/* mkdir with mode 0700; one that exists is fine. *ret_made may be NULL. */
wb_code wbi_place_make_dir(const char *dir, bool *ret_made, wb_error *err);
wb_code wbi_place_sync_dir(const char *dir, wb_error *err);
/* fsync of a directory's parent, for its own entry. */
wb_code wbi_place_sync_parent(const char *dir, wb_error *err);

/*
 * LMDB must not be opened twice by one process, and would not notice. So each
 * open holds a lock (of the open file description) on the byte of `path` that
 * has the process's number. WB_EBUSY: this process has it open. Close the
 * descriptor to give it back.
 */
wb_code wbi_place_lock(const char *path, int *ret_fd, wb_error *err);
/* Only: is nobody here holding it? A lock that is not there, or not to be
 * opened, is nobody's. WB_EBUSY as above. */
wb_code wbi_place_check_lock(const char *path, wb_error *err);

/* "DIR/NAME" into ret; WB_ELIMIT if it does not fit. */
wb_code wbi_place_join(const char *dir, const char *name, char *ret,
		       size_t size, wb_error *err);

#endif
