#!/usr/bin/env bash
# Other hypervisors' formats by posada image: converted to and from, judged by qemu-img, and read by a
# third party, libvhdi and libvmdk.
# timeout: 300
# shellcheck source=tests/system/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$work" || exit 1
command -v qemu-img >/dev/null || { skip "qemu-img isn't installed"; exit 0; }

image() { posada 120 image "$@"; }

python3 - <<-'END'
	import random
	random.seed(5)
	b = bytearray((9 << 20) + 2560)
	for data in [random.randbytes(4096), b"text " * 8192, random.randbytes(300032)] * 9:
	    at = random.randrange((len(b) - len(data)) // 512) * 512
	    b[at:at + len(data)] = data
	open("a.raw", "wb").write(b)
END

# there_and_back FORMAT OPTIONS: made by us, judged by QEMU, read by us; and one of QEMU's.
there_and_back() {
	local name="$1 ${2:-}" option=()
	rm -f d* q.raw
	[ -z "${2:-}" ] || option=(-o "$2")
	image convert --allow . --verify -f raw -O "$1" "${option[@]}" a.raw "d.$1"
	expect "$name: convert to it" 0
	qemu-img compare -f raw -F "$1" a.raw "d.$1" >>"$out" 2>&1
	status=$? expect_status "$name: QEMU reads it"
	image convert -f "$1" -O raw "d.$1" q.raw
	cmp a.raw q.raw >>"$out" 2>&1
	status=$? expect_status "$name: and so do we"
}

expect_status() {
	if [ "$status" = 0 ]; then pass "$1"; else fail "$1" "status $status"; fi
}

# third NAME MOUNT FILE ENTRY: what the library shows of it is the disk.
third() {
	command -v "$2" >/dev/null || { skip "$1: $2 isn't installed"; return; }
	mkdir -p mnt
	if ! "$2" "$3" mnt >>"$out" 2>&1; then
		[ -w /dev/fuse ] || { skip "$1: there is no FUSE"; return; }
		fail "$1" "it doesn't open"
		return
	fi
	if cmp a.raw "mnt/$4" >>"$out" 2>&1; then pass "$1"; else fail "$1" "a difference"; fi
	umount mnt
}

# Parts of an image that a guest writes are written, too, when the person says so.
written_parts() {
	export POSADA_RUNTIME_DIR=$work/run
	mkdir -m 700 "$work/run"
	image create -f vmdk -o subformat=monolithicFlat w.vmdk 1M
	posada 60 run --accel soft --quiet --kernel "$kernel" --append ho --disk w.vmdk,format=vmdk
	expect "a part that would be written" 1 "would be written: add allow=$work/w-flat.vmdk"
	posada 60 run --accel soft --quiet --kernel "$kernel" --append ho --disk w.vmdk,format=vmdk,allow=w-flat.vmdk
	expect "a guest with a part that it may write" 0 hello
	qemu-img create -q -f qcow2 -o data_file=w.data w.qcow2 1M
	posada 60 run --accel soft --quiet --kernel "$kernel" --append ho --disk w.qcow2,format=qcow2,allow=w.data
	expect "a guest with a data file that it may write" 0 hello
}

written_parts
there_and_back vdi
there_and_back vdi static=on
there_and_back vhdx
there_and_back vhdx subformat=fixed,block_size=1M
there_and_back vpc
third "libvhdi reads a dynamic VHD" vhdimount d.vpc vhdi1
there_and_back vpc subformat=fixed
third "libvhdi reads a fixed VHD" vhdimount d.vpc vhdi1
there_and_back vmdk
third "libvmdk reads a sparse VMDK" vmdkmount d.vmdk vmdk1
there_and_back vmdk subformat=monolithicFlat
there_and_back vmdk subformat=twoGbMaxExtentSparse
there_and_back vmdk subformat=streamOptimized
third "libvmdk reads a stream-optimized VMDK" vmdkmount d.vmdk vmdk1
