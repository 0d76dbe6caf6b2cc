#!/usr/bin/env bash
# Sockets of a stock guest: connections in both directions, much data, ends, refusals, floods, and what
# is left when posada-vsock is killed.
# timeout: 400
# shellcheck source=tests/system/lib.sh
. "$(dirname "$0")/lib.sh"

need_kernel 6.1 || exit 0
export POSADA_RUNTIME_DIR=$work/run
mkdir -m 700 "$POSADA_RUNTIME_DIR"
peer=$work/peer
gcc -O2 -Wall -static -o "$peer" "$here/vsock-peer.c" >"$work/gcc" 2>&1 || {
	fail "the program for both ends" "$(tail -n 3 "$work/gcc")"
	exit 0
}
"$top/tools/make-initrd" "$work/initrd" "$here/guest-init" "$cache/kernel-6.1" virtio_pci \
	vmw_vsock_virtio_transport -- "$here/vsock-test:test" "$peer:bin/peer"
sock=$work/v
much=67108864
n_said=0 n_behind=0

mkfifo "$work/in"
exec 7<>"$work/in"
: >"$out"
"$bin/posada" run --accel soft --quiet --name socky --memory 128M --kernel "$cache/kernel-6.1/vmlinuz" --initrd "$work/initrd" \
	--append "console=ttyS0 quiet panic=-1" --vsock "cid=77,socket=$sock" <&7 >>"$out" 2>&1 &
guest=$!
jobs_to_end+=("$guest")

# nth PATTERN N: the Nth line of the guest that is like it, waiting for it.
nth() {
	timeout "${LANE_WAIT:-120}" tail -n +1 -s 0.1 -f --pid="$guest" "$out" 2>/dev/null |
		grep -am "$2" "$1" | sed -n "$2p" | tr -d '\r'
}

# in_guest COMMAND...: what peer said there is in $said.
in_guest() {
	echo "$*" >&7
	n_said=$((n_said + 1))
	said=$(nth '^t: said' "$n_said")
}

# on_host FILE COMMAND...: peer in the background; returns when it listens.
on_host() {
	local file=$work/$1
	shift
	: >"$file"
	"$peer" "$@" >"$file" 2>&1 </dev/null &
	host=$!
	jobs_to_end+=("$host")
	wait_for "$file" listening "$host"
}

# check NAME TEXT WANTED
check() {
	case $2 in
	*$3*) pass "$1" ;;
	*) fail "$1" "'$2', not '$3'" ;;
	esac
}

# in_guest_behind COMMAND...: until it listens there.
in_guest_behind() {
	echo "behind $*" >&7
	n_behind=$((n_behind + 1))
	[ -n "$(nth '^t: behind listening' "$n_behind")" ] || fail "the guest listens" "it doesn't"
}

guest_calls() {
	on_host to-host listen "${sock}_5000" 1 "check:$much" end "send:$much" shut
	in_guest connect 5000 "send:$much" shut "check:$much" end
	check "the guest calls the host: 64 MiB each way" "$said" 'said ok'
	wait "$host"
	check "and the host got all of it" "$(tail -n 1 "$work/to-host")" ok
	in_guest connect 5001
	check "a port that nobody listens to is refused" "$said" 'failed: connect'
}

host_calls() {
	in_guest_behind listen 22 1 "check:$much" end "send:$much" shut
	"$peer" connect "$sock" call:22 "send:$much" shut "check:$much" end >"$work/to-guest" 2>&1 </dev/null
	check "the host calls the guest: 64 MiB each way" "$(cat "$work/to-guest")" ok
	"$peer" connect "$sock" call:23 >"$work/to-guest" 2>&1 </dev/null
	check "a port that nobody in the guest listens to is refused" "$(cat "$work/to-guest")" 'failed: receive'
	"$peer" connect "$sock" call:77777777777 >"$work/to-guest" 2>&1 </dev/null
	check "a number that is no port is refused" "$(cat "$work/to-guest")" 'failed: receive'
}

by_command() {
	in_guest_behind listen 24 3 echo shut
	check "posada vsock: a word and its echo" "$(printf 'well\n' | timeout 20 "$bin/posada" vsock socky 24 2>&1)" well
	timeout 60 "$bin/posada" vsock socky 24 --listen "$work/bridge" 2>"$work/bridge-log" &
	local bridge=$!
	jobs_to_end+=("$bridge")
	until [ -S "$work/bridge" ] || ! kill -0 "$bridge" 2>/dev/null; do :; done
	"$peer" connect "$work/bridge" send:100000 shut check:100000 end >"$work/said-bridge" 2>&1 </dev/null
	check "posada vsock --listen: bytes and their echo" "$(cat "$work/said-bridge")" ok
	"$peer" connect "$work/bridge" send:10 check:10 >"$work/said-bridge" 2>&1 </dev/null
	check "and another client" "$(cat "$work/said-bridge")" ok
	kill "$bridge"
	wait "$bridge"
	[ -e "$work/bridge" ] && fail "its socket goes with it" "it is there" || pass "its socket goes with it"
	check "posada vsock: nobody listens" "$(timeout 20 "$bin/posada" vsock socky 25 2>&1 </dev/null)" 'nobody in guest'
	check "posada vsock: no such guest" "$(timeout 20 "$bin/posada" vsock nobody 25 2>&1 </dev/null)" 'no guest'
}

many() {
	local n idle
	on_host many listen "${sock}_6000" 2000 echo shut
	echo "loop connect 6000 send:1000 check:1000 shut end" >&7
	check "100 connections, one after the other" "$(nth '^t: looped' 1)" 'looped 100 ok'
	# A host program that never reads costs nobody else anything.
	in_guest_behind listen 30 1 send:8000000
	"$peer" connect "$sock" call:30 wait 8<>"$work/in8" <&8 >"$work/never" 2>&1 &
	idle=$!
	jobs_to_end+=("$idle")
	in_guest connect 6000 send:100000 check:100000
	check "beside a connection that isn't read" "$said" 'said ok'
	in_guest flood 6000 400
	n=${said##*flood: }
	n=${n%% *}
	if [ "$n" -ge 250 ] && [ "$n" -le 256 ]; then
		pass "a flood of connections ends at $n"
	else
		fail "a flood of connections ends" "$said"
	fi
	in_guest connect 6000 send:10 check:10
	check "and they are free again" "$said" 'said ok'
	kill "$idle"
}

counted() {
	"$bin/posada" stats socky >"$work/stats" 2>&1
	if grep -Eq '^vsock0 +[0-9]+ +[0-9]{3} ' "$work/stats"; then
		pass "posada stats counts connections"
	else
		fail "posada stats counts connections" "$(tail -n 3 "$work/stats")"
	fi
}

# The host's ends are gone then, and the guest is told: its old connection ends, new ones come about.
saved_and_restored() {
	local old
	in_guest_behind listen 40 3 echo
	"$peer" connect "$sock" call:40 send:10 check:10 end >"$work/old" 2>&1 </dev/null &
	old=$!
	in_guest connect 6000 send:10 check:10 # by then it has said what it has to
	"$bin/posada" save socky "$work/saved" >"$work/save" 2>&1
	check "a guest with connections is saved" "$(cat "$work/save")" 'is saved'
	wait "$guest"
	wait "$old"
	check "for the host its connections end" "$(cat "$work/old")" ok
	"$bin/posada" restore "$work/saved" --quiet <&7 >>"$out" 2>&1 &
	guest=$!
	jobs_to_end+=("$guest")
	until [ -S "$sock" ] || ! kill -0 "$guest" 2>/dev/null; do :; done
	"$peer" connect "$sock" call:40 send:10 check:10 >"$work/new" 2>&1 </dev/null
	check "the restored guest is called" "$(cat "$work/new")" ok
	check "its old connection has ended" "$(nth '^t: behind \(ok\|failed\)' 1)" behind
	in_guest connect 6000 send:10 check:10
	check "and it calls" "$said" 'said ok'
}

without_its_process() {
	local helper
	helper=$(pgrep -P "$guest" -x posada-vsock)
	kill -9 "$helper"
	timeout 10 tail -s 0.1 -f --pid="$helper" /dev/null
	in_guest connect 6000 send:10
	check "without posada-vsock calls are refused" "$said" 'failed: connect'
}

wait_for "$out" '^t: cid ready' "$guest" || fail "the guest starts" "it doesn't"
mkfifo "$work/in8"
guest_calls
host_calls
by_command
many
counted
saved_and_restored
without_its_process
echo end >&7
wait "$guest"
status=$?
expect "it ends" 0 't: cid'
[ -e "$sock" ] && fail "the socket is removed" "it is there" || pass "the socket is removed"
[ -z "$(processes_left)" ] && pass "no process is left" || fail "no process is left" "$(processes_left)"
