/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Values into a config: one parser for flag, environment, file and default,
 * so that a value means the same wherever it stands. Invariant: a field is
 * either as before or holds the whole new value; the source of a key never
 * gets weaker. One thread; the config owns every string in it.
 */
#include "lib/config/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/text.h"

/* A secret is wiped before its memory goes back. */
static void text_free(char *text)
{
	if (text)
		explicit_bzero(text, strlen(text));
	free(text);
}

static void *at(const wbi_config_field *field, void *base)
{
	return (char *)base + field->offset;
}

/* ---- scalars ----------------------------------------------------------- */

static wb_code parse_text(const wbi_config_field *field, const char *text,
			  void *base, wb_error *err)
{
	char **slot = at(field, base);
	size_t bad;
	char *copy;

	if (text[0] == '\0')
		return WBI_FAIL(err, WB_EINVAL,
				"is empty; leave the key out "
				"for the default");
	if (strlen(text) > WBI_CONFIG_TEXT_MAX)
		return WBI_FAIL(err, WB_ELIMIT, "is over %d bytes",
				WBI_CONFIG_TEXT_MAX);
	if (!wbi_text_is_clean(wb_str_from(text), &bad))
		return WBI_FAIL(err, WB_EINVAL,
				"has a control character or bad UTF-8 at its "
				"byte %zu",
				bad + 1);
	copy = wbi_text_dup(wb_str_from(text));
	if (!copy)
		return WBI_FAIL(err, WB_ENOMEM, "out of memory");
	text_free(*slot);
	*slot = copy;
	return WB_OK;
}

/* How far a suffix shifts; -1 if it is none. "K", "k", "KiB" and so on. */
static int suffix_shift(const char *suffix)
{
	static const char letters[] = "KMGT";
	const char *found;

	if (suffix[0] == '\0')
		return 0;
	found = memchr(letters, suffix[0] & ~0x20, 4);
	if (!found || (suffix[1] != '\0' && strcmp(suffix + 1, "iB") != 0))
		return -1;
	return 10 * (int)(found - letters + 1);
}

static wb_code parse_number(const wbi_config_field *field, const char *text,
			    void *base, wb_error *err)
{
	uint64_t *slot = at(field, base);
	bool size = field->kind == WBI_CONFIG_SIZE;
	const char *p = text;
	uint64_t value = 0;
	char range[64];
	int shift;

	for (; *p >= '0' && *p <= '9' && value < UINT64_MAX / 100; p++)
		value = value * 10 + (uint64_t)(*p - '0');
	shift = size ? suffix_shift(p) : *p ? -1 : 0;
	wbi_config_range_text(field, range, sizeof(range));
	if (p == text || (shift < 0 && !(*p >= '0' && *p <= '9')))
		return WBI_FAIL(err, WB_EINVAL, "'%.40s' is not a %s; %s%s",
				text, size ? "size" : "whole number", range,
				size ? ", as 65536, 64K, 1M or 2G" : "");
	if (shift < 0 || value > UINT64_MAX >> shift ||
	    value << shift < field->min || value << shift > field->max)
		return WBI_FAIL(err, WB_ELIMIT, "%.40s is out of range %s",
				text, range);
	*slot = value << shift;
	return WB_OK;
}

static wb_code parse_bool(const wbi_config_field *field, const char *text,
			  void *base, wb_error *err)
{
	static const char *const yes[] = {"true", "yes", "on", "1"};
	static const char *const no[] = {"false", "no", "off", "0"};
	bool *slot = at(field, base);

	for (size_t i = 0; i < WBI_COUNT(yes); i++) {
		if (strcasecmp(text, yes[i]) != 0 &&
		    strcasecmp(text, no[i]) != 0)
			continue;
		*slot = strcasecmp(text, yes[i]) == 0;
		return WB_OK;
	}
	return WBI_FAIL(err, WB_EINVAL, "'%.40s' is neither true nor false",
			text);
}

static wb_code parse_choice(const wbi_config_field *field, const char *text,
			    void *base, wb_error *err)
{
	char range[128];

	for (int i = 0; field->choices[i]; i++) {
		if (strcmp(text, field->choices[i]) != 0)
			continue;
		memcpy(at(field, base), &i, sizeof(i));
		return WB_OK;
	}
	return WBI_FAIL(err, WB_EINVAL, "'%.40s' is not one of %s", text,
			wbi_config_range_text(field, range, sizeof(range)));
}

wb_code wbi_config_parse(const wbi_config_field *field, const char *text,
			 void *base, wb_error *err)
{
	switch (field->kind) {
	case WBI_CONFIG_TEXT:
		return parse_text(field, text, base, err);
	case WBI_CONFIG_NUMBER:
	case WBI_CONFIG_SIZE:
		return parse_number(field, text, base, err);
	case WBI_CONFIG_BOOL:
		return parse_bool(field, text, base, err);
	case WBI_CONFIG_CHOICE:
		return parse_choice(field, text, base, err);
	default:
		return wbi_config_add(field, text, base, err);
	}
}

/* ---- the whole --------------------------------------------------------- */

wb_code wbi_config_init(wbi_config *ret, wb_error *err)
{
	const wbi_config_key *key;
	wb_code rc = WB_OK;

	memset(ret, 0, sizeof(*ret));
	for (size_t i = 0; (key = wbi_config_key_at(i)) && rc == WB_OK; i++)
		if (key->field.init)
			rc = wbi_config_parse(&key->field, key->field.init, ret,
					      err);
	WB_ASSERT(rc == WB_OK || rc == WB_ENOMEM);
	if (rc != WB_OK)
		wbi_config_fini(ret);
	return rc;
}

static void list_clear(const wbi_config_list *list, wbi_config_items *items)
{
	for (size_t i = 0; i < items->count; i++)
		wbi_config_entry_fini(list, (char *)items->items +
						    i * list->entry_size);
	free(items->items);
	*items = (wbi_config_items){NULL, 0};
}

void wbi_config_fini(wbi_config *config)
{
	const wbi_config_key *key;

	for (size_t i = 0; (key = wbi_config_key_at(i)); i++) {
		void *slot = at(&key->field, config);

		if (key->field.kind == WBI_CONFIG_TEXT)
			text_free(*(char **)slot);
		else if (key->list)
			list_clear(key->list, slot);
	}
	memset(config, 0, sizeof(*config));
}

wb_code wbi_config_list_add(wbi_config *config, int key, void *entry,
			    wbi_config_source source, wb_error *err)
{
	const wbi_config_key *row = wbi_config_key_at((size_t)key);
	const wbi_config_list *list = row->list;
	wbi_config_items *items = at(&row->field, config);
	size_t size = list->entry_size;
	char *grown;

	if (source < config->source[key]) {
		wbi_config_entry_fini(list, entry);
		return WB_OK;
	}
	if (source > config->source[key])
		list_clear(list, items);
	config->source[key] = (uint8_t)source;
	if (items->count == WBI_CONFIG_ENTRIES_MAX) {
		wbi_config_entry_fini(list, entry);
		return WBI_FAIL(err, WB_ELIMIT, "has over %d entries",
				WBI_CONFIG_ENTRIES_MAX);
	}
	grown = realloc(items->items, (items->count + 1) * size);
	if (!grown) {
		wbi_config_entry_fini(list, entry);
		return WBI_FAIL(err, WB_ENOMEM, "out of memory");
	}
	memcpy(grown + items->count * size, entry, size);
	items->items = grown;
	items->count++;
	return WB_OK;
}

/* A scalar of a weaker source is parsed all the same, into nowhere, so that a
 * mistake in it is found before the stronger one is taken away. */
static wb_code set_scalar(wbi_config *config, int key, const char *text,
			  wbi_config_source source, wb_error *err)
{
	const wbi_config_field *field = &wbi_config_key_at((size_t)key)->field;
	wbi_config nowhere;
	wb_code rc;

	if (source >= config->source[key]) {
		rc = wbi_config_parse(field, text, config, err);
		if (rc == WB_OK)
			config->source[key] = (uint8_t)source;
		return rc;
	}
	memset(&nowhere, 0, sizeof(nowhere));
	rc = wbi_config_parse(field, text, &nowhere, err);
	wbi_config_fini(&nowhere);
	return rc;
}

wb_code wbi_config_check(const wbi_config *config, wb_error *err)
{
	if (config->backoff_min_ms > config->backoff_max_ms)
		return WBI_FAIL(err, WB_EINVAL,
				"backoff_min_ms (%llu) is over backoff_max_ms "
				"(%llu)",
				(unsigned long long)config->backoff_min_ms,
				(unsigned long long)config->backoff_max_ms);
	if (config->restart_min_ms > config->restart_max_ms)
		return WBI_FAIL(err, WB_EINVAL,
				"restart_min_ms (%llu) is over restart_max_ms "
				"(%llu)",
				(unsigned long long)config->restart_min_ms,
				(unsigned long long)config->restart_max_ms);
	if (!config->tls_cert_file != !config->tls_key_file)
		return WBI_FAIL(err, WB_EINVAL,
				"tls_cert_file and tls_key_file go together: "
				"%s is missing",
				config->tls_key_file ? "tls_cert_file"
						     : "tls_key_file");
	if (config->external_auth && !config->tls_cert_file && config->amqp &&
	    !strstr(config->amqp, "certfile="))
		return WBI_FAIL(err, WB_EINVAL,
				"external_auth needs a client certificate: set "
				"tls_cert_file and tls_key_file");
	return WB_OK;
}

wb_code wbi_config_set(wbi_config *config, int key, const char *text,
		       wbi_config_source source, wb_error *err)
{
	WB_ASSERT(key >= 0 && wbi_config_key_at((size_t)key));
	if (!wbi_config_key_at((size_t)key)->list)
		return set_scalar(config, key, text, source, err);
	return wbi_config_set_entry(config, key, text, source, err);
}

/* Entries of a list from the environment: ';' between them, "\;" in them. */
static wb_code env_list(wbi_config *config, int key, const char *text,
			wb_error *err)
{
	char entry[WBI_CONFIG_TEXT_MAX];
	size_t len = 0;
	wb_code rc = WB_OK;

	for (const char *p = text; rc == WB_OK; p++) {
		bool end = *p == '\0' || *p == ';';

		if (end && len > 0) {
			entry[len] = '\0';
			rc = wbi_config_set(config, key, entry, WBI_CONFIG_ENV,
					    err);
			len = 0;
		}
		if (*p == '\0')
			break;
		if (end)
			continue;
		if (p[0] == '\\' && p[1] == ';')
			p++;
		if (len + 1 == sizeof(entry))
			return WBI_FAIL(err, WB_ELIMIT,
					"an entry is over %d bytes",
					WBI_CONFIG_TEXT_MAX - 1);
		entry[len++] = *p;
	}
	return rc;
}

wb_code wbi_config_read_env(wbi_config *config, wb_error *err)
{
	const wbi_config_key *key;
	char name[64];

	for (size_t i = 0; (key = wbi_config_key_at(i)); i++) {
		wb_error cause = WB_ERROR_INIT;
		const char *text =
			getenv(wbi_config_env_name(key, name, sizeof(name)));
		wb_code rc;

		if (!text || text[0] == '\0')
			continue;
		rc = key->list ? env_list(config, (int)i, text, &cause)
			       : wbi_config_set(config, (int)i, text,
						WBI_CONFIG_ENV, &cause);
		if (rc != WB_OK)
			return WBI_FAIL(err, rc, "%s: %s", name, cause.text);
	}
	return WB_OK;
}
