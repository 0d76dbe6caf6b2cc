#!/usr/bin/env bash
# posada.conf: what it says of guests, what goes before what, and what mistakes in it are told.
# shellcheck source=tests/system/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$work" || exit 1
conf=$XDG_CONFIG_HOME/posada/posada.conf
mkdir -p "$(dirname "$conf")"

# says NAME LINE... -- WANTED...: of `posada config --name web` with these lines in the user's file.
says() {
	local name=$1
	shift
	: >"$conf"
	while [ "$1" != -- ]; do
		echo "$1" >>"$conf"
		shift
	done
	shift
	posada 10 config --name web
	expect "$name" 0 "$@"
}

mistake() {
	local name=$1 line=$2 pattern=$3
	printf '# a mistake\n%s\n' "$line" >"$conf"
	posada 10 config
	expect "$name" 1 "^posada: $conf:2: .*$pattern" || return
	posada 10 run --accel soft --kernel "$kernel" --append o
	expect "$name, with run" 1 "^posada: $conf:2: .*$pattern"
}

layers() {
	says "without a file" -- 'memory +512M +default' 'name +web +command line'
	says "for all guests" 'memory = 1G' -- "memory +1G +$conf:1"
	says "for one guest" 'memory = 1G' '[web]' 'memory=2G' '[db]' 'memory=3G' -- "memory +2G +$conf:3" '!3G'
	says "for another" '[db]' 'memory = 1G' -- 'memory +512M +default'
	says "several of one option" 'disk = a b.img' 'disk = c.img' -- "disk +a b.img +$conf:1" "disk +c.img +$conf:2"
	says "a guest's own instead of all" 'disk = a.img' '[web]' 'disk = b.img' -- 'disk +b.img' '!a\.img'
	says "options without a value" 'snapshot = on' 'quiet = on' '[web]' 'quiet = off' -- 'snapshot +on' '!quiet'
	says "comments and space" '  # memory = 1G' ';memory = 1G' '' "	append	=  a = b  " -- "append +a = b +$conf:4" '!1G'
	posada 10 config --config none
	expect "--config none" 0 '!append'
	echo 'cpus = 3' >other.conf
	posada 10 config --config other.conf
	expect "--config FILE" 0 'cpus +3 +other.conf:1' '!append'
	posada 10 config --json
	expect "--json" 0 '"option": "append"' '"value": "a = b"' '"from": ".*posada.conf:4"'
}

# What the guest's kernel prints: how much memory it has, its command line.
of_a_run() {
	printf 'append = ho\nquiet = on\naccel = soft\nkernel = %s\n' "$kernel" >"$conf"
	posada 60 run
	expect "a run by the file alone" 0 hello
	posada 60 run --append o
	expect "the command line goes before the file" 0 '!hello'
}

mistakes() {
	mistake "an unknown option" 'memroy = 1G' "there is no option 'memroy' .did you mean 'memory'"
	mistake "a value that is none" 'memory = much' "memory: 'much' is not a size"
	mistake "no value" 'memory' 'OPTION = VALUE'
	mistake "a value for one that takes none" 'snapshot = yes' "on or off, not 'yes'"
	mistake "a section that isn't closed" '[web' 'section'
	mistake "a name" 'name = web' 'command line only'
	mkdir dir
	posada 10 config --config dir
	expect "a directory" 1 'dir is not a regular file'
	posada 10 config --config missing
	expect "a file that was asked for and is missing" 1 'cannot open missing'
}

# The host's file, by root in a mount namespace of its own.
of_the_host() {
	local before=(unshare -m sh -c 'mount -t tmpfs etc /etc && mkdir /etc/posada && printf "memory = 1G\ncpus = 2\n[web]\ncpus = 3\n" >/etc/posada/posada.conf && exec "$@"' sh)
	if [ "$(id -u)" != 0 ] || ! "${before[@]}" true 2>/dev/null; then
		skip "the host's file: it needs root and a mount namespace"
		return
	fi
	echo 'memory = 2G' >"$conf"
	"${before[@]}" "$bin/posada" config --name web >"$out" 2>&1
	status=$?
	expect "the user's file goes before the host's" 0 "memory +2G +$conf:1" 'cpus +3 +/etc/posada/posada.conf:4'
}

layers
of_a_run
mistakes
of_the_host
