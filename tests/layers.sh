#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Who may include whom. Prints each line that breaks a rule, and the rule.
#
# "quoted" includes are internal and written from the top of the tree; the
# public <waybill/...> ones are open to all, but the broker's adapters are
# known to commands, examples and tests only. Foreign libraries have one home.
set -eu
srcdir=${1:-${srcdir:-.}}
cd "$srcdir"

dirs=
for dir in lib outbox inbox saga projections broker-adapters cli examples \
		bench include tests; do
	[ ! -d "$dir" ] || dirs="$dirs $dir"
done

# shellcheck disable=SC2086  # a list of words
find $dirs -name '*.[ch]' ! -path 'tests/outside/*' | LC_ALL=C sort |
xargs awk '
BEGIN {
	core = "lib/base lib/event lib/store lib/journal"
	may["lib/base"] = "lib/base"
	may["lib/event"] = "lib/base lib/event"
	may["lib/store"] = "lib/base lib/store"
	may["lib/journal"] = core
	may["lib/config"] = "lib/base lib/config"
	may["broker-adapters/amqp"] = \
		"lib/base lib/event broker-adapters/amqp"
	may["broker-adapters/memory"] = \
		"lib/base lib/event broker-adapters/memory"
	may["outbox"] = core " outbox"
	may["inbox"] = core " outbox inbox"
	may["saga"] = core " outbox inbox saga"
	may["projections"] = core " outbox inbox projections"
	may["include"] = ""
	may["examples"] = "examples"
	may["cli"] = may["bench"] = may["tests"] = "*"

	home["amqp.h"] = "broker-adapters/amqp tests bench"
	home["lmdb.h"] = "lib/store include tests bench examples"
	home["jansson.h"] = "lib/event lib/config cli tests bench"
	home["cyaml"] = home["yaml.h"] = "lib/config"
	home["libsmartcols"] = "cli"
	home["openssl"] = "broker-adapters/amqp lib/event tests"
	home["systemd"] = "cli"
	home["microhttpd.h"] = "cli"
	home["cmocka.h"] = "tests"
	home["waybill/amqp.h"] = \
		"include broker-adapters/amqp cli examples tests bench"
	home["waybill/test.h"] = "examples tests"
	home["waybill/memory.h"] = \
		"include broker-adapters/memory cli examples tests bench"
}
function part_of(path,   word)
{
	split(path, word, "/")
	if (word[1] == "lib" || word[1] == "broker-adapters")
		return word[1] "/" word[2]
	return word[1]
}
function has(list, word)
{
	return index(" " list " ", " " word " ") > 0
}
function bad(why)
{
	printf "%s:%d: %s\n\t%s\n", FILENAME, FNR, $0, why
	broken++
}
/^[ \t]*#[ \t]*include[ \t]/ {
	from = part_of(FILENAME)
	seen++
	if (!(from in may)) {
		bad("nothing is said about " from "/ in tests/layers.sh")
	} else if (match($0, /"[^"]*"/)) {
		name = substr($0, RSTART + 1, RLENGTH - 2)
		if (name == "config.h")
			next
		if (name !~ /\// || name ~ /\.\./)
			bad("write it from the top of the tree")
		else if (may[from] != "*" && !has(may[from], part_of(name)))
			bad(from " may include: " \
			    (may[from] == "" ? "public headers only" \
					     : may[from]))
	} else if (match($0, /<[^>]*>/)) {
		name = substr($0, RSTART + 1, RLENGTH - 2)
		if (name ~ /^waybill\//)
			key = name
		else if (name ~ /^(rabbitmq-c\/|amqp)/)
			key = "amqp.h"
		else {
			key = name
			sub(/\/.*/, "", key)
			if (key ~ /^libsmartcols/)
				key = "libsmartcols"
		}
		if (key in home && !has(home[key], from))
			bad("<" name "> belongs to: " home[key])
		if (key == "lmdb.h" && from == "include" &&
		    FILENAME != "include/waybill/store.h")
			bad("of the public headers only store.h has it")
	}
}
END {
	if (seen < 100) {
		print "only " seen " includes seen: does this test still work?"
		exit 1
	}
	if (broken)
		exit 1
	print seen " includes keep to the layers"
}'
