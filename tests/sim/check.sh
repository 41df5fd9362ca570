#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# A short round of the simulator for `make check`; `make sim` runs more.
set -eu
sim=tests/sim/waybill-sim
"$sim-bytes" 19 160
"$sim" --seeds 3 --first 900001 --twice
"$sim-orchestration" --seeds "${WAYBILL_SIM_SEEDS:-20}"
exec "$sim" --seeds "${WAYBILL_SIM_SEEDS:-60}"
