/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a command says to people: errors, log lines, progress. All of it goes
 * to stderr, so that stdout holds nothing but the answer. One thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <jansson.h>

#include "cli/command.h"
#include "lib/base/assert.h"
#include "lib/base/text.h"

enum { PROGRESS_US = 100000 };

/* Open the wrong way round, so that a use is an error as it would have been. */
void cli_std_open(void)
{
	int fd;

	do
		fd = open("/dev/null", fcntl(STDIN_FILENO, F_GETFD) < 0
					       ? O_WRONLY
					       : O_RDONLY);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

/* One object a line; stdout stays empty or holds one whole answer. */
static void say_json(const char *program, const char *command, const char *text)
{
	json_t *object = json_pack("{s:s, s:s, s:s}", "program", program,
				   "command", command, "error", text);

	if (object && json_dumpf(object, stderr, JSON_COMPACT) == 0)
		fputc('\n', stderr);
	json_decref(object);
}

WB_PRINTF(2, 0)
static void say(const cli_context *ctx, const char *format, va_list args)
{
	const char *name = ctx->command ? ctx->command->name : "";
	char raw[1024], line[2048];

	vsnprintf(raw, sizeof(raw), format, args);
	cli_scrub_uri(raw); /* it may quote a misplaced --amqp */
	wbi_text_show(wb_str_from(raw), line, sizeof(line));
	if (ctx->json)
		say_json(ctx->program, name, line);
	else
		fprintf(stderr, "%s%s%s: %s\n", ctx->program,
			name[0] ? " " : "", name, line);
}

int cli_fail(const cli_context *ctx, int code, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(ctx, format, args);
	va_end(args);
	return code;
}

int cli_fail_error(const cli_context *ctx, const wb_error *err)
{
	return cli_fail(ctx, CLI_FAILED, "%s",
			err->text[0] ? err->text : wb_code_text(err->code));
}

int cli_answered(const cli_context *ctx, bool ok)
{
	return ok ? CLI_OK
		  : cli_fail(ctx, CLI_FAILED, "cannot write the answer");
}

int cli_usage(const cli_context *ctx, const char *format, ...)
{
	const char *name = ctx->command ? ctx->command->name : "";
	va_list args;

	va_start(args, format);
	say(ctx, format, args);
	va_end(args);
	if (ctx->json)
		return CLI_USAGE;
	fprintf(stderr, "Try '%s%s%s --help'.\n", ctx->program,
		name[0] ? " " : "", name);
	return CLI_USAGE;
}

/* ---- the log ----------------------------------------------------------- */

static const char *const level_names[] = {"error", "warn", "info", "debug"};

/* One write per line, so that lines of several processes do not mix. */
static void write_line(const char *line, size_t len)
{
	while (len > 0) {
		ssize_t n = write(STDERR_FILENO, line, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return; /* nobody listens */
		line += n;
		len -= (size_t)n;
	}
}

static void log_text(wb_log_level level, const char *line)
{
	char out[1200];
	int n = snprintf(out, sizeof(out), "%s: %s\n", level_names[level],
			 line);

	if (n > 0)
		write_line(out, (size_t)n < sizeof(out) ? (size_t)n
							: sizeof(out) - 1);
}

static void log_json(wb_log_level level, const char *line)
{
	char time[WBI_TIME_TEXT_MAX];
	json_t *object;
	char *text;

	wbi_time_format(cli_real_us(), time);
	object = json_pack("{s:s, s:s, s:s}", "time", time, "level",
			   level_names[level], "message", line);
	text = object ? json_dumps(object, JSON_COMPACT) : NULL;
	json_decref(object);
	if (!text) {
		log_text(level, line);
		return;
	}
	write_line(text, strlen(text));
	write_line("\n", 1);
	free(text);
}

static void log_write(void *ctx, wb_log_level level, const char *line)
{
	const int *format = ctx;

	if ((size_t)level >= WBI_COUNT(level_names))
		level = WB_LOG_DEBUG;
	if (*format == WBI_LOG_JSON)
		log_json(level, line);
	else
		log_text(level, line);
}

wb_log cli_log(const int *format, wb_log_level level)
{
	wb_log log = {log_write, (void *)(uintptr_t)format, level};

	return log;
}

/* ---- numbers for people ------------------------------------------------ */

char *cli_bytes_text(uint64_t bytes, char *ret, size_t size)
{
	static const char *const units[] = {"B",   "KiB", "MiB",
					    "GiB", "TiB", "PiB"};
	double value = (double)bytes;
	size_t unit = 0;

	while (value >= 1024 && unit + 1 < WBI_COUNT(units)) {
		value /= 1024;
		unit++;
	}
	snprintf(ret, size, unit > 0 ? "%.1f %s" : "%.0f %s", value,
		 units[unit]);
	return ret;
}

char *cli_age_text(int64_t age_us, char *ret, size_t size)
{
	int64_t s = age_us / 1000000;

	if (age_us < 0)
		snprintf(ret, size, "in the future");
	else if (s < 60)
		snprintf(ret, size, "%.1f s", (double)age_us / 1e6);
	else if (s < 3600)
		snprintf(ret, size, "%" PRId64 " min %02d s", s / 60,
			 (int)(s % 60));
	else if (s < 2L * 86400)
		snprintf(ret, size, "%" PRId64 " h %02d min", s / 3600,
			 (int)(s / 60 % 60));
	else
		snprintf(ret, size, "%" PRId64 " d %d h", s / 86400,
			 (int)(s / 3600 % 24));
	return ret;
}

int64_t cli_real_us(void)
{
	const wb_clock *clock = wb_system_clock();

	return clock->real_us(clock->ctx);
}

int64_t cli_mono_us(void)
{
	const wb_clock *clock = wb_system_clock();

	return clock->mono_us(clock->ctx);
}

/* ---- progress ---------------------------------------------------------- */

void cli_progress_start(cli_progress *progress, const char *what, bool asked)
{
	progress->what = what;
	progress->asked = asked;
	progress->wanted = asked || isatty(STDERR_FILENO);
	progress->drawn = false;
	progress->start_us = progress->last_us = cli_mono_us();
}

static void progress_draw(cli_progress *progress, uint64_t done, uint64_t total,
			  int64_t now)
{
	double seconds = (double)(now - progress->start_us) / 1e6;
	double rate = seconds > 0 ? (double)done / seconds : 0;
	char number[32], speed[32];

	if (progress->bytes) {
		cli_bytes_text(done, number, sizeof(number));
		cli_bytes_text((uint64_t)rate, speed, sizeof(speed));
	} else {
		snprintf(number, sizeof(number), "%" PRIu64, done);
		snprintf(speed, sizeof(speed), "%.0f", rate);
	}
	fprintf(stderr, "\r%s %s", progress->what, number);
	if (total > 0)
		fprintf(stderr, " (%.0f %%)",
			100.0 * (double)done / (double)total);
	fprintf(stderr, ", %s/s ", speed);
	fflush(stderr);
	progress->last_us = now;
	progress->drawn = true;
}

void cli_progress_show(cli_progress *progress, uint64_t done, uint64_t total)
{
	int64_t now;

	if (!progress->wanted)
		return;
	now = cli_mono_us();
	if (now - progress->last_us >= PROGRESS_US)
		progress_draw(progress, done, total, now);
}

void cli_progress_end(cli_progress *progress, uint64_t done)
{
	if (!progress->drawn && !progress->asked)
		return;
	progress_draw(progress, done, 0, cli_mono_us());
	fprintf(stderr, "\n");
}
