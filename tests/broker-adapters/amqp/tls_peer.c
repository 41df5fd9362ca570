/* SPDX-License-Identifier: BSD-2-Clause */
/* See tls_peer.h. The thread ends with its one connection. */
#include "tests/broker-adapters/amqp/tls_peer.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

struct tls_peer {
	pthread_t thread;
	SSL_CTX *context;
	int listener;
};

static EVP_PKEY *tls_key_new(void)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_id(EVP_PKEY_EC, NULL);
	EVP_PKEY *key = NULL;

	assert_int_equal(EVP_PKEY_keygen_init(ctx), 1);
	assert_int_equal(EVP_PKEY_CTX_set_ec_paramgen_curve_nid(
				 ctx, NID_X9_62_prime256v1),
			 1);
	assert_int_equal(EVP_PKEY_keygen(ctx, &key), 1);
	EVP_PKEY_CTX_free(ctx);
	return key;
}

static void tls_extend(X509 *x, int nid, const char *value)
{
	X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

	assert_non_null(extension);
	assert_int_equal(X509_add_ext(x, extension, -1), 1);
	X509_EXTENSION_free(extension);
}

tls_identity tls_identity_new(const char *common_name, const char *names,
			      long valid_s, const tls_identity *issuer)
{
	tls_identity made = {tls_key_new(), X509_new()};
	X509 *x = made.certificate;
	X509_NAME *subject = X509_get_subject_name(x);

	X509_set_version(x, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(x), rand());
	X509_gmtime_adj(X509_getm_notBefore(x), -3600);
	X509_gmtime_adj(X509_getm_notAfter(x), valid_s);
	X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
				   (const unsigned char *)common_name, -1, -1,
				   0);
	X509_set_issuer_name(x,
			     issuer ? X509_get_subject_name(issuer->certificate)
				    : subject);
	X509_set_pubkey(x, made.key);
	if (names)
		tls_extend(x, NID_subject_alt_name, names);
	else
		tls_extend(x, NID_basic_constraints, "critical,CA:TRUE");
	assert_true(X509_sign(x, issuer ? issuer->key : made.key,
			      EVP_sha256()) > 0);
	return made;
}

void tls_identity_free(tls_identity *identity)
{
	EVP_PKEY_free(identity->key);
	X509_free(identity->certificate);
}

void tls_identity_write(const tls_identity *identity, const char *path)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_int_equal(PEM_write_X509(file, identity->certificate), 1);
	assert_int_equal(PEM_write_PrivateKey(file, identity->key, NULL, NULL,
					      0, NULL, NULL),
			 1);
	assert_int_equal(fclose(file), 0);
}

static void *tls_peer_main(void *arg)
{
	tls_peer *peer = arg;
	int fd = accept(peer->listener, NULL, NULL);
	SSL *ssl = SSL_new(peer->context);
	char bytes[4096];
	int n;

	SSL_set_fd(ssl, fd);
	if (SSL_accept(ssl) == 1) {
		while ((n = SSL_read(ssl, bytes, sizeof(bytes))) > 0)
			if (SSL_write(ssl, bytes, n) != n)
				break;
	}
	SSL_free(ssl);
	close(fd);
	return NULL;
}

tls_peer *tls_peer_start(int listener, const tls_identity *identity,
			 const tls_identity *client_ca)
{
	tls_peer *peer = calloc(1, sizeof(*peer));

	assert_non_null(peer);
	peer->listener = listener;
	peer->context = SSL_CTX_new(TLS_server_method());
	SSL_CTX_use_certificate(peer->context, identity->certificate);
	SSL_CTX_use_PrivateKey(peer->context, identity->key);
	if (client_ca) {
		X509_STORE_add_cert(SSL_CTX_get_cert_store(peer->context),
				    client_ca->certificate);
		SSL_CTX_set_verify(peer->context,
				   SSL_VERIFY_PEER |
					   SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
				   NULL);
	}
	assert_int_equal(
		pthread_create(&peer->thread, NULL, tls_peer_main, peer), 0);
	return peer;
}

void tls_peer_join(tls_peer *peer)
{
	pthread_join(peer->thread, NULL);
	SSL_CTX_free(peer->context);
	free(peer);
}
