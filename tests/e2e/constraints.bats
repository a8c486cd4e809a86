#!/usr/bin/env bats
# Constraints of a table that an upgrade gives it, takes from it or changes: what reaches the datastore and who is filled from it, what is left alone
# while only some webservers have them, and that nothing waits for that, or is lost.

# shellcheck disable=SC2154,SC2034 # what lib.bash reads

load lib
load disaster

WAS='id INTEGER PRIMARY KEY, code TEXT, value INT'

# [COLUMNS]: of items, on A and B
in_step() {
	sql "$T/A/users.db" "CREATE TABLE items(${1:-$WAS}); INSERT INTO items(id, code, value) VALUES(1, 'one', 1), (2, 'two', 2), (3, 'three', 3);
		CREATE TABLE other(id INTEGER PRIMARY KEY, value TEXT)"
	start_datastore
	rounds A B
}

rebuilt() { # NAME COLUMNS: its application builds items anew
	value "$1" "PRAGMA foreign_keys=OFF; BEGIN IMMEDIATE; CREATE TABLE anew($2); INSERT INTO anew(id, code, value) SELECT id, code, value FROM items;
		DROP TABLE items; ALTER TABLE anew RENAME TO items; COMMIT"
}

# NAME SQL: does its database refuse that?
refuses() {
	! value "$1" "BEGIN; $2; ROLLBACK" 2>/dev/null
}

other_goes_on() { # N: a row of another table, from each to the other
	local name
	for name in A B; do value "$name" "INSERT INTO other VALUES($1 + 100 * ('$name' = 'B'), '$name')"; done
	for name in A B A; do once "$name" || true; done
	for name in datastore A B; do [ "$(value "$name" "SELECT count(*) FROM other WHERE id IN ($1, $1 + 100)")" = 2 ] || fail "other stands still at $name"; done
}

waits() { # NAME WHY: it says so of users.db
	start_webserver "$1"
	wait_for "$1 names what waits" says "$1" "users.db.*$2"
	stop "$1"
}

@test "a constraint that only one has takes a row of another's not: that row waits and is named, nothing else does, and nothing is deleted" {
	in_step
	rebuilt A 'id INTEGER PRIMARY KEY, code TEXT UNIQUE, value INT CHECK (value < 10)'
	value B "INSERT INTO items VALUES(4, 'four', 40), (5, 'one', 5), (6, 'six', 6); UPDATE items SET value = 20 WHERE id = 2; UPDATE items SET value = 9 WHERE id = 3"
	rounds B
	once A || true
	other_goes_on 1
	waits A 'items/2: not written: CHECK constraint failed.*items/4: not written: CHECK constraint failed'
	[ "$(value A "SELECT group_concat(id || code || value) FROM (SELECT * FROM items ORDER BY id)")" = 1one1,2two2,3three9,6six6 ]
	for name in datastore B; do
		[ "$(value "$name" "SELECT group_concat(id || code || value) FROM (SELECT * FROM items ORDER BY id)")" = 1one1,2two20,3three9,4four40,5one5,6six6 ]
	done
	value B "UPDATE items SET value = 8 WHERE value > 9; UPDATE items SET code = 'five' WHERE id = 5"
	rounds B A
	assert_same
	[ "$(conflicts A length)$(conflicts B length)$(conflicts datastore length)" = 000 ]
}

@test "a constraint that an upgrade took away on one: what the datastore's does not take yet waits and is named, and nothing else does" {
	in_step 'id INTEGER PRIMARY KEY, code TEXT UNIQUE, value INT NOT NULL'
	rebuilt A "$WAS"
	value A "INSERT INTO items VALUES(4, 'four', NULL), (5, 'one', 5), (6, 'six', 6); UPDATE items SET value = NULL WHERE id = 3"
	once A || true
	other_goes_on 1
	waits A 'the datastore refused it: users.db/items/3: not written: NOT NULL constraint failed'
	[ "$(value A "SELECT group_concat(id || code || ifnull(value, '-')) FROM (SELECT * FROM items ORDER BY id)")" = 1one1,2two2,3three-,4four-,5one5,6six6 ]
	for name in datastore B; do
		[ "$(value "$name" "SELECT group_concat(id || code || value) FROM (SELECT * FROM items ORDER BY id)")" = 1one1,2two2,3three3,6six6 ]
	done
	[ "$(conflicts A length)$(conflicts B length)$(conflicts datastore length)" = 000 ]
}
