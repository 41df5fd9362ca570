#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# A sample of the crash points for `make check`; `make crash-points` tries all.
exec tests/crash/crash-points -n "${WAYBILL_CRASH_EACH:-97}"
