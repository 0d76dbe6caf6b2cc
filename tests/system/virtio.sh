#!/usr/bin/env bash
# Virtio in a stock guest: queues and the CPUs that they interrupt, rings of both layouts, I/O limits.
# timeout: 400
# shellcheck source=tests/system/lib.sh
. "$(dirname "$0")/lib.sh"

need_kernel 6.1 || exit 0
"$top/tools/make-initrd" "$work/initrd" "$here/guest-init" "$cache/kernel-6.1" virtio_pci virtio_blk virtio_rng \
	-- "$here/virtio-test:test"
truncate -s 16M "$work/disk"

# guest WHAT DISK-OPTION...
guest() {
	local what=$1
	shift
	posada 120 run --accel soft --quiet --cpus 2 --kernel "$cache/kernel-6.1/vmlinuz" --initrd "$work/initrd" \
		--append "console=ttyS0 quiet panic=-1 do=$what" --disk "$work/disk$*"
}

guest queues
expect "a queue for each CPU, split rings" 0 't: 2 queues' 't: packed 0' 't: queue 0 interrupts CPU 0' \
	't: queue 1 interrupts CPU 1' '!t: queue 0 interrupts CPU 1' '!t: queue 1 interrupts CPU 0' 't: read back'
guest queues ,packed=on
expect "a queue for each CPU, packed rings" 0 't: 2 queues' 't: packed 1' 't: queue 0 interrupts CPU 0' \
	't: queue 1 interrupts CPU 1' 't: read back'
guest queues ,queues=1,packed=on
expect "as many queues as asked for" 0 't: 1 queues' 't: read back'
guest irq
expect "interrupts follow their affinity" 0 't: moved to 0' 't: moved to 1' '!t: cannot load'
guest limit ,limit-bps=4M,burst-bytes=1M
expect "a limit is kept" 0 't: not too fast' 't: not too slow'
posada 30 run --accel soft --quiet --kernel "$kernel" --append ho --disk "$work/disk,burst-ops=5"
expect "a burst without a limit is explained" 1 'a burst needs the limit'
posada 30 run --accel soft --quiet --kernel "$kernel" --append ho --disk "$work/disk,queues=17"
expect "too many queues are explained" 1 'a disk has 1 to 16'
