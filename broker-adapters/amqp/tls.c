/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * OpenSSL works on a BIO of our own, because its socket BIO calls write(2),
 * which raises SIGPIPE on a broken connection, and a library must leave the
 * host's signal dispositions alone.
 *
 * OpenSSL keeps an error queue per thread that SSL_get_error looks at, so it
 * is cleared before each call. One thread at a time; all memory belongs to
 * the wbi_tls.
 */
#include "broker-adapters/amqp/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"

enum { TLS_IO_MAX = 1 << 30 };

struct wbi_tls {
	BIO_METHOD *method;
	SSL_CTX *context;
	SSL *ssl;
	int fd;
	bool wants_write;
	bool open;        /* the handshake is done */
	bool broken;      /* OpenSSL forbids SSL_shutdown after a failure */
	const char *name; /* what was verified; borrowed from the host */
};

/* ---- the BIO ----------------------------------------------------------- */

static int tls_bio_write(BIO *bio, const char *from, int len)
{
	const wbi_tls *tls = BIO_get_data(bio);
	ssize_t n;

	do
		n = send(tls->fd, from, (size_t)len, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	BIO_clear_retry_flags(bio);
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		BIO_set_retry_write(bio);
	return (int)n;
}

static int tls_bio_read(BIO *bio, char *to, int size)
{
	const wbi_tls *tls = BIO_get_data(bio);
	ssize_t n;

	do
		n = recv(tls->fd, to, (size_t)size, 0);
	while (n < 0 && errno == EINTR);
	BIO_clear_retry_flags(bio);
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		BIO_set_retry_read(bio);
	return (int)n;
}

static long tls_bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
	(void)bio, (void)number, (void)pointer;
	return command == BIO_CTRL_FLUSH;
}

static wb_code tls_make_bio(wbi_tls *tls, wb_error *err)
{
	BIO *bio;

	tls->method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK,
				   "waybill socket");
	if (!tls->method || !BIO_meth_set_write(tls->method, tls_bio_write) ||
	    !BIO_meth_set_read(tls->method, tls_bio_read) ||
	    !BIO_meth_set_ctrl(tls->method, tls_bio_ctrl))
		return WBI_FAIL(err, WB_ENOMEM, "TLS: out of memory");
	bio = BIO_new(tls->method);
	if (!bio)
		return WBI_FAIL(err, WB_ENOMEM, "TLS: out of memory");
	BIO_set_data(bio, tls);
	BIO_set_init(bio, 1);
	SSL_set_bio(tls->ssl, bio, bio);
	return WB_OK;
}

/* ---- set-up ------------------------------------------------------------ */

/* OpenSSL's words for the first thing that went wrong. */
static const char *tls_reason(char *text, size_t size)
{
	unsigned long code = ERR_peek_error();
	const char *reason = ERR_reason_error_string(code);

	snprintf(text, size, "%s", reason ? reason : "no reason given");
	return text;
}

/* An encrypted key must not make OpenSSL ask on the host's terminal. */
static int tls_no_passphrase(char *to, int size, int writing, void *ctx)
{
	(void)to, (void)size, (void)writing, (void)ctx;
	return 0;
}

static wb_code tls_check_file(const char *what, const char *path, wb_error *err)
{
	if (access(path, R_OK) == 0)
		return WB_OK;
	return wbi_fail_errno(err, errno, __func__, "TLS: %s %s", what, path);
}

static wb_code tls_use_ca(wbi_tls *tls, const char *path, wb_error *err)
{
	char reason[128];
	wb_code code;

	if (!path) {
		SSL_CTX_set_default_verify_paths(tls->context);
		return WB_OK;
	}
	code = tls_check_file("CA file", path, err);
	if (code != WB_OK ||
	    SSL_CTX_load_verify_locations(tls->context, path, NULL) == 1)
		return code;
	return WBI_FAIL(err, WB_EINVAL,
			"TLS: CA file %s holds no certificate in PEM: %s", path,
			tls_reason(reason, sizeof(reason)));
}

static wb_code tls_use_certificate(wbi_tls *tls, const wbi_amqp_host *host,
				   wb_error *err)
{
	SSL_CTX *context = tls->context;
	char reason[128];
	wb_code code;

	if (!host->cert_file)
		return WB_OK;
	code = tls_check_file("client certificate", host->cert_file, err);
	if (code == WB_OK)
		code = tls_check_file("client key", host->key_file, err);
	if (code != WB_OK)
		return code;
	if (SSL_CTX_use_certificate_chain_file(context, host->cert_file) != 1)
		return WBI_FAIL(err, WB_EINVAL,
				"TLS: client certificate %s: not a PEM "
				"certificate: %s",
				host->cert_file,
				tls_reason(reason, sizeof(reason)));
	if (SSL_CTX_use_PrivateKey_file(context, host->key_file,
					SSL_FILETYPE_PEM) != 1)
		return WBI_FAIL(err, WB_EINVAL,
				"TLS: client key %s: not an unencrypted PEM "
				"key, or not that of %s: %s",
				host->key_file, host->cert_file,
				tls_reason(reason, sizeof(reason)));
	return WB_OK;
}

static wb_code tls_make_context(wbi_tls *tls, const wbi_amqp_host *host,
				wb_error *err)
{
	wb_code code;

	ERR_clear_error();
	tls->context = SSL_CTX_new(TLS_client_method());
	if (!tls->context)
		return WBI_FAIL(err, WB_ENOMEM, "TLS: out of memory");
	SSL_CTX_set_min_proto_version(tls->context, TLS1_2_VERSION);
	SSL_CTX_set_mode(tls->context,
			 SSL_MODE_ENABLE_PARTIAL_WRITE |
				 SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_options(tls->context, SSL_OP_NO_RENEGOTIATION);
	SSL_CTX_set_default_passwd_cb(tls->context, tls_no_passphrase);
	SSL_CTX_set_verify(tls->context,
			   host->insecure ? SSL_VERIFY_NONE : SSL_VERIFY_PEER,
			   NULL);
	code = tls_use_ca(tls, host->ca_file, err);
	if (code == WB_OK)
		code = tls_use_certificate(tls, host, err);
	return code;
}

static bool tls_is_address(const char *name)
{
	struct in6_addr parsed;

	return inet_pton(AF_INET, name, &parsed) == 1 ||
	       inet_pton(AF_INET6, name, &parsed) == 1;
}

/* The name to send (SNI has none for addresses: RFC 6066, 3) and to verify. */
static wb_code tls_set_name(wbi_tls *tls, wb_error *err)
{
	X509_VERIFY_PARAM *param = SSL_get0_param(tls->ssl);
	bool ok;

	/* The subject's common name is no host name (RFC 9525, 2). */
	X509_VERIFY_PARAM_set_hostflags(
		param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
			       X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
	if (tls_is_address(tls->name))
		ok = X509_VERIFY_PARAM_set1_ip_asc(param, tls->name) == 1;
	else
		ok = SSL_set_tlsext_host_name(tls->ssl, tls->name) == 1 &&
		     X509_VERIFY_PARAM_set1_host(param, tls->name, 0) == 1;
	return ok ? WB_OK
		  : WBI_FAIL(err, WB_EINVAL,
			     "TLS: cannot use %s as the server's name",
			     tls->name);
}

wb_code wbi_tls_new(const wbi_amqp_host *host, int fd, wbi_tls **ret,
		    wb_error *err)
{
	wbi_tls *tls = calloc(1, sizeof(*tls));
	wb_code code;

	if (!tls)
		return WBI_FAIL(err, WB_ENOMEM, "TLS: out of memory");
	tls->fd = fd;
	tls->name = host->server_name ? host->server_name : host->host;
	code = tls_make_context(tls, host, err);
	if (code == WB_OK) {
		tls->ssl = SSL_new(tls->context);
		if (!tls->ssl)
			code = WBI_FAIL(err, WB_ENOMEM, "TLS: out of memory");
	}
	if (code == WB_OK)
		code = tls_make_bio(tls, err);
	if (code == WB_OK)
		code = tls_set_name(tls, err);
	ERR_clear_error();
	if (code != WB_OK) {
		wbi_tls_free(tls);
		return code;
	}
	SSL_set_connect_state(tls->ssl);
	*ret = tls;
	return WB_OK;
}

void wbi_tls_free(wbi_tls *tls)
{
	if (!tls)
		return;
	SSL_free(tls->ssl); /* the BIO goes with it */
	SSL_CTX_free(tls->context);
	BIO_meth_free(tls->method);
	free(tls);
}

/* ---- bytes ------------------------------------------------------------- */

/* What the peer's certificate lacks, and what to do about it. */
static wb_code tls_refuse(const wbi_tls *tls, long result, wb_error *err)
{
	const char *words = X509_verify_cert_error_string(result);
	const char *cure;

	switch (result) {
	case X509_V_ERR_CERT_HAS_EXPIRED:
		cure = "renew it at the broker (and compare both clocks)";
		break;
	case X509_V_ERR_CERT_NOT_YET_VALID:
		cure = "compare both clocks";
		break;
	case X509_V_ERR_HOSTNAME_MISMATCH:
	case X509_V_ERR_IP_ADDRESS_MISMATCH:
		cure = "connect by a name that the certificate carries as a "
		       "subjectAltName, or set tls_server_name to one";
		break;
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
		cure = "its issuer is unknown here: name the issuer's "
		       "certificate with tls_ca_file";
		break;
	default:
		cure = "see openssl-verification-options(1)";
	}
	return wb_error_set(err, WB_EACCESS, (int)result, __func__,
			    "TLS: the broker's certificate is not accepted "
			    "for %s: %s; %s",
			    tls->name, words, cure);
}

static wb_code tls_fail_ssl(const wbi_tls *tls, wb_error *err)
{
	unsigned long code = ERR_peek_error();
	char reason[128];

	if (ERR_GET_REASON(code) == SSL_R_CERTIFICATE_VERIFY_FAILED)
		return tls_refuse(tls, SSL_get_verify_result(tls->ssl), err);
#ifdef SSL_R_UNEXPECTED_EOF_WHILE_READING
	if (ERR_GET_REASON(code) == SSL_R_UNEXPECTED_EOF_WHILE_READING)
		return WBI_FAIL(err, WB_ECLOSED,
				"the broker closed the connection");
#endif
	tls_reason(reason, sizeof(reason));
	if (tls->open)
		return WBI_FAIL(err, WB_ECLOSED, "TLS: %s", reason);
	if (ERR_GET_REASON(code) == SSL_R_WRONG_VERSION_NUMBER)
		return WBI_FAIL(err, WB_EPROTO,
				"TLS: the port does not speak TLS (%s); "
				"RabbitMQ's TLS port is usually 5671",
				reason);
	return WBI_FAIL(err, WB_EPROTO,
			"TLS: the handshake failed: %s; the broker's log "
			"tells its side",
			reason);
}

/* Outcome of an SSL call that did not succeed; `errnum` is errno after it. */
static wb_code tls_result(wbi_tls *tls, int status, int errnum, wb_error *err)
{
	wb_code code;

	switch (SSL_get_error(tls->ssl, status)) {
	case SSL_ERROR_WANT_READ:
		tls->wants_write = false;
		return WB_EAGAIN;
	case SSL_ERROR_WANT_WRITE:
		tls->wants_write = true;
		return WB_EAGAIN;
	case SSL_ERROR_ZERO_RETURN:
		return WBI_FAIL(err, WB_ECLOSED,
				"the broker closed the connection");
	case SSL_ERROR_SYSCALL:
		tls->broken = true;
		if (errnum == 0)
			return WBI_FAIL(err, WB_ECLOSED,
					"the broker closed the connection");
		return wbi_fail_errno(err, errnum, __func__, "connection lost");
	default:
		code = tls_fail_ssl(tls, err);
		tls->broken = true;
		ERR_clear_error();
		return code;
	}
}

wb_code wbi_tls_handshake(wbi_tls *tls, wb_error *err)
{
	int status;

	ERR_clear_error();
	errno = 0;
	status = SSL_do_handshake(tls->ssl);
	if (status != 1)
		return tls_result(tls, status, errno, err);
	tls->open = true;
	return WB_OK;
}

wb_code wbi_tls_read(wbi_tls *tls, uint8_t *to, size_t size, size_t *ret_len,
		     wb_error *err)
{
	int n;

	ERR_clear_error();
	errno = 0;
	n = SSL_read(tls->ssl, to,
		     (int)(size < TLS_IO_MAX ? size : TLS_IO_MAX));
	if (n <= 0)
		return tls_result(tls, n, errno, err);
	*ret_len = (size_t)n;
	return WB_OK;
}

wb_code wbi_tls_write(wbi_tls *tls, const uint8_t *from, size_t len,
		      size_t *ret_len, wb_error *err)
{
	int n;

	WB_ASSERT(len > 0);
	ERR_clear_error();
	errno = 0;
	n = SSL_write(tls->ssl, from,
		      (int)(len < TLS_IO_MAX ? len : TLS_IO_MAX));
	if (n <= 0)
		return tls_result(tls, n, errno, err);
	*ret_len = (size_t)n;
	return WB_OK;
}

bool wbi_tls_wants_write(const wbi_tls *tls)
{
	return tls->wants_write;
}

void wbi_tls_goodbye(wbi_tls *tls)
{
	if (!tls->open || tls->broken)
		return;
	ERR_clear_error();
	SSL_shutdown(tls->ssl);
	ERR_clear_error();
}
