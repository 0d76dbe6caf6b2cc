#!/usr/bin/env bash
# Networks of a stock guest: the user network with both its engines, what it lets through and what not,
# and a tap.
# timeout: 500
# shellcheck source=tests/system/lib.sh
. "$(dirname "$0")/lib.sh"

if [ $# -gt 0 ]; then # a lane of this lane
	rmdir "$work"
	export POSADA_LANE=$2
	work=$2 out=$2/$1-out
	trap 'kill -9 "${jobs_to_end[@]}" 2>/dev/null' EXIT
else
	need_kernel 6.1 || exit 0
	command -v busybox >/dev/null || { skip "all: busybox is not installed"; exit 0; }
	"$top/tools/make-initrd" "$work/initrd" "$here/guest-init" "$cache/kernel-6.1" virtio_pci virtio_net \
		af_packet ipv6 -- "$here/net-test:test"
fi

options() {
	printf '%s\n' run --accel soft --quiet --kernel "$cache/kernel-6.1/vmlinuz" --initrd "$work/initrd" \
		--append "console=ttyS0 quiet panic=-1 $1"
}

# guest WORDS OPTION...
guest() {
	local args
	readarray -t args < <(options "$1")
	shift
	posada 120 "${args[@]}" "$@"
}

sum() { md5sum "$@" | cut -c1-32; }
answer_sum() { yes 'posada net' | head -c 3000000 | sum; }

# start_server ADDRESS: a web server there, with "file"; $port is its port.
start_server() {
	local address=$1 pid
	mkdir -p "$work/www"
	head -c 2000000 /dev/urandom >"$work/www/file"
	for port in $(seq 18200 18250); do
		busybox httpd -f -p "$address:$port" -h "$work/www" 2>/dev/null &
		pid=$!
		until [ "$(busybox wget -q -O - "http://$address:$port/file" 2>/dev/null | sum)" = "$(sum "$work/www/file")" ]; do
			kill -0 "$pid" 2>/dev/null || continue 2
		done
		jobs_to_end+=("$pid")
		server=$pid
		return
	done
	return 1
}

# listener ADDRESS FILE: takes datagrams, which go to FILE; $listen_port is its port.
listener() {
	: >"$2"
	"$here/net-peer" listen "$1" >"$2" 2>&1 &
	jobs_to_end+=($!)
	wait_for "$2" '^[0-9]+$' $!
	listen_port=$(head -n 1 "$2")
}

# free_port FROM: one that nobody listens on now.
free_port() {
	local p
	for p in $(seq "$1" $(($1 + 50))); do
		(exec 3<>"/dev/tcp/127.0.0.1/$p") 2>/dev/null || { echo "$p"; return; }
	done
}

# talk NAME ADDRESS PORT-FROM PORT-TO PID: with the guest that serves, whose output is in $out.
talk() {
	local name=$1 address=$2 from=$3 to=$4 pid=$5 sent got
	if ! wait_for "$out" 't: serving' "$pid"; then
		wait "$pid"
		status=$?
		fail "$name" "the guest ended with status $status"
		return
	fi
	head -c 1000000 /dev/urandom >"$work/sent"
	sent=$(sum "$work/sent")
	got=$(timeout 30 bash -c 'exec 3<>"/dev/tcp/$0/$1" && cat <&3' "$address" "$from" 2>/dev/null | sum)
	timeout 30 bash -c 'exec 3<>"/dev/tcp/$0/$1" && cat "$2" >&3' "$address" "$to" "$work/sent" 2>/dev/null
	wait "$pid"
	status=$?
	[ "$got" = "$(answer_sum)" ] || { fail "$name" "what came from the guest is not what it sent"; return; }
	expect "$name" 0 "t: got $sent"
}

# serving NET OPTION...: such a guest in the background, as $guest_pid.
serving() {
	local args
	readarray -t args < <(options "$1")
	shift
	: >"$out"
	timeout -k 5 90 "$bin/posada" "${args[@]}" "$@" </dev/null >>"$out" 2>&1 &
	guest_pid=$!
	jobs_to_end+=("$guest_pid")
}

user_network() {
	start_server 127.0.0.1 || { fail "a web server on the host" "no free port"; return; }
	listener 127.0.0.1 "$work/datagrams"
	udp=$listen_port
	listener ::1 "$work/datagrams6"
	guest "do=user url=10.0.2.2:$port/file udp=$udp udp6=$listen_port" --net user,host=on
	expect "user network: DHCP" 0 't: address 10\.0\.2\.15 router 10\.0\.2\.2 dns 10\.0\.2\.3'
	expect "user network: the gateway answers" 0 't: the gateway answers'
	expect "user network: an IPv6 address and a route" 0 't: ipv6 fec0:.* route fe80:'
	expect "user network, host=on: a download from the host" 0 "t: download $(sum "$work/www/file")"
	if grep -q 'from the guest' "$work/datagrams" && grep -q 'from the guest' "$work/datagrams6"; then
		pass "user network: datagrams, by IPv4 and IPv6"
	else
		fail "user network: datagrams, by IPv4 and IPv6" "$(head "$work/datagrams" "$work/datagrams6")"
	fi
	expect "user network: large packets, all offloads" 0 't: mtu 65520 has:csum has:guest_csum has:guest_tso4 has:guest_tso6 has:host_tso4 has:host_tso6 has:mrg_rxbuf has:status has:ctrl_vq has:ctrl_rx has:announce'
	guest "do=user url=10.0.2.2:$port/file" --net user
	expect "user network: the host's loopback is closed" 0 't: address 10' 't: no download' '!t: download'
	guest "do=user url=127.0.0.1:$port/file" --net user,host=on --name other
	expect "the guest's loopback is its own" 0 't: no download'
	kill "$server"
}

forwards() {
	local p q
	p=$(free_port 18300)
	q=$(free_port 18400)
	serving do=serve --net "user,forward=tcp:$p:8080,forward=tcp:$q:8081"
	talk "user network: forwarded ports, 1 MB in and 3 MB out" 127.0.0.1 "$p" "$q" "$guest_pid"
	start_server 127.0.0.1 || return
	posada 30 run --accel soft --quiet --kernel "$kernel" --append ho --net "user,forward=tcp:$port:22"
	expect "a port in use is refused" 1 "^posada\[[^]]*\]: --net: .*$port.*use"
	if [ "$(wc -l <"$out")" = 1 ]; then
		pass "with one sentence"
	else
		fail "with one sentence" "$(wc -l <"$out") lines"
	fi
	kill "$server"
}

with_passt() {
	if ! command -v passt >/dev/null; then
		skip "passt: it is not installed"
		return
	fi
	if [ -z "$(ip route show default 2>/dev/null)" ]; then
		skip "passt: this host has no default route, whose addresses it would give the guest"
		return
	fi
	guest do=user --net user,backend=passt
	expect "passt: DHCP" 0 't: address [0-9.]* router [0-9.]*'
	skip "passt: forwarded ports: with that of Debian 12 nothing from the host's own loopback reached the guest"
}

# The process of the user network is killed, and started again: the guest sees its link go and come.
lost() {
	local slirp
	serving do=lost --net user
	if ! wait_for "$out" 't: serving' "$guest_pid"; then
		fail "a user network that is killed" "the guest never got ready"
		return
	fi
	slirp=$(processes_left | while read -r pid; do
		case $(readlink "/proc/$pid/exe") in */posada-slirp) echo "$pid" ;; esac
	done)
	kill -9 $slirp
	wait "$guest_pid"
	status=$?
	expect "a user network that is killed is started again, and the link flaps" 0 't: the link was down' \
		't: the link is up' 't: the gateway answers again' "user network of 'net0' ended; it was started again"
}

# In a network namespace of its own, where it may make what it likes.
tap_lane() {
	ip link set lo up
	ip tuntap add dev ptap0 mode tap && ip addr add 10.99.0.1/24 dev ptap0 && ip link set ptap0 up || exit 1
	start_server 10.99.0.1
	"$here/net-peer" strangers ptap0 &
	jobs_to_end+=($!)
	serving "do=tap url=10.99.0.1:$port/file" --net tap=ptap0
	if wait_for "$out" 't: serving' "$guest_pid"; then
		cp "$out" "$work/tap-first"
		posada_out=$out out=$work/tap-second
		posada 30 run --accel soft --quiet --kernel "$kernel" --append ho --net tap=ptap0
		expect "a tap in use is refused" 1 "^posada\[[^]]*\]: --net: tap 'ptap0' is in use"
		out=$posada_out
	fi
	"$here/net-peer" largest ptap0 >"$work/largest" &
	jobs_to_end+=($!)
	wait_for "$work/largest" '^0' $!
	talk "tap: a connection to the guest, 1 MB in and 3 MB out" 10.99.0.2 8080 8081 "$guest_pid"
	expect "tap: the host answers" 0 't: the host answers'
	expect "tap: all offloads" 0 't: mtu 1500 has:csum has:guest_csum has:guest_tso4 has:guest_tso6 has:host_tso4 has:host_tso6 has:mrg_rxbuf'
	expect "tap: the guest's filters are the card's" 0 't: strangers stay out and come in'
	expect "tap: a download from the host" 0 "t: download $(sum "$work/www/file")"
	if [ "$(tail -n 1 "$work/largest")" -gt 1514 ]; then
		pass "tap: what the guest sends comes in large segments"
	else
		fail "tap: what the guest sends comes in large segments" "none is larger than $(tail -n 1 "$work/largest") bytes"
	fi
	kill "$server"
}

# Two queues of a tap, in a bridge with an interface that has everything done before it sends: what is
# not finished in the bridge is wrong at its other end.
queues_lane() {
	local far
	ip link set lo up
	ip tuntap add dev ptap1 mode tap multi_queue && ip link add pbridge type bridge &&
		ip link add pnear type veth peer name pfar || exit 1
	unshare -n sleep 300 &
	far=$!
	jobs_to_end+=("$far")
	until [ "$(readlink "/proc/$far/ns/net")" != "$(readlink /proc/self/ns/net)" ] && [ -e "/proc/$far/ns/net" ]; do
		kill -0 "$far" || exit 1
	done
	"$here/net-peer" plain pnear pfar
	ip link set pfar netns "$far"
	ip link set ptap1 master pbridge && ip link set pnear master pbridge
	for name in ptap1 pnear pbridge; do ip link set "$name" up; done
	inside() { nsenter -t "$far" -n "$@"; }
	inside ip link set lo up
	inside ip addr add 10.99.0.1/24 dev pfar
	inside ip link set pfar up
	nsenter -t "$far" -n "$0" queues-far "$work"
	ip link set ptap1 down
	posada 30 run --accel soft --quiet --kernel "$kernel" --append ho --net tap=ptap1
	expect "a tap with several queues needs to be told so" 1 "queues=2"
}

# The other end of the bridge; the guest itself is started from here, in the namespace of its tap.
queues_far() {
	start_server 10.99.0.1
	readarray -t args < <(options "do=queues url=10.99.0.1:$port/file")
	: >"$out"
	nsenter -t "$PPID" -n timeout -k 5 90 "$bin/posada" "${args[@]}" --cpus 2 --net tap=ptap1,queues=2 </dev/null >>"$out" 2>&1 &
	guest_pid=$!
	jobs_to_end+=("$guest_pid")
	talk "two queues, behind a bridge: 1 MB in and 3 MB out" 10.99.0.2 8080 8081 "$guest_pid"
	expect "two queues, behind a bridge: a download" 0 't: .*has:mq' "t: download $(sum "$work/www/file")"
	expect "two queues are used both ways" 0 't: used .*input\.0' 't: used .*output\.0' 't: used .*input\.1' 't: used .*output\.1'
	kill "$server"
}

tap() {
	if [ "$(id -u)" != 0 ]; then
		skip "tap: it needs root"
	elif [ ! -c /dev/net/tun ]; then
		skip "tap: there is no /dev/net/tun"
	elif ! unshare -n ip tuntap add dev ptap0 mode tap 2>"$work/tap-error"; then
		skip "tap: $(tail -n 1 "$work/tap-error")"
	else
		unshare -n "$0" tap-lane "$work"
		unshare -n "$0" queues-lane "$work"
	fi
}

case ${1-} in
tap-lane) tap_lane ;;
queues-lane) queues_lane ;;
queues-far) queues_far ;;
esac
[ $# -eq 0 ] || exit
user_network
forwards
lost
with_passt
tap
[ -z "$(processes_left)" ] && pass "no process is left" || fail "no process is left" "$(processes_left)"
