/* SPDX-License-Identifier: BSD-2-Clause */
/* Making a copy a store of its own. */
#ifndef WBI_RESTORE_H
#define WBI_RESTORE_H

#include <waybill/base.h>

/*
 * Give the copy in `dir` new origins, bring the relay's state back to what its
 * journal holds: the cursor not past the head, no parked event and no held
 * position from beyond it. In place: for a copy that nobody uses yet.
 */
wb_code wbi_restore_rewrite(const char *dir, wb_error *err);

#endif
