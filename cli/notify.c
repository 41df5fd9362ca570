/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sd_notify(3) sends one datagram and never waits for an answer. All of it is
 * optional: what fails is ignored. One thread.
 */
#include "cli/notify.h"

#include "config.h"

#ifdef HAVE_SYSTEMD
#include <systemd/sd-daemon.h>

uint64_t cli_notify_watchdog_us(void)
{
	uint64_t limit_us;

	/* Half of it, as sd_watchdog_enabled(3) recommends. */
	return sd_watchdog_enabled(0, &limit_us) > 0 ? limit_us / 2 : 0;
}

void cli_notify_ready(void)
{
	(void)sd_notify(0, "READY=1");
}

void cli_notify_stopping(void)
{
	(void)sd_notify(0, "STOPPING=1");
}

void cli_notify_alive(void)
{
	(void)sd_notify(0, "WATCHDOG=1");
}

void cli_notify_status(const char *status)
{
	(void)sd_notifyf(0, "STATUS=%s", status);
}

#else

uint64_t cli_notify_watchdog_us(void)
{
	return 0;
}

void cli_notify_ready(void)
{
}

void cli_notify_stopping(void)
{
}

void cli_notify_alive(void)
{
}

void cli_notify_status(const char *status)
{
	(void)status;
}

#endif
