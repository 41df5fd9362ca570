/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What an operator may have written: a configuration file, single values and
 * entries of lists, and the URI of a broker.
 */
#include "broker-adapters/amqp/uri.h"
#include "lib/config/config.h"
#include "tests/fuzz/fuzz.h"

/* An error says something, and of a URI nothing that was in it. */
static void told(wb_code code, const wb_error *err)
{
	FUZZ_HOLDS(code == WB_OK || err->text[0] != '\0');
	FUZZ_HOLDS(code == WB_OK || err->code == code);
}

static void yaml(fuzz_in *in, wbi_config *config)
{
	wb_error err = WB_ERROR_INIT;

	told(wbi_config_read_yaml(config, "fuzz.yaml", fuzz_rest(in), &err),
	     &err);
	if (err.code == WB_OK)
		told(wbi_config_check(config, &err), &err);
}

static void values(fuzz_in *in, wbi_config *config)
{
	for (int i = 0; i < 16 && in->left > 0; i++) {
		wb_error err = WB_ERROR_INIT;
		int key = fuzz_u8(in) % WBI_CONFIG_KEYS;

		if (!wbi_config_key_at((size_t)key))
			continue;
		told(wbi_config_set(config, key, fuzz_text(in, fuzz_short(in)),
				    WBI_CONFIG_FLAG, &err),
		     &err);
	}
	wbi_config_check(config, NULL);
}

static void uri(fuzz_in *in)
{
	const char *text = fuzz_text(in, fuzz_rest(in));
	wbi_amqp_host *hosts;
	wb_error err = WB_ERROR_INIT;
	size_t count, len = strlen(text);

	if (wbi_amqp_uri_parse(text, &hosts, &count, &err) != WB_OK) {
		told(err.code, &err);
		return;
	}
	FUZZ_HOLDS(count > 0);
	for (size_t i = 0; i < count; i++)
		FUZZ_HOLDS(hosts[i].password_at + hosts[i].password_len <= len);
	wbi_amqp_hosts_free(hosts, count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	wbi_config config;
	uint8_t what;
	fuzz_in in;

	if (wbi_config_init(&config, NULL) != WB_OK)
		return 0;
	fuzz_init(&in, data, size);
	what = fuzz_u8(&in) % 4;
	if (what == 1)
		values(&in, &config);
	else if (what == 2)
		uri(&in);
	else
		yaml(&in, &config);
	fuzz_fini(&in);
	wbi_config_fini(&config);
	return 0;
}
