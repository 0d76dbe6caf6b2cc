#!/usr/bin/env bash
# What a person types: mistakes get one sentence and status 1 and leave nothing behind; the console, the
# menu and signals do what the help says.
# timeout: 400
# shellcheck source=tests/system/lib.sh
. "$(dirname "$0")/lib.sh"
export TMPDIR=$work/tmp
mkdir "$TMPDIR"
cd "$work" || exit 1

no_trace() {
	local left
	left=$(processes_left)
	[ -z "$left" ] || { echo "processes are left: $left"; return; }
	left=$(ls -A "$TMPDIR")
	[ -z "$left" ] || { echo "files are left: $left"; return; }
	[ ! -e "$work/console" ] || echo "the console's socket is left"
}

# mistake NAME PATTERN ARGUMENT...: one sentence like PATTERN, status 1, nothing left. With $before,
# a command that runs it in other circumstances.
before=()
mistake() {
	local name=$1 pattern=$2 why
	shift 2
	timeout -k 5 30 "${before[@]}" "$bin/posada" "$@" </dev/null >"$out" 2>"$work/err"
	status=$?
	cat "$work/err" >>"$out"
	if [ "$status" != 1 ]; then
		fail "$name" "exit status $status, not 1"
	elif [ "$(wc -l <"$work/err")" != 1 ]; then
		fail "$name" "$(wc -l <"$work/err") lines instead of one sentence"
	elif ! grep -Eq "^posada(\[[^]]*\])?: .*$pattern" "$work/err"; then
		fail "$name" "the sentence doesn't say '$pattern'"
	elif why=$(no_trace); [ -n "$why" ]; then
		fail "$name" "$why"
	else
		pass "$name"
	fi
}

# Of a run that would be in order but for ARGUMENT...
wrong() {
	local name=$1 pattern=$2
	shift 2
	mistake "$name" "$pattern" run --accel soft --kernel "$kernel" --append w "$@"
}

wrong_kernels() {
	: >empty
	head -c 100000 /dev/zero >zeros
	echo "not a kernel" >text
	mkdir dir
	mistake "no kernel" "no kernel was given.*--kernel" run --accel soft
	wrong "a kernel that is missing" "--kernel.*missing" --kernel missing
	wrong "a kernel that is empty" "--kernel.*empty is empty" --kernel empty
	wrong "a kernel that is a directory" "--kernel.*dir is a directory" --kernel dir
	wrong "a kernel that is a device" "--kernel.*/dev/zero" --kernel /dev/zero
	wrong "a text for a kernel" "'text'" --kernel text
	wrong "zeros for a kernel" "'zeros'" --kernel zeros
	wrong "a library for a kernel" "'$bin/posada'" --kernel "$bin/posada"
	if need_kernel 6.1; then
		head -c 1000000 "$cache/kernel-6.1/vmlinuz" >cut
		wrong "a truncated bzImage" "'cut'.*truncated" --kernel cut
		wrong "a command line longer than the kernel takes" "command line.*(too long|at most)" \
			--kernel "$cache/kernel-6.1/vmlinuz" --append "$(printf '%03000d' 0)"
		wrong "too little memory for the kernel" "vmlinuz.*more memory" \
			--kernel "$cache/kernel-6.1/vmlinuz" --memory 32M
	fi
	wrong "a command line longer than any" "too long|command line" --append "$(printf '%0100000d' 0)"
	wrong "an initrd that is missing" "--initrd.*missing" --initrd missing
	truncate -s 600M large
	wrong "an initrd too large for the memory" "'large'.*memory" --initrd large --memory 512M
}

wrong_disks() {
	local many=() i
	head -c 1000 /dev/zero >odd
	truncate -s 1M good
	for i in $(seq 17); do many+=(--disk good,readonly=on); done
	wrong "a disk that is missing" "--disk.*missing" --disk missing
	wrong "a disk that is a directory" "--disk.*dir is a directory" --disk dir
	wrong "a disk of 1000 bytes" "--disk.*odd has 1000 bytes.*512" --disk odd
	wrong "a disk that is empty" "--disk.*empty is empty" --disk empty
	wrong "a disk that is a character device" "--disk.*/dev/zero" --disk /dev/zero
	wrong "one disk twice" "--disk.*good.*in use" --disk good --disk good
	wrong "too many disks" "--disk.*at most 16" "${many[@]}"
	wrong "a disk without a path" "--disk.*path" --disk ""
	wrong "a disk's unknown option" "--disk.*no option 'color'" --disk good,color=red
	wrong "a disk's unknown cache" "--disk.*no 'maybe'" --disk good,cache=maybe
	wrong "neither on nor off" "--disk.*'maybe'" --disk good,readonly=maybe
}

wrong_sizes() {
	local n
	for n in 0 33 1000 -1 two ""; do
		wrong "--cpus '$n'" "CPUs" --cpus "$n"
	done
	for n in 0 1K 16M 33000K 900T 99999999999999999999 much -1 ""; do
		wrong "--memory '$n'" "memory" --memory "$n"
	done
}

wrong_words() {
	wrong "an unknown machine" "no machine 'toaster'.*pc-1" --machine toaster
	wrong "an unknown CPU" "--cpu.*toaster" --cpu toaster
	wrong "an unknown accelerator" "--accel.*toaster.*soft" --accel toaster
	wrong "a name with a space" "name" --name "my guest"
	wrong "no name" "name" --name ""
	wrong "a name too long" "name" --name "$(printf '%0100d' 0)"
	wrong "an unknown console" "--console.*toaster.*pty" --console toaster
	wrong "a console's socket without a path" "--console" --console socket=
	wrong "a console's socket in no directory" "--console.*missing/console" --console socket=missing/console
	wrong "a console's socket where a file is" "--console.*good" --console socket=good
	wrong "a console's socket with a long path" "--console.*at most" --console "socket=$(printf '%0200d' 0)"
	wrong "an escape key that is none" "--escape.*'x'" --escape x
	wrong "an unknown way after a reset" "--on-reboot.*'fly'.*restart" --on-reboot fly
	wrong "an unknown way after a panic" "--on-crash.*'fly'.*pause" --on-crash fly
	wrong "an unknown option" "--toaster.*--help" --toaster
	wrong "an unknown short option" "-z.*--help" -z
	wrong "an option without its value" "--kernel.*value" --kernel
	wrong "a value for an option that takes none" "--snapshot" --snapshot=yes
	wrong "an argument that is no option" "toaster.*--help" toaster
	mistake "an unknown command" "no command 'toaster'.*--help" toaster
	mistake "a mistyped command" "no command 'staus' .did you mean 'status'" staus
	mistake "an argument for doctor" "toaster" doctor toaster
}

wrong_networks() {
	local nets=() i
	for i in $(seq 9); do nets+=(--net user); done
	wrong "an unknown network" "--net.*'toaster'.*user" --net toaster
	wrong "a user network's unknown option" "--net.*no option 'color'" --net user,color=red
	wrong "a forward that is none" "--net.*'web'" --net user,forward=web
	wrong "a forward of a port that is none" "--net.*'tcp:99999:22'" --net user,forward=tcp:99999:22
	wrong "too many network cards" "--net.*at most 8" "${nets[@]}"
	wrong "a tap that does not exist" "--net.*no interface 'notap0'" --net tap=notap0
	wrong "a tap whose name is too long" "--net.*'averylonginterface'" --net tap=averylonginterface
	wrong "a tap without a name" "--net" --net tap=
	wrong "an interface that is no tap" "--net.*('lo'|/dev/net/tun)" --net tap=lo
}

# As a user who may not use /dev/kvm, and on a host without it: by root alone.
wrong_kvm() {
	local any=$((65534))
	if [ "$(id -u)" != 0 ]; then
		skip "KVM without permission, host without KVM: they need root"
		return
	fi
	chmod 755 "$work"
	if [ ! -c /dev/kvm ]; then
		skip "KVM without permission: there is no /dev/kvm"
	elif ! setpriv --reuid $any --regid $any --clear-groups test -x "$bin/posada"; then
		skip "KVM without permission: the build may not be read by other users"
	else
		before=(setpriv --reuid $any --regid $any --clear-groups)
		wrong "no permission on /dev/kvm" "--accel kvm.*/dev/kvm.*group" --accel kvm
	fi
	before=(unshare -m sh -c 'mount -t tmpfs dev /dev && mknod -m 666 /dev/null c 1 3 && exec "$@"' sh)
	if "${before[@]}" true 2>/dev/null; then
		wrong "a host without KVM" "--accel kvm.*/dev/kvm" --accel kvm
	else
		skip "a host without KVM: no mount namespace can be made"
	fi
	before=()
}

help() {
	local option
	posada 10 --help
	expect "--help" 0 'run' 'doctor'
	posada 10 --version
	expect "--version" 0 '^posada [0-9]'
	posada 10 doctor
	expect "doctor" 0 KVM io_uring Landlock 'huge pages' cgroups confinement /dev/net/tun
	posada 10 doctor --help
	expect "doctor --help" 0 Usage
	posada 10 run --help
	expect "run --help" 0 --name --accel --machine --cpu --cpus --memory --kernel --initrd --append \
		--disk --net --console --snapshot --on-reboot --on-crash --escape 'Exit status'
	posada 10
	expect "nothing at all shows the help" 1 Usage
}

# typed NAME LETTERS STEP... [-- OPTION...]: at the test kernel on a terminal.
typed() {
	local name=$1 letters=$2 steps=()
	shift 2
	while [ $# -gt 0 ] && [ "$1" != -- ]; do
		steps+=("$1")
		shift
	done
	[ $# -eq 0 ] || shift
	if timeout -k 5 120 "$here/terminal.py" "${steps[@]}" -- "$bin/posada" run --accel soft \
		--kernel "$kernel" --append "$letters" "$@" >"$out" 2>&1; then
		pass "$name"
	else
		fail "$name" "$(head -n 1 "$out")"
	fi
}

terminal() {
	command -v python3 >/dev/null || { skip "the terminal: python3 is not installed"; return; }
	typed "keys reach the guest" heo expect:hello raw send:aZ expect:61 expect:5a end:0 cooked
	typed "Ctrl-C is the guest's" heo expect:hello 'send:\x03Z' expect:03 expect:5a end:0 cooked
	typed "the menu quits" hw expect:hello 'send:\x1d' expect:'p power button' send:q end:0 cooked
	typed "the menu resets" nw expect:'boot 1' 'send:\x1dr' expect:'boot 2' 'send:\x1dq' end:0 cooked
	typed "the menu presses the power button" hbo expect:hello 'send:\x1dp' expect:button end:0 cooked
	typed "Ctrl-] twice passes one" heo expect:hello 'send:\x1d\x1d' expect:1d send:Z end:0 cooked
	typed "another key goes back to the guest" heo expect:hello 'send:\x1dx' expect:back \
		send:aZ expect:61 not:78 end:0 cooked
	typed "another escape key" heo expect:hello 'send:\x1d' expect:1d 'send:\x01' expect:'p power' \
		send:q end:0 cooked -- --escape '^A'
	typed "no escape key" heo expect:hello 'send:\x1dZ' expect:1d end:0 cooked -- --escape none
	typed "SIGTERM ends it" hw expect:hello raw signal:TERM expect:'ended by signal 15' end:1 cooked
	typed "SIGINT ends it" hw expect:hello raw signal:INT expect:'ended by signal 2' end:1 cooked
	typed "SIGHUP ends it" hw expect:hello raw signal:HUP end:1 cooked
	typed "a panic gives the terminal back" hpw expect:hello expect:panicked end:2 cooked
	typed "--console pty" eo 'open:is (/dev/pts/[0-9]+)' peer-send:a peer-expect:61 \
		peer-send:Z peer-expect:5a end:0 cooked -- --console pty
	typed "--console socket" eo expect:'runs on' connect:"$work/console" peer-send:a peer-expect:61 \
		peer-send:Z peer-expect:5a end:0 cooked -- --console socket="$work/console"
	typed "a client of the console leaves, another comes" eo expect:'runs on' \
		connect:"$work/console" peer-send:a peer-expect:61 connect:"$work/console" \
		peer-send:bZ peer-expect:62 end:0 -- --console socket="$work/console"
	typed "--console none" ho expect:'runs on' end:0 not:hello -- --console none
}

# Every line of a guest's processes says whose it is: the launcher's, the VMM's, both networks'.
names() {
	local name="each line of the log names the guest" net
	for net in user user,backend=passt "user --vsock cid=7,socket=$work/vsock"; do
		[ "$net" != user,backend=passt ] || command -v passt >/dev/null || { skip "$name, passt: it is not installed"; continue; }
		POSADA_LOG=debug posada 60 run --name web-1 --accel soft --kernel "$kernel" --append o --net $net
		if [ "$status" != 0 ]; then
			fail "$name, $net" "exit status $status"
		elif grep -av '^posada\[web-1\]: ' "$out" >"$work/others"; then
			fail "$name, $net" "it says: $(head -n 1 "$work/others")"
		elif ! said '^posada\[web-1\]: info: confined by'; then
			fail "$name, $net" "there is no line of the VMM's"
		else
			pass "$name, $net"
		fi
	done
	POSADA_LOG=loud posada 60 run --accel soft --kernel "$kernel" --append o
	expect "a level that is none" 0 "^posada\[guest[-0-9]*\]: warning: there is no level 'loud'.*debug"
}

# A long line of input arrives whole, through every buffer on its way.
input_from_a_pipe() {
	local name="10000 keys from a pipe arrive" n
	{ head -c 10000 /dev/zero | tr '\0' a; echo Z; } |
		timeout -k 5 60 "$bin/posada" run --accel soft --kernel "$kernel" --append eo --quiet >"$out" 2>&1
	status=${PIPESTATUS[1]}
	n=$(grep -ac '^61' "$out")
	if [ "$status" = 0 ] && [ "$n" = 10000 ]; then pass "$name"; else fail "$name" "status $status, $n keys"; fi
}

wrong_kernels
wrong_disks
wrong_sizes
wrong_words
wrong_networks
wrong_kvm
help
terminal
names
input_from_a_pipe
why=$(no_trace)
[ -z "$why" ] && pass "nothing is left behind" || fail "nothing is left behind" "$why"
