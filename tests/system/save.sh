#!/usr/bin/env bash
# A stock guest that works on everything it has is saved and goes on elsewhere: its own checks pass, its
# kernel has nothing to say. Files that are not whole, disks that are not as they were, saves that fail.
# timeout: 900
# shellcheck source=tests/system/lib.sh
. "$(dirname "$0")/lib.sh"
if [ "${1-}" = tap-lane ]; then
	work=$2 out=$2/tap-out
fi
export POSADA_RUNTIME_DIR=$work/run
mkdir -p -m 700 "$POSADA_RUNTIME_DIR"
saved=$work/guest.save
busy=$release/tests/unit/machine/busy

# start FILE OPTION...: a guest in the background, what it says in FILE.
start() {
	local file=$1
	shift
	: >"$file"
	"$bin/posada" "$@" </dev/null >"$file" 2>&1 &
	guest_pid=$!
	jobs_to_end+=("$guest_pid")
}

# save OPTION...: the guest that runs.
save() {
	posada 120 save busy "$saved" "$@"
}

# Its exit status, once it has ended: for which it has as long as there are things to wait for.
end_of_guest() {
	timeout "${LANE_WAIT:-240}" tail -s 0.1 -f --pid="$guest_pid" /dev/null || kill -9 "$guest_pid"
	wait "$guest_pid"
	status=$?
}

start_stock() {
	start "$work/first" run --accel soft --name busy --cpus 4 --memory 256M --kernel "$cache/kernel-6.1/vmlinuz" \
		--initrd "${initrd:-$work/initrd}" --append "console=ttyS0 quiet panic=-1 rounds=5 $1" --disk "$work/disk" "${@:2}"
}

# What the kernel had to say, but for the time that a busy host keeps a CPU from running.
warning() { grep -a 't: warning' "$out" | grep -avm1 'hrtimer: interrupt took'; }

# The guest went on to its end, and found nothing wrong.
went_on() {
	local name=$1
	end_of_guest
	out=$work/second
	if said 't: BAD'; then
		fail "$name" "the guest: $(grep -am1 't: BAD' "$out")"
	elif [ -n "$(warning)" ]; then
		fail "$name" "the kernel: $(warning)"
	else
		expect "$name" 0 't: all rounds are over'
	fi
	out=$work/out
}

# moved_on NAME SAVE_OPTION...: from the second round to the end, by way of a file.
moved_on() {
	local name=$1 restore=$2
	shift 2
	truncate -s 8M "$work/disk"
	start_stock ""
	wait_for "$work/first" 't: round 2 ' "$guest_pid" || fail "$name" "the guest did not come to work"
	save "$@"
	expect "$name: saved" 0 "guest 'busy' is saved" || return
	end_of_guest
	[ "$status" = 0 ] || fail "$name" "posada run ended with status $status"
	# shellcheck disable=SC2086
	start "$work/second" restore "$saved" $restore
	went_on "$name: its work goes on, with four CPUs, a disk and a connection"
}

# With so much in its memory that it is still being loaded when it is to be saved again.
saved_while_it_loads() {
	local initrd=$work/initrd-noise
	head -c 64M /dev/urandom >"$work/noise"
	make_initrd "$initrd" "$work/noise:noise"
	rm "$work/noise"
	truncate -s 8M "$work/disk"
	start_stock ""
	wait_for "$work/first" 't: round 2 ' "$guest_pid" || fail "much memory" "the guest did not come to work"
	save
	expect "a guest with much memory is saved" 0 "guest 'busy' is saved"
	end_of_guest
	start "$work/second" restore "$saved"
	while kill -0 "$guest_pid" && ! "$bin/posada" status busy >/dev/null 2>&1; do :; done
	save
	expect "and again while its memory is loaded" 0 "guest 'busy' is saved"
	end_of_guest
	start "$work/second" restore "$saved"
	went_on "and its work goes on"
}

make_initrd() {
	"$top/tools/make-initrd" "$1" "$here/guest-init" "$cache/kernel-6.1" virtio_pci virtio_blk virtio_net \
		-- "$here/save-test:test" "${@:2}"
}

stock_guests() {
	need_kernel 6.1 || return
	make_initrd "$work/initrd"
	moved_on "plain" ""
	moved_on "compressed, loaded at once" --eager --compress zstd
	saved_while_it_loads
}

# --- what a restore refuses ---

start_busy() { start "$work/first" run --accel soft --quiet --name busy --cpus 4 --memory 64M --kernel "$busy" "$@"; }

# dots FILE: until the guest has written some more of them.
dots() {
	local n
	n=$(timeout 60 tail -c +1 -s 0.1 -f --pid="$guest_pid" "$1" 2>/dev/null | head -c "$2" | wc -c)
	[ "$n" = "$2" ]
}

refused() {
	local name=$1 why=$2
	shift 2
	posada 60 restore --quiet "$@"
	expect "$name is refused" 1 "$why"
}

files_and_disks() {
	truncate -s 1M "$work/disk"
	start_busy --disk "$work/disk"
	dots "$work/first" 3
	save
	expect "a tiny guest is saved" 0 "is saved to"
	end_of_guest

	cp --sparse=always "$saved" "$work/other"
	truncate -s -1 "$work/other"
	refused "a file that is cut short" "cut short" "$work/other"
	cp --sparse=always "$saved" "$work/other"
	printf x | dd of="$work/other" bs=1 seek=200 conv=notrunc 2>/dev/null
	refused "a file with a damaged header" "damaged: the header" "$work/other"
	refused "what is no saved guest" "not a guest saved by posada" "$busy"
	refused "no file" "cannot open" "$work/nothing"

	# A bad chunk: the first that isn't zero. Lazily it ends the guest, with the same words.
	cp --sparse=always "$saved" "$work/other"
	printf 'XXXXXXXX' | dd of="$work/other" bs=1 seek=$((0x10000 + 0x100000 + 64)) conv=notrunc 2>/dev/null
	refused "a file with damaged memory" "chunk 16 of the memory, at byte .*wrong checksum" "$work/other" --eager
	refused "damaged memory that is loaded lazily" "chunk 16 of the memory, at byte .*wrong checksum" "$work/other"

	chmod 666 "$saved"
	refused "a file that others can write" "others could have written" "$saved"
	chmod 600 "$saved"
	printf x | dd of="$work/disk" conv=notrunc 2>/dev/null
	refused "a disk that has changed" "disk $work/disk has changed" "$saved"
	mv "$work/disk" "$work/elsewhere"
	refused "a disk that is gone" "cannot open $work/disk" "$saved"
	start "$work/second" restore --quiet "$saved" --disk "$work/elsewhere"
	dots "$work/second" 3 && pass "a disk that moved is named by --disk"
	posada 20 reset busy
	expect "a guest that was restored is reset" 0
	kill "$guest_pid"
	end_of_guest
}

# --- a file of an older version ---

# save-v1.xz: what it is stands in README.md. The guest in it waits for its power button.
older_file() {
	(umask 077 && xz -dc "$here/save-v1.xz" >"$work/v1.save")
	posada 60 restore --detach "$work/v1.save"
	expect "a file of format version 1 is restored" 0 "the guest runs, but can't be reset" || return
	posada 20 reset fixture
	expect "without its kernel a reset is refused" 1 "can't be reset: its kernel"
	posada 60 stop fixture --timeout 50
	expect "the guest in it goes on: it notices its power button" 0
}

# --- saves that fail ---

failing_saves() {
	local before
	start_busy
	dots "$work/first" 3
	saved=$work/missing/guest.save save
	expect "a directory that isn't there" 1 "cannot make"
	if mount -t tmpfs -o size=256k save-lane "$work/small" 2>/dev/null; then
		saved=$work/small/guest.save save
		expect "a full file system" 1 "No space left on device"
		[ -z "$(ls "$work/small")" ] && pass "nothing is left of it" || fail "nothing is left of it" "$(ls "$work/small")"
		umount "$work/small"
	else
		skip "a full file system: tmpfs can't be mounted"
	fi
	before=$(wc -c <"$work/first")
	dots "$work/first" $((before + 3)) && pass "the guest goes on after saves that failed"

	posada 60 save busy "$saved" --keep-running --json
	expect "a guest that keeps running is saved" 0 '"paused-us"'
	dots "$work/first" $(($(wc -c <"$work/first") + 3)) && pass "and runs on"
	start "$work/second" restore --quiet --name copy "$saved"
	dots "$work/second" 3 && pass "its file goes on, too, beside it"
	kill "$guest_pid"
	end_of_guest

	# Whoever saves is killed: the guest notices, and goes on; the next save clears what was left.
	guest_pid=$(sed -n 's/.*"launcher": *\([0-9]*\).*/\1/p' "$POSADA_RUNTIME_DIR/busy/info.json")
	for _ in 1 2 3; do
		"$bin/posada" save busy "$work/killed" >/dev/null 2>&1 &
		kill -9 $! && wait $! 2>/dev/null
	done
	before=$(wc -c <"$work/first")
	if [ -d "/proc/$guest_pid" ] && dots "$work/first" $((before + 3)); then
		pass "the guest goes on when whoever saves it is killed"
		posada 60 save busy "$work/killed"
		expect "and is saved after all" 0 "is saved to"
	else
		fail "the guest goes on when whoever saves it is killed" "it is gone"
	fi
}

# --- a connection to the host ---

numbers() { local n=0; while echo $n; do n=$((n + 1)); done; }

tap_lane() {
	ip link set lo up
	ip tuntap add dev ptap0 mode tap && ip addr add 10.99.0.1/24 dev ptap0 && ip link set ptap0 up || exit 1
	numbers 2>/dev/null | busybox nc -l -p 5001 2>/dev/null &
	jobs_to_end+=($!)
	truncate -s 8M "$work/disk"
	start_stock "net=tap" --net tap=ptap0
	wait_for "$work/first" 't: round 2 ' "$guest_pid" || fail "tap" "the guest did not come to work"
	save
	expect "tap: saved" 0 "guest 'busy' is saved"
	end_of_guest
	start "$work/second" restore "$saved"
	went_on "tap: a connection to the host survives"
	exit 0
}

tap() {
	if [ "$(id -u)" != 0 ]; then
		skip "tap: it needs root"
	elif ! unshare -n ip tuntap add dev ptap0 mode tap 2>"$work/tap-error"; then
		skip "tap: $(tail -n 1 "$work/tap-error")"
	elif [ -s "$work/initrd" ]; then
		unshare -n "$0" tap-lane "$work"
	fi
}

if [ "${1-}" = tap-lane ]; then
	tap_lane
fi
mkdir "$work/small"
# With words, only those parts.
for part in ${*:-files_and_disks older_file failing_saves stock_guests tap}; do
	$part
done
