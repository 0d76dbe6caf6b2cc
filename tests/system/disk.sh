#!/usr/bin/env bash
# Disks in a stock guest: what is written is on the disk and what isn't allowed doesn't get there; who
# holds a disk's lock, and who doesn't any more.
# timeout: 400
# shellcheck source=tests/system/lib.sh
. "$(dirname "$0")/lib.sh"

mib=8
need_kernel 6.1 || exit 0
"$top/tools/make-initrd" "$work/initrd" "$here/guest-init" "$cache/kernel-6.1" virtio_pci virtio_blk \
	-- "$here/disk-test:test"

options() {
	printf '%s\n' run --accel soft --quiet --kernel "$cache/kernel-6.1/vmlinuz" --initrd "$work/initrd" \
		--append "console=ttyS0 quiet panic=-1 do=$1"
}

# guest WHAT OPTION...
guest() {
	local args
	readarray -t args < <(options "$1")
	shift
	posada 120 "${args[@]}" "$@"
}

pattern() { yes "posada $1" | head -c $((mib * 1048576)); }
sum() { md5sum "$@" | cut -c1-32; }

# same NAME FILE SUM
same() {
	if [ "$(sum "$2")" = "$3" ]; then pass "$1"; else fail "$1" "the file's content is another"; fi
}

new_disk() {
	rm -f "$1"
	truncate -s ${mib}M "$1"
}

# filled: what the guest's "fill" leaves behind.
filled() {
	pattern disk >"$work/wanted"
	printf 'an odd place' | dd of="$work/wanted" bs=1 seek=5000001 conv=notrunc 2>/dev/null
	sum "$work/wanted"
}

reads_and_writes() {
	local cache_mode=$1 disk=$work/disk-$1
	new_disk "$disk"
	if [ "$cache_mode" = none ] && ! dd if="$disk" of=/dev/null bs=4k count=1 iflag=direct 2>/dev/null; then
		skip "cache=none: the file system of $work can't do direct I/O"
		return
	fi
	guest fill --disk "$disk,cache=$cache_mode"
	expect "writing and reading, cache=$cache_mode" 0 't: written' 't: read back' 't: odd: an odd place' \
		't: read directly' 't: no writing behind the end' "vda sectors $((mib * 2048)) ro 0" &&
		same "what was written is in the file, cache=$cache_mode" "$disk" "$(filled)"
}

discard() {
	local disk=$work/disk-trim before after
	pattern disk >"$disk"
	sync "$disk"
	before=$(stat -c %b "$disk")
	guest trim --disk "$disk"
	expect "discard" 0 't: discarded' 't: reads as zeros' 't: the rest is there' || return
	after=$(stat -c %b "$disk")
	if [ "$after" -le $((before - 2000)) ]; then
		pass "discarded space is given back"
	elif ! fallocate -p -o 0 -l 4096 "$disk" 2>/dev/null; then
		skip "discarded space is given back: the file system of $work can't"
	else
		fail "discarded space is given back" "$before blocks before, $after after"
	fi
}

protected() {
	local disk=$work/disk-ro
	pattern disk >"$disk"
	guest scribble --disk "$disk,readonly=on"
	expect "a read-only disk refuses writes" 0 't: refused' "now begins 'posada d'"
	same "a read-only disk stays as it is" "$disk" "$(pattern disk | sum)"
	chmod 444 "$disk"
	guest scribble --disk "$disk" --snapshot
	expect "writes to a snapshot are read back" 0 't: scribbled' "now begins 'nonsense'"
	same "a snapshot leaves the disk as it is" "$disk" "$(pattern disk | sum)"
	chmod 644 "$disk"
}

two_disks() {
	pattern one >"$work/disk-one"
	pattern two | head -c 1M >"$work/disk-two"
	guest look --disk "$work/disk-one" --disk "$work/disk-two,readonly=on"
	expect "two disks in their order" 0 "vda sectors 16384 ro 0" "vda begins 'posada one'" \
		"vdb sectors 2048 ro 1" "vdb begins 'posada two'" || return
	expect "they can flush and discard" 0 "vda .*cache 'write back' discard [1-9][0-9]* zeroes [1-9]"
	if [ "$(grep -ao "serial '[^']\+'" "$out" | sort -u | wc -l)" = 2 ]; then
		pass "each disk has a serial of its own"
	else
		fail "each disk has a serial of its own" "$(grep -ao "serial '[^']*'" "$out" | tr '\n' ' ')"
	fi
}

# holder OPTION...: a guest in the background that waits, with its output in $work/holder.
holder() {
	: >"$work/holder"
	"$bin/posada" run --accel soft --quiet --kernel "$kernel" --append hw "$@" </dev/null >>"$work/holder" 2>&1 &
	holder=$!
	jobs_to_end+=("$holder")
	wait_for "$work/holder" hello "$holder"
}

# try OPTION...: a guest that powers off at once.
try() { posada 30 run --accel soft --quiet --kernel "$kernel" --append ho "$@"; }

locks() {
	local disk=$work/disk-lock vmm
	new_disk "$disk"
	holder --disk "$disk"
	try --disk "$disk"
	expect "a disk in use is refused" 1 "^posada\[[^]]*\]: --disk: $disk.*in use"
	try --disk "$disk,readonly=on"
	expect "a disk in use is refused to readers too" 1 "in use"
	vmm=$(pgrep -P "$holder" -x posada-vmm)
	kill -9 "$vmm"
	wait "$holder"
	status=$?
	cp "$work/holder" "$out"
	expect "a killed guest process is told" 1 'ended unexpectedly'
	try --disk "$disk"
	expect "its disk is free" 0 hello
	holder --disk "$disk"
	vmm=$(pgrep -P "$holder" -x posada-vmm)
	kill -9 "$holder"
	wait "$holder" 2>/dev/null
	timeout 20 tail -s 0.1 -f --pid="$vmm" /dev/null
	[ -z "$(processes_left)" ] && pass "a killed launcher leaves no process" ||
		fail "a killed launcher leaves no process" "$(processes_left)"
	try --disk "$disk"
	expect "and its disk is free" 0 hello
	holder --disk "$disk,readonly=on"
	try --disk "$disk,readonly=on"
	expect "two readers share a disk" 0 hello
	try --disk "$disk"
	expect "a disk with readers is refused to a writer" 1 "in use"
	kill "$holder"
	wait "$holder"
}

# Guest after guest on one disk, without a pause.
follows_at_once() {
	local disk=$work/disk-next i
	new_disk "$disk"
	for i in $(seq 10); do
		try --disk "$disk"
		[ "$status" = 0 ] || break
	done
	expect "ten guests follow each other on a disk" 0 hello
}

# What a flush has acknowledged survives the guest process.
survives_a_kill() {
	local disk=$work/disk-kill args pid
	new_disk "$disk"
	readarray -t args < <(options fill)
	"$bin/posada" "${args[@]}" --disk "$disk" </dev/null >"$out" 2>&1 &
	pid=$!
	jobs_to_end+=("$pid")
	if wait_for "$out" 't: written' "$pid"; then
		kill -9 "$(pgrep -P "$pid" -x posada-vmm)" 2>/dev/null
		wait "$pid"
		if [ "$(head -c 1000000 "$disk" | sum)" = "$(pattern disk | head -c 1000000 | sum)" ]; then
			pass "what was flushed survives a kill"
		else
			fail "what was flushed survives a kill" "the file's content is another"
		fi
	else
		wait "$pid"
		fail "what was flushed survives a kill" "the guest ended with status $?"
	fi
}

reads_and_writes writeback
reads_and_writes none
discard
protected
two_disks
locks
follows_at_once
survives_a_kill
[ -z "$(processes_left)" ] && pass "no process is left" || fail "no process is left" "$(processes_left)"
