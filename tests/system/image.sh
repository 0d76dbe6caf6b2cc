#!/usr/bin/env bash
# posada image: each subcommand, with qemu-img as the judge; names inside images; interruptions, full
# disks, a process that is killed; mistakes.
# timeout: 400
# shellcheck source=tests/system/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$work" || exit 1
command -v qemu-img >/dev/null || { skip "qemu-img isn't installed"; exit 0; }

image() { posada 60 image "$@"; }
has_format() { "$bin/posada" image --help | grep -q "^  $1 "; }

# A raw disk of 8 MiB with something here and there.
make_disk() {
	truncate -s 8M "$1"
	head -c 300000 /dev/urandom | dd of="$1" bs=4096 seek=100 conv=notrunc status=none
	echo tail | dd of="$1" bs=512 seek=16383 conv=notrunc status=none
}

nothing_left() {
	local left
	left=$(ls -d -- *.partial 2>/dev/null; processes_left)
	[ -z "$left" ] || { fail "$1" "left: $left"; return 1; }
}

# mistake NAME PATTERN ARGUMENT...: one sentence, status 1, nothing left.
mistake() {
	local name=$1 pattern=$2
	shift 2
	image "$@"
	[ "$(wc -l <"$out")" = 1 ] || { fail "$name" "not one sentence"; return; }
	nothing_left "$name" && expect "$name" 1 "^posada: .*$pattern"
}

raw_images() {
	make_disk a.raw
	image create -f raw new.raw 10M
	expect "create a raw image" 0 "10 MiB"
	[ "$(stat -c %s new.raw)" = 10485760 ] || fail "create a raw image" "its size"
	image info a.raw
	expect "info guesses" 0 "^file format: raw \(a guess" "virtual size: 8 MiB \(8388608 bytes\)"
	image info -f raw --output json a.raw
	expect "info in JSON" 0 '"virtual-size": 8388608' '!certainty'
	image map -f raw --output json a.raw
	if python3 - "$out" <(qemu-img map -f raw --output json a.raw) <<-'END'
		import json, sys
		ours, theirs = (json.load(open(f)) for f in sys.argv[1:])
		keys = "start", "length", "depth", "data", "zero"
		sys.exit([[e[k] for k in keys] for e in ours] != [[e[k] for k in keys] for e in theirs])
	END
	then pass "map is qemu-img's"; else fail "map is qemu-img's" "it isn't"; fi
	image convert -p -f raw -O raw --verify a.raw b.raw
	expect "convert" 0 "100.00/100%"
	if cmp a.raw b.raw && qemu-img compare -f raw -F raw a.raw b.raw >>"$out"; then pass "convert copies"; else fail "convert copies" "a difference"; fi
	[ "$(stat -c %b b.raw)" -le "$(stat -c %b a.raw)" ] && pass "zeros stay holes" || fail "zeros stay holes" "they are written"
	image compare -f raw a.raw b.raw
	expect "compare finds no difference" 0 "identical"
	image resize -f raw b.raw +1M
	expect "resize by something" 0 "9 MiB"
	image compare -f raw a.raw b.raw
	expect "another size, and zeros" 0 "size mismatch" "identical"
	image compare -s -f raw a.raw b.raw
	expect "another size, strictly" 1 "size mismatch"
	image resize -f raw --shrink b.raw -1M
	expect "shrink" 0 "8 MiB"
	printf x | dd of=b.raw bs=1 seek=5000000 conv=notrunc status=none
	image compare -f raw a.raw b.raw
	expect "compare finds a difference" 1 "mismatch at offset 4999680"
	image convert -n -f raw -O raw a.raw b.raw
	expect "convert into what is there" 0
	cmp a.raw b.raw && pass "what was there is gone" || fail "what was there is gone" "a difference"
	image check -f raw a.raw
	expect "raw has nothing to check" 63 "nothing to check"
}

mistakes() {
	mistake "no such command" "no command 'image covnert' \(did you mean 'convert'\?\)" covnert
	mistake "no format" "which format has a.raw.*-f FORMAT" convert a.raw x.raw
	mistake "an unknown format" "no format 'floppy'" convert -f floppy a.raw x.raw
	mistake "an unknown target format" "no format 'floppy'" convert -f raw -O floppy a.raw x.raw
	mistake "an image that is missing" "cannot open missing" info missing
	mistake "a directory" "is a directory" info .
	mistake "a device that is none" "neither" info /dev/null
	mistake "a file that is there" "is there already.*--overwrite" create -f raw a.raw 1M
	mistake "a target that is there" "is there already.*--overwrite" convert -f raw -O raw a.raw b.raw
	mistake "an odd size" "no multiple of 512" create -f raw x.raw 1000
	mistake "no size" "how large" create -f raw x.raw
	mistake "a size that is none" "'big' is not a size" create -f raw x.raw big
	mistake "a size that is too large" "not a size" create -f raw x.raw 99999999999G
	mistake "an option that raw hasn't" "no option 'color'" create -f raw -o color=red x.raw 1M
	mistake "shrinking without saying so" "--shrink" resize -f raw a.raw 1M
	mistake "raw can't be compressed" "can't be compressed" convert -c -f raw -O raw a.raw x.raw
	mistake "raw has no backing" "no backing" create -f raw -b a.raw -F raw x.raw
	mistake "a backing without a format" "--backing-format" create -f raw -b a.raw x.raw
	mistake "a directory that is missing" "cannot make" create -f raw nowhere/x.raw 1M
	mistake "a directory for a target" "is a directory" convert -f raw -O raw a.raw .
	mistake "a device for a target" "no regular file.*--no-create" create -f raw /dev/null 1M
	mistake "an option without a value" "needs a value" info -f
	image create --help
	expect "help" 0 "--format FORMAT, -f FORMAT"
}

# Someone holds an image as a running guest does.
locks() {
	local holder
	python3 -c 'import fcntl, struct, sys
f = open(sys.argv[1], "r+b")
fcntl.fcntl(f, 37, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))
print("locked", flush=True)
sys.stdin.read()' a.raw >holder < <(sleep 100) & # ended below
	holder=$!
	jobs_to_end+=("$holder")
	wait_for holder locked "$holder"
	mistake "an image in use is not read" "in use.*--force-share" info -f raw a.raw
	mistake "an image in use is not written" "in use" resize -f raw a.raw +1M
	mistake "an image in use is not replaced" "in use" create -f raw --overwrite a.raw 1M
	image info -U -f raw a.raw
	expect "an image in use, read in spite of that" 0 "8 MiB"
	kill "$holder"
	wait "$holder" 2>/dev/null
}

# start NAME ARGUMENT...: in the background, until it is at work. $job is the command, $helper the process.
start() {
	"$bin/posada" image "$@" </dev/null >"$out" 2>&1 &
	job=$!
	jobs_to_end+=("$job")
	helper=
	while kill -0 "$job" 2>/dev/null && [ -z "$helper" ]; do
		helper=$(pgrep -P "$job" -x posada-image)
	done
}

ended() {
	wait "$job"
	status=$?
}

troubles() {
	truncate -s 3G large.raw
	head -c 200M /dev/urandom | dd of=large.raw conv=notrunc status=none
	start convert -f raw -O raw -S 0 large.raw copy.raw
	wait_for_file copy.raw.partial
	mistake_busy "two at once" convert -f raw -O raw large.raw copy.raw
	kill -INT "$job"
	ended
	nothing_left "an interruption" && expect "an interruption leaves nothing" 130 "interrupted"
	[ ! -e copy.raw ] || fail "an interruption leaves nothing" "copy.raw is there"
	start convert -f raw -O raw -S 0 large.raw copy.raw
	wait_for_file copy.raw.partial
	kill -9 "$helper"
	ended
	nothing_left "a killed process" && expect "a killed process is told" 1 "killed by signal 9"
	start convert -f raw -O raw -S 0 large.raw copy.raw
	wait_for_file copy.raw.partial
	kill -9 "$job"
	ended
	image convert -f raw -O raw -S 4K large.raw copy.raw
	expect "what a killed command left is replaced" 0
	rm -f copy.raw
	if [ "$(id -u)" = 0 ] && mkdir -p small && mount -t tmpfs -o size=20m small small 2>/dev/null; then
		image convert -f raw -O raw large.raw small/copy.raw
		expect "a full disk is explained" 1 "full"
		[ -z "$(ls -A small)" ] && pass "a full disk keeps nothing" || fail "a full disk keeps nothing" "$(ls -A small)"
		umount small
	else
		skip "a full disk: no tmpfs can be mounted"
	fi
}

wait_for_file() {
	while [ ! -s "$1" ] && kill -0 "$job" 2>/dev/null; do :; done
}

mistake_busy() {
	local name=$1 saved=$out
	shift
	out=$work/busy
	image "$@"
	expect "$name" 1 "written by someone else"
	out=$saved
}

raw_images
mistakes
locks
troubles
