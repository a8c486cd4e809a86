#!/usr/bin/env bats
# The deletion limit: too many deletions at once wait for the operator, who lets them through once, wherever they are held.

# shellcheck disable=SC2154 # keys of PID

load lib

# NODE: 20 rows in `history`, a few in other tables, and 20 files
fill_many() {
	fill "$1"
	sql "$T/$1/webstore.db" "DELETE FROM history; WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20) INSERT INTO history SELECT i, 1, 'q' || i FROM n"
	mkdir "$T/$1/resources/many"
	for i in {1..20}; do echo "$i" >"$T/$1/resources/many/$i"; done
}

rows() {
	sql "$T/$1/webstore.db" 'SELECT count(*) FROM history'
}

preferences() {
	sql "$T/$1/webstore.db" 'SELECT count(*) FROM preferences'
}

files() {
	find "$T/$1/resources/many" -type f | wc -l
}

waits() { # NAME: a round in which something is held
	run once "$1"
	[ "$status" -eq 1 ] || fail "$1: status $status: $(cat "$T/$1.once")"
}

shows() { # NAME WORD...: in its status, and that it is not well
	local node=$1 word
	shift
	run "$BIN/sameroot" status -c "$T/$node.conf"
	[ "$status" -ne 0 ]
	for word; do [[ $output == *"$word"* ]] || fail "no $word in: $output"; done
}

adopt() {
	"$BIN/sameroot" adopt --deletions --yes -c "$T/$1.conf"
}

mode_is() { # MODE: of the datastore's directory tree
	[[ $(status_of datastore '.stores[2].mode') == "$1" ]]
}

root_moved() { # ROOT
	[[ $(root_of datastore) != "$1" ]] && mode_is ready
}

held_units() { # N: at the datastore
	(($(status_of datastore '[.stores[].held | length] | add') == $1))
}

@test "what a webserver deletes over the limit waits there; approved there, nobody else holds it" {
	fill_many A
	start_datastore
	rounds A B
	sql "$T/A/webstore.db" "DELETE FROM history WHERE id > 8; UPDATE dashboards SET title = 'waits' WHERE id = 'd-1'"
	rm "$T"/A/resources/many/{1..19} "$T/A/resources/hosts.csv"
	sql "$T/A/users.db" "UPDATE users SET email = 'goes on' WHERE uid = 2"
	echo 'goes on' >"$T/A/resources/new"
	waits A
	waits A
	rounds B
	[ "$(rows datastore) $(files datastore) $(rows B) $(files B)" = '20 20 20 20' ]
	[ -e "$T/B/resources/hosts.csv" ]
	[ "$(cat "$T/B/resources/new")" = 'goes on' ]
	[ "$(sql "$T/B/users.db" 'SELECT email FROM users WHERE uid = 2')" = 'goes on' ]
	[ "$(sql "$T/B/webstore.db" "SELECT title FROM dashboards WHERE id = 'd-1'")" = Load ] # the database waits as a whole
	shows A 'table history: 12 of 20 rows would be deleted everywhere' '20 of 24 leaves' 'adopt --deletions' 'since'
	adopt A
	rounds A B
	[ "$(rows datastore) $(files datastore) $(rows B) $(files B)" = '8 1 8 1' ]
	assert_same
	sql "$T/A/webstore.db" "DELETE FROM history WHERE id > 5" # what was approved does not count against what follows
	rounds A B
	[ "$(rows B)" -eq 5 ]
}

@test "put back, it is held no more; small steps add up" {
	fill_many A
	start_datastore
	rounds A B
	mv "$T/A/resources/many" "$T/aside"
	waits A
	mv "$T/aside" "$T/A/resources/many"
	rounds A
	run adopt A
	[[ $output == *'No deletions are held'* ]]
	rm "$T"/A/resources/many/{1..9}
	rounds A
	rm "$T"/A/resources/many/{10..13} # 13 of 25, within the hour
	waits A
	rounds B
	[ "$(files B)" -eq 11 ]
	rm -r "$T/A/resources/many" # more than was seen so far
	adopt A
	waits A
	adopt A
	rounds A B
	[ ! -e "$T/B/resources/many" ]
}

@test "what is moved is not deleted; Max-Delete-Percent=100 switches the limit off, for one table" {
	for node in datastore A B; do
		printf '%s\n' '[store "webstore.db"]' 'Max-Delete-Percent=history:100' >>"$T/$node.conf"
	done
	fill_many A
	start_datastore
	rounds A B
	mv "$T/A/resources/many" "$T/A/resources/moved"
	sql "$T/A/webstore.db" 'DELETE FROM history'
	rounds A B
	[ "$(find "$T/B/resources/moved" -type f | wc -l)" -eq 20 ]
	[ ! -e "$T/B/resources/many" ]
	[ "$(rows B)" -eq 0 ]
	assert_same
}

@test "direct deletions at the datastore: its store stays in the tree as it was, until they are put back or approved" {
	fill_many A
	start_datastore
	rounds A B
	mv "$T/datastore/resources/many" "$T/aside" # at once: what it sees gone bit by bit may be below the limit at first
	kill -USR1 "${PID[datastore]}"
	wait_for 'it is held' mode_is paused
	shows datastore '20 of 23 leaves were deleted directly' 'adopt --deletions'
	[[ $output != *'see to what the reason names'* ]]
	echo more >"$T/A/resources/more"
	sql "$T/A/users.db" "UPDATE users SET email = 'goes on' WHERE uid = 2"
	waits A
	waits B
	[ "$(files B)" -eq 20 ]
	[ "$(sql "$T/B/users.db" 'SELECT email FROM users WHERE uid = 2')" = 'goes on' ]
	mv "$T/aside" "$T/datastore/resources/many"
	kill -USR1 "${PID[datastore]}"
	wait_for 'it goes on' mode_is ready
	rounds A B
	assert_same

	mv "$T/datastore/resources/many" "$T/aside"
	root=$(root_of datastore)
	stop datastore
	start_datastore
	shows datastore 'were deleted directly'
	adopt datastore
	wait_for 'it is let go' root_moved "$root"
	rounds A B
	[ ! -e "$T/B/resources/many" ]
	assert_same
}

@test "a scan of the datastore in the midst of an rm: nothing goes while more follow, and all of it is held; what rests goes" {
	fill_many A
	start_datastore
	rounds A B
	stop datastore
	edit_config datastore Datastore-Update-Interval= Datastore-Update-Interval=120
	start_datastore
	rounds A B
	rm "$T"/datastore/resources/many/{1..10}
	kill -USR1 "${PID[datastore]}"
	wait_for 'they wait' shows datastore 'files are being deleted directly: 10 so far' 'when no more follow'
	waits B
	[ "$(files B)" -eq 20 ]
	rm -r "$T/datastore/resources/many"
	kill -USR1 "${PID[datastore]}"
	wait_for 'all of it is held' shows datastore '20 of 23 leaves were deleted directly' 'adopt --deletions'
	waits B
	[ "$(files B)" -eq 20 ]
	cp -a "$T/B/resources/many" "$T/datastore/resources/many"
	kill -USR1 "${PID[datastore]}"
	wait_for 'it goes on' mode_is ready
	rounds A B
	assert_same

	rm "$T"/datastore/resources/many/{1..10}
	root=$(root_of datastore)
	stop datastore
	edit_config datastore Datastore-Update-Interval= Datastore-Update-Interval=1
	start_datastore
	wait_for 'what rests goes' root_moved "$root"
	rounds A B
	[ "$(files B)" -eq 10 ]
	assert_same
}

@test "the datastore holds what several webservers delete together; approved at one of them, or there" {
	fill_many A
	start_datastore
	rounds A B
	sql "$T/A/webstore.db" 'DELETE FROM history WHERE id <= 6'
	rm "$T"/A/resources/many/{1..7}
	rounds A
	sql "$T/B/webstore.db" 'DELETE FROM history WHERE id > 14'
	rm "$T"/B/resources/many/{14..20}
	waits B
	[ "$(rows datastore) $(files datastore)" = '14 13' ]
	shows B 'table history: 6 of 14 rows' 'adopt --deletions'
	kill -USR1 "${PID[datastore]}"
	wait_for 'it is shown there' held_units 2
	shows datastore 'table history: 6 of 14 rows would be deleted by a webserver'
	adopt B
	rounds B A
	[ "$(rows A) $(files A)" = '8 6' ]
	assert_same

	sql "$T/A/webstore.db" 'INSERT INTO history SELECT id + 100, 1, query FROM history UNION SELECT id + 200, 1, query FROM history'
	rounds A B
	sql "$T/A/webstore.db" 'DELETE FROM history WHERE id < 12' # 5, and 6 before, of 24
	rounds A
	sql "$T/B/webstore.db" 'DELETE FROM history WHERE id > 200' # 8: too many with the 5
	waits B
	adopt datastore
	rounds B A
	[ "$(rows A)" -eq 11 ]
	assert_same
}

@test "a webserver holds what it would pull from a datastore that does not judge; approved on either" {
	for node in datastore A; do edit_config $node Control-Auth-File= "Control-Auth-File=$T/control-auth\nMax-Delete-Percent=100"; done
	fill_many A
	write_config C
	start_datastore
	rounds A B C
	sql "$T/A/webstore.db" 'DELETE FROM history WHERE id > 5'
	rm -r "$T/A/resources/many"
	rounds A
	[ "$(rows datastore)" -eq 5 ]
	waits B
	waits C
	[ "$(rows B) $(files B)" = '20 20' ]
	shows B 'table history: 15 of 20 rows would be deleted here'
	adopt B
	rounds B
	assert_same datastore B
	waits C
	adopt datastore
	rounds C
	assert_same datastore C
}

@test "a webserver holds its own, whatever the datastore would take; approved there, others do not hold it when they pull" {
	edit_config datastore Control-Auth-File= "Control-Auth-File=$T/control-auth\nMax-Delete-Percent=100"
	fill_many A
	start_datastore
	rounds A B
	sql "$T/A/webstore.db" "DELETE FROM history WHERE id > 8; UPDATE dashboards SET title = 'waits' WHERE id = 'd-1'"
	waits A
	[ "$(rows datastore)" -eq 20 ]
	[ "$(sql "$T/datastore/webstore.db" "SELECT title FROM dashboards WHERE id = 'd-1'")" = Load ]
	adopt A
	rounds A B
	[ "$(rows B)" -eq 8 ]
	assert_same
}

@test "with daemons: held, shown, let through at once; a question that nobody answers is refused" {
	fill_many A
	start_all
	wait_same
	sql "$T/A/webstore.db" 'DELETE FROM history'
	wait_for 'it is held' eval '[[ $(status_of A "[.stores[].held | length] | add") == 1 ]]'
	sync_now B
	[ "$(rows B)" -eq 20 ]
	run "$BIN/sameroot" adopt --deletions -c "$T/A.conf" </dev/null
	[ "$status" -eq 64 ]
	[[ $output == *'table history: 20 of 20 rows'* ]]
	run "$BIN/sameroot" adopt --deletions --union --yes -c "$T/A.conf"
	[ "$status" -eq 64 ]
	adopt A
	wait_same
	[ "$(rows B)" -eq 0 ]
	run "$BIN/sameroot" status -c "$T/A.conf"
	[ "$status" -eq 0 ]
}

@test "rows without a key that are all updated are not deleted" {
	fill A
	sql "$T/A/webstore.db" "CREATE TABLE log(a, b); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300) INSERT INTO log SELECT i, 'x' FROM n"
	start_datastore
	rounds A B
	sql "$T/A/webstore.db" "UPDATE log SET b = 'y'"
	rounds A B
	[ "$(sql "$T/B/webstore.db" "SELECT count(*) FROM log WHERE b = 'y'")" -eq 300 ]
	sql "$T/A/webstore.db" "DELETE FROM log"
	waits A
}

@test "a small table in which as many rows come as go is not held" {
	fill A
	sql "$T/A/webstore.db" "CREATE TABLE queue(id INTEGER PRIMARY KEY AUTOINCREMENT, job); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 12) INSERT INTO queue(job) SELECT i FROM n"
	start_datastore
	rounds A B
	for i in {1..8}; do
		sql "$T/A/webstore.db" "DELETE FROM queue WHERE id IN (SELECT id FROM queue ORDER BY id LIMIT 2); INSERT INTO queue(job) VALUES($i), ($i)"
		rounds A
	done
	for i in {1..8}; do # one after the other
		sql "$T/A/webstore.db" "INSERT INTO queue(job) VALUES($i), ($i)"
		rounds A
		sql "$T/A/webstore.db" "DELETE FROM queue WHERE id IN (SELECT id FROM queue ORDER BY id LIMIT 2)"
		rounds A
	done
	rounds B
	[ "$(sql "$T/B/webstore.db" "SELECT count(*) FROM queue")" -eq 12 ]
	sql "$T/A/webstore.db" "DELETE FROM queue WHERE job > 1"
	waits A
}

few() { # NAME: how many files are left in it
	find "$T/$1/resources" -maxdepth 1 -type f | wc -l
}

@test "all files of a small store are deleted on one webserver, while others edit some: the rest waits all the same" {
	mkdir "$T/A/resources"
	for i in 1 2 3 4 5; do echo "$i" >"$T/A/resources/$i"; done
	start_datastore
	rounds A B
	rm "$T"/B/resources/?
	echo edited >"$T/A/resources/1"
	rounds A
	waits B
	[ "$(few datastore) $(few B)" = '5 1' ]
	echo edited >"$T/A/resources/2"
	rounds A
	waits B
	waits B
	[ "$(few datastore) $(few A) $(few B)" = '5 5 2' ]
	shows B '3 of 5 leaves would be deleted everywhere' 'adopt --deletions'
	adopt B
	rounds B A
	[ "$(few datastore) $(few A) $(few B)" = '2 2 2' ]
	assert_same
}

@test "what waits to be deleted here, and is deleted at the datastore, does not come back, however often adopt --union is said meanwhile" {
	write_config C
	fill A
	sql "$T/A/webstore.db" "DELETE FROM dashboards; DELETE FROM history; DELETE FROM preferences WHERE name = 'rows'"
	start_datastore
	rounds A B C
	sql "$T/A/webstore.db" 'DELETE FROM preferences WHERE owner = 1'
	rounds A
	sql "$T/B/webstore.db" 'DELETE FROM preferences WHERE owner = 2'
	rounds B A B
	waits C
	for _ in 1 2 3; do
		"$BIN/sameroot" adopt --union --yes -c "$T/datastore.conf"
		round C A B C
		for name in datastore A B; do [ "$(preferences $name)" = 0 ]; done
		[ "$(preferences C)" = 2 ]
	done
	shows C 'table preferences: 2 of 2 rows would be deleted here'
	adopt C
	rounds C A B
	for name in datastore A B C; do [ "$(preferences $name)" = 0 ]; done
	assert_same datastore A B C
}
