#!/usr/bin/env bats
# A table is built anew at the datastore, and the datastore is killed on the way, at each turn of its writing: what its next start finds in the new shape
# was not deleted, nothing is lost, and everyone goes on.

# shellcheck disable=SC2154 # keys of PID

load lib

ROWS=40
CALLS=fsync,fdatasync # a kill before one of them leaves what was written for it, as the page cache has it

# NAME N: its application builds the table anew, with another key, and a further column that is in every row
build_anew() {
	local key=id columns='' common='id, code, value' k
	(($2 % 2)) && key=code
	for ((k = 1; k <= $2; k++)); do
		((k == 1)) || common+=", c$((k - 1))"
		columns+=", c$k TEXT DEFAULT 'c$k'" # no shape comes twice
	done
	value "$1" "BEGIN IMMEDIATE; CREATE TABLE anew(id INTEGER NOT NULL, code TEXT NOT NULL, value TEXT NOT NULL$columns, PRIMARY KEY($key)) WITHOUT ROWID;
		INSERT INTO anew($common) SELECT $common FROM items; DROP TABLE items; ALTER TABLE anew RENAME TO items; COMMIT"
}

# OPTION...: strace of the running datastore
attach() {
	ASAN_OPTIONS=detect_leaks=0 strace -f -qq -y -e "trace=$CALLS" "$@" -p "${PID[datastore]}" 3>&- 2>"$T/strace-says" &
	PID[strace]=$!
	wait_for 'strace is attached' attached
}

attached() {
	! alive "${PID[strace]}" || grep -q '^TracerPid:.*[1-9]' "/proc/${PID[datastore]}/status"
}

detach() {
	! alive "${PID[strace]}" || stop strace INT || true
	unset 'PID[strace]'
}

# How many calls in $T/trace are the thread's that wrote the database?
calls() {
	grep -c "^$(awk '/users.db-wal/ { print $1; exit }' "$T/trace") " "$T/trace"
}

whole() { # N: every row is there, in the shape N
	[ "$(value datastore "SELECT count(*) FROM items WHERE value LIKE '<' || id || '-%' AND c$1 = 'c$1' AND code = 'code-' || id")" = "$ROWS" ] ||
		fail "after $1: $(value datastore 'SELECT * FROM items LIMIT 3')"
}

@test "the datastore is killed while it builds a table anew, and before it has looked at that: nothing is read as a deletion" {
	command -v strace >/dev/null || skip 'no strace'
	value A "PRAGMA journal_mode=wal; CREATE TABLE items(id INTEGER NOT NULL, code TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY(id)) WITHOUT ROWID;
		WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $ROWS) INSERT INTO items SELECT i, 'code-' || i, '<' || i || '-0>' FROM n;
		CREATE TABLE other(id INTEGER PRIMARY KEY, value TEXT); INSERT INTO other VALUES(1, 'one')" >/dev/null
	start_datastore
	rounds A B
	build_anew A 1
	attach -o "$T/trace"
	alive "${PID[strace]}" || skip "strace may not attach here: $(<"$T/strace-says")"
	rounds A A
	detach 2>/dev/null
	whole 1
	most=$(calls)
	[ "$most" -ge 8 ] # what is kept: 4; intents, the database, its commit, the scan
	n=1 killed=0
	for ((number = 1; number <= most; number++)); do
		build_anew A $((++n))
		disown "${PID[datastore]}"
		attach -o /dev/null -e "inject=$CALLS:signal=KILL:when=$number"
		once A || true
		for _ in {1..20}; do # its own look at what was written comes a second later
			alive "${PID[datastore]}" || break
			sleep 0.1
		done
		alive "${PID[datastore]}" || killed=$((killed + 1))
		kill -KILL "${PID[datastore]}" 2>/dev/null || true # if this run made fewer calls
		wait_for 'it is gone' gone "${PID[datastore]}"
		detach
		value B "UPDATE other SET value = 'of $n'"
		start_datastore
		admin datastore /api/admin/status >"$T/status"
		! grep -E 'held:|were deleted directly' "$T/status" "$T/datastore.log" || fail "killed at $number"
		rounds A A
		whole "$n"
		value A "UPDATE items SET value = '<' || id || '-$n>' WHERE id <= $n"
		rounds A
		[ "$(sqlite3 "$T/datastore/state/state.db" "SELECT count(*) FROM deleted")" = 0 ] || fail "killed at $number: taken for deleted"
		[ "$(sqlite3 "$T/datastore/state/state.db" "SELECT count(*) FROM meta WHERE name LIKE 'reshaped%'")" = 0 ]
	done
	[ "$killed" -ge 8 ]
	for ((k = 1; k <= n; k++)); do build_anew B "$k"; done
	rounds A B A
	assert_same
	whole "$n"
	everywhere "SELECT count(*) FROM items WHERE value = '<' || id || '-$n>'" "$n"
	[ "$(conflicts A length)$(conflicts datastore length)" = 00 ] # B had not seen the later keys: its rows of before may give way
	[ "$(value B 'SELECT value FROM other')" = "of $n" ]
	check_databases
}
