#!/usr/bin/env bats
# 20,000 files and 100,000 rows: one changed row and one changed file walk in at most four round trips, the bundle apart.

# shellcheck disable=SC2034 # lib.bash reads them

load lib

last_round() { # NAME FIELD N
	[[ $(status_of "$1" ".last_round.$2") -eq $3 ]]
}

@test "one change among 120,000 leaves: at most four round trips" {
	INTERVAL=3600
	write_config datastore
	write_config A
	write_config B
	python3 - "$T/A" <<'PY'
import os, sqlite3, sys
top = sys.argv[1] + "/resources"
for d in range(100):
	os.makedirs(f"{top}/d{d}")
	for f in range(200):
		with open(f"{top}/d{d}/file-{f}", "w") as file:
			file.write(f"content {d} {f}\n")
db = sqlite3.connect(sys.argv[1] + "/users.db", isolation_level=None)
db.execute("PRAGMA journal_mode=wal")
db.execute("CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT, email TEXT)")
db.execute("BEGIN")
db.executemany("INSERT INTO users VALUES(?, ?, ?)", ((k, f"user {k}", f"u{k}@example.org") for k in range(100000)))
db.execute("COMMIT")
PY
	WAIT=150
	start_datastore
	rounds A B # the first fill
	start_webserver A B
	wait_for 'A did a round' rounds_over A 1
	wait_for 'B did a round' rounds_over B 1
	kill -STOP "${PID[A]}" # so that it sees both at once
	sql "$T/A/users.db" "UPDATE users SET name = 'another' WHERE id = 54321"
	echo another >"$T/A/resources/d42/file-42"
	kill -CONT "${PID[A]}"
	wait_for 'A to push both' last_round A pushed 2
	wait_for 'B to have both' last_round B pulled 2
	echo "A: $(status_of A .last_round)"
	echo "B: $(status_of B .last_round)"
	[ "$(cat "$T/B/resources/d42/file-42")" = another ]
	[ "$(sql "$T/B/users.db" 'SELECT name FROM users WHERE id = 54321')" = another ]
	# A: a check-in, the push, and perhaps a look at what came of it; B: a check-in and the walk, and one bundle for each of the two stores
	[ "$(status_of A '.last_round.requests - 1')" -le 4 ]
	[ "$(status_of B '.last_round.requests - 2')" -le 4 ]
	[ "$(status_of B '.last_round | .sent + .received')" -lt 200000 ]
	assert_same
	same_roots datastore A B
}
