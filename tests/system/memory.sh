#!/usr/bin/env bash
# Memory that goes back to the host: what a stock guest frees, what its balloon takes, and that it gets
# it again: by being asked, and before it runs out of memory.
# timeout: 300
# shellcheck source=tests/system/lib.sh
. "$(dirname "$0")/lib.sh"

need_kernel 6.1 || exit 0
export POSADA_RUNTIME_DIR=$work/run
mkdir -m 700 "$POSADA_RUNTIME_DIR"
"$top/tools/make-initrd" "$work/initrd" "$here/guest-init" "$cache/kernel-6.1" virtio_pci virtio_balloon \
	-- "$here/memory-test:test"

# start WORDS OPTION...: such a guest in the background, as $guest and $vmm; its console's input is 7.
start() {
	local words=$1
	shift
	: >"$out"
	rm -f "$work/in"
	mkfifo "$work/in"
	exec 7<>"$work/in"
	"$bin/posada" run --accel soft --quiet --kernel "$cache/kernel-6.1/vmlinuz" --initrd "$work/initrd" \
		--append "console=ttyS0 quiet panic=-1 $words" "$@" <&7 >>"$out" 2>&1 &
	guest=$!
	jobs_to_end+=("$guest")
}

say() { echo "$1" >&7; }
seen() { wait_for "$out" "$1" "$guest"; }
resident_mib() { echo $(($(sed -n 's/^VmRSS:[^0-9]*\([0-9]*\) kB/\1/p' "/proc/$(pgrep -P "$guest" -x posada-vmm)/status") / 1024)); }

# until_resident OP MIB: until the guest process is that large or small; for half a minute at most.
until_resident() {
	local i
	for i in $(seq 300); do
		[ "$(resident_mib)" "$1" "$2" ] && return
		read -rt 0.1 <> <(:)
	done
	return 1
}

# ended NAME: the guest powers off by itself.
ended() {
	wait "$guest"
	status=$?
	shift
	expect "$@"
}

freed_memory() {
	local before
	start 'do=free mib=192' --memory 384M
	seen 't: filled' || { fail "memory is filled" "the guest ended"; return; }
	before=$(resident_mib)
	[ "$before" -gt 192 ] || fail "memory is filled" "only $before MiB are resident"
	say go
	seen 't: freed'
	if until_resident -lt $((before - 170)); then
		pass "freed memory goes back: $before MiB resident before, $(resident_mib) after"
	else
		fail "freed memory goes back" "$before MiB resident before, $(resident_mib) after"
	fi
	say go
	ended - "what was given back is used again" 0 \
		"t: sum $(yes 'posada memory' | head -c 8000000 | md5sum | cut -c1-32)"
}

# Without the balloon nothing tells the host what the guest doesn't need.
no_balloon() {
	start 'do=wait' --memory 128M --balloon off
	seen 't: total'
	say end
	ended - "a guest without a balloon" 0 't: total'
}

# free_below MIB: asks the guest until it has so little.
free_below() {
	local i
	for i in $(seq 100); do
		say free
		seen '^t: free' && [ "$(grep -ao 't: free [0-9]*' "$out" | tail -n 1 | cut -c9-)" -lt "$1" ] && return
		read -rt 0.1 <> <(:)
	done
	return 1
}

# 256 MiB of which it should keep 128: what it fills then is more than is left.
out_of_memory() {
	start 'do=wait mib=140' --memory 256M --balloon size=128M
	seen 't: total'
	if free_below 100; then
		pass "the balloon takes memory from the guest"
	else
		fail "the balloon takes memory from the guest" "$(tail -n 1 "$out")"
	fi
	say fill
	seen 't: (not )?filled|Killed|Out of memory'
	say end
	ended - "a guest that would run out of memory takes it from its balloon" 0 't: filled' '!Out of memory' '!Killed'
}

# ask ARGUMENT...: of `posada balloon`, whose words go to $work/said.
ask() { "$bin/posada" balloon "$@" >"$work/said" 2>&1; }
figure() { sed -n "s/^ *\"$1\": \([0-9]*\),\{0,1\}$/\1/p" "$work/said"; }

# until_has MIB: until the guest says that it has so much.
until_has() {
	local i
	for i in $(seq 300); do
		ask balloony --json && [ "$(figure actual)" = $(($1 * 1048576)) ] && return
		read -rt 0.1 <> <(:)
	done
	return 1
}

# By command: down, and up again.
commands() {
	local mib
	start 'do=wait' --memory 256M --name balloony
	seen 't: total'
	for mib in 160 224 256; do
		if ask balloony "${mib}M" && until_has "$mib"; then
			pass "posada balloon: $mib MiB"
		else
			fail "posada balloon: $mib MiB" "$(head -c 300 "$work/said")"
		fi
	done
	if [ "$(figure memory | tail -n 1)" -gt $((200 * 1048576)) ] && [ "$(figure free-memory)" -gt 0 ]; then
		pass "the guest's own figures"
	else
		fail "the guest's own figures" "$(head -c 500 "$work/said")"
	fi
	if ask balloony 16M; then fail "a balloon too large is refused" "it isn't"; else
		grep -q '32 MiB at least' "$work/said" && pass "a balloon too large is refused" ||
			fail "a balloon too large is refused" "$(cat "$work/said")"
	fi
	say end
	ended - "it ends" 0 't: total'
}

freed_memory
commands
no_balloon
out_of_memory
[ -z "$(processes_left)" ] && pass "no process is left" || fail "no process is left" "$(processes_left)"
