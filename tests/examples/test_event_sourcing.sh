#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The event-sourcing example: bookings as streams and a read model, without a
# broker; and, if the environment names one, parking that listens to them.
booking=$PWD/examples/event-sourcing/booking
slots=$PWD/examples/event-sourcing/slots
. "$(cd "$(dirname "$0")" && pwd)/../cli/lib.sh"
top=$(cd "$tests_dir/../.." && pwd)
export BOOKING_STORE="$dir/booking" PARKING_STORE="$dir/parking"

# create SLOT: a booking; its reference in $ref
create() {
	run "$booking" create-booking "$1"
	is "a booking of $1" 0 $code
	ref=${out#created }
	ref=${ref%, version 1}
}

# ---- commands and events ---------------------------------------------------
create A1
a=$ref
has "its reference begins with its slot" "A1:" "$a"
run "$booking" booking "$a"
is "it is pending" "pending 1 A1" "$out"
run "$booking" reserve "$a"
is "reserved" "reserved $a, version 2" "$out"
run "$booking" reserve "$a"
is "but once" 1 $code
has "for it is" "the booking is reserved, not pending" "$err"
run "$booking" complete "$a"
is "completed" "completed $a, version 3" "$out"
run "$booking" reject "$a" late
is "and that is its end" 1 $code
run "$booking" history "$a"
is "its history" "1  BookingCreated  A1
2  BookingReserved  
3  BookingCompleted  " "$out"
run "$booking" booking "$a" --at 1
is "as it was at 1" "pending 1 A1" "$out"
run "$booking" booking "$a" --at 2
is "at 2" "reserved 2 A1" "$out"
run "$booking" booking "$a" --at 4
is "not at 4" 1 $code
has "which is not there" "version 4 is not there, it is at 3" "$err"
run "$booking" history nothing
is "no history of nothing" 1 $code
run "$booking" create-booking 'two words'
is "a slot is one word" 1 $code

# ---- two writers -----------------------------------------------------------
create B2
b=$ref
run "$booking" reserve "$b" --expect 1
is "the first of two writers" 0 $code
run "$booking" reject "$b" 'no car' --expect 1
is "the second is refused" 3 $code
has "and told" "expected at version 1, it is at version 2" "$err"
run "$booking" reject "$b" 'no car' --expect 2
is "and can decide anew" 0 $code
run "$booking" booking "$b"
is "it is rejected" "rejected 3 B2 no car" "$out"

# Many at once: each reserves each; each booking is reserved once.
refs=''
for i in 1 2 3 4 5; do
	create "C$i"
	refs="$refs $ref"
done
for writer in 1 2 3; do
	for ref in $refs; do
		"$booking" reserve "$ref" >>"won.$writer" 2>>"lost.$writer"
	done &
done
wait
is "each is reserved by one of them" 5 "$(cat won.* | wc -l)"
is "the others know" 10 "$(grep -c 'is reserved, not pending' lost.* |
	awk -F: '{ n += $2 } END { print n }')"

# ---- the read model --------------------------------------------------------
run "$booking" bookings
cp out before
is "every booking has a row" 7 "$(wc -l <before)"
run "$booking" bookings reserved
is "by status" 5 "$(wc -l <"$dir/out")"
run "$booking" rebuild
is "a replay of the whole history" 0 $code
is "gives the same, byte for byte" "" "$(diff before out)"
rm -rf "$BOOKING_STORE/projections"
run "$booking" bookings
is "so it does after the model was lost" "" "$(diff before out)"
run "$waybill" stream stat --store "$BOOKING_STORE" "booking/$a" --json
is "snapshots were taken" 2 "$(at snapshot)"
run "$waybill" stream show --store "$BOOKING_STORE" "booking/$a" --json
is "the events are there to see" BookingCompleted "$(at events.2.type)"
run "$waybill" fsck --store "$BOOKING_STORE"
is "the store is sound" 0 $code

# ---- parking ---------------------------------------------------------------
if [ -z "${WAYBILL_TEST_AMQP:-}" ]; then
	echo "WAYBILL_TEST_AMQP names no broker: parking was not asked"
	done_testing
fi
export WAYBILL_AMQP="$WAYBILL_TEST_AMQP"
x=es-$$-$(date +%s)
# shellcheck disable=SC2086  # a command and its options
${CC:-cc} -shared -fPIC -Wall -Wextra -Werror -o parking.so \
	"$top/examples/event-sourcing/parking_module.c" \
	-I"$top/include" ${WB_TEST_CPPFLAGS-} || exit 1
"$waybill" init --store "$PARKING_STORE" --service parking >/dev/null
listen() {
	run timeout 60 "$worker" --store "$PARKING_STORE" --module "$dir/parking.so" \
		--exchange "$x" --queue "$x-q" --no-relay --until-idle
	is "parking has listened" 0 $code
}
publish() {
	run timeout 60 "$relay" --store "$BOOKING_STORE" \
		--route "exchange=$x,unroutable=accept" --until-empty
	is "bookings are published" 0 $code
}
listen # declares exchange and queue
publish
listen
run "$slots"
has "a reserved slot" "A1  reserved $a" "$out"
has "a slot of a rejected booking" "B2  available -" "$out"
is "all the others" 5 "$(grep -c '^C.  reserved' "$dir/out")"
create B2
first=$ref
create B2
second=$ref
run "$booking" reject "$second" 'the slot is taken'
publish
listen
run "$slots"
has "who blocked it first keeps it" "B2  blocked $first" "$out"
run "$booking" reserve "$first"
publish
listen
run "$slots"
has "and reserves it" "B2  reserved $first" "$out"
done_testing
