#!/usr/bin/env bats
# Both webservers change one row, in different columns: both changes stand everywhere, and nothing is archived.  No daemon runs on the
# webservers: --once makes the order certain.

load lib

none_archived() {
	local name
	for name in datastore A B; do
		[ "$(conflicts "$name" length)" -eq 0 ] || fail "$name: $(conflicts "$name")"
	done
}

# TABLE-AND-CONDITION COLUMNS EXPECTED
row_is() {
	local name
	for name in datastore A B; do
		[ "$(sql "$T/$name/webstore.db" "SELECT $2 FROM $1")" = "$3" ] || fail "$name: $(sql "$T/$name/webstore.db" "SELECT $2 FROM $1")"
	done
}

@test "different columns of one row: both stand after one round of each" {
	begin
	sql "$T/A/webstore.db" "UPDATE dashboards SET title = 'from A' WHERE id = 'd-1'"
	sql "$T/B/webstore.db" "UPDATE dashboards SET body = NULL, updated = 9e999 WHERE id = 'd-1'"
	rounds A B A
	assert_same
	row_is "dashboards WHERE id = 'd-1'" "title, body IS NULL, updated" 'from A|1|Inf'
	none_archived
}

@test "many rows at once, among them some that cannot be merged" {
	begin
	sql "$T/A/webstore.db" "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
		INSERT INTO dashboards SELECT 'x-' || i, i, 'title', zeroblob(10), 0 FROM n"
	rounds A B
	sql "$T/A/webstore.db" "UPDATE dashboards SET title = 'from A' || id WHERE id LIKE 'x-%'"
	sql "$T/B/webstore.db" "UPDATE dashboards SET owner = -owner WHERE id LIKE 'x-%';
		UPDATE dashboards SET title = 'from B' WHERE owner < 0 AND owner % 100 = 0"
	rounds A B A
	assert_same
	row_is "dashboards WHERE owner < 0 AND title = 'from A' || id" "count(*)" 2970
	row_is "dashboards WHERE owner > 0 AND title = 'from A' || id" "count(*)" 30
	[ "$(conflicts B length)" -eq 30 ]
}

@test "the same change on both, and one more on each" {
	begin
	sql "$T/A/webstore.db" "UPDATE dashboards SET title = 'both', owner = 7 WHERE id = 'd-1'"
	sql "$T/B/webstore.db" "UPDATE dashboards SET title = 'both', updated = 2 WHERE id = 'd-1'"
	rounds A B A
	assert_same
	row_is "dashboards WHERE id = 'd-1'" "title, owner, updated" 'both|7|2.0'
	none_archived
}

@test "the base was replaced long ago: it is still in the datastore's history" {
	begin
	sql "$T/B/webstore.db" "UPDATE dashboards SET owner = 42 WHERE id = 'd-1'"
	for i in {1..80}; do
		sql "$T/A/webstore.db" "UPDATE dashboards SET title = 'turn $i' WHERE id = 'd-1'"
		rounds A
	done
	rounds B A
	assert_same
	row_is "dashboards WHERE id = 'd-1'" "title, owner" 'turn 80|42'
	none_archived
}

@test "what a CHECK does not take is no merge: the datastore's row stands, the other is archived" {
	fill A
	sql "$T/A/webstore.db" "CREATE TABLE ranges(id INTEGER PRIMARY KEY, lo INT, hi INT, CHECK(lo <= hi)); INSERT INTO ranges VALUES(1, 3, 7), (2, 3, 7)"
	start_datastore
	rounds A B
	sql "$T/A/webstore.db" "UPDATE ranges SET lo = 6"
	sql "$T/B/webstore.db" "UPDATE ranges SET hi = 5 WHERE id = 1; UPDATE ranges SET hi = 8 WHERE id = 2; UPDATE preferences SET value = 'light' WHERE owner = 2"
	rounds A B A
	assert_same
	row_is "ranges WHERE id = 1" "lo, hi" '6|7'
	row_is "ranges WHERE id = 2" "lo, hi" '6|8' # the others merge
	row_is "preferences WHERE owner = 2" value light
	conflicts B 'map(.path)' | jq -e '. == ["webstore.db/ranges/1"]'
}

@test "a merge and a UNIQUE value that was taken meanwhile" {
	begin
	sql "$T/A/users.db" "UPDATE users SET email = 'new@example.org' WHERE uid = 1; INSERT INTO users VALUES(9, 'Zoe', NULL, 0)"
	sql "$T/B/users.db" "UPDATE users SET name = 'zoe' WHERE uid = 1"
	rounds A B A
	assert_same
	for name in datastore A B; do
		[ "$(sql "$T/$name/users.db" 'SELECT email FROM users WHERE uid = 1')" = new@example.org ]
		[ "$(sql "$T/$name/users.db" 'SELECT count(*) FROM users WHERE uid = 9')" -eq 1 ]
	done
	check_databases
}

@test "the datastore goes away between the merge and its push" {
	begin
	sql "$T/A/webstore.db" "UPDATE dashboards SET title = 'from A' WHERE id = 'd-1'"
	sql "$T/B/webstore.db" "UPDATE dashboards SET owner = 5 WHERE id = 'd-1'"
	rounds A
	start_proxy
	tamper push-never
	if once B; then fail "the push went through"; fi
	[ "$(sql "$T/B/webstore.db" "SELECT title, owner FROM dashboards WHERE id = 'd-1'")" = 'from A|5' ]
	rounds_without_proxy B A
	assert_same
	row_is "dashboards WHERE id = 'd-1'" "title, owner" 'from A|5'
	none_archived
}

@test "what a UNIQUE constraint over columns of both does not take is no merge either" {
	fill A
	sql "$T/A/webstore.db" "CREATE TABLE g(id INTEGER PRIMARY KEY, a, b, UNIQUE(a, b)); INSERT INTO g VALUES(1, 'p', 'q'), (2, 'r', 's')"
	start_datastore
	rounds A B
	sql "$T/A/webstore.db" "UPDATE g SET a = 'r' WHERE id = 1"
	sql "$T/B/webstore.db" "UPDATE g SET b = 's' WHERE id = 1"
	rounds A B A
	assert_same
	row_is "g WHERE id = 1" "a, b" 'r|q'
	conflicts B 'map(.path)' | jq -e '. == ["webstore.db/g/1"]'
}

@test "what would refer to nothing is no merge" {
	fill A
	sql "$T/A/webstore.db" "CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(id INTEGER PRIMARY KEY, p REFERENCES p(id), x);
		INSERT INTO p VALUES(1), (2); INSERT INTO c VALUES(1, 1, 'x')"
	start_datastore
	rounds A B
	sql "$T/A/webstore.db" "UPDATE c SET p = 2"
	sql "$T/B/webstore.db" "UPDATE c SET x = 'of B'; DELETE FROM p WHERE id = 2"
	rounds B A B
	assert_same
	check_databases
	row_is c 'p, x' '1|of B'
	conflicts A 'map(.path)' | jq -e 'index("webstore.db/c/1")'
}

# BASH: B's application does it whenever a bundle for B is under way; N is how many there were
meanwhile() {
	printf 'echo >>"%s"; N=$(wc -l <"%s"); %s' "$T/bundles" "$T/bundles" "$1" >"$T/meanwhile"
	tamper bundle-meanwhile
}

b_does() { # SQL
	printf 'sqlite3 -cmd ".timeout 20000" "%s" "%s"' "$T/B/webstore.db" "$1"
}

@test "a row is written to whenever it is about to be merged: that is merged, too, and sent in the same round" {
	begin
	sql "$T/A/webstore.db" "UPDATE dashboards SET title = 'from A' WHERE id = 'd-1'"
	sql "$T/B/webstore.db" "UPDATE dashboards SET owner = 100 WHERE id = 'd-1'"
	rounds A
	start_proxy
	meanwhile "$(b_does "UPDATE dashboards SET owner = owner + 1 WHERE id = 'd-1'")"
	rounds B
	[ "$(wc -l <"$T/bundles")" -eq 2 ] # of the row, and of what it was
	rounds_without_proxy A
	assert_same
	row_is "dashboards WHERE id = 'd-1'" "title, owner" "from A|102"
	none_archived
}

@test "a row is written to while it is about to be merged, in the column that came, too: what was there first is archived, and nothing starves" {
	begin
	sql "$T/A/webstore.db" "UPDATE dashboards SET title = 'from A' WHERE id = 'd-1'"
	sql "$T/B/webstore.db" "UPDATE dashboards SET owner = 100 WHERE id = 'd-1'"
	rounds A
	start_proxy
	meanwhile "$(b_does "UPDATE dashboards SET owner = owner + 1, title = 'from B' WHERE id = 'd-1'")"
	once B || true
	rounds_without_proxy B A
	assert_same
	row_is "dashboards WHERE id = 'd-1'" "title" "from A"
	conflicts B 'map(.columns.title)' | jq -e '. == ["from B"]'
}

@test "a row is written to while it is about to be merged, and another gets its UNIQUE value: it is as it was written until that is settled" {
	begin
	sql "$T/A/users.db" "UPDATE users SET name = 'Taken' WHERE uid = 2"
	sql "$T/B/users.db" "UPDATE users SET admin = 7 WHERE uid = 2"
	rounds A
	start_proxy
	meanwhile "case \$N in 2) sqlite3 -cmd '.timeout 20000' '$T/B/users.db' \"UPDATE users SET admin = 8 WHERE uid = 2; INSERT INTO users VALUES(9, 'Taken', NULL, 0)\" ;; esac"
	once B || true
	[ "$(value B "SELECT admin FROM users WHERE uid = 2")" = 8 ]
	rounds_without_proxy B A
	assert_same
	[ "$(value A "SELECT group_concat(uid || name || admin) FROM users WHERE uid IN (2, 9)")" = 2Taken8 ]
	conflicts B 'map(.reason)' | jq -e '. == ["unique"]'
}

@test "a row is written to while it is about to be merged, and has the UNIQUE value that another is to have: it gives way, and the rest comes" {
	sql "$T/A/webstore.db" "CREATE TABLE items(id INTEGER PRIMARY KEY, value INT, code TEXT UNIQUE, note TEXT); INSERT INTO items VALUES(1, 0, 'one', ''), (2, 0, 'two', ''), (3, 0, 'three', '')"
	start_datastore
	rounds A B
	sql "$T/A/webstore.db" "UPDATE items SET note = 'of A' WHERE id = 1; UPDATE items SET code = 'second' WHERE id = 2; UPDATE items SET note = 'of A' WHERE id = 3"
	sql "$T/B/webstore.db" "UPDATE items SET value = 100 WHERE id = 1"
	rounds A
	start_proxy
	meanwhile "case \$N in 2) $(b_does "UPDATE items SET code = 'second' WHERE id = 1") ;; esac"
	once B || true
	[ "$(wc -l <"$T/bundles")" -ge 2 ]
	rounds_without_proxy B A
	assert_same
	row_is items 'group_concat(id || value || code || note)' '10oneof A,20second,30threeof A'
	conflicts B 'map(.reason + .columns.code)' | jq -e '. == ["uniquesecond"]'
}

@test "a row is written to while the round's last try is about to take the datastore's: it is not reverted" {
	begin
	sql "$T/A/webstore.db" "UPDATE dashboards SET owner = 50 WHERE id = 'd-2'"
	rounds A
	start_proxy
	# The first try takes d-2, the second merges it, for which it asks twice, and the third takes d-1
	sql "$T/A/webstore.db" "UPDATE dashboards SET title = 'from A' WHERE id = 'd-1'"
	meanwhile "case \$N in 3) '$BIN/sameroot-sync' --once -c '$T/A.conf' ;; 4) $(b_does "UPDATE dashboards SET owner = 200 WHERE id = 'd-1'") ;; *) $(b_does "UPDATE dashboards SET title = 'of B \$N' WHERE id = 'd-2'") ;; esac"
	once B || true
	[ "$(wc -l <"$T/bundles")" -eq 4 ]
	[ "$(sql "$T/B/webstore.db" "SELECT owner FROM dashboards WHERE id = 'd-1'")" = 200 ]
	rounds_without_proxy B A
	assert_same
	row_is "dashboards WHERE id = 'd-1'" "title, owner" 'from A|200'
	row_is "dashboards WHERE id = 'd-2'" "title, owner" 'of B 2|50'
	none_archived
}
