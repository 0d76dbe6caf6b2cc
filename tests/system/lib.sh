# For the lanes: where things are, results, runs with a time limit. Sourced, with the lane's name.
#
# Each lane works in a directory of its own ($work), which goes with it. `posada` runs the release
# build's; what it printed is in $out, its exit status in $status.

set -uo pipefail
lane=$(basename "$0" .sh)
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(cd "$here/../.." && pwd)
release=${CHECK_RELEASE:-$top/build/check-release}
cache=${CHECK_CACHE:-$top/cache}
tier=${CHECK_TIER:-default}
bin=$release/src/cmd
kernel=$release/tests/system/kernel
work=$(mktemp -d)
out=$work/out
jobs_to_end=()
# Every process of ours carries this in its environment, so that what is left behind can be found.
export POSADA_LANE=$work
# Nobody's defaults but a lane's own.
export XDG_CONFIG_HOME=$work/config

processes_left() {
	local env pid
	for env in /proc/[0-9]*/environ; do
		pid=${env//[!0-9]/}
		[ "$pid" != $$ ] && [ "$pid" != "${BASHPID}" ] || continue
		case $(readlink "/proc/$pid/exe") in
		*/posada | */posada-vmm | */posada-slirp | */posada-vsock | */posada-image | */posada-nbd | */posada-rbd | */passt*)
			tr '\0' '\n' <"$env" 2>/dev/null | grep -qx "POSADA_LANE=$work" && echo "$pid"
			;;
		esac
	done
}

clean_up() {
	local pid
	[ "$BASHPID" = $$ ] || return # a subshell that is ended early may come here, too
	for pid in "${jobs_to_end[@]}" $(processes_left); do
		kill -9 "$pid" 2>/dev/null
	done
	rm -rf "$work"
}
trap clean_up EXIT

pass() { printf 'PASS %s: %s\n' "$lane" "$1"; }
skip() { printf 'SKIP %s: %s\n' "$lane" "$*"; }
# fail NAME WHY: with the end of what the guest printed.
fail() {
	printf 'FAIL %s: %s: %s\n' "$lane" "$1" "$2"
	tail -c 3000 "$out" 2>/dev/null | tail -n 25 | sed 's/^/  | /'
}

# posada LIMIT ARGUMENT...: what it says goes to $out.
posada() {
	local limit=$1
	shift
	timeout -k 5 "$limit" "$bin/posada" "$@" </dev/null >"$out" 2>&1
	status=$?
}

said() { grep -aEq -- "$1" "$out"; }

# expect NAME STATUS PATTERN...: of the last run; a pattern that begins with ! must not be seen.
expect() {
	local name=$1 want=$2 pattern
	shift 2
	if [ "$status" != "$want" ]; then
		fail "$name" "exit status $status, not $want"
		return 1
	fi
	for pattern in "$@"; do
		if [ "${pattern#!}" != "$pattern" ]; then
			said "${pattern#!}" || continue
			fail "$name" "it said '${pattern#!}'"
		else
			said "$pattern" && continue
			fail "$name" "it didn't say '$pattern'"
		fi
		return 1
	done
	pass "$name"
}

# need_kernel SERIES: into $cache; says why when it can't be had.
need_kernel() {
	"$top/tools/get-kernel" "$1" "$cache/kernel-$1" >"$work/get-kernel" 2>&1 && return
	skip "kernel $1: $(tail -n 1 "$work/get-kernel")"
	return 1
}

# wait_for FILE PATTERN PID: until FILE has a whole line like PATTERN, or the process has ended; for
# at most $LANE_WAIT seconds.
wait_for() {
	timeout "${LANE_WAIT:-120}" tail -n +1 -s 0.1 -f --pid="$3" "$1" 2>/dev/null | grep -aEqm1 -- "$2" ||
		grep -aEq -- "$2" "$1"
}
