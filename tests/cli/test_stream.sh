#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# waybill stream: what is appended, read, truncated, and archived.
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"

run "$waybill" init --store plain --service shop
run "$waybill" stream append --store plain a/1 --type T
is "a store that lets events go takes no streams" 3 $code
has "and says the cure" "--keep-all" "$err"
run "$waybill" init --store s --service shop --keep-all
is "a store for streams" 0 $code
export WAYBILL_STORE=s

# ---- append ----------------------------------------------------------------
run "$waybill" stream append booking/42 --expect none --type BookingCreated \
	--data '{"slot":"A1"}' --id c-1
is "a new stream" 0 $code
has "the version is said" "version 1 of booking/42, position 1" "$out"
run "$waybill" stream append booking/42 --expect none --type BookingCreated \
	--data '{"slot":"A1"}' --id c-1 --json
is "a repeat with its id is well" 0 $code
is "and says so" true "$(at repeated)"
is "with its version" 1 "$(at version)"
run "$waybill" stream append booking/42 --expect 3 --type X
is "a conflict is refused" 3 $code
has "and names both versions" "expected at version 3, it is at version 1" "$err"
run "$waybill" stream append booking/42 --expect none --type X --json
is "so it is when it must not exist" 3 $code
cp err out
has "in JSON too" "expected not to exist, it is at version 1" "$(at error)"
run "$waybill" stream append booking/43 --expect exists --type X
is "and when it must" 3 $code
run "$waybill" stream append booking/42 --expect soon --type X
is "an expectation is a version or a word" 2 $code
run "$waybill" stream append booking/42
has "a type is needed" "--type is missing" "$err"
run "$waybill" stream append /x --type X
is "a bad name is refused" 3 $code
for v in 1 2 3 4; do
	run "$waybill" stream append booking/42 --expect $v --type Changed \
		--data "{\"n\":$v}"
	is "version $((v + 1))" 0 $code
done
printf 'two\nlines' >two
run "$waybill" stream append plain --type Note --content-type text/plain \
	--data-file two --reply-to answers --header tenant=blue --key k
is "a stream without a category" 0 $code

# ---- what there is ---------------------------------------------------------
run "$waybill" stream ls --json
is "all streams by name" 'booking/42' "$(at streams.0.stream)"
is "the last of them" 'plain' "$(at streams.1.stream)"
is "and its version" 5 "$(at streams.0.version)"
run "$waybill" stream ls booking/ --json
is "those of a category" 1 "$(at streams)"
run "$waybill" stream ls pl --limit 1
has "by prefix" "plain" "$out"
run "$waybill" stream ls --limit 1
has "there are more" "--after" "$err"
run "$waybill" stream ls --after booking/42 --json
is "the next page" 'plain' "$(at streams.0.stream)"
run "$waybill" stream stat --json
is "categories" 'booking' "$(at categories.0.category)"
is "their streams" 1 "$(at categories.0.streams)"
is "their events" 5 "$(at categories.0.events)"
run "$waybill" stream stat booking/42
has "one stream" "version   5" "$out"
run "$waybill" stream stat nothing
is "none" 3 $code

# ---- show ------------------------------------------------------------------
run "$waybill" stream show booking/42
is "a stream is shown" 0 $code
has "with its data" '{"slot":"A1"}' "$out"
run "$waybill" stream show booking/42 --json
is "every event" 5 "$(at events)"
is "with its version" 1 "$(at events.0.version)"
is "and its data" '{"n":4}' "$(at events.4.data)"
run "$waybill" stream show booking/42 --at 3 --json
is "as of a version" 3 "$(at events)"
run "$waybill" stream show booking/42 --from 2 --at 3 --json
is "from a version" 2 "$(at events.0.version)"
run "$waybill" stream show booking/42 --backwards --limit 2 --json
is "backwards" 5 "$(at events.0.version)"
is "so many" 2 "$(at events)"
run "$waybill" stream show booking/42 -b --from 2 --json
is "backwards from a version" 2 "$(at events.0.version)"
is "to the first" 1 "$(at events.1.version)"
run "$waybill" stream show booking/42 --at 9
is "a version to come" 3 $code
run "$waybill" stream show booking/9
is "no such stream" 3 $code
has "is said" 'stream "booking/9": there is none' "$err"

# ---- archive ---------------------------------------------------------------
run "$waybill" stream export booking/42
is "an archive" 0 $code
is "has a line per event" 5 "$(wc -l <"$dir/out")"
cp out booking.ndjson
has "JSON stands as it is" '"data":{"slot":"A1"}}' "$(head -n 1 booking.ndjson)"
run "$waybill" stream export plain
cp out plain.ndjson
has "other data does not" data_base64 "$(cat plain.ndjson)"
run "$waybill" init --store t --service shop --keep-all
cat booking.ndjson plain.ndjson |
	"$waybill" stream import --store t --json >out 2>err
is "an import of two streams" 0 $?
is "says how many" 6 "$(at imported)"
"$waybill" stream import --store t --json <booking.ndjson >out 2>err
is "it can be repeated" 5 "$(at repeated)"
"$waybill" stream export --store t booking/42 >again.ndjson
is "what comes back is the same" "" "$(diff booking.ndjson again.ndjson)"
"$waybill" stream export --store t plain >again.ndjson
is "whatever its data" "" "$(diff plain.ndjson again.ndjson)"
"$waybill" stream import --store t --as booking/77 <booking.ndjson >out 2>err
is "under another name" 0 $?
run "$waybill" stream show --store t booking/77 --json
is "with its key" 'booking/77' "$(at events.0.key)"
is "and its id" 'c-1' "$(at events.0.id)"
sed 1d booking.ndjson | "$waybill" stream import --store t --as gap >out 2>err
is "a gap is refused" 3 $?
has "at its line" "line 1:" "$(cat err)"
sed 's/c-1/c-9/' booking.ndjson |
	"$waybill" stream import --store t --as booking/77 >out 2>err
is "so is another history" 3 $?
echo '{"type":"t","id":"i"}' | "$waybill" stream import --store t >out 2>err
has "a line of no archive is named" "no sequence" "$(cat err)"
run "$waybill" fsck --store t
is "the store is sound" 0 $code

# ---- truncate --------------------------------------------------------------
run "$waybill" stream truncate booking/42 --before 3
is "what is not delivered stays" 3 $code
has "and why" "not delivered yet" "$err"
run "$waybill" stream truncate booking/42
is "up to where?" 2 $code
run "$waybill" stream truncate booking/42 --before 3 --without-snapshot
is "to lose something needs a reason" 2 $code
run "$waybill" stream truncate nothing --before 3
is "nothing to truncate" 3 $code
run "$waybill" fsck
is "all is sound" 0 $code
if [ -z "${WAYBILL_TEST_AMQP:-}" ]; then
	echo "WAYBILL_TEST_AMQP names no broker: nothing was delivered"
	done_testing
fi
run "$relay" --amqp "$WAYBILL_TEST_AMQP" --until-empty \
	--route "exchange=amq.topic,unroutable=accept"
is "all is delivered" 0 $code
run "$waybill" stream truncate booking/42 --before 3
is "but no snapshot stands for it" 3 $code
has "which is said" "no snapshot at version 2 or later" "$err"
run "$waybill" stream truncate booking/42 --before 3 --without-snapshot \
	--reason 'a test' --json
is "truncated" 2 "$(at truncated)"
is "up to its floor" 3 "$(at floor)"
run "$waybill" stream show booking/42
has "what is left is shown" '{"n":4}' "$out"
has "and that it is not all" "below 3 were truncated" "$err"
run "$waybill" stream show booking/42 --from 1
is "below the floor" 3 $code
has "is an error that names it" "its floor is 3" "$err"
run "$waybill" stream export booking/42
is "an archive of the rest" 3 "$(wc -l <"$dir/out")"
run "$waybill" outbox show 1
has "a stub says what it is" "truncated" "$out"
run "$waybill" stream append booking/42 --expect none --id c-1 \
	--type BookingCreated
has "a repeat is known still" "was there already" "$out"
run "$waybill" fsck
is "and all is sound" 0 $code
done_testing
