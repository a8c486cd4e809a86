#!/usr/bin/env bats
# What an operator did to it at three in the morning, and what it has to make of that.

load lib

@test "a database without a marker, moved over one with a write-ahead log, deletes nothing" {
	start_datastore
	sqlite3 "$T/A/users.db" "PRAGMA journal_mode=wal; CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT);
		WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500) INSERT INTO users SELECT i, 'name ' || i FROM n"
	start_webserver A
	start_webserver B
	wait_same
	kill -KILL "${PID[A]}"
	wait "${PID[A]}" 2>/dev/null || true
	unset "PID[A]"
	[ -s "$T/A/users.db-wal" ]
	sqlite3 "$T/backup.db" "CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT); INSERT INTO users VALUES(1, 'name 1'), (900, 'new')"
	mv "$T/backup.db" "$T/A/users.db"
	start_webserver A
	wait_same
	[ "$(sqlite3 "$T/B/users.db" 'SELECT count(*) FROM users')" = 501 ]
}

@test "--once beside the daemon says who holds the state directory, and exits 75" {
	start_datastore
	start_webserver A
	status=0
	"$BIN/sameroot-sync" --once -c "$T/A.conf" 2>"$T/said" || status=$?
	[ "$status" = 75 ]
	grep -q "${PID[A]}" "$T/said"
}

@test "status exits 1 when the secret is wrong" {
	start_datastore
	start_webserver A
	sync_now A
	stop datastore
	printf '%s\n' another-secret-of-more-than-thirty-two-characters >"$T/other"
	chmod 600 "$T/other"
	sed -i "s|^Control-Auth-File=.*|Control-Auth-File=$T/other|" "$T/datastore.conf"
	start_datastore
	wait_for 'the trouble' grep -q 'secret is wrong' "$T/A.log"
	status=0
	"$BIN/sameroot" status -c "$T/A.conf" >"$T/said" || status=$?
	cat "$T/said"
	[ "$status" = 1 ]
}
