/* SPDX-License-Identifier: BSD-2-Clause */
/* Making a copy a store of its own. */
#ifndef WBI_RESTORE_H
#define WBI_RESTORE_H

#include <waybill/base.h>

/*
 * Bring the relay's state in the copy `dir` back to what its journal holds: the
 * cursor not past the head, no parked event and no held position from beyond
 * it; and with `new_origin` give its journals new origins. In place: for a
 * copy that nobody uses yet.
 */
wb_code wbi_restore_rewrite(const char *dir, bool new_origin, wb_error *err);

#endif
