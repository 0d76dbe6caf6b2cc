#!/usr/bin/env bash
# A guest whose clock counts instructions does the same again: what it prints, how many instructions it runs, and
# what is in its memory at the end, over a boot of a Debian kernel with a disk; another seed, another guest.
# timeout: 900
# shellcheck source=tests/system/lib.sh
. "$(dirname "$0")/lib.sh"
export POSADA_LOG=info POSADA_RUNTIME_DIR=$work/run
mkdir -m 700 "$POSADA_RUNTIME_DIR"

"$top/tools/make-initrd" "$work/initrd" "$here/guest-init" "$cache/kernel-6.1" virtio_pci virtio_blk virtio_rng -- \
	"$here/boot-test:test"
head -c 1M /dev/urandom >"$work/disk"

# run NAME SEED: its words to $work/NAME.out, its digest to $work/NAME.digest.
run() {
	cp "$work/disk" "$work/disk-$1"
	timeout 250 "$bin/posada" run --name twin --accel "soft,clock=insn,seed=$2" --kernel "$cache/kernel-6.1/vmlinuz" \
		--initrd "$work/initrd" --append "console=ttyS0 panic=-1 quiet do=show" --disk "$work/disk-$1" </dev/null \
		>"$work/$1.out" 2>"$work/$1.err" || fail "run $1" "exit status $?"
	grep -E 'instructions|digest' "$work/$1.err" >"$work/$1.digest"
}

same() {
	if cmp -s "$work/one.$1" "$work/two.$1"; then
		pass "$2"
	else
		out=$work/two.$1
		fail "$2" "$(diff "$work/one.$1" "$work/two.$1" | head -n 3 | tr '\n' '|')"
	fi
}

run one 5
run two 5
run three 6
out=$work/one.out
if grep -q 'reboot: Power down' "$work/one.out" && [ "$(wc -l <"$work/one.digest")" = 2 ]; then
	pass "a boot"
else
	fail "a boot" "the guest did not come to its end"
fi
same out "the same words, with the kernel's times"
same digest "the same number of instructions, the same memory and registers"
if cmp -s "$work/one.digest" "$work/three.digest"; then
	fail "another seed" "nothing is different"
else
	pass "another seed, another run"
fi

posada 20 run --accel soft,clock=insn --cpus 2 --kernel "$kernel"
expect "two CPUs are refused" 1 'has one CPU'
posada 20 run --accel soft,clock=insn --net user --kernel "$kernel"
expect "network cards are refused" 1 'no network cards'
posada 20 run --accel kvm,clock=insn --kernel "$kernel"
expect "KVM is refused" 1 'use accel soft'
posada 20 run --accel soft,seed=3 --kernel "$kernel"
expect "a seed without such a clock is refused" 1 'needs clock=insn'
