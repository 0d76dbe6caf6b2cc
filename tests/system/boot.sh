#!/usr/bin/env bash
# Whole guests on the software CPU: stock kernels, sizes of machine, and every way in which a guest ends.
# timeout: 900
# shellcheck source=tests/system/lib.sh
. "$(dirname "$0")/lib.sh"

# Warnings that a healthy machine gives too, each with its reason.
expected_warnings=(
	'lane: this is a warning' # the guest's own
)

initrd() {
	local series=$1
	"$top/tools/make-initrd" "$work/initrd-$series" "$here/guest-init" "$cache/kernel-$series" \
		virtio_pci virtio_blk virtio_rng virtio_console pvpanic_mmio button \
		-- "$here/boot-test:test"
}

# guest SERIES LIMIT WHAT OPTION...
guest() {
	local series=$1 limit=$2 what=$3
	shift 3
	posada "$limit" run --accel soft --kernel "${vmlinux:-$cache/kernel-$series/vmlinuz}" \
		--initrd "$work/initrd-$series" --append "console=ttyS0 quiet panic=-1 do=$what" "$@"
}

unexpected_warnings() {
	local args=() w
	for w in "${expected_warnings[@]}"; do
		args+=(-e "$w")
	done
	grep -a '^t: warning: ' "$out" | grep -vF "${args[@]}" | tr -d '\r' | head -n 1
}

# irq_counts NAME: one number for each CPU.
irq_counts() { tr -d '\r' <"$out" | awk -v n="$1:" '$1 == "t:" && $3 == n { for (i = 4; $i ~ /^[0-9]+$/; i++) print $i }'; }

# Every CPU's timer ticks, each was called by another, and nothing went wrong.
interrupts_are_sane() {
	local cpus=$1 n
	[ "$(irq_counts LOC | wc -l)" = "$cpus" ] || { echo "not $cpus columns"; return; }
	for n in $(irq_counts LOC); do
		[ "$n" -gt 0 ] && [ "$n" -lt 200000 ] || { echo "$n local timer interrupts on a CPU"; return; }
	done
	if [ "$cpus" -gt 1 ]; then
		for n in $(irq_counts CAL); do
			[ "$n" -gt 0 ] || { echo "a CPU was never called by another"; return; }
		done
	fi
	for n in $(irq_counts ERR) $(irq_counts MIS) $(irq_counts NMI) $(irq_counts SPU); do
		[ "$n" = 0 ] || { echo "errors, lost, spurious or non-maskable interrupts"; return; }
	done
}

# looks_healthy NAME CPUS MIB: of the last run of "show". Some of the memory is the kernel's own.
looks_healthy() {
	local name=$1 cpus=$2 mib=$3 got why
	if [ "$status" != 0 ]; then
		fail "$name" "exit status $status"
		return
	fi
	got=$(sed -n 's/.*t: memory \([0-9]*\) .*/\1/p' "$out")
	why=$(unexpected_warnings)
	if ! said 'lane: this is a warning'; then
		fail "$name" "the guest's log was not seen"
	elif [ -n "$why" ]; then
		fail "$name" "the kernel warns: ${why#t: warning: }"
	elif ! said "t: cpus $cpus\b"; then
		fail "$name" "$(grep -a '^t: cpus' "$out"), not $cpus"
	elif [ "${got:-0}" -gt "$mib" ] || [ "${got:-0}" -lt $((mib * 85 / 100 - 40)) ]; then
		fail "$name" "it sees ${got:-no} MiB of $mib"
	elif ! said 'clocksource (tsc|kvm-clock)'; then
		fail "$name" "$(grep -a clocksource "$out" || echo 'its clock source was not seen')"
	elif why=$(interrupts_are_sane "$cpus"); [ -n "$why" ]; then
		fail "$name" "$why"
	else
		pass "$name"
	fi
}

# healthy_guest SERIES CPUS MIB
healthy_guest() {
	guest "$1" 150 show --cpus "$2" --memory "$3M"
	looks_healthy "Debian $1, $2 CPUs, $3 MiB" "$2" "$3"
}

# The ELF file inside a bzImage; its payload's place stands in the setup header (boot protocol 2.08).
extract_vmlinux() {
	local image=$1 sectors offset size tool
	sectors=$(od -An -tu1 -j $((0x1f1)) -N1 "$image")
	offset=$(od -An -tu4 -j $((0x248)) -N4 "$image")
	size=$(od -An -tu4 -j $((0x24c)) -N4 "$image")
	tail -c +$(((sectors + 1) * 512 + offset + 1)) "$image" | head -c $((size - 4)) >"$work/payload"
	case $(od -An -tx1 -N4 "$work/payload") in
	' 02 21 4c 18') tool=lz4 ;;
	' 28 b5 2f fd') tool=zstd ;;
	*) tool=xz ;;
	esac
	"$tool" -dc <"$work/payload" >"$work/vmlinux" 2>"$work/unpacked" || { tail -n 1 "$work/unpacked"; return 1; }
}

stock_kernels() {
	local why

	if need_kernel 6.1; then
		initrd 6.1
		healthy_guest 6.1 1 512
		healthy_guest 6.1 2 512
		healthy_guest 6.1 1 96
		healthy_guest 6.1 2 5120
		if why=$(extract_vmlinux "$cache/kernel-6.1/vmlinuz"); then
			vmlinux=$work/vmlinux guest 6.1 150 show --cpus 2 --memory 512M
			looks_healthy "Debian 6.1 as an ELF file" 2 512
		else
			skip "Debian 6.1 as an ELF file: $why"
		fi
	fi
	if need_kernel 6.12; then
		initrd 6.12
		healthy_guest 6.12 1 512
		healthy_guest 6.12 2 512
	fi
}

ends_of_a_stock_kernel() {
	local disk=$work/disk

	[ -s "$work/initrd-6.1" ] || return
	truncate -s 64K "$disk"
	guest 6.1 150 boots --disk "$disk" --quiet
	expect "reboot -f boots again, from the start" 0 '^t: boot 1\b' '^t: boot 2\b' '^t: boot 3\b' '!posada:'
	guest 6.1 150 boots --disk "$disk" --on-reboot stop --snapshot
	expect "three boots are on the disk: the fourth powers off" 0 '^t: boot 4\b'
	truncate -s 0 "$disk" && truncate -s 64K "$disk"
	guest 6.1 150 boots --disk "$disk" --on-reboot stop
	expect "reboot -f with --on-reboot stop" 2 '^t: boot 1\b' '!boot 2' 'the guest reset itself'
	guest 6.1 150 panic
	expect "a kernel's panic" 2 'Kernel panic - not syncing' "the guest's kernel panicked"
}

# What the test kernel does in no time (kernel.S has its letters).
tiny() {
	local letters=$1
	shift
	posada 30 run --accel soft --kernel "$kernel" --append "$letters" "$@"
}

ends_of_a_tiny_kernel() {
	tiny ho
	expect "power off" 0 hello 'runs on the software CPU'
	tiny ho --quiet
	expect "--quiet is quiet" 0 hello '!posada'
	tiny n3r
	expect "reset by port 0xcf9" 0 'boot 1' 'boot 2' 'boot 3'
	tiny n3k
	expect "reset by the keyboard controller" 0 'boot 1' 'boot 2' 'boot 3'
	tiny n3t
	expect "triple faults reset the board" 0 'boot 1' 'boot 2' 'boot 3'
	tiny hr --on-reboot stop
	expect "a reset with --on-reboot stop" 2 hello
	tiny ht --on-reboot stop
	expect "a triple fault with --on-reboot stop" 2 hello
	tiny hpw
	expect "a panic" 2 hello "the guest's kernel panicked"
	tiny n3pw --on-crash restart
	expect "a panic with --on-crash restart" 0 'boot 1' 'boot 2' 'boot 3'
	tiny hx --debug-exit
	expect "the debug exit port" 11 hello
}

pause_after_panic() {
	local name="a panic with --on-crash pause" pid
	: >"$out"
	"$bin/posada" run --accel soft --kernel "$kernel" --append hpw --on-crash pause </dev/null >"$out" 2>&1 &
	pid=$!
	jobs_to_end+=("$pid")
	if wait_for "$out" 'it is paused' "$pid"; then
		kill -TERM "$pid"
		wait "$pid"
		status=$?
		expect "$name" 1 'it is paused' 'ended by signal 15'
	else
		wait "$pid"
		fail "$name" "exit status $?"
	fi
}

ends_of_a_tiny_kernel
pause_after_panic
stock_kernels
ends_of_a_stock_kernel
[ -z "$(processes_left)" ] && pass "no process is left" || fail "no process is left" "$(processes_left)"
