#!/usr/bin/env bash
# A host in trouble: disks that are full or fail, processes that are stopped, terminals that go, logs
# that can't be written; guest after guest leaves nothing; two from one command line.
# timeout: 400
# shellcheck source=tests/system/lib.sh
. "$(dirname "$0")/lib.sh"

export POSADA_RUNTIME_DIR=$work/run
mkdir -m 700 "$work/run"

# start OPTION...: a guest that takes words from descriptor 7.
start() {
	rm -f "$work/in"
	mkfifo "$work/in"
	: >"$out"
	"$bin/posada" run --name trouble --accel soft --quiet --console stdio --kernel "$cache/kernel-6.1/vmlinuz" \
		--initrd "$work/initrd" --append "console=ttyS0 quiet panic=-1" "$@" <"$work/in" >"$out" 2>&1 &
	guest=$!
	jobs_to_end+=("$guest")
	exec 7>"$work/in"
	wait_for "$out" '^t: ready' "$guest"
}

stop() {
	echo off >&7
	exec 7>&-
	wait "$guest"
	status=$?
}

# after NAME WORDS PATTERN: the guest is told, and says so.
after() {
	echo "$2" >&7
	if LANE_WAIT=60 wait_for "$out" "$3" "$guest"; then pass "$1"; else fail "$1" "it didn't say '$3'"; fi
}

ends_in_order() { # NAME
	after "$1: the log is read" log '^t: log ends'
	if said '^t: log: '; then fail "$1: the guest's log shows nothing" "it does"; else pass "$1: the guest's log shows nothing"; fi
	stop
	if [ "$status" = 0 ]; then pass "$1: the guest ends in order"; else fail "$1: the guest ends in order" "exit status $status"; fi
}

full_file_system() {
	mkdir "$work/small"
	if ! mount -t tmpfs -o size=4m small "$work/small" 2>/dev/null; then
		skip "a full file system: no small one can be mounted here"
		return
	fi
	truncate -s 8M "$work/small/disk"
	start --disk "$work/small/disk,on-error=report"
	after "a full file system: the guest sees an error" "write 128" '^t: writing 128 failed'
	after "and can go on with what there is" "write 8" '^t: wrote 8'
	mount -o remount,size=16m "$work/small"
	after "and with the rest when there is room again" "write 100" '^t: wrote 100'
	ends_in_order "a full file system"

	rm "$work/small/disk"
	truncate -s 24M "$work/small/disk"
	start --disk "$work/small/disk"
	echo "write 350" >&7
	if LANE_WAIT=60 wait_for "$out" 'the guest is paused, and a resume tries again' "$guest"; then
		pass "by default the guest is paused"
	else
		fail "by default the guest is paused" "its launcher doesn't say so"
	fi
	if "$bin/posada" save trouble "$work/full.save" 2>"$work/said"; then
		fail "a guest that waits for room isn't saved" "it is"
	elif grep -q "has requests that the host couldn't do" "$work/said"; then
		pass "a guest that waits for room isn't saved"
	else
		fail "a guest that waits for room isn't saved" "$(cat "$work/said")"
	fi
	mount -o remount,size=32m "$work/small"
	"$bin/posada" resume trouble
	if LANE_WAIT=60 wait_for "$out" '^t: wrote 350' "$guest"; then pass "and goes on when there is room"; else fail "and goes on when there is room" "it didn't"; fi
	ends_in_order "a full file system, paused"
	umount "$work/small"
}

# What is cut off the file underneath can't be read any more.
failing_disk() {
	truncate -s 8M "$work/cut"
	start --disk "$work/cut"
	after "a failing disk: it is read" "read 100" '^t: read 100'
	truncate -s 1M "$work/cut"
	after "then the guest sees an error" "read 100" '^t: reading 100 failed'
	after "the rest can be read" "read 2" '^t: read 2'
	ends_in_order "a failing disk"
}

resized_disk() {
	truncate -s 8M "$work/grows"
	start --disk "$work/grows"
	if [ "$("$bin/posada" resize-disk trouble disk0 12M)" = "disk0: 12 MiB" ]; then pass "a disk is made larger"; else fail "a disk is made larger" "it isn't"; fi
	after "the guest is told" "size 24576" '^t: size 24576'
	after "and can read the new part" "read 191" '^t: read 191'
	if "$bin/posada" resize-disk trouble disk0 4M 2>"$work/said"; then fail "it isn't cut off by mistake" "it is"; else pass "it isn't cut off by mistake"; fi
	"$bin/posada" resize-disk trouble disk0 4M --shrink >"$work/said"
	after "but by will" "size 8192" '^t: size 8192'
	if [ "$(stat -c %s "$work/grows")" = 4194304 ]; then pass "and so is the file"; else fail "and so is the file" "$(stat -c %s "$work/grows") bytes"; fi
	ends_in_order "another size"
}

# For three seconds: a guest that loses more at once may say so in its log.
stopped_process() {
	local vmm
	truncate -s 8M "$work/disk"
	start --disk "$work/disk"
	vmm=$(pgrep -P "$guest" -x posada-vmm)
	kill -STOP "$vmm"
	timeout 3 tail -f /dev/null
	kill -CONT "$vmm"
	after "a stopped guest process goes on" "read 1" '^t: read 1'
	ends_in_order "a stopped guest process"
}

# Told to end once; nobody tells it twice.
hung_process() {
	local vmm
	truncate -s 8M "$work/disk"
	start --disk "$work/disk"
	vmm=$(pgrep -P "$guest" -x posada-vmm)
	kill -STOP "$vmm"
	kill -TERM "$guest"
	wait "$guest"
	status=$?
	exec 7>&-
	if [ "$status" = 1 ] && said "doesn't answer; it is killed"; then pass "a guest process that is told to end and never does is killed"; else fail "a guest process that is told to end and never does is killed" "exit status $status: $(cat "$out")"; fi
	if [ -e "/proc/$vmm" ]; then fail "and is gone" "it is still there"; else pass "and is gone"; fi
}

nobody_listens() {
	local how
	for how in '>&-' '>/dev/full' '2>/dev/full >/dev/full' '>&- 2>&- <&-' '| :'; do
		bash -c "timeout -k 5 30 '$bin/posada' run --accel soft --kernel '$kernel' --append ho $how; exit \${PIPESTATUS[0]}" \
			</dev/null >"$out" 2>&1
		status=$?
		if [ "$status" = 0 ]; then pass "a guest ends in order with $how"; else fail "a guest ends in order with $how" "exit status $status"; fi
	done
}

left_behind() { # what a guest might leave: files, shared memory, control groups, processes
	ls -A "$POSADA_RUNTIME_DIR"
	find /dev/shm /var/tmp -name '*posada*' 2>/dev/null | sort
	find /sys/fs/cgroup -type d -name "posada-cycle-$$" 2>/dev/null
	processes_left
}

# Without end: nothing is left of a guest when it has ended.
cycles() {
	local n=50 i before
	[ "$tier" = full ] && n=1000
	truncate -s 1M "$work/disk-cycle"
	before=$(left_behind)
	for i in $(seq "$n"); do
		posada 30 run --name "cycle-$$" --accel soft --quiet --kernel "$kernel" --append ho \
			--disk "$work/disk-cycle" --net user
		[ "$status" = 0 ] || break
	done
	expect "$n guests, one after the other" 0 hello
	if [ "$(left_behind)" = "$before" ]; then
		pass "they leave nothing behind"
	else
		fail "they leave nothing behind" "$(diff <(echo "$before") <(left_behind) | tr '\n' ' ')"
	fi
}

# The same command, twice at once.
twice() {
	local i port=$((20000 + $$ % 10000))
	for i in 1 2; do
		"$bin/posada" run --accel soft --quiet --kernel "$kernel" --append hw --net user --console stdio \
			</dev/null >"$work/twin$i" 2>&1 &
		twins[i]=$!
		jobs_to_end+=("${twins[i]}")
	done
	wait_for "$work/twin1" hello "${twins[1]}" && wait_for "$work/twin2" hello "${twins[2]}" &&
		pass "two guests from one command line" || fail "two guests from one command line" "$(cat "$work"/twin?)"
	if [ "$("$bin/posada" ps --json | grep -c '"name": "guest\(-2\)\?"')" = 2 ]; then
		pass "they have names of their own"
	else
		fail "they have names of their own" "$("$bin/posada" ps)"
	fi
	kill "${twins[@]}"
	wait "${twins[@]}"

	"$bin/posada" run --accel soft --quiet --kernel "$kernel" --append hw --net "user,forward=tcp:$port:22" \
		--console stdio </dev/null >"$work/twin1" 2>&1 &
	twins[1]=$!
	jobs_to_end+=("${twins[1]}")
	wait_for "$work/twin1" hello "${twins[1]}"
	posada 30 run --accel soft --quiet --kernel "$kernel" --append ho --net "user,forward=tcp:$port:22"
	expect "a port in use is refused" 1 "$port"
	kill "${twins[1]}"
	wait "${twins[1]}"
}

declare -a twins
if need_kernel 6.1; then
	"$top/tools/make-initrd" "$work/initrd" "$here/guest-init" "$cache/kernel-6.1" virtio_pci virtio_blk \
		-- "$here/host-trouble-test:test"
	full_file_system
	failing_disk
	resized_disk
	stopped_process
	hung_process
fi
nobody_listens
twice
cycles
[ -z "$(processes_left)" ] && pass "no process is left" || fail "no process is left" "$(processes_left)"
