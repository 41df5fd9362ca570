/* SPDX-License-Identifier: BSD-2-Clause */
/* A broker around a broker, that notes when each event was confirmed. */
#ifndef BENCH_PROBE_H
#define BENCH_PROBE_H

#include <waybill/broker.h>

/*
 * Wraps `inner`, which it takes over. `confirmed_ns[p]` becomes the time at
 * which the event at position p was handed to the relay as ACKED; positions
 * from `count` on are not noted. Free with wb_broker_free().
 */
wb_broker *bench_probe(wb_broker *inner, uint64_t *confirmed_ns,
		       uint64_t count);

#endif
