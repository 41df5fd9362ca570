/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/support/testing.h"

#include <stdlib.h>

#include <waybill/amqp.h>

#include "broker-adapters/amqp/uri.h"
#include "lib/base/assert.h"

typedef struct good_uri {
	const char *uri;
	bool tls;
	const char *user, *password, *host;
	uint16_t port;
	const char *vhost;
} good_uri;

/* The first part is the table of the RabbitMQ URI specification. */
static const good_uri good[] = {
	{"amqp://user:pass@host:10000/vhost", false, "user", "pass", "host",
	 10000, "vhost"},
	{"amqp://user%61:%61pass@ho%61st:10000/v%2fhost", false, "usera",
	 "apass", "hoast", 10000, "v/host"},
	{"amqp://", false, "guest", "guest", "localhost", 5672, "/"},
	{"amqp://:@/", false, "", "", "localhost", 5672, ""},
	{"amqp://user@", false, "user", NULL, "localhost", 5672, "/"},
	{"amqp://user:pass@", false, "user", "pass", "localhost", 5672, "/"},
	{"amqp://host", false, "guest", "guest", "host", 5672, "/"},
	{"amqp://:10000", false, "guest", "guest", "localhost", 10000, "/"},
	{"amqp:///vhost", false, "guest", "guest", "localhost", 5672, "vhost"},
	{"amqp://host/", false, "guest", "guest", "host", 5672, ""},
	{"amqp://host/%2F", false, "guest", "guest", "host", 5672, "/"},
	{"amqp://[::1]", false, "guest", "guest", "::1", 5672, "/"},

	{"AMQPS://h", true, "guest", "guest", "h", 5671, "/"},
	{"amqps://[fe80::1%25lo]:1/x", true, "guest", "guest", "fe80::1%lo", 1,
	 "x"},
	{"amqp://u:p%40%2C%3a@127.0.0.1:/", false, "u", "p@,:", "127.0.0.1",
	 5672, ""},
	{"amqp://h:65535/%c3%a9", false, "guest", "guest", "h", 65535,
	 "\xc3\xa9"},
};

static void assert_text(const char *got, const char *expected)
{
	if (expected)
		assert_string_equal(got, expected);
	else
		assert_null(got);
}

static void good_uris_say_what_the_specification_says(void **state)
{
	(void)state;
	for (size_t i = 0; i < WBI_COUNT(good); i++) {
		const good_uri *g = &good[i];
		wb_error err = WB_ERROR_INIT;
		wbi_amqp_host *hosts = NULL;
		size_t count = 0;

		assert_ok(wbi_amqp_uri_parse(g->uri, &hosts, &count, &err),
			  err);
		assert_int_equal(count, 1);
		assert_int_equal(hosts->tls, g->tls);
		assert_text(hosts->user, g->user);
		assert_text(hosts->password, g->password);
		assert_text(hosts->host, g->host);
		assert_int_equal(hosts->port, g->port);
		assert_text(hosts->vhost, g->vhost);
		wbi_amqp_hosts_free(hosts, count);
	}
}

static void query_parameters_are_taken(void **state)
{
	wb_error err = WB_ERROR_INIT;
	wbi_amqp_host *h = NULL;
	size_t count = 0;

	(void)state;
	assert_ok(wbi_amqp_uri_parse(
			  "amqps://h?heartbeat=7&connection_timeout=2500&"
			  "cacertfile=/ca%20x.pem&certfile=c&keyfile=k&"
			  "verify=verify_none&server_name_indication=other&"
			  "auth_mechanism=external",
			  &h, &count, &err),
		  err);
	assert_int_equal(h->heartbeat_s, 7);
	assert_int_equal(h->connect_timeout_ms, 2500);
	assert_string_equal(h->ca_file, "/ca x.pem");
	assert_string_equal(h->cert_file, "c");
	assert_string_equal(h->key_file, "k");
	assert_true(h->insecure);
	assert_string_equal(h->server_name, "other");
	assert_true(h->external_auth);
	wbi_amqp_hosts_free(h, count);
}

static void verification_is_on_unless_switched_off(void **state)
{
	wb_error err = WB_ERROR_INIT;
	wbi_amqp_host *h = NULL;
	size_t count = 0;

	(void)state;
	assert_ok(wbi_amqp_uri_parse("amqps://a,amqps://b?verify=verify_peer",
				     &h, &count, &err),
		  err);
	assert_false(h[0].insecure);
	assert_false(h[1].insecure);
	wbi_amqp_hosts_free(h, count);
}

static void a_list_keeps_its_order(void **state)
{
	wb_error err = WB_ERROR_INIT;
	wbi_amqp_host *h = NULL;
	size_t count = 0;

	(void)state;
	assert_ok(wbi_amqp_uri_parse("amqp://a,amqps://u:p@b:7/v, amqp://[::2]",
				     &h, &count, &err),
		  err);
	assert_int_equal(count, 3);
	assert_string_equal(h[0].host, "a");
	assert_string_equal(h[1].host, "b");
	assert_string_equal(h[1].password, "p");
	assert_string_equal(h[2].host, "::2");
	wbi_amqp_hosts_free(h, count);
}

/* Wrong URIs, the character that is at fault, and a word of the cause. Where
 * "sesame" occurs it is a password, and must not appear in the error. */
static const struct {
	const char *uri;
	int at;
	const char *word;
} bad[] = {
	{"http://h", 1, "amqp://"},
	{"amqp:/h", 1, "amqp://"},
	{"host:5672", 1, "amqp://"},
	{"amqp", 1, "amqp://"},
	{" ", 2, "amqp://"},
	{"amqp://a,", 10, "amqp://"},
	{"amqp://a,,amqp://b", 10, "amqp://"},
	{"amqp://u:ses,ame@h", 10, "port"},
	{"amqp://h:x", 10, "port"},
	{"amqp://h:0", 10, "port"},
	{"amqp://h:65536", 10, "port"},
	{"amqp://h:-1", 10, "port"},
	{"amqp://h:99999999999999999999", 10, "port"},
	{"amqp://::1/", 9, "port"},
	{"amqp://u:sesame/x@h/v", 10, "port"},
	{"amqp://u:sesame@x@h", 17, "host name"},
	{"amqp://u:p:sesame@h", 11, "second ':'"},
	{"amqp://u:sesame?x@h", 10, "port"},
	{"amqp://u:sesame#x@h", 16, "'#'"},
	{"amqp://u:sesame%@h", 16, "'%'"},
	{"amqp://u:sesame%4@h", 16, "'%'"},
	{"amqp://u:sesame%zz@h", 16, "'%'"},
	{"amqp://u:sesame%00@h", 16, "%00"},
	{"amqp://u:sesame x@h", 16, "space"},
	{"amqp://u:sesame\n@h", 16, "control"},
	{"amqp://u:sesame@h%ff", 17, "UTF-8"},
	{"amqp://h%2", 9, "'%'"},
	{"amqp://h o", 9, "space"},
	{"amqp://h\"o", 8, "host name"},
	{"amqp://[::1", 8, "']'"},
	{"amqp://[::1]x", 13, "']'"},
	{"amqp://[h]", 9, "IPv6"},
	{"amqp://[127.0.0.1]", 9, "IPv6"},
	{"amqp://[fe80::1%25]", 9, "IPv6"},
	{"amqp://[]", 9, "IPv6"},
	{"amqp://h/a/b", 11, "%2F"},
	{"amqp://h/%0a", 10, "control"},
	{"amqp://h?heartbeat", 10, "name=value"},
	{"amqp://h?", 10, "name=value"},
	{"amqp://h?heartbeat=4", 20, "from 5"},
	{"amqp://h?heartbeat=0", 20, "from 5"},
	{"amqp://h?heartbeat=", 20, "from 5"},
	{"amqp://h?heartbeat=1e3", 20, "from 5"},
	{"amqp://h?heartbeat=10&&", 23, "name=value"},
	{"amqp://h?connection_timeout=0", 29, "from 1"},
	{"amqp://h?channel_max=5", 10, "unknown"},
	{"amqp://h?Heartbeat=10", 10, "unknown"},
	{"amqp://h?verify=verify_none", 17, "amqps"},
	{"amqp://h?cacertfile=/x", 21, "amqps"},
	{"amqps://h?cacertfile=", 22, "empty"},
	{"amqps://h?verify=none", 18, "verify_peer"},
	{"amqps://h?certfile=x", 1, "together"},
	{"amqps://h?auth_mechanism=md5", 26, "plain"},
	{"amqp://a,amqp://b:x", 19, "port"},
};

static void bad_uris_are_told_by_place_and_cause(void **state)
{
	(void)state;
	for (size_t i = 0; i < WBI_COUNT(bad); i++) {
		wb_error err = WB_ERROR_INIT;
		wbi_amqp_host *hosts = NULL;
		size_t count = 0;
		char place[32];

		snprintf(place, sizeof(place), "character %d:", bad[i].at);
		assert_int_equal(
			wbi_amqp_uri_parse(bad[i].uri, &hosts, &count, &err),
			WB_EINVAL);
		if (!strstr(err.text, place) || !strstr(err.text, bad[i].word))
			fail_msg("%s: wanted %s %s, got: %s", bad[i].uri, place,
				 bad[i].word, err.text);
		assert_null(strstr(err.text, "ses"));
		assert_null(hosts);
	}
}

static void bounds_are_kept(void **state)
{
	wb_error err = WB_ERROR_INIT;
	wbi_amqp_host *hosts = NULL;
	char text[WBI_AMQP_URI_MAX + 2] = "";
	size_t count = 0;

	(void)state;
	assert_code(wbi_amqp_uri_parse(NULL, &hosts, &count, &err), WB_EINVAL,
		    err);
	assert_code(wbi_amqp_uri_parse("", &hosts, &count, &err), WB_EINVAL,
		    err);
	for (int i = 0; i < WBI_AMQP_HOSTS_MAX; i++)
		strcat(text, "amqp://h,");
	text[strlen(text) - 1] = '\0';
	assert_ok(wbi_amqp_uri_parse(text, &hosts, &count, &err), err);
	assert_int_equal(count, WBI_AMQP_HOSTS_MAX);
	wbi_amqp_hosts_free(hosts, count);
	strcat(text, ",amqp://h");
	assert_code(wbi_amqp_uri_parse(text, &hosts, &count, &err), WB_ELIMIT,
		    err);
	memset(text, 'a', sizeof(text) - 1);
	assert_code(wbi_amqp_uri_parse(text, &hosts, &count, &err), WB_ELIMIT,
		    err);
	snprintf(text, sizeof(text), "amqp://h/%0256d", 0);
	assert_code(wbi_amqp_uri_parse(text, &hosts, &count, &err), WB_EINVAL,
		    err);
}

static void passwords_are_redacted(void **state)
{
	static const char *pairs[][2] = {
		{"amqp://h/v", "amqp://h/v"},
		{"amqp://u:sesame@h/v", "amqp://u:***@h/v"},
		{"amqp://u:@h", "amqp://u:***@h"},
		{"amqp://u:a@h,amqps://v:b@i?heartbeat=9,amqp://j",
		 "amqp://u:***@h,amqps://v:***@i?heartbeat=9,amqp://j"},
		{"amqp://u:ses/ame@h", "(not a URI)"},
		{"sesame", "(not a URI)"},
		{"", "(not a URI)"},
	};
	char got[256];

	(void)state;
	for (size_t i = 0; i < WBI_COUNT(pairs); i++)
		assert_string_equal(
			wb_amqp_redact(pairs[i][0], got, sizeof(got)),
			pairs[i][1]);
	assert_string_equal(wb_amqp_redact("amqp://u:sesame@h", got, 13),
			    "amqp://u:***");
	assert_string_equal(wb_amqp_redact("amqp://u:sesame@h", got, 1), "");
	assert_string_equal(wb_amqp_redact(NULL, got, sizeof(got)),
			    "(not a URI)");
}

/* Any byte changed, except the ':' that makes the password a password. */
static void a_mutilated_uri_shows_no_password(void **state)
{
	static const char whole[] =
		"amqps://us%40er:pa%2fss@[fe80::1%25lo]:5671/v%2f?"
		"heartbeat=10&verify=verify_peer,amqp://h:1/";
	const size_t colon = (size_t)(strstr(whole, ":pa") - whole);
	char text[sizeof(whole)], shown[256];

	(void)state;
	for (size_t i = 0; i < sizeof(whole) - 1; i++) {
		for (int c = 0; c < 256 && i != colon; c++) {
			memcpy(text, whole, sizeof(whole));
			text[i] = (char)c;
			wb_amqp_redact(text, shown, sizeof(shown));
			assert_null(strstr(shown, "pa%2fss"));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_uris_say_what_the_specification_says),
		cmocka_unit_test(query_parameters_are_taken),
		cmocka_unit_test(verification_is_on_unless_switched_off),
		cmocka_unit_test(a_list_keeps_its_order),
		cmocka_unit_test(bad_uris_are_told_by_place_and_cause),
		cmocka_unit_test(bounds_are_kept),
		cmocka_unit_test(passwords_are_redacted),
		cmocka_unit_test(a_mutilated_uri_shows_no_password),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
