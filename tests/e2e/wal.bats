#!/usr/bin/env bats
# An application holds its database open, with rows only in the write-ahead log, whatever the daemon goes through: not a row is lost.

# shellcheck disable=SC2154 # keys of PID

load lib

# An application that never checkpoints: it takes lines of SQL from a FIFO, answers each into $T/app.out, and keeps its connection open.
start_app() { # DATABASE
	mkfifo "$T/app.in"
	python3 - "$1" "$T/app.in" >"$T/app.out" 2>"$T/app.log" 3>&- <<'PY' &
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
db.execute("PRAGMA journal_mode=wal")
db.execute("PRAGMA wal_autocheckpoint=0")
for line in open(sys.argv[2]):
	print(repr(db.execute(line).fetchall()), flush=True)
PY
	PID[app]=$!
	exec {APP}>"$T/app.in"
}

answered() {
	[ "$(wc -l <"$T/app.out")" -ge "$1" ] || ! alive "${PID[app]}"
}

app() { # SQL
	local answers
	answers=$(($(wc -l <"$T/app.out") + 1))
	echo "$1" >&"$APP"
	wait_for 'the application answers' answered "$answers"
	sed -n "${answers}p" "$T/app.out"
}

# Its main file has no row of it: all is in the log.
only_in_wal() {
	[ -s "$T/A/users.db-wal" ]
	cp "$T/A/users.db" "$T/without-wal.db"
	! sqlite3 "file:$T/without-wal.db?immutable=1" 'SELECT count(*) FROM kept' 2>/dev/null | grep -qx "$1"
	rm -f "$T"/without-wal.db*
}

begin() {
	start_app "$T/A/users.db"
	app 'CREATE TABLE kept(id INTEGER PRIMARY KEY, value TEXT)'
	for k in 1 2 3 4 5; do app "INSERT INTO kept VALUES($k, 'row $k')"; done
	only_in_wal 5
}

all_there() { # COUNT
	wait_same
	for name in datastore A B; do
		[ "$(sql "$T/$name/users.db" 'SELECT count(*) FROM kept')" -eq "$1" ]
	done
	app 'SELECT count(*) FROM kept' | grep -x "\[($1,)\]"
	check_databases
}

@test "rows only in the WAL when the daemon starts for the first time" {
	begin
	start_all
	all_there 5
	app "INSERT INTO kept VALUES(6, 'row 6')"
	sql "$T/B/users.db" "INSERT INTO kept VALUES(7, 'from B')"
	all_there 7
}

@test "rows only in the WAL when the daemon stops and starts" {
	begin
	start_all
	all_there 5
	stop A
	app "INSERT INTO kept VALUES(6, 'row 6')"
	app "UPDATE kept SET value = 'changed' WHERE id = 1"
	app 'DELETE FROM kept WHERE id = 2'
	start_webserver A
	all_there 5
	[ "$(sql "$T/B/users.db" 'SELECT value FROM kept WHERE id = 1')" = changed ]
	stop A KILL
	app "INSERT INTO kept VALUES(8, 'row 8')"
	start_webserver A
	all_there 6
}

@test "rows only in the WAL when the state directory is lost" {
	begin
	start_all
	all_there 5
	stop A
	rm -r "$T/A/state"
	app "INSERT INTO kept VALUES(6, 'row 6')"
	app "UPDATE kept SET value = 'changed' WHERE id = 1"
	sql "$T/B/users.db" "INSERT INTO kept VALUES(7, 'from B')"
	start_webserver A
	all_there 7
	[ "$(sql "$T/B/users.db" 'SELECT value FROM kept WHERE id = 1')" = changed ] || [ "$(conflicts A length)" -gt 0 ]
}

@test "the application ends in the middle: its rows stay in the WAL and are not lost" {
	begin
	start_all
	all_there 5
	app "INSERT INTO kept VALUES(6, 'row 6')"
	stop app KILL
	wait_same
	stop A
	rm -r "$T/A/state"
	start_webserver A
	wait_same
	[ "$(sql "$T/A/users.db" 'SELECT count(*) FROM kept')" -eq 6 ]
	[ "$(sql "$T/B/users.db" 'SELECT count(*) FROM kept')" -eq 6 ]
}

@test "an application that holds a read transaction or the write lock delays no one for long" {
	begin
	start_all
	all_there 5
	app 'BEGIN'
	app 'SELECT count(*) FROM kept'
	sql "$T/B/users.db" "INSERT INTO kept VALUES(10, 'from B')"
	wait_for 'it is at A' at_a 10
	app 'SELECT count(*) FROM kept' | grep -x '\[(5,)\]' # its snapshot
	app 'COMMIT'
	app 'BEGIN IMMEDIATE'
	app "INSERT INTO kept VALUES(11, 'not yet')"
	sql "$T/B/users.db" "INSERT INTO kept VALUES(12, 'from B')"
	echo beside >"$T/B/resources/beside"
	wait_for 'the files go on meanwhile' test -f "$T/A/resources/beside"
	app 'COMMIT'
	all_there 8
}

at_a() {
	[ -n "$(sql "$T/A/users.db" "SELECT 1 FROM kept WHERE id = $1")" ]
}
