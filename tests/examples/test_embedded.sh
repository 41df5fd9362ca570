#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The embedded example against a real broker, if the environment names one:
# killed twice in the middle of its work, and the stock adds up.
if [ -z "${WAYBILL_TEST_AMQP:-}" ]; then
	echo "skipped: WAYBILL_TEST_AMQP names no broker"
	exit 77
fi
shop=$PWD/examples/embedded/shop
uri=$WAYBILL_TEST_AMQP
. "$(cd "$(dirname "$0")" && pwd)/../cli/lib.sh"
queue=embedded-$$-$(date +%s)
items=7

awk -v items=$items 'BEGIN { for (i = 0; i < items; i++)
	print "stock item" i, 100; print "stock rare 100" }' >"$dir/stock"
"$shop" "$dir/data" "$uri" "$queue" <"$dir/stock" >"$dir/out" || exit 1
feed "order/a rare 60\norder/b rare 60\nnonsense\n" \
	"$shop" "$dir/data" "$uri" "$queue"
is "two orders are settled" 0 $code
has "nonsense is named" "not an order: nonsense" "$err"
has "all settled" "0 still to settle" "$out"
awk -v items=$items 'BEGIN { for (i = 0; i < 500; i++)
	print "order/" i, "item" i % items, 1 }' >"$dir/orders"
timeout -s KILL 1 "$shop" "$dir/data" "$uri" "$queue" <"$dir/orders" \
	>/dev/null 2>&1
timeout -s KILL 0.3 "$shop" "$dir/data" "$uri" "$queue" </dev/null \
	>/dev/null 2>&1
run "$shop" "$dir/data" "$uri" "$queue"
is "it goes on where it was" 0 $code
has "and settles all" "0 still to settle" "$out"
# 60 of the rare ones are gone, and one piece with each other order
confirmed=${out%% *}
is "each order took its pieces once" $((800 - 60 - (confirmed - 1))) \
	"$(echo "$out" | sed 's/.*, \([0-9-]*\) pieces left/\1/')"
[ "$confirmed" -gt 10 ]
is "and there were some" 0 $?
done_testing
