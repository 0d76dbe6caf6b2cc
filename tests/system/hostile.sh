#!/usr/bin/env bash
# A guest process that has been taken over tries what an attacker would, from each of its threads, and
# must not get anywhere. The same program unconfined gets everywhere: proof that this test can fail.
# shellcheck source=tests/system/lib.sh
. "$(dirname "$0")/lib.sh"

# attack VMM LETTERS: the launcher with another guest process beside it. The letters: hostile.c.
attack() {
	local vmm=$1 letters=$2
	rm -rf "$work/bin"
	mkdir "$work/bin"
	cp "$release/src/cmd/posada" "$work/bin/"
	cp "$release/tests/hostile/$vmm" "$work/bin/posada-vmm"
	truncate -s 1M "$work/disk"
	timeout -k 5 60 "$work/bin/posada" run --accel soft --quiet --kernel "$kernel" --append "$letters" \
		--disk "$work/disk" </dev/null >"$out" 2>&1
	status=$?
}

attempts() { sed -n "s/^hostile: \($1: .*\): \(not \)\?refused.*/\1/p" "$out"; }

# Each attempt is a result of its own.
confined() {
	local name verdict
	attack hostile-vmm HvHiHmo
	if [ "$status" != 0 ]; then
		fail "a hostile guest process goes on" "exit status $status"
		return
	fi
	while read -r name; do
		verdict=$(sed -n "s/^hostile: $name: //p" "$out")
		case $verdict in
		"refused by "*) pass "$name: $verdict" ;;
		*) fail "$name" "$verdict" ;;
		esac
	done < <(attempts '[a-z]*')
	for name in vcpu io main; do
		[ "$(attempts $name | wc -l)" -ge 39 ] || fail "all attempts of $name" "only $(attempts $name | wc -l)"
	done
	if [ -z "$(attempts io | grep ring\$)" ]; then
		skip "attempts through the ring: this host has no io_uring"
	fi
}

# killed NAME LETTER: an attempt that ends the process.
killed() {
	local name=$1 letter=$2
	attack hostile-vmm "hH${letter}o"
	if said hello && [ "$status" = 1 ] && said 'ended unexpectedly' && ! said 'refused'; then
		pass "$name ends the process"
	else
		fail "$name ends the process" "exit status $status"
	fi
}

unconfined() {
	local name="unconfined, every attempt gets through"
	attack unconfined-vmm HvHiHmo
	if [ "$status" != 0 ] || grep -q '^hostile: .*: refused' "$out"; then
		fail "$name" "$(grep '^hostile: .*: refused' "$out" | head -n 3 | tr '\n' ' ')status $status"
	elif [ "$(attempts '[a-z]*' | wc -l)" -lt 100 ]; then
		fail "$name" "only $(attempts '[a-z]*' | wc -l) attempts"
	else
		pass "$name"
	fi
	attack unconfined-vmm Hxo
	expect "unconfined, an x32 system call comes back" 0 'an x32 system call: not refused'
	attack unconfined-vmm H3o
	if [ "$status" = 1 ]; then
		skip "unconfined, a 32-bit system call comes back: this host has no entry for 32-bit programs"
	else
		expect "unconfined, a 32-bit system call comes back" 0 'the 32-bit entry: not refused'
	fi
}

confined
killed "a 32-bit system call" 3
killed "an x32 system call" x
unconfined
[ -z "$(processes_left)" ] && pass "no process is left" || fail "no process is left" "$(processes_left)"
