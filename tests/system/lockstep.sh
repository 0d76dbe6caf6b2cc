#!/usr/bin/env bash
# The software CPU's translator held to its interpreter, stretch by stretch, while stock kernels boot; a difference would
# stop the guest. The whole of both boots, to power-off, and as many instructions compared as were run: on --full.
# timeout: 1500
# shellcheck source=tests/system/lib.sh
. "$(dirname "$0")/lib.sh"
export POSADA_LOG=info POSADA_RUNTIME_DIR=$work/run
mkdir -m 700 "$POSADA_RUNTIME_DIR"

initrd() {
	"$top/tools/make-initrd" "$work/initrd-$1" "$here/guest-init" "$cache/kernel-$1" \
		virtio_pci virtio_blk virtio_rng -- "$here/boot-test:test"
	head -c 1M /dev/zero >"$work/disk"
}

# options SERIES: of a guest in lockstep.
options() {
	echo --name twin --accel soft,clock=insn,lockstep=on --kernel "$cache/kernel-$1/vmlinuz" \
		--initrd "$work/initrd-$1" --disk "$work/disk"
}

difference() { grep -a -m 1 'lockstep: the translated code' "$out"; }

# compared PERCENT: of what the guest has run so far, by its counters.
compared() {
	"$bin/posada" stats twin --json | python3 -c '
import json, sys
stats = json.load(sys.stdin)
ran, same = stats["vcpus"][0]["instructions"], stats["accelerator"]["lockstep"]["instructions"]
print(f"{same} of {ran} instructions compared")
sys.exit(same < 10_000_000 or same * 100 < ran * int(sys.argv[1]))' "$1"
}

# The first seconds: from the kernel's decompression to where its CPUs are up.
beginning() {
	local series=$1 name="the beginning of a boot of $1" pid
	: >"$out"
	# shellcheck disable=SC2046
	timeout 280 "$bin/posada" run $(options "$series") --append "console=ttyS0 panic=-1 do=show" </dev/null >"$out" 2>&1 &
	pid=$!
	jobs_to_end+=($pid)
	if ! wait_for "$out" 'smp: Brought up|lockstep: the translated' $pid; then
		fail "$name" "it did not come so far"
	elif difference >/dev/null; then
		fail "$name" "$(difference)"
	elif ! compared 95 >"$work/compared" 2>&1; then
		fail "$name" "$(tail -n 1 "$work/compared")"
	else
		pass "$name: $(cat "$work/compared")"
	fi
	"$bin/posada" stop --force --timeout 0 twin >/dev/null 2>&1
	wait $pid
	jobs_to_end=()
}

boot() {
	local series=$1 name="a whole boot of $1"
	# shellcheck disable=SC2046
	posada 700 run $(options "$series") --append "console=ttyS0 panic=-1 quiet do=show"
	if [ "$status" = 0 ] && said 'reboot: Power down' && ! difference; then
		pass "$name: $(grep -aoE 'ran [0-9]+ instructions' "$out")"
	else
		fail "$name" "exit status $status, $(difference)"
	fi
}

for series in 6.1 6.12; do
	need_kernel $series || continue
	initrd $series
	if [ "$tier" = full ]; then
		boot $series
	elif [ $series = 6.1 ]; then
		beginning $series
	fi
done
