#!/usr/bin/env bash
# Disks and network cards that come and go in stock guests: by request, by force, under load, over a
# reset, and with a guest that misbehaves.
# timeout: 400
# shellcheck source=tests/system/lib.sh
. "$(dirname "$0")/lib.sh"

export POSADA_RUNTIME_DIR=$work/run
mkdir -m 700 "$work/run"

# ask COMMAND ARGUMENT...: a command to the guest; what it says goes to $work/said.
ask() {
	timeout -k 5 60 "$bin/posada" "$@" </dev/null >"$work/said" 2>&1
	status=$?
}

# start SERIES OPTION...: a guest that says what it has, and takes words from $work/in.
start() {
	local series=$1
	shift
	rm -f "$work/in"
	mkfifo "$work/in"
	: >"$out"
	"$bin/posada" run --name "plug-$series" --accel soft --quiet --console stdio --cpus 2 \
		--kernel "$cache/kernel-$series/vmlinuz" --initrd "$work/initrd-$series" \
		--append "console=ttyS0 quiet panic=-1" "$@" <"$work/in" >"$out" 2>&1 &
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

# after NAME PATTERN [COUNT]: the guest says it, now or later, COUNT times in all.
after() {
	local n=${3:-1}
	timeout 60 tail -n +1 -s 0.05 -f --pid="$guest" "$out" 2>/dev/null | grep -aEc -m "$n" -- "$2" >"$work/count"
	if [ "$(cat "$work/count")" = "$n" ]; then pass "$1"; else fail "$1" "it didn't say '$2' $n times"; fi
}

ok() { # NAME [PATTERN]: the last command succeeded, and said so
	if [ "$status" != 0 ]; then
		fail "$1" "exit status $status: $(cat "$work/said")"
	elif [ $# -gt 1 ] && ! grep -aEq -- "$2" "$work/said"; then
		fail "$1" "it didn't say '$2' but: $(cat "$work/said")"
	else
		pass "$1"
	fi
}

refused() { # NAME PATTERN
	if [ "$status" = 1 ] && grep -aEq -- "$2" "$work/said"; then pass "$1"; else fail "$1" "exit status $status: $(cat "$work/said")"; fi
}

disk() { yes "posada $1" | head -c 4M >"$work/$1"; }

comes_and_goes() {
	local series=$1 name=plug-$1
	need_kernel "$series" || return
	"$top/tools/make-initrd" "$work/initrd-$series" "$here/guest-init" "$cache/kernel-$series" \
		virtio_pci virtio_blk virtio_net -- "$here/hotplug-test:test"
	disk first
	disk second
	disk third
	start "$series" --disk "$work/first"

	ask attach "$name" --disk "$work/second"
	ok "$series: a disk is added" '^disk1$'
	after "$series: the guest finds it" '^t: has vda vdb .?$'
	echo "read vdb" >&7
	after "$series: and reads it" "^t: vdb begins 'posada secon'"
	ask attach "$name" --disk "$work/second"
	refused "$series: a disk is not added twice" 'in use'
	ask attach "$name" --disk "$work/third,name=disk1"
	refused "$series: nor a name" "there is a device 'disk1' already"
	ask attach "$name" --net user
	ok "$series: a network card is added" '^net0$'
	after "$series: the guest finds it" '^t: has vda vdb eth0 .?$'
	echo "write vdb" >&7
	after "$series: the guest writes to the disk" '^t: wrote vdb'
	ask detach "$name" disk1
	ok "$series: the disk is let go"
	after "$series: the guest has lost it" '^t: has vda eth0 .?$'
	head -c 20 "$work/second" | grep -q 'written in the guest' && pass "$series: what it wrote is there" ||
		fail "$series: what it wrote is there" "it isn't"
	ask attach "$name" --disk "$work/second,slot=5"
	ok "$series: its name may be used again" '^disk1$'
	after "$series: in another slot" '^t: has vda vdb eth0 .?$' 2
	ask devices "$name" --json
	ok "$series: and the list says so" '"slot": 5'
	ask detach "$name" net0
	ok "$series: the network card is let go"
	[ -z "$(processes_left | xargs -r -n1 ps -o comm= -p | grep slirp)" ] && pass "$series: its process has ended" ||
		fail "$series: its process has ended" "it is still there"
	under_load "$series" "$name"
	misbehaves "$series" "$name"
	over_a_reset "$series" "$name"
	echo log >&7
	after "$series: the log is read" '^t: log ends'
	said '^t: log: ' && fail "$series: the guest's log shows nothing" "it does" || pass "$series: the guest's log shows nothing"
	stop
	[ "$status" = 0 ] && pass "$series: it ends in order" || fail "$series: it ends in order" "exit status $status"
}

# Forced out in mid-traffic; then all goes on.
under_load() {
	local series=$1 name=$2
	echo "busy vdb" >&7
	after "$series: the disk is busy" '^t: busy with vdb'
	ask detach "$name" disk1 --force
	ok "$series: a busy disk is forced out"
	after "$series: its reader notices" '^t: no longer busy'
	ask attach "$name" --disk "$work/second,slot=5"
	ok "$series: and hot-plug goes on in the same slot" '^disk1$'
	after "$series: with a disk that is found" '^t: has vda vdb .?$' 1
}

# Garbage in the slot's registers of an empty and of a used slot.
misbehaves() {
	local series=$1 name=$2
	echo "garbage 0000:00:01.6" >&7
	after "$series: garbage is written to an empty slot" '^t: garbage written'
	echo "garbage 0000:00:01.4" >&7
	after "$series: and to a used one" '^t: garbage written' 2
	ask devices "$name"
	ok "$series: garbage in slot registers is survived" 'disk1'
	ask detach "$name" disk1 --force
	ok "$series: and the device goes"
	after "$series: from the guest as well" '^t: has vda .?$' 2
}

# A guest that starts anew finds what is there now, and what it was asked for is gone.
over_a_reset() {
	local series=$1 name=$2
	ask attach "$name" --disk "$work/third,name=data,slot=7"
	ok "$series: a disk is added before a reset" '^data$'
	ask reset "$name"
	ok "$series: the guest is reset"
	after "$series: it starts anew" '^t: ready' 2
	after "$series: and has what was added" '^t: has vda vdb .?$' 2
}

# Where nobody listens: a kernel that knows no hot-plug.
never_answers() {
	local name=deaf
	: >"$out"
	"$bin/posada" run --name "$name" --accel soft --quiet --kernel "$kernel" --append hw --console stdio \
		--disk "$work/first" </dev/null >"$out" 2>&1 &
	guest=$!
	jobs_to_end+=("$guest")
	wait_for "$out" hello "$guest"
	: >"$work/said"
	"$bin/posada" detach "$name" disk0 >"$work/said" 2>&1 &
	local asker=$!
	wait "$asker"
	status=$?
	refused "a guest that doesn't answer is given up" 'has not let go'
	ask devices "$name"
	ok "and has the device still" 'disk0.*leaving'
	ask detach "$name" disk0 --force
	ok "and the device can be forced out"
	ask devices "$name"
	if grep -q disk0 "$work/said"; then fail "then it is gone" "it is listed"; else pass "then it is gone"; fi
	posada 30 run --accel soft --quiet --kernel "$kernel" --append ho --disk "$work/first"
	expect "and its file is free" 0 hello
	kill "$guest"
	wait "$guest"
}

comes_and_goes 6.1
comes_and_goes 6.12
never_answers
[ -z "$(processes_left)" ] && pass "no process is left" || fail "no process is left" "$(processes_left)"
