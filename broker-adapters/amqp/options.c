/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What can be known to be wrong before connecting is refused here. An option
 * that is set replaces what each URI says; a default fills what neither says.
 * Keeps no state; any thread; the result owns copies of everything.
 */
#include "broker-adapters/amqp/options.h"

#include <stdlib.h>

#include "broker-adapters/amqp/secret.h"
#include "lib/base/error.h"

enum {
	OPTIONS_CONNECT_TIMEOUT_MS = 10000,
	OPTIONS_HEARTBEAT_S = 15,
	OPTIONS_CLOSE_TIMEOUT_MS = 1000,
	OPTIONS_FRAME_MAX = 131072,
	OPTIONS_BODY_MAX = 16 << 20,
	OPTIONS_UNSETTLED_MAX = 65536,
	OPTIONS_BUFFER_MAX = 4 << 20,
};

typedef struct options_bound {
	const char *name;
	uint32_t given, default_, min, max;
	uint32_t *ret;
} options_bound;

static wb_code options_bounds(const options_bound *bounds, size_t count,
			      wb_error *err)
{
	for (size_t i = 0; i < count; i++) {
		const options_bound *b = &bounds[i];

		if (b->given != 0 && (b->given < b->min || b->given > b->max))
			return WBI_FAIL(err, WB_EINVAL,
					"wb_amqp_options.%s is %u; it must be "
					"from %u to %u, or 0 for %u",
					b->name, b->given, b->min, b->max,
					b->default_);
		*b->ret = b->given ? b->given : b->default_;
	}
	return WB_OK;
}

static wb_code options_numbers(const wb_amqp_options *o, wbi_amqp_config *c,
			       wb_error *err)
{
	uint32_t heartbeat_s, connect_ms;
	const options_bound bounds[] = {
		{"connect_timeout_ms", o->connect_timeout_ms,
		 OPTIONS_CONNECT_TIMEOUT_MS, 1, 3600000, &connect_ms},
		/* Under 5 s a busy broker looks dead. */
		{"heartbeat_s", o->heartbeat_s, OPTIONS_HEARTBEAT_S, 5, 3600,
		 &heartbeat_s},
		{"close_timeout_ms", o->close_timeout_ms,
		 OPTIONS_CLOSE_TIMEOUT_MS, 1, 3600000, &c->close_timeout_ms},
		/* 4,096: AMQP 0-9-1, frame-min-size. */
		{"frame_max_bytes", o->frame_max_bytes, OPTIONS_FRAME_MAX, 4096,
		 16 << 20, &c->frame_max_bytes},
		{"body_max_bytes", o->body_max_bytes, OPTIONS_BODY_MAX, 1,
		 1 << 30, &c->body_max_bytes},
		{"unsettled_max", o->unsettled_max, OPTIONS_UNSETTLED_MAX, 1,
		 1 << 24, &c->unsettled_max},
		{"buffer_max_bytes", o->buffer_max_bytes, OPTIONS_BUFFER_MAX,
		 65536, 1 << 30, &c->buffer_max_bytes},
	};
	wb_code code;

	code = options_bounds(bounds, sizeof(bounds) / sizeof(bounds[0]), err);
	for (size_t i = 0; i < c->host_count && code == WB_OK; i++) {
		wbi_amqp_host *host = &c->hosts[i];

		if (o->heartbeat_s || !host->heartbeat_s)
			host->heartbeat_s = heartbeat_s;
		if (o->connect_timeout_ms || !host->connect_timeout_ms)
			host->connect_timeout_ms = connect_ms;
	}
	return code;
}

static wb_code options_text(char **to, const char *from, wb_error *err)
{
	char *copy;

	if (!from)
		return WB_OK;
	copy = strdup(from);
	if (!copy)
		return WBI_FAIL(err, WB_ENOMEM, "out of memory");
	free(*to);
	*to = copy;
	return WB_OK;
}

static wb_code options_login(const wb_amqp_options *o, const char *password,
			     wbi_amqp_host *host, wb_error *err)
{
	wb_code code = options_text(&host->user, o->user, err);

	if (code != WB_OK)
		return code;
	/* Another user's password is not this one's. */
	if (o->user || password) {
		wbi_secret_free(host->password);
		host->password = password ? wbi_secret_dup(password) : NULL;
		if (password && !host->password)
			return WBI_FAIL(err, WB_ENOMEM, "out of memory");
	}
	host->external_auth |= o->external_auth;
	if (host->password || host->external_auth)
		return WB_OK;
	return WBI_FAIL(err, WB_EINVAL,
			"no password for user %s at %s: put it into a file "
			"that only its owner can read and name that file",
			host->user, host->host);
}

static wb_code options_tls(const wb_amqp_options *o, wbi_amqp_host *host,
			   wb_error *err)
{
	wb_code code;

	if (!host->tls)
		return WB_OK;
	host->insecure |= o->tls_insecure;
	code = options_text(&host->ca_file, o->tls_ca_file, err);
	if (code == WB_OK)
		code = options_text(&host->cert_file, o->tls_cert_file, err);
	if (code == WB_OK)
		code = options_text(&host->key_file, o->tls_key_file, err);
	if (code == WB_OK)
		code = options_text(&host->server_name, o->tls_server_name,
				    err);
	return code;
}

/* TLS options that would silently do nothing are refused. */
static wb_code options_tls_is_used(const wb_amqp_options *o,
				   const wbi_amqp_config *c, wb_error *err)
{
	bool given = o->tls_ca_file || o->tls_cert_file || o->tls_key_file ||
		     o->tls_server_name || o->tls_insecure;

	if (!o->tls_cert_file != !o->tls_key_file)
		return WBI_FAIL(err, WB_EINVAL,
				"tls_cert_file and tls_key_file must be given "
				"together");
	for (size_t i = 0; i < c->host_count && given; i++)
		given = !c->hosts[i].tls;
	if (given)
		return WBI_FAIL(err, WB_EINVAL,
				"TLS options are given, but no URI is "
				"amqps://: the connection would not be "
				"encrypted");
	return WB_OK;
}

static wb_code options_hosts(const wb_amqp_options *o, wbi_amqp_config *c,
			     wb_error *err)
{
	char *from_file = NULL;
	const char *password = o->password;
	wb_code code = WB_OK;

	if (o->password && o->password_file)
		return WBI_FAIL(err, WB_EINVAL,
				"both password and password_file are given; "
				"drop one");
	if (o->password_file) {
		code = wbi_secret_read(o->password_file, &from_file, err);
		password = from_file;
	}
	for (size_t i = 0; i < c->host_count && code == WB_OK; i++) {
		code = options_login(o, password, &c->hosts[i], err);
		if (code == WB_OK)
			code = options_tls(o, &c->hosts[i], err);
	}
	wbi_secret_free(from_file);
	return code;
}

wb_code wbi_amqp_config_init(const wb_amqp_options *options,
			     wbi_amqp_config *ret, wb_error *err)
{
	wbi_amqp_config c = {.clock = *wb_system_clock()};
	wb_code code;

	if (!options || options->size != sizeof(*options))
		return WBI_FAIL(err, WB_EINVAL,
				"wb_amqp_options.size is wrong: start from "
				"WB_AMQP_OPTIONS_INIT and build against the "
				"headers of this library");
	if (options->connection_name && strlen(options->connection_name) > 255)
		return WBI_FAIL(err, WB_EINVAL,
				"connection_name is over 255 bytes");
	if (options->clock)
		c.clock = *options->clock;
	if (options->log)
		c.log = *options->log;
	code = wbi_amqp_uri_parse(options->uri, &c.hosts, &c.host_count, err);
	if (code == WB_OK)
		code = options_numbers(options, &c, err);
	if (code == WB_OK)
		code = options_tls_is_used(options, &c, err);
	if (code == WB_OK)
		code = options_hosts(options, &c, err);
	if (code == WB_OK)
		code = options_text(&c.connection_name,
				    options->connection_name, err);
	if (code != WB_OK)
		wbi_amqp_config_fini(&c);
	else
		*ret = c;
	return code;
}

void wbi_amqp_config_fini(wbi_amqp_config *config)
{
	wbi_amqp_hosts_free(config->hosts, config->host_count);
	free(config->connection_name);
}
