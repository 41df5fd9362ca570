/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Requests and the note of what is being filled: small text files, each
 * replaced as a whole. A request stays until the projector has done it, so one
 * that is interrupted is done again; each is harmless when done twice.
 */
#include "projections/request.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "lib/base/assert.h"
#include "lib/base/error.h"

/* ---- building ------------------------------------------------------------ */

#define BUILDING_TEXT                                                         \
	"waybill building 1\ngeneration %u\nversion %u\nrate %u\npromote %u\n" \
	"ready %u\nboot %39s\n"

wb_code wbi_building_read(const wbi_home *home, wbi_building *ret,
			  wb_error *err)
{
	unsigned generation, version, rate, promote, ready;
	char text[WBI_HOME_FILE_MAX];
	wb_code code = wbi_home_read(home, "building", text, err);
	wbi_building b = {0};

	*ret = b;
	if (code == WB_ENOTFOUND)
		return WB_OK;
	if (code != WB_OK)
		return code;
	/* NOLINTNEXTLINE(cert-err34-c): wbi_building_write() wrote it */
	if (sscanf(text, BUILDING_TEXT, &generation, &version, &rate, &promote,
		   &ready, b.boot) == 6) {
		b.generation = generation;
		b.version = version;
		b.rate = rate;
		b.promote = promote != 0;
		b.ready = ready != 0;
		*ret = b;
	}
	return WB_OK;
}

wb_code wbi_building_write(const wbi_home *home, const wbi_building *b,
			   wb_error *err)
{
	char text[WBI_HOME_FILE_MAX];

	if (b->generation == 0)
		return wbi_home_unlink(home, "building", err);
	snprintf(text, sizeof(text),
		 "waybill building 1\ngeneration %u\nversion %u\nrate %u\n"
		 "promote %u\nready %u\nboot %s\n",
		 b->generation, b->version, b->rate, b->promote, b->ready,
		 b->boot[0] ? b->boot : "-");
	return wbi_home_write(home, "building", text, err);
}

void wbi_boot_id(char ret[40])
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t len = fd < 0 ? -1 : read(fd, ret, 39);

	if (fd >= 0)
		close(fd);
	ret[len > 0 ? len : 0] = '\0';
	ret[strcspn(ret, "\n")] = '\0';
}

/* ---- requests ------------------------------------------------------------ */

static const struct {
	wb_projection_verb verb;
	const char *file;
} request_files[] = {
	/* In the order in which they are done when several are there. */
	{WB_PROJECTION_RESUME, "request.resume"},
	{WB_PROJECTION_HEAL, "request.heal"},
	{WB_PROJECTION_ROLLBACK, "request.rollback"},
	{WB_PROJECTION_DISCARD, "request.discard"},
	{WB_PROJECTION_REBUILD, "request.rebuild"},
	{WB_PROJECTION_PROMOTE, "request.promote"},
};

static const char *request_file(wb_projection_verb verb)
{
	for (size_t i = 0; i < WBI_COUNT(request_files); i++)
		if (request_files[i].verb == verb)
			return request_files[i].file;
	return NULL;
}

static bool request_unhex(const char *text, wbi_request *ret)
{
	static const char digits[] = "0123456789abcdef";

	for (ret->key_len = 0; *text; text += 2) {
		const char *high = strchr(digits, text[0]);
		const char *low = text[1] ? strchr(digits, text[1]) : NULL;

		if (!high || !low || ret->key_len == 255)
			return false;
		ret->key[ret->key_len++] =
			(char)((high - digits) << 4 | (low - digits));
	}
	return true;
}

wb_code wbi_request_next(const wbi_home *home, wbi_request *ret, bool *ret_any,
			 wb_error *err)
{
	*ret_any = false;
	for (size_t i = 0; i < WBI_COUNT(request_files); i++) {
		char text[WBI_HOME_FILE_MAX], key[512] = "";
		unsigned promote = 0, rate = 0;
		wb_code code = wbi_home_read(home, request_files[i].file, text,
					     err);

		if (code == WB_ENOTFOUND)
			continue;
		if (code != WB_OK)
			return code;
		*ret = (wbi_request){.verb = request_files[i].verb};
		/* NOLINTNEXTLINE(cert-err34-c): any number is a rate */
		if (sscanf(text, "promote %u\nrate %u\nkey %511s", &promote,
			   &rate, key) >= 2) {
			ret->promote = promote != 0;
			ret->rate = rate;
		}
		*ret_any = request_unhex(key, ret);
		if (*ret_any)
			return WB_OK;
		(void)wbi_home_unlink(home, request_files[i].file, NULL);
	}
	return WB_OK;
}

wb_code wbi_request_done(const wbi_home *home, wb_projection_verb verb,
			 wb_error *err)
{
	return wbi_home_unlink(home, request_file(verb), err);
}

static wb_code request_write(const wbi_home *home,
			     const wb_projection_request *request,
			     wb_error *err)
{
	const char *file = request_file(request->verb);
	char text[WBI_HOME_FILE_MAX];
	int len;

	if (wbi_home_has(home, file))
		return WBI_FAIL(err, WB_EBUSY,
				"projection %s: a request of this kind waits "
				"already: is its projector running?",
				wbi_home_name(home));
	len = snprintf(text, sizeof(text), "promote %u\nrate %u\nkey ",
		       request->promote, request->rate);
	for (size_t i = 0; i < request->key.len; i++)
		len += snprintf(text + len, sizeof(text) - (size_t)len, "%02x",
				(uint8_t)request->key.ptr[i]);
	snprintf(text + len, sizeof(text) - (size_t)len, "\n");
	return wbi_home_write(home, file, text, err);
}

wb_code wbi_home_ask(const wbi_home *home, const wb_projection_request *request,
		     wb_error *err)
{
	wb_code code;

	if (!request || request->size != sizeof(*request))
		return WBI_FAIL(err, WB_EINVAL,
				"request: begin with "
				"WB_PROJECTION_REQUEST_INIT");
	if (request->key.len > 255)
		return WBI_FAIL(err, WB_EINVAL,
				"a key of %zu bytes, at most "
				"255",
				request->key.len);
	if (request->verb == WB_PROJECTION_PAUSE)
		return wbi_home_write(home, "paused", "", err);
	if (!request_file(request->verb))
		return WBI_FAIL(err, WB_EINVAL, "no such request: %d",
				(int)request->verb);
	if (request->verb == WB_PROJECTION_RESUME) {
		code = wbi_home_unlink(home, "paused", err);
		if (code != WB_OK || wbi_home_has(home, "request.resume"))
			return code;
	}
	return request_write(home, request, err);
}

wb_code wb_projection_ask(const char *dir, const char *name,
			  const wb_projection_request *request, wb_error *err)
{
	wbi_home *home;
	wb_code code = wbi_home_open(dir, name, false, &home, err);

	if (code != WB_OK)
		return code;
	code = wbi_home_ask(home, request, err);
	wbi_home_unref(home);
	return code;
}
