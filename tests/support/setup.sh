# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
#
# What test.sh and demo.sh share, to be sourced by bash: the packages they
# need, and a build in a directory of its own. Expects $top, the source tree.

wb_packages_build="build-essential autoconf automake libtool pkg-config
	librabbitmq-dev liblmdb-dev libjansson-dev libssl-dev libcyaml-dev
	libyaml-dev libsmartcols-dev libsystemd-dev
	libmicrohttpd-dev"
wb_packages_broker="rabbitmq-server"
wb_packages_test="libcmocka-dev clang openssl python3-pika amqp-tools"
# The clients of tests/interop that npm has; nothing of them is in this tree.
wb_packages_npm="amqplib@0.10.4 cloudevents@8.0.3"

wb_say() {
	printf '%s\n' "$*"
}

wb_die() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# wb_packages NAME...: install those that are missing, by apt-get.
wb_packages() {
	local p missing=() sudo=
	mkdir -p "$wb_build" || wb_die "cannot make $wb_build"
	if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null
	then
		wb_say "This is not a Debian: taking it that these, or what" \
			"they are called here, are installed:" "$@"
		return
	fi
	for p in "$@"; do
		[[ $(dpkg-query -W -f '${Status}' "$p" 2>/dev/null) == \
			*"ok installed" ]] || missing+=("$p")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	if [ "$(id -u)" != 0 ]; then
		command -v sudo >/dev/null || wb_die "these packages are" \
			"missing and there is no sudo; as root:" \
			"apt-get install ${missing[*]}"
		sudo=sudo
	fi
	wb_say "Installing with apt-get: ${missing[*]}"
	$sudo apt-get -qq update || wb_die "apt-get update failed"
	(wb_install "$sudo" "${missing[@]}") || {
		tail -n 20 "$wb_build/apt.log" >&2
		wb_die "apt-get could not install them (see above)"
	}
}

# wb_npm NAME@VERSION...: into the build directory; NODE_PATH names them. A
# registry that cannot be reached costs the tests that want them, no more:
# they say so, and test.sh repeats it.
wb_npm() {
	local dir=$wb_build/npm
	export NODE_PATH=$dir/node_modules
	[ "$(cat "$dir/installed" 2>/dev/null)" != "$*" ] || return 0
	# others' packages of nodejs have npm in them, and Debian's conflicts
	command -v npm >/dev/null || wb_packages nodejs npm
	wb_say "Installing with npm, into $dir: $*"
	mkdir -p "$dir"
	if (cd "$dir" && timeout 300 npm install --prefix "$dir" --no-audit \
		--no-fund --ignore-scripts --save-exact "$@") \
		>"$wb_build/npm.log" 2>&1 </dev/null; then
		echo "$*" >"$dir/installed"
	else
		tail -n 5 "$wb_build/npm.log"
		wb_say "npm could not install them (see above)"
	fi
}

# In a shell of its own: the policy goes however this ends.
wb_install() {
	local sudo=$1
	shift
	wb_policy=
	trap '[ -z "$wb_policy" ] || $sudo rm -f "$wb_policy"' EXIT
	trap 'exit 130' INT TERM HUP
	wb_keep_services_down "$sudo"
	$sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq -y \
		--no-install-recommends install "$@" \
		>"$wb_build/apt.log" 2>&1 </dev/null
}

# RabbitMQ's package would start a broker of its own on the usual port. We
# want none: while it is installed, the machine's policy says so.
wb_keep_services_down() {
	[ -e /usr/sbin/policy-rc.d ] || [ ! -d /usr/sbin ] && return
	wb_policy=/usr/sbin/policy-rc.d
	printf '#!/bin/sh\nexit 101\n' | $1 tee $wb_policy >/dev/null &&
		$1 chmod 755 $wb_policy
	wb_say "(Services that come with them are not started now." \
		"If you do not want the machine's own RabbitMQ" \
		"after the next boot: systemctl disable rabbitmq-server)"
}

# wb_configure DIR ARG...: the source tree, configured in DIR.
wb_configure() {
	local dir=$1
	shift
	[ ! -e "$top/config.status" ] || wb_die "the source tree itself is" \
		"configured; run \`make distclean\` in it first"
	[ -x "$top/configure" ] && [ "$top/configure" -nt "$top/configure.ac" ] &&
		[ "$top/Makefile.in" -nt "$top/Makefile.am" ] ||
		"$top/autogen.sh" || return
	mkdir -p "$dir" && cd "$dir" && "$top/configure" -q "$@"
}
