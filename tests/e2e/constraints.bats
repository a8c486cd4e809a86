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
	rounds A B B
}

rebuilt() { # NAME COLUMNS: its application builds items anew
	value "$1" "PRAGMA foreign_keys=OFF; BEGIN IMMEDIATE; CREATE TABLE anew($2); INSERT INTO anew(id, code, value) SELECT id, code, value FROM items;
		DROP TABLE items; ALTER TABLE anew RENAME TO items; COMMIT"
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

# NAME SQL...: statements that its database refuses, each by another constraint
refuses_each() {
	local name=$1 sql
	shift
	for sql; do
		[ "$(value "$name" "PRAGMA foreign_keys=ON; BEGIN; $sql; ROLLBACK" 2>&1 | grep -c 'constraint failed')" -ge 1 ] || fail "$name takes $sql"
	done
}

NEW="id INTEGER PRIMARY KEY, code TEXT NOT NULL UNIQUE DEFAULT 'none', value INT CHECK (value < 50), grade TEXT NOT NULL DEFAULT 'good', part INT REFERENCES other(id), UNIQUE(value, grade)"
REFUSED=("INSERT INTO items(id, code, value) VALUES(100, NULL, 41)" "INSERT INTO items(id, code, value) VALUES(100, 'one', 41)" "INSERT INTO items(id, code, value) VALUES(100, 'x', 50)"
	"INSERT INTO items(id, code, value) VALUES(100, 'x', 1)" "INSERT INTO items(id, code, value, part) VALUES(100, 'x', 41, 77)" "INSERT INTO items(id, code, value, grade) VALUES(100, 'x', 41, NULL)")

@test "a table that gets a column and constraints has them at the datastore, and where sameroot-restore makes it; what they do not take is named and kept" {
	in_step
	value B "INSERT INTO items VALUES(4, 'four', 60), (5, NULL, 5), (6, 'two', 6), (7, 'seven', 7)"
	rounds B # not seen by A before its upgrade, which would have mended them
	rebuilt A "$NEW"
	value A 'CREATE UNIQUE INDEX items_grade ON items(grade, code)'
	rounds A
	refuses_each datastore "${REFUSED[@]}"
	[ "$(value datastore "INSERT INTO items(id) VALUES(99); SELECT code || grade FROM items WHERE id = 99; DELETE FROM items WHERE id = 99")" = nonegood ]
	[ "$(value datastore "SELECT count(*) FROM sqlite_master WHERE name = 'items_grade'")" = 1 ]
	for name in datastore A; do [ "$(value "$name" "SELECT group_concat(id || code || value || grade) FROM (SELECT * FROM items ORDER BY id)")" = 1one1good,2two2good,3three3good,7seven7good ]; done
	was=$(ls "$T"/datastore/users.db.was-*)
	[ "$(sqlite3 "$was" "SELECT group_concat(id || ifnull(code, '-') || value) FROM \"$(sqlite3 "$was" 'SELECT name FROM sqlite_master')\" WHERE id > 3")" = 4four60,5-5,6two6,7seven7 ]
	for row in '4 (CHECK constraint failed' '5 (NOT NULL constraint failed' '6 (UNIQUE constraint failed'; do grep -qF "users.db/items/$row" "$T/datastore.log"; done
	grep -q "3 rows are not taken.*kept in $was" "$T/datastore.log"
	# who is made from the datastore has the table as the application made it
	write_config C
	edit_config C Datastore= "Datastore=127.0.0.1:$DATASTORE_PORT"
	"$BIN/sameroot-restore" webserver -c "$T/C.conf" --from-datastore --yes
	refuses_each C "${REFUSED[@]}"
	# nothing was deleted by that: B has them still, and its upgrade mends them in its way
	[ "$(value B 'SELECT count(*) FROM items')" = 7 ]
	value B "UPDATE items SET value = 40 WHERE id = 4; UPDATE items SET code = 'code-' || id WHERE id IN (5, 6)"
	rebuilt B "$NEW"
	value B 'CREATE UNIQUE INDEX items_grade ON items(grade, code)'
	rounds B A
	assert_same
	everywhere "SELECT group_concat(id || code || value || grade) FROM (SELECT * FROM items ORDER BY id)" \
		1one1good,2two2good,3three3good,4four40good,5code-55good,6code-66good,7seven7good
	[ "$(conflicts A length)$(conflicts B length)$(conflicts datastore length)" = 000 ]
}

TIGHT="id INTEGER PRIMARY KEY, code TEXT NOT NULL UNIQUE DEFAULT 'none', value INT CHECK (value < 50)"
TIGHT_REFUSES=("INSERT INTO items(id, code) VALUES(100, NULL)" "INSERT INTO items(id, code) VALUES(100, 'one')" "INSERT INTO items(id, code, value) VALUES(100, 'x', 50)"
	"INSERT INTO items(id, code, value) VALUES(100, 'x', 1)")

is_loose() { # NAME: its items takes what the constraints would not
	[ "$(value "$1" "BEGIN; ${TIGHT_REFUSES[0]}; ROLLBACK; BEGIN; ${TIGHT_REFUSES[1]}; ROLLBACK; SELECT 'taken'")" = taken ]
}

# NAME: its application upgrades: constraints, and a UNIQUE index, and no more
tightened() {
	rebuilt "$1" "$TIGHT"
	value "$1" 'CREATE UNIQUE INDEX items_value ON items(value); CREATE INDEX items_both ON items(code, value)'
}

@test "constraints alone reach the datastore when all webservers have them; until then it takes what each writes, and no row moves for it" {
	in_step
	value B "UPDATE items SET value = 4 WHERE id = 3"
	rounds B A
	before=$(root_of datastore)
	tightened A
	rounds A A
	is_loose datastore
	value B "INSERT INTO items VALUES(4, 'one', 60)"
	rounds B
	value B "DELETE FROM items WHERE id = 4"
	rounds B A
	stop datastore # it knows of A over a restart
	start_datastore
	tightened B
	[ "$(root_of datastore)" = "$before" ]
	rounds B
	refuses_each datastore "${TIGHT_REFUSES[@]}"
	grep -q 'users.db/items: has the constraints now that all webservers have' "$T/datastore.log"
	[ "$(root_of datastore)" = "$before" ]
	[ "$(value datastore "SELECT count(*) FROM sqlite_master WHERE name IN ('items_value', 'items_both')")" = 2 ]
	[ "$(sqlite3 "$T/datastore/state/state.db" 'SELECT count(*) FROM deleted')" = 1 ] # B's own
	[ -z "$(ls "$T"/datastore/users.db.was-* 2>/dev/null)" ]
	write_config C
	edit_config C Datastore= "Datastore=127.0.0.1:$DATASTORE_PORT"
	"$BIN/sameroot-restore" webserver -c "$T/C.conf" --from-datastore --yes
	refuses_each C "${TIGHT_REFUSES[@]}"
	value A "INSERT INTO items VALUES(5, 'five', 5)"
	rounds A B A
	assert_same
	# and what all have given up
	for name in A B; do rebuilt "$name" "$WAS"; done
	value A "INSERT INTO items VALUES(6, 'one', 60)"
	once A || true
	[ "$(value datastore 'SELECT count(*) FROM items')" = 4 ]
	once B || true
	is_loose datastore
	rounds A B
	assert_same
	everywhere 'SELECT count(*) FROM items' 5
	check_databases
	[ "$(conflicts A length)$(conflicts B length)$(conflicts datastore length)" = 000 ]
}

@test "an upgrade mends its rows and adds the constraint at once: the datastore has both" {
	in_step
	value B "INSERT INTO items VALUES(4, 'four', 60), (5, 'one', 5)"
	rounds B
	tightened A
	once A || true
	[ "$(value A 'SELECT count(*) FROM items')" = 3 ]
	value B "UPDATE items SET value = 40 WHERE id = 4; UPDATE items SET code = 'five' WHERE id = 5"
	tightened B
	rounds B A
	assert_same
	refuses_each datastore "${TIGHT_REFUSES[@]}"
	everywhere 'SELECT count(*) FROM items' 5
}

follows() {
	[[ $(value datastore "BEGIN; ${TIGHT_REFUSES[0]}; ROLLBACK" 2>&1) == *'NOT NULL constraint failed'* ]]
}

@test "the same beside daemons, where nothing else changes" {
	sql "$T/A/users.db" "CREATE TABLE items($WAS); INSERT INTO items VALUES(1, 'one', 1)"
	start_all
	wait_same
	for name in A B; do sync_now "$name"; done
	tightened A
	sync_now A
	is_loose datastore
	tightened B
	wait_for 'the datastore follows' follows
	wait_same
	seq=$(status_of datastore .seq)
	for name in A B; do sync_now "$name"; done # and it is not told again
	[ "$(status_of datastore .seq)" = "$seq" ]
}

marked() { # NAME: its application gives marks, which has no key, a constraint
	value "$1" "BEGIN; CREATE TABLE anew(text TEXT CHECK (text <> '')); INSERT INTO anew SELECT text FROM marks; DROP TABLE marks; ALTER TABLE anew RENAME TO marks; COMMIT"
}

@test "the same of a table without a key and of one with a full-text index, with rows that come in the same push" {
	sql "$T/A/users.db" "CREATE TABLE marks(text TEXT); INSERT INTO marks VALUES('x'), ('gone'), ('x'), ('y'); DELETE FROM marks WHERE rowid = 2;
		CREATE TABLE notes(body TEXT UNIQUE); CREATE VIRTUAL TABLE found USING fts5(body, content=notes);
		CREATE TRIGGER notes_ai AFTER INSERT ON notes BEGIN INSERT INTO found(rowid, body) VALUES(new.rowid, new.body); END;
		INSERT INTO notes VALUES('nothing'), ('of old'); DELETE FROM notes WHERE body = 'nothing'; INSERT INTO found(found) VALUES('rebuild')"
	start_datastore
	rounds A B B
	[ "$(value datastore 'SELECT group_concat(rowid) FROM marks')" = 1,2,3 ]
	value datastore "UPDATE marks SET rowid = 7 WHERE text = 'y'; UPDATE notes SET rowid = 9; INSERT INTO found(found) VALUES('rebuild')"
	for name in A B; do
		marked "$name"
		value "$name" "BEGIN; CREATE TABLE anew(body TEXT UNIQUE NOT NULL); INSERT INTO anew SELECT body FROM notes; DROP TABLE notes; ALTER TABLE anew RENAME TO notes;
			CREATE TRIGGER notes_ai AFTER INSERT ON notes BEGIN INSERT INTO found(rowid, body) VALUES(new.rowid, new.body); END;
			INSERT INTO found(found) VALUES('rebuild'); COMMIT"
	done
	rounds A
	value B "DELETE FROM marks WHERE rowid = (SELECT min(rowid) FROM marks WHERE text = 'x'); INSERT INTO marks VALUES('z'), ('z'); INSERT INTO notes VALUES('of new')"
	rounds B A
	refuses_each datastore "INSERT INTO marks VALUES('')" 'INSERT INTO notes VALUES(NULL)'
	assert_same
	[ "$(value datastore "SELECT group_concat(text) FROM (SELECT text FROM marks ORDER BY text)")" = x,y,z,z ]
	[ "$(value datastore "SELECT count(*) FROM marks WHERE rowid = 7")$(value datastore "SELECT rowid FROM notes WHERE body = 'of old'")" = 19 ]
	[ "$(value datastore "SELECT group_concat(rowid) FROM found WHERE found MATCH 'of'")" = 9,10 ]
	check_databases
}

# Rows that no webserver has, nor could have
stray_rows() {
	value datastore "INSERT INTO items VALUES(4, 'four', 60), (5, 'one', 5)"
	wait_for 'the datastore sees them' stray_rows_are_seen
}

stray_rows_are_seen() {
	"$BIN/sameroot" log users.db/items/5 -c "$T/datastore.conf" 2>/dev/null | grep -q datastore
}

@test "a row at the datastore that the constraints of all webservers do not take keeps its table as it is: it is named, and not lost" {
	in_step
	tightened A
	rounds A
	stray_rows
	tightened B
	once B || true
	is_loose datastore
	grep -q 'users.db/items: all webservers have other constraints .*: users.db/items/[45]: .* constraint failed' "$T/datastore.log"
	[ "$(value datastore 'SELECT count(*) FROM items')" = 5 ]
	for name in A B; do
		once "$name" || true
		[ "$(value "$name" 'SELECT count(*) FROM items')" = 3 ]
	done
}
