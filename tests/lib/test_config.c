/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/support/testing.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/base/assert.h"
#include "lib/config/config.h"

static void read_yaml(const char *yaml, wbi_config *config, wb_error *err)
{
	*err = (wb_error)WB_ERROR_INIT;
	assert_int_equal(wbi_config_init(config, err), WB_OK);
	wbi_config_read_yaml(config, "f", wb_str_from(yaml), err);
}

static void expect(const char *yaml, wb_code code, const char *text)
{
	wbi_config config;
	wb_error err;

	read_yaml(yaml, &config, &err);
	assert_string_equal(err.text, text);
	assert_int_equal(err.code, code);
	wbi_config_fini(&config);
}

static void
every_key_of_the_table_has_name_help_and_a_default_in_range(void **state)
{
	const wbi_config_key *key;
	size_t count = 0;

	(void)state;
	for (; (key = wbi_config_key_at(count)); count++) {
		assert_int_equal(wbi_config_find(wb_str_from(key->field.name)),
				 (int)count);
		assert_non_null(key->field.help);
		assert_true(key->group != 0);
		assert_true(key->flag || !key->in_file);
	}
	assert_true(count <= WBI_CONFIG_KEYS);
	assert_null(wbi_config_key_at(count));
}

static void a_whole_file_is_read(void **state)
{
	const wb_route *routes;
	const wbi_config_queue *queue;
	const wbi_config_binding *bind;
	const wbi_config_exchange *exchange;
	wbi_config config;
	wb_error err;

	(void)state;
	read_yaml("store: /var/lib/x\n"
		  "window: 500\n"
		  "parked_max_bytes: 2M\n"
		  "tls_insecure: yes\n"
		  "log_format: json\n"
		  "amqp_user: ~\n"
		  "routes:\n"
		  "  - type: order.#\n"
		  "    exchange: orders\n"
		  "    unroutable: accept\n"
		  "  - order: none\n"
		  "exchanges:\n"
		  "  - {name: orders, arguments: [alternate-exchange=rest]}\n"
		  "queues:\n"
		  "  - name: billing\n"
		  "    delivery_limit: 5\n"
		  "    bind:\n"
		  "      - {exchange: orders, key: 'order.*'}\n"
		  "      - {exchange: events, key: 'a:b'}\n",
		  &config, &err);
	assert_string_equal(err.text, "");
	assert_string_equal(config.store, "/var/lib/x");
	assert_int_equal(config.window, 500);
	assert_int_equal(config.parked_max_bytes, 2 * 1024 * 1024);
	assert_true(config.tls_insecure);
	assert_int_equal(config.log_format, WBI_LOG_JSON);
	assert_null(config.amqp_user);
	assert_int_equal(config.routes.count, 2);
	routes = config.routes.items;
	assert_string_equal(routes[0].type, "order.#");
	assert_int_equal(routes[0].unroutable, WB_UNROUTABLE_ACCEPT);
	assert_string_equal(routes[0].routing_key, "{type}");
	assert_string_equal(routes[1].type, "#");
	assert_string_equal(routes[1].exchange, "events");
	assert_int_equal(routes[1].order, WB_ORDER_NONE);
	exchange = config.exchanges.items;
	assert_string_equal(exchange[0].type, "topic");
	assert_string_equal(((char **)exchange[0].arguments.items)[0],
			    "alternate-exchange=rest");
	queue = config.queues.items;
	assert_int_equal(queue[0].delivery_limit, 5);
	assert_string_equal(queue[0].dead_letter_exchange, "billing.dead");
	assert_int_equal(queue[0].bind.count, 2);
	bind = queue[0].bind.items;
	assert_string_equal(bind[1].exchange, "events");
	assert_string_equal(bind[1].key, "a:b");
	wbi_config_fini(&config);
}

static void mistakes_are_named_with_line_and_column(void **state)
{
	(void)state;
	expect("store: /x\n\nwindw: 3\n", WB_EINVAL,
	       "f:3:1: unknown key 'windw'; did you mean 'window'?");
	expect("  qqqqqqqqqqqqqq: 3\n", WB_EINVAL,
	       "f:1:3: unknown key 'qqqqqqqqqqqqqq'; waybill.conf(5) lists "
	       "them all");
	expect("store: /x\nwindow: much\n", WB_EINVAL,
	       "f:2:1: window: 'much' is not a whole number; 1..65536");
	expect("store: /x\nwindow: 65537\n", WB_ELIMIT,
	       "f:2:1: window: 65537 is out of range 1..65536");
	expect("parked_max_bytes: 1X\n", WB_EINVAL,
	       "f:1:1: parked_max_bytes: '1X' is not a size; 64K..1T, as "
	       "65536, 64K, 1M or 2G");
	expect("window:\n  - 3\n", WB_EINVAL,
	       "f:1:1: window: must be a single value");
	expect("routes: 3\n", WB_EINVAL,
	       "f:1:1: routes: must be a list, each entry behind a '-'");
	expect("- a\n", WB_EINVAL, "f:1:1: must be 'key: value' pairs");
	expect("window: 3\nstore: a\nwindow: 4\n", WB_EINVAL,
	       "f:3:1: key 'window' is given twice");
	expect("store: a\n b: [\n", WB_EINVAL,
	       "f:2:3: mapping values are not allowed in this context");
	expect("store: &a x\namqp: *a\n", WB_EINVAL,
	       "f:2:1: aliases are not supported here");
	expect("amqp_password: secret\n", WB_EINVAL,
	       "f:1:1: key 'amqp_password' must not stand in a file");
}

static void mistakes_inside_lists_are_named_with_line_and_column(void **state)
{
	(void)state;
	expect("routes:\n  - type: a\n  - typ: b\n", WB_EINVAL,
	       "f:3:5: unknown key 'typ'; did you mean 'type'?");
	expect("routes:\n  - type: a\n  - type: b\n    order: never\n",
	       WB_EINVAL, "f:4:5: order: 'never' is not one of key | none");
	expect("routes:\n  - {type: a, mode: [1]}\n", WB_EINVAL,
	       "f:2:15: mode: must be a single value");
	expect("queues:\n  - name: a\n  - delivery_limit: 3\n", WB_EINVAL,
	       "f:3:5: queues: needs 'name'");
	expect("queues:\n  - name: a\n    delivery_limit: 0\n", WB_ELIMIT,
	       "f:3:5: delivery_limit: 0 is out of range 1..1000000");
	expect("queues:\n  - name: a\n    bind:\n    - {exchange: x, kex: 1}\n",
	       WB_EINVAL,
	       "f:4:21: unknown key 'kex'; a binding has 'exchange' and "
	       "'key'");
	expect("queues:\n  - name: a\n    arguments: [x-a=1, y]\n", WB_EINVAL,
	       "f:3:24: arguments: 'y' is not of the form NAME=VALUE");
}

static void a_plain_list_is_of_texts(void **state)
{
	wb_error err = WB_ERROR_INIT;
	wbi_config config;
	char **modules, **bind;

	(void)state;
	read_yaml("modules: [./a.so, './b=c,d.so']\nbind:\n  - order.#\n",
		  &config, &err);
	assert_string_equal(err.text, "");
	modules = config.modules.items;
	bind = config.bind.items;
	assert_int_equal(config.modules.count, 2);
	assert_string_equal(modules[1], "./b=c,d.so");
	assert_int_equal(config.bind.count, 1);
	assert_string_equal(bind[0], "order.#");
	wbi_config_fini(&config);
	expect("modules: ./a.so\n", WB_EINVAL,
	       "f:1:1: modules: must be a list, each entry behind a '-'");
	expect("modules:\n  - {path: a}\n", WB_EINVAL,
	       "f:2:5: must be a single value");
	expect("bind: [a, '']\n", WB_EINVAL, "f:1:11: bind: is empty; leave the key out "
	       "for the default");
}

static void an_empty_file_is_all_defaults(void **state)
{
	static const char *const texts[] = {"", "# nothing\n", "store:\n"};

	(void)state;
	for (size_t i = 0; i < WBI_COUNT(texts); i++) {
		wbi_config config;
		wb_error err;

		read_yaml(texts[i], &config, &err);
		assert_int_equal(err.code, WB_OK);
		assert_null(config.store);
		assert_int_equal(config.window, 2000);
		assert_int_equal(config.batch_bytes, 48 * 1024);
		wbi_config_fini(&config);
	}
}

static int key_of(const char *name)
{
	int key = wbi_config_find(wb_str_from(name));

	assert_true(key >= 0);
	return key;
}

static void flag_beats_environment_beats_file_beats_default(void **state)
{
	static const wbi_config_source orders[][3] = {
		{WBI_CONFIG_FLAG, WBI_CONFIG_ENV, WBI_CONFIG_FILE},
		{WBI_CONFIG_FILE, WBI_CONFIG_ENV, WBI_CONFIG_FLAG},
		{WBI_CONFIG_ENV, WBI_CONFIG_FLAG, WBI_CONFIG_FILE}};
	static const char *const values[] = {"", "10", "20", "30"};
	static const char *const types[] = {"", "exchange=f", "exchange=e",
					    "exchange=g"};

	(void)state;
	for (size_t i = 0; i < WBI_COUNT(orders); i++) {
		wbi_config config;
		const wb_route *routes;

		assert_int_equal(wbi_config_init(&config, NULL), WB_OK);
		for (size_t j = 0; j < 3; j++) {
			wbi_config_source source = orders[i][j];

			wbi_config_set(&config, key_of("window"),
				       values[source], source, NULL);
			wbi_config_set(&config, key_of("routes"), types[source],
				       source, NULL);
			wbi_config_set(&config, key_of("routes"), types[source],
				       source, NULL);
		}
		assert_int_equal(config.window, 30);
		assert_int_equal(config.routes.count, 2);
		routes = config.routes.items;
		assert_string_equal(routes[1].exchange, "g");
		wbi_config_fini(&config);
	}
}

static void a_mistake_in_a_weaker_source_is_still_found(void **state)
{
	wb_error err = WB_ERROR_INIT;
	wbi_config config;

	(void)state;
	assert_int_equal(wbi_config_init(&config, NULL), WB_OK);
	wbi_config_set(&config, key_of("window"), "7", WBI_CONFIG_FLAG, NULL);
	assert_int_equal(wbi_config_read_yaml(&config, "f",
					      wb_str_from("window: x\n"), &err),
			 WB_EINVAL);
	assert_int_equal(config.window, 7);
	wbi_config_fini(&config);
}

static void the_environment_is_read(void **state)
{
	const wb_route *routes;
	wb_error err = WB_ERROR_INIT;
	wbi_config config;

	(void)state;
	assert_int_equal(wbi_config_init(&config, NULL), WB_OK);
	setenv("WAYBILL_HEARTBEAT_S", "30", 1);
	setenv("WAYBILL_STORE", "", 1);
	setenv("WAYBILL_AMQP_PASSWORD", "pw", 1);
	setenv("WAYBILL_ROUTES", "type=a\\,b,exchange=x\\;y;exchange=z", 1);
	assert_int_equal(wbi_config_read_env(&config, &err), WB_OK);
	assert_int_equal(config.heartbeat_s, 30);
	assert_null(config.store);
	assert_string_equal(config.amqp_password, "pw");
	assert_int_equal(config.routes.count, 2);
	routes = config.routes.items;
	assert_string_equal(routes[0].type, "a,b");
	assert_string_equal(routes[0].exchange, "x;y");
	setenv("WAYBILL_HEARTBEAT_S", "4", 1);
	assert_int_equal(wbi_config_read_env(&config, &err), WB_ELIMIT);
	assert_string_equal(err.text,
			    "WAYBILL_HEARTBEAT_S: 4 is out of range 5..3600");
	unsetenv("WAYBILL_HEARTBEAT_S");
	unsetenv("WAYBILL_AMQP_PASSWORD");
	unsetenv("WAYBILL_ROUTES");
	wbi_config_fini(&config);
}

static void numbers_and_sizes_keep_their_range(void **state)
{
	static const struct {
		const char *key, *text;
		wb_code code;
	} cases[] = {
		{"parked_max_bytes", "64K", WB_OK},
		{"parked_max_bytes", "65535", WB_ELIMIT},
		{"parked_max_bytes", "1T", WB_OK},
		{"parked_max_bytes", "1TiB", WB_OK},
		{"parked_max_bytes", "1Tx", WB_EINVAL},
		{"parked_max_bytes", "2T", WB_ELIMIT},
		{"parked_max_bytes", "99999999999999999999T", WB_ELIMIT},
		{"parked_max_bytes", "-1", WB_EINVAL},
		{"parked_max_bytes", "K", WB_EINVAL},
		{"window", "0", WB_ELIMIT},
		{"window", "99999999999999999999999", WB_ELIMIT},
		{"window", "1K", WB_EINVAL},
		{"window", " 1", WB_EINVAL},
		{"window", "0x10", WB_EINVAL},
		{"tls_insecure", "maybe", WB_EINVAL},
		{"store", "", WB_EINVAL},
		{"store", "a\nb", WB_EINVAL},
		{"routes", "type", WB_EINVAL},
		{"routes", "sort=a", WB_EINVAL},
		{"queues", "name=a,bind=b", WB_EINVAL},
		{"queues", "bind=a:b", WB_EINVAL},
		{"queues", "name=a,bind=a:b,bind=c:d,delivery-limit=3", WB_OK},
	};
	wbi_config config;

	(void)state;
	assert_int_equal(wbi_config_init(&config, NULL), WB_OK);
	for (size_t i = 0; i < WBI_COUNT(cases); i++) {
		wb_error err = WB_ERROR_INIT;
		wb_code rc =
			wbi_config_set(&config, key_of(cases[i].key),
				       cases[i].text, WBI_CONFIG_FLAG, &err);

		if (rc != cases[i].code)
			print_message("%s=%s: %s\n", cases[i].key,
				      cases[i].text, err.text);
		assert_int_equal(rc, cases[i].code);
	}
	wbi_config_fini(&config);
}

static void values_that_contradict_each_other_are_refused(void **state)
{
	wb_error err = WB_ERROR_INIT;
	wbi_config config;

	(void)state;
	assert_int_equal(wbi_config_init(&config, NULL), WB_OK);
	assert_int_equal(wbi_config_check(&config, NULL), WB_OK);
	wbi_config_set(&config, key_of("backoff_min_ms"), "20000",
		       WBI_CONFIG_FLAG, NULL);
	assert_int_equal(wbi_config_check(&config, &err), WB_EINVAL);
	assert_string_equal(err.text, "backoff_min_ms (20000) is over "
				      "backoff_max_ms (10000)");
	wbi_config_fini(&config);
}

static void a_file_that_cannot_be_read_is_named(void **state)
{
	wb_error err = WB_ERROR_INIT;
	wbi_config config;

	(void)state;
	assert_int_equal(wbi_config_init(&config, NULL), WB_OK);
	assert_int_equal(wbi_config_read_file(&config, "/nonexistent/x", &err),
			 WB_ENOTFOUND);
	assert_non_null(strstr(err.text, "/nonexistent/x: "));
	assert_int_equal(wbi_config_read_file(&config, "/", NULL), WB_EINVAL);
	wbi_config_fini(&config);
}

/* What stands in the manual from `.It Cm name` to the next item; `after` is
 * where to look from. Static memory. */
static const char *manual_item(const char *after, const char *name)
{
	static char item[4096];
	char head[128];
	const char *from, *to;

	snprintf(head, sizeof(head), "\n.It Cm %s", name);
	from = after;
	do {
		from = strstr(from, head);
		assert_non_null(from);
		from += strlen(head);
	} while (*from != ' ' && *from != '\n');
	to = strstr(from, "\n.It ");
	to = to ? to + 1 : from + strlen(from);
	snprintf(item, sizeof(item), "%.*s", (int)(to - from), from);
	return item;
}

static void manual_has(const char *after, const wbi_config_field *field)
{
	const char *item = manual_item(after, field->name);
	char range[128], want[192];

	wbi_config_range_text(field, range, sizeof(range));
	snprintf(want, sizeof(want), "%s%s.\n",
		 field->choices ? "One of: " : "Range ", range);
	if (range[0] && field->kind != WBI_CONFIG_BOOL)
		assert_non_null(strstr(item, want));
	snprintf(want, sizeof(want), "Default: %s%s.\n",
		 field->init && field->init[0] == '#' ? "\\&" : "",
		 field->init ? field->init : "");
	if (field->init)
		assert_non_null(strstr(item, want));
}

static void the_manual_lists_every_key_with_range_and_default(void **state)
{
	static char manual[256 * 1024];
	const wbi_config_key *key;
	FILE *file = fopen(TOP_SRCDIR "/man/waybill.conf.5", "r");
	size_t len;

	(void)state;
	assert_non_null(file);
	len = fread(manual, 1, sizeof(manual) - 1, file);
	manual[len] = '\0';
	fclose(file);
	for (size_t i = 0; (key = wbi_config_key_at(i)); i++) {
		char env[64];
		const char *list = manual;

		if (!key->in_file) {
			wbi_config_env_name(key, env, sizeof(env));
			assert_non_null(strstr(manual, env));
			continue;
		}
		manual_has(manual, &key->field);
		if (key->list)
			list = strstr(manual, manual_item(manual,
							  key->field.name));
		for (size_t j = 0; key->list && !key->list->plain &&
				   j < key->list->field_count;
		     j++)
			manual_has(list, &key->list->fields[j]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			every_key_of_the_table_has_name_help_and_a_default_in_range),
		cmocka_unit_test(a_whole_file_is_read),
		cmocka_unit_test(mistakes_are_named_with_line_and_column),
		cmocka_unit_test(
			mistakes_inside_lists_are_named_with_line_and_column),
		cmocka_unit_test(a_plain_list_is_of_texts),
		cmocka_unit_test(an_empty_file_is_all_defaults),
		cmocka_unit_test(
			flag_beats_environment_beats_file_beats_default),
		cmocka_unit_test(a_mistake_in_a_weaker_source_is_still_found),
		cmocka_unit_test(the_environment_is_read),
		cmocka_unit_test(numbers_and_sizes_keep_their_range),
		cmocka_unit_test(values_that_contradict_each_other_are_refused),
		cmocka_unit_test(a_file_that_cannot_be_read_is_named),
		cmocka_unit_test(
			the_manual_lists_every_key_with_range_and_default),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
