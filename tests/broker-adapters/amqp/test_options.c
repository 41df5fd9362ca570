/* SPDX-License-Identifier: BSD-2-Clause */
/* Options: what is refused and how it is named; what wins over the URI. */
#include "broker-adapters/amqp/options.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/assert.h"
#include "tests/support/testing.h"

#define LOCAL "amqp://u:p@localhost"

static wb_amqp_options options_of(const char *uri)
{
	wb_amqp_options o = WB_AMQP_OPTIONS_INIT;

	o.uri = uri;
	return o;
}

static void must_refuse(const wb_amqp_options *o, const char *words)
{
	wb_error err = WB_ERROR_INIT;
	wbi_amqp_config c;

	assert_int_equal(wbi_amqp_config_init(o, &c, &err), WB_EINVAL);
	if (!strstr(err.text, words))
		fail_msg("%s: no %s", err.text, words);
}

static wbi_amqp_config must_take(const wb_amqp_options *o)
{
	wb_error err = WB_ERROR_INIT;
	wbi_amqp_config c;

	assert_ok(wbi_amqp_config_init(o, &c, &err), err);
	return c;
}

static void each_number_has_its_bounds(void **state)
{
	wb_amqp_options o = options_of(LOCAL);
	const struct {
		uint32_t *number, least, most;
		const char *words;
	} cases[] = {
		{&o.connect_timeout_ms, 1, 3600000,
		 "connect_timeout_ms is 3600001; it must be from 1 to 3600000"},
		{&o.heartbeat_s, 5, 3600, "heartbeat_s is 3601"},
		{&o.close_timeout_ms, 1, 3600000, "close_timeout_ms"},
		{&o.frame_max_bytes, 4096, 16 << 20, "frame_max_bytes"},
		{&o.body_max_bytes, 1, 1 << 30, "body_max_bytes"},
		{&o.unsettled_max, 1, 1 << 24, "unsettled_max"},
		{&o.buffer_max_bytes, 65536, 1 << 30, "buffer_max_bytes"},
	};

	(void)state;
	for (size_t i = 0; i < WBI_COUNT(cases); i++) {
		const uint32_t good[] = {cases[i].least, cases[i].most};

		for (size_t at = 0; at < WBI_COUNT(good); at++) {
			wbi_amqp_config c;

			*cases[i].number = good[at];
			c = must_take(&o);
			wbi_amqp_config_fini(&c);
		}
		*cases[i].number = cases[i].most + 1;
		must_refuse(&o, cases[i].words);
		*cases[i].number = cases[i].least - 1;
		if (cases[i].least > 1) /* 0 is the default */
			must_refuse(&o, "or 0 for");
		*cases[i].number = 0;
	}
}

static void options_of_another_library_are_refused(void **state)
{
	wb_amqp_options o = options_of(LOCAL);
	char long_name[257];

	(void)state;
	must_refuse(NULL, "WB_AMQP_OPTIONS_INIT");
	o.size--;
	must_refuse(&o, "WB_AMQP_OPTIONS_INIT");
	o = options_of(LOCAL);
	memset(long_name, 'x', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = '\0';
	o.connection_name = long_name;
	must_refuse(&o, "over 255 bytes");
	long_name[255] = '\0';
	{
		wbi_amqp_config c = must_take(&o);

		assert_string_equal(c.connection_name, long_name);
		wbi_amqp_config_fini(&c);
	}
}

static void what_an_option_says_wins_over_the_uri(void **state)
{
	wb_amqp_options o =
		options_of("amqp://u:p@a?heartbeat=30&connection_timeout=7000,"
			   "amqp://v:q@b");
	wbi_amqp_config c = must_take(&o);

	(void)state;
	assert_int_equal(c.host_count, 2);
	assert_int_equal(c.hosts[0].heartbeat_s, 30);
	assert_int_equal(c.hosts[0].connect_timeout_ms, 7000);
	assert_int_equal(c.hosts[1].heartbeat_s, 15);
	assert_int_equal(c.hosts[1].connect_timeout_ms, 10000);
	wbi_amqp_config_fini(&c);
	o.heartbeat_s = 60;
	o.connect_timeout_ms = 500;
	o.user = "w";
	o.password = "r";
	c = must_take(&o);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(c.hosts[i].heartbeat_s, 60);
		assert_int_equal(c.hosts[i].connect_timeout_ms, 500);
		assert_string_equal(c.hosts[i].user, "w");
		assert_string_equal(c.hosts[i].password, "r");
	}
	wbi_amqp_config_fini(&c);
}

/* Another user's password is not this one's. */
static void a_login_is_whole_or_refused(void **state)
{
	wb_amqp_options o = options_of("amqp://u@localhost");
	wbi_amqp_config c;

	(void)state;
	must_refuse(&o, "no password for user u at localhost");
	o = options_of(LOCAL);
	o.user = "w";
	must_refuse(&o, "no password for user w");
	o.external_auth = true;
	c = must_take(&o);
	assert_null(c.hosts[0].password);
	assert_true(c.hosts[0].external_auth);
	wbi_amqp_config_fini(&c);
	o = options_of(LOCAL);
	o.password = "q";
	o.password_file = "/nowhere";
	must_refuse(&o, "drop one");
}

static void tls_options_that_would_do_nothing_are_refused(void **state)
{
	wb_amqp_options o = options_of(LOCAL);

	(void)state;
	o.tls_cert_file = "cert";
	must_refuse(&o, "must be given together");
	o.tls_cert_file = NULL;
	o.tls_key_file = "key";
	must_refuse(&o, "must be given together");
	o.tls_cert_file = "cert";
	must_refuse(&o, "no URI is amqps://");
	o = options_of(LOCAL);
	o.tls_ca_file = "ca";
	must_refuse(&o, "no URI is amqps://");
	o = options_of(LOCAL);
	o.tls_server_name = "name";
	must_refuse(&o, "no URI is amqps://");
	o = options_of(LOCAL);
	o.tls_insecure = true;
	must_refuse(&o, "no URI is amqps://");
}

static void tls_options_are_for_the_hosts_with_tls(void **state)
{
	wb_amqp_options o =
		options_of("amqp://u:p@a,amqps://u:p@b?cacertfile=/old");
	wbi_amqp_config c;

	(void)state;
	o.tls_ca_file = "/ca";
	o.tls_cert_file = "/cert";
	o.tls_key_file = "/key";
	o.tls_server_name = "broker.example";
	o.tls_insecure = true;
	c = must_take(&o);
	assert_null(c.hosts[0].ca_file);
	assert_false(c.hosts[0].insecure);
	assert_string_equal(c.hosts[1].ca_file, "/ca");
	assert_string_equal(c.hosts[1].cert_file, "/cert");
	assert_string_equal(c.hosts[1].key_file, "/key");
	assert_string_equal(c.hosts[1].server_name, "broker.example");
	assert_true(c.hosts[1].insecure);
	wbi_amqp_config_fini(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_number_has_its_bounds),
		cmocka_unit_test(options_of_another_library_are_refused),
		cmocka_unit_test(what_an_option_says_wins_over_the_uri),
		cmocka_unit_test(a_login_is_whole_or_refused),
		cmocka_unit_test(tls_options_that_would_do_nothing_are_refused),
		cmocka_unit_test(tls_options_are_for_the_hosts_with_tls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
