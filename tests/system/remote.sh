#!/usr/bin/env bash
# Disks elsewhere: NBD servers (qemu-nbd, nbdkit) for `posada image` and for a guest, TLS both ways, RBD; servers that fail,
# go away and come back, names of servers inside images.
# timeout: 400
# shellcheck source=tests/system/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$work" || exit 1
for tool in qemu-nbd qemu-img nbdkit; do
	command -v $tool >/dev/null || { skip "$tool isn't installed"; exit 0; }
done
export POSADA_RUNTIME_DIR=$work/run
mkdir -m 700 "$work/run"

image() { posada 60 image "$@"; }
uri() { echo "nbd+unix:///$1?socket=$work/$1.sock"; }

# listening FILE: until a socket is there.
listening() {
	timeout 20 bash -c 'until [ -S "$0" ]; do read -rt 0.05 <><(:); done' "$1"
}

# serve NAME ARGUMENT...: by qemu-nbd; $server is its process.
serve() {
	local name=$1
	shift
	rm -f "$name.sock"
	qemu-nbd -t -e 8 -k "$work/$name.sock" -x "$name" "$@" >>"$work/server.log" 2>&1 &
	server=$!
	jobs_to_end+=("$server")
	listening "$work/$name.sock"
}

# kit NAME ARGUMENT...: by nbdkit.
kit() {
	local name=$1
	shift
	rm -f "$name.sock"
	nbdkit -f -U "$work/$name.sock" "$@" >>"$work/server.log" 2>&1 &
	server=$!
	jobs_to_end+=("$server")
	listening "$work/$name.sock"
}

end_server() {
	kill -9 "$server"
	wait "$server" 2>/dev/null
}

nothing_left() {
	local left i
	# A connector ends when its socket is closed, and what it waits for has come, or doesn't within some seconds.
	for i in {1..500}; do
		left=$(processes_left)
		[ -n "$left" ] || { pass "$1"; return; }
		read -rt 0.05 <><(:)
	done
	fail "$1" "left: $left"
}

images() {
	truncate -s 64M a.raw
	head -c 8M /dev/urandom | dd of=a.raw bs=1M seek=3 conv=notrunc status=none
	serve a -f raw a.raw
	image info "$(uri a)"
	expect "info of an NBD server's disk" 0 "file format: raw \(a guess" "64 MiB \(67108864 bytes\)"
	image map -f raw --output json "$(uri a)"
	expect "its holes are seen" 0 '"start": 3145728' '"length": 8388608'
	image convert -f raw -O qcow2 --verify "$(uri a)" b.qcow2
	expect "convert from a server" 0
	if qemu-img compare -f raw -F qcow2 a.raw b.qcow2 >"$out" 2>&1 && [ "$(stat -c %s b.qcow2)" -lt 10000000 ]; then
		pass "what was converted is the same, and sparse"
	else fail "what was converted is the same, and sparse" "it isn't"; fi
	truncate -s 64M c.raw
	serve c -f raw --discard=unmap c.raw
	image convert -n -f qcow2 -O raw --verify b.qcow2 "$(uri c)"
	expect "convert to a server" 0
	if cmp a.raw c.raw; then pass "what was written there is the same"; else fail "what was written there is the same" "it isn't"; fi
	image compare -f raw "$(uri c)" a.raw
	expect "compare with a server's" 0 identical
	image info "$(uri nobody)"
	expect "no server" 1 "cannot connect to .*No such file"
	image info "nbd+unix:///other?socket=$work/c.sock"
	expect "no such export" 1 "no export named 'other'"
	image create -f raw "$(uri c)" 1M
	expect "a server's disk isn't created" 1 "convert --no-create"
}

# Formats over a server, and overlays.
layers() {
	qemu-img create -q -f qcow2 inner.qcow2 64M
	qemu-io -c "write -P 7 1M 64k" inner.qcow2 >/dev/null
	serve inner -f raw inner.qcow2
	image check -f qcow2 "$(uri inner)"
	expect "a qcow2 image that a server has" 0
	image overlay -f qcow2 "$(uri inner)" over.qcow2
	expect "an overlay over a server's" 0
	image map -f qcow2 over.qcow2
	expect "an image that names a server gets nothing" 1 "is elsewhere: add --allow 'nbd"
	image map -f qcow2 --allow "$(uri inner)" over.qcow2
	expect "unless it is allowed" 0 "0x100000 .*nbd"
	image convert -f qcow2 -O raw --allow "$(uri inner)" over.qcow2 flat.raw
	qemu-img compare -U -f raw -F qcow2 flat.raw inner.qcow2 >>"$out" 2>&1
	expect "its contents" 0 identical
}

failing_servers() {
	kit e --filter=error memory 16M error=EIO error-rate=100%
	image convert -f raw -O raw "$(uri e)" e.raw
	expect "a server that fails" 1 "Input/output error"
	[ ! -e e.raw ] || fail "a server that fails" "there is an image"
	kit d --filter=delay memory 4M delay-read=20ms delay-write=20ms
	image convert -n -f raw -O raw --verify a.raw "$(uri d)"
	expect "too small" 1 "target has 4194304"
	kit n --filter=nozero --filter=noextents --filter=noparallel --filter=blocksize-policy memory 8M blocksize-minimum=512 blocksize-maximum=64K
	truncate -s 8M n.raw
	head -c 1M /dev/urandom | dd of=n.raw bs=1M seek=2 conv=notrunc status=none
	image convert -n -f raw -O raw --verify n.raw "nbd+unix:///?socket=$work/n.sock"
	expect "a server that can do little" 0
}

# A server that is there and says nothing: what is asked of its guest is done all the same.
silent_server() {
	# The pipe ends with the command, though the disk's connector lives on.
	[ -n "$(timeout 20 "$bin/posada" attach remote --disk "$(uri g),readonly=on" 2>&1 | cat)" ]
	status=$?
	expect "a server's disk is attached" 0
	kill -STOP "$server"
	: >"$work/asked"
	timeout 30 "$bin/posada" attach remote --disk "$(uri g),readonly=on" >"$work/asked" 2>&1 &
	local attach=$!
	ask "a guest doesn't wait for a silent server to be attached" devices remote
	wait "$attach"
	if grep -q "doesn't greet" "$work/asked"; then pass "which is told"; else fail "which is told" "$(cat "$work/asked")"; fi
	echo "write 300" >&7
	wait_for "$out" 'write 300' "$1"
	ask "a pause doesn't wait for a silent server" pause remote
	ask "nor does a resume" resume remote
	kill -CONT "$server"
	wait_for "$out" '^t: wrote 300' "$1" && pass "what the pause cut short is done" || fail "what the pause cut short is done" "it isn't"
	kill -STOP "$server"
	echo "write 400" >&7
	wait_for "$out" 'write 400' "$1"
	ask "nor does the guest's end" stop --force remote
	kill -CONT "$server"
}

# mute NAME N: a server at m.sock, which is NAME's for its first N connections, and then says nothing to anybody.
mute() {
	rm -f m.sock
	python3 - "$work/$1.sock" "$work/m.sock" "$2" >mute.log 2>&1 <<-'END' &
		import socket, sys, threading
		def copy(a, b):
		    while data := a.recv(65536):
		        b.sendall(data)
		    b.shutdown(socket.SHUT_WR)
		kept = []
		listening = socket.socket(socket.AF_UNIX)
		listening.bind(sys.argv[2])
		listening.listen()
		for n in range(1000):
		    client, _ = listening.accept()
		    print(n + 1, flush=True)
		    kept.append(client)
		    if n >= int(sys.argv[3]):
		        continue
		    server = socket.socket(socket.AF_UNIX)
		    server.connect(sys.argv[1])
		    for a, b in (client, server), (server, client):
		        threading.Thread(target=copy, args=(a, b), daemon=True).start()
	END
	jobs_to_end+=("$!")
	listening m.sock
}

# A server that is silent to the guest process alone, and not to who looked at the disk before.
silent_to_guest() {
	local attach job name="nbd+unix:///g?socket=$work/m.sock"
	mute g 1
	timeout 50 "$bin/posada" attach remote --disk "$name,readonly=on" >asked 2>&1 &
	attach=$!
	wait_for mute.log '^2$' "$attach" # the guest process has it
	timeout 50 "$bin/posada" job remote disk0 copy "$name" --background >asked-job 2>&1 &
	job=$!
	wait_for mute.log '^3$' "$job"
	ask "a guest is paused while a silent server's disk is opened" pause remote
	ask "and goes on" resume remote
	if kill -0 "$attach" && kill -0 "$job"; then pass "which is opened still"; else fail "which is opened still" "$(cat asked asked-job)"; fi
	echo "write 310" >&7
	wait_for "$out" "^t: wrote 310" "$1" && pass "its other disk works" || fail "its other disk works" "it doesn't"
	wait "$attach" "$job"
	if [ "$(grep -c "doesn't greet" asked asked-job | grep -c ':1')" = 2 ]; then pass "the disks are refused in the end"
	else fail "the disks are refused in the end" "$(cat asked asked-job)"; fi
}

# A job whose target is silent is called off.
silent_target() {
	local disk=$server i
	truncate -s 64M j.raw
	serve j -f raw j.raw
	ask "a job to a server" job remote disk0 copy "$(uri j)" --background --limit-bps 4M
	kill -STOP "$server"
	ask "a job is called off whose server is silent" job remote disk0 --cancel
	for i in {1..200}; do
		"$bin/posada" job remote 2>/dev/null | grep -q running || break
		read -rt 0.05 <><(:)
	done
	if [ "$i" -lt 200 ]; then pass "and ends"; else fail "and ends" "it doesn't"; fi
	kill -9 "$server"
	server=$disk
}

# ask WHAT COMMAND...: of a guest that runs.
ask() {
	local what=$1
	shift
	if timeout 30 "$bin/posada" "$@" >"$work/answer" 2>&1; then pass "$what"; else fail "$what" "$(cat "$work/answer")"; fi
}

guests() {
	need_kernel 6.1 || return
	"$top/tools/make-initrd" "$work/initrd" "$here/guest-init" "$cache/kernel-6.1" virtio_pci virtio_blk \
		-- "$here/host-trouble-test:test"
	truncate -s 64M g.raw
	serve g -f raw g.raw
	rm -f in
	mkfifo in
	: >"$out"
	"$bin/posada" run --name remote --accel soft --quiet --console stdio --kernel "$cache/kernel-6.1/vmlinuz" \
		--initrd initrd --append "console=ttyS0 quiet panic=-1" --disk "$(uri g),on-error=report" <in >"$out" 2>&1 &
	local guest=$!
	jobs_to_end+=("$guest")
	exec 7>in
	wait_for "$out" '^t: ready' "$guest" && pass "a guest's disk at a server" || fail "a guest's disk at a server" "it isn't ready"
	echo "write 100" >&7
	wait_for "$out" '^t: wrote 100' "$guest" && pass "a guest writes there" || fail "a guest writes there" "it didn't"
	end_server
	wait_for "$out" 'NBD server is lost' "$guest" && pass "a lost server is told" || fail "a lost server is told" "it isn't"
	echo "write 200" >&7
	serve g -f raw g.raw
	wait_for "$out" '^t: wrote 200' "$guest" && pass "requests wait for it" || fail "requests wait for it" "they failed"
	silent_to_guest "$guest"
	silent_target
	silent_server "$guest"
	exec 7>&-
	wait "$guest"
	status=$?
	expect "such a guest ends" 0 '!writing [0-9]+ failed'
	nothing_left "the connector has ended"
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# pki DIRECTORY: an authority, and certificates of a server and a client.
pki() {
	local who
	mkdir "$1"
	openssl req -x509 -newkey rsa:2048 -nodes -keyout "$1/ca-key.pem" -out "$1/ca-cert.pem" -days 30 -subj "/CN=$1" \
		-addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign 2>>server.log
	for who in server client; do
		openssl req -newkey rsa:2048 -nodes -keyout "$1/$who-key.pem" -out "$1/$who.csr" -subj /CN=localhost 2>>server.log
		printf '%s\n' basicConstraints=critical,CA:FALSE keyUsage=critical,digitalSignature,keyEncipherment \
			"extendedKeyUsage=${who}Auth" subjectAltName=DNS:localhost,IP:127.0.0.1 >"$1/$who.ext"
		openssl x509 -req -in "$1/$who.csr" -CA "$1/ca-cert.pem" -CAkey "$1/ca-key.pem" -CAcreateserial \
			-out "$1/$who-cert.pem" -days 30 -extfile "$1/$who.ext" 2>>server.log
	done
}

# ours ARGUMENT...: posada image serve; $server is its process.
ours() {
	: >ours.log
	"$bin/posada" image serve -f raw "$@" >ours.log 2>&1 &
	server=$!
	jobs_to_end+=("$server")
	wait_for ours.log '^serving at' "$server" || { cp ours.log "$out"; fail "posada image serve $*" "it doesn't"; }
}

end_ours() {
	kill "$server"
	wait "$server" 2>/dev/null
}

works() {
	local name=$1
	shift
	if "$@" >"$out" 2>&1; then pass "$name"; else fail "$name" "status $?"; fi
}

fails() {
	local name=$1
	shift
	if timeout 60 "$@" >"$out" 2>&1; then fail "$name" "it works"; else pass "$name"; fi
}

tls_of_our_server() {
	local port theirs
	port=$(free_port)
	theirs="driver=nbd,host=localhost,port=$port,tls-creds=t"
	truncate -s 16M t.raw
	head -c 5M /dev/urandom | dd of=t.raw bs=1M seek=2 conv=notrunc status=none
	ours --port "$port" --tls-certificates pki t.raw
	works "nbdinfo sees our server's TLS" nbdinfo --size "nbds://localhost:$port/?tls-certificates=$work/pki"
	rm -f copy.raw
	works "nbdcopy from it" nbdcopy "nbds://localhost:$port/?tls-certificates=$work/pki" copy.raw
	works "what was copied is the same" cmp t.raw copy.raw
	works "qemu-img compares with it" qemu-img compare -U --object "tls-creds-x509,id=t,endpoint=client,dir=pki" \
		--image-opts "$theirs" driver=raw,file.filename=copy.raw
	works "qemu-io writes to it" qemu-io --object "tls-creds-x509,id=t,endpoint=client,dir=pki" \
		-c 'write -P 9 3M 64k' -c 'flush' -c 'read -P 9 3M 64k' --image-opts "$theirs"
	fails "a client without TLS is refused" nbdinfo "nbd://localhost:$port/"
	mkdir -p bare && cp pki/ca-cert.pem bare/
	fails "a client without a certificate is refused" nbdinfo "nbds://localhost:$port/?tls-certificates=$work/bare"
	fails "a client of another authority is refused" nbdinfo "nbds://localhost:$port/?tls-certificates=$work/other"
	image info -f raw "nbds://localhost:$port/?tls-certificates=$work/pki"
	expect "posada reads from posada with TLS" 0 "16 MiB \(16777216 bytes\)"
	end_ours
	ours --port "$port" --tls-certificates pki --tls-any-client t.raw
	works "unless anybody may come" nbdinfo --size "nbds://localhost:$port/?tls-certificates=$work/bare"
	end_ours
	ours --socket "$work/psk.sock" --tls-psk keys.psk t.raw
	works "with a shared key" nbdinfo --size "nbds+unix://alice@/?socket=$work/psk.sock&tls-psk-file=$work/keys.psk"
	works "qemu-img, too" qemu-img info --object "tls-creds-psk,id=t,endpoint=client,dir=$work/psk,username=alice" \
		--image-opts "driver=nbd,path=$work/psk.sock,tls-creds=t"
	fails "with another key" nbdinfo --size "nbds+unix://alice@/?socket=$work/psk.sock&tls-psk-file=$work/wrong.psk"
	end_ours
	image serve -f raw --port "$port" --tls-certificates bare t.raw
	expect "a certificate that is missing" 1 "cannot open bare/server-cert.pem"
	image serve -f raw --socket x.sock --tls-psk t.raw t.raw
	expect "keys that are none" 1 "TLS: .* is too large"
}

tls_of_other_servers() {
	local port
	port=$(free_port)
	qemu-nbd -t -e 8 -f raw -b 127.0.0.1 -p "$port" --object "tls-creds-x509,id=t,endpoint=server,dir=pki" \
		--tls-creds t t.raw >>server.log 2>&1 &
	server=$!
	jobs_to_end+=("$server")
	timeout 20 bash -c "until (: </dev/tcp/127.0.0.1/$port) 2>/dev/null; do read -rt 0.05 <><(:); done"
	rm -f copy.qcow2
	image convert -f raw -O qcow2 --verify "nbds://localhost:$port/?tls-certificates=$work/pki" copy.qcow2
	expect "convert from qemu-nbd with TLS" 0
	works "what came is the same" qemu-img compare -U -f raw -F qcow2 t.raw copy.qcow2
	image convert -n -f qcow2 -O raw --verify copy.qcow2 "nbds://localhost:$port/?tls-certificates=$work/pki"
	expect "and to it" 0
	image info -f raw "nbds://localhost:$port/?tls-certificates=$work/other"
	expect "a server of another authority is refused" 1 "cannot connect|certificate|TLS|handshake"
	end_server
	kit k --tls=require --tls-psk="$work/keys.psk" memory 8M
	image convert -n -f raw -O raw --verify n.raw "nbds+unix://alice@/?socket=$work/k.sock&tls-psk-file=$work/keys.psk"
	expect "convert to nbdkit with a shared key" 0
	image info -f raw "nbds+unix://alice@/?socket=$work/k.sock&tls-psk-file=$work/wrong.psk"
	expect "which isn't another" 1 "cannot connect|TLS|handshake"
	end_server
}

# serve_cached MODE: how many flushes reached the disk, of three writes and what the client does at its end.
serve_cached() {
	local counting
	rm -f counted.log
	kit c --filter=log memory 8M logfile="$work/counted.log"
	counting=$server
	rm -f cached.sock
	ours --socket "$work/cached.sock" --cache "$1" "nbd+unix:///?socket=$work/c.sock"
	qemu-io -t writeback -f raw -c 'write 0 64k' -c 'write 1M 64k' -c 'write 2M 4k' "nbd+unix:///?socket=$work/cached.sock" >"$out" 2>&1
	end_ours
	kill "$counting"
	wait "$counting" 2>/dev/null
	grep -v '\.\.\.[A-Z]' counted.log | grep -cE 'Flush |Write .*fua=1'
}

serve_caches() {
	local back through unsafe
	back=$(serve_cached writeback | tail -n 1)
	through=$(serve_cached writethrough | tail -n 1)
	unsafe=$(serve_cached unsafe | tail -n 1)
	if [ "$back" -ge 1 ] && [ "$through" -ge $((back + 3)) ] && [ "$unsafe" = 0 ]; then
		pass "serve --cache: writes are flushed, at once, or never"
	else fail "serve --cache" "writeback $back flushes, writethrough $through, unsafe $unsafe"; fi
}

# A server with TLS goes away under a guest, and comes back.
tls_guest() {
	local guest
	[ -f initrd ] || return
	truncate -s 64M tg.raw
	serve tg -f raw --object "tls-creds-psk,id=t,endpoint=server,dir=$work/psk" --tls-creds t tg.raw
	rm -f in
	mkfifo in
	: >"$out"
	"$bin/posada" run --name tls --accel soft --quiet --console stdio --kernel "$cache/kernel-6.1/vmlinuz" \
		--initrd initrd --append "console=ttyS0 quiet panic=-1" \
		--disk "nbds+unix://alice@/tg?socket=$work/tg.sock&tls-psk-file=$work/keys.psk,on-error=report" <in >"$out" 2>&1 &
	guest=$!
	jobs_to_end+=("$guest")
	exec 7>in
	wait_for "$out" '^t: ready' "$guest" && pass "a guest's disk at a server with TLS" || fail "a guest's disk at a server with TLS" "it isn't ready"
	echo "write 100" >&7
	wait_for "$out" '^t: wrote 100' "$guest" && pass "a guest writes there with TLS" || fail "a guest writes there with TLS" "it didn't"
	end_server
	echo "write 200" >&7
	serve tg -f raw --object "tls-creds-psk,id=t,endpoint=server,dir=$work/psk" --tls-creds t tg.raw
	wait_for "$out" '^t: wrote 200' "$guest" && pass "its requests wait for it" || fail "its requests wait for it" "they failed"
	kill -STOP "$server"
	echo "write 300" >&7
	wait_for "$out" 'write 300' "$guest"
	ask "a guest ends though its server with TLS is silent" stop --force tls
	exec 7>&-
	wait "$guest"
	nothing_left "so does the connector"
	end_server
}

tls() {
	command -v openssl >/dev/null || { skip "TLS: openssl isn't installed"; return; }
	pki pki
	pki other
	mkdir psk
	echo "alice:$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n')" >keys.psk
	cp keys.psk psk/keys.psk
	echo "alice:$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n')" >wrong.psk
	tls_of_our_server
	tls_of_other_servers
	tls_guest
}

# Ceph, by a librbd of ours over files: see fake_rbd.c.
rbd() {
	[ -x "$bin/posada-rbd" ] || { skip "RBD: posada was built without librbd"; return; }
	mkdir -p lib ceph/pool
	ln -sf "$release/tests/system/libfake_rbd.so" lib/librbd.so.1
	ln -sf "$release/tests/system/libfake_rbd.so" lib/librados.so.2
	local LD_LIBRARY_PATH=$work/lib FAKE_CEPH=$work/ceph FAKE_CEPH_LOG=$work/ceph.log
	export LD_LIBRARY_PATH FAKE_CEPH FAKE_CEPH_LOG
	truncate -s 48M ceph/pool/image
	head -c 3M /dev/urandom | dd of=ceph/pool/image bs=1M seek=5 conv=notrunc status=none
	cp --sparse=always ceph/pool/image ceph/pool/image@then
	image info rbd:pool/image
	expect "info of an RBD image" 0 "file format: raw \(a guess" "48 MiB \(50331648 bytes\)"
	image map -f raw --output json rbd:pool/image
	expect "its holes are seen" 0 '"start": 5242880' '"length": 3145728'
	image convert -f raw -O qcow2 --verify rbd:pool/image r.qcow2
	expect "convert from RBD" 0
	works "what came is the same" qemu-img compare -f raw -F qcow2 ceph/pool/image r.qcow2
	truncate -s 48M ceph/pool/other
	image convert -n -f qcow2 -O raw --verify r.qcow2 rbd:pool/other
	expect "convert to RBD" 0
	works "what was written there is the same" cmp ceph/pool/image ceph/pool/other
	if grep -q '^f ' ceph.log && [ "$(grep -c '^w ' ceph.log)" -ge 2 ]; then pass "it was flushed"
	else cp ceph.log "$out"; fail "it was flushed" "the requests say otherwise"; fi
	dd if=/dev/zero of=ceph/pool/image bs=1M seek=5 count=1 conv=notrunc status=none
	image compare -f raw rbd:pool/image@then rbd:pool/other
	expect "a snapshot is what it was" 0 identical
	image resize -f raw rbd:pool/other 64M
	expect "another size" 0 "64 MiB"
	image convert -n -f qcow2 -O raw r.qcow2 rbd:pool/image@then
	expect "a snapshot isn't written" 1
	image info -f raw rbd:pool/nothing
	expect "no such image" 1 "cannot open the image 'nothing': No such file"
	image info -f raw rbd:lake/image
	expect "no such pool" 1 "cannot use the pool 'lake'"
	image info -f raw rbd:pool/image:id=nobody
	expect "no such user" 1 "librados can't be used: Permission denied"
	image info -f raw "rbd:pool/image:conf=$work/no.conf"
	expect "no such configuration" 1 "cannot read .*no.conf"
	: >ceph/pool/image.broken
	image convert -f raw -O raw rbd:pool/image broken.raw
	expect "an image that fails" 1 "Input/output error"
	rm ceph/pool/image.broken
	rbd_guest
	nothing_left "posada-rbd has ended"
}

rbd_guest() {
	[ -f initrd ] || return
	truncate -s 64M ceph/pool/guest
	rm -f in
	mkfifo in
	: >"$out"
	"$bin/posada" run --name ceph --accel soft --quiet --console stdio --kernel "$cache/kernel-6.1/vmlinuz" \
		--initrd initrd --append "console=ttyS0 quiet panic=-1" --disk "rbd:pool/guest,on-error=report" <in >"$out" 2>&1 &
	local guest=$!
	jobs_to_end+=("$guest")
	exec 7>in
	wait_for "$out" '^t: ready' "$guest" && pass "a guest's disk in RBD" || fail "a guest's disk in RBD" "it isn't ready"
	echo "write 100" >&7
	wait_for "$out" '^t: wrote 100' "$guest" && pass "a guest writes there" || fail "a guest writes there" "it didn't"
	echo off >&7
	exec 7>&-
	wait "$guest"
	status=$?
	expect "such a guest ends, too" 0
}

images
layers
failing_servers
guests
serve_caches
tls
rbd
