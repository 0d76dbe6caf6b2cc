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

posada 600 run --accel soft --cpus 2 --memory 1G --kernel "$guest/vmlinuz" --initrd "$guest/initrd" \
	--disk "$guest/root.img" --snapshot --net user \
	--append 'console=ttyS0 root=/dev/vda quiet systemd.unit=multi-user.target systemd.run_success_action=none' &
posada_pid=$!
jobs_to_end+=("$posada_pid")
if wait_for "$out" 'login:' "$posada_pid"; then
	pass "systemd gets to a login prompt"
else
	fail "systemd gets to a login prompt" "it was not seen"
fi
