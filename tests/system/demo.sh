#!/usr/bin/env bash
# The demo without a terminal, twice, and with the light init; and with a terminal, to a shell of root's and out of it.
# tier: full
# timeout: 1500
# shellcheck source=tests/system/lib.sh
. "$(dirname "$0")/lib.sh"

# run_demo NAME [OPTION...]: everything that the demo wants to see was seen.
run_demo() {
	local name=$1
	shift
	timeout -k 10 900 "$top/demo" "$@" </dev/null >"$out" 2>&1
	status=$?
	expect "$name" 0 'the guest powered off; all was seen' '!NOT seen'
}

guest=$top/cache/guest
if ! command -v mmdebstrap >/dev/null && [ ! -s "$guest/root.img" ]; then
	skip "all: mmdebstrap is not installed, and there is no guest from before"
	exit 0
fi
run_demo "the demo by itself"
began=$SECONDS
run_demo "once more"
if [ $((SECONDS - began)) -le 120 ]; then
	pass "it starts from what it made before"
else
	fail "it starts from what it made before" "$((SECONDS - began)) seconds"
fi

run_demo "with a light init" --light

# The prompt has no end of line to wait for.
prompted() {
	for _ in $(seq 2800); do
		grep -aq 'root@posada-demo:~#' "$out" && return
		kill -0 "$1" 2>/dev/null || return
		sleep 0.1
	done
	return 1
}

# As a person would: script gives it a terminal.
shell() {
	local name="on a terminal, systemd gets to a shell, whose end powers the guest off" keys=$work/keys
	mkfifo "$keys"
	: >"$out"
	timeout -k 10 300 script -qefc "$top/demo -- --snapshot" /dev/null <"$keys" >"$out" 2>&1 &
	jobs_to_end+=($!)
	exec 3>"$keys"
	if prompted $!; then
		printf 'echo "$(cat /proc/1/comm) says" hello; exit\n' >&3
		wait $!
		status=$?
		expect "$name" 0 'systemd says hello'
	else
		fail "$name" "no prompt was seen"
	fi
	exec 3>&-
}
shell
