# Some of everything that shell scripts do without other programs: arithmetic, strings, case, functions.
count() {
	local n=$1 steps=0
	while [ "$n" -ne 1 ]; do
		if [ $((n % 2)) = 0 ]; then n=$((n / 2)); else n=$((3 * n + 1)); fi
		steps=$((steps + 1))
	done
	total=$((total + steps))
}

round=0
while [ $round -lt "$1" ]; do
	total=0 i=1 text=
	while [ $i -le 100 ]; do
		count $i
		case $i in
		*7*) text=$text,seven ;;
		*[24680]) text=${text#,}$i ;;
		*) text=${text%?} ;;
		esac
		i=$((i + 1))
	done
	echo $total "$text" "$(echo $((total * 3)))"
	round=$((round + 1))
done
