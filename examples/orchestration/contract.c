/* SPDX-License-Identifier: BSD-2-Clause */
/* The texts of the contract, read with care: they come from another service. */
#include "examples/orchestration/contract.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- money --------------------------------------------------------------- */

bool money_read(wb_str text, int64_t *ret)
{
	int64_t minor = 0;
	int digits = -1; /* behind the point; -1: there is none yet */

	if (text.len == 0 || text.len > 15)
		return false;
	for (size_t i = 0; i < text.len; i++) {
		char c = text.ptr[i];

		if (c == '.' && digits < 0 && i > 0) {
			digits = 0;
			continue;
		}
		if (c < '0' || c > '9' || digits == 2)
			return false;
		minor = minor * 10 + (c - '0');
		digits += digits >= 0;
	}
	if (digits == 0)
		return false;
	*ret = minor * (digits < 0 ? 100 : digits == 1 ? 10 : 1);
	return true;
}

const char *money_text(int64_t minor, char ret[MONEY_TEXT_MAX])
{
	snprintf(ret, MONEY_TEXT_MAX, "%" PRId64 ".%02d", minor / 100,
		 (int)(minor % 100));
	return ret;
}

/* ---- names --------------------------------------------------------------- */

bool is_name(wb_str text)
{
	for (size_t i = 0; i < text.len; i++) {
		char c = text.ptr[i];

		if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') &&
		    !(c >= '0' && c <= '9') && c != '-')
			return false;
	}
	return text.len > 0 && text.len <= NAME_LEN_MAX;
}

/* ---- the body of a command ----------------------------------------------- */

/* The text behind "name":" ; a service of yours has a JSON parser. */
static wb_str member(wb_str json, const char *name)
{
	char wanted[32];
	size_t len =
		(size_t)snprintf(wanted, sizeof(wanted), "\"%s\":\"", name);

	for (size_t at = 0; at + len <= json.len; at++) {
		const char *text = json.ptr + at + len, *end;

		if (memcmp(json.ptr + at, wanted, len) != 0)
			continue;
		end = memchr(text, '"', json.len - at - len);
		return wb_str_n(text, end ? (size_t)(end - text) : 0);
	}
	return WB_STR_NULL;
}

static void copy(char *to, wb_str from)
{
	memcpy(to, from.ptr, from.len);
	to[from.len] = '\0';
}

wb_code request_read(wb_str body, request *ret, wb_error *err)
{
	wb_str slot = member(body, "slot"), account = member(body, "account");

	if (!is_name(slot) || !is_name(account) ||
	    !money_read(member(body, "amount"), &ret->amount))
		return wb_reject(err, "it needs slot, account and amount, as "
				      "in {\"slot\":\"A1\",\"account\":"
				      "\"alice\",\"amount\":\"100.00\"}");
	copy(ret->slot, slot);
	copy(ret->account, account);
	return WB_OK;
}

wb_str request_text(const request *r, char ret[REQUEST_TEXT_MAX])
{
	char amount[MONEY_TEXT_MAX];

	snprintf(ret, REQUEST_TEXT_MAX,
		 "{\"slot\":\"%s\",\"account\":\"%s\",\"amount\":\"%s\"}",
		 r->slot, r->account, money_text(r->amount, amount));
	return wb_str_from(ret);
}
