#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The command without a broker: each verb, its JSON, its refusals.
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"

# ---- help and usage --------------------------------------------------------
run "$waybill"
is "no command is wrong usage" 2 $code
run "$waybill" --help
is "help is an answer" 0 $code
has "help names every command" "outbox discard" "$out"
run "$waybill" --version
has "version" "waybill " "$out"
for command in --help --version "help init"; do
	"$waybill" $command >/dev/full 2>"$dir/err"
	is "$command to a full disk" 1 $?
done
for command in init append "outbox stat" "outbox ls" "outbox show" \
	"outbox tail" "outbox retry" "outbox discard" "outbox audit" \
	"outbox forget" "stream ls" "stream show" "stream stat" "stream append" \
	"stream truncate" "stream export" "stream import" \
	"inbox stat" "inbox ls" "inbox show" "inbox audit" "inbox forget" \
	"inbox forget-queue" "dead ls" "dead show" "dead retry" "dead discard" \
	"timer ls" "timer move" "timer cancel" setup fsck backup restore \
	"projection ls" "projection status" "projection get" \
	"projection scan" "projection wait" "projection run" \
	"projection rebuild" "projection promote" "projection rollback" \
	"projection discard" "projection diff" "projection pause" \
	"projection resume" "projection heal" "projection remove" \
	"saga start" "saga check" "saga graph"
do
	run "$waybill" help $command
	is "help $command" 0 $code
	has "help $command shows its usage" "Usage: waybill $command" "$out"
	has "help $command shows its exit codes" "Exit status" "$out"
	by_flag=$("$waybill" $command --help)
	is "$command --help is the same" "$out" "$by_flag"
	run "$waybill" $command --no-such-flag
	is "$command refuses an unknown flag" 2 $code
	has "$command names it" "--no-such-flag" "$err"
done
run "$waybill" help outbox
has "help outbox lists its commands" "outbox retry" "$out"
run "$waybill" frobnicate
is "an unknown command is wrong usage" 2 $code
run "$waybill" outbox ls
is "a missing store is wrong usage" 2 $code
has "and says how to name one" "WAYBILL_STORE" "$err"
run "$waybill" outbox ls --store none --json
is "a store that is not there" 1 $code
has "names the cure" "waybill init" "$err"
is "and stdout is empty" "" "$out"
cp err out
has "an error is JSON too" '"none"' "$(at error)"
run "$waybill" outbox ls --limit 0 --store s --json
cp err out
has "so is wrong usage" "1..1000000" "$(at error)"
run "$waybill" outbox ls --store
has "a flag without its value is named" "'--store' needs a value" "$err"
run "$waybill" outbox ls --store s --limit 0
is "a value out of range is wrong usage" 2 $code
has "and its range is said" "1..1000000" "$err"
run "$waybill" outbox ls --store s extra
has "an argument too many is named" "unexpected argument 'extra'" "$err"
run "$waybill" setup --ampq=amqp://u:geheim@h/
is "a password in a mistyped flag is not shown" 0 \
	$(grep -c geheim "$dir/err")

# ---- manuals ---------------------------------------------------------------
if command -v mandoc >"$dir/out"; then
	for page in waybill.1 waybill-saga.1 waybill-relay.8 waybill-worker.8 \
		waybill.conf.5; do
		is "mandoc has no complaint about $page" "" \
			"$(mandoc -Tlint "$here/../../man/$page" |
				grep -v 'referenced manual not found')"
	done
fi
for command in init append "outbox stat" "outbox ls" "outbox show" \
	"outbox tail" "outbox retry" "outbox discard" "outbox audit" \
	"outbox forget" "stream ls" "stream show" "stream stat" "stream append" \
	"stream truncate" "stream export" "stream import" \
	"inbox stat" "inbox ls" "inbox show" "inbox audit" "inbox forget" \
	"inbox forget-queue" "dead ls" "dead show" "dead retry" "dead discard" \
	"timer ls" "timer move" "timer cancel" setup fsck backup restore \
	"projection ls" "projection status" "projection get" \
	"projection scan" "projection wait" "projection run" \
	"projection rebuild" "projection promote" "projection rollback" \
	"projection discard" "projection diff" "projection pause" \
	"projection resume" "projection heal" "projection remove"
do
	is "the manual has $command" 1 \
		"$(grep -Ec "^\.It Cm $command( |\$)" "$here/../../man/waybill.1")"
done
for command in ls stat show timers retry skip compensate abandon resume start \
	check graph
do
	is "the manual has saga $command" 1 \
		"$(grep -Ec "^\.It Cm $command( |\$)" \
			"$here/../../man/waybill-saga.1")"
done

# Each flag that help shows is in the manual, as itself or as a key of the
# configuration; and each flag that a manual names is one that help shows.
man=$here/../../man
flags_in_help() {
	sed -n 's/^  \(-., \)\{0,1\}--\([a-z-]*\).*/\2/p' "$dir/out" | sort -u
}
echo version >"$dir/known" # before all commands
for command in init append "outbox stat" "outbox ls" "outbox show" \
	"outbox tail" "outbox retry" "outbox discard" "outbox audit" \
	"outbox forget" "stream ls" "stream show" "stream stat" "stream append" \
	"stream truncate" "stream export" "stream import" \
	"inbox stat" "inbox ls" "inbox show" "inbox audit" "inbox forget" \
	"inbox forget-queue" "dead ls" "dead show" "dead retry" "dead discard" \
	"timer ls" "timer move" "timer cancel" setup fsck backup restore \
	relay worker \
	"projection ls" "projection status" "projection get" \
	"projection scan" "projection wait" "projection run" \
	"projection rebuild" "projection promote" "projection rollback" \
	"projection discard" "projection diff" "projection pause" \
	"projection resume" "projection heal" "projection remove" \
	"saga ls" "saga stat" "saga show" "saga timers" "saga retry" \
	"saga skip" "saga compensate" "saga abandon" "saga resume" \
	"saga start" "saga check" "saga graph"
do
	if [ "$command" = relay ]; then
		run "$relay" --help
		page=waybill-relay.8
	elif [ "$command" = worker ]; then
		run "$worker" --help
		page=waybill-worker.8
	else
		run "$waybill" help $command
		page=waybill.1
		[ "${command#saga }" = "$command" ] || page=waybill-saga.1
	fi
	flags_in_help >"$dir/flags"
	cat "$dir/flags" >>"$dir/known"
	missing=$(while read -r flag; do
		key=$(echo "$flag" | tr - _)
		grep -Eq -- "\\\\-$flag( |\$)" "$man/$page" ||
			grep -Eq -- "^\.It Cm $key( |\$)" "$man/waybill.conf.5" ||
			grep -Eq -- "^\.It Cm ${key}s( |\$)" "$man/waybill.conf.5" ||
			echo "--$flag"
	done <"$dir/flags")
	is "the manual has every flag of $command" "" "$missing"
done
is "the manuals name no flag that is not there" "" "$(
	sed -n 's/^\.*.*Fl \([a-z] , \)\{0,1\}\\-\([a-z-]*\).*/\2/p' \
		"$man/waybill.1" "$man/waybill-saga.1" "$man/waybill-relay.8" \
		"$man/waybill-worker.8" | sort -u |
		grep -vxF -f "$dir/known")"

# ---- init ------------------------------------------------------------------
export WAYBILL_STORE="$dir/s"
run "$waybill" init
is "init needs a service" 2 $code
run "$waybill" init --service shop --map 64M --quota 128M
is "a quota over the map is refused" 2 $code
run "$waybill" init --service shop --map 64M --quota 32M --json
is "init" 0 $code
is "init, as JSON" shop "$(at service)"
run "$waybill" init --service shop
is "init does not touch a store that is there" 1 $code

# ---- append ----------------------------------------------------------------
run "$waybill" append --type order.placed --key 42 --id first \
	--data '{"n": 1.10}' --header region=eu --json
is "append of one event" 0 $code
is "append, as JSON: position" 1 "$(at last)"
is "append, as JSON: id" first "$(at id)"
run "$waybill" append --key 42
is "one event needs a type" 2 $code
run "$waybill" append --type a --time yesterday
is "a bad time is refused" 3 $code
run "$waybill" append --type a --header Region=eu
is "a bad header name is refused" 3 $code
printf '\001\002' >bytes
run "$waybill" append --type raw --data-file bytes \
	--content-type application/octet-stream
is "append of a file" 0 $code
run "$waybill" outbox show 2 --data
is "its bytes come back" "$(od -c bytes)" "$(od -c "$dir/out")"

feed '{"type":"a","data":{ "x" : 0.10 }}\n\n{"type":"b","key":"k","datacontenttype":"text/plain","data":"h\\u00e9"}\n{"type":"c","partitionkey":"k","datacontenttype":"x/y","data_base64":"AAEC"}' \
	"$waybill" append
is "append of lines" 0 $code
has "it says how many and where" "appended 3 events, positions 3 to 5" "$out"
is "JSON data is kept as it stood" '{ "x" : 0.10 }' \
	"$("$waybill" outbox show 3 --data)"
is "string data is its text" 'hé' "$("$waybill" outbox show 4 --data)"
is "base64 data is its bytes" 3 "$("$waybill" outbox show 5 --data | wc -c)"
run "$waybill" outbox show 4 --json
is "key is the ordering key" k "$(at key)"

feed '{"type":"d"}\n{"type":"e"}\n{"typ":"f"}\n{"type":"g"}\n' \
	"$waybill" append --json
is "a bad line ends it with 3" 3 $code
is "what came before is appended" 2 "$(at appended)"
is "the line is named" 3 "$(at line)"
has "and on stderr" "line 3: " "$err"
for line in 'no json' '[1]' '"x"' '{"type":"a","type":"b"}' '{"type":1}x' \
	'{"type":"a","data":1,"data_base64":"AA=="}' '{"type":"a","A_b":"c"}' \
	'{"type":"a","x":{"y":1}}' '{"type":"a","data_base64":"*"}' \
	'{"type":"a","time":"noon"}' '{}'
do
	feed "$line\n" "$waybill" append
	is "refused: $line" 3 $code
	has "line 1 is named: $line" "line 1: " "$err"
done
deep=$(printf '%033d' 0 | sed 's/0/[/g')$(printf '%033d' 0 | sed 's/0/]/g')
feed "{\"type\":\"a\",\"data\":$deep}\n" "$waybill" append
is "JSON nested too deep is refused" 3 $code
run "$waybill" append --body-max-bytes 10 --type a --data 12345678901
is "a body over the limit is refused" 3 $code
run "$waybill" append --route 'routing-key={type}.{key}' --key x \
	--type "$(printf '%0254d' 0)"
is "a routing key that would be too long is refused" 3 $code
feed '' "$waybill" append
has "no lines at all" "appended 0 events" "$out"
i=0
while [ $i -lt 500 ]; do
	echo '{"type":"many","key":"'$((i % 7))'","data":{"i":'$i'}}'
	i=$((i + 1))
done >many
"$waybill" append --batch 50 --progress <many >"$dir/out" 2>"$dir/err"
is "append in batches" "appended 500 events, positions 8 to 507" \
	"$(cat "$dir/out")"
has "progress shows a rate" "/s" "$(cat "$dir/err")"

# ---- looking ---------------------------------------------------------------
run "$waybill" outbox stat --json
is "stat" 0 $code
is "stat: backlog" 507 "$(at backlog.events)"
is "stat: parked" 0 "$(at parked.events)"
is "stat: relay" "never ran" "$(at relay.state)"
is "stat: quota" 33554432 "$(at quota.hard_bytes)"
run "$waybill" outbox stat
has "stat for people" "507 events" "$out"
run "$waybill" outbox stat --prometheus
has "metrics" 'waybill_outbox_backlog_events{service="shop"} 507' "$out"
is "a scraper has no complaint" "" "$(metrics_complaints)"
run "$waybill" outbox ls --json
is "ls: 50 unless more are asked for" 50 "$(at events)"
has "and says that there are more" "more" "$err"
is "ls: position" 1 "$(at events.0.position)"
is "ls: state" pending "$(at events.0.state)"
run "$waybill" outbox ls --key 3 --type many --since 100 --limit 1000 --json
is "ls by key, type and position" 58 "$(at events)"
run "$waybill" outbox ls --state parked --json
is "ls: nothing is parked" 0 "$(at events)"
run "$waybill" outbox ls --state delivered --json
is "ls: nothing is delivered" 0 "$(at events)"
run "$waybill" outbox show first --json
is "show by id" 1 "$(at position)"
is "show: header" eu "$(at headers.region)"
is "show: data as it stands" '{"n": 1.10}' "$(at data)"
has "show: why" "relay" "$(at why)"
run "$waybill" outbox show 100
has "show says what an event waits for" "waits for position" "$out"
run "$waybill" outbox show nobody
is "show of what is not there" 3 $code
run "$waybill" outbox tail -n 3 --json
is "tail as JSON: the last" 507 "$(at -l position)"
is "tail: so many lines" 3 "$(wc -l <"$dir/out" | tr -d ' ')"
"$waybill" outbox tail -n 1 -f >tailed &
tail_pid=$!
"$waybill" append --type followed >/dev/null
wait_for 30 grep -q followed tailed
kill $tail_pid
wait $tail_pid 2>/dev/null
has "tail -f shows what is appended" followed "$(cat tailed)"

# ---- what could go wrong around a command -----------------------------------
echo '{"type":"a"}' >one
"$waybill" append --json <one >&- 2>"$dir/err"
is "a closed stdout is an error" 1 $?
"$waybill" append --json <one >&- 2>&-
is "and a closed stderr too" 1 $?
is "nothing is written into the store instead" 0 \
	"$(wc -c <"$dir/s/relay/open.lock")"
run "$waybill" fsck
is "which is still sound" 0 $code
for word in amqp://u:geheim@h --ampq=amqp://u:ge/he@im@h; do
	run "$waybill" outbox stat "$word"
	is "a misplaced URI is wrong usage" 2 $code
	is "and shows no password" 0 "$(grep -c 'geheim\|ge/he\|im@h' "$dir/err")"
done
long=k$(printf '\303\251%.0s' 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 \
	20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35)
feed '{"type":"a","'"$long"'":1}\n' "$waybill" append --json
is "text that was cut in a character is still JSON" \
	yes "$(at error | grep -q 'its name or value' && echo yes)"
name=$(printf 'b\377')
run "$waybill" backup "$dir/$name" --json
is "a name that is not UTF-8 is still JSON" "$dir/b\\xff" "$(at backup)"

# ---- retry and discard, with nothing to do ---------------------------------
run "$waybill" outbox retry
is "retry asks which" 2 $code
run "$waybill" outbox retry --all --json
is "retry of nothing" 3 $code
is "retry as JSON" 0 "$(at events)"
run "$waybill" outbox discard --all
is "discard wants a reason" 2 $code

run "$waybill" outbox audit --json
is "nobody did anything yet" 0 "$(at audit)"

# ---- fsck, backup, restore -------------------------------------------------
run "$waybill" fsck --json
is "fsck of a sound store" 0 $code
is "fsck as JSON" true "$(at sound)"
run "$waybill" backup "$dir/b" --json
is "backup" 0 $code
is "backup as JSON" "$dir/b" "$(at backup)"
run "$waybill" backup "$dir/b"
is "backup does not overwrite" 1 $code
run "$waybill" restore "$dir/b" "$dir/r" --json
is "restore" 0 $code
run "$waybill" fsck "$dir/r"
is "the restored store is sound" 0 $code
run "$waybill" outbox stat --store "$dir/r" --json
is "and holds the events" 510 "$(at head)"
run "$waybill" outbox audit --store "$dir/r" --json
is "the audit has the restore" restore "$(at audit.0.what)"
dd if=/dev/zero of="$dir/r/data.mdb" bs=4096 seek=6 count=4 conv=notrunc \
	2>/dev/null
run "$waybill" fsck "$dir/r" --json
is "fsck finds damage" 3 $code
is "and says so as JSON" false "$(at sound)"
run "$waybill" fsck "$dir/none"
is "fsck of nothing" 1 $code

# ---- configuration ---------------------------------------------------------
printf 'store: %s\nqueues:\n  - nam: x\n' "$dir/s" >bad.yaml
run "$waybill" setup --config bad.yaml
is "a bad file is wrong usage" 2 $code
has "with line and column" "bad.yaml:3:5: unknown key 'nam'; did you mean 'name'?" "$err"
cat >good.yaml <<EOF
exchanges:
  - {name: orders, type: fanout}
routes:
  - {type: order.#, exchange: orders}
queues:
  - name: billing
    bind: [{exchange: orders, key: ''}, {exchange: events, key: 'a.#'}]
EOF
run "$waybill" setup --config good.yaml --dry-run --json
is "setup --dry-run" 0 $code
is "setup: exchanges, queue, dead letters, bindings" 8 "$(at topology)"
is "setup: the listed type" fanout "$(at topology.0.detail)"
run "$waybill" setup --config good.yaml --declare never
is "setup with nothing to do" 2 $code
run "$waybill" setup
has "setup needs a broker" "WAYBILL_AMQP" "$err"
run "$waybill" setup --amqp amqp://u:geheim@127.0.0.1:1/ --timeout-ms 3000
is "setup without a broker fails" 1 $code
is "and shows no password" 0 "$(grep -c geheim "$dir/err")"

done_testing
