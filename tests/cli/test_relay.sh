#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The daemon without a broker: configuration, secrets, signals.
. "$(cd "$(dirname "$0")" && pwd)/lib.sh"
nowhere=amqp://u:geheim@127.0.0.1:1/

run "$relay" --help
is "help is an answer" 0 $code
has "help names the keys" "--confirm-timeout-ms" "$out"
has "and their environment" "WAYBILL_AMQP_PASSWORD" "$out"
run "$relay" --version
has "version" "waybill-relay " "$out"
run "$relay" --amqp $nowhere
is "no store is wrong usage" 2 $code
run "$relay" --store s
is "no broker is wrong usage" 2 $code
run "$relay" --store s --amqp $nowhere --window 0
is "a window of 0 is wrong usage" 2 $code
run "$relay" --store s --amqp $nowhere
is "a store that is not there" 1 $code

cat >good.yaml <<EOF
store: $dir/s
amqp: $nowhere
backoff_min_ms: 10
parked_max_bytes: 64M
routes:
  - {type: order.#, exchange: orders, unroutable: accept}
EOF
run "$relay" -n -c good.yaml
is "a sound configuration" 0 $code
run "$relay" --check --config good.yaml --window 1 --heartbeat-s=7
is "with flags" 0 $code
sed 's/unroutable: accept/unroutable: refuse/' good.yaml >bad.yaml
run "$relay" -n -c bad.yaml
is "an unsound one" 2 $code
has "by line and column" "bad.yaml:6:39: unroutable: 'refuse'" "$err"
run env WAYBILL_WINDOW=99999999 "$relay" -n -c good.yaml
has "an unsound variable" "WAYBILL_WINDOW: 99999999 is out of range" "$err"
run "$relay" -n -c good.yaml --route 'routing-key={nope}'
is "an unsound template" 2 $code
run "$relay" -n -c good.yaml --amqp http://u:geheim@h
is "an unsound URI" 2 $code
is "shows no password" 0 "$(grep -c geheim "$dir/err")"
run "$relay" -n -c good.yaml --amqp-password-file "$dir/none"
is "a password file that is not there" 2 $code
echo secret >password
chmod 644 password
run "$relay" -n -c good.yaml --amqp-password-file "$dir/password"
is "a password file that others can read" 2 $code
chmod 600 password
run "$relay" -n -c good.yaml --amqp-password-file "$dir/password"
is "one that they cannot" 0 $code
mkdir credentials
: >credentials/amqp-password
run env CREDENTIALS_DIRECTORY="$dir/credentials" "$relay" -n -c good.yaml
has "an empty credential is named" "amqp-password: the first line is empty" "$err"
echo secret >credentials/amqp-password
run env CREDENTIALS_DIRECTORY="$dir/credentials" "$relay" -n -c good.yaml
is "a credential" 0 $code

run "$waybill" init --store s --service shop
is "init" 0 $code
run "$relay" --store s --amqp $nowhere --declare never --until-empty
is "an empty store needs no broker" 0 $code
"$waybill" append --store s --type a >/dev/null
run "$relay" --store s --amqp $nowhere --declare never --until-empty --give-up 1
is "one that cannot be emptied is given up" 3 $code
has "for this reason" "nothing was delivered for 1 s, down: no connection" "$err"

# start ARGS...: in the background, $pid; its log in $dir/log
start() {
	: >log # now: what it is looked for in must not be the last one's
	"$relay" "$@" >log 2>&1 </dev/null &
	pid=$!
}
# quiet_secret: the process list and the log hold no password
quiet_secret() {
	is "$1: no password in the process list" 0 \
		"$(tr '\0' '\n' </proc/$pid/cmdline | grep -c geheim)"
	is "$1: no password in the log" 0 "$(grep -c geheim log)"
}
# end NAME CODE: SIGTERM, and how long it took
end() {
	began=$(now_ms)
	kill -TERM $pid
	wait $pid
	is "$1: exit" "$2" $?
	tests=$((tests + 1))
	[ $(($(now_ms) - began)) -lt 1000 ] || is "$1: under 1 s" yes no
}

start --store s --amqp $nowhere --backoff-min-ms 10
wait_for 10 grep -q "no connection" log || is "it says that there is no broker" yes no
quiet_secret declaring
end declaring 0
start --store s --amqp=$nowhere --declare never --log-format json \
	--log-level debug --backoff-min-ms 10
wait_for 10 grep -q '"level":"warn"' log || is "it says that it cannot connect" yes no
quiet_secret connecting
cp log out
is "each log line is JSON" 0 "$(at -l time >/dev/null; echo $?)"
run "$waybill" outbox stat --store s --json
is "stat knows that it is down" down "$(at relay.state)"
end connecting 0
start --store s --amqp $nowhere --backoff-min-ms 10
down() {
	[ "$("$waybill" outbox stat --store s --json |
		"$json_at" relay.state)" = down ]
}
wait_for 10 down || is "stat knows that it cannot declare" yes no
run "$waybill" outbox stat --store s --json
has "and why" "nothing listens there" "$(at relay.because)"
kill -KILL $pid
wait $pid 2>/dev/null
run "$waybill" outbox stat --store s --json
is "stat knows at once that it was killed" "not running" "$(at relay.state)"
start --store s --amqp $nowhere --declare never --until-empty
wait_for 10 grep -q "warn" log
end "stopped before it was empty" 3

done_testing
