/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * TLS on a connected non-blocking socket, by OpenSSL: TLS 1.2 or later, the
 * chain and the host's name (or address) verified unless host->insecure.
 */
#ifndef WBI_AMQP_TLS_H
#define WBI_AMQP_TLS_H

#include "broker-adapters/amqp/uri.h"

typedef struct wbi_tls wbi_tls;

/*
 * Reads the files that `host` names, each time anew, so that a renewed
 * certificate is used from the next connection on. The socket stays the
 * caller's and must outlive the object. WB_EACCESS, WB_ENOTFOUND, WB_EINVAL:
 * which file, and why. WB_ENOMEM.
 */
wb_code wbi_tls_new(const wbi_amqp_host *host, int fd, wbi_tls **ret,
		    wb_error *err);
void wbi_tls_free(wbi_tls *tls); /* NULL allowed */

/*
 * WB_EAGAIN, without an error text: wait for the socket, for writing if
 * wbi_tls_wants_write(), else for reading. WB_EACCESS: the certificate is not
 * acceptable; the text says why and what to do. WB_EPROTO, WB_ECLOSED.
 */
wb_code wbi_tls_handshake(wbi_tls *tls, wb_error *err);

/* At least one byte, or an error as above. With 16 KiB or more to read into,
 * nothing is left behind in OpenSSL when this returns. */
wb_code wbi_tls_read(wbi_tls *tls, uint8_t *to, size_t size, size_t *ret_len,
		     wb_error *err);
wb_code wbi_tls_write(wbi_tls *tls, const uint8_t *from, size_t len,
		      size_t *ret_len, wb_error *err);

/* What the last WB_EAGAIN waits for. */
bool wbi_tls_wants_write(const wbi_tls *tls);

/* Tell the peer that no more comes, if that is possible without waiting. */
void wbi_tls_goodbye(wbi_tls *tls);

#endif
