#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The example of orchestration: its command lines; and, if the environment names
# a broker, the walk through its README with three workers, of which some are
# killed.
examples=$PWD/examples/orchestration
booking=$examples/booking
billing=$examples/billing
parking=$examples/parking
. "$(cd "$(dirname "$0")" && pwd)/../cli/lib.sh"
export BOOKING_STORE="$dir/booking" BILLING_STORE="$dir/billing" \
	PARKING_STORE="$dir/parking"

# ---- command lines ---------------------------------------------------------
run "$parking" create-slot A1
is "a slot" 0 $code
run "$parking" create-slot A1
is "but once" 1 $code
has "for it is there" "there is a slot A1 already" "$err"
run "$parking" create-slot 'A 1'
is "named by one word" 1 $code
run "$parking" slot A1
is "it is available" "A1  available - open" "$out"
run "$parking" slot Z9
is "another is not" 1 $code
run "$billing" create-account alice 250 at-once
is "an account" 0 $code
run "$billing" create-account bob 20.5 at-once
run "$billing" create-account carol 500.00 ask
run "$billing" create-account dave 1.234 at-once
is "money has two digits" 1 $code
run "$billing" accounts
is "to the cent" "alice  250.00 at-once
bob  20.50 at-once
carol  500.00 ask" "$out"
run "$billing" approve-bill nothing
has "nobody approves what is not there" "there is no such bill" "$err"
run "$booking" create-booking A1
is "a booking needs an account" 2 $code
run "$booking" bookings
is "there are none" "" "$out"

if [ ! -e "$examples/.libs/booking_module.so" ]; then
	echo "the modules are not there (configured without shared libraries)"
	done_testing
fi
run "$waybill" saga check "$examples/.libs/booking_module.so" \
	"$examples/.libs/billing_module.so" "$examples/.libs/parking_module.so"
is "who asks and who answers fit together" 0 $code
has "as it says" "saga booking: 5 steps, sound" "$out"
run "$waybill" saga check "$examples/.libs/booking_module.so" \
	"$examples/.libs/parking_module.so"
is "without billing they do not" 3 $code
has "for its command" "billing.authorize_payment" "$out$err"

# ---- services --------------------------------------------------------------
if [ -z "${WAYBILL_TEST_AMQP:-}" ]; then
	echo "WAYBILL_TEST_AMQP names no broker: nobody was asked to do it"
	done_testing
fi
export WAYBILL_AMQP="$WAYBILL_TEST_AMQP"
x=orch-$$-$(date +%s)
pids=''
trap 'for p in $pids; do kill -9 "$p" 2>/dev/null; done; rm -rf "$dir"' EXIT

taken() { grep -c "takes from queue" "$dir/$1.log" 2>/dev/null || :; }
more_taken() { [ "$(taken "$1")" -gt "$2" ]; }

# serve NAME: its worker, with its pid in $pid, once it is there
serve() {
	before=$(taken "$1")
	"$worker" --store "$dir/$1" --module "$examples/.libs/$1_module.so" \
		--exchange "$x" --commands "$x-commands" --queue "$x-$1" \
		>>"$dir/$1.log" 2>&1 &
	pid=$!
	pids="$pids $pid"
	wait_for 60 more_taken "$1" "${before:-0}"
}

# end PID [SIGNAL]
end() {
	kill "-${2:-TERM}" "$1" 2>/dev/null
	wait "$1" 2>/dev/null
}

# book SLOT ACCOUNT: a reference in $ref
book() {
	run "$booking" create-booking "$1" "$2"
	is "$2 asks for $1" 0 $code
	ref=$out
}

# is_now NAME WANTED COMMAND...: it says so before long
says() {
	wanted=$1
	shift
	case $("$@" 2>/dev/null) in
	*"$wanted"*) return 0 ;;
	esac
	return 1
}
is_now() {
	what=$1
	wanted=$2
	shift 2
	wait_for 40 says "$wanted" "$@"
	has "$what" "$wanted" "$("$@" 2>&1)"
}

serve parking
serve billing
billing_pid=$pid
serve booking
booking_pid=$pid

book A1 alice
first=$ref
is_now "it is had" "completed A1 alice 100.00 R-1 -" "$booking" booking "$ref"
is_now "its slot is reserved" "reserved $first open" "$parking" slot A1
book A1 alice
is_now "the next one fails" "failed A1 alice 100.00 - slot A1 is reserved" \
	"$booking" booking "$ref"
run "$parking" slot A1
is "and the holder keeps it" "A1  reserved $first open" "$out"
run "$billing" account alice
is "who paid once" "alice  150.00 at-once" "$out"

run "$parking" create-slot B2
book B2 bob
is_now "who has no money" "failed B2 bob 100.00 - account bob has 20.50" \
	"$booking" booking "$ref"
run "$parking" slot B2
is "has not got the slot" "B2  available - open" "$out"

# ---- a person is asked -----------------------------------------------------
book B2 carol
is_now "a bill waits" "pending 100.00 carol" "$billing" bill "$ref"
run "$parking" close-slot B2
run "$billing" approve-bill "$ref"
is "and is approved" "paid" "$out"
is_now "too late" "failed B2 carol 100.00 R-" "$booking" booking "$ref"
has "for the slot" "slot B2 is closed" "$("$booking" booking "$ref")"
is "the money is back" "carol  500.00 ask" "$("$billing" account carol)"
is "the slot too" "B2  available - closed" "$("$parking" slot B2)"

run "$parking" create-slot B3
book B3 carol
is_now "another bill waits" "pending 100.00 carol" "$billing" bill "$ref"
run "$billing" decline-bill "$ref"
is_now "and is declined" "failed B3 carol 100.00 - pay: refused" \
	"$booking" booking "$ref"

# ---- kill -9 in the middle -------------------------------------------------
run "$parking" create-slot C3
book C3 carol
is_now "a third bill waits" "pending 100.00 carol" "$billing" bill "$ref"
end "$booking_pid" 9
run "$billing" approve-bill "$ref"
is "approved while booking is dead" "paid" "$out"
is "who knows of nothing" "$ref  pending C3 carol 100.00 - -" \
	"$("$booking" booking "$ref")"
serve booking
booking_pid=$pid
is_now "until it is back" "completed C3 carol 100.00 R-" \
	"$booking" booking "$ref"

# All of them, again and again, in the middle of many bookings.
run "$billing" create-account rich 100000.00 at-once
end "$billing_pid"
serve billing
for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
	run "$parking" create-slot "M$i"
	book "M$i" rich
	book "M$i" rich
	case $((i % 3)) in
	0)
		end "$booking_pid" 9
		serve booking
		booking_pid=$pid
		;;
	1)
		# shellcheck disable=SC2086  # a list
		set -- $pids
		end "$1" 9
		serve parking
		pids="$pid $pids"
		;;
	esac
done
none_open() {
	! "$booking" bookings | grep ' pending ' >/dev/null &&
		[ "$("$booking" bookings | grep -c ' M[0-9]')" = 24 ]
}
wait_for 60 none_open
is "each slot is had by one" 12 \
	"$("$booking" bookings | grep -c 'completed M')"
is "the other one is told" 12 "$("$booking" bookings | grep -c 'failed M')"
is "and nothing is left blocked" 12 \
	"$("$parking" slots | grep -c '^M.* reserved')"
is "or charged" "rich  98800.00 at-once" "$("$billing" account rich)"

# ---- away for too long -----------------------------------------------------
# shellcheck disable=SC2086  # a list
for p in $pids; do
	end "$p"
done
pids=''
serve booking
serve parking
run "$parking" create-slot D4
book D4 alice
undone() { "$waybill" saga ls --store "$BOOKING_STORE" --state compensating |
	grep "$ref" >/dev/null; }
wait_for 40 undone
is "it is being undone" 0 $?
serve billing
is_now "and nothing was charged" "failed D4 alice 100.00 - pay: no answer" \
	"$booking" booking "$ref"
is_now "nor blocked" "available - open" "$parking" slot D4
is "to the cent" "alice  150.00 at-once" "$("$billing" account alice)"
for p in $pids; do
	end "$p"
done
pids=''
for s in booking billing parking; do
	run "$waybill" fsck --store "$dir/$s"
	is "the store of $s is sound" 0 $code
	run "$waybill" dead ls --store "$dir/$s" --json
	is "without a dead letter: $s" '{"letters":[]}' "$out"
done
done_testing
