#!/usr/bin/env bash
# What bash, zsh and fish complete, asked of the real shells with the scripts that `posada completion` prints.
# shellcheck source=tests/system/lib.sh
. "$(dirname "$0")/lib.sh"
export POSADA_RUNTIME_DIR=$work/run
export PATH=$bin:$PATH
cd "$work" || exit 1
echo >kernel-file

# A shell's answer to each line, a candidate a line.
ask_bash() {
	bash --norc -c '. <(posada completion bash)
		COMP_WORDS=($1)
		[ "${1% }" = "$1" ] || COMP_WORDS+=("")
		COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
		_posada
		printf "%s\n" "${COMPREPLY[@]}"' bash "$1" 2>&1
}

ask_fish() {
	fish --no-config -c 'posada completion fish | source; complete -C "$argv[1]"' "$1" 2>&1 | cut -f 1
}

# On a terminal of its own, as zsh's completion works nowhere else: what the line became, and what
# was listed below it.
ask_zsh() {
	zsh -f "$here/complete-zsh" "$1" 2>&1
}

# offers SHELL LINE WANTED...: a WANTED that begins with ! must not be offered.
offers() {
	local shell=$1 line=$2 word
	shift 2
	"ask_$shell" "$line" >"$out"
	for word in "$@"; do
		if [ "${word#!}" != "$word" ]; then
			grep -qFw -e "${word#!}" "$out" || continue
			fail "$shell: '$line'" "${word#!} is offered"
		else
			grep -qFw -e "$word" "$out" && continue
			fail "$shell: '$line'" "$word is not offered"
		fi
		return
	done
	pass "$shell: '$line'"
}

ask_all() {
	local shell=$1
	command -v "$shell" >/dev/null || { skip "$shell: it is not installed"; return; }
	offers "$shell" "posada st" status !pause
	offers "$shell" "posada run --acc" --accel !--append
	offers "$shell" "posada run --accel s" soft !kvm
	offers "$shell" "posada run --on-crash pa" pause !restart
	offers "$shell" "posada run --net t" tap= !user
	offers "$shell" "posada run --kernel kernel-f" kernel-file
	offers "$shell" "posada completion f" fish !zsh
	offers "$shell" "posada status we" web-1 !db-1
	offers "$shell" "posada pause " web-1 db-1
	offers "$shell" "posada restore kernel-f" kernel-file
	offers "$shell" "posada save web-1 kernel-f" kernel-file !web-1.
}

start() {
	"$bin/posada" run --accel soft --kernel "$kernel" --append hw --name "$1" --console stdio </dev/null >"$work/$1.log" 2>&1 &
	jobs_to_end+=($!)
	wait_for "$work/$1.log" hello $! || fail "guest $1 starts" "it says nothing"
}

start web-1
start db-1
for shell in bash zsh fish; do
	ask_all "$shell"
done
