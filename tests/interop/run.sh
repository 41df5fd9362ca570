#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Clients that others made send to a worker and receive from a relay. The
# worker's handler says again what it was told (echo.c), so what comes out
# shows what was read, and the trace context that went in. A client that is not
# installed is passed by with a line that says "NOT TESTED".
if [ -z "${WAYBILL_TEST_AMQP:-}" ]; then
	echo "skipped: WAYBILL_TEST_AMQP names no broker"
	exit 77
fi
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../cli/lib.sh"
top=$(cd "$here/../.." && pwd)
url=$WAYBILL_TEST_AMQP
export WAYBILL_AMQP="$url"
x=i$$-$(date +%s)
said=interop.said
trace=00-11111111111111112222222222222222-3333333333333333-01

# ---- who is there ----------------------------------------------------------

# Debian's pika is seen by Debian's python only.
python=
for p in python3 /usr/bin/python3; do
	if "$p" -c 'import pika' 2>/dev/null; then
		python=$p
		break
	fi
done
[ -n "$python" ] || echo "NOT TESTED: pika (Debian: python3-pika)"
tools=
command -v amqp-publish >/dev/null && command -v amqp-consume >/dev/null &&
	command -v amqp-declare-queue >/dev/null && tools=yes
[ -n "$tools" ] || echo "NOT TESTED: amqp-publish and amqp-consume" \
	"(Debian: amqp-tools)"
node=
for p in node nodejs; do
	if "$p" -e 'require("amqplib"); require("cloudevents")' 2>/dev/null
	then
		node=$p
		break
	fi
done
[ -n "$node" ] || echo "NOT TESTED: npm's amqplib and cloudevents (nodejs," \
	"and NODE_PATH naming the node_modules that has them)"

pika() {
	timeout 60 "$python" "$here/client.py" "$@"
}
amqplib() {
	timeout 60 "$node" "$here/client.js" "$@"
}
cloudevents() {
	timeout 60 "$node" "$here/cloudevents.js" "$@"
}
# succeeds NAME COMMAND...: what it printed is in $out
succeeds() {
	name=$1
	shift
	run "$@"
	is "$name" "0 " "$code $err"
}

# ---- a worker and its relay ------------------------------------------------

# shellcheck disable=SC2086  # a command and its options
${CC:-cc} -shared -fPIC -Wall -Wextra -Werror -o echo.so "$here/echo.c" \
	-I"$top/include" ${WB_TEST_CPPFLAGS-} || exit 1
cat >shop.yaml <<END
store: $dir/shop
modules: [$dir/echo.so]
exchange: $x
queue: $x-q
commit_ms: 10
routes: [{exchange: $x, unroutable: accept}]
END
"$waybill" init --store shop --service shop >/dev/null
worker() {
	run timeout 60 "$worker" -c shop.yaml --until-idle
}
worker
is "the worker makes its exchange and queue" 0 "$code"

# What the echoes of a client's messages are, a line each, of: id, source, type,
# subject, color, key, traceparent, content type, data. See client.py.
pika_trace=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
node_trace=00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
json=application/json
: >wanted
[ -z "$python" ] || cat >>wanted <<END
p1|/pika|$said|greeting/1|7|ada|$pika_trace|$json|{"n": 1}
p2|pika|$said||||$pika_trace|text/plain|grüß dich
p3|/pika|$said|greeting/3|red|ada|$pika_trace|$json|[3]
END
[ -z "$tools" ] || cat >>wanted <<END
t1|/tools|$said|greeting/t1|green|eve|$trace|$json|{"tools": 1}
t2|/tools|$said||||$trace|$json|{"tools": 2}
END
[ -z "$node" ] || cat >>wanted <<END
n1|/amqplib|$said|greeting/n1|true|bob|$node_trace|$json|{"id":"n1"}
n2|/amqplib|$said|greeting/n2|blue|bob|$node_trace|$json|{"id":"n2"}
n3|/amqplib|$said|greeting/n3|blue|bob|$node_trace|$json|{"id":"n3"}
END
LC_ALL=C sort -o wanted wanted
count=$(wc -l <wanted)

# ---- each has a queue for what comes back ----------------------------------
# That of amqp-consume goes with it, so it runs from here on. What reaches it by
# its queue's name shows that it is bound.
tools_pid=
trap '[ -z "$tools_pid" ] || kill "$tools_pid"; rm -rf "$dir"' EXIT
tools_bound() {
	amqp-publish -u "$url" -r "$x-tools" -b bound
	grep -q bound tools
}
tools_bind() {
	timeout 60 amqp-consume -u "$url" -q "$x-tools" -e "$x" \
		-r interop.echoed -- sh -c 'cat; echo' >tools &
	tools_pid=$!
	wait_for 20 tools_bound
}
[ -z "$python" ] || succeeds "pika binds" pika bind "$x-pika" "$x" \
	interop.echoed
[ -z "$tools" ] || succeeds "amqp-consume binds" tools_bind
[ -z "$node" ] || succeeds "amqplib binds" amqplib bind "$x-node" "$x" \
	interop.echoed

# ---- they send -------------------------------------------------------------
tools_send() {
	amqp-publish -u "$url" -e "$x" -r $said -p -C $json -b '{"tools": 1}' \
		-H "ce-specversion: 1.0" -H "ce-id: t1" -H "ce-source: /tools" \
		-H "ce-type: $said" -H "ce-subject: greeting/t1" \
		-H "ce-partitionkey: eve" -H "ce-color: green" \
		-H "traceparent: $trace" &&
		amqp-publish -u "$url" -e "$x" -r $said -C $json \
			-b '{"tools": 2}' -H "specversion: 1.0" -H "id: t2" \
			-H "source: /tools" -H "type: $said" \
			-H "traceparent: $trace"
}
[ -z "$python" ] || succeeds "pika sends" pika send "$x"
[ -z "$tools" ] || succeeds "amqp-publish sends" tools_send
[ -z "$node" ] || succeeds "amqplib sends" amqplib send "$x"
worker
is "the worker handles all of it" 0 "$code"
has "as many as were sent" "$count received, 0 of them known" "$err"

# ---- they receive ----------------------------------------------------------
receives() { # NAME COMMAND...
	succeeds "$@"
	is "$1 what was said" "$(cat wanted)" "$(LC_ALL=C sort out)"
}
tools_received() {
	grep -v '^bound$' tools >bodies
	[ "$(wc -l <bodies)" -ge "$count" ]
}
tools_receive() {
	wait_for 20 tools_received
	cat bodies
}
if [ "$count" -gt 0 ]; then
	[ -z "$python" ] || receives "pika receives" \
		pika receive "$x-pika" "$count"
	[ -z "$node" ] || receives "amqplib receives" \
		amqplib receive "$x-node" "$count"
fi
if [ -n "$tools" ]; then
	cut -d '|' -f 9 wanted >data
	LC_ALL=C sort data >wanted
	receives "amqp-consume receives" tools_receive
fi

# ---- a message that no CloudEvent can be made of -----------------------------
if [ -n "$tools" ]; then
	succeeds "amqp-publish sends bytes without an id" \
		amqp-publish -u "$url" -e "$x" -r $said -b nobody
	worker
	is "it is a dead letter" 3 "$code"
	run "$waybill" dead ls --store shop
	has "with the reason" "id" "$out"
fi

# ---- the CloudEvents SDK ---------------------------------------------------
# relayed MODE: 1,000 events, all attributes as they were appended
relayed() {
	type=bulk.$1
	succeeds "$1: a queue" amqplib bind "$x-$1" "$x" "$type"
	cloudevents make "$type" 1000 >lines
	"$waybill" append -c door.yaml <lines >/dev/null
	run timeout 60 "$relay" -c door.yaml --until-empty
	is "$1: they are relayed" 0 "$code"
	succeeds "$1: the SDK reads them" \
		cloudevents check "$type" 1000 "$x-$1"
	is "$1: how many" "1000 events are right" "$out"
}
cat >door.yaml <<END
store: $dir/door
routes:
  - {type: bulk.binary, exchange: $x}
  - {type: bulk.structured, exchange: $x, mode: structured}
END
"$waybill" init --store door --service door >/dev/null
if [ -n "$node" ]; then
	relayed binary
	relayed structured
fi

done_testing
