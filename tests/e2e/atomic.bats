#!/usr/bin/env bats
# A transaction of many rows is never half visible on the other side.

load lib

# Writes transactions at A: each sets all 60 rows of the ledger to one number and moves money between accounts, for so many transactions.
writer() { # DATABASE COUNT
	python3 - "$@" <<'PY'
import random, sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
for n in range(1, int(sys.argv[2]) + 1):
	db.execute("BEGIN IMMEDIATE")
	for k in range(60):
		db.execute("UPDATE ledger SET generation = ? WHERE id = ?", (n, k))
	a, b = random.sample(range(20), 2)
	db.execute("UPDATE accounts SET balance = balance - 7 WHERE id = ?", (a,))
	db.execute("UPDATE accounts SET balance = balance + 7 WHERE id = ?", (b,))
	if n % 3 == 0:
		db.execute("DELETE FROM pairs")
		db.executemany("INSERT INTO pairs VALUES(?, ?)", [(n * 10 + k, n) for k in range(8)])
	db.execute("COMMIT")
	time.sleep(0.01)
PY
}

# Reads until the flag file is there: every look must find one generation, all the money, and eight pairs of one kind.  Prints the generations it saw.
reader() { # DATABASE FLAG
	python3 - "$@" <<'PY'
import os, sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
seen, looks, last = set(), 0, False
while True:
	last = os.path.exists(sys.argv[2])
	db.execute("BEGIN")
	generations = [g for g, in db.execute("SELECT DISTINCT generation FROM ledger")]
	money, accounts = db.execute("SELECT sum(balance), count(*) FROM accounts").fetchone()
	pairs, kinds = db.execute("SELECT count(*), count(DISTINCT kind) FROM pairs").fetchone()
	db.execute("COMMIT")
	looks += 1
	if len(generations) != 1 or money != 2000 or accounts != 20 or pairs != 8 or kinds != 1:
		sys.exit(f"half a transaction: generations {generations}, {money} in {accounts} accounts, {pairs} pairs of {kinds} kinds")
	seen.add(generations[0])
	if last:
		break
	time.sleep(0.001)
print(len(seen), looks)
PY
}

atomic() { # JOURNAL_MODE
	local reader_b reader_d
	for name in A B; do
		sql "$T/$name/users.db" "PRAGMA journal_mode=$1; CREATE TABLE ledger(id INTEGER PRIMARY KEY, generation INT);
			CREATE TABLE accounts(id INTEGER PRIMARY KEY, balance INT); CREATE TABLE pairs(id INTEGER PRIMARY KEY, kind INT)" >/dev/null
	done
	sql "$T/A/users.db" "WITH RECURSIVE k(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM k WHERE n < 59) INSERT INTO ledger SELECT n, 0 FROM k;
		WITH RECURSIVE k(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM k WHERE n < 19) INSERT INTO accounts SELECT n, 100 FROM k;
		WITH RECURSIVE k(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM k WHERE n < 8) INSERT INTO pairs SELECT n, 0 FROM k"
	start_all
	wait_same
	reader "$T/B/users.db" "$T/over" >"$T/reader-B" 2>&1 3>&- &
	reader_b=$!
	reader "$T/datastore/users.db" "$T/over" >"$T/reader-datastore" 2>&1 3>&- &
	reader_d=$!
	writer "$T/A/users.db" 400
	wait_same
	touch "$T/over"
	wait $reader_b || fail "on B: $(cat "$T/reader-B")"
	wait $reader_d || fail "at the datastore: $(cat "$T/reader-datastore")"
	read -r seen looks <"$T/reader-B"
	echo "B: $seen generations in $looks looks; datastore: $(cat "$T/reader-datastore")"
	[ "$seen" -ge 4 ] # or it would have shown nothing
	check_databases
}

@test "many rows in one transaction: all or none, while A keeps writing (WAL)" {
	atomic wal
}

@test "many rows in one transaction: all or none, while A keeps writing (rollback journal)" {
	atomic delete
}
