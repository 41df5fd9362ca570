/* SPDX-License-Identifier: BSD-2-Clause */
/* Words to the service manager; without one, or without libsystemd, none. */
#ifndef CLI_NOTIFY_H
#define CLI_NOTIFY_H

#include <waybill/base.h>

/* How often cli_notify_alive() is due, in microseconds; 0: no watchdog. */
uint64_t cli_notify_watchdog_us(void);

void cli_notify_ready(void);
void cli_notify_stopping(void);
void cli_notify_alive(void);
void cli_notify_status(const char *status);

#endif
