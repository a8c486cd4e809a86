#!/usr/bin/env bats
# sameroot-restore while the applications go on: no store fails because its source moves on, and what is edited before the daemon is back is not reverted.

# shellcheck disable=SC2034,SC2154 # lib.bash reads them, keys of URL

load lib
load disaster

restore() { # ARG...: what it says in $output
	run "$BIN/sameroot-restore" "$@"
	echo "sameroot-restore $*: status $status"
	echo "$output"
}

@test "all stores from webservers that are written to throughout" {
	at_work
	stop datastore
	rm -rf "$T"/datastore/users.db* "$T"/datastore/webstore.db* "$T/datastore/resources"
	restore datastore -c "$T/datastore.conf" --yes --from "${URL[A]}" --store users.db --store webstore.db
	[[ $status -le 1 ]] # 1: some entries changed whenever they were asked for; they come with the union
	restore datastore -c "$T/datastore.conf" --yes --from "${URL[A]}" --from "${URL[B]}"
	[[ $status -le 1 ]] # 1: a file changed whenever it was asked for
	start_datastore
	RETURNED=1 all_is_well A B
}

# NAME PATH: its tree has it
has_in_tree() {
	"$BIN/sameroot" ls "$2" -c "$T/$1.conf" >/dev/null 2>&1
}

@test "from several webservers of different age: what only an older one had, and is edited there before the datastore is back, is not reverted" {
	application make "$T/A"
	start_all
	wait_same
	kill -STOP "${PID[A]}" # falls behind
	value B "INSERT INTO kept VALUES('of B', 'b', NULL)"
	sync_now B
	wait_same datastore B
	stop datastore
	kill -CONT "${PID[A]}"
	restore datastore -c "$T/datastore.conf" --yes --from "${URL[B]}" --path resources/nope
	[ "$status" -eq 66 ]
	value A "INSERT INTO kept VALUES('of A', 'old', NULL)"
	echo old >"$T/A/resources/of A"
	wait_for 'A sees its row' has_in_tree A 'users.db/kept/of%20A'
	wait_for 'A sees its file' has_in_tree A 'resources/of%20A'
	rm -rf "$T"/datastore/users.db* "$T"/datastore/webstore.db* "$T/datastore/resources" "$T"/datastore/state/state.db*
	restore datastore -c "$T/datastore.conf" --yes --from "${URL[A]}" --from "${URL[B]}"
	[ "$status" -eq 0 ]
	[ "$(value datastore "SELECT group_concat(value) FROM (SELECT value FROM kept ORDER BY key)")" = old,b ]
	value A "UPDATE kept SET value = 'new' WHERE key = 'of A'"
	echo new >"$T/A/resources/of A"
	start_datastore
	wait_same
	everywhere "SELECT group_concat(value) FROM (SELECT value FROM kept ORDER BY key)" new,b
	[ "$(cat "$T/datastore/resources/of A" "$T/B/resources/of A")" = "$(printf 'new\nnew')" ]
	[ "$(conflicts A length)$(conflicts B length)" = 00 ] # the old ones are kept at the datastore
	check_databases
}
