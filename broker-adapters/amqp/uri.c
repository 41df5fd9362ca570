/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * AMQP URIs, read from left to right by a cursor over the caller's text.
 *
 * A password with a bare '/', '?' or '@' in it makes the rest of the URI look
 * like something else, so no error ever quotes the input: it gives the
 * character and the cause. For the same reason redaction prints only what
 * parsed as a whole. Keeps no state; any thread; results belong to the caller.
 */
#include "broker-adapters/amqp/uri.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include <waybill/amqp.h>

#include "broker-adapters/amqp/secret.h"
#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/text.h"

enum {
	URI_NAME_MAX = 255, /* AMQP short string, and a DNS name */
	URI_HEARTBEAT_MIN = 5,
	URI_HEARTBEAT_MAX = 3600,
	URI_TIMEOUT_MAX_MS = 3600000,
};

/* A piece of the input, by offsets. */
typedef struct uri_span {
	size_t from, to;
} uri_span;

static wb_code uri_bad(wb_error *err, size_t at, const char *cause)
{
	return WBI_FAIL(err, WB_EINVAL, "AMQP URI, character %zu: %s", at + 1,
			cause);
}

static int uri_hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* First offset in the span whose character is one of `set`; else its end. */
static size_t uri_find(const char *uri, uri_span in, const char *set)
{
	size_t at = in.from;

	while (at < in.to && !strchr(set, uri[at]))
		at++;
	return at;
}

/* One character, or one %XX, at *at; moves *at behind it. */
static wb_code uri_octet(const char *uri, uri_span in, size_t *at, char *ret,
			 wb_error *err)
{
	unsigned char c = (unsigned char)uri[*at];
	int high, low;

	if (c <= ' ' || c == 0x7f)
		return uri_bad(err, *at,
			       "a space or control character; percent-encode "
			       "it");
	if (c != '%') {
		*ret = (char)c;
		*at += 1;
		return WB_OK;
	}
	high = *at + 2 < in.to ? uri_hex(uri[*at + 1]) : -1;
	low = *at + 2 < in.to ? uri_hex(uri[*at + 2]) : -1;
	if (high < 0 || low < 0)
		return uri_bad(err, *at,
			       "'%' must be followed by two hexadecimal "
			       "digits; a plain '%' is written %25");
	if (high == 0 && low == 0)
		return uri_bad(err, *at, "%00 is not allowed");
	*ret = (char)(high << 4 | low);
	*at += 3;
	return WB_OK;
}

/* The span with its percent-encoding undone, in a block of its own. */
static wb_code uri_decode(const char *uri, uri_span in, char **ret,
			  wb_error *err)
{
	char *text = malloc(in.to - in.from + 1);
	wb_code code = WB_OK;
	size_t at = in.from, len = 0;

	if (!text)
		return WBI_FAIL(err, WB_ENOMEM, "out of memory");
	while (at < in.to && code == WB_OK)
		code = uri_octet(uri, in, &at, &text[len++], err);
	if (code != WB_OK)
		goto out;
	text[len] = '\0';
	if (!wbi_text_is_clean(wb_str_n(text, len), NULL))
		code = uri_bad(err, in.from,
			       "what begins here is not UTF-8 text without "
			       "control characters");
	else if (len > WBI_SECRET_MAX)
		code = uri_bad(err, in.from, "what begins here is too long");
	if (code != WB_OK)
		goto out;
	wbi_secret_free(*ret);
	*ret = text;
	return WB_OK;
out:
	explicit_bzero(text, len);
	free(text);
	return code;
}

static wb_code uri_scheme(const char *uri, uri_span *in, wbi_amqp_host *host,
			  wb_error *err)
{
	const char *at = uri + in->from;
	size_t left = in->to - in->from;

	if (left >= 7 && !strncasecmp(at, "amqp://", 7)) {
		in->from += 7;
		return WB_OK;
	}
	if (left >= 8 && !strncasecmp(at, "amqps://", 8)) {
		in->from += 8;
		host->tls = true;
		return WB_OK;
	}
	return uri_bad(err, in->from,
		       "must begin with amqp:// or amqps://; a ',' inside a "
		       "user name or password is written %2C");
}

static wb_code uri_userinfo(const char *uri, uri_span in, wbi_amqp_host *host,
			    wb_error *err)
{
	size_t colon = uri_find(uri, in, ":");
	uri_span password = {colon + 1, in.to};
	uri_span user = {in.from, colon};
	wb_code code;

	code = uri_decode(uri, user, &host->user, err);
	if (code != WB_OK || colon == in.to)
		return code;
	if (uri_find(uri, password, ":") != in.to)
		return uri_bad(err, uri_find(uri, password, ":"),
			       "a second ':' before '@'; in a password it is "
			       "written %3A");
	host->password_at = password.from;
	host->password_len = password.to - password.from;
	return uri_decode(uri, password, &host->password, err);
}

/* Decimal digits only, within the bounds; 0 where the span is neither. */
static uint32_t uri_number(const char *uri, uri_span in, uint32_t min,
			   uint32_t max)
{
	uint64_t value = 0;

	if (in.from == in.to || in.to - in.from > 9)
		return 0;
	for (size_t at = in.from; at < in.to; at++) {
		if (uri[at] < '0' || uri[at] > '9')
			return 0;
		value = value * 10 + (uint64_t)(uri[at] - '0');
	}
	return value >= min && value <= max ? (uint32_t)value : 0;
}

static bool uri_is_host_name(const char *name)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyz"
				      "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789-._";
	size_t len = strlen(name);

	return len <= URI_NAME_MAX && strspn(name, allowed) == len;
}

/* "addr" or "addr%zone" */
static bool uri_is_ipv6(const char *text)
{
	char address[INET6_ADDRSTRLEN];
	size_t len = strcspn(text, "%");
	struct in6_addr parsed;

	if (len >= sizeof(address) || (text[len] == '%' && !text[len + 1]))
		return false;
	memcpy(address, text, len);
	address[len] = '\0';
	return inet_pton(AF_INET6, address, &parsed) == 1;
}

/* "[address]": sets in->from behind the bracket. */
static wb_code uri_ipv6(const char *uri, uri_span *in, wbi_amqp_host *host,
			wb_error *err)
{
	size_t close = uri_find(uri, *in, "]");
	uri_span address = {in->from + 1, close};
	wb_code code;

	if (close == in->to)
		return uri_bad(err, in->from, "'[' without its ']'");
	code = uri_decode(uri, address, &host->host, err);
	if (code != WB_OK)
		return code;
	if (!uri_is_ipv6(host->host))
		return uri_bad(err, address.from, "not an IPv6 address");
	in->from = close + 1;
	if (in->from < in->to && uri[in->from] != ':')
		return uri_bad(err, in->from,
			       "only a ':' and a port may follow ']'");
	return WB_OK;
}

static wb_code uri_host_name(const char *uri, uri_span *in, wbi_amqp_host *host,
			     wb_error *err)
{
	uri_span name = {in->from, uri_find(uri, *in, ":")};
	wb_code code;

	in->from = name.to;
	if (name.from == name.to)
		return WB_OK; /* the default */
	code = uri_decode(uri, name, &host->host, err);
	if (code == WB_OK && !uri_is_host_name(host->host))
		code = uri_bad(err, name.from,
			       "not a host name or IPv4 address (IPv6 goes in "
			       "[brackets]; '/', '@' and ':' in a password "
			       "are written %2F, %40 and %3A)");
	return code;
}

static wb_code uri_authority(const char *uri, uri_span in, wbi_amqp_host *host,
			     wb_error *err)
{
	size_t at_sign = uri_find(uri, in, "@");
	uri_span port;
	wb_code code = WB_OK;

	if (at_sign < in.to) {
		uri_span user = {in.from, at_sign};

		code = uri_userinfo(uri, user, host, err);
		in.from = at_sign + 1;
	}
	if (code != WB_OK)
		return code;
	if (in.from < in.to && uri[in.from] == '[')
		code = uri_ipv6(uri, &in, host, err);
	else
		code = uri_host_name(uri, &in, host, err);
	if (code != WB_OK || in.from == in.to)
		return code;
	port = (uri_span){in.from + 1, in.to};
	if (port.from == port.to)
		return WB_OK; /* "host:" is allowed by RFC 3986, 3.2.3 */
	host->port = (uint16_t)uri_number(uri, port, 1, UINT16_MAX);
	if (host->port == 0)
		return uri_bad(err, port.from,
			       "the port must be a number from 1 to 65535 "
			       "(IPv6 goes in [brackets]; '/', '@' and ':' in "
			       "a password are written %2F, %40 and %3A)");
	return WB_OK;
}

/* `in` begins at the '/', or is empty: then the vhost is "/". A path of "/"
 * alone is the vhost with the empty name (URI specification, appendix A). */
static wb_code uri_vhost(const char *uri, uri_span in, wbi_amqp_host *host,
			 wb_error *err)
{
	wb_code code;

	if (in.from == in.to)
		return WB_OK;
	in.from++;
	if (uri_find(uri, in, "/") != in.to)
		return uri_bad(err, uri_find(uri, in, "/"),
			       "a '/' inside the vhost is written %2F");
	code = uri_decode(uri, in, &host->vhost, err);
	if (code == WB_OK && strlen(host->vhost) > URI_NAME_MAX)
		code = uri_bad(err, in.from, "the vhost is over 255 bytes");
	return code;
}

static bool uri_is(const char *uri, uri_span in, const char *word)
{
	size_t len = strlen(word);

	return in.to - in.from == len && !memcmp(uri + in.from, word, len);
}

/* A file or name of the TLS set-up; without TLS it would silently do nothing.
 */
static wb_code uri_tls_text(const char *uri, uri_span value, bool tls,
			    char **ret, wb_error *err)
{
	if (!tls)
		return uri_bad(err, value.from,
			       "this parameter needs amqps://; amqp:// is not "
			       "encrypted");
	if (value.from == value.to)
		return uri_bad(err, value.from, "the value is empty");
	return uri_decode(uri, value, ret, err);
}

static wb_code uri_count(const char *uri, uri_span value, uint32_t min,
			 uint32_t max, uint32_t *ret, wb_error *err)
{
	uint32_t number = uri_number(uri, value, min, max);

	if (number == 0)
		return WBI_FAIL(err, WB_EINVAL,
				"AMQP URI, character %zu: must be a number "
				"from %u to %u",
				value.from + 1, min, max);
	*ret = number;
	return WB_OK;
}

static wb_code uri_verify(const char *uri, uri_span value, wbi_amqp_host *host,
			  wb_error *err)
{
	if (!host->tls)
		return uri_bad(err, value.from,
			       "this parameter needs amqps://; amqp:// is not "
			       "encrypted");
	host->insecure = uri_is(uri, value, "verify_none");
	if (host->insecure || uri_is(uri, value, "verify_peer"))
		return WB_OK;
	return uri_bad(err, value.from, "verify is verify_peer or verify_none");
}

static wb_code uri_mechanism(const char *uri, uri_span value,
			     wbi_amqp_host *host, wb_error *err)
{
	host->external_auth = uri_is(uri, value, "external");
	if (host->external_auth || uri_is(uri, value, "plain"))
		return WB_OK;
	return uri_bad(err, value.from, "auth_mechanism is plain or external");
}

static wb_code uri_parameter(const char *uri, uri_span in, wbi_amqp_host *host,
			     wb_error *err)
{
	size_t equals = uri_find(uri, in, "=");
	uri_span key = {in.from, equals};
	uri_span value = {equals + 1, in.to};

	if (equals == in.to)
		return uri_bad(err, in.from,
			       "a parameter is written name=value");
	if (uri_is(uri, key, "heartbeat"))
		return uri_count(uri, value, URI_HEARTBEAT_MIN,
				 URI_HEARTBEAT_MAX, &host->heartbeat_s, err);
	if (uri_is(uri, key, "connection_timeout"))
		return uri_count(uri, value, 1, URI_TIMEOUT_MAX_MS,
				 &host->connect_timeout_ms, err);
	if (uri_is(uri, key, "cacertfile"))
		return uri_tls_text(uri, value, host->tls, &host->ca_file, err);
	if (uri_is(uri, key, "certfile"))
		return uri_tls_text(uri, value, host->tls, &host->cert_file,
				    err);
	if (uri_is(uri, key, "keyfile"))
		return uri_tls_text(uri, value, host->tls, &host->key_file,
				    err);
	if (uri_is(uri, key, "server_name_indication"))
		return uri_tls_text(uri, value, host->tls, &host->server_name,
				    err);
	if (uri_is(uri, key, "verify"))
		return uri_verify(uri, value, host, err);
	if (uri_is(uri, key, "auth_mechanism"))
		return uri_mechanism(uri, value, host, err);
	return uri_bad(err, in.from,
		       "unknown parameter; known are heartbeat, "
		       "connection_timeout, cacertfile, certfile, keyfile, "
		       "verify, server_name_indication and auth_mechanism "
		       "(a '?' in a password is written %3F)");
}

/* `in` begins at the '?', or is empty. */
static wb_code uri_query(const char *uri, uri_span in, wbi_amqp_host *host,
			 wb_error *err)
{
	wb_code code = WB_OK;

	while (in.from < in.to && code == WB_OK) {
		uri_span one = {in.from + 1, in.to};

		one.to = uri_find(uri, one, "&");
		code = uri_parameter(uri, one, host, err);
		in.from = one.to;
	}
	return code;
}

static wb_code uri_default(char **text, const char *value, wb_error *err)
{
	if (!*text)
		*text = strdup(value);
	return *text ? WB_OK : WBI_FAIL(err, WB_ENOMEM, "out of memory");
}

static wb_code uri_defaults(wbi_amqp_host *host, wb_error *err)
{
	wb_code code = WB_OK;

	if (host->port == 0)
		host->port = host->tls ? 5671 : 5672;
	/* A user without a password gets one from elsewhere, or an error. */
	if (!host->user)
		code = uri_default(&host->password, "guest", err);
	if (code == WB_OK)
		code = uri_default(&host->user, "guest", err);
	if (code == WB_OK)
		code = uri_default(&host->host, "localhost", err);
	if (code == WB_OK)
		code = uri_default(&host->vhost, "/", err);
	return code;
}

static wb_code uri_one(const char *uri, uri_span in, wbi_amqp_host *host,
		       wb_error *err)
{
	size_t begin = in.from, authority_end, path_end;
	wb_code code = uri_scheme(uri, &in, host, err);

	if (code != WB_OK)
		return code;
	if (uri_find(uri, in, "#") != in.to)
		return uri_bad(err, uri_find(uri, in, "#"),
			       "'#' is not allowed; in a password it is "
			       "written %23");
	authority_end = uri_find(uri, in, "/?");
	path_end = uri_find(uri, (uri_span){authority_end, in.to}, "?");
	code = uri_authority(uri, (uri_span){in.from, authority_end}, host,
			     err);
	if (code == WB_OK)
		code = uri_vhost(uri, (uri_span){authority_end, path_end}, host,
				 err);
	if (code == WB_OK)
		code = uri_query(uri, (uri_span){path_end, in.to}, host, err);
	if (code == WB_OK && !host->cert_file != !host->key_file)
		code = uri_bad(err, begin,
			       "certfile and keyfile must be given together");
	return code == WB_OK ? uri_defaults(host, err) : code;
}

static void uri_host_fini(wbi_amqp_host *host)
{
	free(host->host);
	free(host->user);
	wbi_secret_free(host->password);
	free(host->vhost);
	free(host->ca_file);
	free(host->cert_file);
	free(host->key_file);
	free(host->server_name);
}

void wbi_amqp_hosts_free(wbi_amqp_host *hosts, size_t count)
{
	for (size_t i = 0; hosts && i < count; i++)
		uri_host_fini(&hosts[i]);
	free(hosts);
}

wb_code wbi_amqp_uri_parse(const char *uri, wbi_amqp_host **ret,
			   size_t *ret_count, wb_error *err)
{
	uri_span all = {0, uri ? strlen(uri) : 0};
	size_t count = 0;
	wb_code code = WB_OK;
	wbi_amqp_host *hosts;

	if (all.to == 0)
		return WBI_FAIL(err, WB_EINVAL,
				"AMQP URI: none given; write it as "
				"amqp://user@host:5672/vhost");
	if (all.to > WBI_AMQP_URI_MAX)
		return WBI_FAIL(err, WB_ELIMIT, "AMQP URI: over %d bytes",
				WBI_AMQP_URI_MAX);
	hosts = calloc(WBI_AMQP_HOSTS_MAX, sizeof(*hosts));
	if (!hosts)
		return WBI_FAIL(err, WB_ENOMEM, "out of memory");
	for (size_t next; code == WB_OK && all.from <= all.to;
	     all.from = next + 1) {
		next = uri_find(uri, all, ",");
		while (all.from < next && uri[all.from] == ' ')
			all.from++;
		if (count == WBI_AMQP_HOSTS_MAX)
			code = WBI_FAIL(err, WB_ELIMIT,
					"AMQP URI: more than %d hosts",
					WBI_AMQP_HOSTS_MAX);
		else
			code = uri_one(uri, (uri_span){all.from, next},
				       &hosts[count++], err);
	}
	if (code != WB_OK) {
		wbi_amqp_hosts_free(hosts, count);
		return code;
	}
	*ret = hosts;
	*ret_count = count;
	return WB_OK;
}

/* Append as much of `len` bytes as fits, leaving room for the terminator. */
static size_t redact_put(char *ret, size_t size, size_t out, const char *text,
			 size_t len)
{
	size_t room = size - 1 - out;

	if (len > room)
		len = room;
	memcpy(ret + out, text, len);
	return out + len;
}

char *wb_amqp_redact(const char *uri, char *ret, size_t size)
{
	wbi_amqp_host *hosts = NULL;
	size_t count = 0, from = 0, out = 0;

	if (!ret || size == 0)
		return ret;
	if (wbi_amqp_uri_parse(uri, &hosts, &count, NULL) != WB_OK) {
		snprintf(ret, size, "(not a URI)");
		return ret;
	}
	for (size_t i = 0; i < count; i++) {
		const wbi_amqp_host *host = &hosts[i];

		if (host->password_at == 0)
			continue;
		WB_ASSERT(host->password_at >= from);
		out = redact_put(ret, size, out, uri + from,
				 host->password_at - from);
		out = redact_put(ret, size, out, "***", 3);
		from = host->password_at + host->password_len;
	}
	out = redact_put(ret, size, out, uri + from, strlen(uri + from));
	ret[out] = '\0';
	wbi_amqp_hosts_free(hosts, count);
	return ret;
}
