#!/usr/bin/env bash
# Formats by posada image: every option of each, made by us and by qemu-img, read, checked and written again by the
# other (--full: many combinations); images made larger; read by a third party, libvhdi and libvmdk.
# timeout: 900
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
	# What it is changed to: some of it is other data, some zeros, some data where there was nothing.
	for data in [random.randbytes(70144), bytes(262144), b"other " * 8192] * 5:
	    at = random.randrange((len(b) - len(data)) // 512) * 512
	    b[at:at + len(data)] = data
	open("b.raw", "wb").write(b)
END

# they_say COMMAND...: one that isn't ours, as posada() runs ours.
they_say() {
	timeout -k 5 60 "$@" </dev/null >"$out" 2>&1
	status=$?
}

# step WHAT: fails the case unless the last command ended well; a format may have nothing to check.
step() {
	[ "$status" = 0 ] || { [ "$status" = 63 ] && return; } || { fail "$name" "$1: status $status"; return 1; }
}

# made_by_us FORMAT OPTIONS FLAG...: and by the other's program written again, if it can be.
made_by_us() {
	local name="$1 ${2:-as it is made}${3:+ $3}: ours" form=$1 option=()
	[ -z "$2" ] || option=(-o "$2")
	rm -f d*
	image convert --allow . "${@:3}" -f raw -O "$form" "${option[@]}" a.raw "d.$form"
	step "we make it" || return
	they_say qemu-img compare -f raw -F "$form" a.raw "d.$form"
	step "QEMU reads it" || return
	[ "$form" = vpc ] || they_say qemu-img check -q -f "$form" "d.$form"
	step "QEMU checks it" || return
	if [[ $2 != *streamOptimized* ]]; then
		they_say qemu-img convert -n -f raw -O "$form" b.raw "d.$form"
		step "QEMU writes it" || return
		image check --allow . -f "$form" "d.$form"
		step "we check it" || return
		image compare --allow . -f raw -F "$form" b.raw "d.$form"
		step "we read it" || return
	fi
	pass "$name"
}

made_by_qemu() {
	local name="$1 ${2:-as it is made}${3:+ $3}: QEMU's" form=$1 option=()
	[ -z "$2" ] || option=(-o "$2")
	rm -f d*
	they_say qemu-img convert "${@:3}" -f raw -O "$form" "${option[@]}" a.raw "d.$form"
	step "QEMU makes it" || return
	image check --allow . -f "$form" "d.$form"
	step "we check it" || return
	image compare --allow . -f raw -F "$form" a.raw "d.$form"
	step "we read it" || return
	if [[ $2 != *streamOptimized* ]]; then
		image convert -n --allow . -f raw -O "$form" b.raw "d.$form"
		step "we write it" || return
		[ "$form" = vpc ] || they_say qemu-img check -q -f "$form" "d.$form"
		step "QEMU checks it" || return
		they_say qemu-img compare -f raw -F "$form" b.raw "d.$form"
		step "QEMU reads it" || return
	fi
	pass "$name"
}

both_ways() {
	made_by_us "$@"
	made_by_qemu "$@"
}

qcow2_options() {
	local o
	for o in "" compat=0.10 cluster_size=512 cluster_size=4096 cluster_size=2M lazy_refcounts=on \
		extended_l2=on extended_l2=on,cluster_size=16384 extended_l2=on,cluster_size=2M \
		data_file=d.data data_file=d.data,data_file_raw=on \
		refcount_bits=1 refcount_bits=2 refcount_bits=4 refcount_bits=8 refcount_bits=32 refcount_bits=64 \
		preallocation=metadata preallocation=falloc preallocation=full; do
		both_ways qcow2 "$o"
	done
	for o in "" compat=0.10 cluster_size=4096 cluster_size=2M compression_type=zstd \
		compression_type=zstd,cluster_size=2M extended_l2=on; do
		both_ways qcow2 "$o" -c
	done
}

# Every cluster size with every width of a reference count, and what may go with both.
qcow2_combinations() {
	local size bits more
	for size in 512 1024 4096 16384 65536 262144 1M 2M; do
		for bits in 1 4 16 64; do
			for more in "" ,lazy_refcounts=on ,preallocation=metadata ,extended_l2=on ,compression_type=zstd; do
				[[ $more != *extended* || $size != @(512|1024|4096) ]] || continue
				both_ways qcow2 "cluster_size=$size,refcount_bits=$bits$more"
			done
		done
		for more in "" ,compression_type=zstd; do
			both_ways qcow2 "cluster_size=$size$more" -c
		done
	done
}

other_options() {
	local o
	for o in "" static=on; do both_ways vdi "$o"; done
	for o in "" subformat=fixed force_size=on force_size=on,subformat=fixed; do both_ways vpc "$o"; done
	for o in "" subformat=fixed block_size=1M block_size=32M block_size=256M subformat=fixed,block_size=2M log_size=4M; do
		both_ways vhdx "$o"
	done
	for o in monolithicSparse monolithicFlat twoGbMaxExtentSparse twoGbMaxExtentFlat streamOptimized; do
		both_ways vmdk "subformat=$o"
	done
	for o in zeroed_grain=on adapter_type=lsilogic adapter_type=buslogic adapter_type=legacyESX compat6=on hwversion=7; do
		both_ways vmdk "$o"
	done
}

other_combinations() {
	local o
	for o in {monolithicSparse,twoGbMaxExtentSparse}",zeroed_grain=on"{,",adapter_type="{ide,lsilogic,buslogic,legacyESX}}; do
		both_ways vmdk "subformat=$o"
	done
	for o in "subformat="{dynamic,fixed}",block_size="{1M,2M,4M,8M,16M,64M,128M}",log_size="{1M,8M}; do
		both_ways vhdx "$o"
	done
}

# grows FORMAT OPTIONS SIZE: an image of ours and one of QEMU's; the new part is zeros to both.
grows() {
	local who name form=$1 option=() size=$3
	[ -z "$2" ] || option=(-o "$2")
	for who in ours "QEMU's"; do
		name="$form $2 grows to $size: $who"
		rm -f d*
		if [ "$who" = ours ]; then
			image convert --allow . -f raw -O "$form" "${option[@]}" a.raw "d.$form"
		else
			they_say qemu-img convert -f raw -O "$form" "${option[@]}" a.raw "d.$form"
		fi
		step "it is made" || return
		image resize --allow . -f "$form" "d.$form" "$size"
		step "we make it larger" || return
		they_say qemu-img compare -f raw -F "$form" a.raw "d.$form"
		step "QEMU reads it" || return
		[ "$form" = vpc ] || they_say qemu-img check -q -f "$form" "d.$form"
		step "QEMU checks it" || return
		qemu-img convert -f raw -O raw b.raw c.raw && truncate -s "$size" c.raw && printf end | dd of=c.raw bs=512 seek=$(($(stat -c %s c.raw) / 512 - 1)) conv=notrunc status=none
		they_say qemu-img convert -n -f raw -O "$form" c.raw "d.$form"
		step "QEMU writes it" || return
		image compare --strict --allow . -f raw -F "$form" c.raw "d.$form"
		step "we read it" || return
		pass "$name"
	done
}

larger() {
	grows vmdk "" 30M
	grows vmdk subformat=monolithicSparse 200M
	grows vmdk subformat=monolithicFlat 40M
	grows vmdk subformat=twoGbMaxExtentSparse 100M
	grows vmdk subformat=twoGbMaxExtentFlat 40M
	third "libvmdk reads a VMDK that grew" vmdkmount d.vmdk vmdk1 c.raw
	grows vdi "" 300M
	grows vdi static=on 40M
	grows vhdx "" 100M
	grows vhdx subformat=fixed 40M
	grows vpc force_size=on 100M
	third "libvhdi reads a dynamic VHD that grew" vhdimount d.vpc vhdi1 c.raw
	grows vpc force_size=on,subformat=fixed 40M
	third "libvhdi reads a fixed VHD that grew" vhdimount d.vpc vhdi1 c.raw
	grows qcow2 "" 200M
}

smaller() {
	local form
	for form in vmdk vdi vpc vhdx; do
		rm -f d*
		image create -f "$form" "d.$form" 8M
		image resize --shrink -f "$form" "d.$form" 4M
		expect "a $form image isn't made smaller" 1 "can't be made smaller: convert it to a raw or a qcow2 image"
	done
}

# there_and_back FORMAT OPTIONS: ours, with what convert reads again; for a third reader.
there_and_back() {
	local option=()
	rm -f d*
	[ -z "${2:-}" ] || option=(-o "$2")
	image convert --allow . --verify -f raw -O "$1" "${option[@]}" a.raw "d.$1"
	expect "$1 ${2:-}: convert, and verify" 0
}

whole() { dd if="$1" bs=128K status=none; }
# Of a disk of somewhat more than 4 GiB.
ends() {
	dd if="$1" bs=128K count=128 status=none
	dd if="$1" bs=128K skip=$((4080 * 8)) status=none
}

# third NAME MOUNT FILE ENTRY [RAW [ends]]: what the library shows of it is the disk.
third() {
	local read=${6:-whole}
	command -v "$2" >/dev/null || { skip "$1: $2 isn't installed"; return; }
	mkdir -p mnt
	if ! "$2" "$3" mnt >>"$out" 2>&1; then
		[ -w /dev/fuse ] || { skip "$1: there is no FUSE"; return; }
		fail "$1" "it doesn't open"
		return
	fi
	# In order, by large reads: libvhdi (20210425) mixes up a differencing image's blocks otherwise.
	if cmp <("$read" "${5:-a.raw}") <("$read" "mnt/$4") >>"$out" 2>&1; then pass "$1"; else fail "$1" "a difference"; fi
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

same() {
	if cmp "$2" "$3" >>"$out" 2>&1; then pass "$1"; else fail "$1" "a difference"; fi
}

# Differencing VHDs that nobody of us wrote. The parent is followed by its name, where that is allowed.
differencing() {
	mkdir -p vhd/below
	python3 "$here/vhd-fixture.py" vhd
	image convert -f vpc -O raw vhd/child.vhd vhd/ours.raw
	same "a differencing VHD" vhd/child.raw vhd/ours.raw
	image check -f vpc vhd/child.vhd
	expect "it is sound" 0
	mv vhd/child.vhd vhd/below
	image convert -f vpc -O raw vhd/below/child.vhd vhd/none.raw
	expect "its parent isn't looked for elsewhere" 1 "parent 'parent.vhd': cannot open"
	ln -s ../parent.vhd vhd/below
	image convert -f vpc -O raw vhd/below/child.vhd vhd/none.raw
	expect "a parent elsewhere isn't opened" 1 "add --allow"
	image convert --allow vhd/parent.vhd -f vpc -O raw vhd/below/child.vhd vhd/allowed.raw
	same "unless it is allowed" vhd/child.raw vhd/allowed.raw
	python3 "$here/vhd-fixture.py" vhd bytes
	third "libvhdi reads a differencing VHD" vhdimount vhd/child.vhd vhdi2 vhd/child.raw
	image convert -f vpc -O raw vhd/child.vhd vhd/again.raw
	same "as we do" vhd/child.raw vhd/again.raw
}

# The same of VHDX: every state of a block, over each that the parent's may have; two blocks of bitmaps.
differencing_vhdx() {
	local compare=(image compare --strict -f raw -F vhdx)
	mkdir -p vhdx/below
	python3 "$here/vhdx-fixture.py" vhdx
	"${compare[@]}" vhdx/child.raw vhdx/child.vhdx
	expect "a differencing VHDX" 0 "identical"
	image check -f vhdx vhdx/child.vhdx
	expect "it is sound, too" 0
	image convert -f vhdx -O raw vhdx/child.vhdx vhdx/ours.raw
	cmp <(ends vhdx/child.raw) <(ends vhdx/ours.raw) >>"$out" 2>&1
	status=$?
	expect "it is converted" 0
	mv vhdx/child.vhdx vhdx/below
	"${compare[@]}" vhdx/child.raw vhdx/below/child.vhdx
	expect "a VHDX's parent isn't looked for elsewhere" 2 "parent 'parent.vhdx': cannot open"
	ln -s ../parent.vhdx vhdx/below
	"${compare[@]}" vhdx/child.raw vhdx/below/child.vhdx
	expect "a VHDX's parent elsewhere isn't opened" 2 "add --allow"
	"${compare[@]}" --allow vhdx/parent.vhdx vhdx/child.raw vhdx/below/child.vhdx
	expect "unless that one is allowed" 0 "identical"
	python3 "$here/vhdx-fixture.py" vhdx no-zeros
	third "libvhdi reads a differencing VHDX" vhdimount vhdx/child.vhdx vhdi2 vhdx/child.raw ends
	"${compare[@]}" vhdx/child.raw vhdx/child.vhdx
	expect "so do we" 0 "identical"
}

written_parts
differencing
differencing_vhdx
qcow2_options
other_options
larger
smaller
there_and_back vpc
third "libvhdi reads a dynamic VHD" vhdimount d.vpc vhdi1
there_and_back vpc subformat=fixed
third "libvhdi reads a fixed VHD" vhdimount d.vpc vhdi1
there_and_back vmdk
third "libvmdk reads a sparse VMDK" vmdkmount d.vmdk vmdk1
there_and_back vmdk subformat=streamOptimized
third "libvmdk reads a stream-optimized VMDK" vmdkmount d.vmdk vmdk1
[ "$tier" != full ] || {
	qcow2_combinations
	other_combinations
}
