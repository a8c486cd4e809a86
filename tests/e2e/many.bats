#!/usr/bin/env bats
# What is done for many rows by one statement leaves in state.db what it does for each of a few.

load lib

# All is agreed on, and what is gone is forgotten.
agreed() {
	local open
	open=$(sqlite3 "$T/$1/state/state.db" "SELECT count(*), ifnull(min(quote(path)), '') FROM leaf WHERE base_state <> 3 OR local IS NULL")
	[ "$open" = '0|' ] || fail "$1: $open"
}

all_agreed() {
	once A
	agreed A
	once B
	agreed B
	agreed datastore
	assert_same
}

@test "a first push of many rows agrees on all of them, and so does one that changes most and deletes some" {
	fill A
	value A "WITH RECURSIVE n(i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM n WHERE i < 2500)
		INSERT INTO users SELECT i, 'user ' || i, NULL, 0 FROM n"
	start_datastore
	all_agreed
	value A "UPDATE users SET admin = 2 WHERE uid > 300; DELETE FROM users WHERE uid BETWEEN 200 AND 210"
	all_agreed
	value B "DELETE FROM users WHERE uid = 300" # of what is agreed on, a deletion is one
	once B
	once A
	everywhere 'SELECT count(*), sum(admin = 2) FROM users WHERE uid >= 100' '2389|2200'
	no_conflicts
}

@test "a first push of many rows, of which one is not taken, agrees on the others" {
	value B 'CREATE TABLE many(id INTEGER PRIMARY KEY, v INT CHECK (v <> 7))'
	value A "CREATE TABLE many(id INTEGER PRIMARY KEY, v INT);
		WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) INSERT INTO many SELECT i, i FROM n"
	start_datastore
	once B
	round A
	[ "$(sqlite3 "$T/A/state/state.db" 'SELECT count(*) FROM leaf WHERE base_state <> 3')" = 1 ]
	[ "$(value datastore 'SELECT count(*) FROM many')" = 1999 ]
	value A 'UPDATE many SET v = 8 WHERE id = 7'
	once A
	agreed A
	[ "$(value datastore 'SELECT v FROM many WHERE id = 7')" = 8 ]
}
