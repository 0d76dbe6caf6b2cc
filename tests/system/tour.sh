#!/usr/bin/env bash
# docs/tour.md does what it says: its blocks of commands are run, one after the other in one shell, and
# print what stands below them.
# timeout: 600
# shellcheck source=tests/system/lib.sh
. "$(dirname "$0")/lib.sh"
export POSADA_RUNTIME_DIR=$work/run
export PATH=$bin:$PATH
tour=$top/docs/tour.md

# sh-N and text-N: the blocks of commands, and what they print.
extract() {
	awk -v dir="$work" '
		/^```(sh|text)$/ { kind = substr($0, 4); n += kind == "sh"; file = dir "/" kind "-" n; print "" >file; next }
		/^```/ { file = ""; next }
		file { print >>file }' "$tour"
}

# A line of the page as a pattern: "..." stands for anything, spaces for any number of them.
pattern_of() {
	sed -e 's/[][\.*^$+?(){}|]/\\&/g' -e 's/\\\.\\\.\\\./.*/g' -e 's/  */ +/g' -e 's/^/^/' -e 's/$/$/' <<<"$1"
}

# prints FILE WANTED: the lines of WANTED, in this order. Says which is missing.
prints() {
	local at=1 line found
	while IFS= read -r line; do
		[ -n "$line" ] && [ "$line" != ... ] || continue
		found=$(tail -n "+$at" "$1" | tr -d '\r' | grep -anEm 1 -e "$(pattern_of "$line")" | cut -d : -f 1)
		[ -n "$found" ] || { echo "'$line'"; return; }
		at=$((at + found))
	done <"$2"
}

# The blocks, in a shell of their own, to the first that fails: output to out-N, status to status-N.
run_blocks() {
	local n
	for ((n = 1; n <= $1; n++)); do
		printf '{ . %q; } </dev/null >%q 2>&1; s=$?; echo $s >%q; [ $s = 0 ] || exit\n' \
			"$work/sh-$n" "$work/out-$n" "$work/status-$n"
	done | (cd "$work/tour" && timeout 500 bash -s)
}

check_block() {
	local n=$1 name why
	name="block $n, $(grep -m 1 . "$work/sh-$n" | cut -c 1-50)"
	out=$work/out-$n
	if [ "$(cat "$work/status-$n" 2>/dev/null)" != 0 ]; then
		fail "$name" "$([ -e "$work/status-$n" ] && echo "it fails" || echo "it was not reached")"
	elif [ -e "$work/text-$n" ] && why=$(prints "$out" "$work/text-$n") && [ -n "$why" ]; then
		fail "$name" "it doesn't print $why"
	else
		pass "$name"
	fi
}

need_kernel 6.12 || exit 0
command -v busybox >/dev/null || { skip "the tour: busybox is not installed"; exit 0; }
mkdir "$work/tour"
ln -s "$top/tools" "$top/docs" "$work/tour"
ln -s "$cache" "$work/tour/cache"
extract
blocks=$(find "$work" -maxdepth 1 -name 'sh-*' | wc -l)
run_blocks "$blocks"
for ((n = 1; n <= blocks; n++)); do
	check_block "$n"
done
