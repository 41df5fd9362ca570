/* SPDX-License-Identifier: BSD-2-Clause */
/* Names for what the relay's status row holds. Pure; any thread. */
#include "outbox/relay_report.h"

#include "lib/base/assert.h"

static const char unrouted_prefix[] = "unrouted/";

const char *wbi_relay_counter_name(enum wbi_relay_counter counter)
{
	static const char *const names[WBI_RELAY_COUNTERS] = {
		[WBI_RELAY_UNCONFIRMED] = "unconfirmed",
		[WBI_RELAY_DELIVERED] = "delivered",
		[WBI_RELAY_UNROUTED] = "unrouted",
		[WBI_RELAY_PARKED] = "parked",
		[WBI_RELAY_NACKS] = "nacks",
		[WBI_RELAY_RETURNS] = "returns",
		[WBI_RELAY_REPEATS] = "repeats",
		[WBI_RELAY_CONNECTS] = "connects",
		[WBI_RELAY_CHANNEL_CLOSES] = "channel_closes",
	};

	return (size_t)counter < WBI_COUNT(names) ? names[counter] : "unknown";
}

const char *wbi_relay_state_name(wb_relay_state state)
{
	static const char *const names[] = {
		[WB_RELAY_WAITING] = "waiting",
		[WB_RELAY_DOWN] = "down",
		[WB_RELAY_RUNNING] = "running",
		[WB_RELAY_BLOCKED] = "blocked",
		[WB_RELAY_DRAINING] = "draining",
		[WB_RELAY_STOPPED] = "stopped",
		[WB_RELAY_FAILED] = "failed",
	};

	return (size_t)state < WBI_COUNT(names) ? names[state] : "unknown";
}

wb_str wbi_relay_unrouted_name(wb_str type, char buf[WBI_COUNT_NAME_MAX])
{
	const size_t prefix = sizeof(unrouted_prefix) - 1;
	size_t len = type.len;

	if (len > WBI_COUNT_NAME_MAX - prefix)
		len = WBI_COUNT_NAME_MAX - prefix;
	memcpy(buf, unrouted_prefix, prefix);
	if (len > 0)
		memcpy(buf + prefix, type.ptr, len);
	return wb_str_n(buf, prefix + len);
}
