/* SPDX-License-Identifier: BSD-2-Clause */
/* Entries of lists, as flags and the environment give them, and the limits of
 * what a configuration may hold. */
#include "tests/support/testing.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/assert.h"
#include "lib/config/config.h"

static char *filled(size_t len)
{
	char *text = malloc(len + 1);

	assert_non_null(text);
	memset(text, 'x', len);
	text[len] = '\0';
	return text;
}

static wb_code set(wbi_config *config, const char *key, const char *text,
		   wb_error *err)
{
	int at = wbi_config_find(wb_str_from(key));

	assert_true(at >= 0);
	return wbi_config_set(config, at, text, WBI_CONFIG_FLAG, err);
}

static void must_refuse(const char *key, const char *text, const char *words)
{
	wb_error err = WB_ERROR_INIT;
	wbi_config config;

	assert_ok(wbi_config_init(&config, &err), err);
	assert_int_not_equal(set(&config, key, text, &err), WB_OK);
	if (!strstr(err.text, words))
		fail_msg("%s=%s: %s: no %s", key, text, err.text, words);
	wbi_config_fini(&config);
}

static void a_wrong_entry_says_what_is_wrong(void **state)
{
	static const struct {
		const char *key, *text, *words;
	} cases[] = {
		{"queues", "billing", "not of the form FIELD=VALUE"},
		{"queues", "nam=x",
		 "unknown field 'nam'; did you mean 'name'?"},
		{"queues", "qqqqqqqqqqqqqqqqqq=x",
		 "unknown field 'qqqqqqqqqqqqqqqqqq'"},
		{"queues", "=x", "unknown field ''"},
		{"queues",
		 "a_name_that_is_longer_than_any_field_that_there_could_ever_be"
		 "_here=x",
		 "unknown field"},
		{"queues", "delivery_limit=5", "needs 'name'"},
		{"queues", "name=q,delivery-limit=many", "delivery-limit: "},
		{"queues", "name=", "name: is empty"},
		{"queues", "name=q,bind=events", "EXCHANGE:KEY"},
		{"queues", "name=q,bind=:key", "EXCHANGE:KEY"},
		{"queues", "name=q,arguments=x-max-length", "NAME=VALUE"},
		{"queues", "name=q,arguments==7", "NAME=VALUE"},
		{"queues", "name=q,arguments=a\x01=7", "control character"},
		{"queues", "name=q\x01", "control character"},
		{"routes", "type=a,order=sometimes", "order: "},
	};

	(void)state;
	for (size_t i = 0; i < WBI_COUNT(cases); i++)
		must_refuse(cases[i].key, cases[i].text, cases[i].words);
}

static void a_comma_may_be_meant(void **state)
{
	const wbi_config_queue *queue;
	wb_error err = WB_ERROR_INIT;
	wbi_config config;

	(void)state;
	assert_ok(wbi_config_init(&config, &err), err);
	assert_ok(set(&config, "queues",
		      "name=a\\,b,dead-letter-exchange=c,bind=e:k\\,l,bind=f:",
		      &err),
		  err);
	queue = config.queues.items;
	assert_string_equal(queue->name, "a,b");
	assert_string_equal(queue->dead_letter_exchange, "c");
	assert_int_equal(queue->bind.count, 2);
	assert_string_equal(
		((const wbi_config_binding *)queue->bind.items)[0].key, "k,l");
	assert_string_equal(
		((const wbi_config_binding *)queue->bind.items)[1].key, "");
	wbi_config_fini(&config);
}

static void a_text_is_only_so_long(void **state)
{
	char *text = filled(WBI_CONFIG_TEXT_MAX + 1);

	(void)state;
	must_refuse("store", text, "is over");
	must_refuse("queues", text, "is over");
	must_refuse("store", "", "is empty");
	free(text);
}

static void a_list_has_only_so_many_entries(void **state)
{
	wb_error err = WB_ERROR_INIT;
	wbi_config config;

	(void)state;
	assert_ok(wbi_config_init(&config, &err), err);
	for (int i = 0; i < WBI_CONFIG_ENTRIES_MAX; i++)
		assert_ok(set(&config, "queues", "name=q", &err), err);
	assert_code(set(&config, "queues", "name=q", &err), WB_ELIMIT, err);
	assert_int_equal(config.queues.count, WBI_CONFIG_ENTRIES_MAX);
	wbi_config_fini(&config);
}

static void a_queue_has_only_so_many_bindings(void **state)
{
	const size_t each = sizeof(",bind=a:b") - 1;
	char *text = malloc(8 + (WBI_CONFIG_ENTRIES_MAX + 1) * each);
	char *at = stpcpy(text, "name=q");
	wb_error err = WB_ERROR_INIT;
	wbi_config config;

	(void)state;
	for (int i = 0; i <= WBI_CONFIG_ENTRIES_MAX; i++)
		at = stpcpy(at, ",bind=a:b");
	assert_ok(wbi_config_init(&config, &err), err);
	assert_code(set(&config, "queues", text, &err), WB_ELIMIT, err);
	assert_int_equal(config.queues.count, 0);
	wbi_config_fini(&config);
	free(text);
}

/* ---- what contradicts itself --------------------------------------------- */

static void must_contradict(const char *const pairs[][2], size_t count,
			    const char *words)
{
	wb_error err = WB_ERROR_INIT;
	wbi_config config;

	assert_ok(wbi_config_init(&config, &err), err);
	for (size_t i = 0; i < count; i++)
		assert_ok(set(&config, pairs[i][0], pairs[i][1], &err), err);
	assert_int_equal(wbi_config_check(&config, &err), WB_EINVAL);
	if (!strstr(err.text, words))
		fail_msg("%s: no %s", err.text, words);
	wbi_config_fini(&config);
}

static void what_goes_together_is_checked(void **state)
{
	static const char *const backoff[][2] = {{"backoff_min_ms", "9000"},
						 {"backoff_max_ms", "8000"}};
	static const char *const restart[][2] = {{"restart_min_ms", "9000"},
						 {"restart_max_ms", "8000"}};
	static const char *const cert[][2] = {{"tls_cert_file", "/c"}};
	static const char *const key[][2] = {{"tls_key_file", "/k"}};
	static const char *const external[][2] = {
		{"external_auth", "yes"}, {"amqp", "amqps://localhost"}};

	(void)state;
	must_contradict(backoff, 2, "is over backoff_max_ms (8000)");
	must_contradict(restart, 2, "is over restart_max_ms (8000)");
	must_contradict(cert, 1, "tls_key_file is missing");
	must_contradict(key, 1, "tls_cert_file is missing");
	must_contradict(external, 2, "needs a client certificate");
}

/* ---- the environment ----------------------------------------------------- */

static wb_code read_env(const char *queues, wbi_config *config, wb_error *err)
{
	wb_code code;

	assert_ok(wbi_config_init(config, err), *err);
	setenv("WAYBILL_QUEUES", queues, 1);
	code = wbi_config_read_env(config, err);
	unsetenv("WAYBILL_QUEUES");
	return code;
}

static void entries_of_the_environment_stand_between_semicolons(void **state)
{
	const wbi_config_queue *queue;
	wb_error err = WB_ERROR_INIT;
	wbi_config config;

	(void)state;
	assert_ok(read_env(";name=a;;name=b\\;c;", &config, &err), err);
	assert_int_equal(config.queues.count, 2);
	queue = config.queues.items;
	assert_string_equal(queue[0].name, "a");
	assert_string_equal(queue[1].name, "b;c");
	wbi_config_fini(&config);
	assert_code(read_env("name=a;nam=b", &config, &err), WB_EINVAL, err);
	wbi_config_fini(&config);
}

static void an_entry_of_the_environment_is_only_so_long(void **state)
{
	char *text = filled(WBI_CONFIG_TEXT_MAX + 1);
	wb_error err = WB_ERROR_INIT;
	wbi_config config;

	(void)state;
	assert_int_equal(read_env(text, &config, &err), WB_ELIMIT);
	assert_non_null(strstr(err.text, "WAYBILL_QUEUES: "));
	wbi_config_fini(&config);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_wrong_entry_says_what_is_wrong),
		cmocka_unit_test(a_comma_may_be_meant),
		cmocka_unit_test(a_text_is_only_so_long),
		cmocka_unit_test(a_list_has_only_so_many_entries),
		cmocka_unit_test(a_queue_has_only_so_many_bindings),
		cmocka_unit_test(what_goes_together_is_checked),
		cmocka_unit_test(
			entries_of_the_environment_stand_between_semicolons),
		cmocka_unit_test(an_entry_of_the_environment_is_only_so_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
