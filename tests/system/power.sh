#!/usr/bin/env bash
# The guest process is killed while the guest writes: what it was told is flushed is there, and its image is sound.
# Each kind of image a few times; in the full tier a hundred times in all.
# timeout: 1800
# shellcheck source=tests/system/lib.sh
. "$(dirname "$0")/lib.sh"

export POSADA_RUNTIME_DIR=$work/run
mkdir -m 700 "$work/run"
need_kernel 6.1 || exit 0
gcc -O2 -Wall -static -o "$work/power-writer" "$here/power-writer.c" >"$work/gcc" 2>&1 || {
	fail "the guest's writer is built" "$(cat "$work/gcc")"
	exit 0
}
"$top/tools/make-initrd" "$work/initrd" "$here/guest-init" "$cache/kernel-6.1" virtio_pci virtio_blk \
	-- "$here/power-test:test" "$work/power-writer:bin/power-writer"

# until_flushed NUMBER PID: as long as the guest goes on. On a busy host it boots, and flushes, for minutes.
until_flushed() {
	local said=-1 now
	until wait_for "$out" "^t: flushed $1" "$2"; do
		now=$(stat -c %s "$out")
		[ "$now" != "$said" ] && kill -0 "$2" 2>/dev/null || return
		said=$now
	done
}

# one FORMAT IMAGE AFTER: a guest that is killed AFTER some flushes; what is wrong then, or nothing.
one() {
	local format=$1 image=$2 after=$3 flushed vmm
	: >"$out"
	"$bin/posada" run --name power --accel soft --quiet --console stdio --kernel "$cache/kernel-6.1/vmlinuz" \
		--initrd "$work/initrd" --append "console=ttyS0 quiet panic=-1" --disk "$image,format=$format" \
		</dev/null >"$out" 2>&1 &
	guest=$!
	jobs_to_end+=("$guest")
	until_flushed $((after * 16)) "$guest" || { echo "the guest doesn't write: $(tail -n 2 "$out")"; return; }
	vmm=$(pgrep -P "$guest" -x posada-vmm)
	kill -9 "$vmm"
	wait "$guest" 2>/dev/null
	flushed=$(grep -a '^t: flushed [0-9]*.$' "$out" | tail -1 | tr -d '\r' | cut -d' ' -f3)
	# Lazy refcounts are made up for first, and VHDX's log is replayed, which is a repair in qemu-img's words.
	[ -z "$is_mended" ] || qemu-img check -q -r all -f "$format" "$image" >"$work/checked" 2>&1
	if [ "$format" != raw ]; then
		case $format in
		vpc) "$bin/posada" image check -f vpc "$image" >"$work/checked" 2>&1 ;; # qemu-img has no check for it
		*) qemu-img check -f "$format" "$image" >"$work/checked" 2>&1 ;;
		esac
		case $? in
		0 | 3) ;; # sound, or clusters that nobody uses
		*)
			echo "its image is damaged: $(tail -3 "$work/checked")"
			return
			;;
		esac
	fi
	qemu-img convert -f "$format" -O raw "$image" "$work/raw" || { echo "its image can't be read"; return; }
	"$here/power-check.py" "$work/raw" "$flushed" 33554432 2>&1 >"$work/checked"
}

# killed TIMES FORMAT [qemu-img's options]
killed() {
	local times=$1 format=$2 i wrong is_mended
	shift 2
	is_mended=$(grep -oE 'lazy_refcounts=on|^vhdx' <<<"$format $*")
	for i in $(seq "$times"); do
		rm -f "$work/image"
		qemu-img create -q -f "$format" "$@" "$work/image" 32M || return
		wrong=$(one "$format" "$work/image" $((i * 7 % 40 + 3)))
		if [ -n "$wrong" ]; then
			fail "$format $*, killed: what was flushed is there" "the $i. time: $wrong"
			return
		fi
	done
	pass "$format $*, killed $times times: what was flushed is there"
}

if ! command -v qemu-img >/dev/null; then
	skip "qemu-img isn't there"
	exit 0
fi
few=2 many=2
[ "$tier" = full ] && few=10 many=30
killed "$many" raw
killed "$many" qcow2
killed "$few" qcow2 -o lazy_refcounts=on
killed "$few" qcow2 -o extended_l2=on
killed "$few" qcow2 -o cluster_size=4k
killed "$few" vdi
killed "$few" vpc
killed "$few" vhdx
killed "$few" vmdk
[ -z "$(processes_left)" ] && pass "no process is left" || fail "no process is left" "$(processes_left)"
