#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
#
# Everything that CI runs, on a bare Debian 12: installs what is missing, builds
# with gcc and clang with warnings as errors, runs every test with a private
# RabbitMQ node, the short fault rounds and the simulator, the same under the
# sanitizers, and uses the installed library from outside. A test that is
# skipped counts as failed. The last line says how it went; so does the exit
# code. `./test.sh STAGE...` runs only these (see --help).
set -u
top=$(cd "$(dirname "$0")" && pwd)
wb_build=$top/build-test
. "$top/tests/support/setup.sh"

stages="build check faults sim sanitize distcheck install clang"
node=$top/tests/support/rabbitmq-node
jobs=$(nproc)
passed=0
failed=0
logs=$wb_build/logs

# ---- counting -------------------------------------------------------------

# Every cmocka test counts as one, every other test program too. A program
# that ended otherwise than its tests say counts as one more failure. Sets
# $words and adds to the totals.
count_tests() {
	local counts
	counts=$(find "$1" -path '*/waybill-*' -prune -o -name '*.trs' -print |
		while read -r trs; do
			echo "RESULT $(sed -n 's/^:test-result: *//p' "$trs")"
			grep -a '^\[' "${trs%.trs}.log"
		done | awk '
		function flush() {
			if (!seen) return
			if (result != "PASS" && !f) f = 1
			if (!p && !f) p = 1
			passed += p; failed += f
		}
		/^RESULT/ { flush(); seen = 1; result = $2; p = f = over = 0 }
		/^\[=+\].*run\.$/ { over = 1 }
		/^\[       OK \]/ { p++ }
		/^\[  (FAILED|SKIPPED) *\]/ { if (!over) f++ }
		END { flush(); print passed + 0, failed + 0 }')
	passed=$((passed + ${counts% *}))
	failed=$((failed + ${counts#* }))
	words="${counts% *} tests passed, ${counts#* } failed or skipped"
}

show_failures() {
	local trs
	find "$1" -name '*.trs' | while read -r trs; do
		grep -q '^:test-result: PASS' "$trs" && continue
		echo "--- ${trs%.trs}: $(sed -n 's/^:test-result: *//p' "$trs")"
		grep -av '^\[ *\(RUN\|OK\) ' "${trs%.trs}.log" | tail -n 30
	done
}

# The names alone, to stand together at the end: what a stage's log calls failed.
failed_names() {
	sed -nE -e "s/^\[  (FAILED|SKIPPED) *\] ([a-z][a-z0-9_]*)\$/$1: \2/p" \
		-e "s/^(FAIL|ERROR):? (tests[^ ]*).*/$1: \2/p" \
		-e "s/^--- (.*: exit [0-9]+)\$/$1: \1/p" "$2" | sort -u
}

# What a test that passed could not do for want of somebody else's client.
show_untested() {
	grep -h '^NOT TESTED' "$1"/tests/interop/*.log 2>/dev/null |
		sed 's/^/           /'
}

# ---- stages ---------------------------------------------------------------

stage_build() {
	wb_configure "$wb_build/gcc" --enable-werror CC=gcc \
		--prefix="$wb_build/prefix" &&
		make -j"$jobs" && make -j"$jobs" check TESTS=
}

with_broker() {
	"$node" run --tls --life 1800 - -- "$@"
}

stage_check() {
	cd "$wb_build/gcc" || return
	with_broker make -k check
}

stage_faults() {
	make -C "$wb_build/gcc" faults-short
}

stage_sim() {
	make -C "$wb_build/gcc" sim
}

stage_sanitize() {
	wb_configure "$wb_build/sanitize" --enable-werror CC=gcc \
		--enable-sanitize=address,undefined CFLAGS="-O1 -g" &&
		make -j"$jobs" && make -j"$jobs" check TESTS= || return
	ASAN_OPTIONS=detect_stack_use_after_return=1 \
		UBSAN_OPTIONS=print_stacktrace=1 \
		with_broker make -k check
}

stage_distcheck() {
	env -u WAYBILL_TEST_AMQP make -C "$wb_build/gcc" -j"$jobs" distcheck
}

# The installed library, as a stranger meets it.
stage_install() {
	local prefix=$wb_build/prefix outside=$wb_build/outside flags
	rm -rf "$prefix" "$outside"
	make -C "$wb_build/gcc" install || return
	export PKG_CONFIG_PATH=$prefix/lib/pkgconfig LD_LIBRARY_PATH=$prefix/lib
	cp -r "$top/tests/outside" "$outside" && cd "$outside" || return
	flags=$(pkg-config --cflags --libs waybill) || return
	gcc -Wall -Wextra -Werror hello.c $flags -o hello &&
		./hello "$wb_build/outside/store1" || return
	flags=$(pkg-config --cflags --libs waybill-test) || return
	gcc -Wall -Wextra -Werror kit.c $flags -o kit && ./kit || return
	autoreconf -fi && ./configure -q && make &&
		./hello-autotools "$wb_build/outside/store2" || return
	# shellcheck disable=SC2046  # words are meant
	gcc -Wall -Wextra -Werror -shared -fPIC -o handlers.so handlers.c \
		$(pkg-config --cflags waybill) &&
		"$prefix/bin/waybill-worker" --check --module ./handlers.so \
			--store store1 --amqp amqp://localhost
}

stage_clang() {
	wb_configure "$wb_build/clang" --enable-werror CC=clang &&
		make -j"$jobs" && make -j"$jobs" check TESTS=
}

# ---- running them ---------------------------------------------------------

run_stage() {
	local name=$1 start=$SECONDS status before words=
	printf '%-10s ' "$name"
	("stage_$name") >"$logs/$name.log" 2>&1 </dev/null
	status=$?
	before=$failed
	case $name in
	check) count_tests "$wb_build/gcc" ;;
	sanitize) count_tests "$wb_build/sanitize" ;;
	esac
	[ "$failed" = "$before" ] || status=1
	if [ $status = 0 ]; then
		passed=$((passed + 1))
		words="ok     ${words}"
	else
		failed=$((failed + 1))
		words="FAILED ${words}"
	fi
	printf '%4d s  %s\n' $((SECONDS - start)) "$words"
	case $name in
	check) show_untested "$wb_build/gcc" ;;
	sanitize) show_untested "$wb_build/sanitize" ;;
	esac
	[ $status = 0 ] && return
	echo "$name FAILED" >>"$logs/failed"
	failed_names "$name" "$logs/$name.log" >>"$logs/failed"
	case $name in
	check) show_failures "$wb_build/gcc" ;;
	sanitize) show_failures "$wb_build/sanitize" ;;
	esac
	tail -n 60 "$logs/$name.log"
	echo "(whole log: $logs/$name.log)"
	return 1
}

main() {
	local s
	case ${1-} in
	-h | --help)
		sed -n '4,11s/^# \{0,1\}//p' "$0"
		echo "Stages: $stages"
		exit 0
		;;
	-*) wb_die "unknown option $1 (see --help)" ;;
	esac
	for s in "$@"; do
		[[ " $stages " == *" $s "* ]] ||
			wb_die "no stage $s; there are: $stages"
	done
	mkdir -p "$logs" && : >"$logs/failed"
	wb_packages $wb_packages_build $wb_packages_broker $wb_packages_test
	wb_npm $wb_packages_npm
	for s in ${*:-$stages}; do
		run_stage "$s" || [ "$s" != build ] || break
	done
	echo
	head -n 25 "$logs/failed"
	echo "$passed passed, $failed failed"
	[ "$failed" = 0 ]
}

main "$@"; exit
