#!/usr/bin/env bats
# Rows without a key: equal rows are counted, and what each side adds and takes away adds up.  No daemon runs on the webservers: --once
# makes the order certain.

load lib

SCHEMA="CREATE TABLE log(at TEXT, what TEXT, n REAL);
	CREATE TABLE settings(name TEXT UNIQUE, value);
	CREATE TABLE notes(id TEXT PRIMARY KEY, body TEXT);
	INSERT INTO log VALUES('1', 'start', 1), ('1', 'start', 1), ('2', NULL, 1.5), (NULL, NULL, NULL);
	INSERT INTO settings VALUES('theme', 'dark'), ('rows', 20), (NULL, 'one'), (NULL, 'one');
	INSERT INTO notes VALUES('a', 'keyed'), (NULL, 'loose'), (NULL, 'loose'), (NULL, 'other')"

begin() {
	fill A
	sql "$T/A/webstore.db" "$SCHEMA"
	start_datastore
	rounds A B
	assert_same
}

on() { # NAME SQL
	sql "$T/$1/webstore.db" "$2"
}

everywhere() { # SQL EXPECTED
	local name
	for name in datastore A B; do
		[ "$(on "$name" "$1")" = "$2" ] || fail "$name: $(on "$name" "$1") is not $2"
	done
}

@test "one of two equal rows is deleted here and one is added there" {
	begin
	on A "DELETE FROM log WHERE rowid IN (SELECT rowid FROM log WHERE what = 'start' LIMIT 1)"
	on B "INSERT INTO log VALUES('1', 'start', 1)"
	rounds A B A
	assert_same
	everywhere "SELECT count(*) FROM log WHERE what = 'start'" 2
	[ "$(conflicts B length)" -eq 0 ]
}

@test "both add an equal row, of which there was none, and of which there were some" {
	begin
	for name in A B; do
		on "$name" "INSERT INTO log VALUES('3', 'new', 0), ('1', 'start', 1), ('1', 'start', 1)"
	done
	rounds A B A
	assert_same
	everywhere "SELECT count(*) FROM log WHERE what = 'new'" 2
	everywhere "SELECT count(*) FROM log WHERE what = 'start'" 6
}

@test "both delete all of them; one deletes what the other updates" {
	begin
	on A "DELETE FROM log WHERE what = 'start'; UPDATE log SET n = 2 WHERE at = '2'"
	on B "DELETE FROM log WHERE what = 'start'; DELETE FROM log WHERE at = '2'; DELETE FROM log WHERE at IS NULL"
	rounds A B A
	assert_same
	everywhere "SELECT count(*) FROM log WHERE what = 'start'" 0
	everywhere "SELECT n FROM log" 2.0
}

@test "the rows of a table without a key but with a UNIQUE column" {
	begin
	on A "UPDATE settings SET value = 'light' WHERE name = 'theme'; INSERT INTO settings VALUES('a', 1)"
	on B "UPDATE settings SET value = 30 WHERE name = 'rows'; UPDATE settings SET value = 'two' WHERE name IS NULL"
	rounds A B A
	assert_same
	everywhere "SELECT group_concat(name || '=' || value) FROM (SELECT * FROM settings WHERE name IS NOT NULL ORDER BY name)" 'a=1,rows=30,theme=light'
	everywhere "SELECT count(*) FROM settings WHERE value = 'two'" 2
	on A "UPDATE settings SET value = 'from A' WHERE name = 'theme'"
	on B "UPDATE settings SET value = 'from B' WHERE name = 'theme'"
	rounds A B A
	assert_same
	everywhere "SELECT value FROM settings WHERE name = 'theme'" 'from A'
	[ "$(conflicts B 'map(.reason) | join(",")')" = '"unique"' ]
	check_databases
}

@test "both add the row that UNIQUE allows only once" {
	begin
	for name in A B; do on "$name" "INSERT INTO settings VALUES('same', 1)"; done
	rounds A B A B
	assert_same
	everywhere "SELECT count(*) FROM settings WHERE name = 'same'" 1
	[ "$(conflicts B length)" -eq 0 ]
}

@test "rows with NULL in their key beside rows with a key" {
	begin
	on A "INSERT INTO notes VALUES(NULL, 'loose'), ('b', 'loose'); UPDATE notes SET id = 'c' WHERE body = 'other'"
	on B "DELETE FROM notes WHERE id IS NULL AND body = 'loose'; UPDATE notes SET body = 'edited' WHERE id = 'a'"
	rounds A B A
	assert_same
	everywhere "SELECT count(*) FROM notes WHERE id IS NULL" 1
	everywhere "SELECT group_concat(id || body) FROM (SELECT * FROM notes WHERE id IS NOT NULL ORDER BY id)" 'aedited,bloose,cother'
}

@test "databases that were filled apart: the greater count, and nothing is deleted" {
	fill A
	fill B
	on A "$SCHEMA"
	on B "$SCHEMA; INSERT INTO log VALUES('1', 'start', 1), ('9', 'B', 9); DELETE FROM log WHERE at = '2'"
	start_datastore
	rounds A B A
	assert_same
	everywhere "SELECT count(*) FROM log WHERE what = 'start'" 3
	everywhere "SELECT count(*) FROM log" 6
}

@test "in a union of equal rows the greater count stays, for the datastore may be rebuilt from a webserver that had a row before it was sent" {
	begin
	for name in A B; do on "$name" "INSERT INTO log VALUES('1', 'start', 1), ('3', 'of $name', 3)"; done
	on A "INSERT INTO log VALUES('4', 'source', 4)"
	stop datastore
	rm "$T"/datastore/webstore.db*
	"$BIN/sameroot-restore" datastore -c "$T/datastore.conf" --from-files --webstore-db "$T/A/webstore.db" --store webstore.db --yes >"$T/restored" 2>&1 || fail "$(<"$T/restored")"
	start_datastore
	rounds A B A
	assert_same
	everywhere "SELECT count(*) FROM log WHERE what = 'start'" 3
	everywhere "SELECT count(*) FROM log WHERE what LIKE 'of %'" 2
	everywhere "SELECT count(*) FROM log WHERE what = 'source'" 1
}

@test "a push of equal rows whose answer is lost is not made twice" {
	begin
	on B "INSERT INTO log VALUES('1', 'start', 1)"
	start_proxy
	tamper push-lost
	once B || true
	on B "INSERT INTO log VALUES('1', 'start', 1)"
	on A "INSERT INTO log VALUES('1', 'start', 1)"
	rounds_without_proxy A B A
	assert_same
	everywhere "SELECT count(*) FROM log WHERE what = 'start'" 5
}

@test "both add an equal row, and delete one, at the same moment" {
	begin
	start_webserver A B
	on A "INSERT INTO log VALUES('x', 'same', 1)" &
	on B "INSERT INTO log VALUES('x', 'same', 1)"
	wait $!
	wait_same
	everywhere "SELECT count(*) FROM log WHERE what = 'same'" 2
	on A "DELETE FROM log WHERE rowid = (SELECT min(rowid) FROM log WHERE what = 'same')" &
	on B "DELETE FROM log WHERE rowid = (SELECT min(rowid) FROM log WHERE what = 'same')"
	wait $!
	wait_same
	everywhere "SELECT count(*) FROM log WHERE what = 'same'" 0
}

@test "daemons, while both applications insert and delete equal rows without pause" {
	begin
	start_webserver A B
	for i in {1..60}; do
		on A "INSERT INTO log VALUES('x', 'same', $((i % 3)))" &
		on B "INSERT INTO log VALUES('x', 'same', $((i % 3)))"
		wait $!
		if ((i % 5 == 0)); then
			on A "DELETE FROM log WHERE rowid = (SELECT min(rowid) FROM log WHERE what = 'same' AND n = 0)"
		fi
	done
	wait_same
	everywhere "SELECT count(*) FROM log WHERE what = 'same'" 108
	everywhere "SELECT count(*) FROM log WHERE what = 'same' AND n = 1" 40
}

@test "a table without a key in a new shape keeps its rows, whoever changes it first" {
	begin
	for name in A B; do on "$name" "ALTER TABLE log ADD COLUMN level DEFAULT 5; ALTER TABLE notes ADD COLUMN level DEFAULT 5"; done
	rounds A B A
	assert_same
	everywhere "SELECT count(*), sum(level) FROM log" '4|20'
	everywhere "SELECT count(*) FROM notes" 4
	for name in datastore A B; do on "$name" "ALTER TABLE log RENAME COLUMN what TO kind"; done
	once A || true # the datastore may not have looked yet
	rounds A B A
	assert_same
	everywhere "SELECT count(*) FROM log" 4
	on B "INSERT INTO log VALUES('1', 'start', 1, 5)" # and is counted as before
	on A "DELETE FROM log WHERE kind = 'start'"
	rounds A B A
	assert_same
	everywhere "SELECT count(*) FROM log WHERE kind = 'start'" 1
}

@test "a child without a key comes here while its parent is deleted there" {
	begin
	on A "CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(p REFERENCES p(id) ON DELETE CASCADE, x); INSERT INTO p VALUES(1), (2);
		INSERT INTO c VALUES(1, 'x'), (2, 'y')"
	rm -f "$T/B/webstore.db"*
	rm -rf "$T/B/state"
	rounds A B
	on A "PRAGMA foreign_keys = 1; DELETE FROM p WHERE id = 1"
	on B "INSERT INTO c VALUES(1, 'x')"
	rounds A B A
	assert_same
	check_databases
	everywhere "SELECT group_concat(x) FROM c" y
}
