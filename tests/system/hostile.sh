#!/usr/bin/env bash
# A guest process that has been taken over tries what an attacker would, from each of its threads, and
# must not get anywhere: with all layers of its confinement. Then with none, in which everything gets
# through: proof that this test can fail. Then with each layer alone: what that stops by itself is the
# table in docs/threat-model.md, which is held to it. And a guest with a translator that has bugs planted for it.
# timeout: 600
# shellcheck source=tests/system/lib.sh
. "$(dirname "$0")/lib.sh"

layers="seccomp landlock namespaces uid privileges limits cgroup ring"
export POSADA_RUNTIME_DIR=$work/run

# --- those who are attacked ---

listen() {
	python3 -B - "$1" <<-'EOT'
	import socket, sys
	tcp = socket.create_server(("127.0.0.1", 0))
	udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
	udp.bind(tcp.getsockname())
	abstract = socket.socket(socket.AF_UNIX)
	abstract.bind("\0" + sys.argv[1])
	abstract.listen(1000)
	print(tcp.getsockname()[1], flush=True)
	while True:
	    tcp.accept()
	EOT
}

# set_up USER: everything belongs to him, and to nobody else.
set_up() {
	local user=$1
	mkdir -m 711 -p "$work" "$work/bin"
	chmod 711 "$work"
	mkdir -m 700 "$work/run" "$work/victim" "$work/victim/mount"
	echo secret >"$work/victim/disk"
	printf '\1\2' >"$work/victim/garbage"
	chmod 600 "$work/victim/disk"
	chmod 700 "$work/victim/garbage"
	truncate -s 1M "$work/disk"
	cp "$release/tests/hostile/hostile-posada" "$work/bin/posada"
	cp "$release/tests/hostile/hostile-vmm" "$work/bin/posada-vmm"
	cp "$release/tests/hostile/hostile-nbd" "$work/bin/posada-nbd"
	cp "$bin/posada-image" "$work/bin/posada-image"
	chown -R "$user" "$work/run" "$work/victim" "$work/disk"
	as=()
	[ "$user" = "$(id -u)" ] || as=(setpriv --reuid "$user" --regid "$user" --clear-groups)
	listen "hostile-$$-$user" >"$work/port" &
	jobs_to_end+=($!)
	"${as[@]}" sleep 600 &
	jobs_to_end+=($!)
	export HOSTILE_PID=$! HOSTILE_DIR=$work/victim HOSTILE_ABSTRACT=hostile-$$-$user
	export HOSTILE_CONTROL=$work/run/victim/control HOSTILE_OWN=$work/run/hostile/control
	: >"$work/victim-out"
	"${as[@]}" "$bin/posada" run --name victim --accel soft --memory 32M --kernel "$kernel" --append hw \
		</dev/null >"$work/victim-out" 2>&1 &
	jobs_to_end+=($!)
	wait_for "$work/victim-out" hello $! || fail "another guest" "it didn't start: $(cat "$work/victim-out")"
	wait_for "$work/port" '[0-9]' "${jobs_to_end[0]}"
	read -r HOSTILE_PORT <"$work/port"
	export HOSTILE_PORT
}

tear_down() {
	kill -9 "${jobs_to_end[@]}" 2>/dev/null
	wait "${jobs_to_end[@]}" 2>/dev/null
	jobs_to_end=()
	rm -rf "$work/run" "$work/victim" "$work/disk" "$work/bin"
}

# --- attacks ---

# attack LAYERS LETTERS [OPTION...]: all, none, or one layer; the letters: tests/hostile/hostile.c.
attack() {
	local layers=$1 letters=$2 group=(--limit-memory-overhead off)
	shift 2
	case $layers in
	all | cgroup) group=() ;;
	esac
	[ "$layers" = all ] || export HOSTILE_LAYERS=${layers/none/}
	timeout -k 5 120 "${as[@]}" "$work/bin/posada" run --name hostile --accel soft --quiet --memory 32M \
		--kernel "$kernel" --append "$letters" --disk "$work/disk" "${group[@]}" "$@" </dev/null >"$out" 2>&1
	status=$?
	unset HOSTILE_LAYERS
}

attempts() { sed -n "s/^hostile: \($1: .*\): \(done\|refused .*\)/\1/p" "$out"; }

# Each attempt is a result of its own, named by what it was made with.
confined() {
	local who=$1 verdict role name
	attack all HvHiHmo
	cp "$out" "$work/log-all"
	if [ "$status" != 0 ]; then
		fail "$who: a hostile guest process goes on" "exit status $status"
		return
	fi
	while IFS= read -r name; do
		verdict=$(sed -n "s/^hostile: $(sed 's/[][\/.*^$]/\\&/g' <<<"$name"): //p" "$out")
		case $verdict in
		refused*) pass "$who: $name: $verdict" ;;
		*) fail "$who: $name" "$verdict" ;;
		esac
	done < <(attempts '[a-z]*')
	for role in vcpu io main; do
		[ "$(attempts $role | wc -l)" -ge 89 ] || fail "$who: all attempts of $role" "only $(attempts $role | wc -l)"
	done
	if [ -z "$(attempts io | grep '^io: the disk.s ring')" ]; then
		skip "$who: attempts through the ring: this host has no io_uring"
	fi
}

# killed NAME LETTER: an attempt that ends the process.
killed() {
	local name=$1 letter=$2
	attack all "hH${letter}o"
	if said hello && [ "$status" = 1 ] && said 'ended unexpectedly' && ! said 'hostile: '; then
		pass "$name ends the process"
	else
		fail "$name ends the process" "exit status $status"
	fi
}

memory() {
	attack all hHMo --limit-memory-overhead 64M
	if said "no control group"; then
		skip "memory without end: no control group here"
	else
		expect "memory without end ends the process, and the launcher says why" 1 hello 'used more memory than it may'
	fi
}

unconfined() {
	local name="unconfined, every attempt gets through"
	attack none HvHiHmo
	cp "$out" "$work/log-none"
	# What this kernel, or whoever confines this test, doesn't give to anybody.
	grep '^hostile: vcpu: .*: refused' "$out" | sort -u >"$work/refused"
	if [ "$status" != 0 ]; then
		fail "$name" "status $status"
	elif [ "$(wc -l <"$work/refused")" -gt 8 ]; then
		fail "$name" "$(head -n 12 "$work/refused" | tr '\n' ' ')"
	else
		pass "$name"
		while IFS= read -r name; do skip "unconfined, too: ${name#hostile: vcpu: }"; done <"$work/refused"
	fi
	attack none Hxo
	expect "unconfined, an x32 system call comes back" 0 'an x32 system call: (done|refused)'
	attack none H3o
	if [ "$status" = 1 ]; then
		skip "unconfined, a 32-bit system call comes back: this host has no entry for 32-bit programs"
	else
		expect "unconfined, a 32-bit system call comes back" 0 'the 32-bit entry: done'
	fi
}

# Each layer by itself, and the table.
alone() {
	local layer
	for layer in $layers; do
		attack "$layer" HvHiHmo
		cp "$out" "$work/log-$layer"
		[ "$status" = 0 ] || fail "$layer alone: the process goes on" "exit status $status"
	done
	"$bin/posada" doctor >"$work/doctor"
	if ! grep -q 'Landlock ABI \([6-9]\|[1-9][0-9]\)' "$work/doctor" || ! grep -q 'cgroups .*memory' "$work/doctor" ||
		! grep -q 'pid mount net ipc uts cgroup, empty root' "$work/doctor"; then
		skip "the table of docs/threat-model.md: this host doesn't have all layers"
	elif "$top/tests/hostile/table" ${HOSTILE_WRITE:+--write} "$work" $layers >"$out" 2>&1; then
		pass "the table of docs/threat-model.md: what each layer stops by itself"
	else
		fail "the table of docs/threat-model.md: what each layer stops by itself" "it says more"
	fi
}

# --- posada-nbd ---

# attack_nbd LAYERS: it was started for a disk of a server that nobody is.
attack_nbd() {
	[ "$1" = all ] || export HOSTILE_LAYERS=
	timeout -k 5 60 "${as[@]}" "$work/bin/posada" image info -f raw "nbd://127.0.0.1:1/" </dev/null >"$out" 2>&1
	unset HOSTILE_LAYERS
}

# What it is there for, and nobody else may: a TCP socket (which connects to its server's port alone).
connector() {
	local who=$1 name verdict
	attack_nbd all
	[ "$(attempts nbd | wc -l)" -ge 85 ] || fail "$who: all attempts of posada-nbd" "only $(attempts nbd | wc -l)"
	while IFS= read -r name; do
		verdict=$(sed -n "s/^hostile: $(sed 's/[][\/.*^$]/\\&/g' <<<"$name"): //p" "$out")
		case $name:$verdict in
		*:refused* | 'nbd: a TCP socket:done') pass "$who: $name: $verdict" ;;
		*) fail "$who: $name" "$verdict" ;;
		esac
	done < <(attempts nbd)
	[ ${#as[@]} = 0 ] || return
	attack_nbd none
	name="$who: unconfined, every attempt of posada-nbd gets through"
	grep -q '^hostile: nbd: ' "$out" && [ "$(grep -c '^hostile: nbd: .*: refused' "$out")" -le 8 ] && pass "$name" ||
		fail "$name" "$(grep '^hostile: nbd: .*: refused' "$out" | head -n 12 | tr '\n' ' ')"
}

# --- the translator's boundary: docs/design/translator-boundary.md ---

# planted LAYERS LETTERS: tests/hostile/planted.S.
planted() {
	local kernel=$release/tests/hostile/planted
	attack "$@"
	sed -n 's/^hostile: planted: //p' "$out" >"$work/planted"
}

# What the guest does by its own bytes, as host code.
planted_confined() {
	local line
	planted all wco
	if [ "$status" != 0 ] || ! grep -qx 'write outside guest memory: done' "$work/planted"; then
		fail "$1: planted: the bugs let the guest write, and run its own bytes" "exit status $status"
		return
	fi
	pass "$1: planted: the bugs let the guest write, and run its own bytes"
	[ "$(wc -l <"$work/planted")" -ge 11 ] || fail "$1: planted: all attempts" "only $(wc -l <"$work/planted")"
	while IFS= read -r line; do
		case $line in
		'write outside guest memory: done') ;;
		*': refused '*) pass "$1: planted: $line" ;;
		*) fail "$1: planted: ${line%:*}" "${line##*: }" ;;
		esac
	done <"$work/planted"
}

# planted_stopped NAME LETTER SAID: the process ends where the same bug led elsewhere before.
planted_stopped() {
	planted all "$2"
	expect "planted: $1 ends the process" 1 "$3" 'ended unexpectedly'
}

planted_all() {
	planted all o
	if said 'interpreting only'; then
		skip "planted: this host has no translator"
		return
	fi
	planted_confined "as $(id -un)"
	planted_stopped "a write behind guest memory" b 'planted: stopped where it aimed'
	planted_stopped "a write in front of guest memory" f 'planted: stopped where it aimed'
	planted_stopped "a write to code where it is executed" x 'planted: stopped where it aimed'
	planted_stopped "a jump into guest memory" d 'planted: stopped where it aimed'
	planted_stopped "an address that isn't code's, handed back as if it were," a 'Assertion .sx_native_owns'
	planted none wco
	if [ "$status" = 0 ] && [ "$(grep -c ': done$' "$work/planted")" -ge 11 ] && ! grep -q refused "$work/planted"; then
		pass "planted: unconfined, every attempt gets through"
	else
		fail "planted: unconfined, every attempt gets through" "exit status $status"
	fi
}

set_up "$(id -u)"
confined "as $(id -un)"
connector "as $(id -un)"
killed "a 32-bit system call" 3
killed "an x32 system call" x
memory
planted_all
unconfined
if [ "$(id -u)" = 0 ]; then
	alone
	tear_down
	set_up 65534
	confined "as a user"
	planted_confined "as a user"
	connector "as a user"
else
	skip "each layer alone: needs root"
fi
tear_down
[ -z "$(processes_left)" ] && pass "no process is left" || fail "no process is left" "$(processes_left)"
