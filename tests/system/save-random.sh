#!/usr/bin/env bash
# One busy guest is saved at 200 moments that nobody chose, each time to go on from its file: every state that
# a machine can be in is somebody's turn once. The guest says X when something of it was lost.
# tier: full
# timeout: 3000
# shellcheck source=tests/system/lib.sh
. "$(dirname "$0")/lib.sh"
export POSADA_RUNTIME_DIR=$work/run
mkdir -m 700 "$POSADA_RUNTIME_DIR"
saves=${SAVES:-200}
options=("" "--compress zstd" "--keep-running" "--keep-running --compress zstd")

# The guest works: so many marks more in what it says.
works() { [ "$(timeout 60 tail -c +1 -s 0.05 -f --pid="$guest_pid" "$1" 2>/dev/null | head -c "$2" | wc -c)" = "$2" ]; }

start() {
	: >"$work/says"
	"$bin/posada" "$@" </dev/null >"$work/says" 2>&1 &
	guest_pid=$!
	jobs_to_end+=("$guest_pid")
}

start run --quiet --accel soft --name busy --cpus 4 --memory 64M --kernel "$release/tests/unit/machine/busy"
for ((i = 1; i <= saves; i++)); do
	if ! works "$work/says" 1 || tr -d '\n' <"$work/says" | grep -q X; then
		fail "save $i" "the guest does not go on, or has lost something: $(tail -c 100 "$work/says")"
		exit 0
	fi
	# shellcheck disable=SC2086
	posada 60 save busy "$work/guest.save" ${options[i % 4]}
	[ "$status" = 0 ] || { fail "save $i" "$(tail -n 1 "$out")"; exit 0; }
	case ${options[i % 4]} in
	*keep*) posada 20 stop --force busy ;;
	esac
	wait "$guest_pid"
	eager=()
	[ $((i % 3)) = 0 ] && eager=(--eager)
	start restore --quiet "$work/guest.save" "${eager[@]}"
done
if works "$work/says" 3 && ! tr -d '\n' <"$work/says" | grep -q X; then
	pass "$saves saves of one guest, each at another moment, and it goes on"
else
	fail "$saves saves of one guest" "$(tail -c 100 "$work/says")"
fi
