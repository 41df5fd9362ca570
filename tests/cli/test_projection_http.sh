#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Read models over HTTP: rows, pages, positions, refusals. Loopback only.
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"
cc=${CC:-cc}
command -v ${cc%% *} >"$dir/out" || { echo "SKIP: no C compiler"; exit 77; }
command -v curl >"$dir/out" || { echo "SKIP: no curl"; exit 77; }
$cc ${WB_TEST_CPPFLAGS:-} -I"$here/../../include" -shared -fPIC -o slots.so \
	"$here/modules/slots.c" || exit 1
export WAYBILL_STORE="$dir/shop"
port=$((20000 + $$ % 20000))
put() { run "$waybill" append --type slot.changed --key "$1" --data "$2"; }

# get PATH [OPTION...]: $code, $out (body), $head (headers)
get() {
	path=$1
	shift
	: >"$dir/out"
	code=$(curl -s -m 10 -D "$dir/head" -o "$dir/out" -w '%{http_code}' \
		"$@" "http://127.0.0.1:$port$path")
	out=$(cat "$dir/out")
	head=$(tr -d '\r' <"$dir/head")
}
header() { printf '%s\n' "$head" | sed -n "s/^$1: //p"; }

run "$waybill" init --service shop
for n in 1 2 3 4 5; do put "A-$n" free; done
put A-2 reserved
"$waybill" projection run --module ./slots.so --http $port 2>"$dir/log" &
pid=$!
trap 'kill $pid 2>/dev/null; rm -rf "$dir"' EXIT
up() { curl -s -m 1 -o "$dir/out" "http://127.0.0.1:$port/healthz"; }
wait_for 5 up
if grep -q 'without libmicrohttpd' "$dir/log"; then
	echo "SKIP: built without libmicrohttpd"
	exit 77
fi

get /healthz
is "healthz" "200 ok" "$code $out"
get /projections
is "all of them" '{"projections":["slots"]}' "$out"

# ---- a row ------------------------------------------------------------------
get '/projections/slots/A-2?at-least=6&wait=5s'
is "a row, when it is projected" "200 reserved" "$code $out"
is "its type" "text/plain" "$(header Content-Type)"
is "the position" "6" "$(header Waybill-Position)"
is "the lag" "0" "$(header Waybill-Lag-Events)"
etag=$(header ETag)
is "an entity tag" '"1.6"' "$etag"
get /projections/slots/A-2 -H "If-None-Match: $etag"
is "not modified" "304 " "$code $out"
get /projections/slots/A-9
is "no such row" 404 $code
has "says so" "no such row" "$(at error)"
get /projections/nothing/A-9
is "no such projection" 404 $code
get /projections/..%2f..%2fshop/A-9
is "nor a way out" 404 $code
get '/projections/slots/A-2?table=nothing'
is "no such table" 400 $code
has "is named" "nothing" "$(at error)"
get /projections/slots/412d32?hex=1
is "a key in hex" "200 reserved" "$code $out"
get /projections/slots/A-2 -I
is "HEAD" "200 " "$code $(sed -n '/^$/,$p' "$dir/out" | tr -d '\n')"

# ---- rows ---------------------------------------------------------------------
get '/projections/slots?prefix=A-&limit=2'
is "a page" "A-1 A-2" "$(at rows.0.key) $(at rows.1.key)"
cursor=$(at cursor)
get "/projections/slots?prefix=A-&limit=2&cursor=$cursor"
is "the next page" "A-3 A-4" "$(at rows.0.key) $(at rows.1.key)"
get '/projections/slots/?index=by_state&equal=reserved'
is "by index" "reserved A-2 1" \
	"$(at rows.0.index_key) $(at rows.0.key) $(at rows)"
get '/projections/slots?from=A-2&to=A-4&reverse=1'
is "a range backwards" "A-3 A-2" "$(at rows.0.key) $(at rows.1.key)"
is "the position in it" "6" "$(at position)"
get '/projections/slots?limit=1001'
is "a limit too high" 400 $code
has "is said" "up to 1000" "$(at error)"
get '/projections/slots?cursor=abc'
is "a bad cursor" 400 $code
get '/projections/slots?index=nothing'
is "no such index" 400 $code

# ---- read your own writes --------------------------------------------------------
for n in 1 2 3 4 5; do
	put A-1 "state-$n"
	get "/projections/slots/A-1?at-least=${out##* }&wait=5s"
	is "what I wrote" "200 state-$n" "$code $out"
done
get '/projections/slots/A-1?at-least=99&wait=200ms'
is "what is not there" 503 $code
has "says where it is" "it is at 11" "$(at error)"
is "and when to ask again" "1" "$(header Retry-After)"
get '/projections/slots/A-1?at-least=99&wait=99s'
is "too long a wait" 400 $code
get '/projections/slots/A-1?at-least=x'
is "no position" 400 $code
# many that wait, and one that does not
for n in 1 2 3 4 5 6 7 8 9 10; do
	curl -s -m 10 -o "$dir/wait.$n" \
		"http://127.0.0.1:$port/projections/slots/A-7?at-least=12&wait=8s" &
	waiters="${waiters-} $!"
done
get /healthz
is "others are answered meanwhile" 200 $code
put A-7 here
for w in $waiters; do wait $w; done
is "all ten have it" 10 "$(cat "$dir"/wait.* | grep -o here | wc -l | tr -d ' ')"

# ---- the rest -------------------------------------------------------------------------
put A-3 poison
get '/projections/slots/A-3?at-least=13&wait=5s'
is "a quarantined key is read" "200 free" "$code $out"
is "and marked" "quarantined" "$(header Waybill-Stale)"
get /metrics
has "metrics" 'waybill_projection_quarantined_keys{projection="slots"} 1' "$out"
is "which are sound" "" "$(metrics_complaints)"
get /projections/slots/A-1 -X DELETE
is "only reads" 405 $code
is "says which" "GET, HEAD" "$(header Allow)"
get /elsewhere
is "nothing else" 404 $code
"$waybill" projection rebuild slots --promote >"$dir/out"
promoted() { get /projections/slots/A-1; [ "$(header Waybill-Generation)" = 2 ]; }
is "it follows a promotion" "" "$(wait_for 5 promoted || echo no)"
kill $pid
wait $pid
is "it ends well" 0 $?

# ---- a token ----------------------------------------------------------------------------
run "$waybill" projection run --http $port --http-address 0.0.0.0
is "no other address without a token" 2 $code
has "and says why" "give a token" "$err"
echo short >token
run "$waybill" projection run --http $port --http-token-file token
is "no short token" 2 $code
echo 0123456789abcdef >token
"$waybill" projection run --http $port --http-token-file token 2>"$dir/log" &
pid=$!
wait_for 5 up
get /projections/slots/A-1
is "no token, no answer" 401 $code
get /projections/slots/A-1 -H 'Authorization: Bearer 0123456789abcdee'
is "nor with a wrong one" 401 $code
get /projections/slots/A-1 -H 'Authorization: Bearer 0123456789abcdef'
is "with it, and without a projector" "200 state-5" "$code $out"
kill $pid
wait $pid
done_testing
