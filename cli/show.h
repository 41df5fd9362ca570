/* SPDX-License-Identifier: BSD-2-Clause */
/* One event in full. */
#ifndef CLI_SHOW_H
#define CLI_SHOW_H

#include <jansson.h>

#include "cli/view.h"

/* Everything that an event says of itself, into an object: data if it is
 * UTF-8, its size, headers (which are unpacked). */
void cli_event_json(json_t *object, const wb_event *event);

/* All of it, data included if it is UTF-8. NULL: out of memory. */
json_t *cli_seen_json(const cli_seen *seen);

#endif
