# SPDX-License-Identifier: BSD-2-Clause
# For the tests of the commands: a directory of its own, and what to say when
# something is not as it should be. Sourced; ends with done_testing.
set -u
tests_dir=$(cd "$(dirname "$0")" && pwd)
waybill=$PWD/waybill
relay=$PWD/waybill-relay
worker=$PWD/waybill-worker
json_at=$PWD/tests/cli/json_at
unset $(env | sed -n '/^WAYBILL_TEST_/d; s/^\(WAYBILL_[A-Z_]*\)=.*/\1/p') \
	CREDENTIALS_DIRECTORY NOTIFY_SOCKET
dir=$(mktemp -d "${TMPDIR:-/tmp}/waybill-cli.XXXXXX") || exit 1
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
failures=0
tests=0

# is NAME WANTED GOT
is() {
	tests=$((tests + 1))
	[ "$2" = "$3" ] && return
	failures=$((failures + 1))
	printf 'FAILED: %s\n  wanted: %s\n  got:    %s\n' "$1" "$2" "$3"
}

# has NAME PART TEXT
has() {
	tests=$((tests + 1))
	case $3 in
	*"$2"*) return ;;
	esac
	failures=$((failures + 1))
	printf 'FAILED: %s\n  wanted in it: %s\n  got: %s\n' "$1" "$2" "$3"
}

# run COMMAND...: its output in $out, its errors in $err, its code in $code
run() {
	"$@" >"$dir/out" 2>"$dir/err" </dev/null
	code=$?
	out=$(cat "$dir/out")
	err=$(cat "$dir/err")
}

# feed TEXT COMMAND...: the same with standard input
feed() {
	text=$1
	shift
	printf '%b' "$text" | "$@" >"$dir/out" 2>"$dir/err"
	code=$?
	out=$(cat "$dir/out")
	err=$(cat "$dir/err")
}

# wait_for SECONDS COMMAND...: until it succeeds; fails after that long.
wait_for() {
	tries=$(($1 * 20))
	shift
	until "$@"; do
		tries=$((tries - 1))
		[ $tries -gt 0 ] || return 1
		sleep 0.05
	done
}

now_ms() {
	echo $(($(date +%s%N) / 1000000))
}

at() { # PATH, of the JSON in $out
	"$json_at" "$@" <"$dir/out" 2>&1
}

# What is wrong with the metrics in $out; nothing, that is.
metrics_complaints() {
	awk -f "$tests_dir/metrics.awk" "$dir/out"
}

done_testing() {
	echo "$tests checks, $failures failed"
	[ "$failures" -eq 0 ] || exit 1
	exit 0
}
