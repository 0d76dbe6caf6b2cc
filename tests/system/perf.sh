#!/usr/bin/env bash
# Translated code for perf: the map and the dump that perf reads, and, where perf may be used, what it makes of them.
# timeout: 180
# shellcheck source=tests/system/lib.sh
. "$(dirname "$0")/lib.sh"
export POSADA_RUNTIME_DIR=$work/runtime
line='^[0-9a-f]+ [0-9a-f]+ (posada: between guest code|guest 0x[0-9a-f]+ (64-bit|32-bit|16-bit|real|v86) cpl[03])$'

refused() {
	posada 30 run --accel kvm,perf=map --kernel "$kernel" --append ho
	expect "KVM has no such code" 1 'perf=map is for code that is translated'
	posada 30 run --accel soft,perf=map --engine interpreter --kernel "$kernel" --append ho
	expect "nor has the interpreter" 1 'perf=map is for code that is translated'
	posada 30 run --accel kvm,perf=jitdump --kernel "$kernel" --append ho
	expect "nor a dump of it" 1 'perf=jitdump is for code that is translated'
	posada 30 run --accel soft,perf=yes --kernel "$kernel" --append ho
	expect "another word" 1 "perf=map"
}

# named [FILE]: the part of the samples in the guest's loop, by perf's report.
named() {
	perf report -i "$work/${1-perf.data}" --stdio --sort symbol 2>/dev/null |
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

# What perf makes of the dump: a file for each block, so that it knows their instructions.
inject() {
	local pid=$1 symbol name="perf shows the instructions of the guest's loop"
	perf record -q -k mono -e cpu-clock -p "$pid" -o "$work/mono.data" -- sleep 1 >"$out" 2>&1 || {
		skip "perf itself: $(tail -n 1 "$out")"
		return
	}
	"$bin/posada" stop --force --timeout 0 dumped >/dev/null 2>&1
	perf inject --jit -i "$work/mono.data" -o "$work/jit.data" >"$out" 2>&1 || {
		fail "$name" "perf inject: $(tail -n 1 "$out")"
		return
	}
	perf report -i "$work/jit.data" --stdio --sort dso,symbol >"$out" 2>/dev/null
	if [ "$(named jit.data)" -lt 20 ]; then
		fail "perf names the guest's loop by the dump" "$(named jit.data) percent of the samples are its"
		return
	fi
	pass "perf names the guest's loop by the dump"
	symbol=$(sed -n 's/.*\(guest 0x[0-9a-f]* 32-bit cpl0\).*/\1/p' "$out" | head -n 1)
	perf annotate -i "$work/jit.data" --stdio -s "$symbol" >"$out" 2>/dev/null
	if grep -Eq '[[:space:]](jmp|jne|je|cmpl?|mov|add|lea)[[:space:]]' "$out"; then
		pass "$name"
	else
		fail "$name" "no instruction of '$symbol'"
	fi
}

dump() {
	local pid dir file name="the dump is a file of jitdump, and ours alone"
	posada 60 run --detach --accel soft,perf=jitdump --kernel "$kernel" --append hl --name dumped
	[ "$status" = 0 ] || { fail "a guest with a dump" "exit status $status"; return; }
	pid=$(sed -n 's/.*"vmm":\([0-9]*\).*/\1/p' "$POSADA_RUNTIME_DIR/dumped/info.json")
	dir=/tmp/posada-$pid.jit file=$dir/jit-$pid.dump
	wait_for "$file" 'guest 0x10[0-9a-f]{4} 32-bit cpl0' "$pid"
	if [ "$(head -c 4 "$file")" != DTiJ ]; then
		fail "$name" "it begins with '$(head -c 4 "$file" | od -An -tx1)'"
	elif [ "$(stat -c %a "$dir") $(stat -c %a "$file")" != "700 600" ]; then
		fail "$name" "modes are $(stat -c %a "$dir" "$file" | tr '\n' ' ')"
	else
		pass "$name"
	fi
	inject "$pid"
	"$bin/posada" stop --force --timeout 0 dumped >/dev/null 2>&1
	rm -rf "$dir"
}

refused
profile
dump
