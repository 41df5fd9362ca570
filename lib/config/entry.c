/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One entry of a list (a route, an exchange, a queue), from a text such as
 * "type=order.#,exchange=orders" or, field by field, from YAML. An entry is
 * built in memory of its own and joins the config when it is whole, so a bad
 * one leaves nothing behind.
 */
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/base/text.h"
#include "lib/config/config.h"

static void *at(const wbi_config_field *field, void *base)
{
	return (char *)base + field->offset;
}

/* Room for one more behind the last; the caller counts it when it is filled. */
static wb_code items_grow(wbi_config_items *items, size_t size, wb_error *err)
{
	char *grown;

	if (items->count == WBI_CONFIG_ENTRIES_MAX)
		return WBI_FAIL(err, WB_ELIMIT, "has over %d entries",
				WBI_CONFIG_ENTRIES_MAX);
	grown = realloc(items->items, (items->count + 1) * size);
	if (!grown)
		return WBI_FAIL(err, WB_ENOMEM, "out of memory");
	items->items = grown;
	return WB_OK;
}

/* "name=value", the name not empty. */
static wb_code add_text(wbi_config_items *items, const char *text,
			wb_error *err)
{
	const char *equals = strchr(text, '=');
	char *copy;
	wb_code rc;

	if (!equals || equals == text)
		return WBI_FAIL(err, WB_EINVAL,
				"'%.40s' is not of the form NAME=VALUE", text);
	rc = items_grow(items, sizeof(copy), err);
	if (rc != WB_OK)
		return rc;
	copy = wbi_text_dup(wb_str_from(text));
	if (!copy)
		return WBI_FAIL(err, WB_ENOMEM, "out of memory");
	((char **)items->items)[items->count++] = copy;
	return WB_OK;
}

static wb_code add_binding(wbi_config_items *items, const char *text,
			   wb_error *err)
{
	const char *colon = strchr(text, ':');
	wbi_config_binding binding;
	wb_code rc;

	if (!colon || colon == text)
		return WBI_FAIL(err, WB_EINVAL,
				"'%.40s' is not of the form EXCHANGE:KEY",
				text);
	rc = items_grow(items, sizeof(binding), err);
	if (rc != WB_OK)
		return rc;
	binding.exchange = wbi_text_dup(wb_str_n(text, (size_t)(colon - text)));
	binding.key = wbi_text_dup(wb_str_from(colon + 1));
	if (!binding.exchange || !binding.key) {
		free(binding.exchange);
		free(binding.key);
		return WBI_FAIL(err, WB_ENOMEM, "out of memory");
	}
	((wbi_config_binding *)items->items)[items->count++] = binding;
	return WB_OK;
}

wb_code wbi_config_add(const wbi_config_field *field, const char *text,
		       void *base, wb_error *err)
{
	if (!wbi_text_is_clean(wb_str_from(text), NULL))
		return WBI_FAIL(err, WB_EINVAL,
				"has a control character or bad UTF-8");
	if (field->kind == WBI_CONFIG_BINDS)
		return add_binding(at(field, base), text, err);
	WB_ASSERT(field->kind == WBI_CONFIG_TEXTS);
	return add_text(at(field, base), text, err);
}

static void items_fini(const wbi_config_field *field, wbi_config_items *items)
{
	for (size_t i = 0; i < items->count; i++) {
		if (field->kind == WBI_CONFIG_BINDS) {
			wbi_config_binding *b = items->items;

			free(b[i].exchange);
			free(b[i].key);
		} else {
			free(((char **)items->items)[i]);
		}
	}
	free(items->items);
}

void wbi_config_field_fini(const wbi_config_field *field, void *base)
{
	if (field->kind == WBI_CONFIG_TEXT)
		free(*(char **)at(field, base));
	else if (field->kind == WBI_CONFIG_TEXTS ||
		 field->kind == WBI_CONFIG_BINDS)
		items_fini(field, at(field, base));
}

void wbi_config_entry_fini(const wbi_config_list *list, void *entry)
{
	for (size_t i = 0; i < list->field_count; i++)
		wbi_config_field_fini(&list->fields[i], entry);
	memset(entry, 0, list->entry_size);
}

/* What has no default of its own: a queue's dead letters are named for it. */
static wb_code default_text(const wbi_config_list *list,
			    const wbi_config_field *field, void *entry,
			    wb_error *err)
{
	const char *name = *(char **)at(&list->fields[0], entry);
	char dead[WBI_CONFIG_TEXT_MAX + 8];

	if (field->init)
		return wbi_config_parse(field, field->init, entry, err);
	if (strncmp(field->name, "dead_letter", 11) != 0)
		return WB_OK;
	snprintf(dead, sizeof(dead), "%s.dead", name);
	return wbi_config_parse(field, dead, entry, err);
}

/* Numbers and choices get their defaults first, as 0 is a value. */
wb_code wbi_config_entry_begin(const wbi_config_list *list, void *entry,
			       wb_error *err)
{
	wb_code rc = WB_OK;

	memset(entry, 0, list->entry_size);
	for (size_t i = 0; i < list->field_count && rc == WB_OK; i++) {
		const wbi_config_field *field = &list->fields[i];

		if (field->init && field->kind != WBI_CONFIG_TEXT)
			rc = wbi_config_parse(field, field->init, entry, err);
	}
	return rc;
}

wb_code wbi_config_entry_done(const wbi_config_list *list, void *entry,
			      wb_error *err)
{
	wb_code rc = WB_OK;

	for (size_t i = 0; i < list->field_count && rc == WB_OK; i++) {
		const wbi_config_field *field = &list->fields[i];

		if (field->kind != WBI_CONFIG_TEXT ||
		    *(char **)at(field, entry))
			continue;
		if (field->required)
			return WBI_FAIL(err, WB_EINVAL, "needs '%s'",
					field->name);
		rc = default_text(list, field, entry, err);
	}
	return rc;
}

/* The field that "name" or "name-with-dashes" means; NULL if none. */
static const wbi_config_field *field_find(const wbi_config_list *list,
					  wb_str name)
{
	char word[64];

	if (name.len == 0 || name.len >= sizeof(word))
		return NULL;
	for (size_t i = 0; i < name.len; i++)
		word[i] = (char)(name.ptr[i] == '-' ? '_' : name.ptr[i]);
	for (size_t i = 0; i < list->field_count; i++)
		if (wb_str_eq(wb_str_from(list->fields[i].name),
			      wb_str_n(word, name.len)))
			return &list->fields[i];
	return NULL;
}

/* One "field=value"; `pair` is ours and writable. */
static wb_code entry_pair(const wbi_config_list *list, void *entry, char *pair,
			  wb_error *err)
{
	const wbi_config_field *field;
	wb_error cause = WB_ERROR_INIT;
	char *equals = strchr(pair, '=');
	const char *near;
	wb_code rc;

	if (!equals)
		return WBI_FAIL(err, WB_EINVAL,
				"'%.40s' is not of the form FIELD=VALUE", pair);
	*equals = '\0';
	field = field_find(list, wb_str_from(pair));
	near = wbi_config_nearest(wb_str_from(pair), list);
	if (!field)
		return WBI_FAIL(err, WB_EINVAL, "unknown field '%.40s'%s%s%s",
				pair, near ? "; did you mean '" : "",
				near ? near : "", near ? "'?" : "");
	rc = wbi_config_parse(field, equals + 1, entry, &cause);
	if (rc != WB_OK)
		return WBI_FAIL(err, rc, "%s: %s", pair, cause.text);
	return WB_OK;
}

/* Split at commas, "\," being one that is meant. */
static wb_code entry_parse(const wbi_config_list *list, void *entry,
			   const char *text, wb_error *err)
{
	char pair[WBI_CONFIG_TEXT_MAX + 1];
	size_t len = 0;
	wb_code rc = WB_OK;

	if (strlen(text) > WBI_CONFIG_TEXT_MAX)
		return WBI_FAIL(err, WB_ELIMIT, "is over %d bytes",
				WBI_CONFIG_TEXT_MAX);
	for (const char *p = text; rc == WB_OK; p++) {
		if (*p == '\0' || *p == ',') {
			pair[len] = '\0';
			rc = entry_pair(list, entry, pair, err);
			len = 0;
			if (*p == '\0')
				break;
			continue;
		}
		if (p[0] == '\\' && p[1] == ',')
			p++;
		pair[len++] = *p;
	}
	return rc;
}

wb_code wbi_config_set_entry(wbi_config *config, int key, const char *text,
			     wbi_config_source source, wb_error *err)
{
	const wbi_config_list *list = wbi_config_key_at((size_t)key)->list;
	wbi_config_entry entry;
	wb_code rc;

	WB_ASSERT(list && list->entry_size <= sizeof(entry));
	rc = wbi_config_entry_begin(list, &entry, err);
	if (rc == WB_OK)
		rc = list->plain ? wbi_config_parse(&list->fields[0], text,
						    &entry, err)
				 : entry_parse(list, &entry, text, err);
	if (rc == WB_OK)
		rc = wbi_config_entry_done(list, &entry, err);
	if (rc != WB_OK) {
		wbi_config_entry_fini(list, &entry);
		return rc;
	}
	return wbi_config_list_add(config, key, &entry, source, err);
}
