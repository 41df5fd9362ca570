#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# A sample of the system calls for `make check`; `make system-points` fails all.
exec tests/crash/fail-points system -n "${WAYBILL_SYSTEM_EACH:-11}"
