/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The configuration file. libcyaml checks its shape against a schema made
 * from the table of keys, with every scalar as text; the one parser of values
 * (config.c) does the rest. Whatever is refused is named with its place.
 * Nothing survives a failure but what was set before it; the caller gives up
 * then anyway. One thread.
 */
#include <cyaml/cyaml.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"
#include "lib/config/config.h"
#include "lib/config/where.h"

enum { RAW_FIELDS = 8, RAW_LISTS = 5, COMPLAINT_MAX = 256 };

/* What libcyaml fills: text everywhere, in the order of the table. */
typedef struct raw_binding {
	char *exchange, *key;
} raw_binding;

typedef struct raw_entry {
	char *text[RAW_FIELDS];
	raw_binding *bind;
	unsigned bind_count;
	char **texts;
	unsigned text_count;
} raw_entry;

typedef struct raw_config {
	char *text[WBI_CONFIG_KEYS];
	void *entries[WBI_CONFIG_KEYS]; /* raw_entry; char * of a plain list */
	unsigned counts[WBI_CONFIG_KEYS];
} raw_config;

typedef struct yaml_schema {
	cyaml_schema_value_t root;
	cyaml_schema_field_t keys[WBI_CONFIG_KEYS + 1];
	cyaml_schema_value_t entry[RAW_LISTS];
	cyaml_schema_field_t fields[RAW_LISTS][RAW_FIELDS + 1];
} yaml_schema;

/* libcyaml's complaint: the first line, and the path of the lines below. */
typedef struct yaml_complaint {
	char text[COMPLAINT_MAX];
	wbi_yaml_path inside_out;
} yaml_complaint;

static const cyaml_schema_value_t text_schema = {
	CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char *, 0, CYAML_UNLIMITED)};

static const cyaml_schema_field_t binding_fields[] = {
	CYAML_FIELD_STRING_PTR("exchange", CYAML_FLAG_POINTER, raw_binding,
			       exchange, 0, CYAML_UNLIMITED),
	CYAML_FIELD_STRING_PTR("key", CYAML_FLAG_POINTER, raw_binding, key, 0,
			       CYAML_UNLIMITED),
	CYAML_FIELD_END};

static const cyaml_schema_value_t binding_schema = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, raw_binding, binding_fields)};

/* ---- the schema -------------------------------------------------------- */

static cyaml_schema_field_t schema_text(const char *name, size_t offset)
{
	cyaml_schema_field_t field = {
		.key = name,
		.data_offset = (uint32_t)offset,
		.value = {CYAML_VALUE_STRING(CYAML_FLAG_POINTER_NULL_STR |
						     CYAML_FLAG_OPTIONAL,
					     char *, 0, CYAML_UNLIMITED)}};

	return field;
}

static cyaml_schema_field_t schema_list(const char *name, size_t offset,
					size_t count_offset,
					const cyaml_schema_value_t *entry)
{
	cyaml_schema_field_t field = {
		.key = name,
		.data_offset = (uint32_t)offset,
		.count_offset = (uint32_t)count_offset,
		.count_size = sizeof(unsigned),
		.value = {.type = CYAML_SEQUENCE,
			  .flags = CYAML_FLAG_POINTER_NULL_STR |
				   CYAML_FLAG_OPTIONAL,
			  .data_size = entry->data_size,
			  .sequence = {.entry = entry,
				       .min = 0,
				       .max = WBI_CONFIG_ENTRIES_MAX}}};

	if (entry->flags & CYAML_FLAG_POINTER)
		field.value.data_size = sizeof(char *);
	return field;
}

static void schema_entry(const wbi_config_list *list,
			 cyaml_schema_field_t *fields,
			 cyaml_schema_value_t *ret)
{
	WB_ASSERT(list->field_count <= RAW_FIELDS);
	for (size_t i = 0; i < list->field_count; i++) {
		const wbi_config_field *field = &list->fields[i];

		if (field->kind == WBI_CONFIG_TEXTS)
			fields[i] = schema_list(
				field->name, offsetof(raw_entry, texts),
				offsetof(raw_entry, text_count), &text_schema);
		else if (field->kind == WBI_CONFIG_BINDS)
			fields[i] = schema_list(field->name,
						offsetof(raw_entry, bind),
						offsetof(raw_entry, bind_count),
						&binding_schema);
		else
			fields[i] = schema_text(field->name,
						offsetof(raw_entry, text) +
							i * sizeof(char *));
	}
	*ret = (cyaml_schema_value_t){
		CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, raw_entry, fields)};
}

/* A list's key: of the entries that `fields` and `entry` come to describe. */
static cyaml_schema_field_t schema_key(const wbi_config_key *key, size_t i,
				       cyaml_schema_field_t *fields,
				       cyaml_schema_value_t *entry)
{
	if (!key->list->plain)
		schema_entry(key->list, fields, entry);
	return schema_list(key->field.name,
			   offsetof(raw_config, entries) + i * sizeof(void *),
			   offsetof(raw_config, counts) + i * sizeof(unsigned),
			   key->list->plain ? &text_schema : entry);
}

static void schema_make(yaml_schema *schema)
{
	const wbi_config_key *key;
	size_t out = 0, lists = 0;

	memset(schema, 0, sizeof(*schema));
	for (size_t i = 0; (key = wbi_config_key_at(i)); i++) {
		if (!key->in_file)
			continue;
		if (!key->list) {
			schema->keys[out++] = schema_text(
				key->field.name, offsetof(raw_config, text) +
							 i * sizeof(char *));
			continue;
		}
		WB_ASSERT(lists < RAW_LISTS);
		schema->keys[out++] = schema_key(key, i, schema->fields[lists],
						 &schema->entry[lists]);
		lists++;
	}
	schema->root = (cyaml_schema_value_t){CYAML_VALUE_MAPPING(
		CYAML_FLAG_POINTER, raw_config, schema->keys)};
}

/* ---- complaints -------------------------------------------------------- */

WB_PRINTF(3, 0)
static void complaint_log(cyaml_log_t level, void *ctx, const char *format,
			  va_list args)
{
	yaml_complaint *complaint = ctx;
	char line[COMPLAINT_MAX], name[64];
	unsigned number;

	if (level != CYAML_LOG_ERROR)
		return;
	vsnprintf(line, sizeof(line), format, args);
	line[strcspn(line, "\n")] = '\0';
	if (sscanf(line, " in mapping field '%63[^']'", name) == 1)
		wbi_yaml_path_key(&complaint->inside_out, name);
	/* NOLINTNEXTLINE(cert-err34-c): libcyaml's own words, only to be said */
	else if (sscanf(line, " in sequence entry '%u'", &number) == 1)
		wbi_yaml_path_index(&complaint->inside_out,
				    number > 0 ? number - 1 : 0);
	else if (!complaint->text[0] && !strncmp(line, "Load: ", 6))
		snprintf(complaint->text, sizeof(complaint->text), "%s",
			 line + 6);
}

/* The rest of `text` behind `prefix`, or NULL. */
static const char *behind(const char *text, const char *prefix)
{
	size_t len = strlen(prefix);

	return strncmp(text, prefix, len) ? NULL : text + len;
}

/* The list that the path leads into, to suggest its fields. */
static const wbi_config_list *path_list(const wbi_yaml_path *path)
{
	int key;

	if (path->count != 2)
		return NULL;
	key = wbi_config_find(wb_str_from(path->steps[0].key));
	return key < 0 ? NULL : wbi_config_key_at((size_t)key)->list;
}

static void explain_unknown(const wbi_yaml_path *path, const char *name,
			    char *ret, size_t size)
{
	const wbi_config_list *list = path_list(path);
	int key = list ? -1 : wbi_config_find(wb_str_from(name));
	const char *near = wbi_config_nearest(wb_str_from(name), list);

	if (path->count > 2)
		snprintf(ret, size,
			 "unknown key '%.60s'; a binding has "
			 "'exchange' and 'key'",
			 name);
	else if (key >= 0)
		snprintf(ret, size, "key '%s' must not stand in a file", name);
	else if (near)
		snprintf(ret, size, "unknown key '%.60s'; did you mean '%s'?",
			 name, near);
	else
		snprintf(ret, size,
			 "unknown key '%.60s'; waybill.conf(5) "
			 "lists them all",
			 name);
}

/* libcyaml's words into ours; completes the path to the offending key. */
static void explain(const yaml_complaint *complaint, wbi_yaml_path *path,
		    char *ret, size_t size)
{
	const char *text = complaint->text, *name, *what = NULL;
	const wbi_yaml_step *last =
		path->count > 0 ? &path->steps[path->count - 1] : NULL;

	if ((name = behind(text, "Unexpected key: "))) {
		explain_unknown(path, name, ret, size);
		wbi_yaml_path_key(path, name);
		return;
	}
	if ((name = behind(text, "Mapping field already seen: "))) {
		if (last && last->key[0])
			path->count--;
		wbi_yaml_path_key(path, name);
		snprintf(ret, size, "key '%.60s' is given twice", name);
		return;
	}
	if (behind(text, "Expecting STRING"))
		what = "must be a single value";
	else if (behind(text, "Expecting SEQUENCE"))
		what = "must be a list, each entry behind a '-'";
	else if (behind(text, "Expecting MAPPING"))
		what = "must be 'key: value' pairs";
	snprintf(ret, size, "%s%s%.200s", last && last->key[0] ? last->key : "",
		 last && last->key[0] ? ": " : "", what ? what : text);
}

static wb_code fail_at(wb_error *err, wb_code code, const char *name,
		       wb_str yaml, const wbi_yaml_path *path, const char *what)
{
	const char *problem;
	size_t line, column;

	wbi_yaml_where(yaml, path, &line, &column, &problem);
	return WBI_FAIL(err, code, "%s:%zu:%zu: %s", name, line, column,
			problem ? problem : what);
}

static wb_code fail_load(wb_error *err, cyaml_err_t rc,
			 const yaml_complaint *complaint, const char *name,
			 wb_str yaml)
{
	wbi_yaml_path path = {.count = complaint->inside_out.count};
	char what[COMPLAINT_MAX + 64];

	if (rc == CYAML_ERR_OOM)
		return WBI_FAIL(err, WB_ENOMEM, "%s: out of memory", name);
	for (size_t i = 0; i < path.count; i++)
		path.steps[i] = complaint->inside_out.steps[path.count - 1 - i];
	explain(complaint, &path, what, sizeof(what));
	if (rc == CYAML_ERR_ALIAS)
		snprintf(what, sizeof(what), "aliases are not supported here");
	if (!what[0])
		snprintf(what, sizeof(what), "%s", cyaml_strerror(rc));
	return fail_at(err, WB_EINVAL, name, yaml, &path, what);
}

/* ---- from what was loaded to the config -------------------------------- */

/* Where take() is, for the error. */
typedef struct yaml_place {
	const char *name;
	wb_str yaml;
	wbi_yaml_path path;
} yaml_place;

/* `cause` with its place in front; the last key of the path names it. */
static wb_code fail_value(wb_error *err, yaml_place *place, wb_code rc,
			  const wb_error *cause)
{
	char what[WB_ERROR_TEXT_MAX];
	const char *key = "";

	for (size_t i = 0; i < place->path.count; i++)
		if (place->path.steps[i].key[0])
			key = place->path.steps[i].key;
	snprintf(what, sizeof(what), "%s: %.400s", key, cause->text);
	return fail_at(err, rc, place->name, place->yaml, &place->path, what);
}

static wb_code take_items(const wbi_config_field *field, const raw_entry *raw,
			  void *entry, yaml_place *place, wb_error *err)
{
	bool binds = field->kind == WBI_CONFIG_BINDS;
	size_t count = binds ? raw->bind_count : raw->text_count;
	char text[2 * WBI_CONFIG_TEXT_MAX];
	wb_code rc;

	for (size_t i = 0; i < count; i++) {
		wb_error cause = WB_ERROR_INIT;

		if (binds)
			snprintf(text, sizeof(text), "%s:%s",
				 raw->bind[i].exchange, raw->bind[i].key);
		else
			snprintf(text, sizeof(text), "%s", raw->texts[i]);
		rc = wbi_config_add(field, text, entry, &cause);
		if (rc != WB_OK) {
			wbi_yaml_path_index(&place->path, i);
			return fail_value(err, place, rc, &cause);
		}
	}
	return WB_OK;
}

static wb_code take_field(const wbi_config_list *list, size_t i,
			  const raw_entry *raw, void *entry, yaml_place *place,
			  wb_error *err)
{
	const wbi_config_field *field = &list->fields[i];
	wb_error cause = WB_ERROR_INIT;
	wb_code rc = WB_OK;

	wbi_yaml_path_key(&place->path, field->name);
	if (field->kind == WBI_CONFIG_TEXTS || field->kind == WBI_CONFIG_BINDS)
		rc = take_items(field, raw, entry, place, err);
	else if (raw->text[i])
		rc = wbi_config_parse(field, raw->text[i], entry, &cause);
	if (cause.code != WB_OK)
		fail_value(err, place, rc, &cause);
	place->path.count = 2;
	return rc;
}

static wb_code take_plain(wbi_config *config, int key, const char *text,
			  yaml_place *place, wb_error *err)
{
	wb_error cause = WB_ERROR_INIT;
	wb_code rc = wbi_config_set_entry(config, key, text, WBI_CONFIG_FILE,
					  &cause);

	return rc == WB_OK ? rc : fail_value(err, place, rc, &cause);
}

static wb_code take_entry(wbi_config *config, int key, const raw_entry *raw,
			  yaml_place *place, wb_error *err)
{
	const wbi_config_list *list = wbi_config_key_at((size_t)key)->list;
	wb_error cause = WB_ERROR_INIT;
	wbi_config_entry entry;
	wb_code rc;

	rc = wbi_config_entry_begin(list, &entry, err);
	for (size_t i = 0; i < list->field_count && rc == WB_OK; i++)
		rc = take_field(list, i, raw, &entry, place, err);
	if (rc == WB_OK) {
		rc = wbi_config_entry_done(list, &entry, &cause);
		if (rc != WB_OK)
			fail_value(err, place, rc, &cause);
	}
	if (rc != WB_OK) {
		wbi_config_entry_fini(list, &entry);
		return rc;
	}
	return wbi_config_list_add(config, key, &entry, WBI_CONFIG_FILE, err);
}

static wb_code take_key(wbi_config *config, int key, const raw_config *raw,
			yaml_place *place, wb_error *err)
{
	const wbi_config_key *row = wbi_config_key_at((size_t)key);
	const raw_entry *entries = raw->entries[key];
	char *const *texts = raw->entries[key];
	wb_error cause = WB_ERROR_INIT;
	wb_code rc = WB_OK;

	place->path.count = 0;
	wbi_yaml_path_key(&place->path, row->field.name);
	if (!row->list && raw->text[key]) {
		rc = wbi_config_set(config, key, raw->text[key],
				    WBI_CONFIG_FILE, &cause);
		return rc == WB_OK ? rc : fail_value(err, place, rc, &cause);
	}
	WB_ASSERT(row->list || raw->counts[key] == 0);
	for (size_t i = 0; i < raw->counts[key] && rc == WB_OK; i++) {
		place->path.count = 1;
		wbi_yaml_path_index(&place->path, i);
		rc = row->list->plain
			     ? take_plain(config, key, texts[i], place, err)
			     : take_entry(config, key, &entries[i], place, err);
	}
	return rc;
}

wb_code wbi_config_read_yaml(wbi_config *config, const char *name, wb_str yaml,
			     wb_error *err)
{
	yaml_complaint complaint = {.text = ""};
	const cyaml_config_t how = {.log_fn = complaint_log,
				    .log_ctx = &complaint,
				    .mem_fn = cyaml_mem,
				    .log_level = CYAML_LOG_WARNING,
				    .flags = CYAML_CFG_NO_ALIAS};
	yaml_place place = {.name = name, .yaml = yaml};
	raw_config *raw = NULL;
	yaml_schema schema;
	cyaml_err_t loaded;
	wb_code rc = WB_OK;

	schema_make(&schema);
	if (yaml.len == 0) /* libcyaml refuses a NULL or empty input */
		return WB_OK;
	loaded = cyaml_load_data((const uint8_t *)yaml.ptr, yaml.len, &how,
				 &schema.root, (cyaml_data_t **)&raw, NULL);
	if (loaded != CYAML_OK)
		return fail_load(err, loaded, &complaint, name, yaml);
	for (size_t i = 0; raw && wbi_config_key_at(i) && rc == WB_OK; i++)
		rc = take_key(config, (int)i, raw, &place, err);
	cyaml_free(&how, &schema.root, raw, 0);
	return rc;
}

/* ---- the file ---------------------------------------------------------- */

static wb_code read_all(int fd, const char *path, char *buf, size_t size,
			size_t *ret_len, wb_error *err)
{
	size_t len = 0;

	for (;;) {
		ssize_t n = read(fd, buf + len, size - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return wbi_fail_errno(err, errno, __func__, "%s", path);
		if (n == 0)
			break;
		len += (size_t)n;
		if (len == size)
			return WBI_FAIL(err, WB_ELIMIT,
					"%s: over %d bytes; is this a "
					"configuration?",
					path, WBI_CONFIG_FILE_MAX);
	}
	*ret_len = len;
	return WB_OK;
}

wb_code wbi_config_read_file(wbi_config *config, const char *path,
			     wb_error *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	size_t size = WBI_CONFIG_FILE_MAX + 1, len = 0;
	char *buf = NULL;
	struct stat st;
	wb_code rc;

	if (fd < 0)
		return wbi_fail_errno(err, errno, __func__, "%s", path);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		rc = WBI_FAIL(err, WB_EINVAL, "%s: not a regular file", path);
		goto out;
	}
	buf = malloc(size);
	if (!buf) {
		rc = WBI_FAIL(err, WB_ENOMEM, "%s: out of memory", path);
		goto out;
	}
	rc = read_all(fd, path, buf, size, &len, err);
	if (rc == WB_OK)
		rc = wbi_config_read_yaml(config, path, wb_str_n(buf, len),
					  err);
out:
	if (buf) /* a URI in it may hold a password */
		explicit_bzero(buf, len);
	free(buf);
	close(fd);
	return rc;
}
