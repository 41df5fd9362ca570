/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * UTF-8 (RFC 3629), safe display and RFC 3339 times, written out here because
 * the C library's versions follow the process's locale and time zone. Pure;
 * any thread.
 */
#include "lib/base/text.h"

#include <stdio.h>
#include <stdlib.h>

/* Length of the well-formed sequence at p, its code point in *ret; 0 if there
 * is none (overlong forms, surrogates and values over U+10FFFF are not). */
static size_t utf8_next(const unsigned char *p, size_t left, uint32_t *ret)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	uint32_t c = p[0];
	size_t n;

	if (c < 0x80) {
		*ret = c;
		return 1;
	}
	n = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
	if (c < 0xc2 || c > 0xf4 || n > left)
		return 0;
	c &= 0x7fu >> n;
	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3fu);
	}
	if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return 0;
	*ret = c;
	return n;
}

static bool is_control(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c <= 0x9f);
}

static bool is_nonchar(uint32_t c)
{
	return (c >= 0xfdd0 && c <= 0xfdef) || (c & 0xfffe) == 0xfffe;
}

/* How many bytes at the start are printable ASCII, in steps of eight: most
 * text is, and looking at eight at once is what makes the check cheap. */
static size_t ascii_prefix(const unsigned char *p, size_t len)
{
	const uint64_t ones = UINT64_C(0x0101010101010101);
	const uint64_t high = ones << 7;
	size_t at = 0;

	for (; len - at >= 8; at += 8) {
		uint64_t v;

		memcpy(&v, p + at, 8);
		/* The high bit of a byte ends up set if the byte has it, if
		 * it is below 0x20 (borrow) or is 0x7f (carry). */
		if ((v | (v - 0x20 * ones) | (v + ones)) & high)
			break;
	}
	return at;
}

bool wbi_text_is_clean(wb_str text, size_t *ret_at)
{
	const unsigned char *p = (const unsigned char *)text.ptr;

	for (size_t at = ascii_prefix(p, text.len), n; at < text.len; at += n) {
		uint32_t c = 0;

		n = 1;
		if (p[at] >= 0x20 && p[at] < 0x7f)
			continue;
		n = utf8_next(p + at, text.len - at, &c);
		if (n == 0 || is_control(c) || is_nonchar(c)) {
			if (ret_at)
				*ret_at = at;
			return false;
		}
	}
	return true;
}

bool wbi_text_is_utf8(wb_str text)
{
	const unsigned char *p = (const unsigned char *)text.ptr;
	uint32_t c;

	for (size_t at = 0, n; at < text.len; at += n) {
		n = utf8_next(p + at, text.len - at, &c);
		if (n == 0)
			return false;
	}
	return true;
}

char *wbi_text_show(wb_str text, char *ret, size_t size)
{
	const unsigned char *p = (const unsigned char *)text.ptr;
	size_t out = 0;

	for (size_t at = 0; at < text.len;) {
		uint32_t c = 0;
		size_t n = utf8_next(p + at, text.len - at, &c);

		if (n > 0 && !is_control(c)) {
			if (out + n >= size)
				break;
			memcpy(ret + out, p + at, n);
			out += n;
			at += n;
		} else {
			if (out + 4 >= size)
				break;
			snprintf(ret + out, 5, "\\x%02x", p[at]);
			out += 4;
			at += 1;
		}
	}
	ret[out] = '\0';
	return ret;
}

char *wbi_text_dup(wb_str text)
{
	char *copy = malloc(text.len + 1);

	if (!copy)
		return NULL;
	if (text.len > 0)
		memcpy(copy, text.ptr, text.len);
	copy[text.len] = '\0';
	return copy;
}

/* Days since 1970-01-01 of a civil date, and back (Howard Hinnant's method:
 * years begin in March, eras have 400 of them). */
static int64_t days_from_civil(int64_t y, unsigned m, unsigned d)
{
	int64_t era;
	unsigned yoe, doy, doe;

	y -= m <= 2;
	era = (y >= 0 ? y : y - 399) / 400;
	yoe = (unsigned)(y - era * 400);
	doy = (153 * (m + (m > 2 ? -3u : 9u)) + 2) / 5 + d - 1;
	doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
	return era * 146097 + (int64_t)doe - 719468;
}

static void civil_from_days(int64_t z, int *ret_y, unsigned *ret_m,
			    unsigned *ret_d)
{
	int64_t era;
	unsigned doe, yoe, doy, mp;

	z += 719468;
	era = (z >= 0 ? z : z - 146096) / 146097;
	doe = (unsigned)(z - era * 146097);
	yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	mp = (5 * doy + 2) / 153;
	*ret_d = doy - (153 * mp + 2) / 5 + 1;
	*ret_m = mp < 10 ? mp + 3 : mp - 9;
	*ret_y = (int)((int64_t)yoe + era * 400 + (*ret_m <= 2));
}

/* Two digits: no locale, no padding, and no loop, for this is written once for
 * every message. */
static char *put_two(char *p, unsigned value)
{
	p[0] = (char)('0' + value / 10);
	p[1] = (char)('0' + value % 10);
	return p + 2;
}

size_t wbi_time_format(int64_t time_us, char ret[WBI_TIME_TEXT_MAX])
{
	const int64_t first = -62167219200000000;  /* 0000-01-01T00:00:00 */
	const int64_t last = 253402300799999999;   /* 9999-12-31T23:59:59 */
	int64_t t = time_us < first ? first : time_us > last ? last : time_us;
	int64_t day_us = 86400000000;
	int64_t days = t >= 0 ? t / day_us : -((-t + day_us - 1) / day_us);
	int64_t rest = t - days * day_us;
	unsigned s = (unsigned)(rest / 1000000), us, m, d;
	char *p = ret;
	int y;

	civil_from_days(days, &y, &m, &d);
	us = (unsigned)(rest % 1000000);
	p = put_two(p, (unsigned)y / 100);
	p = put_two(p, (unsigned)y % 100);
	*p++ = '-';
	p = put_two(p, m);
	*p++ = '-';
	p = put_two(p, d);
	*p++ = 'T';
	p = put_two(p, s / 3600);
	*p++ = ':';
	p = put_two(p, s / 60 % 60);
	*p++ = ':';
	p = put_two(p, s % 60);
	*p++ = '.';
	p = put_two(p, us / 10000);
	p = put_two(p, us / 100 % 100);
	p = put_two(p, us % 100);
	*p++ = 'Z';
	*p = '\0';
	return (size_t)(p - ret);
}

/* `width` digits at *p; false if they are not there. Moves *p behind them. */
static bool get_digits(const char **p, const char *end, int width,
		       unsigned *ret)
{
	unsigned value = 0;

	if (end - *p < width)
		return false;
	for (int i = 0; i < width; i++) {
		unsigned digit = (unsigned)(unsigned char)(*p)[i] - '0';

		if (digit > 9)
			return false;
		value = value * 10 + digit;
	}
	*p += width;
	*ret = value;
	return true;
}

static bool get_char(const char **p, const char *end, const char *set)
{
	if (*p == end || **p == '\0' || !strchr(set, **p))
		return false;
	++*p;
	return true;
}

static bool get_fraction(const char **p, const char *end, int64_t *ret_us)
{
	int64_t us = 0, unit = 100000;
	unsigned digit;
	int count = 0;

	*ret_us = 0;
	if (!get_char(p, end, "."))
		return true;
	for (; count < 9 && get_digits(p, end, 1, &digit); count++) {
		us += digit * unit;
		unit /= 10;
	}
	*ret_us = us;
	return count > 0;
}

static bool get_offset(const char **p, const char *end, int64_t *ret_s)
{
	bool minus;
	unsigned h, m;

	*ret_s = 0;
	if (get_char(p, end, "Zz"))
		return true;
	minus = *p < end && **p == '-';
	if (!get_char(p, end, "+-") || !get_digits(p, end, 2, &h) ||
	    !get_char(p, end, ":") || !get_digits(p, end, 2, &m) || h > 23 ||
	    m > 59)
		return false;
	*ret_s = (int64_t)(h * 3600 + m * 60) * (minus ? -1 : 1);
	return true;
}

static bool date_is_real(unsigned y, unsigned mon, unsigned d)
{
	static const unsigned char length[] = {31, 28, 31, 30, 31, 30,
					       31, 31, 30, 31, 30, 31};
	bool leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;

	if (mon < 1 || mon > 12 || d < 1)
		return false;
	return d <= length[mon - 1] + (mon == 2 && leap ? 1u : 0u);
}

bool wbi_time_parse(wb_str text, int64_t *ret_us)
{
	const char *p = text.ptr, *end = text.ptr + text.len;
	unsigned y, mon, d, h, min, s;
	int64_t us, offset_s;

	if (text.len == 0)
		return false;
	if (!get_digits(&p, end, 4, &y) || !get_char(&p, end, "-") ||
	    !get_digits(&p, end, 2, &mon) || !get_char(&p, end, "-") ||
	    !get_digits(&p, end, 2, &d) || !get_char(&p, end, "Tt ") ||
	    !get_digits(&p, end, 2, &h) || !get_char(&p, end, ":") ||
	    !get_digits(&p, end, 2, &min) || !get_char(&p, end, ":") ||
	    !get_digits(&p, end, 2, &s) || !get_fraction(&p, end, &us) ||
	    !get_offset(&p, end, &offset_s) || p != end)
		return false;
	/* A leap second (RFC 3339, appendix D) counts as the next minute. */
	if (!date_is_real(y, mon, d) || h > 23 || min > 59 || s > 60)
		return false;
	*ret_us = (days_from_civil(y, mon, d) * 86400 + h * 3600L +
		   min * 60L + s - offset_s) *
			  1000000 +
		  us;
	return true;
}
