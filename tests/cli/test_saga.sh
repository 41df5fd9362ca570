#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Sagas as an operator sees and moves them, without a broker: what a worker left
# in a store on a bad night is listed, shown, moved; orders are carried out once,
# whoever is killed on the way.
here=$(cd "$(dirname "$0")" && pwd)
make_saga=$PWD/tests/cli/make_saga
killpoint=$PWD/tests/crash/.libs/killpoint.so
. "$here/lib.sh"

new_store() { # NAME
	"$waybill" init --store "$1" --service booking >/dev/null 2>&1
	"$make_saga" "$1" || echo "make_saga failed"
}

work() { # STORE
	"$make_saga" "$1" --work || echo "make_saga failed"
}

state() { # STORE ID KIND
	"$waybill" saga ls --store "$1" --state all --kind "$3" --json \
		>"$dir/out"
	tr '{' '\n' <"$dir/out" | sed -n "/\"id\":\"$2\"/s/.*\"state\":\"\([a-z]*\)\".*/\1/p"
}

audited() { # STORE WHAT KEY: how many rows
	"$waybill" inbox audit --store "$1" --limit 1000 --json >"$dir/out"
	tr '{' '\n' <"$dir/out" | grep "\"what\":\"$2\"" |
		grep -c "\"key\":\"$3\""
}

new_store s

# ---- ls ----------------------------------------------------------------------
run "$waybill" saga ls --store s --json
is "ls" 0 $code
is "parked ones first, the oldest of them" f-stuck "$(at sagas.0.id)"
is "of this flow" parking "$(at sagas.0.kind)"
is "by choreography" choreography "$(at sagas.0.by)"
is "what was waited for" 'parking.reserved|parking.unavailable' \
	"$(at sagas.0.awaits)"
is "from whom" parking "$(at sagas.0.from)"
is "at which step" create "$(at sagas.0.step)"
has "in words" "create waits for parking.reserved|parking.unavailable from service parking" "$(at sagas.0.reason)"
is "ended ones are not there" "" "$(printf '%s' "$out" | grep -o o-done)"
run "$waybill" saga ls --store s --stuck
is "stuck" 0 $code
has "one that nobody has answered" f-stuck "$out"
has "one whose step keeps failing" "tell: keeps failing: nobody picks up" "$out"
has "one whose undo does" "hold: its undo keeps failing: the latch is stuck" "$out"
has "one without its definition" "no module brings the definition" "$out"
has "one whose timer nobody fires" "does a worker run?" "$out"
is "what waits in time is not" "" "$(printf '%s' "$out" | grep -o '[of]-wait')"
run "$waybill" saga ls --store s --state completed --json
is "by state" o-done "$(at sagas.0.id)"
run "$waybill" saga ls --store s --kind booking --json
is "by kind" o-wait "$(at sagas.0.id)"
is "whom it asks" "who answers billing.pay" "$(at sagas.0.from)"
run "$waybill" saga ls --store s --by choreography --state running --json
is "by way" f-wait "$(at sagas.0.id)"
run "$waybill" saga ls --store s --step ask --state running --json
is "by step" o-late "$(at sagas.0.id)"
run "$waybill" saga ls --store s --age 1h --state running --json
is "by age" o-wait "$(at sagas.0.id)"
is "and no younger ones" "" "$(printf '%s' "$out" | grep -o f-wait)"
run "$waybill" saga ls --store s --age soon
is "no age" 2 $code
run "$waybill" saga ls --store s --state completed --stuck
is "what has ended is not stuck" 2 $code
for filter in "--state open" "--state all"; do
	seen=
	run "$waybill" saga ls --store s $filter --limit 1 --json
	while [ "$code" -eq 0 ]; do
		seen="$seen $(at sagas.0.kind)/$(at sagas.0.id)"
		place=$(sed -n 's/.*--after \([0-9a-f]*\)).*/\1/p' "$dir/err")
		[ -n "$place" ] || break
		run "$waybill" saga ls --store s $filter --limit 1 \
			--after "$place" --json
	done
	run "$waybill" saga ls --store s $filter
	is "page by page all come once ($filter)" \
		"$(printf '%s\n' "$out" | tail -n +2 | awk '{print $2 "/" $1}' | sort)" \
		"$(printf '%s\n' $seen | sort)"
done
run "$waybill" saga ls --store s --after xyz
is "no place" 2 $code

# ---- show ----------------------------------------------------------------------
run "$waybill" saga show --store s o-undo
is "show" 0 $code
has "what it is" "trip, by orchestration" "$out"
has "its state" "parked for 2 h" "$out"
has "its reason" "hold: its undo keeps failing: the latch is stuck" "$out"
has "what can be done" "possible now     retry, skip, abandon" "$out"
has "what remains" "remaining        undo hold" "$out"
has "what came in, what it changed" "go: asked -> rejected; running -> compensating: the road is closed" "$out"
run "$waybill" saga show --store s o-wait --json
is "show as JSON" booking "$(at sagas.0.kind)"
is "its steps" pay "$(at sagas.0.steps.1.step)"
is "how far one is" asked "$(at sagas.0.steps.1.state)"
is "its tries" 1 "$(at sagas.0.steps.1.attempts)"
is "its undo" billing.refund "$(at sagas.0.steps.1.undo)"
is "what remains, in order" pay "$(at sagas.0.remaining.0)"
is "and at the end" finish "$(at sagas.0.remaining.2)"
is "what went out" billing.pay "$(at sagas.0.timeline.1.out.0)"
is "its body" '{"n":1}' "$(at sagas.0.data)"
is "its timer" s/o-wait "$(at sagas.0.timers.0.name)"
run "$waybill" saga show --store s both --json
is "two of one id: the one" booking "$(at sagas.0.kind)"
is "and the other" parking "$(at sagas.1.kind)"
is "what was done here" create "$(at sagas.1.here.0.step)"
is "its undo data" "slot 7" "$(at sagas.1.here.0.undo)"
is "what it waits for" 'parking.reserved|parking.unavailable' \
	"$(at sagas.1.here.0.awaits)"
is "how long that took" running "$(at sagas.1.timeline.1.before)"
is "and what became of it" parked "$(at sagas.1.timeline.1.after)"
case $(at sagas.1.timeline.1.after_seconds) in
5400*) is "after" 1 1 ;;
*) is "after" 5400 "$(at sagas.1.timeline.1.after_seconds)" ;;
esac
run "$waybill" saga show --store s both --by choreography
is "only one of them" "" "$(printf '%s' "$out" | grep -o orchestration)"
run "$waybill" saga show --store s o-done
has "one that has ended" "completed for" "$out"
has "how long it took" "ended" "$out"
run "$waybill" saga show --store s nobody
is "no such saga" 3 $code

run "$waybill" saga show --store s elsewhere-1
is "a part in somebody else's saga" 0 $code
has "says whose it is" "which another service orchestrates" "$out"
run "$waybill" saga show --store s elsewhere-1 --json
is "by" participant "$(at sagas.0.by)"
is "what was done here" block "$(at sagas.0.here.0.step)"
is "with what an undo needs" "slot 9 was free" "$(at sagas.0.here.0.undo)"
is "which command" parking.block "$(at sagas.0.here.0.command)"
is "whom it answers" elsewhere "$(at sagas.0.here.0.reply_to)"

# ---- graph ---------------------------------------------------------------------
run "$waybill" saga graph --store s o-undo
is "graph" 0 $code
has "what is being undone" 'hold<br>here"]:::current' "$out"
has "what was refused" 'go (pivot)<br>here"]:::rejected' "$out"
run "$waybill" saga graph --store s o-tell
has "what is done" 'ship (pivot)<br>here"]:::done' "$out"
run "$waybill" saga graph --store s o-wait --format dot
has "what remains" 'finish (retriable)' "$out"

# ---- stat ----------------------------------------------------------------------
run "$waybill" saga stat --store s
is "stat" 0 $code
has "by kind" "booking orchestration" "$out"
run "$waybill" saga stat --store s --json
is "parked" 5 "$(at parked)"
is "and late" 6 "$(at stuck)"
is "all of them were counted" false "$(at at_least)"
run "$waybill" saga stat --store s --prometheus
is "metrics" "" "$(metrics_complaints)"
has "open, by kind and state" 'waybill_sagas_open{service="booking",kind="parking",by="choreography",state="parked"} 2' "$out"
has "stuck" 'waybill_sagas_stuck{service="booking",kind="slow",by="orchestration"} 1' "$out"
has "in all" 'waybill_sagas_parked{service="booking"} 5' "$out"
has "the oldest" 'waybill_sagas_oldest_age_seconds{service="booking",kind="order"' "$out"
"$waybill" init --store empty --service booking >/dev/null
run "$waybill" saga stat --store empty
has "none" "no saga is open" "$out"
run "$waybill" saga stat --store empty --prometheus
is "and its metrics are in order" "" "$(metrics_complaints)"

# ---- timers --------------------------------------------------------------------
run "$waybill" saga timers --store s --json
is "timers" 0 $code
is "of a flow" f-wait "$(at timers.0.saga)"
is "by step" create "$(at timers.0.timer)"
run "$waybill" saga timers --store s o-wait --json
is "of one saga: its own" saga "$(at timers.0.timer)"
is "and its step's" step "$(at timers.1.timer)"
is "no others" 1 "$(at timers.2.timer >/dev/null; echo $?)"
run "$waybill" saga timers --store s f-wait --json
is "of one in a flow" f-wait/create "$(at timers.0.name)"
run "$waybill" saga timers --store s --before 1h --json
is "what is due before" s/o-late "$(at timers.0.name)"
run "$waybill" saga timers --store s o-wait --cancel --why x
is "which of them?" 2 $code
run "$waybill" saga timers --store s o-wait --cancel --timer step
is "why?" 2 $code
run "$waybill" saga timers --store s nobody --cancel --why x
is "whose?" 3 $code
run "$waybill" saga timers --store s o-wait --timer step --to +48h --why slow
is "move" 0 $code
is "is audited" 1 "$(audited s 'timer move' s/o-wait)"
run "$waybill" saga show --store s o-wait --json
is "show has it" "$(at sagas.0.timers.0.due)" "$(at sagas.0.until)"
cp -r s t
run "$waybill" saga timers --store t f-wait --to 1m --why 'no more time'
is "move it back" 0 $code
run "$waybill" saga timers --store t o-wait --timer step --cancel --why 'let it'
is "cancel" 0 $code
work t
is "its time is up" parked "$(state t f-wait parking)"
is "the others' is not" running "$(state t o-wait booking)"

# ---- verbs: what is refused ----------------------------------------------------
refused() { # NAME TEXT VERB [ARG]...
	name=$1 text=$2
	shift 2
	run "$waybill" saga "$@" --store s --why test
	is "$name: exit status" 1 $code
	has "$name" "$text" "$err"
}
run "$waybill" saga retry --store s o-tell
is "an order needs a reason" 2 $code
run "$waybill" saga retry --store s --why x
is "which one?" 2 $code
run "$waybill" saga retry --store s nobody --why x
is "no such saga" 3 $code
run "$waybill" saga abandon --store s both --why x
is "two of one id" 2 $code
has "says how to choose" "--by" "$err"
refused "what has ended stays" "it has ended: completed" retry o-done
refused "what has not begun" "it has not begun" abandon o-new
refused "skip what runs" "possible now: retry, compensate, abandon" skip o-wait
refused "undo twice" "possible now: retry, skip, abandon" compensate o-undo
refused "undo past the pivot" "possible now: retry, skip, abandon" compensate o-tell
refused "resume what has its definition" "possible now: retry, skip, abandon" resume o-tell
refused "retry what has none" "possible now: compensate, abandon, resume" retry o-lost
refused "nobody conducts a choreography" "possible now: abandon" retry f-stuck
is "nothing of that is in the audit" 0 "$(audited s 'saga retry' o-lost)"
run "$waybill" saga retry --store s --state parked --dry-run
is "a dry run" 0 $code
has "says what would be done" "would be told to retry" "$out"
has "and what not" "refused: no module brings its definition" "$out"
is "and does nothing" 0 "$(audited s 'saga retry' o-tell)"

# ---- verbs: what is done -------------------------------------------------------
run "$waybill" saga retry --store s o-tell --why 'line is back' --who kim --json
is "retry" 0 $code
is "is ordered" 1 "$(at ordered)"
is "with no worker nothing happens" parked "$(state s o-tell order)"
refused "not twice" "retry, by kim, waits for a worker" retry o-tell
run "$waybill" saga skip --store s o-undo --why 'let go by hand'
is "skip" 0 $code
run "$waybill" saga compensate --store s o-wait --why 'customer cancelled'
is "compensate" 0 $code
run "$waybill" saga abandon --store s f-stuck --why 'settled by phone'
is "abandon one that is choreographed" 0 $code
run "$waybill" saga abandon --store s both --by orchestration --why 'a test'
is "abandon" 0 $code
run "$waybill" saga resume --store s o-lost --why 'module is back'
is "resume, without the module" 0 $code
work s
is "retried" completed "$(state s o-tell order)"
is "took effect once" 1 "$("$make_saga" s --effects o-tell)"
is "skipped" compensated "$(state s o-undo trip)"
is "is undone" compensating "$(state s o-wait booking)"
is "stopped waiting" abandoned "$(state s f-stuck parking)"
is "abandoned" abandoned "$(state s both booking)"
is "the flow of that id is not" parked "$(state s both parking)"
is "not resumed" parked "$(state s o-lost old)"
is "which the audit says" 1 "$(audited s 'saga resume refused' o-lost)"
run "$waybill" saga resume --store s o-lost --why 'module is really back'
MAKE_SAGA_OLD=1 work s
is "resumed" running "$(state s o-lost old)"
is "the order is audited" 1 "$(audited s 'saga retry' o-tell)"
is "and what came of it" 1 "$(audited s 'saga retry done' o-tell)"
run "$waybill" inbox audit --store s --json
has "with who" '"who":"kim"' "$out"
has "and why" 'line is back' "$out"
has "and what changed" 'parked -> completed' "$out"
run "$waybill" saga abandon --store s --kind old --rate 5 --why 'no more of them'
is "by filter" 0 $code
has "says how many" "abandon: ordered for 1 of 1 sagas" "$out"
run "$waybill" saga abandon --store s o-late o-done --why 'some'
is "some of them" 3 $code

# ---- killed in the middle --------------------------------------------------------
# Of the one who gives the order and of the worker that carries it out, at calls
# that change the store: the order and its row in the audit are there together,
# and it takes effect once. At a few calls; with TEST_SAGA_KILLS=all at each.
calls_of() { # COMMAND...: numbers of its calls at which to kill it
	rm -f "$dir/calls"
	KILLPOINT_LOG="$dir/calls" LD_PRELOAD="$killpoint" "$@" >/dev/null 2>&1
	if [ "${TEST_SAGA_KILLS:-}" = all ]; then
		awk '{print $1}' "$dir/calls"
	else
		awk '$4 > 0 || $2 ~ /pwrite|fdatasync/ {at[++n] = $1}
			END {for (i = 1; i <= 5; i++) print at[int(n * i / 5)]}' \
			"$dir/calls"
	fi
}

killed_at() { # CALL WHEN COMMAND...
	n=$1 when=$2
	shift 2
	KILLPOINT_N=$n KILLPOINT_WHEN=$when LD_PRELOAD="$killpoint" "$@" \
		>/dev/null 2>&1
}

if [ -f "$killpoint" ]; then
	"$waybill" init --store k --service booking >/dev/null
	"$make_saga" k
	cp -r k k1
	calls=$(calls_of "$waybill" saga retry --store k1 o-tell --why x)
	is "there are calls to be killed at" yes "${calls:+yes}"
	for n in $calls; do
		rm -rf k1 && cp -r k k1
		killed_at "$n" before "$waybill" saga retry --store k1 o-tell \
			--why x
		is "killed at call $n" 137 $?
		is "killed at call $n: the order and its audit are one" \
			"$(audited k1 'saga retry' o-tell)" \
			"$("$waybill" timer ls --store k1 --name v/o-tell \
				--json | grep -c v/o-tell)"
	done
	"$waybill" saga retry --store k o-tell --why x >/dev/null
	rm -rf k1 && cp -r k k1
	calls=$(calls_of "$make_saga" k1 --work)
	is "and of the worker" yes "${calls:+yes}"
	for n in $calls; do
		rm -rf k1 && cp -r k k1
		killed_at "$n" after "$make_saga" k1 --work
		is "the worker killed at call $n" 137 $?
		work k1 # one that died in the call is tried again later
		"$make_saga" k1 --work 60
		is "the worker killed at call $n: one effect" 1 \
			"$("$make_saga" k1 --effects o-tell)"
		is "the worker killed at call $n: one answer" 1 \
			"$(audited k1 'saga retry done' o-tell)"
	done
fi

done_testing
