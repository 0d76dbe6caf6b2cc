#!/usr/bin/env bash
# Block jobs on the disk of a guest that writes to it all the time.
# timeout: 400
# shellcheck source=tests/system/lib.sh
. "$(dirname "$0")/lib.sh"

export POSADA_RUNTIME_DIR=$work/run
mkdir -m 700 "$work/run"
need_kernel 6.1 || exit 0
"$top/tools/make-initrd" "$work/initrd" "$here/guest-init" "$cache/kernel-6.1" virtio_pci virtio_blk \
	-- "$here/job-test:test"

# start DISK: a guest that takes words from descriptor 7.
start() {
	rm -f "$work/in"
	mkfifo "$work/in"
	: >"$out"
	"$bin/posada" run --name busy --accel soft --quiet --console stdio --kernel "$cache/kernel-6.1/vmlinuz" \
		--initrd "$work/initrd" --append "console=ttyS0 quiet panic=-1" --disk "$1" <"$work/in" >"$out" 2>&1 &
	guest=$!
	jobs_to_end+=("$guest")
	exec 7>"$work/in"
	wait_for "$out" '^t: ready' "$guest"
}

# The lock of what a commit went into ends with the kernel's rings, a moment after the process.
until_unlocked() {
	local i
	for i in {1..200}; do
		qemu-img info -f qcow2 "$1" >"$work/said" 2>&1 && return
		read -rt 0.05 <><(:)
	done
	return 1
}

stop() {
	echo off >&7
	exec 7>&-
	if wait "$guest"; then pass "$1: the guest ends in order"; else fail "$1: the guest ends in order" "exit status $?"; fi
}

# The disk's sum as the guest sees it, which writes nothing from then on, until it is told to.
n_sums=0
sum_in_guest() {
	n_sums=$((n_sums + 1))
	echo sum >&7
	LANE_WAIT=60 wait_for "$out" "^t: sum $n_sums " "$guest"
	sum=$(grep -a "^t: sum $n_sums " "$out" | tr -d '\r' | cut -d' ' -f4)
}

sum_of() { md5sum <"$1" | cut -c1-32; }

job() { # NAME ARGUMENT...: it ends well
	local name=$1
	shift
	if timeout 120 "$bin/posada" job busy "$@" >"$work/said" 2>&1; then pass "$name"; else fail "$name" "$(cat "$work/said")"; fi
}

refused() { # NAME PATTERN ARGUMENT...
	local name=$1 pattern=$2
	shift 2
	if timeout 60 "$bin/posada" job busy "$@" >"$work/said" 2>&1; then
		fail "$name" "it isn't refused"
	elif grep -q "$pattern" "$work/said"; then
		pass "$name"
	else
		fail "$name" "$(cat "$work/said")"
	fi
}

writes() { # NAME DISK: another guest doesn't get the disk
	if timeout 60 "$bin/posada" run --accel soft --quiet --kernel "$kernel" --append ho --disk "$2,format=qcow2" </dev/null >"$work/said" 2>&1; then
		fail "$1" "it gets it"
	elif grep -q "in use by another VM" "$work/said"; then
		pass "$1"
	else
		fail "$1" "$(cat "$work/said")"
	fi
}

new() { rm -f "$1"; truncate -s "${2:-16M}" "$1"; }

copies() {
	new "$work/disk"
	new "$work/copy"
	start "$work/disk"
	sum_in_guest
	echo busy >&7
	job "a copy" disk0 copy "$work/copy" --limit-bps 4M
	if "$here/job-check.py" "$work/copy" >"$work/said" 2>&1; then pass "it is the disk of one moment"; else fail "it is the disk of one moment" "$(cat "$work/said")"; fi
	new "$work/small" 8M
	refused "a target that is too small" "the target has" disk0 copy "$work/small"
	refused "a second job without a target" "have a target" disk0 mirror
	refused "another disk's target" "in use by another VM" disk0 mirror "$work/disk"
	stop "copies"
}

mirrors() {
	new "$work/disk"
	new "$work/mirror"
	new "$work/mirror2"
	n_sums=0
	start "$work/disk"
	: >"$work/watched"
	"$bin/posada" job busy disk0 mirror "$work/mirror" --ask >"$work/watched" 2>&1 &
	job_pid=$!
	if wait_for "$work/watched" 'disk0: ready' "$job_pid"; then pass "a mirror becomes ready"; else fail "a mirror becomes ready" "$(cat "$work/watched")"; fi
	refused "one job at a time" "already" disk0 copy "$work/mirror2"
	if "$bin/posada" job busy | grep -q 'disk0 *mirror *ready'; then pass "and is listed so"; else fail "and is listed so" "$("$bin/posada" job busy)"; fi
	if "$bin/posada" save busy "$work/save" 2>"$work/said"; then fail "meanwhile it isn't saved" "it is"; else pass "meanwhile it isn't saved"; fi
	job "it is completed" disk0 --complete
	if wait "$job_pid"; then pass "whoever waits for it is told"; else fail "whoever waits for it is told" "$(cat "$work/watched")"; fi
	sum_in_guest
	if [ "$sum" = "$(sum_of "$work/mirror")" ]; then pass "the guest goes on with the target"; else fail "the guest goes on with the target" "sums differ"; fi
	echo busy >&7
	job "and is mirrored once more" disk0 mirror "$work/mirror2"
	sum_in_guest
	if [ "$sum" = "$(sum_of "$work/mirror2")" ]; then pass "to a third file"; else fail "to a third file" "sums differ"; fi
	if "$bin/posada" run --accel soft --kernel "$kernel" --append ho --disk "$work/mirror2" </dev/null >"$work/said" 2>&1; then
		fail "which is locked" "it isn't"
	else
		pass "which is locked"
	fi
	if timeout 60 "$bin/posada" run --accel soft --quiet --kernel "$kernel" --append ho --disk "$work/disk" </dev/null >"$work/said" 2>&1; then pass "the first one isn't any more"; else fail "the first one isn't any more" "$(cat "$work/said")"; fi
	stop "mirrors"
}

called_off() {
	new "$work/disk"
	new "$work/target"
	n_sums=0
	start "$work/disk"
	"$bin/posada" events busy --json >"$work/events" &
	events_pid=$!
	jobs_to_end+=("$events_pid")
	wait_for "$work/events" hello "$events_pid"
	"$bin/posada" job busy disk0 mirror "$work/target" --limit-bps 1M --background
	job "a job is called off" disk0 --cancel
	if wait_for "$work/events" '"cancelled"' "$events_pid"; then pass "and tells of it"; else fail "and tells of it" "$(cat "$work/events")"; fi
	job "another one begins" disk0 copy "$work/target" --limit-bps 1M --background
	sum_in_guest
	if [ "$sum" = "$(sum_of "$work/disk")" ]; then pass "the guest stays with its disk"; else fail "the guest stays with its disk" "sums differ"; fi
	stop "a job that still goes on"
}

# A chain of three: the top goes down into the middle, and then the bottom comes up.
layers() {
	if ! command -v qemu-img >/dev/null; then
		skip "layers: qemu-img isn't there"
		return
	fi
	rm -f "$work"/*.qcow2
	qemu-img create -q -f qcow2 "$work/bottom.qcow2" 16M
	qemu-img convert -f raw -O qcow2 "$work/disk" "$work/bottom.qcow2"
	qemu-img create -q -f qcow2 -b bottom.qcow2 -F qcow2 "$work/middle.qcow2"
	qemu-img create -q -f qcow2 -b middle.qcow2 -F qcow2 "$work/top.qcow2"
	n_sums=0
	start "$work/top.qcow2,format=qcow2"
	sum_in_guest
	echo busy >&7
	refused "a commit into what isn't beneath" "is not beneath" disk0 commit "$work/disk"
	: >"$work/watched"
	"$bin/posada" job busy disk0 commit "$work/middle.qcow2,format=qcow2" --ask >"$work/watched" 2>&1 &
	job_pid=$!
	wait_for "$work/watched" 'disk0: ready' "$job_pid"
	writes "while a commit goes on its layer is nobody else's" "$work/middle.qcow2,readonly=on"
	job "a commit is called off" disk0 --cancel
	wait "$job_pid"
	writes "then it may be read, and not be written" "$work/middle.qcow2"
	job "a commit" disk0 commit "$work/middle.qcow2,format=qcow2"
	sum_in_guest
	echo busy >&7
	job "a pull" disk0 pull
	if qemu-io -f qcow2 -c 'write -P 1 0 64k' "$work/bottom.qcow2" >"$work/said" 2>&1; then pass "what lay beneath is closed, and may be written"
	else fail "what lay beneath is closed, and may be written" "$(cat "$work/said")"; fi
	if "$bin/posada" save busy "$work/saved" --keep-running >"$work/said" 2>&1 && ! grep -aq bottom.qcow2 "$work/saved"; then
		pass "a saved guest doesn't name what lay beneath"
	else
		fail "a saved guest doesn't name what lay beneath" "$(cat "$work/said")"
	fi
	sum_in_guest
	stop "layers"
	if until_unlocked "$work/middle.qcow2"; then pass "the layers are nobody's"; else fail "the layers are nobody's" "$(cat "$work/said")"; fi
	qemu-img convert -f qcow2 -O raw "$work/middle.qcow2" "$work/raw"
	if [ "$sum" = "$(sum_of "$work/raw")" ]; then pass "the image has what the guest saw"; else fail "the image has what the guest saw" "sums differ"; fi
	if qemu-img info "$work/middle.qcow2" | grep -q backing; then fail "nothing beneath is needed" "it names a backing file"; else pass "nothing beneath is needed"; fi
	if qemu-img check -q -f qcow2 "$work/middle.qcow2" >"$work/said" 2>&1; then pass "the image is sound"; else fail "the image is sound" "$(cat "$work/said")"; fi
}

copies
mirrors
called_off
layers
[ -z "$(processes_left)" ] && pass "no process is left" || fail "no process is left" "$(processes_left)"
