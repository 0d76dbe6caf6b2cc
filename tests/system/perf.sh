#!/usr/bin/env bash
# Names of translated code for perf: the map that perf reads, and, where perf may be used, what it makes of it.
# timeout: 120
# shellcheck source=tests/system/lib.sh
. "$(dirname "$0")/lib.sh"
export POSADA_RUNTIME_DIR=$work/runtime
line='^[0-9a-f]+ [0-9a-f]+ (posada: between guest code|guest 0x[0-9a-f]+ (64-bit|32-bit|16-bit|real|v86) cpl[03])$'

refused() {
	posada 30 run --accel kvm,perf=map --kernel "$kernel" --append ho
	expect "KVM has no such code" 1 'perf=map is for code that is translated'
	posada 30 run --accel soft,perf=map --engine interpreter --kernel "$kernel" --append ho
	expect "nor has the interpreter" 1 'perf=map is for code that is translated'
	posada 30 run --accel soft,perf=yes --kernel "$kernel" --append ho
	expect "another word" 1 "perf=map"
}

# named: the part of the samples in the guest's loop, by perf's report.
named() {
	perf report -i "$work/perf.data" --stdio --sort symbol 2>/dev/null |
		awk '/guest 0x[0-9a-f]+ 32-bit cpl0/ { sum += $1 } END { print int(sum) }'
}

by_perf() {
	local pid=$1
	perf record -q -e cpu-clock -p "$pid" -o "$work/perf.data" -- sleep 1 >"$out" 2>&1 || {
		skip "perf itself: $(tail -n 1 "$out")"
		return
	}
	perf report -i "$work/perf.data" --stdio --sort dso,symbol >"$out" 2>/dev/null
	if [ "$(named)" -ge 20 ]; then
		pass "perf names the guest's loop"
	else
		fail "perf names the guest's loop" "$(named) percent of the samples are its"
	fi
	"$bin/posada" stop --force --timeout 0 profiled >/dev/null 2>&1
	if [ "$(named)" -ge 20 ]; then
		pass "and does so when the guest is gone"
	else
		fail "and does so when the guest is gone" "$(named) percent of the samples are its"
	fi
}

profile() {
	local pid map name="the map has each block's address, mode and privilege"
	posada 60 run --detach --accel soft,perf=map --kernel "$kernel" --append hl --name profiled
	[ "$status" = 0 ] || { fail "a guest with names" "exit status $status"; return; }
	pid=$(sed -n 's/.*"vmm":\([0-9]*\).*/\1/p' "$POSADA_RUNTIME_DIR/profiled/info.json")
	map=/tmp/perf-$pid.map
	wait_for "$map" '^[0-9a-f]+ [0-9a-f]+ guest ' "$pid"
	cp "$map" "$out"
	if grep -Evq -- "$line" "$map"; then
		fail "$name" "a line is '$(grep -Evm 1 -- "$line" "$map")'"
	elif ! grep -Eq '^[0-9a-f]+ [0-9a-f]+ guest 0x10[0-9a-f]{4} 32-bit cpl0$' "$map"; then
		fail "$name" "the kernel's code isn't there"
	elif [ "$(stat -c %a "$map")" != 600 ]; then
		fail "$name" "its mode is $(stat -c %a "$map")"
	else
		pass "$name"
	fi
	by_perf "$pid"
	"$bin/posada" stop --force --timeout 0 profiled >/dev/null 2>&1
	rm -f "$map"
}

refused
profile
