#!/usr/bin/env bash
# Guests that run, by their control sockets: posada ps, pause, stop and the others; names; launchers that are
# stopped, killed, or whose terminal goes; clients that do what they shouldn't; peers of an older version.
# timeout: 300
# shellcheck source=tests/system/lib.sh
. "$(dirname "$0")/lib.sh"
export POSADA_RUNTIME_DIR=$work/runtime
dialogue=$here/protocol-1.txt

# start NAME LETTERS [OPTION]...: in the background.
start() {
	local name=$1 letters=$2
	shift 2
	posada 60 run --detach --accel soft --kernel "$kernel" --append "$letters" --name "$name" "$@"
	[ "$status" = 0 ] || fail "start $name" "exit status $status"
}

# Numbers out of info.json: launcher or vmm.
pid_of() { sed -n "s/.*\"$2\":\([0-9]*\).*/\1/p" "$POSADA_RUNTIME_DIR/$1/info.json"; }

# Until the process has ended, or is a zombie that nobody waits for.
wait_end() {
	local pid
	for pid in "$@"; do
		while [ -d "/proc/$pid" ] && ! grep -q '^State:.*[ZX]' "/proc/$pid/status" 2>/dev/null; do
			read -rt 0.05 <> <(:)
		done
	done
}

no_names() {
	posada 30 ps
	expect "$1: no name is left" 0 'No guest is running'
}

# documented: the groups of counters that it shows are those that the reference has, and all of them count.
documented() {
	python3 - "$out" "$top/docs/control-socket.md" <<'END'
import json, re, sys
shown = json.load(open(sys.argv[1]))["accelerator"]
table = open(sys.argv[2]).read().split("| group | |")[1].split("\n\n")[0]
told = set(re.findall(r"`([a-z-]+)`", "".join(row.split("|")[1] for row in table.split("\n") if row.count("|") > 2)))
sometimes = {"exceptions", "callout-instructions"}  # what there was
if set(shown) - told or told - set(shown) - sometimes:
    sys.exit(f"shown: {sorted(shown)}, told: {sorted(told)}")
for group, counter in [("blocks", "decoded"), ("translations", "blocks"), ("tlb-misses", "read"),
                       ("native-exits", "link"), ("callouts", "untranslated"), ("exits", "port-write")]:
    if not shown[group][counter]:
        sys.exit(f"{group}: no {counter}")
END
}

everyday() {
	no_names "at first"
	start web hbo
	posada 30 ps
	expect "ps lists it" 0 '^web +running +1 +512 MiB'
	posada 30 ps --json
	expect "ps --json" 0 '"name": "web"' '"state": "running"' '"vmm": [0-9]+'
	posada 30 status web
	expect "status" 0 'state +running' 'runs on the software CPU' 'memory +512 MiB'
	posada 30 stats web
	expect "stats" 0 'memory +512 MiB; of the host: [0-9.]+ [KM]iB' '^  0 +[0-9]+ +(-|[0-9]+) +[0-9.]+'
	posada 30 stats web --json
	expect "stats --json" 0 '"exits": [1-9]' '"resident": [1-9]' '"decoded": [1-9]' '"port-write": [1-9]'
	if documented >"$work/groups" 2>&1; then
		pass "the software CPU's counters, all in docs/control-socket.md"
	else
		fail "the software CPU's counters, all in docs/control-socket.md" "$(tail -n 1 "$work/groups")"
	fi
	posada 30 pause web
	expect "pause" 0
	posada 30 pause web
	expect "pause again" 0
	posada 30 status --json web
	expect "status says so" 0 '"state": "paused"'
	posada 30 stop web
	expect "a paused guest can't be stopped gently" 1 'posada resume web'
	posada 30 resume web
	expect "resume" 0
	posada 30 stop web
	expect "stop" 0
	no_names "after stop"
	if grep -qx 'posada\[web\]: resumed' "$POSADA_RUNTIME_DIR/web/log"; then
		pass "the log says what happened"
	else
		fail "the log says what happened" "$(cat "$POSADA_RUNTIME_DIR/web/log")"
	fi
}

stopping() {
	start deaf hw
	posada 30 stop deaf --timeout 1
	expect "a guest that doesn't power off" 1 'did not power off within 1 seconds.*--force'
	posada 30 stop deaf --force --timeout 1
	expect "stop --force --timeout" 0
	start deaf hw
	posada 30 stop --force deaf
	expect "stop --force" 0
	start deaf hw
	posada 30 pause deaf
	posada 30 stop --force deaf
	expect "stop --force of a paused one" 0
	posada 30 stop deaf
	expect "stop of one that isn't there" 1 "no guest 'deaf'; none is running"
	posada 30 stop deaf --timeout soon
	expect "no number of seconds" 1 "'soon' is not a number"
	posada 30 stop
	expect "stop of whom?" 1 'which guest'
	no_names "after stopping"
}

names() {
	local pids=() i
	for i in 1 2; do
		"$bin/posada" run --detach --accel soft --kernel "$kernel" --append hbo </dev/null >"$work/both$i" 2>&1 &
		pids+=($!)
	done
	wait "${pids[@]}"
	posada 30 ps
	expect "two from one command line at once" 0 '^guest +running' '^guest-2 +running'
	posada 30 run --accel soft --kernel "$kernel" --name guest --append h
	expect "a name that is taken" 1 "guest 'guest' runs already; choose another --name"
	posada 30 status nix
	expect "an unknown name" 1 "no guest 'nix'; running: guest, guest-2"
	posada 30 stop guest
	posada 30 stop guest-2
	no_names "after two"
}

console() {
	mkfifo "$work/typed"
	start echo heo
	(
		printf 'a'
		read -r _ <"$work/typed"
		printf 'Z'
	) | timeout 60 "$bin/posada" console echo >"$work/console" 2>&1 &
	wait_for "$work/console" '^61' $!
	echo >"$work/typed"
	wait $!
	cp "$work/console" "$out"
	status=0
	expect "console shows and types" 0 61 5a
	start plain hbo --console none
	posada 30 console plain
	expect "console of a guest that has none" 1 "guest 'plain' .*console"
	posada 30 stop plain
}

killed() {
	local launcher vmm
	start a hw
	launcher=$(pid_of a launcher) vmm=$(pid_of a vmm)
	kill -9 "$launcher"
	wait_end "$vmm"
	no_names "a launcher killed"
	start a hw
	launcher=$(pid_of a launcher) vmm=$(pid_of a vmm)
	kill -9 "$vmm"
	wait_end "$launcher"
	no_names "a guest process killed"
	cp "$POSADA_RUNTIME_DIR/a/log" "$out"
	status=0
	expect "the log says that the guest process ended" 0 'ended unexpectedly'
	start a hw
	posada 30 ps
	expect "the name can be taken again" 0 '^a +running'
	posada 30 stop --force a
}

signals() {
	local signal launcher i
	for signal in TERM HUP INT; do
		start s hw
		launcher=$(pid_of s launcher)
		kill -s "$signal" "$launcher"
		wait_end "$launcher"
		no_names "a detached launcher gets SIG$signal"
	done
	start s nbo
	launcher=$(pid_of s launcher)
	kill -STOP "$launcher"
	# More events than its socket holds.
	for i in $(seq 20); do
		timeout 60 "$here/flood.py" "$POSADA_RUNTIME_DIR/s/control" || fail "flood $i" "it ended with $?"
	done
	posada 30 status s
	expect "a guest whose launcher is stopped runs on" 0 'state +running'
	kill -STOP "$(pid_of s vmm)"
	posada 30 ps
	expect "a guest process that is stopped doesn't answer" 0 '^s +no answer +- +-'
	kill -CONT "$(pid_of s vmm)"
	kill -CONT "$launcher"
	posada 60 stop s
	expect "and ends in order when it is continued" 0
	no_names "after SIGSTOP"
}

streams() {
	timeout 60 "$bin/posada" run --detach --accel soft --kernel "$kernel" --append hbo --name shut <&- >&- 2>&-
	posada 30 ps
	expect "run --detach with closed streams" 0 '^shut +running'
	timeout 30 "$bin/posada" ps >&-
	posada 30 stop shut
	expect "ps with stdout closed harms nobody" 0
	if command -v python3 >/dev/null && timeout 60 "$here/terminal.py" expect:term end:0 -- "$bin/posada" run \
		--detach --accel soft --kernel "$kernel" --append hbo --name term >"$out" 2>&1; then
		posada 30 ps
		expect "a guest outlives its terminal" 0 '^term +running'
		posada 30 stop term
	else
		fail "a guest outlives its terminal" "it didn't start"
	fi
	no_names "after streams"
}

events() {
	start e nbo
	: >"$work/events"
	timeout 60 "$bin/posada" events --json e >"$work/events" 2>&1 &
	# Nothing comes before it has subscribed, so ask until it has.
	until grep -q reset "$work/events"; do posada 30 reset e; done
	posada 30 stop e
	wait $!
	cp "$work/events" "$out"
	status=0
	expect "events" 0 '"event":"reset"' '"event":"stopped".*"poweroff"|"poweroff".*"stopped"'
}

strangers() {
	start host hw
	if timeout 120 "$here/hostile-client.py" "$POSADA_RUNTIME_DIR/host/control" >"$out" 2>&1; then
		status=0
		expect "clients that misbehave" 0 '"running"'
	else
		fail "clients that misbehave" "the next client was not served"
	fi
	if [ "$(id -u)" != 0 ]; then
		skip "another user's client: it needs root"
	else
		chmod 755 "$work"
		setpriv --reuid 65534 --regid 65534 --clear-groups "$here/flood.py" "$POSADA_RUNTIME_DIR/host/control" \
			>"$out" 2>&1
		status=$?
		expect "another user can't connect" 1 'Permission denied'
	fi
	posada 30 stop --force host
	no_names "after strangers"
}

old_peers() {
	local section want
	for section in menu power-button crash-pause panic failed manager; do
		want=$kernel
		[ "$section" = failed ] && want=$bin/posada
		if timeout 120 "$here/old-peer.py" launcher "$dialogue" "$section" "$bin/posada-vmm" "$want" >"$out" 2>&1; then
			pass "an older launcher: $section"
		else
			fail "an older launcher: $section" "$(head -n 1 "$out")"
		fi
	done
	mkdir "$work/old"
	cp "$bin/posada" "$work/old/posada"
	cp "$here/old-peer.py" "$work/old/posada-vmm"
	chmod 755 "$work" "$work/old"
	for section in panic:2 failed:1; do
		want=${section#*:} section=${section%:*}
		OLD_PEER="$dialogue $section" timeout 60 "$work/old/posada" run --accel soft --kernel "$kernel" --append w \
			</dev/null >"$out" 2>&1
		status=$?
		expect "an older guest process: $section" "$want"
	done
	OLD_PEER="$dialogue menu" timeout 60 "$here/terminal.py" expect:'runs on' 'send:\x1dr' 'send:\x1dq' end:0 -- \
		"$work/old/posada" run --accel soft --kernel "$kernel" --append w >"$out" 2>&1
	status=$?
	expect "an older guest process: menu" 0
}

everyday
stopping
names
console
killed
signals
streams
events
if command -v python3 >/dev/null; then
	strangers
	old_peers
else
	skip "hostile clients and older peers: python3 is not installed"
fi
left=$(processes_left)
[ -z "$left" ] && pass "no process is left" || fail "no process is left" "$left"
