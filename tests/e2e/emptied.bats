#!/usr/bin/env bats
# A datastore that answers 200 with an empty tree, made by hand: it has the right secret, key and instance, a higher seq, vouches for the deletions, and knows each
# webserver's last push.  Only that everything is gone at once is not believable.

load lib

state() {
	sqlite3 "$T/datastore/state/state.db" "$1"
}

empty_by_hand() {
	stop datastore
	for table in members users groups; do sql "$T/datastore/users.db" "DELETE FROM $table"; done
	for table in dashboards preferences history; do sql "$T/datastore/webstore.db" "DELETE FROM $table"; done
	find "$T/datastore/resources" -mindepth 1 -maxdepth 1 ! -name .sameroot -exec rm -r {} +
	state "DELETE FROM leaf; DELETE FROM root; DELETE FROM journal; DELETE FROM replaced; DELETE FROM deleted;
		UPDATE meta SET value = value + 7 WHERE name = 'seq'"
	start_datastore
	api datastore /api/tree | jq -e '[.stores[] | .leaves] == [0, 0, 0] and all(.stores[]; .approved_seq > 0 and .paused == null)'
}

@test "an empty tree of the same instance, at a plausible point: nothing is deleted, and the operator is told; let through here, it goes" {
	begin
	echo edited >"$T/B/resources/of-B"
	snapshot A && cp "$T/A.snapshot" "$T/before"
	snapshot B && cp "$T/B.snapshot" "$T/before-B"
	empty_by_hand
	for name in A B A; do
		run once $name
		[ "$status" -eq 1 ] || fail "$name: $(cat "$T/$name.once")"
	done
	rm "$T/A/resources/of-B"
	snapshot A && diff -a "$T/before" "$T/A.snapshot"
	snapshot B && diff -a "$T/before-B" "$T/B.snapshot"
	[ "$(cat "$T/datastore/resources/of-B")" = edited ] # what is new goes on
	run "$BIN/sameroot" status -c "$T/A.conf"
	[ "$status" -ne 0 ]
	[[ $output == *'would be deleted here'*'adopt --deletions'* ]]
	value A "UPDATE users SET email = 'edited' WHERE uid = 1"
	round A
	[ "$(value A 'SELECT email FROM users WHERE uid = 1')" = edited ]
	"$BIN/sameroot" adopt --deletions --yes -c "$T/B.conf"
	round B
	[ "$(value B 'SELECT count(*) FROM users')" = 0 ]
}

# --- another program in its place -----------------------------------------------------------------------------------------

craft() { # KIND: the webservers' datastore is crafted.py from now on, until real
	echo "$1" >"$T/kind"
	[[ -n ${PID[crafted]:-} ]] || launch crafted python3 "$HERE/crafted.py" "$DATASTORE_PORT" "$T/kind" "$T"
}

lies_to() { # NAME: three rounds of it with the crafted one; what status says in $output
	local REAL=$DATASTORE_PORT
	DATASTORE_PORT=${URL[crafted]##*:}
	run once "$1"
	[ "$status" -eq 1 ] || fail "$1: $(cat "$T/$1.once")"
	start_webserver "$1"
	sync_now "$1"
	sync_now "$1"
	run "$BIN/sameroot" status -c "$T/$1.conf"
	[ "$status" -eq 1 ] || fail "$output"
	stop "$1"
	DATASTORE_PORT=$REAL
}

no_push() {
	! grep -E 'POST /api/(push|bundle)' "$T/asked"
}

# NAMES: the real one is back; what each saw was ahead of it, so it has to be told
real_again() {
	local name
	for name; do
		run once "$name"
		[ "$status" -eq 1 ] || fail "$name: $(cat "$T/$name.once")"
		grep -q 'history is ahead.*adopt --union' "$T/$name.once"
	done
	"$BIN/sameroot" adopt --union --yes -c "$T/datastore.conf"
	rounds "$@"
}

@test "an empty tree crafted by hand, with no stores, empty ones, or one entry in each: nothing is deleted, status says so, and all goes on afterwards" {
	begin
	snapshot A && cp "$T/A.snapshot" "$T/before"
	for kind in empty one none empty; do
		craft $kind
		lies_to A
		snapshot A && diff -a "$T/before" "$T/A.snapshot"
		case $kind in
		none) [[ $output == *'has no store of this name'*'[store "users.db"]'* ]] || fail "$kind: $output" ;;
		empty) [[ $output == *'resources'*'2 of 3 leaves would be deleted here'*'adopt --deletions'*'it is gone at the datastore'*'adopt --union'* ]] || fail "$kind: $output" ;;
		*) [[ $output == *'table users: 3 of 3 rows would be deleted here'*'adopt --deletions'* ]] || fail "$kind: $output" ;;
		esac
	done
	no_push
	grep -q 'POST /api/tree/nodes' "$T/asked"
	real_again A
	rounds B
	assert_same
	no_conflicts
	value A "UPDATE users SET email = 'edited' WHERE uid = 1"
	rounds A B
	everywhere 'SELECT email FROM users WHERE uid = 1' edited
}

@test "a store of a few rows that is empty all at once is held, by whomever; the last row alone goes" {
	sql "$T/A/users.db" "CREATE TABLE users(uid INTEGER PRIMARY KEY, name TEXT); INSERT INTO users VALUES(1, 'Ada'), (2, 'Bert'), (3, 'Carol')"
	mkdir "$T/A/resources" && echo one >"$T/A/resources/one"
	start_datastore
	rounds A B
	craft bare
	lies_to A
	[[ $output == *'table users: 3 of 3 rows would be deleted here'*'1 of 1 leaves would be deleted here'* ]] || fail "$output"
	no_push
	real_again A
	rounds B
	assert_same
	everywhere 'SELECT count(*) FROM users' 3
	no_conflicts

	value A 'DELETE FROM users'
	run once A
	[ "$status" -eq 1 ]
	rounds B
	run "$BIN/sameroot" status -c "$T/A.conf"
	[[ $output == *'table users: 3 of 3 rows would be deleted everywhere'*'adopt --deletions'* ]] || fail "$output"
	"$BIN/sameroot" adopt --deletions --yes -c "$T/A.conf"
	rounds A B
	everywhere 'SELECT count(*) FROM users' 0
	value A "INSERT INTO users VALUES(4, 'Dora')"
	rounds A B
	value B 'DELETE FROM users'
	rounds B A
	everywhere 'SELECT count(*) FROM users' 0

	mkdir "$T/A/resources/empty" && echo two >"$T/A/resources/two"
	rounds A B
	rm -r "$T"/datastore/resources/{one,two,empty}
	kill -USR1 "${PID[datastore]}"
	wait_for 'it is held' is_held
	round B
	[ "$(cat "$T/B/resources/one" "$T/B/resources/two")" = $'one\ntwo' ]
	"$BIN/sameroot" adopt --deletions --yes -c "$T/datastore.conf"
	wait_for 'it goes' is_ready
	rounds A B
	[ ! -e "$T/B/resources/one" ]
	assert_same
}

is_held() {
	status_of datastore '.stores[2] | .mode == "paused" and .held[0].deletions == 2'
}

is_ready() {
	status_of datastore '.stores[2] | .mode == "ready" and .leaves == 0'
}
