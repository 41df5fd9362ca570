/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef WBI_OWNER_H
#define WBI_OWNER_H

#include <waybill/base.h>

/*
 * Be the one process that owns the file `path`, made if it is not there, by
 * flock(2): the kernel drops it with the process, however that ends, and a
 * process that is merely stopped keeps it, so there is no moment with two.
 * Inside it stands the pid, for people; the lock is what counts.
 *
 * *ret_fd: close() it to let go; a child of fork(2) shares it. WB_EBUSY (err
 * untouched): somebody has it, *ret_pid says who, 0 if that cannot be read.
 * WB_EACCESS, WB_ENOSPC, WB_EIO.
 */
wb_code wbi_owner_take(const char *path, int *ret_fd, int64_t *ret_pid,
		       wb_error *err);

#endif
