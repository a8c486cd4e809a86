#!/usr/bin/env bats
# What is in tables: values at the edge, rows without a key, rows of which both sides edit a column each, schemas that grow apart.

# shellcheck disable=SC2034 # lib.bash reads them

load lib

# --- values -------------------------------------------------------------------------------------------------------------------------

@test "values at the edge: zeros and infinities, text that is no UTF-8, text and blob of the same bytes, empty ones and none" {
	fill A
	sql "$T/A/webstore.db" "CREATE TABLE v(k PRIMARY KEY, x, r REAL, n NUMERIC) WITHOUT ROWID;
		INSERT INTO v(k, x) VALUES('a', 'a'), (x'61', x'61'), (1, 1), ('1', '1'), (x'31', 1.5), ('', ''), (x'', x''), ('none', NULL),
			(CAST(x'ff00fe' AS TEXT), CAST(x'c328' AS TEXT)), ('z', char(0)), (-9223372036854775808, 9223372036854775807), (0.5, 4.9e-324);
		INSERT INTO v(k, x, r, n) VALUES('zero', -0.0, -0.0, -0.0), ('inf', 9e999, -9e999, 9e999), ('nan', 9e999 - 9e999, NULL, '12'), ('big', 1e308, 1, 1e19);"
	start_datastore
	rounds A B
	assert_same
	values_same
	sql "$T/B/webstore.db" "UPDATE v SET x = CASE WHEN typeof(x) = 'text' THEN CAST(x AS BLOB) WHEN typeof(x) = 'blob' THEN CAST(x AS TEXT)
			WHEN typeof(x) = 'integer' THEN CAST(x AS REAL) ELSE x END;
		UPDATE v SET x = -9e999 WHERE k = 'inf'; UPDATE v SET x = 0.0 WHERE k = 'zero'; DELETE FROM v WHERE k = 'a'"
	sql "$T/A/webstore.db" "INSERT INTO v(k, x) VALUES(CAST(x'61ff' AS TEXT), zeroblob(3)), (x'61ff', char(0, 0, 0))"
	rounds B A B
	assert_same
	values_same
	[ "$(sql "$T/A/webstore.db" "SELECT count(*), sum(typeof(k) = 'blob') FROM v")" = '17|4' ]
	[ "$(sql "$T/A/webstore.db" "SELECT typeof(x), hex(x) FROM v WHERE k = CAST(x'ff00fe' AS TEXT)")" = 'blob|C328' ]
	sql "$T/A/webstore.db" "DELETE FROM v WHERE typeof(k) = 'blob'" # of each pair of equal bytes only this one
	rounds A B
	assert_same
	[ "$(sql "$T/B/webstore.db" "SELECT count(*) FROM v WHERE k = CAST(x'61ff' AS TEXT) OR k = '1'")" = 2 ]
	no_conflicts
}

values_same() {
	local name answer first=
	for name in A datastore B; do
		answer=$(sql "$T/$name/webstore.db" "SELECT typeof(k), hex(k), typeof(x), hex(x), quote(x), typeof(r), r, typeof(n), n FROM v ORDER BY 1, 2")
		[[ -n $answer && ${first:=$answer} == "$answer" ]] || fail "$name: $answer; A: $first" || return 1
	done
}

# --- rows without a name -------------------------------------------------------------------------------------------------------------

bag() {
	fill A
	value A "CREATE TABLE log(day INT, what TEXT); INSERT INTO log VALUES(1, 'x'), (1, 'x'), (2, 'y')"
	start_datastore
	rounds A B
	assert_same
	everywhere 'SELECT group_concat(day || what) FROM (SELECT * FROM log ORDER BY 1, 2)' 1x,1x,2y
}

logged() { # ANSWER, after both came round
	rounds A B A
	assert_same
	check_databases
	everywhere 'SELECT group_concat(day || what) FROM (SELECT * FROM log ORDER BY 1, 2)' "$1"
}

delete_one() { # NAME WHERE
	value "$1" "DELETE FROM log WHERE rowid = (SELECT rowid FROM log WHERE $2 LIMIT 1)"
}

@test "two equal rows without a key: one is deleted here, one added there" {
	bag
	delete_one A "day = 1"
	value B "INSERT INTO log VALUES(1, 'x')"
	logged 1x,1x,2y
	delete_one B "day = 1"
	logged 1x,2y
}

@test "two equal rows without a key: both sides add one, both sides delete one" {
	bag
	value A "INSERT INTO log VALUES(1, 'x'), (3, 'z')"
	value B "INSERT INTO log VALUES(1, 'x'), (3, 'z')"
	logged 1x,1x,1x,1x,2y,3z,3z
	delete_one A "day = 1"
	delete_one B "day = 1"
	delete_one A "day = 3"
	logged 1x,1x,2y,3z
	no_conflicts
}

@test "two equal rows without a key: one is updated here, the other there" {
	bag
	value A "UPDATE log SET what = 'of A' WHERE rowid = (SELECT min(rowid) FROM log WHERE day = 1)"
	value B "UPDATE log SET what = 'of B' WHERE rowid = (SELECT max(rowid) FROM log WHERE day = 1)"
	logged '1of A,1of B,2y'
	value A "UPDATE log SET what = 'all' WHERE day = 1"
	logged 1all,1all,2y
	no_conflicts
}

@test "rows without a key: the answer to a push of some is lost, and the same are added again" {
	bag
	start_proxy
	value A "INSERT INTO log VALUES(1, 'x')"
	tamper push-lost 1
	once A && false
	value A "INSERT INTO log VALUES(1, 'x')"
	value B "INSERT INTO log VALUES(1, 'x')"
	logged 1x,1x,1x,1x,1x,2y
}

# --- merges ----------------------------------------------------------------------------------------------------------------------------

# A changes the title of d-1, B its owner, at the same time; A's came first.
two_columns() {
	begin
	sql "$T/A/webstore.db" "UPDATE dashboards SET title = 'of A' WHERE id = 'd-1'"
	sql "$T/B/webstore.db" "UPDATE dashboards SET owner = 77 WHERE id = 'd-1'"
	rounds A
}

merged() {
	assert_same
	[ "$(sql "$T/B/webstore.db" "SELECT title, owner, hex(body), updated FROM dashboards WHERE id = 'd-1'")" = 'of A|77|00FF00|1.5' ]
	no_conflicts
}

@test "two columns of a row, one edited on each side, are merged" {
	two_columns
	rounds B A
	merged
}

@test "... and the datastore goes away between the pull and the push of it" {
	two_columns
	start_proxy
	tamper push-never
	once B && false
	sql "$T/B/webstore.db" "UPDATE dashboards SET updated = 1.5 WHERE id = 'd-1'" # nothing new
	stop datastore
	DATASTORE_PORT=$REAL_PORT
	once B && false
	start_datastore
	rounds B A
	merged
}

@test "... and the webserver is killed between the pull and the push of it" {
	two_columns
	start_proxy
	tamper push-wait 1
	once B &
	pid=$!
	wait_for 'the push' grep -q '^tamper push-wait' "$T/proxy.log"
	kill -KILL "$(pgrep -f -- "^$BIN/sameroot-sync --once -c $T/B.conf")"
	wait $pid || true
	DATASTORE_PORT=$REAL_PORT rounds B A
	merged
	touch "$T/go" # it arrives now, and is refused
	wait_for 'it is answered' grep -q '^answer' "$T/proxy.log"
	DATASTORE_PORT=$REAL_PORT rounds B A
	merged
}

@test "... and in the meantime it is edited again on A, in the column that B's merge took from it" {
	two_columns
	start_proxy
	tamper push-never 1
	once B && false
	sql "$T/A/webstore.db" "UPDATE dashboards SET title = 'of A again' WHERE id = 'd-1'"
	DATASTORE_PORT=$REAL_PORT rounds A B A
	assert_same
	[ "$(sql "$T/A/webstore.db" "SELECT title, owner FROM dashboards WHERE id = 'd-1'")" = 'of A again|77' ]
	no_conflicts
}

@test "a merge that the database's own CHECK forbids is a conflict, and rounds go on" {
	fill A
	value A 'CREATE TABLE ranges(id INTEGER PRIMARY KEY, lo INT, hi INT, note TEXT, CHECK(lo <= hi)); INSERT INTO ranges VALUES(1, 10, 20, NULL), (2, 1, 2, NULL)'
	start_datastore
	rounds A B
	value A 'UPDATE ranges SET lo = 18 WHERE id = 1; UPDATE ranges SET lo = 0 WHERE id = 2'
	value B 'UPDATE ranges SET hi = 12 WHERE id = 1; UPDATE ranges SET hi = 9 WHERE id = 2'
	value B "UPDATE users SET email = 'goes on' WHERE uid = 2"
	rounds A
	round B
	rounds B A
	assert_same
	everywhere 'SELECT lo, hi FROM ranges WHERE id = 1' '18|20'
	everywhere 'SELECT email FROM users WHERE uid = 2' 'goes on'
	[ "$(conflicts A length)" = 0 ]
	conflicts B '.[] | [.path, .columns.lo, .columns.hi]' >"$T/losers"
	jq -ce . "$T/losers" | grep -qxF '["users.db/ranges/1",10,12]'
	# what came with it may be given up with it, but not be lost
	jq -ce . "$T/losers" | grep -qxF '["users.db/ranges/2",1,9]' || everywhere 'SELECT lo, hi FROM ranges WHERE id = 2' '0|9'
}

# --- schemas that grow apart --------------------------------------------------------------------------------------------------------------

# NAME WORD: status of its daemon exits 1 and says WORD
status_says() {
	local status=0
	"$BIN/sameroot" status -c "$T/$1.conf" >"$T/said" 2>&1 || status=$?
	[[ $status -eq 1 ]] && grep -q "$2" "$T/said"
}

# NAME TABLE: its daemon says that the table is left alone
says_paused() {
	start_webserver "$1"
	sync_now "$1"
	status_says "$1" "$2" || fail "status of $1: $(<"$T/said")" || return 1
	stop "$1"
}

columns() { # NAME TABLE
	value "$1" "SELECT group_concat(name || ' ' || type || coalesce(' ' || dflt_value, '')) FROM pragma_table_info('$2')"
}

grow() { # NAME: what an upgrade of the application does
	value "$1" "ALTER TABLE users ADD COLUMN phone TEXT; ALTER TABLE groups ADD COLUMN level INT DEFAULT 7; ALTER TABLE groups ADD COLUMN label TEXT NOT NULL DEFAULT 'none'"
}

@test "columns are added on A: they spread to the datastore, B waits for its own upgrade, and nothing is lost" {
	begin
	grow A
	value A "UPDATE users SET phone = '555' WHERE uid = 1; INSERT INTO users(uid, name, phone) VALUES(5, 'Emil', '556');
		UPDATE groups SET level = 9 WHERE gid = 1; UPDATE groups SET level = 7 WHERE gid = 2"
	rounds A
	[ "$(columns datastore users)" = "$(columns A users)" ]
	[ "$(columns datastore groups)" = "$(columns A groups)" ]
	[ "$(value datastore 'SELECT phone FROM users WHERE uid = 5')" = 556 ]
	value B "UPDATE users SET email = 'of B' WHERE uid = 2; INSERT INTO users VALUES(6, 'Frida', 'of B', 0); DELETE FROM members WHERE uid = 2"
	round B
	says_paused B users
	value A "UPDATE users SET email = 'of A' WHERE uid = 3; UPDATE members SET since = 'A' WHERE uid = 3"
	rounds A
	round B A # other tables go on, both ways
	[ "$(value B 'SELECT since FROM members WHERE uid = 3')" = A ]
	[ "$(value datastore 'SELECT count(*) FROM members WHERE uid = 2')" = 0 ]
	[ "$(value B 'SELECT email FROM users WHERE uid = 3')" = c@example.org ]
	[ "$(value B 'SELECT email FROM users WHERE uid = 2')" = 'of B' ]
	[ "$(value datastore 'SELECT count(*) FROM users WHERE uid = 6')" = 0 ]
	grow B
	rounds B A
	assert_same
	check_databases
	no_conflicts
	everywhere "SELECT group_concat(uid || coalesce(email, '-') || coalesce(phone, '-')) FROM (SELECT * FROM users ORDER BY uid)" \
		'1ada@example.org555,2of B-,3of A-,5-556,6of B-'
	everywhere 'SELECT group_concat(gid || level || label) FROM (SELECT * FROM groups ORDER BY gid)' 19none,27none
	value B "UPDATE groups SET label = 'of B' WHERE gid = 2; INSERT INTO groups(gid, name) VALUES(3, 'new')"
	rounds B A
	assert_same
	everywhere 'SELECT level || label FROM groups WHERE gid = 3' 7none
	no_conflicts
}

@test "both upgrade before they meet again, and a third comes with nothing" {
	begin
	write_config C
	grow A
	grow B
	value A "UPDATE users SET phone = '555' WHERE uid = 1"
	value B "UPDATE groups SET label = 'of B' WHERE gid = 2"
	rounds A B A C
	assert_same datastore A B C
	[ "$(columns C groups)" = "$(columns A groups)" ]
	no_conflicts
}

@test "a table is added on A: it spreads to the datastore, B waits for its own" {
	begin
	value A "CREATE TABLE notes(id INTEGER PRIMARY KEY, uid INT REFERENCES users(uid), text TEXT); INSERT INTO notes VALUES(1, 1, 'of A')"
	rounds A
	[ "$(value datastore 'SELECT text FROM notes')" = 'of A' ]
	value A "UPDATE users SET email = 'of A' WHERE uid = 2"
	rounds A
	round B
	[ "$(value B 'SELECT email FROM users WHERE uid = 2')" = 'of A' ]
	says_paused B notes
	value B "CREATE TABLE notes(id INTEGER PRIMARY KEY, uid INT REFERENCES users(uid), text TEXT); INSERT INTO notes VALUES(2, 2, 'of B')"
	rounds B A
	assert_same
	everywhere 'SELECT group_concat(text) FROM (SELECT text FROM notes ORDER BY id)' 'of A,of B'
	no_conflicts
}

@test "a table is dropped on A: it is dropped nowhere else, and A says so" {
	begin
	value A 'DROP TABLE members'
	value A "UPDATE users SET email = 'of A' WHERE uid = 2"
	round A B A
	for name in datastore B; do
		[ "$(value $name 'SELECT count(*) FROM members')" = 3 ]
		[ "$(value $name 'SELECT email FROM users WHERE uid = 2')" = 'of A' ]
	done
	says_paused A members
	value B "UPDATE members SET since = 'of B' WHERE uid = 1"
	round B A
	[ "$(value datastore 'SELECT since FROM members WHERE uid = 1')" = 'of B' ]
	value A "CREATE TABLE members(uid INTEGER NOT NULL REFERENCES users(uid) ON DELETE CASCADE, gid INTEGER NOT NULL REFERENCES groups(gid) ON DELETE CASCADE,
		since TEXT, PRIMARY KEY(gid, uid)) WITHOUT ROWID"
	rounds A B
	assert_same
	check_databases
	everywhere 'SELECT count(*) FROM members' 3 # it was made again, empty: its rows come back
	everywhere 'SELECT since FROM members WHERE uid = 1' 'of B'
}

@test "a table is dropped on A, and made again as it was: a row that was deleted on B meanwhile goes, archived" {
	begin
	value A 'DROP TABLE members'
	round A
	value B 'DELETE FROM members WHERE uid = 3'
	rounds B
	round A
	value A "CREATE TABLE members(uid INTEGER NOT NULL REFERENCES users(uid) ON DELETE CASCADE, gid INTEGER NOT NULL REFERENCES groups(gid) ON DELETE CASCADE,
		since TEXT, PRIMARY KEY(gid, uid)) WITHOUT ROWID;
		INSERT INTO members VALUES(1, 1, '2020'), (2, 2, '2021'), (3, 1, '2022')"
	round A
	rounds A B
	assert_same
	everywhere 'SELECT group_concat(uid) FROM (SELECT uid FROM members ORDER BY uid)' 1,2
	[ "$(conflicts A length)" = 1 ]
}

@test "a table is dropped at the datastore: nothing of it is deleted, and adopt --union brings it back; not to where the application dropped it" {
	write_config C
	fill A
	value A "CREATE TABLE said(w); INSERT INTO said VALUES('x'), ('x'), ('y')"
	start_datastore
	rounds A B C
	value A "DELETE FROM members WHERE uid = 3"
	rounds A B C
	value C 'DROP TABLE members'
	stop datastore
	value datastore 'DROP TABLE members; DROP TABLE said'
	start_datastore
	value B "UPDATE members SET since = 'of B' WHERE uid = 2"
	round A B C
	grep -q 'not in sync' "$T/B.once"
	says_paused A members
	"$BIN/sameroot" adopt --union --yes -c "$T/datastore.conf"
	rounds A
	round B C
	rounds A
	assert_same
	[ "$(value datastore 'SELECT group_concat(uid || since) FROM (SELECT * FROM members ORDER BY uid)')" = '12020,2of B' ]
	[ "$(value C 'SELECT group_concat(w) FROM (SELECT w FROM said ORDER BY w)')" = x,x,y ]
	[ "$(value C "SELECT count(*) FROM sqlite_master WHERE name = 'members'")" = 0 ]
	says_paused C members
	[ "$(conflicts A length)$(conflicts B length)" = 00 ]
}

rebuild() { # NAME TYPE-OF-EMAIL
	value "$1" "BEGIN; CREATE TABLE new_users(uid INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE COLLATE NOCASE, email $2, admin INT DEFAULT 0);
		INSERT INTO new_users SELECT * FROM users ORDER BY name DESC; DROP TABLE users; ALTER TABLE new_users RENAME TO users;
		CREATE INDEX users_by_email ON users(email); COMMIT"
}

@test "a table is rebuilt on A: with the same shape it goes on, with another type the datastore follows, B waits, says so and loses nothing" {
	begin
	value A 'DROP VIEW admins'
	rebuild A TEXT
	value A "UPDATE users SET email = 'of A' WHERE uid = 2"
	value B "UPDATE users SET email = 'of B' WHERE uid = 3"
	rounds A B A
	assert_same
	everywhere 'SELECT group_concat(email) FROM (SELECT email FROM users WHERE uid > 1 ORDER BY uid)' 'of A,of B'
	rebuild A NUMERIC
	value A "UPDATE users SET email = '0123' WHERE uid = 2; UPDATE groups SET name = 'of A' WHERE gid = 2"
	value B "UPDATE users SET email = '0123' WHERE uid = 1"
	round A B A
	[ "$(value A 'SELECT typeof(email) FROM users WHERE uid = 2')" = integer ]
	[ "$(value datastore 'SELECT group_concat(email) FROM (SELECT email FROM users ORDER BY uid)')" = 'ada@example.org,123,of B' ]
	[ "$(value B 'SELECT group_concat(email) FROM (SELECT email FROM users ORDER BY uid)')" = '0123,of A,of B' ]
	[ "$(value B 'SELECT name FROM groups WHERE gid = 2')" = 'of A' ]
	says_paused B users
	rebuild A TEXT
	round A B
	rounds A B
	assert_same
	everywhere 'SELECT group_concat(email) FROM (SELECT email FROM users WHERE uid <> 2 ORDER BY uid)' '0123,of B'
	check_databases
}

@test "a table is dropped, and made again, empty, as an application does at its start: its rows come back, with a key and without" {
	begin
	unlimited_deletions
	value A "CREATE TABLE cfg(name TEXT PRIMARY KEY, v); INSERT INTO cfg VALUES('a', 1), ('b', 2), ('c', 3); CREATE TABLE said(w); INSERT INTO said VALUES('x'), ('x'), ('y')"
	value B "CREATE TABLE cfg(name TEXT PRIMARY KEY, v); CREATE TABLE said(w)"
	rounds A B
	value B 'DROP TABLE cfg; DROP TABLE said'
	once B && fail 'it was not said'
	value B "CREATE TABLE cfg(name TEXT PRIMARY KEY, v); CREATE TABLE said(w); INSERT INTO cfg VALUES('d', 4)"
	rounds B A
	everywhere 'SELECT group_concat(name || v) FROM (SELECT * FROM cfg ORDER BY name)' a1,b2,c3,d4
	everywhere 'SELECT group_concat(w) FROM (SELECT w FROM said ORDER BY w)' x,x,y
	value B "DELETE FROM cfg WHERE name = 'a'; DELETE FROM said WHERE w = 'y'" # from now on a deletion is one again
	rounds B A
	everywhere 'SELECT group_concat(name || v) FROM (SELECT * FROM cfg ORDER BY name)' b2,c3,d4
	everywhere 'SELECT group_concat(w) FROM (SELECT w FROM said ORDER BY w)' x,x
	assert_same
}
