#!/usr/bin/env bats
# Sequences of events that a review of the round found: crashes between two steps, answers that say "nothing new", things that cannot be
# seen, stores that fail halfway.  In each, no value may be lost and nothing may be deleted that nobody deleted.

# shellcheck disable=SC2034 # lib.bash reads them

load lib
load interpose
load review

# --- helpers ------------------------------------------------------------------------------------------------------------

seq_of() {
	api datastore /api/tree | jq -er .seq
}

# The datastore has looked at its stores since
datastore_scanned() {
	sleep 1.5
}

# --- what the datastore cannot see --------------------------------------------------------------------------------------

@test "a file that the datastore cannot see is deleted nowhere, whatever else is pushed meanwhile" {
	fill A
	start_datastore
	rounds A B A
	cp -p "$T/datastore/resources/hosts.csv" "$T/aside"
	ln -s "$T/aside" "$T/link"
	mv -T "$T/link" "$T/datastore/resources/hosts.csv" # at once: a scan between two steps would see a deletion
	datastore_scanned
	echo other >"$T/A/resources/other"
	round A B A
	[ "$(cat "$T/B/resources/other")" = other ]
	[ "$(cat "$T/A/resources/hosts.csv")" = 'a table' ]
	[ "$(cat "$T/B/resources/hosts.csv")" = 'a table' ]
	rm "$T/datastore/resources/hosts.csv"
	mv "$T/aside" "$T/datastore/resources/hosts.csv"
	datastore_scanned
	rounds A B
	assert_same
}

@test "a directory in which all that is left cannot be seen is deleted nowhere" {
	fill A
	start_datastore
	rounds A B A
	mv "$T/A/resources/img/logo" "$T/aside"
	ln -s "$T/aside" "$T/A/resources/img/logo"
	round A B A
	[ -f "$T/B/resources/img/logo" ]
	[ -f "$T/datastore/resources/img/logo" ]
	grep -q 'refused' "$T/A.log" && fail "it is pushed again and again"
	rm "$T/A/resources/img/logo"
	rounds A B
	[ ! -e "$T/B/resources/img/logo" ]
	[ -d "$T/B/resources/img" ]
	assert_same
}

@test "what was unseen and is gone when it can be seen again is a deletion like any other" {
	fill A
	start_all
	wait_same
	rm "$T/A/resources/hosts.csv"
	ln -s nowhere "$T/A/resources/hosts.csv"
	sync_now A
	sync_now A
	rm "$T/A/resources/hosts.csv"
	wait_for 'the deletion' test ! -e "$T/B/resources/hosts.csv"
	wait_same
	stop A
	[ "$(sqlite3 "$T/A/state/state.db" 'SELECT count(*) FROM leaf WHERE base_state <> 3')" = 0 ]
}

# --- a refused push ------------------------------------------------------------------------------------------------------

@test "a refused push does not make every base unknown: other deletions and edits of its round go through" {
	fill A
	start_datastore
	rounds A B A
	cp -p "$T/datastore/resources/hosts.csv" "$T/aside"
	ln -s "$T/aside" "$T/link"
	mv -T "$T/link" "$T/datastore/resources/hosts.csv" # at once: a scan between two steps would see a deletion
	datastore_scanned
	echo edited >"$T/A/resources/hosts.csv"
	rm "$T/A/resources/img/logo"
	value A "UPDATE users SET email = 'new' WHERE uid = 2; DELETE FROM members WHERE uid = 3"
	round A
	[ "$(grep -c 'bases are taken as unknown' "$T/A.log")" = 0 ]
	[ ! -e "$T/A/resources/img/logo" ]
	[ "$(cat "$T/A/resources/hosts.csv")" = edited ]
	[ "$(value A 'SELECT email FROM users WHERE uid = 2')" = new ]
	round B
	[ ! -e "$T/B/resources/img/logo" ]
	[ "$(value B 'SELECT email FROM users WHERE uid = 2')" = new ]
	[ "$(value B 'SELECT count(*) FROM members')" = 2 ]
	[ "$(conflicts A length)" = 0 ]
}

# --- a new epoch ---------------------------------------------------------------------------------------------------------

in_sync() {
	status_of "$1" .in_sync | grep -qx true
}

@test "daemons are in sync again after a union was adopted over equal content" {
	fill A
	start_all
	wait_same
	wait_for 'A is in sync' in_sync A
	admin datastore /api/admin/adopt -d '{"what": "union"}' >/dev/null
	sync_now A
	wait_for 'A is in sync' in_sync A
	wait_for 'B is in sync' in_sync B
	echo after >"$T/A/resources/after"
	wait_same
}

# --- applies that fail halfway -------------------------------------------------------------------------------------------

@test "one file that cannot be put in place does not make the bases of all others unknown" {
	fill A
	start_datastore
	rounds A B A
	echo new >"$T/A/resources/hosts.csv"
	echo more >"$T/A/resources/more"
	rounds A
	round_with B RENAME_FAILS=hosts.csv || true
	[ "$(cat "$T/B/resources/more")" = more ]
	[ "$(cat "$T/B/resources/hosts.csv")" = 'a table' ]
	rm "$T/B/resources/img/logo"
	rmdir "$T/B/resources/empty"
	rounds B A
	[ "$(grep -c 'a copy was put in its place' "$T/B.log")" = 0 ]
	[ ! -e "$T/A/resources/img/logo" ]
	[ ! -e "$T/A/resources/empty" ]
	[ "$(cat "$T/B/resources/hosts.csv")" = new ]
	assert_same
}

@test "a row that was in the way goes back to the datastore's version, and is deleted nowhere" {
	in_the_way
	round A
	rounds A B
	assert_same
	[ "$(value datastore 'SELECT name FROM users WHERE uid = 2')" = Bert ]
	[ "$(value datastore 'SELECT name FROM users WHERE uid = 20')" = Bob ]
	conflicts A 'map(select(.reason == "unique")) | length' | grep -qx 1
	check_databases
}

@test "a row that was in the way is not pushed in the same round, when what it stood in the way of is gone at the datastore" {
	in_the_way
	cat >"$T/hook" <<-END
		#!/bin/sh
		exec >>$T/hook.log 2>&1
		sqlite3 "$T/B/users.db" 'DELETE FROM users WHERE uid = 20'
		"$BIN/sameroot-sync" --once -c "$T/B.conf"
	END
	chmod +x "$T/hook"
	# the first sync of the database that A's round makes is that of the commit that took the row out of the way
	round_with A HOOK="$T/hook" HOOK_AT=1 HOOK_FILE=A/users.db-wal || true
	cat "$T/hook.log"
	round A B A B
	rounds A B
	assert_same
	[ "$(value datastore 'SELECT count(*) FROM users WHERE uid = 2')" = 1 ]
}

@test "an edit whose row was to be taken out of the way stays an edit when that fails" {
	fill A delete
	start_datastore
	rounds A B A
	value B "INSERT INTO users VALUES(20, 'Bob', 'b@example.org', 0)"
	rounds B
	value A "UPDATE users SET name = 'Bob', email = 'edit' WHERE uid = 2"
	# a reader keeps a rollback journal's COMMIT from happening
	mkfifo "$T/fifo"
	sqlite3 "$T/A/users.db" <"$T/fifo" >/dev/null 2>&1 3>&- &
	reader=$!
	exec 9>"$T/fifo"
	echo 'BEGIN; SELECT count(*) FROM users;' >&9
	sleep 0.5
	round A
	echo 'COMMIT;' >&9
	exec 9>&-
	wait $reader
	[ "$(value A 'SELECT name FROM users WHERE uid = 2')" = Bob ]
	value B 'DELETE FROM users WHERE uid = 20'
	rounds B A B
	assert_same
	[ "$(value datastore 'SELECT name || email FROM users WHERE uid = 2')" = Bobedit ]
}

# --- unions that do not end ----------------------------------------------------------------------------------------------

@test "a new file stays though one of its name was deleted long ago, while something else cannot be seen" {
	fill A
	start_datastore
	mkdir -p "$T/B/resources"
	ln -s nowhere "$T/B/resources/hosts.csv"
	rounds A
	round B
	echo old >"$T/A/resources/report"
	rounds A
	rm "$T/A/resources/report"
	rounds A
	round B
	echo new >"$T/B/resources/report"
	round B
	rounds A
	[ "$(cat "$T/B/resources/report")" = new ]
	[ "$(cat "$T/A/resources/report")" = new ]
}

@test "a new row stays though one of its key was deleted long ago, while a table is not here yet" {
	fill A
	sql "$T/A/users.db" "CREATE TABLE later(id INTEGER PRIMARY KEY); INSERT INTO later VALUES(1)"
	sql "$T/B/users.db" "PRAGMA journal_mode=wal; $USERS_SCHEMA" >/dev/null
	start_datastore
	rounds A
	round B
	value A "INSERT INTO users VALUES(50, 'Old', NULL, 0)"
	rounds A
	value A 'DELETE FROM users WHERE uid = 50'
	rounds A
	round B
	value B "INSERT INTO users VALUES(50, 'New', NULL, 0)"
	round B
	rounds A
	[ "$(value B 'SELECT name FROM users WHERE uid = 50')" = New ]
	[ "$(value A 'SELECT name FROM users WHERE uid = 50')" = New ]
}

# --- quiet rounds --------------------------------------------------------------------------------------------------------

skipped_of() {
	status_of "$1" "[.stores[].skipped] | add"
}

@test "what is left alone is counted in quiet rounds too" {
	fill A
	mkdir -p "$T/B/resources"
	ln -s nowhere "$T/B/resources/hosts.csv"
	start_all
	wait_for 'B has the rest' test -e "$T/B/resources/img/logo"
	for n in 1 2 3; do
		sync_now B
		[ "$(skipped_of B)" -ge 1 ]
		! in_sync B
	done
}

@test "what changed while a store was paused at the datastore is pushed when it is back" {
	fill A
	start_all
	wait_same
	mv "$T/datastore/resources" "$T/aside"
	datastore_scanned
	echo edited >"$T/A/resources/hosts.csv"
	touch "$T/A/users.db"
	value A "UPDATE users SET email = 'moves the root' WHERE uid = 1"
	sync_now A
	sync_now A
	mv "$T/aside" "$T/datastore/resources"
	wait_for 'the edit' grep -q edited "$T/datastore/resources/hosts.csv"
	wait_same
}

@test "a file made anew after a crash at the end of its deletion stays" {
	fill A
	start_datastore
	rounds A B A
	rm "$T/A/resources/hosts.csv"
	rounds A
	round_with B CRASH_AT=1 CRASH_FILE='unlink /' || true # what was displaced is let go
	[ ! -e "$T/B/resources/hosts.csv" ]
	echo anew >"$T/B/resources/hosts.csv"
	rounds B A
	[ "$(cat "$T/B/resources/hosts.csv")" = anew ]
	[ "$(cat "$T/A/resources/hosts.csv")" = anew ]
}

# --- unions: whose version wins ------------------------------------------------------------------------------------------

adopt_union() {
	admin datastore /api/admin/adopt -d '{"what": "union"}' >/dev/null
}

@test "after a new epoch an edit of what the datastore still has is pushed, and one of what it has no more is archived" {
	fill A
	start_datastore
	rounds A B A
	value A "UPDATE users SET email = 'of A' WHERE uid IN (1, 2)"
	value B "UPDATE users SET email = 'of B' WHERE uid = 1"
	rounds B # B's is committed; A has not been here since
	adopt_union
	rounds A B A
	assert_same
	[ "$(value datastore 'SELECT email FROM users WHERE uid = 2')" = 'of A' ]
	[ "$(value datastore 'SELECT email FROM users WHERE uid = 1')" = 'of B' ]
	conflicts A 'map(.reason)' | grep -q union
}

@test "a push whose answer was lost stays known though its database is locked when it is asked for" {
	fill A delete
	start_datastore
	start_proxy
	rounds A B A
	value A "UPDATE users SET email = 'pushed' WHERE uid = 2"
	tamper push-lost 1
	once A || true
	[ "$(value datastore 'SELECT email FROM users WHERE uid = 2')" = pushed ]
	value A "UPDATE users SET email = 'edited since' WHERE uid = 2"
	mkfifo "$T/fifo"
	sqlite3 "$T/A/users.db" <"$T/fifo" >/dev/null 2>&1 3>&- &
	holder=$!
	exec 9>"$T/fifo"
	echo 'BEGIN EXCLUSIVE;' >&9
	sleep 0.5
	once A || true
	echo 'COMMIT;' >&9
	exec 9>&-
	wait $holder
	rounds A B
	[ "$(value datastore 'SELECT email FROM users WHERE uid = 2')" = 'edited since' ]
	[ "$(value A 'SELECT email FROM users WHERE uid = 2')" = 'edited since' ]
	assert_same
}

# --- what the datastore cannot send --------------------------------------------------------------------------------------

@test "one file that the datastore cannot send keeps nothing else from a new webserver" {
	fill A
	start_datastore
	rounds A
	cp -p "$T/datastore/resources/hosts.csv" "$T/aside"
	ln -s "$T/aside" "$T/link"
	mv -T "$T/link" "$T/datastore/resources/hosts.csv" # at once: a scan between two steps would see a deletion
	datastore_scanned
	round B
	[ -f "$T/B/resources/img/logo" ]
	[ "$(value B 'SELECT count(*) FROM users')" = 3 ]
	echo 'from B' >"$T/B/resources/new"
	round B
	[ "$(cat "$T/datastore/resources/new")" = 'from B' ]
	rm "$T/datastore/resources/hosts.csv"
	mv "$T/aside" "$T/datastore/resources/hosts.csv"
	datastore_scanned
	rounds B A
	assert_same
}

# --- foreign keys --------------------------------------------------------------------------------------------------------

@test "a child that is added here while its parent is deleted there does not stay without a parent" {
	fill A
	start_datastore
	rounds A B A
	value A 'PRAGMA foreign_keys=ON; DELETE FROM users WHERE uid = 2'
	value B "INSERT INTO members VALUES(2, 1, 'new')"
	rounds A
	round B A B A B
	rounds A B
	assert_same
	check_databases
	conflicts B 'map(select(.path | test("members"))) | length' | grep -qx 1
}

@test "a row that was in the way and is new takes the rows with it that refer to it" {
	fill A
	start_datastore
	rounds A B A
	value B "INSERT INTO users VALUES(20, 'Bob', 'b@example.org', 0)"
	rounds B
	value A "INSERT INTO users VALUES(21, 'bob', NULL, 0); INSERT INTO members VALUES(21, 1, 'x')"
	round A B A B
	rounds A B
	assert_same
	check_databases
	[ "$(value datastore "SELECT count(*) FROM users WHERE name = 'bob'")" = 1 ]
	conflicts A length | grep -qx 2
}

# --- one that cannot go must not hold up the others ----------------------------------------------------------------------

@test "a row that the datastore's database refuses holds up nothing in other stores" {
	fill A
	sql "$T/A/webstore.db" 'CREATE TABLE positive(id INTEGER PRIMARY KEY, v CHECK(v > 0)); INSERT INTO positive VALUES(1, 1)'
	start_datastore
	rounds A B A
	sql "$T/A/webstore.db" 'PRAGMA ignore_check_constraints=1; INSERT INTO positive VALUES(2, -2)'
	value A "UPDATE users SET email = 'new' WHERE uid = 2"
	echo new >"$T/A/resources/new"
	round A A B
	[ "$(value B 'SELECT email FROM users WHERE uid = 2')" = new ]
	[ "$(cat "$T/B/resources/new")" = new ]
}

@test "a file that is too large for the datastore holds up nothing else" {
	write_config datastore Resource-Max-Size=300000
	fill A
	start_datastore
	rounds A B A
	head -c 400000 /dev/zero >"$T/A/resources/large"
	value A "UPDATE users SET email = 'new' WHERE uid = 2"
	echo new >"$T/A/resources/new"
	round A A B
	[ "$(value B 'SELECT email FROM users WHERE uid = 2')" = new ]
	[ "$(cat "$T/B/resources/new")" = new ]
}

@test "a database of the webserver that is locked for long holds up nothing in other stores" {
	fill A delete
	start_datastore
	rounds A B A
	mkfifo "$T/fifo"
	sqlite3 "$T/A/webstore.db" <"$T/fifo" >/dev/null 2>&1 3>&- &
	holder=$!
	exec 9>"$T/fifo"
	echo "UPDATE dashboards SET title = 'x' WHERE id = 'd-1'; BEGIN; SELECT count(*) FROM dashboards;" >&9
	sleep 0.5
	value A "UPDATE users SET email = 'new' WHERE uid = 2"
	round A
	echo 'COMMIT;' >&9
	exec 9>&-
	wait $holder
	[ "$(value datastore 'SELECT email FROM users WHERE uid = 2')" = new ]
	rounds A B
	assert_same
}

# --- a store that is put back between a crash and the next start -------------------------------------------------------------

@test "an older copy of the files that was put back after a crash in the middle of a pull is no deletion of anything" {
	fill A
	start_datastore
	rounds A B A
	cp -a "$T/B/resources" "$T/backup"
	echo later >"$T/A/resources/later"
	rounds A B
	echo new >"$T/A/resources/new"
	rounds A
	round_with B CRASH_AT=1 CRASH_FILE='rename /' || true
	rm -r "$T/B/resources"
	cp -a "$T/backup" "$T/B/resources"
	rounds B A
	[ "$(cat "$T/A/resources/later")" = later ]
	[ "$(cat "$T/A/resources/new")" = new ]
	assert_same
}

@test "files that were put back after a crash in the middle of a pull: what was being pulled is deleted nowhere" {
	fill A
	start_datastore
	rounds A B A
	cp -a "$T/B/resources" "$T/backup"
	echo new >"$T/A/resources/new"
	echo edited >"$T/A/resources/hosts.csv"
	rounds A
	round_with B CRASH_AT=1 CRASH_FILE='rename /' || true
	rm -r "$T/B/resources"
	cp -a "$T/backup" "$T/B/resources"
	rounds B A
	[ "$(cat "$T/datastore/resources/new")" = new ]
	[ "$(cat "$T/A/resources/new")" = new ]
	[ "$(cat "$T/A/resources/hosts.csv")" = edited ]
	assert_same
}

@test "the same, in place and with a marker that is the last one" {
	fill A
	start_datastore
	rounds A B A
	echo new >"$T/A/resources/new"
	echo edited >"$T/A/resources/hosts.csv"
	rounds A
	cp -a "$T/B/resources" "$T/backup"
	round_with B CRASH_AT=1 CRASH_FILE='rename /' || true
	find "$T/B/resources" -mindepth 1 -delete
	cp -a "$T/backup/." "$T/B/resources"
	rounds B A
	[ "$(cat "$T/A/resources/new")" = new ]
	[ "$(cat "$T/A/resources/hosts.csv")" = edited ]
	assert_same
}

@test "files of the datastore that were put back after a crash in the middle of a push: what was being pushed is deleted nowhere" {
	fill A
	start_datastore
	rounds A B A
	stop datastore
	cp -a "$T/datastore/resources" "$T/backup"
	echo new >"$T/A/resources/new"
	echo edited >"$T/A/resources/hosts.csv"
	interpose
	LD_PRELOAD="$PRELOAD" CRASH_AT=1 CRASH_FILE='rename /' launch datastore "$BIN/sameroot-datastore" -c "$T/datastore.conf"
	DATASTORE_PORT=${URL[datastore]##*:}
	once A || true
	wait "${PID[datastore]}" || true
	unset "PID[datastore]"
	rm -r "$T/datastore/resources"
	cp -a "$T/backup" "$T/datastore/resources"
	start_datastore
	rounds A B A
	[ "$(cat "$T/A/resources/new")" = new ]
	[ "$(cat "$T/B/resources/new")" = new ]
	[ "$(cat "$T/B/resources/hosts.csv")" = edited ]
	assert_same
}
