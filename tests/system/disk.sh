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

# How often an NBD server was asked to make something durable, in nbdkit's log.
durable_writes() { grep -c 'Write .*fua=1' "$work/nbd.log"; }
flushes() { grep -c '^.*[0-9] Flush ' "$work/nbd.log"; }

# cached MODE WHAT-THE-GUEST-SEES: over a server that counts.
cached() {
	local mode=$1 seen=$2 server
	rm -f "$work/nbd.sock" "$work/nbd.log"
	nbdkit -f -U "$work/nbd.sock" --filter=log memory 8M logfile="$work/nbd.log" >/dev/null 2>&1 &
	server=$!
	jobs_to_end+=("$server")
	timeout 20 bash -c 'until [ -S "$0" ]; do read -rt 0.05 <><(:); done' "$work/nbd.sock"
	guest cached --disk "nbd+unix:///?socket=$work/nbd.sock,cache=$mode"
	kill "$server"
	wait "$server" 2>/dev/null
	expect "cache=$mode: the guest sees '$seen'" 0 "t: cache '$seen'" 't: wrote without' 't: wrote with'
}

cache_modes() {
	local mode disk=$work/disk-modes
	if command -v nbdkit >/dev/null; then
		cached writeback 'write back'
		if [ "$(durable_writes)" = 0 ] && [ "$(flushes)" -ge 1 ]; then
			pass "cache=writeback: writes wait for nothing, a flush arrives"
		else fail "cache=writeback" "$(durable_writes) durable writes, $(flushes) flushes"; fi
		cached writethrough 'write through'
		if [ "$(durable_writes)" -ge 8 ]; then
			pass "cache=writethrough: each write is durable"
		else fail "cache=writethrough" "$(durable_writes) durable writes, $(flushes) flushes"; fi
		cached unsafe 'write back'
		if [ "$(durable_writes)" = 0 ] && [ "$(flushes)" = 0 ]; then
			pass "cache=unsafe: no flush arrives"
		else fail "cache=unsafe" "$(durable_writes) durable writes, $(flushes) flushes"; fi
	else skip "cache modes over a server: nbdkit isn't installed"; fi
	for mode in writeback none directsync; do
		new_disk "$disk"
		guest cached --disk "$disk,cache=$mode"
		[ "$mode" = directsync ] && expect "cache=directsync: the guest has no write cache" 0 "cache 'write through'"
		case $mode:$(fincore -nbo PAGES "$disk" | tr -d ' ') in
		writeback:0) fail "cache=$mode and the page cache" "it isn't used" ;;
		none:0 | directsync:0) pass "cache=$mode leaves nothing in the page cache" ;;
		writeback:*) pass "cache=$mode uses the page cache" ;;
		*) fail "cache=$mode and the page cache" "it is used: $(fincore "$disk" | tail -n 1)" ;;
		esac
	done
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

shares() {
	local disk=$work/disk-shared args first
	new_disk "$disk"
	readarray -t args < <(options first)
	: >"$work/first"
	"$bin/posada" "${args[@]}" --disk "$disk,share=on" </dev/null >"$work/first" 2>&1 &
	first=$!
	jobs_to_end+=("$first")
	guest second --disk "$disk,share=on,cache=none"
	expect "a guest reads what another one wrote to their disk" 0 "t: read the other's word"
	wait "$first"
	status=$?
	cp "$work/first" "$out"
	expect "and the other one, what that wrote" 0 "t: read the other's word"
	holder --disk "$disk,share=on"
	try --disk "$disk,share=on,readonly=on"
	expect "a third may read with them" 0 hello
	try --disk "$disk,readonly=on"
	expect "who doesn't share it may not read" 1 "in use by another VM"
	try --disk "$disk"
	expect "nor write" 1 "in use by another VM"
	posada 30 image info "$disk"
	expect "nor look" 1 "in use"
	kill "$holder"
	wait "$holder"
	holder --disk "$disk"
	try --disk "$disk,share=on"
	expect "a disk that isn't shared is refused to who would" 1 "in use by who doesn't share it"
	kill "$holder"
	wait "$holder"
	try --disk "$disk,format=qcow2,share=on"
	expect "an image isn't shared" 1 "share=on is for raw disks"
	try --disk "$disk,share=on" --snapshot
	expect "nor beneath a snapshot" 1 "exclude each other"
}

# encrypted FORMAT PREFIX: PREFIX is of the format's options.
encrypted() {
	local format=$1 prefix=$2 disk=$work/disk-$1 key=$work/key options=
	printf 'a good fence' >"$key"
	[ "$format" = luks ] || options=encrypt.format=luks,
	rm -f "$disk" "$work/plain"
	posada 60 image create --secret "id=k,file=$key" -f "$format" -o "$options${prefix}iter-time=10" "$disk" ${mib}M
	guest fill --disk "$disk,format=$format,key-file=$key"
	expect "a guest's encrypted disk, $format" 0 't: written' 't: read back' 't: odd: an odd place' \
		't: read directly' 't: no writing behind the end' || return
	posada 60 image convert --secret "id=k,file=$key" -f "$format" -O raw "$disk" "$work/plain"
	same "what was written is in it, $format" "$work/plain" "$(filled)"
	if grep -aq 'posada disk' "$disk"; then
		fail "and not to be read, $format" "it is"
	else pass "and not to be read, $format"; fi
	guest look --disk "$disk,format=$format,key-fd=5" 5<"$key"
	expect "with a passphrase from a descriptor, $format" 0 "vda begins 'posada dis'"
	try --disk "$disk,format=$format"
	expect "no passphrase, $format" 1 'no passphrase for it was given'
	try --disk "$disk,format=$format,key-file=$disk,key-file=/etc/hostname"
	expect "no passphrase that fits, $format" 1 'its passphrase|passphrase is wrong'
	holder --name locked
	posada 30 attach locked --disk "$disk,format=$format,key-file=$key"
	expect "an encrypted disk is attached, $format" 0 disk0
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
	: >"$out"
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
cache_modes
discard
protected
two_disks
encrypted luks ""
encrypted qcow2 encrypt.
locks
shares
follows_at_once
survives_a_kill
[ -z "$(processes_left)" ] && pass "no process is left" || fail "no process is left" "$(processes_left)"
