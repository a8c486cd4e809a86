#!/usr/bin/env bats
# Both webservers change the same thing between two rounds: the first that the datastore accepts stands everywhere, and the other lies in the loser's archive,
# byte for byte.  No daemon runs on the webservers: --once makes the order certain.

load lib

# PATH REASON: B's archive holds one entry, of this path for this reason; its id in $id, its description in $entry
archived_once() {
	[ "$(conflicts A length)" -eq 0 ]
	[ "$(conflicts datastore length)" -eq 0 ]
	conflicts B >"$T/conflicts"
	[ "$(jq length "$T/conflicts")" -eq 1 ] || fail "$(cat "$T/conflicts")"
	entry=$(jq '.[0]' "$T/conflicts")
	id=$(jq -r .id <<<"$entry")
	[ "$(jq -r .path <<<"$entry")" = "$1" ] || fail "$entry"
	[ "$(jq -r .reason <<<"$entry")" = "$2" ] || fail "$entry"
	[[ $(jq -r .when <<<"$entry") == 20??-??-??T*Z ]]
	[ ! -e "$(archived B "$id")" ] || [ "$(stat -c %s "$(archived B "$id")")" -eq "$(jq .size <<<"$entry")" ]
	if [[ -x $BIN/sameroot ]]; then
		"$BIN/sameroot" conflicts list --json -c "$T/B.conf" | jq -e --arg p "$1" --arg r "$2" --arg i "$id" \
			'length == 1 and .[0].path == $p and .[0].reason == $r and .[0].id == $i and (.[0] | has("store") and has("when") and has("size"))'
	fi
}

# A Python expression of name -> value: the canonical record (record.h) of such a row
record() {
	python3 -c '
import struct, sys
def number(n):
	out = b""
	while n > 127:
		out, n = out + bytes([n & 127 | 128]), n >> 7
	return out + bytes([n])
def string(b):
	return number(len(b)) + b
def value(v):
	if isinstance(v, int): return b"\1" + struct.pack(">q", v)
	if isinstance(v, float): return b"\2" + struct.pack(">d", v)
	if isinstance(v, str): return b"\3" + string(v.encode())
	return b"\4" + string(v)
row = {name: v for name, v in eval(sys.argv[1]).items() if v is not None}
sys.stdout.buffer.write(number(len(row)) + b"".join(string(name.encode()) + value(row[name]) for name in sorted(row)))' "$1"
}

@test "the same row edited on both" {
	begin
	sql "$T/A/webstore.db" "UPDATE dashboards SET title = 'from A', body = x'0a' WHERE id = 'd-1'"
	sql "$T/B/webstore.db" "UPDATE dashboards SET title = 'from B' || char(0) || 'end', body = x'00ff0b00', updated = 2.5 WHERE id = 'd-1'"
	rounds A B A
	assert_same
	[ "$(sql "$T/B/webstore.db" "SELECT title, hex(body) FROM dashboards WHERE id = 'd-1'")" = 'from A|0A' ]
	archived_once webstore.db/dashboards/d-1 edited-both
	record '{"id": "d-1", "owner": 1, "title": "from B\0end", "body": b"\0\xff\x0b\0", "updated": 2.5}' | cmp - "$(archived B "$id")"
	[ "$(jq -r .columns.owner <<<"$entry")" = 1 ]
}

@test "the same row new on both in a union, and edited on here as soon as the datastore's has come" {
	begin
	rm -r "$T/A/state"
	start_proxy
	sql "$T/A/users.db" "INSERT INTO users VALUES(8, 'Eight', 'too', 0), (9, 'Nine', 'mine', 0)"
	# between A's look and its push, which is refused; then, when the rest of it was taken
	cat >"$T/meanwhile" <<-EOF
		sql() { sqlite3 -cmd '.timeout 20000' "\$@"; }
		echo >>"$T/times"
		case \$(wc -l <"$T/times") in
		1) sql "$T/datastore/users.db" "INSERT INTO users VALUES(9, 'Nine', 'theirs', 0)" && echo push-meanwhile 2 >"$T/tamper.new" && mv "$T/tamper.new" "$T/tamper" ;;
		3) sql "$T/A/users.db" "UPDATE users SET email = 'on theirs' WHERE uid = 9 AND email = 'theirs'" ;;
		esac
	EOF
	tamper tree-meanwhile 1
	once A || true
	[ "$(wc -l <"$T/times")" -eq 3 ]
	rounds A B
	assert_same
	everywhere 'SELECT email FROM users WHERE uid = 9' 'on theirs'
	everywhere 'SELECT email FROM users WHERE uid = 8' too
	[ "$(conflicts A length)" -eq 1 ]
}

@test "the same file edited on both" {
	begin
	head -c 100000 /dev/urandom >"$T/A/resources/hosts.csv"
	head -c 300000 /dev/urandom >"$T/B/resources/hosts.csv"
	cp "$T/B/resources/hosts.csv" "$T/loser"
	cp "$T/A/resources/hosts.csv" "$T/winner"
	rounds A B A
	assert_same
	cmp "$T/winner" "$T/B/resources/hosts.csv"
	archived_once resources/hosts.csv edited-both
	cmp "$T/loser" "$(archived B "$id")"
}

@test "a row edited here, deleted there: the deletion came first" {
	begin
	sql "$T/A/webstore.db" "DELETE FROM history WHERE id = x'0001'"
	sql "$T/B/webstore.db" "UPDATE history SET query = 'kept' WHERE id = x'0001'"
	rounds A B A
	assert_same
	[ "$(sql "$T/B/webstore.db" 'SELECT count(*) FROM history')" -eq 1 ]
	archived_once webstore.db/history/%00%01 edited-deleted
	record '{"id": b"\0\1", "owner": 1, "query": "kept"}' | cmp - "$(archived B "$id")"
}

@test "a row deleted here, edited there: the edit came first" {
	begin
	sql "$T/A/webstore.db" "UPDATE history SET query = 'kept' WHERE id = x'0001'"
	sql "$T/B/webstore.db" "DELETE FROM history WHERE id = x'0001'"
	rounds A B A
	assert_same
	[ "$(sql "$T/B/webstore.db" "SELECT query FROM history WHERE id = x'0001'")" = kept ]
	[ "$(conflicts A length)$(conflicts B length)" = 00 ] # a deletion has no content to keep
}

@test "a file edited here, deleted there: the deletion came first" {
	begin
	rm "$T/A/resources/hosts.csv"
	echo edited >"$T/B/resources/hosts.csv"
	rounds A B A
	assert_same
	[ ! -e "$T/B/resources/hosts.csv" ]
	archived_once resources/hosts.csv edited-deleted
	[ "$(cat "$(archived B "$id")")" = edited ]
}

@test "a file deleted here, edited there: the edit came first" {
	begin
	echo edited >"$T/A/resources/hosts.csv"
	rm "$T/B/resources/hosts.csv"
	rounds A B A
	assert_same
	[ "$(cat "$T/B/resources/hosts.csv")" = edited ]
}

@test "a directory removed here, a file made in it there" {
	begin
	rm -r "$T/A/resources/img"
	echo new >"$T/B/resources/img/new"
	rounds A B A
	assert_same
	[ "$(cat "$T/A/resources/img/new")" = new ] # nothing of it was ever deleted by anyone
	[ ! -e "$T/B/resources/img/logo" ]
}

@test "two new rows with one key" {
	begin
	sql "$T/A/users.db" "INSERT INTO users VALUES(4, 'Dora', 'a@example.org', 0)"
	sql "$T/B/users.db" "INSERT INTO users VALUES(4, 'Emil', 'b@example.org', 1)"
	rounds A B A
	assert_same
	[ "$(sql "$T/B/users.db" 'SELECT name FROM users WHERE uid = 4')" = Dora ]
	archived_once users.db/users/4 edited-both
	record '{"name": "Emil", "email": "b@example.org", "admin": 1, "uid": 4}' | cmp - "$(archived B "$id")"
}

@test "two new rows whose keys differ only where the collation does not care" {
	begin
	sql "$T/A/webstore.db" "INSERT INTO preferences VALUES(7, 'Zoom', 'a')"
	sql "$T/B/webstore.db" "INSERT INTO preferences VALUES(7, 'ZOOM', 'b')"
	rounds A B A
	assert_same
	[ "$(sql "$T/B/webstore.db" 'SELECT name, value FROM preferences WHERE owner = 7')" = 'Zoom|a' ]
	[ "$(conflicts B length)" -eq 1 ]
}

@test "two new rows that clash in a UNIQUE column" {
	begin
	sql "$T/A/users.db" "INSERT INTO users VALUES(4, 'Dora', NULL, 0)"
	sql "$T/B/users.db" "INSERT INTO users VALUES(5, 'dora', 'b@example.org', 0); INSERT INTO members VALUES(5, 2, 'B')"
	rounds A
	once B || [ $? -eq 1 ]
	rounds B A
	assert_same
	[ "$(sql "$T/B/users.db" "SELECT uid FROM users WHERE name = 'dora'")" = 4 ]
	check_databases
	conflicts B '.[] | select(.path == "users.db/users/5") | .id' >"$T/ids"
	id=$(jq -r . "$T/ids" | head -n 1)
	record '{"name": "dora", "email": "b@example.org", "admin": 0, "uid": 5}' | cmp - "$(archived B "$id")"
	# its child has no parent any more: archived too, or it would violate the foreign key
	[ "$(conflicts B '[.[] | select(.path == "users.db/members/2,5")] | length')" -ge 1 ]
}

@test "two new files with one name, and equal ones" {
	begin
	echo 'from A' >"$T/A/resources/new"
	echo 'from B' >"$T/B/resources/new"
	echo equal | tee "$T/A/resources/equal" >"$T/B/resources/equal"
	rounds A B A
	assert_same
	[ "$(cat "$T/B/resources/new")" = 'from A' ]
	archived_once resources/new edited-both
	[ "$(cat "$(archived B "$id")")" = 'from B' ]
}

@test "a file against a directory: the file came first" {
	begin
	echo file >"$T/A/resources/thing"
	mkdir -p "$T/B/resources/thing/sub" && echo in >"$T/B/resources/thing/sub/in" && echo two >"$T/B/resources/thing/two"
	rounds A B A
	assert_same
	[ "$(cat "$T/B/resources/thing")" = file ]
	conflicts B >"$T/conflicts"
	id=$(jq -r '.[] | select(.path == "resources/thing/sub/in") | .id' "$T/conflicts")
	[ "$(cat "$(archived B "$id")")" = in ]
	id=$(jq -r '.[] | select(.path == "resources/thing/two") | .id' "$T/conflicts")
	[ "$(cat "$(archived B "$id")")" = two ]
}

@test "a file against a directory: the directory came first" {
	begin
	mkdir -p "$T/A/resources/thing/sub" && echo in >"$T/A/resources/thing/sub/in"
	echo file >"$T/B/resources/thing"
	rounds A B A
	assert_same
	[ "$(cat "$T/B/resources/thing/sub/in")" = in ]
	archived_once resources/thing kind
	[ "$(cat "$(archived B "$id")")" = file ]
}

@test "modes are changed on both" {
	begin
	chmod 600 "$T/A/resources/hosts.csv"
	chmod 666 "$T/B/resources/hosts.csv"
	rounds A B A
	assert_same
	[ "$(stat -c %a "$T/B/resources/hosts.csv")" = 600 ]
	[ "$(conflicts B length)" -eq 1 ]
}

@test "a member of a group that was deleted elsewhere is archived and removed" {
	begin
	sql "$T/A/users.db" 'PRAGMA foreign_keys = ON; DELETE FROM groups WHERE gid = 2'
	sql "$T/B/users.db" "INSERT INTO members VALUES(3, 2, 'late')"
	rounds A
	once B || [ $? -eq 1 ]
	rounds B A
	assert_same
	check_databases
	[ "$(sql "$T/B/users.db" 'SELECT count(*) FROM members WHERE gid = 2')" -eq 0 ]
	id=$(conflicts B '.[] | select(.path == "users.db/members/2,3") | .id' | jq -r .)
	record '{"gid": 2, "uid": 3, "since": "late"}' | cmp - "$(archived B "$id")"
}

@test "a child inserted here, its parent deleted there: the deletion came first" {
	begin
	sql "$T/A/users.db" 'PRAGMA foreign_keys = ON; DELETE FROM users WHERE uid = 2; DELETE FROM groups WHERE gid = 2'
	sql "$T/B/users.db" "INSERT INTO groups VALUES(3, 'new'); INSERT INTO members VALUES(3, 2, 'late'), (2, 3, 'late'), (3, 3, 'well')"
	rounds A
	once B || [ $? -eq 1 ]
	rounds B A
	assert_same
	check_databases
	[ "$(sql "$T/A/users.db" "SELECT group_concat(uid || ':' || gid) FROM members WHERE since IN ('late', 'well')")" = 3:3 ]
	[ "$(conflicts B '[.[] | select(.reason == "child-of-deleted") | .path] | sort | join(" ")' | jq -r .)" = \
		'users.db/members/2,3 users.db/members/3,2' ]
	[ "$(conflicts B length)" -eq 2 ]
}

@test "a child inserted here, its parent deleted there: the child came first" {
	begin
	sql "$T/A/users.db" 'PRAGMA foreign_keys = ON; DELETE FROM groups WHERE gid = 2'
	sql "$T/B/users.db" "INSERT INTO members VALUES(3, 2, 'late')"
	rounds B A B
	assert_same
	check_databases
	# the deletion loses, for what it would take along; what it took along already is gone
	[ "$(sql "$T/A/users.db" 'SELECT name FROM groups WHERE gid = 2')" = guests ]
	[ "$(sql "$T/A/users.db" 'SELECT group_concat(uid) FROM members WHERE gid = 2')" = 3 ]
	[ "$(conflicts A length)$(conflicts B length)" = 00 ]
}

@test "a child comes, and the push of its parent's deletion is lost" {
	begin
	sql "$T/A/users.db" 'PRAGMA foreign_keys = ON; DELETE FROM groups WHERE gid = 2'
	sql "$T/B/users.db" "INSERT INTO members VALUES(3, 2, 'late')"
	rounds B
	start_proxy
	tamper push-never
	once A && false
	rounds_without_proxy A B # what A sees by now is no violation that its application made
	assert_same
	check_databases
	[ "$(sql "$T/A/users.db" 'SELECT name FROM groups WHERE gid = 2')" = guests ]
}

@test "a parent is deleted here, and its new child is not seen before the push" {
	INTERVAL=600 write_config datastore
	begin
	sql "$T/A/users.db" 'PRAGMA foreign_keys = ON; DELETE FROM groups WHERE gid = 2'
	sql "$T/datastore/users.db" "INSERT INTO members VALUES(3, 2, 'late')" # no round of the datastore's finds it now
	rounds A
	[ "$(sql "$T/A/users.db" 'SELECT name FROM groups WHERE gid = 2')" = guests ] # refused, and taken back
	stop datastore
	start_datastore
	rounds A B
	assert_same
	check_databases
	[ "$(sql "$T/B/users.db" 'SELECT group_concat(uid) FROM members WHERE gid = 2')" = 3 ]
}

@test "an application that does not enforce foreign keys: what it leaves behind travels as it is" {
	begin
	sql "$T/A/users.db" "DELETE FROM groups WHERE gid = 2; INSERT INTO members VALUES(1, 77, 'nowhere')"
	rounds A B
	assert_same
	[ "$(sql "$T/B/users.db" 'SELECT group_concat(uid || gid) FROM (SELECT * FROM members ORDER BY gid) WHERE gid NOT IN (SELECT gid FROM groups)')" = 22,177 ]
	sql "$T/B/users.db" "UPDATE members SET since = 'now' WHERE gid = 77"
	rounds B A
	assert_same
	[ "$(conflicts A length)$(conflicts B length)" = 00 ]
}

@test "a UNIQUE index that only one has: no row that the datastore holds is removed" {
	begin
	sql "$T/B/users.db" 'CREATE UNIQUE INDEX strict ON users(email)'
	sql "$T/A/users.db" "INSERT INTO users VALUES(8, 'Hal', 'one@example.org', 0)"
	rounds A B
	sql "$T/A/users.db" "INSERT INTO users VALUES(9, 'Ida', 'one@example.org', 0)"
	rounds A
	for _ in 1 2 3; do
		once B && false
		[ "$(sql "$T/B/users.db" "SELECT group_concat(uid) FROM users WHERE email = 'one@example.org'")" = 8 ]
	done
	sql "$T/B/users.db" 'DROP INDEX strict'
	rounds B
	assert_same
	[ "$(conflicts B length)" -eq 0 ]
}

@test "databases that were filled apart are united: nothing is deleted" {
	fill A
	fill B
	sql "$T/A/users.db" "INSERT INTO users VALUES(20, 'only A', NULL, 0); UPDATE users SET email = 'A' WHERE uid = 1"
	sql "$T/B/users.db" "INSERT INTO users VALUES(30, 'only B', NULL, 0); UPDATE users SET email = 'B' WHERE uid = 1"
	echo A >"$T/A/resources/only-A"
	echo B >"$T/B/resources/only-B"
	echo B >"$T/B/resources/hosts.csv"
	start_datastore
	rounds A B A
	assert_same
	[ "$(sql "$T/A/users.db" "SELECT count(*) FROM users WHERE name LIKE 'only %'")" -eq 2 ]
	[ "$(sql "$T/B/users.db" 'SELECT email FROM users WHERE uid = 1')" = A ]
	[ -f "$T/A/resources/only-B" ] && [ -f "$T/B/resources/only-A" ]
	[ "$(conflicts B length)" -eq 2 ]
	[ "$(conflicts B '[.[].reason] | unique | join(" ")' | jq -r .)" = union ]
}
