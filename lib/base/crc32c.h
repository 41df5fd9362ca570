/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef WBI_CRC32C_H
#define WBI_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* CRC-32C (Castagnoli; RFC 3720, appendix B.4) of `bytes`. Start with crc 0;
 * pass the result on to continue. Any thread. */
uint32_t wbi_crc32c(uint32_t crc, const void *bytes, size_t len);

/* The same without the processor's instruction, for its test. */
uint32_t wbi_crc32c_table(uint32_t crc, const void *bytes, size_t len);

#endif
