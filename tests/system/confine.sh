#!/usr/bin/env bash
# Confinement on other hosts than this one: in a guest (on the software CPU) that has control groups of
# version 2, and then forbids user namespaces. What such a host doesn't give is left out and said.
# shellcheck source=tests/system/lib.sh
. "$(dirname "$0")/lib.sh"

libraries() {
	ldd "$bin/posada" "$bin/posada-vmm" | awk '$2 == "=>" { print $3 }' | sort -u | while read -r f; do
		echo "$f:lib/x86_64-linux-gnu/$(basename "$f")"
	done
	echo /lib64/ld-linux-x86-64.so.2:lib64/ld-linux-x86-64.so.2
}

# seen NAME PATTERN...: in what the guest said.
seen() {
	status=0
	expect "$@"
}

if need_kernel 6.1; then
	# shellcheck disable=SC2046
	"$top/tools/make-initrd" "$work/initrd" "$here/guest-init" "$cache/kernel-6.1" virtio_pci -- $(libraries) \
		"$here/confine/guest:test" "$bin/posada:p/posada" "$bin/posada-vmm:p/posada-vmm" "$kernel:p/kernel" \
		"$release/tests/hostile/hostile-posada:p/hostile/posada" "$release/tests/hostile/hostile-vmm:p/hostile/posada-vmm"
	posada 250 run --accel soft --memory 1G --kernel "$cache/kernel-6.1/vmlinuz" --initrd "$work/initrd" \
		--append "console=ttyS0 quiet panic=-1 lsm=landlock"
	seen "doctor tries what there is" 0 't: doctor: .*pid mount net ipc uts cgroup, empty root' 'v2: memory, processes'
	seen "a guest is in a group of version 2" 0 '^t: group: [0-9]{9} [0-9]+'
	seen "a group's limit ends the guest, and the launcher says so" 0 '^t: memory: .*used more memory than it may'
	seen "no group is left, nor one of a launcher that was killed" 0 '^t: groups left: .?$'
	seen "a user's guest, where user namespaces are forbidden" 0 '^t: user: hello' \
		'^t: user: .*confined by: .*Landlock ABI.*seccomp' '^t: user: .*not confined by: namespaces: .*empty root'
	seen "doctor tells him" 0 "^t: user: .*this host doesn't give: namespaces"
	seen "root's guest has all but that one" 0 '^t: root: hello' '^t: root: .*pid mount net ipc uts cgroup, empty root, uid' \
		'^t: root: .*not confined by: user namespace'
	seen "it ended" 0 '^t: end'
fi
