# disaster.bash - for the tests of disasters: applications that write throughout, what goes missing, and the judgement at the end.  After lib.bash.

# As lib.bash's; the deletion limit is switched off, so that it is not what saves the data.
setup() {
	T=$BATS_TEST_TMPDIR
	local name
	for name in datastore A B; do write_config "$name" Max-Delete-Percent=100; done
	mkdir "$T/go-on"
}

application() {
	python3 "$HERE/application.py" "$@"
}

# A has 200 rows and 60 files, and all have them.
all_have_them() {
	application make "$T/A"
	value A "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200) INSERT INTO kept SELECT 'row-' || i, 'v' || i, NULL FROM n"
	for i in {1..60}; do echo "$i" >"$T/A/resources/d1/file-$i"; done
	start_all
	wait_same
	snapshot A
	cp "$T/A.snapshot" "$T/before"
}

# NAME...: an application begins to write there
work() {
	local name
	for name; do
		ROUND=$((${ROUND:-0} + 1))
		rm -f "$T/go-on/$name"
		application work "$T/$name" "$name" "$ROUND" "$T/go-on/$name" >"$T/application-$name.log" 2>&1 3>&- &
		PID[application-$name]=$!
	done
}

# NAME...: ... and makes an end
rest() {
	local name
	for name; do
		[[ -n ${PID[application-$name]:-} ]] || continue
		touch "$T/go-on/$name"
		wait "${PID[application-$name]}" || fail "the application at $name: $(<"$T/application-$name.log")" || return 1
		unset "PID[application-$name]"
	done
}

lines() {
	wc -l <"$T/$1/journal"
}

has_written() { # NAME LINES
	(($(lines "$1") > $2))
}

# A and B have written some more since this was called, and have met the datastore.
worked() {
	local a b
	a=$(lines A) b=$(lines B)
	wait_for 'A has written more' has_written A "$((a + 60))"
	wait_for 'B has written more' has_written B "$((b + 60))"
	sync_now A
	sync_now B
}

# The daemons run, the applications of A and B write.
at_work() {
	application make "$T/A"
	application make "$T/B"
	start_all
	: >>"$T/A/journal"
	: >>"$T/B/journal"
	work A B
	worked
}

# NAME REGEX: status exits 1 and says it (in one line)
says() {
	local status=0
	"$BIN/sameroot" status -c "$T/$1.conf" >"$T/said-$1" 2>&1 || status=$?
	[[ $status -eq 1 ]] && tr -s ' \n' ' ' <"$T/said-$1" | grep -Eq "$2"
}

is_well() {
	"$BIN/sameroot" status -c "$T/$1.conf" >"$T/said-$1" 2>&1
}

has() { # NAME KEY: in its users.db
	[[ -n $(value "$1" "SELECT 1 FROM kept WHERE key = '$2'") ]]
}

# A file of A's comes to B.
goes_on() {
	echo 'goes on' >"$T/A/resources/goes-on"
	wait_for 'the files go on' test -s "$T/B/resources/goes-on"
}

# PATH below $T: it is lost (the judge looks into its conflict archive all the same)
lose() {
	LOST=$((${LOST:-0} + 1))
	if [[ $1 == */state ]]; then mkdir "$T/lost$LOST" && mv "$T/$1" "$T/lost$LOST/state"; else mv "$T/$1" "$T/lost$LOST"; fi
}

# NAME [first]: what its resources are mounted on is empty; first: before there is anything.  Where nothing can be mounted a directory is moved;
# on a webserver, too, for its application renames from beside it.
take_away() {
	local dir=$T/$1/resources
	if [[ ${2:-} == first ]]; then
		mkdir -p "$dir" "$T/mounted"
		[[ $1 != datastore ]] || ! mount --bind "$T/mounted" "$dir" 2>/dev/null || MOUNTED=$dir
	elif [[ -n ${MOUNTED:-} ]]; then
		umount -l "$dir"
		MOUNTED=
	else
		rmdir "$T/mounted"
		mv "$dir" "$T/mounted" && mkdir "$dir"
	fi
}

bring_back() {
	local dir=$T/$1/resources
	if [[ $1 == datastore ]] && mount --bind "$T/mounted" "$dir" 2>/dev/null; then MOUNTED=$dir; else rmdir "$dir" && mv "$T/mounted" "$dir"; fi
}

# NODE ARG...: `sameroot-restore`, as sameroot-recovery(7) has it, but for the configuration and --yes.  It is done also if something was left out, as what the
# source's application changes just then.
restore() {
	local node=$1 role=webserver status=0
	shift
	[[ $node != datastore ]] || role=datastore
	"$BIN/sameroot-restore" "$role" -c "$T/$node.conf" --yes "$@" >"$T/restored" 2>&1 || status=$?
	[[ $status -le 1 ]] && grep -q '^Start sameroot-' "$T/restored" || fail "sameroot-restore $role $*: status $status: $(<"$T/restored")"
}

adopt_union() {
	"$BIN/sameroot" adopt --union --yes -c "$T/datastore.conf" >"$T/adopted" 2>&1 || fail "adopt --union: $(<"$T/adopted")"
}

# [NAME...]: all have the same content and roots, no value is lost, nothing is held any more
all_is_well() {
	local name
	[[ $# -gt 0 ]] || set -- A B
	rest "$@"
	wait_same datastore "$@"
	check_databases
	application judge "$T" "$@" datastore
	for name in datastore "$@"; do wait_for "$name is well" is_well "$name"; done
}
