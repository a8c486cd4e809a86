#!/usr/bin/env bats
# A large pull goes in several transactions, between which the application writes; whatever the rows have to do with each other, nothing is lost or archived.

# shellcheck disable=SC2154 # keys of PID

load lib

SHOP="CREATE TABLE shops(id INTEGER PRIMARY KEY, name TEXT UNIQUE);
	CREATE TABLE items(id INTEGER PRIMARY KEY, shop INT REFERENCES shops(id) ON DELETE CASCADE, sku TEXT UNIQUE, stamp INT);
	CREATE INDEX items_by_shop ON items(shop);
	CREATE TABLE notes(id TEXT PRIMARY KEY, item INT REFERENCES items(id) ON DELETE CASCADE);
	CREATE TABLE beats(id INTEGER PRIMARY KEY, stamps INT, marker TEXT)"

numbers() { # FROM TO: a table k(n), for an INSERT
	echo "WITH RECURSIVE k(n) AS (SELECT $1 UNION ALL SELECT n + 1 FROM k WHERE n < $2)"
}

begin() { # [SQL]: both sides have it, and the tables before
	sql "$T/A/users.db" "PRAGMA journal_mode=wal; $SHOP; ${1:-}" >/dev/null
	start_all
	wait_same
}

# An application: SQL FLAG: commits a row with what SQL says and the marker, until the flag file is there.
application() { # DATABASE SQL FLAG
	python3 - "$@" <<'PY'
import os, sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
last = False
while True:
	last = os.path.exists(sys.argv[3])
	db.execute(f"INSERT INTO beats(stamps, marker) SELECT ({sys.argv[2]}), value FROM _sameroot_meta WHERE key = 'id'")
	if last:
		break
	time.sleep(0.004)
PY
}

start_application() { # DATABASE SQL
	application "$1" "$2" "$T/over" >"$T/application" 2>&1 3>&- &
	PID[application]=$!
}

end_application() {
	touch "$T/over"
	wait "${PID[application]}" || fail "$(cat "$T/application")"
	unset "PID[application]"
}

no_conflicts() {
	[ "$(conflicts A length)" -eq 0 ]
	[ "$(conflicts B length)" -eq 0 ]
}

@test "a large pull goes in several transactions, the application's commits in between" {
	begin "$(numbers 1 4000) INSERT INTO items SELECT n, NULL, 'sku ' || n, 0 FROM k"
	start_application "$T/B/users.db" 'SELECT count(*) FROM items WHERE stamp = 1'
	sql "$T/A/users.db" 'UPDATE items SET stamp = 1'
	wait_for 'B has it' stamped 4000
	end_application
	wait_same
	[ "$(sql "$T/B/users.db" 'SELECT count(DISTINCT stamps) FROM beats WHERE stamps BETWEEN 1 AND 3999')" -ge 1 ]
	[ "$(sql "$T/B/users.db" 'SELECT count(DISTINCT marker) FROM beats WHERE stamps > 0')" -ge 2 ]
	no_conflicts
	check_databases
}

stamped() {
	[ "$(sql "$T/B/users.db" 'SELECT count(*) FROM items WHERE stamp = 1')" -eq "$1" ]
}

beats() { # the application has committed something while it saw so many
	[ "$(sql "$T/B/users.db" "SELECT count(*) FROM beats WHERE stamps = $1")" -gt 0 ]
}

@test "what changes a thousand rows is one transaction, even next to the application's commits" {
	begin "$(numbers 1 1000) INSERT INTO items SELECT n, NULL, 'sku ' || n, 0 FROM k"
	start_application "$T/B/users.db" 'SELECT count(*) FROM items WHERE stamp = 1'
	wait_for 'the application works' beats 0
	sql "$T/A/users.db" 'UPDATE items SET stamp = 1'
	wait_for 'B has it' stamped 1000
	wait_for 'the application sees it' beats 1000
	end_application
	wait_same
	[ "$(sql "$T/B/users.db" 'SELECT group_concat(DISTINCT stamps) FROM beats')" = 0,1000 ]
}

@test "no foreign key dangles between two chunks, and what A deletes is no orphan" {
	unlimited_deletions
	begin
	start_application "$T/B/users.db" 'SELECT count(*) FROM pragma_foreign_key_check'
	sql "$T/A/users.db" "$(numbers 1 1500) INSERT INTO shops SELECT n, 'shop ' || n FROM k;
		$(numbers 1 3000) INSERT INTO items SELECT n, n % 1500 + 1, 'sku ' || n, 0 FROM k;
		$(numbers 1 1500) INSERT INTO notes SELECT hex(randomblob(8)), n FROM k"
	wait_for 'B has it' notes_on_b 1500
	sql "$T/A/users.db" "UPDATE items SET shop = 1501 - shop; DELETE FROM notes; DELETE FROM items WHERE id > 100; UPDATE items SET shop = NULL;
		DELETE FROM shops"
	wait_for 'it is gone' no_shops
	end_application
	wait_same
	[ "$(sql "$T/B/users.db" 'SELECT max(stamps) FROM beats')" -eq 0 ]
	no_conflicts
	check_databases
}

notes_on_b() {
	[ "$(sql "$T/B/users.db" 'SELECT count(*) FROM notes')" -eq "$1" ]
}

no_shops() {
	[ "$(sql "$T/B/users.db" 'SELECT count(*) FROM shops')" -eq 0 ]
}

@test "UNIQUE values that move between rows of two chunks" {
	unlimited_deletions
	begin "$(numbers 1 1600) INSERT INTO items SELECT n, NULL, 'sku ' || n, 0 FROM k"
	stop B
	sql "$T/B/users.db" "PRAGMA foreign_keys=1; INSERT INTO notes VALUES('only on B', 1), ('B too', 800), ('and this', 1600)"
	sql "$T/A/users.db" "BEGIN; UPDATE items SET sku = 'old ' || id; UPDATE items SET sku = 'sku ' || ((id + 799) % 1600 + 1); COMMIT"
	wait_same datastore A
	start_webserver B
	wait_same
	[ "$(sql "$T/B/users.db" 'SELECT count(*) FROM notes')" -eq 3 ]
	sql "$T/A/users.db" "BEGIN; UPDATE items SET sku = 'old ' || id; UPDATE items SET sku = 'sku ' || (id % 1600 + 1); COMMIT"
	wait_same
	sql "$T/A/users.db" "PRAGMA foreign_keys=1; BEGIN; CREATE TEMP TABLE t AS SELECT sku FROM items; DELETE FROM items WHERE id > 10;
		INSERT INTO items SELECT rowid + 5000, NULL, sku, 1 FROM t WHERE sku NOT IN (SELECT sku FROM items); COMMIT"
	wait_same
	no_conflicts
	check_databases
}

@test "many losers are each archived once" {
	begin "$(numbers 1 1200) INSERT INTO items SELECT n, NULL, 'sku ' || n, 0 FROM k"
	stop B
	sql "$T/B/users.db" 'UPDATE items SET stamp = 7 WHERE id % 3 = 0'
	sql "$T/A/users.db" 'UPDATE items SET stamp = 1'
	wait_same datastore A
	start_webserver B
	wait_same
	[ "$(conflicts B length)" -eq 400 ]
	[ "$(conflicts B 'map(.path) | unique | length')" -eq 400 ]
}

@test "killed between two chunks: what was applied is known, the rest comes" {
	begin "$(numbers 1 8000) INSERT INTO items SELECT n, NULL, 'sku ' || n, 0 FROM k"
	sql "$T/A/users.db" 'UPDATE items SET stamp = 1'
	wait_for 'B has some of it' some
	stop B KILL
	[ "$(sql "$T/B/users.db" 'SELECT count(*) FROM items WHERE stamp = 1')" -lt 8000 ]
	sql "$T/B/users.db" 'UPDATE items SET stamp = 9 WHERE id = 1'
	start_webserver B
	wait_same
	[ "$(sql "$T/A/users.db" 'SELECT stamp FROM items WHERE id = 1')" -eq 9 ]
	no_conflicts
	check_databases
}

some() {
	[ "$(sql "$T/B/users.db" 'SELECT count(*) FROM items WHERE stamp = 1')" -gt 0 ]
}
