#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# A sample of the calls of LMDB for `make check`; `make store-points` fails all.
exec tests/crash/fail-points store -n "${WAYBILL_STORE_EACH:-37}"
