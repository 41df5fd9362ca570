#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
#
# The main job on real input, on a bare Debian 12: this machine's own package
# history goes, line by line, through LMDB transactions, the relay and a real
# RabbitMQ to a consumer that shares nothing with the service but the broker.
# ./demo.sh FILE.ndjson takes a file of yours instead: one event a line, as
# `waybill append` reads them, e.g. {"type":"order.placed","key":"42","data":{}}
#
# Everything runs on loopback and in build-demo/, and is stopped again.
set -u
top=$(cd "$(dirname "$0")" && pwd)
wb_build=$top/build-demo
. "$top/tests/support/setup.sh"

node=$top/tests/support/rabbitmq-node
bin=$wb_build/build
run=$wb_build/run
wait_max_s=300
consumer='' relay='' input=''

finish() {
	trap '' EXIT INT TERM
	local pid
	for pid in $consumer $relay; do
		kill -TERM "$pid" 2>/dev/null && wait "$pid" 2>/dev/null
	done
	[ ! -e "$run/node/ports" ] || "$node" stop "$run/node"
}

step() {
	printf '\n== %s\n' "$*"
}

quietly() {
	"$@" >"$wb_build/log" 2>&1 || {
		tail -n 20 "$wb_build/log" >&2
		wb_die "failed: $* (whole log: $wb_build/log)"
	}
}

build() {
	wb_packages $wb_packages_build $wb_packages_broker
	step "Building in ${bin#"$top/"}"
	[ -e "$bin/Makefile" ] || quietly wb_configure "$bin"
	cd "$bin" || exit 1
	quietly make -j"$(nproc)"
}

# The machine's log with its rotated parts, oldest first; where there is none
# (a fresh container), what is installed now, as lines of the same form.
gather_input() {
	local f
	input=$run/dpkg.log
	for f in $(ls -tr /var/log/dpkg.log* 2>/dev/null); do
		case $f in
		*.gz) zcat "$f" ;;
		*) cat "$f" ;;
		esac
	done >"$input" 2>/dev/null
	[ ! -s "$input" ] || {
		wb_say "Input: $(ls /var/log/dpkg.log* | tr '\n' ' '):" \
			"$(wc -l <"$input") lines, each an event"
		return
	}
	dpkg-query -W -f '${Status} ${Package}:${Architecture} ${Version}\n' |
		awk -v now="$(date '+%F %T')" \
			'{ print now, "status", $3, $4, $5 }' >"$input"
	[ -s "$input" ] || wb_die "there is no dpkg on this machine: give it" \
		"a file, ./demo.sh FILE.ndjson"
	wb_say "Input: /var/log/dpkg.log is missing or empty here, so the" \
		"$(wc -l <"$input") packages" \
		"installed now, as lines of the same form"
}

wait_for() {
	local what=$1 i
	shift
	for ((i = 0; i < wait_max_s * 5; i++)); do
		"$@" && return
		kill -0 $consumer 2>/dev/null || wb_die "the consumer ended:" \
			"$(tail -n 3 "$run/consumer.err")"
		kill -0 $relay 2>/dev/null || wb_die "the relay ended:" \
			"$(tail -n 3 "$run/relay.err")"
		sleep 0.2
	done
	wb_die "gave up after $wait_max_s s: $what"
}

relay_is_through() {
	[ "$("$bin/tests/support/audit" "$run/store")" = 0 ]
}

consumer_is_through() {
	[ "$(wc -l <"$run/received.log")" -ge "$1" ]
}

main() {
	case ${1-} in
	-h | --help)
		sed -n '4,10s/^# \{0,1\}//p' "$0"
		exit 0
		;;
	-*) wb_die "unknown option $1 (see --help)" ;;
	esac
	[ -z "${1-}" ] || [ -r "$1" ] || wb_die "$1: cannot be read"
	[ -z "${1-}" ] || input=$(readlink -f "$1")
	mkdir -p "$wb_build"
	[ ! -e "$run/node/ports" ] || "$node" stop "$run/node"
	rm -rf "$run"
	mkdir -p "$run"
	build
	trap finish EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
	step "Starting a private RabbitMQ node on loopback"
	quietly "$node" start --owner $$ "$run/node"
	. "$run/node/env"
	wb_say "$WAYBILL_TEST_AMQP"

	step "A consumer, which knows the broker and nothing else"
	"$bin/examples/dpkg-history/consumer" "$WAYBILL_TEST_AMQP" packages \
		"$run/received.log" 2>"$run/consumer.err" &
	consumer=$!
	sleep 1

	step "The service appends, the relay forwards, the consumer prints"
	if [ -n "$input" ]; then
		wb_say "Input: $input: $(grep -c . "$input") lines"
		quietly "$bin/waybill" init --store "$run/store" \
			--service demo --keep-all
	else
		gather_input
		"$bin/examples/dpkg-history/appender" "$run/store" \
			</dev/null >/dev/null || exit 1
	fi
	"$bin/waybill-relay" --store "$run/store" \
		--amqp "$WAYBILL_TEST_AMQP" 2>"$run/relay.err" &
	relay=$!
	if [ "$input" = "$run/dpkg.log" ]; then
		"$bin/examples/dpkg-history/appender" "$run/store" <"$input"
	else
		"$bin/waybill" append --store "$run/store" --batch 100 <"$input"
	fi || wb_die "appending failed"
	wait_for "the relay to be through" relay_is_through
	wait_for "the consumer to have it all" consumer_is_through \
		"$(sed -n 's/^  appended *//p' < <(account))"
	finish

	step "The account: the consumer's log against a fresh read of the store"
	account
	status=$?
	[ $status = 0 ] || wb_say "This is not as it should be." \
		"Everything is still in $run"
	exit $status
}

account() {
	"$bin/tests/support/audit" "$run/store" "$run/received.log"
}

main "$@"; exit
