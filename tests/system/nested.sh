#!/usr/bin/env bash
# The KVM accelerator under a true KVM, inside QEMU's TCG (nested/README.md).
# timeout: 900
set -uo pipefail

here=$(cd "$(dirname "$0")" && pwd)
build=${CHECK_RELEASE:?} cache=${CHECK_CACHE:?}
work=$cache/nested
for tool in qemu-system-x86_64 busybox cpio xz; do
	command -v $tool >/dev/null || { echo "SKIP nested: $tool is not installed"; exit 0; }
done
"$here/../../tools/get-kernel" 6.1 "$cache/kernel-6.1" || { echo "SKIP nested: no kernel package to be had"; exit 0; }

# test NAME COMMAND...: once more when QEMU came to nothing (nested/README.md).
test() {
	local name=$1 status
	shift
	"$@"
	status=$?
	if [ $status = 124 ]; then
		echo "nested: $name: QEMU got stuck; once more"
		"$@"
		status=$?
	fi
	if [ $status = 0 ]; then
		echo "PASS nested: $name"
	else
		echo "FAIL nested: $name"
	fi
}

test "unit tests and guest programs" "$here/nested/guests" "$build" "$cache/kernel-6.1" "$work"
test "a Debian 6.1 guest with 2 vCPUs, CPU model posada-base" "$here/nested/boot" "$build" "$cache/kernel-6.1" "$work" 2 posada-base
test "a hostile guest process on KVM" "$here/nested/hostile" "$build" "$cache/kernel-6.1" "$work"
test "a guest moves between KVM and the software CPU" "$here/nested/moves" "$build" "$cache/kernel-6.1" "$work"
if [ "${CHECK_TIER:-default}" != default ]; then
	test "a Debian 6.1 guest with 4 vCPUs" "$here/nested/boot" "$build" "$cache/kernel-6.1" "$work" 4
	"$here/../../tools/get-kernel" 6.12 "$cache/kernel-6.12" &&
		test "a Debian 6.12 guest" "$here/nested/boot" "$build" "$cache/kernel-6.12" "$work" 1
fi
exit 0
