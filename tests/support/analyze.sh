#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# What looks at the code without running it, and a short round under valgrind
# and the thread sanitizer, on two cores. Usage: analyze.sh SRCDIR BUILDDIR
# [PART...]; parts: cppcheck fanalyzer tidy valgrind threads. Each must find
# nothing; where a tool is wrong, a comment in the code says why, or, for gcc,
# which has none, analyze.known. A tool that is not there is a finding, too,
# unless ANALYZE_WITHOUT names its part. Last line: the figure.
set -u
export LC_ALL=C
src=$(cd "$1" && pwd)
build=$(cd "$2" && pwd)
shift 2
[ $# -gt 0 ] || set -- cppcheck fanalyzer tidy valgrind threads
cd "$src" || exit 1
known=$src/tests/support/analyze.known
sources=$(find lib outbox inbox saga projections broker-adapters cli \
	-name '*.c' | sort)
flags="-DHAVE_CONFIG_H -Iinclude -I. -I$build $(pkg-config --cflags \
	libmicrohttpd smartcols 2>/dev/null)"
export flags srcdir="$src"
bad=0
figures=
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

# each SCRIPT: for every source as $1, two at a time.
each() {
	printf '%s\n' $sources | xargs -P 2 -n 1 sh -c "$1" each
}

# has PART TOOL
has() {
	command -v "$2" >/dev/null && return
	case " ${ANALYZE_WITHOUT-} " in
	*" $1 "*) echo "$1: without $2, as wanted" ;;
	*)
		echo "$1: $2 is not there"
		bad=$((bad + 1))
		;;
	esac
	return 1
}

# judge PART PATTERN: the lines of $out/log that are known are no findings.
judge() {
	grep "$2" "$out/log" | sort -u | awk -v known="$known" -v part="$1" '
		BEGIN {
			while ((getline line < known) > 0)
				if (line !~ /^#/ && split(line, w, " ") > 3 &&
				    part == "fanalyzer") {
					file[++n] = w[1]
					check[n] = w[2]
					word[n] = w[3]
				}
		}
		{
			for (i = 1; i <= n; i++)
				if (index($0, file[i] ":") == 1 &&
				    index($0, check[i]) && index($0, word[i])) {
					used[i] = 1
					next
				}
			print
		}
		END {
			for (i = 1; i <= n; i++)
				if (!used[i])
					print "analyze.known: of no use: " \
						file[i] " " check[i]
		}' >"$out/found"
	count=$(grep -c . "$out/found")
	head -n 40 "$out/found"
	echo "$1: $count findings"
	bad=$((bad + count))
	figures="$figures $1 $count,"
}

part_cppcheck() {
	has cppcheck cppcheck || return
	# shellcheck disable=SC2086  # words are meant
	cppcheck -j 2 -q --std=c11 --enable=warning,portability,performance \
		--inline-suppr --suppress=missingIncludeSystem $flags \
		$sources >"$out/log" 2>&1
	judge cppcheck ': \(error\|warning\|portability\|performance\):'
}

# That something may be used unset is left to valgrind and to the compiler's
# own warning: it does not see that a callee in another file fills what it
# returns WB_OK for.
part_fanalyzer() {
	has fanalyzer gcc || return
	each 'gcc -std=gnu11 -fanalyzer -O1 -c -o /dev/null \
		-Wno-analyzer-use-of-uninitialized-value $flags "$1" 2>&1 ||
		echo "$1: error: not compiled"' >"$out/log"
	judge fanalyzer '\[-Wanalyzer\|: error: '
}

part_tidy() {
	has tidy clang-tidy || return
	each 'clang-tidy --quiet "$1" -- -std=gnu11 $flags 2>/dev/null ||
		echo "$1: error: clang-tidy failed"' >"$out/log"
	judge tidy ': \(warning\|error\): '
}

# memcheck over what runs in one process: records and rows, stores, fsck, relay
# and worker with a memory broker, on threads too, a saga, read models, the
# adapter over a pipe, and simulated worlds.
valgrind_tests='tests/lib/test_base
	tests/lib/test_config
	tests/lib/event/test_envelope
	tests/lib/event/test_event
	tests/lib/event/test_raw
	tests/lib/event/test_record
	tests/lib/journal/test_inbox_rows
	tests/lib/journal/test_walk_sagas
	tests/lib/store/test_store
	tests/outbox/test_outbox
	tests/outbox/test_relay
	tests/outbox/test_relay_loop
	tests/outbox/test_stream
	tests/inbox/test_dispatch
	tests/inbox/test_dispatch_external
	tests/inbox/test_ingest_edges
	tests/inbox/test_worker
	tests/inbox/test_worker_loop
	tests/saga/test_machine
	tests/saga/test_barrier
	tests/saga/test_orchestration
	tests/projections/test_quarantine
	tests/projections/test_index
	tests/broker-adapters/amqp/test_codec
	tests/broker-adapters/amqp/test_session
	tests/broker-adapters/amqp/test_uri
	tests/threads/test_threads
	tests/sim/waybill-sim:--seed:1
	tests/sim/waybill-sim-orchestration:--seed:1'
part_valgrind() {
	has valgrind valgrind || return
	out=$out build=$build
	export out build
	printf '%s\n' $valgrind_tests | xargs -P 2 -n 1 sh -c '
		cd "$build" || exit 1
		log=$out/valgrind.$$
		./libtool --mode=execute valgrind -q --error-exitcode=99 \
			--leak-check=full --errors-for-leak-kinds=definite \
			--suppressions="$0" --log-file="$log" \
			$(echo "$1" | tr : " ") >"$log.said" 2>&1 || {
			echo "== $1 ends with $?"
			head -n 40 "$log"
			tail -n 5 "$log.said"
		}' "$src/tests/support/valgrind.supp" >"$out/log"
	grep -v '^== tests' "$out/log"
	judge valgrind '^== tests'
}

# Everything that has threads: pools, calls in progress, relay, worker and
# projector on threads with readers beside them, name look-up, the HTTP server.
threads_tests='tests/threads/test_threads
	tests/inbox/test_calls
	tests/inbox/test_dispatch_external
	tests/inbox/test_worker
	tests/outbox/test_relay_loop
	tests/projections/test_read
	tests/broker-adapters/amqp/test_adapter
	tests/broker-adapters/amqp/test_transport'
threads_scripts='tests/cli/test_projection_http.sh tests/cli/test_worker.sh'
part_threads() {
	mkdir -p "$build/threads-build" && cd "$build/threads-build" || exit 1
	[ -f Makefile ] || "$src/configure" -q CC="${CC:-gcc}" \
		CFLAGS="-O1 -g" --enable-sanitize=thread >configure.log 2>&1
	: >"$out/log"
	# shellcheck disable=SC2086  # words are meant
	make -s -j 2 waybill waybill-worker waybill-relay tests/cli/json_at \
		$threads_tests >make.log 2>&1 ||
		echo "== threads-build/make.log: not built" >>"$out/log"
	for test in $threads_tests $threads_scripts; do
		case $test in
		*.sh) set -- sh "$src/$test" ;;
		*) set -- "$test" ;;
		esac
		CC=gcc TSAN_OPTIONS="log_path=$out/tsan" \
			"$@" >"$out/said" 2>&1 || {
			echo "== $test ends with $?" >>"$out/log"
			tail -n 5 "$out/said"
		}
	done
	cat "$out"/tsan.* >>"$out/log" 2>/dev/null
	cd "$src" || exit 1
	sed -n '/WARNING: /,/SUMMARY: /p' "$out/log" | head -n 200
	judge threads 'SUMMARY: \|^== '
}

for part; do
	case $part in
	cppcheck | fanalyzer | tidy | valgrind | threads) "part_$part" ;;
	*) echo "no part $part" && exit 2 ;;
	esac
done
echo "analyze: $(echo "$sources" | wc -l) files:${figures} $bad findings in all"
[ "$bad" = 0 ]
