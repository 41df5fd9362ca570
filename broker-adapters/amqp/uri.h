/* SPDX-License-Identifier: BSD-2-Clause */
/* AMQP URIs: https://www.rabbitmq.com/docs/uri-spec and uri-query-parameters.
 */
#ifndef WBI_AMQP_URI_H
#define WBI_AMQP_URI_H

#include <waybill/base.h>

enum { WBI_AMQP_HOSTS_MAX = 32, WBI_AMQP_URI_MAX = 16384 };

/* One host to try, all strings owned. NULL and 0 stand for "not said". */
typedef struct wbi_amqp_host {
	bool tls;
	char *host; /* a name or a numeric address without brackets */
	uint16_t port;
	char *user;
	char *password; /* a secret: see secret.h */
	char *vhost;
	char *ca_file;
	char *cert_file;
	char *key_file;
	char *server_name;
	bool insecure; /* verify=verify_none */
	bool external_auth;
	uint32_t heartbeat_s;
	uint32_t connect_timeout_ms;
	/* Where the password stands in the input; for redaction. */
	size_t password_at, password_len;
} wbi_amqp_host;

/*
 * Parse a comma-separated list. *ret is an array of *ret_count hosts; free it
 * with wbi_amqp_hosts_free. WB_EINVAL tells the character (counted from 1) and
 * the cause and shows no part of the input, since any part of a malformed URI
 * may be the password. WB_ELIMIT, WB_ENOMEM.
 */
wb_code wbi_amqp_uri_parse(const char *uri, wbi_amqp_host **ret,
			   size_t *ret_count, wb_error *err);
void wbi_amqp_hosts_free(wbi_amqp_host *hosts, size_t count);

#endif
