#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The choreography example as its README walks it: the commands of the three
# services without a broker; with one, if the environment names it, the happy
# path, the race for a slot and the bill that nobody pays, with a service killed
# in the middle of each.
bin=$PWD/examples/choreography
. "$(cd "$(dirname "$0")" && pwd)/../cli/lib.sh"
top=$(cd "$tests_dir/../.." && pwd)
ex=$top/examples/choreography
export BOOKING_STORE="$dir/booking" BILLING_STORE="$dir/billing" \
	PARKING_STORE="$dir/parking"

# ---- commands, each on a store of its own -----------------------------------
run "$bin/parking" create-slot A1
is "a slot" 0 $code
slot=$out
run "$bin/parking" create-slot A1
is "but once" 1 $code
has "of this name" "there is a slot \"A1\", $slot" "$err"
run "$bin/parking" slot "$slot"
is "by its UUID" "$slot  A1  available" "$out"
run "$bin/parking" slot A2
is "no such slot" 1 $code
run "$bin/booking" create-booking A1
is "a booking" 0 $code
a=$out
has "its reference begins with its slot" "A1:" "$a"
run "$bin/booking" booking "$a"
is "it is pending" "$a  pending" "$out"
run "$bin/booking" booking nobody
is "no such booking" 1 $code
run "$bin/billing" pay-bill "$a" 100
has "billing has not heard of it" "there is no bill" "$err"
run "$bin/billing" pay-bill "$a" 1.234
has "exact amounts" '"1.234" is no amount' "$err"
run "$bin/billing" frobnicate
is "usage" 2 $code

# ---- the services ---------------------------------------------------------------
if [ -z "${WAYBILL_TEST_AMQP:-}" ]; then
	echo "WAYBILL_TEST_AMQP names no broker: nobody has listened"
	done_testing
fi
export WAYBILL_AMQP="$WAYBILL_TEST_AMQP"
x=choreo-$$-$(date +%s)
for service in booking billing parking; do
	# shellcheck disable=SC2086  # a command and its options
	${CC:-cc} -shared -fPIC -Wall -Wextra -Werror -o "$service.so" \
		"$ex/${service}_module.c" "$ex/$service.c" "$ex/flow.c" \
		"$ex/rows.c" -I"$top" -I"$top/include" ${WB_TEST_CPPFLAGS-} ||
		exit 1
done
"$bin/billing" bills >/dev/null # makes the store
store_of() { eval "echo \$$(echo "$1" | tr a-z A-Z)_STORE"; }

# start SERVICE: its pid in $pid_SERVICE
start() {
	"$worker" --store "$(store_of "$1")" --module "./$1.so" \
		--exchange "$x" --route "exchange=$x" --queue "$x-$1" \
		--log-level error \
		>>"$1.log" 2>&1 &
	eval "pid_$1=$!"
}
stop() {
	eval "kill $2 \$pid_$1"
	eval "wait \$pid_$1" 2>/dev/null
}
trap 'for s in booking billing parking; do stop $s -TERM; done 2>/dev/null
	rm -rf "$dir"' EXIT
# Who listens is there before anything is said: what nobody has a queue for is
# parked. A worker that has said nothing yet counts as running, so its queue is
# asked for, too.
listens() {
	"$waybill" inbox stat --store "$1" >listens 2>&1
	grep -q "^queue  *$x-" listens && grep -q '^worker  *running' listens
}
for service in parking billing booking; do
	start $service
	is "$service listens" "" \
		"$(wait_for 20 listens "$(store_of $service)" || cat $service.log)"
done

# says WORDS SERVICE COMMAND...: within some seconds it has them in its answer;
# without them there is no going on.
says() {
	words=$1
	shift
	said() { "$bin/$@" 2>&1 | grep -qF "$words"; }
	tests=$((tests + 1))
	wait_for 20 said "$@" && return
	echo "FAILED: $*: never '$words' but:"
	"$bin/$@"
	cat ./*.log
	exit 1
}

# ---- the happy path ---------------------------------------------------------------
says "pending, paid 0.00 of 100.00" billing bill "$a"
run "$bin/billing" pay-bill "$a" 60
is "a part" "pending, 60.00 of 100.00" "$out"
run "$bin/billing" pay-bill "$a" 40.01
has "not more than is left" "40.01 is more than the 40.00 that is left" "$err"
stop parking -KILL
run "$bin/billing" pay-bill "$a" 40.00
is "the rest" "paid, 100.00 of 100.00" "$out"
run "$bin/billing" pay-bill "$a" 1
has "once" "the bill is paid" "$err"
start parking
says "A1  reserved for $a" parking slots
says "$a  done" booking booking "$a"

# ---- the race ----------------------------------------------------------------------
"$bin/parking" create-slot B2 >/dev/null
b=$("$bin/booking" create-booking B2)
c=$("$bin/booking" create-booking B2)
says "$b  pending" billing bill "$b"
says "$c  pending" billing bill "$c"
stop parking -KILL
stop booking -KILL
"$bin/billing" pay-bill "$b" 100 >/dev/null &
"$bin/billing" pay-bill "$c" 100 >/dev/null
wait $!
start parking
start booking
settled() {
	[ "$("$bin/booking" bookings | grep -c pending)" = 0 ]
}
is "both have an end" "" "$(wait_for 20 settled || "$bin/booking" bookings)"
won=$("$bin/booking" bookings | sed -n 's/^\(B2:.*\)  done$/\1/p')
lost=$("$bin/booking" bookings |
	sed -n 's/^\(B2:.*\)  failed: slot B2 is reserved$/\1/p')
is "exactly one has won" 1 "$(echo "$won" | grep -c B2)"
is "and one has lost" 1 "$(echo "$lost" | grep -c B2)"
says "B2  reserved for $won" parking slot B2
says "$lost  refunded, paid 100.00 of 100.00, back 100.00" billing bill "$lost"
says "$won  paid, paid 100.00 of 100.00, back 0.00" billing bill "$won"

# ---- a bill that nobody pays ---------------------------------------------------------
"$bin/parking" create-slot C3 >/dev/null
d=$("$bin/booking" create-booking C3)
says "$d  pending" billing bill "$d"
run "$bin/billing" pay-bill "$d" 30
is "a part of it" 0 $code
run "$waybill" timer ls --store "$BILLING_STORE"
has "its deadline is a timer" "$d/bill" "$out"
stop billing -KILL
run "$waybill" timer move --store "$BILLING_STORE" \
	--handler flow.reservation --name "$d/bill" --to 1s --why 'to see it'
is "which an operator can move" 0 $code
start billing
says "$d  expired, paid 30.00 of 100.00, back 30.00" billing bill "$d"
says "$d  failed: the bill was not paid in time" booking booking "$d"
run "$bin/billing" pay-bill "$d" 70
has "too late" "the bill is expired" "$err"
run "$bin/parking" slot C3
has "the slot was never touched" "C3  available" "$out"

# ---- nothing is left open --------------------------------------------------------------
for service in booking billing parking; do
	run "$waybill" saga ls --store "$(store_of $service)" --json
	is "no saga of $service is open" "" \
		"$(echo "$out" | grep -F reservation)"
	run "$waybill" dead ls --store "$(store_of $service)" --json
	is "no dead letter of $service" "" "$(echo "$out" | grep -F '"number"')"
	run "$waybill" fsck --store "$(store_of $service)"
	is "the store of $service is sound" 0 $code
	is "and it had nothing to warn of" "" "$(cat $service.log)"
done
done_testing
