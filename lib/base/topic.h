/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Patterns as of a topic exchange: words between dots, * for one word, # for
 * any number of them, none too (RabbitMQ tutorial, "Topics"). An empty text has
 * no words.
 */
#ifndef WBI_TOPIC_H
#define WBI_TOPIC_H

#include <waybill/base.h>

/* Compiled once: most texts that do not match differ before the first
 * wildcard. Borrows the pattern. */
typedef struct wbi_topic {
	wb_str pattern;
	size_t literal; /* bytes before the first wildcard and its dot */
	bool exact;     /* no wildcard at all */
} wbi_topic;

/* False: a * or # is part of a longer word, which no broker takes for a
 * wildcard. */
bool wbi_topic_compile(wbi_topic *ret, wb_str pattern);
bool wbi_topic_takes(const wbi_topic *topic, wb_str text);

/* The same of any pattern, not compiled. */
bool wbi_topic_match(wb_str pattern, wb_str text);

#endif
