#!/usr/bin/env bats
# An application that locks, reads, checkpoints, vacuums and switches journals while the daemon is at work: nobody waits for long, and nothing is lost.

# shellcheck disable=SC2154 # keys of PID

load lib

TABLES="CREATE TABLE kept(id INTEGER PRIMARY KEY, value TEXT); CREATE TABLE named(name TEXT PRIMARY KEY, value TEXT)"

begin() { # [JOURNAL_MODE]
	local name
	for name in A B; do
		sql "$T/$name/users.db" "PRAGMA journal_mode=${1:-wal}; $TABLES" >/dev/null
		sql "$T/$name/webstore.db" "PRAGMA journal_mode=${1:-wal}; $TABLES" >/dev/null
	done
	sql "$T/A/users.db" "INSERT INTO kept VALUES(1, 'one'); INSERT INTO named VALUES('n', 'one')"
	start_all
	wait_same
}

# An application on B: lines of SQL from a FIFO, each answered in $T/app.out.
start_app() { # DATABASE
	mkfifo "$T/app.in"
	python3 - "$1" "$T/app.in" >"$T/app.out" 2>"$T/app.log" 3>&- <<'PY' &
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
for line in open(sys.argv[2]):
	print(repr(db.execute(line).fetchall()), flush=True)
PY
	PID[app]=$!
	exec {APP}>"$T/app.in"
}

answered() {
	[ "$(wc -l <"$T/app.out")" -ge "$1" ] || ! alive "${PID[app]}"
}

app() { # SQL
	local answers
	answers=$(($(wc -l <"$T/app.out") + 1))
	echo "$1" >&"$APP"
	wait_for 'the application answers' answered "$answers"
	sed -n "${answers}p" "$T/app.out"
}

has() { # NAME DATABASE SQL: is there a row?
	[ -n "$(sql "$T/$1/$2" "$3")" ]
}

locked_out() {
	grep -q 'users.db.*locked' "$T/B.log"
}

holds_the_lock() { # JOURNAL_MODE
	begin "$1"
	start_app "$T/B/users.db"
	app 'BEGIN IMMEDIATE'
	app "INSERT INTO kept VALUES(2, 'of the application')"
	sql "$T/A/users.db" "UPDATE kept SET value = 'of A'; INSERT INTO named VALUES('a', 'of A')"
	wait_for 'B cannot get the lock' locked_out # it waits 5 s
	sql "$T/A/webstore.db" "INSERT INTO kept VALUES(3, 'beside')"
	mkdir -p "$T/A/resources"
	echo beside >"$T/A/resources/beside"
	wait_for 'the other database goes on' has B webstore.db 'SELECT 1 FROM kept WHERE id = 3'
	wait_for 'the files go on' test -s "$T/B/resources/beside"
	app 'SELECT count(*) FROM named' | grep -x '\[(1,)\]'
	app 'COMMIT'
	wait_same
	has A users.db "SELECT 1 FROM kept WHERE id = 2 AND value = 'of the application'"
	has B users.db "SELECT 1 FROM kept WHERE id = 1 AND value = 'of A'"
	[ "$(conflicts B length)" -eq 0 ]
	check_databases
}

@test "the application holds the write lock for longer than we wait: the other stores go on, it is caught up with (WAL)" {
	holds_the_lock wal
}

@test "the application holds the write lock for longer than we wait: the other stores go on, it is caught up with (rollback journal)" {
	holds_the_lock delete
}

@test "a reader's snapshot stands while much is pulled, and nothing of ours keeps the log from being emptied" {
	begin
	start_app "$T/B/users.db"
	app 'BEGIN'
	app 'SELECT count(*) FROM kept'
	for n in 1 2 3; do
		sql "$T/A/users.db" "WITH RECURSIVE k(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM k WHERE n < 1500)
			INSERT INTO kept SELECT $n * 10000 + n, hex(randomblob(20)) FROM k"
		wait_for 'B has it' has B users.db "SELECT 1 FROM kept WHERE id = $n * 10000 + 1500"
	done
	app 'SELECT count(*) FROM kept' | grep -x '\[(1,)\]'
	app 'COMMIT'
	wait_same
	app 'PRAGMA wal_checkpoint(TRUNCATE)' | grep -x '\[(0, 0, 0)\]'
	[ ! -s "$T/B/users.db-wal" ]
	wait_same
	check_databases
}

@test "while the datastore lets us wait, no transaction of ours is open" {
	begin
	start_proxy
	stop B
	start_webserver B
	tamper bundle-held
	sql "$T/A/users.db" "INSERT INTO kept VALUES(2, 'of A')"
	wait_for 'B waits for a bundle' grep -q 'tamper bundle-held' "$T/proxy.log"
	sql "$T/B/users.db" "INSERT INTO kept VALUES(3, 'of B')"
	[ "$(sql "$T/B/users.db" 'PRAGMA wal_checkpoint(TRUNCATE)')" = '0|0|0' ]
	tamper push-held
	touch "$T/go"
	wait_for 'B has it' has B users.db 'SELECT 1 FROM kept WHERE id = 2'
	rm "$T/go"
	sql "$T/B/users.db" "INSERT INTO kept VALUES(4, 'of B')"
	wait_for 'B waits for a push' grep -q 'tamper push-held' "$T/proxy.log"
	[ "$(sql "$T/B/users.db" 'PRAGMA wal_checkpoint(TRUNCATE)')" = '0|0|0' ]
	touch "$T/go"
	wait_same
	has A users.db 'SELECT 1 FROM kept WHERE id = 4'
}

# Checkpoints, in all ways, until the flag file is there.
checkpointer() { # DATABASE FLAG
	python3 - "$@" <<'PY'
import os, sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
n = 0
while not os.path.exists(sys.argv[2]):
	db.execute(f"INSERT INTO kept VALUES({1000000 + n}, 'of the checkpointer')")
	db.execute("PRAGMA wal_checkpoint(" + ("PASSIVE", "FULL", "RESTART", "TRUNCATE")[n % 4] + ")")
	n += 1
	time.sleep(0.002)
PY
}

@test "the application checkpoints all the time, in all ways, while much is pulled" {
	begin
	checkpointer "$T/B/users.db" "$T/over" >"$T/checkpointer" 2>&1 3>&- &
	PID[checkpointer]=$!
	for n in 1 2; do
		sql "$T/A/users.db" "WITH RECURSIVE k(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM k WHERE n < 3000)
			INSERT INTO kept SELECT $n * 10000 + n, hex(randomblob(20)) FROM k; UPDATE kept SET value = value || '.' WHERE id < 1000000"
		wait_for 'B has it' has B users.db "SELECT 1 FROM kept WHERE id = $n * 10000 + 3000"
	done
	touch "$T/over"
	wait "${PID[checkpointer]}" || fail "$(cat "$T/checkpointer")"
	unset "PID[checkpointer]"
	wait_same
	[ "$(conflicts B length)" -eq 0 ]
	check_databases
}

@test "the application switches to a write-ahead log, and vacuums" {
	unlimited_deletions
	begin delete
	sql "$T/A/users.db" "WITH RECURSIVE k(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM k WHERE n < 300) INSERT INTO named SELECT n, 'x' FROM k"
	wait_same
	[ "$(sql "$T/B/users.db" 'PRAGMA journal_mode=wal')" = wal ]
	sql "$T/B/users.db" "INSERT INTO kept VALUES(2, 'of B'); DELETE FROM named WHERE name < 2; VACUUM"
	sql "$T/A/users.db" "INSERT INTO kept VALUES(3, 'of A'); VACUUM"
	wait_same
	sql "$T/B/users.db" "UPDATE kept SET value = 'after it'; VACUUM"
	wait_same
	sync_now B
	[ "$(status_of B '.last_round | .pulled + .pushed + .conflicts')" -eq 0 ] # VACUUM alone is no change
	has A users.db "SELECT 1 FROM kept WHERE id = 3 AND value = 'after it'"
	stop B
	[ "$(sql "$T/B/users.db" 'PRAGMA journal_mode=delete')" = delete ]
	sql "$T/B/users.db" "INSERT INTO kept VALUES(4, 'of B')"
	start_webserver B
	wait_same
	has A users.db 'SELECT 1 FROM kept WHERE id = 4'
	[ "$(conflicts B length)" -eq 0 ]
	check_databases
}
