/* SPDX-License-Identifier: BSD-2-Clause */
/* Secrets: where they come from and how they leave memory again. */
#ifndef WBI_AMQP_SECRET_H
#define WBI_AMQP_SECRET_H

#include <waybill/base.h>

enum { WBI_SECRET_MAX = 1024 };

/*
 * The first line of the file, without its line end. The file must be a
 * regular one that only its owner can read, and the owner us or root.
 * Caller frees with wbi_secret_free. WB_ENOTFOUND; WB_EACCESS; WB_EINVAL: not
 * a regular file, an empty line, a NUL; WB_ELIMIT: over WBI_SECRET_MAX bytes;
 * WB_EIO; WB_ENOMEM. No error text shows the content.
 */
wb_code wbi_secret_read(const char *path, char **ret, wb_error *err);

/* A copy to be freed with wbi_secret_free; NULL if out of memory. */
char *wbi_secret_dup(const char *secret);

/* Overwrite, then free. NULL allowed. */
void wbi_secret_free(char *secret);

#endif
