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
	image convert -t none -T none -f raw -O qcow2 a.raw direct.qcow2
	if said "without the page cache"; then
		skip "convert around the page cache: the file system of $work can't"
	elif [ "$status" = 0 ] && [ "$(fincore -nbo PAGES direct.qcow2 | tr -d ' ')" = 0 ] &&
		qemu-img compare -f raw -F qcow2 a.raw direct.qcow2 >>"$out"; then
		pass "convert around the page cache"
	else fail "convert around the page cache" "status $status, cached: $(fincore direct.qcow2 | tail -n 1)"; fi
	image measure -f raw -O qcow2 --output json a.raw
	expect "measure" 0 "$(qemu-img measure -f raw -O qcow2 a.raw | sed -n 's/^required size: /"required": /p')"
	image measure -O qcow2 --size 1T
	if diff "$out" <(qemu-img measure -O qcow2 --size 1T); then pass "measure says what qemu-img says"
	else fail "measure says what qemu-img says" "it doesn't"; fi
	image resize -f raw b.raw +1M
	expect "resize by something" 0 "9 MiB"
	image compare -f raw a.raw b.raw
	expect "another size, and zeros" 0 "size mismatch" "identical"
	image compare -s -f raw a.raw b.raw
	expect "another size, strictly" 1 "size mismatch"
	image resize -f raw --shrink b.raw -1M
	expect "shrink" 0 "8 MiB"
	image resize -f raw b.raw +1M
	image resize -f raw b.raw -1M --shrink
	expect "shrink, with the option behind it" 0 "8 MiB"
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
	: >d-flat.vmdk
	mistake "a part that is there" "d-flat.vmdk.*is there already: remove it" create -f vmdk -o subformat=monolithicFlat d.vmdk 1M
	rm d-flat.vmdk
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
	mistake "an image in use is not guessed at" "in use.*--force-share" info a.raw
	mistake "an image in use is not written" "in use" resize -f raw a.raw +1M
	mistake "an image in use is not replaced" "in use" create -f raw --overwrite a.raw 1M
	image info -U -f raw a.raw
	expect "an image in use, read in spite of that" 0 "8 MiB"
	kill "$holder"
	wait "$holder" 2>/dev/null
}

# start NAME ARGUMENT...: in the background, until it is at work. $job is the command, $helper the process.
start() {
	: >"$out"
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

# Each format that can be made, from raw and back, with qemu-img as the other hand.
conversions() {
	local f
	for f in qcow2 vdi vpc vmdk vhdx; do
		has_format "$f" || { skip "$f: no such format"; continue; }
		image convert -f raw -O "$f" --verify a.raw "a.$f"
		expect "raw to $f" 0 || continue
		qemu-img compare -f raw -F "$f" a.raw "a.$f" >"$out" 2>&1 && pass "$f is read by qemu-img" || fail "$f is read by qemu-img" "$(cat "$out")"
		image convert -f "$f" -O raw --overwrite "a.$f" back.raw
		expect "$f to raw" 0
		cmp -n 8388608 a.raw back.raw >"$out" 2>&1 && pass "$f and back" || fail "$f and back" "$(cat "$out")"
		image info "a.$f"
		expect "$f is guessed" 0 "^file format: $f \(a guess"
		case $f in
		vpc) ;;
		*) image check -f "$f" "a.$f"; expect "$f is sound" 0 ;;
		esac
	done
}

compressed() {
	image convert -c -f raw -O qcow2 -o compression_type=zstd --verify a.raw c.qcow2
	expect "compressed" 0
	qemu-img compare -f raw -F qcow2 a.raw c.qcow2 >"$out" 2>&1 && pass "compressed, read by qemu-img" || fail "compressed, read by qemu-img" "$(cat "$out")"
	image create -f qcow2 -o help
	expect "a format's options" 0 "cluster_size="
}

# An overlay, and what is done with it. base.qcow2 has a.raw's contents.
overlays() {
	local before after
	rm -f base.qcow2 top.qcow2
	image convert -f raw -O qcow2 a.raw base.qcow2
	image overlay -f qcow2 base.qcow2 top.qcow2
	expect "overlay" 0 "8 MiB"
	qemu-img info top.qcow2 >"$out"
	grep -q "^backing file: base.qcow2" "$out" && pass "the backing's name is relative" || fail "the backing's name is relative" "it isn't"
	qemu-io -f qcow2 -c "write -P 7 1M 200k" -c "write -z 400k 64k" top.qcow2 >"$out" 2>&1
	image info --backing-chain top.qcow2
	expect "a chain" 0 "^backing file: base.qcow2 \(actual path: $work/base.qcow2\)" "^image: $work/base.qcow2"
	image map -f qcow2 top.qcow2
	expect "a chain's map" 0 "$work/base.qcow2" "$work/top.qcow2"
	qemu-img convert -f qcow2 -O raw top.qcow2 top.raw
	image compare -f qcow2 -F raw top.qcow2 top.raw
	expect "a chain's contents" 0 identical
	image convert -f qcow2 -O qcow2 -B base.qcow2 -F qcow2 top.qcow2 thin.qcow2
	expect "convert what the top has" 0
	image compare -f qcow2 top.qcow2 thin.qcow2
	expect "convert keeps the rest beneath" 0 identical
	cp --sparse=always a.raw other.raw
	printf different | dd of=other.raw bs=1 seek=6000000 conv=notrunc status=none
	image rebase -f qcow2 -b other.raw -F raw thin.qcow2
	expect "rebase" 0
	qemu-img compare -f qcow2 -F raw thin.qcow2 top.raw >"$out" 2>&1 && pass "rebase keeps the contents" || fail "rebase keeps the contents" "$(cat "$out")"
	image rebase -f qcow2 -b "" thin.qcow2
	expect "rebase onto nothing" 0
	qemu-img info thin.qcow2 | grep -q "backing file" && fail "rebase onto nothing" "it has a backing"
	image compare -f qcow2 -F raw thin.qcow2 top.raw
	expect "rebase onto nothing keeps the contents" 0 identical
	mv base.qcow2 moved.qcow2
	mistake "a backing that is missing" "cannot open $work/base.qcow2, its backing file" map -f qcow2 top.qcow2
	image rebase -u -f qcow2 -b moved.qcow2 -F qcow2 top.qcow2
	expect "rebase to another name" 0
	mistake "commit without a word" "moved.qcow2, its backing file, would be written.*--allow" commit -f qcow2 top.qcow2
	image commit -f qcow2 -b moved.qcow2 top.qcow2
	expect "commit" 0 committed
	image compare -f qcow2 -F raw moved.qcow2 top.raw
	expect "commit writes what the top had" 0 identical
	image map -f qcow2 --json top.qcow2
	expect "commit empties the top" 0 '!"depth": 0'
	image check -f qcow2 top.qcow2
	expect "the top is sound" 0
	image check -f qcow2 moved.qcow2
	expect "the backing is sound" 0
}

snapshots() {
	cp moved.qcow2 s.qcow2
	image snapshot -f qcow2 -c before s.qcow2
	expect "make a snapshot" 0
	qemu-io -f qcow2 -c "write -P 9 2M 1M" s.qcow2 >"$out" 2>&1
	image snapshot -f qcow2 s.qcow2
	expect "list snapshots" 0 "before"
	image convert -f qcow2 -l before -O raw s.qcow2 then.raw
	expect "convert a snapshot" 0
	cmp then.raw top.raw && pass "a snapshot's contents" || fail "a snapshot's contents" "others"
	image snapshot -f qcow2 -a before s.qcow2
	expect "apply a snapshot" 0
	image compare -f qcow2 -F raw s.qcow2 top.raw
	expect "apply goes back" 0 identical
	image snapshot -f qcow2 -d before s.qcow2
	expect "delete a snapshot" 0
	image check -f qcow2 s.qcow2
	expect "sound after snapshots" 0
	mistake "a snapshot that isn't there" "nothing|no snapshot" snapshot -f qcow2 -a nothing s.qcow2
	mistake "two things at once" "one thing at a time" snapshot -f qcow2 -a a -d b s.qcow2
	mistake "raw has no snapshots" "no snapshots" snapshot -f raw a.raw
}

bitmaps() {
	cp moved.qcow2 m.qcow2
	image bitmap -f qcow2 --add m.qcow2 daily
	expect "add a bitmap" 0
	image bitmap -f qcow2 --add -g 128K m.qcow2 other
	qemu-io -f qcow2 -c "write -P 9 2M 64k" m.qcow2 >"$out" 2>&1
	image bitmap -f qcow2 m.qcow2
	expect "list bitmaps" 0 "daily +64 KiB +64 KiB +records" "other +128 KiB"
	image bitmap -f qcow2 --disable m.qcow2 daily
	image bitmap -f qcow2 --merge daily m.qcow2 other
	expect "merge bitmaps" 0
	image bitmap -f qcow2 --clear m.qcow2 other
	image bitmap -f qcow2 --remove m.qcow2 other
	image bitmap -f qcow2 m.qcow2
	expect "a bitmap that rests, and one that is gone" 0 "daily.*rests" '!other'
	mistake "a bitmap that isn't there" "nothing" bitmap -f qcow2 --clear m.qcow2 nothing
	mistake "no bitmap's name" "which bitmap" bitmap -f qcow2 --clear m.qcow2
}

names() {
	mkdir -p in far
	make_disk far/secret.raw
	qemu-img create -q -f qcow2 -u -b /etc/shadow -F raw in/shadow.qcow2 8M
	mistake "an image that names /etc/shadow" "/etc/shadow, its backing file, lies outside of $work/in: add --allow /etc/shadow" map -f qcow2 in/shadow.qcow2
	image info in/shadow.qcow2
	expect "it can be looked at" 0 "^backing file: /etc/shadow"
	qemu-img create -q -f qcow2 -u -b ../far/secret.raw -F raw in/up.qcow2 8M
	mistake "an image that names its neighbour" "outside of $work/in" convert -f qcow2 -O raw in/up.qcow2 x.raw
	ln -sf ../far/secret.raw in/link.raw
	qemu-img create -q -f qcow2 -u -b link.raw -F raw in/link.qcow2 8M
	mistake "an image that names a link to it" "outside of $work/in" convert -f qcow2 -O raw in/link.qcow2 x.raw
	image convert -f qcow2 -O raw --allow "$work/far" in/up.qcow2 x.raw
	expect "a directory that is allowed" 0
	cmp x.raw far/secret.raw && pass "its contents" || fail "its contents" "others"
	qemu-img create -q -f qcow2 -u -b nbd://example.org/x -F raw in/net.qcow2 8M
	mistake "an image that names a server" "is elsewhere" map -f qcow2 in/net.qcow2
	image create -f raw in/a:b.raw 8M
	image overlay -f raw in/a:b.raw in/colon.qcow2
	image map -f qcow2 in/colon.qcow2
	expect "a backing file with a colon in its name" 0
	# A raw disk that a guest made look like an image stays raw.
	cp in/shadow.qcow2 guest.raw
	truncate -s 1M guest.raw
	image convert -f raw -O raw guest.raw still.raw
	cmp guest.raw still.raw && pass "a raw disk stays raw" || fail "a raw disk stays raw" "it doesn't"
}

# serving ARGUMENT...: $job serves, and says so.
serving() {
	rm -f sock
	: >"$out"
	"$bin/posada" image serve --socket "$work/sock" "$@" </dev/null >"$out" 2>&1 &
	job=$!
	jobs_to_end+=("$job")
	wait_for "$out" "^serving at" "$job"
}

serve() {
	local uri="nbd+unix:///?socket=$work/sock"
	command -v nbdinfo >/dev/null || { skip "serve: nbdinfo isn't installed"; return; }
	cp moved.qcow2 n.qcow2
	image bitmap -f qcow2 --add n.qcow2 daily
	qemu-io -f qcow2 -c "write -P 3 3M 64k" n.qcow2 >/dev/null
	serving -f qcow2 --bitmap daily n.qcow2
	nbdinfo "$uri" >>"$out" 2>&1
	nbdinfo --map=qemu:dirty-bitmap:daily "$uri" >>"$out" 2>&1
	nbdcopy "$uri" served.raw >>"$out" 2>&1
	qemu-img compare -f raw -F raw served.raw "$uri" >>"$out" 2>&1 && qemu-io -f raw -c "write -P 4 5M 3000" -c flush -c "read -P 4 5M 3000" "$uri" >>"$out" 2>&1 ||
		fail "serve" "qemu as a client"
	kill -TERM "$job"
	ended
	expect "serve" 0 "export-size: 8388608" "qemu:dirty-bitmap:daily" "3145728 +65536 +1 +dirty" "identical"
	qemu-io -f qcow2 -c "read -P 4 5M 3000" n.qcow2 >"$out" 2>&1
	said "verification failed" && fail "what a client wrote is in the image" "it isn't" || pass "what a client wrote is in the image"
	image check -f qcow2 n.qcow2
	expect "sound after serving" 0
	[ ! -e sock ] && pass "the socket is gone" || fail "the socket is gone" "it is there"
	serving -f raw --read-only --once a.raw
	qemu-io -f raw -c "write 0 512" "$uri" >>"$out" 2>&1
	ended
	expect "serve once, read-only" 0 "[Rr]ead.only|not permitted|denied"
	mistake "nowhere to serve" "where\?" serve -f raw a.raw
}

raw_images
mistakes
locks
troubles
conversions
has_format qcow2 || exit 0
compressed
overlays
snapshots
bitmaps
names
serve
