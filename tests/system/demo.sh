#!/usr/bin/env bash
# The demo without a terminal, twice; and the whole Debian of its disk, with systemd, to a login prompt.
# tier: full
# timeout: 1500
# shellcheck source=tests/system/lib.sh
. "$(dirname "$0")/lib.sh"

# run_demo NAME: everything that the demo wants to see was seen.
run_demo() {
	timeout -k 10 900 "$top/demo" </dev/null >"$out" 2>&1
	status=$?
	expect "$1" 0 'the guest powered off; all was seen' '!NOT seen'
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

: >"$out"
timeout -k 5 600 "$bin/posada" run --accel soft --cpus 2 --memory 1G --snapshot --net user \
	--kernel "$guest/vmlinuz" --initrd "$guest/initrd" --disk "$guest/root.img" \
	--append 'console=ttyS0 root=/dev/vda quiet' </dev/null >>"$out" 2>&1 &
jobs_to_end+=($!)
# The line above the prompt, which has no end of line to wait for.
if LANE_WAIT=600 wait_for "$out" 'Debian GNU/Linux 12 posada-demo ttyS0' $!; then
	pass "systemd gets to a login prompt"
else
	fail "systemd gets to a login prompt" "it was not seen"
fi
