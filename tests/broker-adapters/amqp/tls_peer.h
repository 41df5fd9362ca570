/* SPDX-License-Identifier: BSD-2-Clause */
/* Certificates made on the spot and one TLS server connection on a thread. */
#ifndef TESTS_TLS_PEER_H
#define TESTS_TLS_PEER_H

#include <openssl/ssl.h>

#include "tests/support/testing.h"

typedef struct tls_identity {
	EVP_PKEY *key;
	X509 *certificate;
} tls_identity;

/* Signed by `issuer`, or by itself if that is NULL. `names` is a subjectAltName
 * as in openssl-x509v3_config(5), NULL for a CA. Valid from an hour ago for
 * `valid_s` seconds from now, which may be negative. */
tls_identity tls_identity_new(const char *common_name, const char *names,
			      long valid_s, const tls_identity *issuer);
void tls_identity_free(tls_identity *identity);
void tls_identity_write(const tls_identity *identity, const char *path);

typedef struct tls_peer tls_peer;

/* Accept one connection on `listener`, shake hands, echo until the end. With
 * `client_ca`, demand a client certificate that it signed. */
tls_peer *tls_peer_start(int listener, const tls_identity *identity,
			 const tls_identity *client_ca);
void tls_peer_join(tls_peer *peer);

#endif
