#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# A sample of the allocations for `make check`; `make alloc-points` fails all.
exec tests/crash/fail-points alloc -n "${WAYBILL_ALLOC_EACH:-19}"
