/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A module: a shared object that waybill-worker loads. It exports one symbol:
 *
 *   WB_MODULE_EXPORT const struct wb_module wb_module = {
 *           .abi = WB_MODULE_ABI, .size = sizeof(struct wb_module),
 *           .name = "shop", .handlers = handlers, .handler_count = 1};
 *
 * cc -shared -fPIC -o handlers.so handlers.c $(pkg-config --cflags waybill)
 */
#ifndef WAYBILL_MODULE_H
#define WAYBILL_MODULE_H

#include <waybill/choreography.h>
#include <waybill/handler.h>
#include <waybill/participant.h>
#include <waybill/projection.h>
#include <waybill/saga.h>

#ifdef __cplusplus
extern "C" {
#define WB_MODULE_EXPORT extern "C" WB_API
#else
#define WB_MODULE_EXPORT WB_API
#endif

/* Raised when a struct below, or one it leads to, changes its layout. A worker
 * refuses a module of another ABI, saying both. */
enum { WB_MODULE_ABI = 1 };

struct wb_module {
	uint32_t abi;  /* WB_MODULE_ABI */
	uint32_t size; /* sizeof(struct wb_module) */
	const char *name; /* for logs and errors */
	const wb_handler *const *handlers;
	size_t handler_count;
	const wb_projection *const *projections; /* <waybill/projection.h> */
	size_t projection_count;
	const wb_flow_part *const *flow_parts; /* <waybill/choreography.h> */
	size_t flow_part_count;
	const wb_saga *const *sagas; /* <waybill/saga.h> */
	size_t saga_count;
	const wb_participant *const *participants; /* <waybill/participant.h> */
	size_t participant_count;
};

#ifdef __cplusplus
}
#endif
#endif
