#!/usr/bin/env bats
# An application is upgraded on one webserver after the other, while all of them keep writing: what spreads to the datastore, who waits for what, what status
# says of it - and that nothing is lost on the way.

# shellcheck disable=SC2034,SC2154 # lib.bash reads them

load lib
load disaster

# Each row of `items` is a webserver's own: NAME-N with the value <NAME-N-K>, K rising.
three() {
	write_config C Max-Delete-Percent=100
	sql "$T/A/users.db" "PRAGMA journal_mode=${1:-wal}; CREATE TABLE items(id TEXT PRIMARY KEY, value TEXT, email TEXT); CREATE INDEX items_email ON items(email);
		CREATE TABLE other(id INTEGER PRIMARY KEY, value TEXT); CREATE VIEW values_of AS SELECT value FROM items;
		CREATE TABLE log(id INTEGER PRIMARY KEY, item TEXT REFERENCES items(id)); INSERT INTO other VALUES(1, 'one')" >/dev/null
	for name in A B C; do
		sql "$T/A/users.db" "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30)
			INSERT INTO items SELECT '$name-' || i, '<$name-' || i || '-0>', '0' || i || '@$name' FROM n"
	done
	start_datastore
	start_webserver A B C
	wait_same datastore A B C
	for name in A B C; do writes "$name"; done
}

# NAME: its application sets the value of one row after the other, and notes it
writes() {
	python3 - "$T/$1" "$1" "$T/go-on/$1" >"$T/application-$1.log" 2>&1 3>&- <<'PY' &
import os, random, sqlite3, sys, time
directory, side, until = sys.argv[1:]
journal, n = open(directory + "/values", "a", buffering=1), 0
while not os.path.exists(until):
    db = sqlite3.connect(f"file:{directory}/users.db?mode=rw", uri=True, timeout=60, isolation_level=None)
    for _ in range(5):
        n += 1
        key = f"{side}-{random.randrange(1, 25)}"
        db.execute("BEGIN IMMEDIATE")
        if db.execute("UPDATE items SET value = ? WHERE id = ?", (f"<{key}-{n}>", key)).rowcount != 1:
            sys.exit(f"{key} is gone here")
        db.execute("UPDATE other SET value = ? WHERE id = 1", (f"{side} {n}",))
        db.execute("COMMIT")
        journal.write(f"{key}|<{key}-{n}>\n")
    db.close()
    time.sleep(0.2)
PY
	PID[application-$1]=$!
}

# The last value that an application gave to each row is there, on all of them.
nothing_is_lost() {
	local name
	rest A B C
	wait_same datastore A B C
	check_databases
	for name in datastore A B C; do
		value "$name" "SELECT id || '|' || value FROM items ORDER BY id" >"$T/values-of-$name"
		[ "$(wc -l <"$T/values-of-$name")" -ge 90 ]
		tac "$T"/{A,B,C}/values | awk -F'|' '!seen[$1]++' | LC_ALL=C sort >"$T/last"
		[ -s "$T/last" ]
		LC_ALL=C sort "$T/values-of-$name" | LC_ALL=C comm -23 "$T/last" - >"$T/lost-values"
		[ ! -s "$T/lost-values" ] || fail "$name has lost: $(<"$T/lost-values")" || return 1
	done
	# A-30 was deleted on A while others still had the table of before; of B-30 the column was dropped on A that others edited meanwhile
	for name in datastore A B C; do [ "$(conflicts "$name" '[.[] | select(.path | test("/items/") and (test("A-30|B-30") | not))] | length')" = 0 ]; done
	for name in datastore A B C; do wait_for "$name is well" is_well "$name"; done
}

# NAME TABLE COLUMNS: its table has just these
has_columns() {
	[[ $(value "$1" "SELECT group_concat(name || ' ' || type) FROM pragma_table_info('$2')") == "$3" ]]
}

set_other() { # NAME: another table goes on, from there to the datastore
	value "$1" "INSERT OR REPLACE INTO other VALUES($2, 'of $1')"
	wait_for 'other tables go on' other_is_there "$2"
}

other_is_there() {
	[[ $(value datastore "SELECT count(*) FROM other WHERE id = $1") == 1 ]]
}

upgraded_with_column() {
	value "$1" "ALTER TABLE items ADD COLUMN level INT DEFAULT 7"
}

upgraded_with_table() {
	value "$1" "CREATE TABLE notes(id TEXT PRIMARY KEY, text TEXT); INSERT INTO notes VALUES('$1', 'of $1')"
}

rebuilt() { # NAME COLUMNS FROM: as https://sqlite.org/lang_altertable.html says
	value "$1" "PRAGMA foreign_keys=OFF; BEGIN IMMEDIATE; CREATE TABLE new_items(id TEXT PRIMARY KEY, $2); INSERT INTO new_items SELECT id, $3 FROM items;
		DROP VIEW values_of; DROP TABLE items; ALTER TABLE new_items RENAME TO items; CREATE VIEW values_of AS SELECT value FROM items;
		CREATE INDEX items_value ON items(value); COMMIT"
}

@test "a column, a table, and a table built anew, one upgrade after the other over three webservers" {
	three
	upgraded_with_column A
	wait_for 'the column spreads' has_columns datastore items 'id TEXT,value TEXT,email TEXT,level INT'
	wait_for 'B waits' says B 'users.db/items: its schema was changed elsewhere: it waits until the application here changes it'
	wait_for 'the datastore says so of it' says datastore 'users.db/items: its schema was changed elsewhere'
	set_other B 2
	upgraded_with_column B
	upgraded_with_column C
	wait_for 'all go on' is_well C
	upgraded_with_table A
	wait_for 'C waits' says C 'users.db/notes: the application here does not have it yet'
	upgraded_with_table C
	upgraded_with_table B
	wait_for 'all go on' is_well B
	rebuilt A 'value TEXT NOT NULL, email TEXT, level REAL DEFAULT 8, mail TEXT' "value, email, level, 'mail:' || email"
	wait_for 'it is built anew at the datastore' has_columns datastore items 'id TEXT,value TEXT,email TEXT,level REAL,mail TEXT'
	wait_for 'B waits' says B 'users.db/items: its schema was changed elsewhere: it waits until the application here changes it' 
	set_other C 3
	value A "DELETE FROM items WHERE id = 'A-30'"
	rebuilt B 'value TEXT NOT NULL, email TEXT, level REAL DEFAULT 8, mail TEXT' "value, email, level, 'mail:' || email"
	rebuilt C 'value TEXT NOT NULL, email TEXT, level REAL DEFAULT 8, mail TEXT' "value, email, level, 'mail:' || email"
	value B "INSERT INTO items VALUES('B-31', 'new', 'e', 1, 'm')"
	nothing_is_lost
	for name in datastore A B C; do
		[ "$(value "$name" "SELECT count(*) FROM items WHERE mail IS NOT 'mail:' || email")" = 1 ]
		[ "$(value "$name" "SELECT group_concat(id) FROM (SELECT id FROM notes ORDER BY id)")" = A,B,C ]
		[ "$(value "$name" "SELECT count(*) FROM items WHERE id IN ('A-30', 'B-31')")" = 1 ]
		[ "$(value "$name" "SELECT count(*) FROM sqlite_master WHERE name IN ('items_value', 'values_of')")" = 2 ]
	done
	was=$(ls "$T"/datastore/users.db.was-*)
	[ "$(sqlite3 "$was" "SELECT count(*) FROM \"$(sqlite3 "$was" 'SELECT name FROM sqlite_master')\"")" -ge 90 ]
}

@test "a column is dropped on one webserver after the other: the datastore follows when all have done so, and keeps the table as it was" {
	three delete
	columns='value TEXT, level INT DEFAULT 3'
	rebuilt A "$columns" 'value, 3'
	wait_for 'A waits' says A 'users.db/items: its schema was changed here .* it waits until every webserver has it so'
	wait_for 'the datastore says so of it' says datastore 'users.db/items: its schema was changed here'
	set_other A 2
	rebuilt B "$columns" 'value, 3'
	wait_for 'B waits' says B 'users.db/items: its schema was changed here'
	value A "DELETE FROM items WHERE id = 'A-30'"
	value B "INSERT INTO items VALUES('B-31', 'new', 4)"
	value C "UPDATE items SET email = 'last' WHERE id = 'C-30'" # in a column that goes
	[ "$(value datastore "SELECT count(*) FROM items WHERE email IS NOT NULL")" = 90 ]
	wait_for 'C brings it' has_email datastore C-30 last
	rebuilt C "$columns" 'value, 3'
	wait_for 'the datastore follows' has_columns datastore items 'id TEXT,value TEXT,level INT'
	nothing_is_lost
	for name in datastore A B C; do [ "$(value "$name" "SELECT group_concat(id || level) FROM items WHERE id IN ('A-30', 'B-31', 'C-30')")" = 'B-314,C-303' ]; done
	was=$(ls "$T"/datastore/users.db.was-*)
	[ "$(sqlite3 "$was" "SELECT email FROM \"$(sqlite3 "$was" 'SELECT name FROM sqlite_master')\" WHERE id = 'C-30'")" = last ]
}

has_email() {
	[[ $(value "$1" "SELECT email FROM items WHERE id = '$2'") == "$3" ]]
}

@test "an upgrade is rolled back on one webserver: it waits, the others do not, and it goes on when it is upgraded again" {
	three
	for name in A B C; do upgraded_with_column "$name"; done
	wait_for 'all have it' is_well C
	wait_same_schema
	value B "UPDATE items SET level = 9 WHERE id = 'B-30'"
	wait_for 'it spreads' level_is A 9
	value A 'ALTER TABLE items DROP COLUMN level'
	wait_for 'A waits' says A 'users.db/items: its schema was changed here .* it waits until every webserver has it so'
	value C "UPDATE items SET level = 10 WHERE id = 'B-30'"
	wait_for 'the others go on' level_is B 10
	set_other A 4
	upgraded_with_column A
	nothing_is_lost
	for name in datastore A B C; do level_is "$name" 10; done
}

level_is() {
	[[ $(value "$1" "SELECT level FROM items WHERE id = 'B-30'") == "$2" ]]
}

wait_same_schema() {
	for name in datastore A B C; do wait_for "$name has it" has_columns "$name" items 'id TEXT,value TEXT,email TEXT,level INT'; done
}

@test "a table is dropped by an upgrade on one webserver: nothing is dropped elsewhere, it says so, and it is left alone until all have dropped it" {
	three
	upgraded_with_table A
	upgraded_with_table B
	upgraded_with_table C
	wait_for 'all have it' is_well C
	sync_now A
	value A 'DROP TABLE notes'
	wait_for 'A says so' says A 'users.db/notes: it is gone here'
	set_other A 2
	value B "UPDATE notes SET text = 'later' WHERE id = 'B'"
	wait_for 'B goes on' later_at C
	[ "$(value datastore 'SELECT count(*) FROM notes')" = 3 ]
	value A 'CREATE TABLE notes(id TEXT PRIMARY KEY, text TEXT)' # taken back, and empty: its rows were deleted there
	value A "INSERT INTO notes VALUES('again', 'of A')"
	nothing_is_lost
	[ "$(value A "SELECT text FROM notes WHERE id = 'B'")" = later ]
}

later_at() {
	[[ $(value "$1" "SELECT text FROM notes WHERE id = 'B'") == later ]]
}

# SQL: B's application does it whenever a bundle for B is under way
meanwhile() {
	printf "sqlite3 -cmd '.timeout 20000' '%s' \"%s\"\n" "$T/B/users.db" "$1" >"$T/meanwhile"
	tamper bundle-meanwhile
}

# A and B drop a column; B has not met the datastore since, and has another value in row 1
two_dropped() {
	sql "$T/A/users.db" "CREATE TABLE items(id INTEGER PRIMARY KEY, value INT, code TEXT UNIQUE, email TEXT); INSERT INTO items VALUES(1, 0, 'one', 1), (2, 0, 'two', 2)"
	start_datastore
	rounds A B
	value A "UPDATE items SET code = 'second' WHERE id = 2"
	rounds A
	start_proxy
	for name in A B; do
		value "$name" 'BEGIN IMMEDIATE; CREATE TABLE new_items(id INTEGER PRIMARY KEY, value INT, code TEXT UNIQUE); INSERT INTO new_items SELECT id, value, code FROM items;
			DROP TABLE items; ALTER TABLE new_items RENAME TO items; COMMIT'
	done
	once A || true # it waits for B
	has_columns datastore items 'id INTEGER,value INT,code TEXT,email TEXT'
	value B 'UPDATE items SET value = 100 WHERE id = 1'
}

@test "a row is written to whenever it is about to be held against its new shape: the datastore's, which nobody wrote, does not win over it" {
	two_dropped
	meanwhile 'UPDATE items SET value = value + 1 WHERE id = 1'
	once B || true
	has_columns datastore items 'id INTEGER,value INT,code TEXT'
	told=$(grep -c '^answer' "$T/proxy.log")
	[ "$told" -ge 2 ]
	rounds_without_proxy B A
	everywhere 'SELECT value FROM items WHERE id = 1' $((100 + told))
	everywhere 'SELECT code FROM items WHERE id = 2' second
	[ "$(conflicts B length)$(conflicts datastore length)" = 00 ]
}

@test "a row that is written to meanwhile, and has another's UNIQUE value now, gives way: it is not deleted" {
	two_dropped
	meanwhile "UPDATE OR IGNORE items SET code = 'second' WHERE id = 1"
	once B || true
	rounds_without_proxy B A
	everywhere "SELECT group_concat(id || code) FROM (SELECT * FROM items ORDER BY id)" 1one,2second
	conflicts B 'map(.reason)' | jq -e '. == ["unique"]'
}

# NAME: its application gives the table another key, and each row a new value
keyed_anew() {
	value "$1" "BEGIN IMMEDIATE; CREATE TABLE anew(id INT, code INT PRIMARY KEY, flag INT, value TEXT) WITHOUT ROWID;
		INSERT INTO anew SELECT id, code, 1, 'new ' || value FROM items; DROP TABLE items; ALTER TABLE anew RENAME TO items; COMMIT"
}

# Its rows are called by integers before and after, but by others: 12 is the id of one and the code of another.
keyed() {
	sql "$T/A/users.db" "CREATE TABLE items(id INTEGER PRIMARY KEY, code INT, flag INT, value TEXT);
		INSERT INTO items VALUES(1, 11, 0, 'one'), (2, 12, 0, 'two'), (3, 13, 0, 'three'), (12, 14, 1, 'twelve')"
	start_datastore
	rounds A B
}

@test "a table gets another key, and new values: those of the first webserver that has it so win over what the datastore made of the old rows" {
	keyed
	keyed_anew A
	value A "UPDATE items SET value = 'of A' WHERE code = 13"
	rounds A
	[ "$(value datastore "SELECT group_concat(flag || value) FROM (SELECT * FROM items ORDER BY code)")" = '1new one,1new two,1of A,1new twelve' ]
	keyed_anew B
	rounds B A
	everywhere "SELECT group_concat(code || flag || value) FROM (SELECT * FROM items ORDER BY code)" '111new one,121new two,131of A,141new twelve'
	[ "$(conflicts A length)$(conflicts datastore length)" = 00 ]
}

@test "a table gets another key, and a row that another webserver changed since is a conflict as ever" {
	keyed
	value B "UPDATE items SET value = 'of B' WHERE id = 1"
	rounds B
	keyed_anew A
	rounds A
	[ "$(value datastore "SELECT value FROM items WHERE code = 11")" = 'of B' ]
	conflicts A 'map(.path)' | jq -e 'index("users.db/items/11")'
}

@test "a table gets another key, and another webserver, upgraded as well, changes a row of it at that very moment: it is not put back" {
	keyed
	keyed_anew A
	keyed_anew B
	# as soon as the table is at the datastore, and A is about to bring its rows
	printf '"%s" --once -c "%s"; sqlite3 -cmd ".timeout 20000" "%s" "%s"; "%s" --once -c "%s"' "$BIN/sameroot-sync" "$T/B.conf" "$T/B/users.db" \
		"UPDATE items SET value = 'of B' WHERE code = 11" "$BIN/sameroot-sync" "$T/B.conf" >"$T/meanwhile"
	start_proxy
	tamper push-meanwhile 1
	once A || true
	[ "$(value datastore "SELECT value FROM items WHERE code = 11")" = 'of B' ]
	rounds_without_proxy A B A
	everywhere "SELECT value FROM items WHERE code = 11" 'of B'
}

# SQL: A's application does it when the table is at the datastore in its new shape, and A has not yet looked at its rows there
just_after_the_table() {
	printf "sqlite3 -cmd '.timeout 20000' '%s' \"%s\"\n" "$T/A/users.db" "$1" >"$T/meanwhile"
	start_proxy
	tamper push-meanwhile 1
	once A || true
	grep -q '^tamper push-meanwhile' "$T/proxy.log"
}

@test "a table gets another key, and a row is deleted before its new rows were looked at: it does not come back" {
	keyed
	keyed_anew A
	just_after_the_table 'DELETE FROM items WHERE code IN (11, 12)'
	rounds_without_proxy A A
	for name in datastore A; do [ "$(value $name 'SELECT group_concat(code) FROM (SELECT * FROM items ORDER BY code)')" = 13,14 ]; done
	no_conflicts
}

@test "a table is built anew with other types, and a row is deleted before its new rows were looked at: it does not come back" {
	sql "$T/A/users.db" "CREATE TABLE items(id INTEGER PRIMARY KEY, value INT, level); INSERT INTO items VALUES(1, 7, 1), (2, 8, 2), (3, 9, 3)"
	start_datastore
	rounds A B
	for name in A B; do
		value "$name" "BEGIN IMMEDIATE; CREATE TABLE anew(id INTEGER PRIMARY KEY, value REAL, level TEXT, mail TEXT DEFAULT 'none'); INSERT INTO anew(id, value, level) SELECT * FROM items;
			DROP TABLE items; ALTER TABLE anew RENAME TO items; COMMIT"
	done
	just_after_the_table 'DELETE FROM items WHERE id = 2'
	rounds_without_proxy A B A
	everywhere "SELECT group_concat(id) FROM (SELECT * FROM items ORDER BY id)" 1,3
	[ "$(conflicts A length)$(conflicts datastore length)" = 00 ] # B's may be one that the datastore's table did not take
}

# NAME: its application drops a column, gives another a type, and adds one
changed_over() {
	value "$1" "BEGIN IMMEDIATE; CREATE TABLE anew(id INTEGER PRIMARY KEY, value REAL, other TEXT, level INT DEFAULT 3); INSERT INTO anew(id, value, other) SELECT id, value, other FROM items;
		DROP TABLE items; ALTER TABLE anew RENAME TO items; COMMIT"
}

@test "rows that were only carried over into the new shape are no edits: what was edited on one webserver, while it waited for the other, wins over them" {
	sql "$T/A/users.db" "CREATE TABLE items(id INTEGER PRIMARY KEY, value INT, other TEXT, email TEXT);
		INSERT INTO items VALUES(1, 10, 'a', 'e'), (2, 20, 'b', 'e'), (3, 30, 'c', 'e'), (4, 40, 'd', 'e')"
	start_datastore
	rounds A B
	changed_over A
	value A "UPDATE items SET level = 9 WHERE id = 1; UPDATE items SET value = 2.5 WHERE id = 2; UPDATE items SET level = 8 WHERE id = 3"
	once A || true # it waits for B
	has_columns datastore items 'id INTEGER,value INT,other TEXT,email TEXT'
	changed_over B
	value B "UPDATE items SET other = 'of B' WHERE id IN (3, 4); UPDATE items SET level = 4 WHERE id = 4"
	rounds B A B
	everywhere "SELECT group_concat(id || other || value || level) FROM (SELECT * FROM items ORDER BY id)" '1a10.09,2b2.53,3of B30.08,4of B40.04'
	no_conflicts
}

# --- a union while some are upgraded and some are not --------------------------------------------------------------------------------------

# A has the column and has set it in one row; B and C, who have not, have edited a row each.
half_upgraded() {
	write_config C
	value A "CREATE TABLE items(id TEXT PRIMARY KEY, value TEXT); INSERT INTO items VALUES('a', 'one'), ('b', 'two'), ('c', 'three'), ('d', 'four')"
	start_datastore
	rounds A B C
	upgraded_with_column A
	value A "UPDATE items SET level = 8 WHERE id = 'a'"
	rounds A
	value B "UPDATE items SET value = 'of B' WHERE id = 'b'"
	value C "UPDATE items SET value = 'of C' WHERE id = 'c'"
	! once B || fail 'B waits for its upgrade'
	! once C || fail 'C waits for its upgrade'
}

edits_stand() {
	local name
	round B C A B C
	for name in datastore A B C; do
		[[ $(value "$name" "SELECT group_concat(id || value || level, ', ') FROM (SELECT * FROM items ORDER BY id)") == 'aone8, bof B7, cof C7, dfour7' ]] ||
			fail "$name: $(value "$name" 'SELECT * FROM items')" || return 1
	done
	assert_same datastore A B C
}

@test "a union while webservers wait for an upgrade: their edits are edits when it comes, and what it added to the other rows is none" {
	half_upgraded
	"$BIN/sameroot" adopt --union --yes -c "$T/datastore.conf"
	round A B C
	upgraded_with_column B
	upgraded_with_column C
	edits_stand
}

@test "... when they meet the union only afterwards, one after the other" {
	half_upgraded
	"$BIN/sameroot" adopt --union --yes -c "$T/datastore.conf"
	upgraded_with_column B
	round B A
	upgraded_with_column C
	edits_stand
}

@test "... and when the datastore is restored from one that waits: it has the table of before" {
	half_upgraded
	stop datastore
	rm -f "$T"/datastore/users.db*
	start_webserver C
	"$BIN/sameroot-restore" datastore --from "${URL[C]}" --store users.db --yes -c "$T/datastore.conf"
	stop C
	start_datastore
	round C B
	upgraded_with_column B
	upgraded_with_column C
	edits_stand
}
