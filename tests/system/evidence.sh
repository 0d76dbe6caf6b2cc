#!/usr/bin/env bash
# A guest's programs that check themselves, on the software CPU: stress-ng --verify, OpenSSL, CPython's
# tests, gcc; with one and two vCPUs, and saved and restored in the middle of it.
#
#     evidence.sh [PART...] [only=NAME,...]    parts: stress openssl python gcc saved crowd
#
# CHECK_ENGINE=interpreter|translator takes another engine than the usual one.
# tier: long
# timeout: 5400
# shellcheck source=tests/system/lib.sh
. "$(dirname "$0")/lib.sh"
export POSADA_RUNTIME_DIR=$work/run
mkdir -p -m 700 "$POSADA_RUNTIME_DIR"

prepare() {
	local files=() file
	need_kernel 6.1 || return
	if [ ! -s "$cache/evidence/root.img" ]; then
		command -v mmdebstrap >/dev/null || { skip "all: mmdebstrap is not installed"; return 1; }
		"$here/evidence/make-guest" "$cache/evidence" >"$work/make-guest" 2>&1 ||
			{ skip "all: the guest can't be made: $(tail -n 1 "$work/make-guest")"; return 1; }
	fi
	for file in "$here"/evidence/{init,openssl-answers} "$top"/tests/bench/guest/work*; do
		files+=("$file:evidence/${file##*/}")
	done
	"$top/tools/make-initrd" "$work/initrd" "$here/evidence/initrd-init" "$cache/kernel-6.1" virtio_pci virtio_blk ext4 \
		crc32c_generic -- "${files[@]}"
}

# What is saved can't be on a disk of --snapshot: then this is a copy's.
disk_options=(--snapshot --disk "$cache/evidence/root.img")

# start FILE CPUS PARTS: a guest in the background, what it says in FILE.
start() {
	"$bin/posada" run --quiet --name evidence --accel soft --engine "${CHECK_ENGINE:-auto}" --cpus "$2" --memory 1G \
		--on-reboot stop "${disk_options[@]}" --kernel "$cache/kernel-6.1/vmlinuz" \
		--initrd "$work/initrd" --append "console=ttyS0 quiet panic=-1 parts=$3 only=$only" </dev/null >"$1" 2>&1 &
	guest_pid=$!
	jobs_to_end+=("$guest_pid")
}

# The kernel has nothing to say but that it is slow: no stalls, no lockups.
warning() { grep -a 't: warning' "$out" | grep -avm1 'hrtimer: interrupt took' | tr -d '\r'; }

# judge NAME: what the guest found, thing by thing.
judge() {
	local thing why
	wait "$guest_pid"
	status=$?
	for thing in $(tr -d '\r' <"$out" | sed -n 's/.*t: PASS \([a-z0-9_]*\)$/\1/p'); do
		pass "$1: $thing"
	done
	for thing in $(tr -d '\r' <"$out" | sed -n 's/.*t: FAIL \([a-z0-9_]*\):.*/\1/p'); do
		fail "$1: $thing" "$(grep -a "t: FAIL $thing" "$out")"
	done
	if why=$(warning); [ -n "$why" ]; then
		fail "$1: the kernel" "$why"
	else
		expect "$1: it came to its end, its kernel content" 0 't: all parts are over'
	fi
}

# same NAME PATTERN: the guest's lines of this kind are the host's, in $work/host.
same() {
	tr -d '\r' <"$out" | sed -n "s/.*t: $2 //p" >"$work/guest"
	if [ -s "$work/guest" ] && diff "$work/host" "$work/guest" >"$work/difference"; then
		pass "$1"
	else
		fail "$1" "$(head -n 5 "$work/difference" | tr '\n' ' ')"
	fi
}

# OpenSSL may be another version here: it is its answers that must be the same, and all that it has.
openssl_answers() {
	start "$out" "$1" openssl
	judge "OpenSSL, $1 vCPUs"
	"$here/evidence/openssl-answers" >"$work/host"
	same "OpenSSL, $1 vCPUs: the host's answers" answer
}

compiled() {
	local row
	start "$out" "$1" gcc
	judge "gcc, $1 vCPUs"
	gcc -std=gnu17 -D_GNU_SOURCE -O2 -pthread -o "$work/work" "$top"/tests/bench/guest/work*.c -lm
	tr -d '\r' <"$out" | sed -n 's/.*t: work \(.*\): .*/\1/p' | while read -r row; do
		case $row in
		exec*) tr -d '\r' <"$out" | sed -n "s/.*t: work \($row: .*\)/\1/p" ;; # of paths that the guest has
		*) echo "$row: $("$work/work" $row)" ;;
		esac
	done >"$work/host"
	same "gcc, $1 vCPUs: the program's results are the host's" work
}

simple() {
	start "$out" "$2" "$1"
	judge "$1, $2 vCPUs"
}

# Saved whenever another thing has begun, and restored at once.
saved() {
	local file=$work/first n=0 thing disk_options=(--disk "$work/root.img")
	cp --sparse=always "$cache/evidence/root.img" "$work/root.img"
	start "$file" 2 stress,openssl
	for thing in stress_cpu stress_vm stress_matrix stress_fp stress_context openssl; do
		wait_for "$file" "t: begin $thing" "$guest_pid" || break
		posada 120 save evidence "$work/guest.save"
		# On a busy host the launcher's end may take longer than the command waits for it.
		said 'is saved to' && pass "saved when $thing had begun" || { fail "saved when $thing had begun" "exit status $status"; break; }
		wait "$guest_pid"
		n=$((n + 1))
		"$bin/posada" restore --quiet "$work/guest.save" </dev/null >>"$file" 2>&1 &
		guest_pid=$!
		jobs_to_end+=("$guest_pid")
	done
	timeout 600 tail -s 0.1 -f --pid="$guest_pid" /dev/null
	cp "$file" "$out"
	[ "$n" = 6 ] && pass "saved and restored six times" || fail "saved and restored six times" "$n times: $(tail -n 1 "$out")"
	judge "saved and restored"
}

# Four vCPUs on however many the host has: the kernel's watchdogs see nothing.
crowd() {
	start "$out" 4 stress
	judge "stress, 4 vCPUs"
}

parts=() only=
for word in "$@"; do
	case $word in
	only=*) only=${word#only=} ;;
	*) parts+=("$word") ;;
	esac
done
[ ${#parts[@]} -gt 0 ] || parts=(stress openssl python gcc saved crowd)
prepare || exit 0
for part in "${parts[@]}"; do
	case $part in
	stress | python) simple "$part" 1; simple "$part" 2 ;;
	openssl) openssl_answers 1; openssl_answers 2 ;;
	gcc) compiled 1; compiled 2 ;;
	saved | crowd) "$part" ;;
	esac
done
