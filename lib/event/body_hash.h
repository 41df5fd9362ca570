/* SPDX-License-Identifier: BSD-2-Clause */
/* An id for a message that has none: what its body hashes to. */
#ifndef WBI_BODY_HASH_H
#define WBI_BODY_HASH_H

#include <waybill/base.h>

enum { WBI_BODY_HASH_LEN = 64 };

/* SHA-256 (FIPS 180-4) in lower-case hexadecimal, terminated. WB_ENOMEM. Any
 * thread. */
wb_code wbi_body_hash(wb_str body, char ret[WBI_BODY_HASH_LEN + 1],
		      wb_error *err);

#endif
