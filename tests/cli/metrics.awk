# SPDX-License-Identifier: BSD-2-Clause
# What a scraper would say against metrics text (exposition format 0.0.4):
# prints one complaint a line, nothing if all is well.
function complain(what) { print FNR ": " what ": " $0 }
function family(name) { # starts, and is not to come again
	if (name == current) return
	if (name in closed) complain("a family in two pieces")
	if (current != "") closed[current] = 1
	current = name
	samples = 0
}
/^# HELP / {
	family($3)
	if ($3 in helped) complain("a second HELP")
	helped[$3] = 1
	if (NF < 4) complain("a HELP without words")
	next
}
/^# TYPE / {
	family($3)
	if ($3 in typed) complain("a second TYPE")
	typed[$3] = $4
	if (samples > 0) complain("a TYPE behind its samples")
	if ($4 != "gauge" && $4 != "counter") complain("an unknown type")
	if ($4 == "counter" && $3 !~ /_total$/)
		complain("a counter not called _total")
	if ($4 == "gauge" && $3 ~ /_total$/) complain("a gauge called _total")
	next
}
/^#/ || /^$/ { complain("neither HELP nor TYPE nor sample"); next }
{
	rest = $0
	if (!match(rest, /^[a-zA-Z_:][a-zA-Z0-9_:]*/)) {
		complain("no name")
		next
	}
	name = substr(rest, 1, RLENGTH)
	rest = substr(rest, RLENGTH + 1)
	family(name)
	samples++
	if (!(name in typed)) complain("no TYPE before it")
	if (!(name in helped)) complain("no HELP before it")
	split("", labels)
	if (substr(rest, 1, 1) == "{") {
		rest = substr(rest, 2)
		while (match(rest, /^[a-zA-Z_][a-zA-Z0-9_]*="([^"\\]|\\[\\"n])*",?/)) {
			label = substr(rest, 1, index(rest, "=") - 1)
			if (label in labels) complain("a label twice")
			labels[label] = 1
			rest = substr(rest, RLENGTH + 1)
		}
		if (substr(rest, 1, 1) != "}") complain("bad labels")
		rest = substr(rest, 2)
	}
	if (rest !~ /^ -?[0-9]+(\.[0-9]+)?(e[-+]?[0-9]+)?$/) complain("no value")
	series = substr($0, 1, length($0) - length(rest))
	if (series in seen) complain("a series twice")
	seen[series] = 1
}
END { if (NR == 0) print "no metrics at all" }
