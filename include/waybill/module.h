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

#include <waybill/handler.h>
#include <waybill/projection.h>

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
};

#ifdef __cplusplus
}
#endif
#endif
