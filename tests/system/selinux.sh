#!/usr/bin/env bash
# An SELinux label for each guest process: in a guest (on the software CPU) whose kernel has SELinux, with
# Debian's policy and src/confine/posada.cil. Guests run under it when it is enforced, each with categories of
# its own; a hostile guest process without any other layer is stopped by it.
# tier: full
# timeout: 900
# shellcheck source=tests/system/lib.sh
. "$(dirname "$0")/lib.sh"

modules=/var/lib/selinux/default/active/modules/100

# Attempts that SELinux alone must refuse. It gives any process /dev/null and UNIX sockets of its own, ours what
# it needs to confine itself (mount), and has no word for some system calls.
refused=(
	"read another guest's disk: open" "read another guest's disk: openat2" "read another guest's disk: by handle"
	"truncate another guest's disk" "list a directory" "create a file" "make a directory"
	"open another process's environ" "execve" "chmod another guest's disk"
	"signal a process: kill" "signal a process: pidfd_send_signal" "ptrace" "process_vm_readv" "prlimit of a process"
	"take a process's descriptor: pidfd_getfd" "a TCP socket" "a netlink socket" "a packet socket"
	"connect to another guest's control socket" "connect to its own control socket"
	"executable memory: mmap" "executable memory: mprotect" "bpf" "perf_event_open" "msgget"
)

# Debian's modules and ours, without the labels of files: those are given in the guest.
make_policy() {
	local m
	mkdir "$work/cil"
	for m in "$modules"/*/cil; do
		bzcat "$m" | grep -v '^ *(filecon' >"$work/cil/$(basename "$(dirname "$m")").cil"
	done
	secilc -M true -c 33 -o "$work/policy" -f "$work/contexts" "$work/cil"/*.cil "$top/src/confine/posada.cil"
}

# What is needed of the host's libraries, at their places.
libraries() {
	ldd "$bin/posada" "$bin/posada-vmm" | awk '$2 == "=>" { print $3 }' | sort -u | while read -r f; do
		echo "$f:lib/x86_64-linux-gnu/$(basename "$f")"
	done
	echo /lib64/ld-linux-x86-64.so.2:lib64/ld-linux-x86-64.so.2
}

make_initrd() {
	gcc -std=gnu17 -O2 -Wall -Wextra -static -o "$work/setlabel" "$here/selinux/setlabel.c"
	# shellcheck disable=SC2046
	"$top/tools/make-initrd" "$work/initrd" "$here/guest-init" "$cache/kernel-6.1" virtio_pci -- $(libraries) \
		"$here/selinux/first:test" "$here/selinux/second:p/second" "$work/setlabel:p/setlabel" "$work/policy:p/policy" \
		"$bin/posada:p/posada" "$bin/posada-vmm:p/posada-vmm" "$kernel:p/kernel" \
		"$release/tests/hostile/hostile-posada:p/hostile/posada" "$release/tests/hostile/hostile-vmm:p/hostile/posada-vmm"
}

labels_differ() {
	local n
	n=$(tr -d '\r' <"$out" | grep -a '^t: label: .*:posada_vmm_t:s0:c[0-9]*,c[0-9]*$' | sort -u | wc -l)
	[ "$n" = 2 ] && pass "two guests have two labels" || fail "two guests have two labels" "$n labels"
}

judge() {
	local name verdict
	expect "guests run while SELinux is enforced" 0 '^t: enforcing: 1' '^t: second: hello' '^t: end' '!^t: denied' || return
	labels_differ
	for name in "${refused[@]}"; do
		verdict=$(tr -d '\r' <"$out" | sed -n "s/^t: enforcing: hostile: vcpu: $name: //p")
		if ! said "^t: permissive: hostile: vcpu: $name: done"; then
			fail "SELinux alone: $name" "without it: $(grep -a "permissive: .*$name" "$out")"
		elif [ "${verdict#refused}" != "$verdict" ]; then
			pass "SELinux alone: $name: $verdict"
		else
			fail "SELinux alone: $name" "$verdict"
		fi
	done
}

if [ ! -d "$modules" ] || ! command -v secilc >/dev/null; then
	skip "SELinux: install selinux-policy-default and secilc"
elif need_kernel 6.1; then
	if ! make_policy >"$out" 2>&1; then
		fail "the policy can be made" "$(tail -n 1 "$out")"
	else
		make_initrd
		posada 600 run --accel soft --memory 1G --kernel "$cache/kernel-6.1/vmlinuz" --initrd "$work/initrd" --append \
			"console=ttyS0 quiet panic=-1 lsm=landlock,selinux security=selinux enforcing=0 audit=1 audit_backlog_limit=8192"
		judge
	fi
fi
