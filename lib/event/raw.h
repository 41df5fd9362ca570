/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A whole message as bytes, for one that is no event: exchange, routing key,
 * properties, headers and body, just as they came.
 */
#ifndef WBI_RAW_H
#define WBI_RAW_H

#include <waybill/broker.h>

size_t wbi_raw_size(const wb_message *message);
/* Exactly wbi_raw_size() bytes. */
void wbi_raw_encode(const wb_message *message, uint8_t *ret, size_t size);

/*
 * Strings of *ret point into `bytes`; headers go to `headers`, which has room
 * for `max`. WB_ECORRUPT, WB_EVERSION; WB_ELIMIT: more headers than that.
 */
wb_code wbi_raw_decode(wb_str bytes, wb_header *headers, size_t max,
		       wb_message *ret, wb_error *err);

#endif
