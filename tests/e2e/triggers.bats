#!/usr/bin/env bats
# The application's triggers fire once, where it wrote; nothing cascades into rows that no one touched; SQLite finds every database sound throughout.

load lib

SCHEMA="
	CREATE TABLE teams(id INTEGER PRIMARY KEY, name TEXT UNIQUE, size INT DEFAULT 0);
	CREATE TABLE people(id INTEGER PRIMARY KEY, name TEXT UNIQUE, team INT REFERENCES teams(id) ON DELETE CASCADE ON UPDATE CASCADE, rank INT UNIQUE);
	CREATE TABLE badges(person INT REFERENCES people(id) ON DELETE SET NULL, number INTEGER PRIMARY KEY);
	CREATE TABLE audit(id TEXT PRIMARY KEY DEFAULT (hex(randomblob(8))), what TEXT);
	CREATE TRIGGER person_in AFTER INSERT ON people BEGIN
		INSERT INTO audit(what) VALUES('in ' || new.name);
		UPDATE teams SET size = size + 1 WHERE id = new.team;
	END;
	CREATE TRIGGER person_out AFTER DELETE ON people BEGIN
		INSERT INTO audit(what) VALUES('out ' || old.name);
		UPDATE teams SET size = size - 1 WHERE id = old.team;
	END;
	CREATE TRIGGER person_renamed AFTER UPDATE OF name ON people BEGIN
		INSERT INTO audit(what) VALUES(old.name || ' is ' || new.name);
	END;
	CREATE TRIGGER no_short_names BEFORE INSERT ON teams WHEN length(new.name) < 2 BEGIN SELECT RAISE(ABORT, 'too short'); END;"

begin() {
	for name in A B; do sql "$T/$name/users.db" "PRAGMA journal_mode=wal; $SCHEMA" >/dev/null; done
	write SQL A "INSERT INTO teams(id, name) VALUES(1, 'red'), (2, 'blue'), (3, 'green');
		INSERT INTO people VALUES(1, 'Ada', 1, 10), (2, 'Bert', 1, 20), (3, 'Carol', 2, 30), (4, 'Dora', 3, 40);
		INSERT INTO badges VALUES(1, 100), (3, 300), (4, 400)"
	start_datastore
	rounds A B
	sound
}

write() { # SQL NAME STATEMENTS: with foreign keys on, as a careful application
	sql "$T/$2/users.db" "PRAGMA foreign_keys = ON; $3"
}

sound() {
	assert_same
	check_databases
}

query() { # SQL: the same answer on all three, printed once
	local name answer first
	first=$(sql "$T/A/users.db" "$1")
	for name in datastore B; do
		answer=$(sql "$T/$name/users.db" "$1")
		[ "$answer" = "$first" ] || fail "$name: $answer, A: $first" || return 1
	done
	echo "$first"
}

@test "a trigger fires once for each change, on the side that made it" {
	begin
	[ "$(query 'SELECT count(*) FROM audit')" -eq 4 ]
	[ "$(query 'SELECT size FROM teams ORDER BY id' | xargs)" = '2 1 1' ]
	write SQL A "INSERT INTO people VALUES(5, 'Emil', 2, 50); UPDATE people SET name = 'Adele' WHERE id = 1"
	write SQL B "INSERT INTO people VALUES(6, 'Fred', 3, 60); DELETE FROM people WHERE id = 2"
	rounds A B A
	sound
	[ "$(query 'SELECT count(*) FROM audit')" -eq 8 ]
	[ "$(query "SELECT count(*) FROM audit WHERE what IN ('in Emil', 'in Fred', 'out Bert', 'Ada is Adele')")" -eq 4 ]
	[ "$(query 'SELECT size FROM teams ORDER BY id' | xargs)" = '1 2 2' ]
	rounds A B A B # and no echo
	[ "$(query 'SELECT count(*) FROM audit')" -eq 8 ]
}

@test "a cascade travels as the rows that it changed, and reaches no others" {
	begin
	write SQL A 'DELETE FROM teams WHERE id = 1' # people 1, 2 go; badge 100 loses its person
	rounds A B
	sound
	[ "$(query 'SELECT group_concat(id) FROM people')" = 3,4 ]
	[ "$(query 'SELECT person IS NULL FROM badges WHERE number = 100')" = 1 ]
	[ "$(query 'SELECT count(*) FROM badges')" -eq 3 ]
	write SQL B 'UPDATE teams SET id = 20 WHERE id = 2'
	rounds B A
	sound
	[ "$(query 'SELECT team FROM people WHERE id = 3')" = 20 ]
	[ "$(query 'SELECT person FROM badges WHERE number = 300')" = 3 ]
}

@test "an update of a parent leaves its children alone" {
	begin
	write SQL A "UPDATE teams SET name = 'scarlet' WHERE id = 1"
	rounds A B
	sound
	[ "$(query 'SELECT count(*) FROM people WHERE team = 1')" -eq 2 ]
}

@test "values of a UNIQUE column are swapped, and rotated among many" {
	begin
	write SQL A 'UPDATE people SET rank = -rank WHERE id IN (1, 2); UPDATE people SET rank = 30 - (-rank) WHERE id IN (1, 2) AND 1 = 0;
		UPDATE people SET rank = CASE id WHEN 1 THEN 20 ELSE 10 END WHERE id IN (1, 2)'
	rounds A B
	sound
	[ "$(query 'SELECT group_concat(rank) FROM (SELECT rank FROM people ORDER BY id)')" = 20,10,30,40 ]
	write SQL B 'UPDATE people SET rank = -rank; UPDATE people SET rank = (id % 4 + 1) * 10'
	rounds B A
	sound
	[ "$(query 'SELECT group_concat(rank) FROM (SELECT rank FROM people ORDER BY id)')" = 20,30,40,10 ]
	[ "$(query 'SELECT count(*) FROM badges WHERE person IS NULL')" -eq 0 ] # nothing was deleted and inserted with a cascade
}

@test "rowids stay what they are" {
	begin
	sql "$T/A/users.db" "CREATE TABLE named(name TEXT PRIMARY KEY, value INT); INSERT INTO named VALUES('b', 1), ('a', 2), ('c', 3)"
	sql "$T/B/users.db" "CREATE TABLE named(name TEXT PRIMARY KEY, value INT); INSERT INTO named VALUES('c', 3), ('a', 2), ('b', 1)"
	rounds A B A
	before=$(sql "$T/B/users.db" 'SELECT rowid, name FROM named ORDER BY rowid')
	sql "$T/A/users.db" 'UPDATE named SET value = value + 10'
	rounds A B
	sound
	[ "$(sql "$T/B/users.db" 'SELECT rowid, name FROM named ORDER BY rowid')" = "$before" ]
	[ "$(query 'SELECT sum(value) FROM named')" -eq 36 ]
}

@test "many random edits on both sides, with triggers and cascades: sound after every round" {
	begin
	for round in 1 2 3 4 5 6; do
		for name in A B; do
			python3 - "$T/$name/users.db" "$name$round" <<'PY'
import random, sqlite3, sys
random.seed(sys.argv[2])
db = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
db.execute("PRAGMA foreign_keys = ON")
side = 1000 if sys.argv[2][0] == "A" else 2000
for k in range(12):
	try:
		people = [r[0] for r in db.execute("SELECT id FROM people")]
		teams = [r[0] for r in db.execute("SELECT id FROM teams")]
		what = random.randrange(6)
		key = side + int(sys.argv[2][1:]) * 20 + k
		if what == 0: db.execute("INSERT INTO teams(id, name) VALUES(?, ?)", (key, f"team {key}"))
		if what in (1, 2): db.execute("INSERT INTO people VALUES(?, ?, ?, ?)", (key, f"person {key}", random.choice(teams), key))
		if what == 3: db.execute("UPDATE people SET name = name || '+', team = ? WHERE id = ?", (random.choice(teams), random.choice(people)))
		if what == 4: db.execute("INSERT INTO badges VALUES(?, ?)", (random.choice(people), key))
		if what == 5 and len(people) > 4: db.execute("DELETE FROM people WHERE id = ?", (random.choice(people),))
	except sqlite3.IntegrityError:
		pass
PY
		done
		rounds A
		once B || [ $? -eq 1 ]
		rounds B A
		sound || fail "in round $round"
	done
}
