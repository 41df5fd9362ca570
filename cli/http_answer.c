/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is answered: one row as it is, or rows as JSON, each from one snapshot,
 * whose position is in the headers. Values that are JSON by their table's
 * content type, and parse, stand in an answer byte for byte; text as a string;
 * other bytes as base64.
 */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/figures.h"
#include "cli/http_internal.h"
#include "lib/base/assert.h"
#include "lib/base/buffer.h"
#include "lib/base/error.h"
#include "lib/base/text.h"
#include "lib/event/json.h"
#include "projections/read.h"

/* The answer to be, and what it is about. */
typedef struct answer {
	cli_http *http;
	http_request *request;
	unsigned status;
	const char *type;
	wbi_buffer body;
	http_model *model; /* whose snapshot is open; NULL: none */
	bool aside; /* the key is quarantined */
} answer;

/* ---- small things -------------------------------------------------------- */

static bool put(answer *a, const char *bytes, size_t len)
{
	return wbi_buffer_append(&a->body, bytes, len) == WB_OK;
}

static bool put_text(answer *a, const char *text)
{
	return put(a, text, strlen(text));
}

/* A JSON string; false: it is not UTF-8, and nothing was put. */
static bool put_string(answer *a, wb_str text)
{
	json_t *json = wbi_text_is_utf8(text)
			       ? json_stringn(text.ptr ? text.ptr : "",
					      text.len)
			       : NULL;
	char *dump = json ? json_dumps(json, JSON_ENCODE_ANY) : NULL;
	bool ok = dump && put_text(a, dump);

	free(dump);
	json_decref(json);
	return ok;
}

static bool put_base64(answer *a, wb_str bytes)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmn"
				     "opqrstuvwxyz0123456789+/";
	const uint8_t *p = (const uint8_t *)bytes.ptr;
	bool ok = put_text(a, "\"");

	for (size_t i = 0; ok && i < bytes.len; i += 3) {
		size_t left = bytes.len - i;
		uint32_t n = (uint32_t)p[i] << 16 |
			     (left > 1 ? (uint32_t)p[i + 1] << 8 : 0) |
			     (left > 2 ? p[i + 2] : 0);
		char quad[4] = {digits[n >> 18], digits[n >> 12 & 63],
				(char)(left > 1 ? digits[n >> 6 & 63] : '='),
				(char)(left > 2 ? digits[n & 63] : '=')};

		ok = put(a, quad, sizeof(quad));
	}
	return ok && put_text(a, "\"");
}

/* "name":TEXT, or "name_base64":... */
static bool put_member(answer *a, const char *name, wb_str bytes)
{
	char text[64];

	if (wbi_text_is_utf8(bytes)) {
		snprintf(text, sizeof(text), "\"%s\":", name);
		return put_text(a, text) && put_string(a, bytes);
	}
	snprintf(text, sizeof(text), "\"%s_base64\":", name);
	return put_text(a, text) && put_base64(a, bytes);
}

static bool put_value(answer *a, const char *type, wb_str value)
{
	json_t *json = NULL;

	if (!strncmp(type, "application/json", 16) &&
	    wbi_json_parse(value, &json, NULL) == WB_OK)
		json_decref(json);
	if (json)
		return put_text(a, "\"value\":") &&
		       put(a, value.ptr, value.len);
	return put_member(a, "value", value);
}

/* Answer with an error instead of what was begun. */
static void refuse(answer *a, unsigned status, const char *format, ...)
	WB_PRINTF(3, 4);

static void refuse(answer *a, unsigned status, const char *format, ...)
{
	char text[WB_ERROR_TEXT_MAX], number[32];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	wbi_buffer_clear(&a->body);
	a->status = status;
	a->type = "application/json";
	snprintf(number, sizeof(number), ",\"status\":%u}\n", status);
	if (!put_text(a, "{") ||
	    !put_member(a, "error", wb_str_from(text)) || !put_text(a, number))
		wbi_buffer_clear(&a->body);
}

static void refuse_error(answer *a, const wb_error *err)
{
	unsigned status = MHD_HTTP_INTERNAL_SERVER_ERROR;

	if (err->code == WB_EINVAL)
		status = MHD_HTTP_BAD_REQUEST;
	else if (err->code == WB_ENOTFOUND)
		status = MHD_HTTP_NOT_FOUND;
	else if (err->class_ == WB_CLASS_RETRY)
		status = MHD_HTTP_SERVICE_UNAVAILABLE;
	refuse(a, status, "%s", err->text);
}

/* ---- the query ----------------------------------------------------------- */

static const char *query_text(const answer *a, const char *name)
{
	return MHD_lookup_connection_value(a->request->connection,
					   MHD_GET_ARGUMENT_KIND, name);
}

static bool query_number(answer *a, const char *name, uint64_t most,
			 uint64_t *ret)
{
	const char *text = query_text(a, name);
	char *end;

	if (!text)
		return true;
	*ret = strtoull(text, &end, 10);
	if (text[0] >= '0' && text[0] <= '9' && *end == '\0' && *ret <= most)
		return true;
	refuse(a, MHD_HTTP_BAD_REQUEST, "%s=%.40s: a number up to %" PRIu64,
	       name, text, most);
	return false;
}

/* "2s", "500ms", "500": milliseconds. */
static bool query_wait(answer *a, uint64_t *ret_ms)
{
	const char *text = query_text(a, "wait");
	char *end;

	*ret_ms = 0;
	if (!text)
		return true;
	*ret_ms = strtoull(text, &end, 10);
	if (!strcmp(end, "s"))
		*ret_ms *= 1000;
	else if (*end && strcmp(end, "ms") != 0)
		end = NULL;
	if (end && text[0] >= '0' && text[0] <= '9' &&
	    *ret_ms <= HTTP_WAIT_MAX_MS)
		return true;
	refuse(a, MHD_HTTP_BAD_REQUEST, "wait=%.40s: as 2s or 500ms, at most "
					"%d s",
	       text, HTTP_WAIT_MAX_MS / 1000);
	return false;
}

/* A key: text, or hex with hex=1. `buf` has 512 bytes. */
static bool query_key(answer *a, const char *name, uint8_t *buf, wb_str *ret)
{
	const char *text = query_text(a, name);
	bool hex = query_text(a, "hex") != NULL;

	if (!text || cli_bytes_of(text, hex, buf, ret))
		return true;
	refuse(a, MHD_HTTP_BAD_REQUEST, "%s is not hex", name);
	return false;
}

/* ---- the snapshot -------------------------------------------------------- */

/*
 * Open the model's snapshot, at the position that is asked for. False: the
 * answer is made already, or the request sleeps.
 */
static bool snapshot_at(answer *a, uint64_t position, uint64_t wait_ms,
			bool *ret_sleeps)
{
	http_request *r = a->request;
	wb_error err = WB_ERROR_INIT;

	if (wb_read_begin(a->model->read, &err) != WB_OK) {
		refuse_error(a, &err);
		if (err.code == WB_ENOTFOUND) /* not begun */
			a->status = MHD_HTTP_SERVICE_UNAVAILABLE;
		a->model = NULL;
		return false;
	}
	if (wb_read_position(a->model->read) >= position)
		return true;
	r->generation = wb_read_generation(a->model->read);
	if (wait_ms > 0 && !r->waited) {
		r->model = a->model;
		r->position = position;
		r->until_us = cli_mono_us() + (int64_t)wait_ms * 1000;
		*ret_sleeps = true;
		return false;
	}
	refuse(a, MHD_HTTP_SERVICE_UNAVAILABLE,
	       "position %" PRIu64 " is not projected yet: it is at %" PRIu64,
	       position, wb_read_position(a->model->read));
	return false;
}

static bool open_snapshot(answer *a, wb_str name, bool *ret_sleeps)
{
	uint64_t position = 0, wait_ms = 0;
	wb_error err = WB_ERROR_INIT;
	http_model *model;

	if (!query_number(a, "at-least", UINT64_MAX, &position) ||
	    !query_wait(a, &wait_ms))
		return false;
	if (http_model_of(a->http, name, &model, &err) != WB_OK) {
		refuse_error(a, &err);
		if (err.code == WB_EINVAL)
			a->status = MHD_HTTP_NOT_FOUND;
		return false;
	}
	a->model = model;
	return snapshot_at(a, position, wait_ms, ret_sleeps);
}

/* Equal texts mean equal answers. */
static void etag_of(const answer *a, char ret[64])
{
	const wb_read *read = a->model->read;

	snprintf(ret, 64, "\"%" PRIu32 ".%" PRIu64 "\"",
		 wb_read_generation(read), wb_read_position(read));
}

static bool not_modified(answer *a)
{
	const char *have = MHD_lookup_connection_value(
		a->request->connection, MHD_HEADER_KIND, "If-None-Match");
	char etag[64];

	etag_of(a, etag);
	if (!have || (!strstr(have, etag) && strcmp(have, "*") != 0))
		return false;
	a->status = MHD_HTTP_NOT_MODIFIED;
	return true;
}

static const char *type_of(const answer *a, const char *table)
{
	const wbi_shape *shape = &a->model->read->gen->shape;
	size_t at = wbi_shape_table_of(shape, table);

	if (at == SIZE_MAX)
		return "application/octet-stream"; /* refused by the read */
	return shape->tables[at].content_type[0]
		       ? shape->tables[at].content_type
		       : "application/octet-stream";
}

/* ---- a row --------------------------------------------------------------- */

static void answer_row(answer *a, const char *text)
{
	const char *table = query_text(a, "table");
	wb_read *read = a->model->read;
	wb_error err = WB_ERROR_INIT;
	wb_str key, value;
	uint8_t buf[512];
	wb_code code;

	if (!cli_bytes_of(text, query_text(a, "hex") != NULL, buf, &key)) {
		refuse(a, MHD_HTTP_BAD_REQUEST, "the key is not hex");
		return;
	}
	code = wb_read_get(read, table, key, &value, &err);
	(void)wb_read_is_aside(read, key, &a->aside, NULL, NULL);
	if (code == WB_ENOTFOUND) {
		refuse(a, MHD_HTTP_NOT_FOUND, "no such row");
		return;
	}
	if (code != WB_OK) {
		refuse_error(a, &err);
		return;
	}
	if (not_modified(a))
		return;
	a->type = type_of(a, table);
	if (!put(a, value.ptr, value.len))
		refuse(a, MHD_HTTP_INTERNAL_SERVER_ERROR,
		       "the value is too large to be served");
}

/* ---- rows ---------------------------------------------------------------- */

static bool rows_put(answer *a, const wb_read_row *row, const char *type,
		     bool index, bool first)
{
	return put_text(a, first ? "{" : ",{") &&
	       put_member(a, "key", row->key) &&
	       (!index || (put_text(a, ",") &&
			   put_member(a, "index_key", row->index_key))) &&
	       put_text(a, ",") && put_value(a, type, row->value) &&
	       put_text(a, "}");
}

static void rows_all(answer *a, const wb_read_query *query, uint64_t limit)
{
	char cursor[WB_READ_CURSOR_MAX + 1] = "", tail[64];
	wb_read *read = a->model->read;
	const char *type = type_of(a, query->table);
	wb_error err = WB_ERROR_INIT;
	uint64_t count = 0;
	wb_read_row row;
	wb_code code = WB_OK;
	bool ok = put_text(a, "{\"rows\":[");

	while (ok && count < limit) {
		code = wb_read_next(read, &row, &err);
		if (code != WB_OK)
			break;
		ok = rows_put(a, &row, type, query->index != NULL, count == 0);
		count++;
		if (wbi_buffer_len(&a->body) > HTTP_ANSWER_MAX / 4)
			break;
	}
	if (code != WB_OK && code != WB_ENOTFOUND) {
		refuse_error(a, &err);
		return;
	}
	if (code == WB_OK)
		wb_read_cursor(read, cursor);
	snprintf(tail, sizeof(tail), "\",\"position\":%" PRIu64 "}\n",
		 wb_read_position(read));
	ok = ok && put_text(a, "],\"cursor\":\"") && put_text(a, cursor) &&
	     put_text(a, tail);
	if (!ok)
		refuse(a, MHD_HTTP_INTERNAL_SERVER_ERROR,
		       "a row is too large to be served so: ask for its key");
}

static void answer_rows(answer *a)
{
	uint8_t prefix[512], from[512], to[512], equal[512];
	wb_read_query query = WB_READ_QUERY_INIT;
	wb_error err = WB_ERROR_INIT;
	uint64_t limit = HTTP_ROWS;

	query.table = query_text(a, "table");
	query.index = query_text(a, "index");
	query.reverse = query_text(a, "reverse") != NULL;
	query.cursor = wb_str_from(query_text(a, "cursor"));
	if (!query_number(a, "limit", HTTP_ROWS_MAX, &limit) ||
	    !query_key(a, "prefix", prefix, &query.prefix) ||
	    !query_key(a, "from", from, &query.from) ||
	    !query_key(a, "to", to, &query.to) ||
	    !query_key(a, "equal", equal, &query.equal))
		return;
	if (wb_read_scan(a->model->read, &query, &err) != WB_OK) {
		refuse_error(a, &err);
		return;
	}
	if (not_modified(a))
		return;
	a->type = "application/json";
	rows_all(a, &query, limit);
}

/* ---- all of them --------------------------------------------------------- */

static wb_code list_see(void *ctx, const char *name, wb_error *err)
{
	answer *a = ctx;
	bool first = wbi_buffer_len(&a->body) == strlen("{\"projections\":[");

	if (!put_text(a, first ? "\"" : ",\"") || !put_text(a, name) ||
	    !put_text(a, "\""))
		return WBI_FAIL(err, WB_ELIMIT, "too many projections");
	return WB_OK;
}

static void answer_list(answer *a)
{
	wb_error err = WB_ERROR_INIT;

	a->type = "application/json";
	if (!put_text(a, "{\"projections\":[") ||
	    wbi_models_list(a->http->options.dir, list_see, a, &err) != WB_OK ||
	    !put_text(a, "]}\n"))
		refuse_error(a, &err);
}

typedef struct said {
	answer *a;
	cli_figures *all;
	size_t count;
} said;

static wb_code said_see(void *ctx, const char *name, wb_error *err)
{
	said *s = ctx;
	wb_error unreadable = WB_ERROR_INIT;
	http_model *model;

	(void)err;
	/* One that cannot be read is in no metric; its status says why. */
	if (s->count < CLI_PROJECTIONS_MAX &&
	    http_model_of(s->a->http, wb_str_from(name), &model, &unreadable) ==
		    WB_OK &&
	    cli_figures_read(model->read->home, NULL, &s->all[s->count],
			     &unreadable) == WB_OK)
		s->count++;
	return WB_OK;
}

static void answer_metrics(answer *a, const said *s)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (out) {
		cli_figures_metrics(out, s->all, s->count);
		fclose(out);
	}
	if (!text || !put(a, text, len))
		refuse(a, MHD_HTTP_INTERNAL_SERVER_ERROR, "out of memory");
	else
		a->type = "text/plain; version=0.0.4";
	free(text);
}

static void answer_health(answer *a, const said *s)
{
	for (size_t i = 0; i < s->count; i++) {
		const cli_figures *f = &s->all[i];

		if (f->live.row.state != WB_PROJECTOR_STUCK)
			continue;
		refuse(a, MHD_HTTP_SERVICE_UNAVAILABLE,
		       "projection %s is stuck", f->name);
		return;
	}
	put_text(a, "ok\n");
}

static void answer_said(answer *a, bool metrics)
{
	said s = {a, calloc(CLI_PROJECTIONS_MAX, sizeof(*s.all)), 0};
	wb_error err = WB_ERROR_INIT;

	if (!s.all)
		refuse(a, MHD_HTTP_INTERNAL_SERVER_ERROR, "out of memory");
	else if (wbi_models_list(a->http->options.dir, said_see, &s, &err) !=
		 WB_OK)
		refuse_error(a, &err);
	else if (metrics)
		answer_metrics(a, &s);
	else
		answer_health(a, &s);
	free(s.all);
}

/* ---- who may, and what is meant ------------------------------------------ */

/* In a time that tells nothing of where the two differ. */
static bool same(const char *a, const char *b)
{
	size_t len = strlen(a);
	unsigned differ = (unsigned)(len ^ strlen(b));

	for (size_t i = 0; i < len && i < strlen(b); i++)
		differ |= (unsigned)(a[i] ^ b[i]);
	return differ == 0;
}

static bool allowed(const answer *a)
{
	const char *given = MHD_lookup_connection_value(
		a->request->connection, MHD_HEADER_KIND, "Authorization");

	if (!a->http->token[0])
		return true;
	return given && !strncmp(given, "Bearer ", 7) &&
	       same(given + 7, a->http->token);
}

/* False: the request sleeps. */
static bool answer_path(answer *a, const char *url)
{
	static const char root[] = "/projections";
	const char *name, *slash;
	bool sleeps = false;

	if (!strcmp(url, "/metrics") || !strcmp(url, "/healthz")) {
		answer_said(a, url[1] == 'm');
		return true;
	}
	if (strncmp(url, root, sizeof(root) - 1) != 0 ||
	    (url[sizeof(root) - 1] != '/' && url[sizeof(root) - 1] != '\0')) {
		refuse(a, MHD_HTTP_NOT_FOUND,
		       "there is /projections, /metrics and /healthz");
		return true;
	}
	name = url + sizeof(root) - 1;
	name += *name == '/';
	if (*name == '\0') {
		answer_list(a);
		return true;
	}
	slash = strchr(name, '/');
	if (open_snapshot(a,
			  wb_str_n(name, slash ? (size_t)(slash - name)
					       : strlen(name)),
			  &sleeps)) {
		if (slash && slash[1])
			answer_row(a, slash + 1);
		else
			answer_rows(a);
	}
	return !sleeps;
}

/* ---- the answer as a whole ----------------------------------------------- */

static void header(struct MHD_Response *response, const char *name,
		   const char *format, ...) WB_PRINTF(3, 4);

static void header(struct MHD_Response *response, const char *name,
		   const char *format, ...)
{
	char value[128];
	va_list args;

	va_start(args, format);
	vsnprintf(value, sizeof(value), format, args);
	va_end(args);
	MHD_add_response_header(response, name, value);
}

static void headers_of_model(answer *a, struct MHD_Response *response)
{
	wb_read *read = a->model->read;
	uint64_t position = wb_read_position(read);
	wb_read_lag lag = {.head = position};
	char etag[64];

	(void)wb_read_get_lag(read, &lag, NULL);
	etag_of(a, etag);
	if (a->status == MHD_HTTP_OK || a->status == MHD_HTTP_NOT_MODIFIED)
		header(response, "ETag", "%s", etag);
	header(response, "Waybill-Position", "%" PRIu64, position);
	header(response, "Waybill-Generation", "%" PRIu32,
	       wb_read_generation(read));
	header(response, "Waybill-Origin", "%s", wb_read_origin(read));
	header(response, "Waybill-Lag-Events", "%" PRIu64,
	       lag.head > position ? lag.head - position : 0);
	header(response, "Waybill-Lag-Seconds", "%.3f",
	       (double)lag.lag_us / 1e6);
	if (a->aside)
		header(response, "Waybill-Stale", "quarantined");
}

static enum MHD_Result answer_send(answer *a)
{
	size_t len = wbi_buffer_len(&a->body);
	const void *bytes = len ? (const void *)wbi_buffer_data(&a->body) : "";
	struct MHD_Response *response;
	enum MHD_Result sent;

	response = MHD_create_response_from_buffer(
		len, (void *)(uintptr_t)bytes, MHD_RESPMEM_MUST_COPY);

	if (!response)
		return MHD_NO;
	header(response, "Content-Type", "%s", a->type);
	header(response, "Cache-Control", "no-cache");
	header(response, "X-Content-Type-Options", "nosniff");
	if (a->status == MHD_HTTP_METHOD_NOT_ALLOWED)
		header(response, "Allow", "GET, HEAD");
	if (a->status == MHD_HTTP_UNAUTHORIZED)
		header(response, "WWW-Authenticate", "Bearer");
	if (a->status == MHD_HTTP_SERVICE_UNAVAILABLE)
		header(response, "Retry-After", "1");
	if (a->model)
		headers_of_model(a, response);
	sent = MHD_queue_response(a->request->connection, a->status, response);
	MHD_destroy_response(response);
	return sent;
}

enum MHD_Result http_answer(cli_http *http, http_request *request,
			    const char *url, const char *method)
{
	answer a = {.http = http,
		    .request = request,
		    .status = MHD_HTTP_OK,
		    .type = "text/plain"};
	enum MHD_Result result = MHD_YES;
	bool sleeps = false;

	wbi_buffer_init(&a.body, WB_MODEL_VALUE_MAX + HTTP_ANSWER_MAX);
	if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
		refuse(&a, MHD_HTTP_METHOD_NOT_ALLOWED,
		       "read models are only read: GET or HEAD");
	else if (strcmp(url, "/healthz") != 0 && !allowed(&a))
		refuse(&a, MHD_HTTP_UNAUTHORIZED,
		       "a token is needed: Authorization: Bearer ...");
	else
		sleeps = !answer_path(&a, url);
	if (!sleeps)
		result = answer_send(&a);
	if (a.model)
		wb_read_end(a.model->read);
	wbi_buffer_fini(&a.body);
	if (sleeps)
		http_sleep(http, request);
	return result;
}
