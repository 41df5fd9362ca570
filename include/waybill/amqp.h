/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The RabbitMQ adapter: AMQP 0-9-1 over TCP or TLS, non-blocking, one
 * connection. Use one adapter object to publish and another to consume, since
 * a broker under a memory or disk alarm stops reading from publishers.
 *
 * wb_broker_connect() goes through the hosts of the URI in their order, and
 * through the addresses of each, until one accepts the login; if none does,
 * there is one DOWN that names the failure of each, with class RETRY if any of
 * them may pass. The next connect begins with the host behind the one used
 * last.
 *
 * What is asked of a connection that is up (a channel, a declaration, a
 * consumer) must be answered within 60 s, unless the broker blocks us; else it
 * ends with WB_ETIMEOUT.
 *
 * A host name is looked up on a thread of its own, since getaddrinfo(3) has no
 * deadline: the one thread the library ever starts by itself. It blocks all
 * signals, ends with the look-up, and may outlive the adapter by as long as
 * the name server takes, so do not unload the library (dlclose) before. At
 * most five per adapter; numeric addresses need none.
 */
#ifndef WAYBILL_AMQP_H
#define WAYBILL_AMQP_H

#include <waybill/broker.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * How to reach the broker. Zero in a numeric field means the default. All
 * strings are copied. `size` must be sizeof(wb_amqp_options).
 */
typedef struct wb_amqp_options {
	size_t size;
	/*
	 * One or more URIs (RabbitMQ URI specification), separated by commas,
	 * tried in turn: amqp[s]://user:password@host:port/vhost. Percent
	 * encoding and [IPv6] hosts are understood; defaults are guest:guest,
	 * localhost, 5672 (5671), vhost "/". Of the query parameters,
	 * heartbeat, connection_timeout (ms), cacertfile, certfile, keyfile,
	 * verify (verify_peer | verify_none), server_name_indication and
	 * auth_mechanism (plain | external) are taken; another is WB_EINVAL.
	 */
	const char *uri;
	const char *user;          /* replaces the URI's, password and all */
	const char *password;      /* replaces the URI's */
	const char *password_file; /* first line; owner-only, or WB_EACCESS */
	const char *connection_name; /* shown by the broker's management */
	const char *tls_ca_file;   /* default: the system's store */
	const char *tls_cert_file; /* client certificate and key, PEM */
	const char *tls_key_file;
	const char *tls_server_name; /* default: the URI's host */
	bool tls_insecure; /* no verification; logged at WARN on each connect */
	bool external_auth; /* SASL EXTERNAL instead of PLAIN */
	uint32_t connect_timeout_ms; /* 10,000: name to tune-ok, per host */
	uint32_t heartbeat_s; /* 15, at least 5; the broker's if less */
	uint32_t close_timeout_ms;   /* 1,000 */
	uint32_t frame_max_bytes;    /* 131,072 */
	uint32_t body_max_bytes;     /* 16 MiB, both ways; a larger delivery comes
				    without it: WB_HEADER_UNDECODED */
	uint32_t unsettled_max;      /* 65,536 publishes without confirm */
	uint32_t buffer_max_bytes;   /* 4 MiB of unsent frames */
	const wb_clock *clock;   /* default: the system's */
	const wb_random *random; /* default: the system's */
	const wb_log *log;       /* default: none */
} wb_amqp_options;

#define WB_AMQP_OPTIONS_INIT WB_SIZED_INIT(wb_amqp_options)

/*
 * Make an adapter; it does not connect yet. Free it with wb_broker_free().
 * WB_EINVAL (what is wrong in the URI, and at which character; never the
 * password), WB_EACCESS, WB_ENOTFOUND (a named file), WB_ENOMEM.
 */
WB_API wb_code wb_amqp_new(const wb_amqp_options *options, wb_broker **ret,
			   wb_error *err);

/* `uri` with every password replaced by "***", for logs. Truncates to size;
 * returns ret. Never fails: what is not a URI comes back as "(not a URI)". */
WB_API char *wb_amqp_redact(const char *uri, char *ret, size_t size);

#ifdef __cplusplus
}
#endif
#endif
