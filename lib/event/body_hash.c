/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * SHA-256 by OpenSSL: the same body, the same id, on every machine and in
 * every version, so it may be stored. No state; any thread.
 */
#include "lib/event/body_hash.h"

#include <openssl/err.h>
#include <openssl/evp.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"

wb_code wbi_body_hash(wb_str body, char ret[WBI_BODY_HASH_LEN + 1],
		      wb_error *err)
{
	static const char digits[] = "0123456789abcdef";
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned len = 0;

	if (EVP_Digest(body.len ? body.ptr : "", body.len, digest, &len,
		       EVP_sha256(), NULL) != 1) {
		ERR_clear_error(); /* it would keep it for the thread's life */
		return WBI_FAIL(err, WB_ENOMEM,
				"the SHA-256 of a body of %zu bytes: OpenSSL "
				"refuses",
				body.len);
	}
	WB_ASSERT(len * 2 == WBI_BODY_HASH_LEN);
	for (unsigned i = 0; i < len; i++) {
		ret[2 * (size_t)i] = digits[digest[i] >> 4];
		ret[2 * i + 1] = digits[digest[i] & 15];
	}
	ret[WBI_BODY_HASH_LEN] = '\0';
	return WB_OK;
}
