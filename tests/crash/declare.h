/* SPDX-License-Identifier: BSD-2-Clause */
/* Make things on a broker, on a connection of its own, and wait for it. */
#ifndef TESTS_DECLARE_H
#define TESTS_DECLARE_H

#include <waybill/broker.h>

/* False, with a remark on standard error, after 20 s at the latest. */
bool declare_all(const char *uri, const wb_declaration *what, size_t count);

/* A topic exchange, a quorum queue, a binding. */
wb_declaration declare_exchange(const char *name);
wb_declaration declare_queue(const char *name);
wb_declaration declare_binding(const char *queue, const char *exchange,
			       const char *key);

#endif
