#!/usr/bin/env bats
# Full-text search finds on each machine what was written on the other, in indexes that only the application's own triggers feed.

load lib

SCHEMA="
	CREATE TABLE notes(id INTEGER PRIMARY KEY, title TEXT UNIQUE, body TEXT, meta TEXT DEFAULT '{}' CHECK (json_valid(meta)));
	CREATE VIRTUAL TABLE own USING fts5(title, body);
	CREATE TRIGGER own_in AFTER INSERT ON notes BEGIN INSERT INTO own(rowid, title, body) VALUES(new.id, new.title, new.body); END;
	CREATE TRIGGER own_out AFTER DELETE ON notes BEGIN DELETE FROM own WHERE rowid = old.id; END;
	CREATE TRIGGER own_up AFTER UPDATE ON notes BEGIN
		UPDATE own SET title = new.title, body = new.body WHERE rowid = old.id;
		UPDATE notes SET meta = json_set(meta, '$.edited', 1) WHERE id = new.id;
	END;
	CREATE VIRTUAL TABLE external USING fts5(title, body, content='notes', content_rowid='id');
	CREATE TRIGGER external_in AFTER INSERT ON notes BEGIN
		INSERT INTO external(rowid, title, body) VALUES(new.id, new.title, new.body);
	END;
	CREATE TRIGGER external_out AFTER DELETE ON notes BEGIN
		INSERT INTO external(external, rowid, title, body) VALUES('delete', old.id, old.title, old.body);
	END;
	CREATE TRIGGER external_up AFTER UPDATE OF title, body ON notes BEGIN
		INSERT INTO external(external, rowid, title, body) VALUES('delete', old.id, old.title, old.body);
		INSERT INTO external(rowid, title, body) VALUES(new.id, new.title, new.body);
	END;"

found() { # NAME WORD: the notes in which it is, by both indexes
	local index got want
	want=$(sql "$T/$1/users.db" "SELECT group_concat(id) FROM notes WHERE ' ' || title || ' ' || body || ' ' LIKE '% $2 %'")
	for index in own external; do
		got=$(sql "$T/$1/users.db" "SELECT group_concat(rowid) FROM (SELECT rowid FROM $index WHERE $index MATCH '$2' ORDER BY rowid)")
		[ "$got" = "$want" ] || fail "$1: $index finds $2 in '$got', not in '$want'" || return 1
	done
	echo "$got"
}

sound() {
	local name
	assert_same
	check_databases
	for name in datastore A B; do
		sql "$T/$name/users.db" "INSERT INTO own(own) VALUES('integrity-check'); INSERT INTO external(external) VALUES('integrity-check')"
	done
}

@test "what A writes is found on B, and the reverse" {
	for name in A B; do sql "$T/$name/users.db" "PRAGMA journal_mode=wal; $SCHEMA" >/dev/null; done
	sql "$T/A/users.db" "INSERT INTO notes(id, title, body) VALUES(1, 'fish', 'red and blue'), (2, 'boats', 'blue')"
	start_datastore
	rounds A B
	sound
	[ "$(found B blue)" = 1,2 ]
	sql "$T/B/users.db" "UPDATE notes SET body = 'green' WHERE id = 2; INSERT INTO notes(id, title, body) VALUES(3, 'fish again', 'blue')"
	rounds B A
	sound
	[ "$(found A blue)" = 1,3 ]
	[ "$(found A green)" = 2 ]
	sql "$T/A/users.db" "DELETE FROM notes WHERE id = 1; UPDATE notes SET title = 'x' WHERE id = 2; UPDATE notes SET title = 'boats' WHERE id = 3;
		UPDATE notes SET title = 'fish again' WHERE id = 2" # and the titles are exchanged
	rounds A B
	sound
	[ "$(found B fish)" = 2 ]
	[ "$(found B boats)" = 3 ]
	[ "$(found datastore boats)" = 3 ]
}

@test "a webserver without a database gets one in which the application's next row is found" {
	sql "$T/A/users.db" "PRAGMA journal_mode=wal; $SCHEMA" >/dev/null
	sql "$T/A/users.db" "INSERT INTO notes(id, title, body) VALUES(1, 'fish', 'red and blue'), (2, 'boats', 'blue')"
	start_datastore
	rounds A B
	sound
	[ "$(found B blue)" = 1,2 ]
	diff <(dump_schema "$T/A/users.db" | sort) <(dump_schema "$T/B/users.db" | sort)
	sql "$T/B/users.db" "INSERT INTO notes(id, title, body) VALUES(3, 'birds', 'blue')"
	[ "$(found B blue)" = 1,2,3 ]
	rounds B A
	sound
	[ "$(found A birds)" = 3 ]
}

@test "after random edits on both sides every index holds what its notes do" {
	for name in A B; do sql "$T/$name/users.db" "PRAGMA journal_mode=wal; $SCHEMA" >/dev/null; done
	start_datastore
	for round in 1 2 3 4; do
		for name in A B; do
			python3 - "$T/$name/users.db" "$name$round" <<'PY'
import random, sqlite3, sys
random.seed(sys.argv[2])
db = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
words = "red blue green fish boat bird tree stone".split()
side = 1000 if sys.argv[2][0] == "A" else 2000
for k in range(25):
	ids = [row[0] for row in db.execute("SELECT id FROM notes")]
	key = side + int(sys.argv[2][1:]) * 50 + k
	body = " ".join(random.choices(words, k=random.randrange(1, 6)))
	what = random.randrange(5) if ids else 0
	if what < 2: db.execute("INSERT INTO notes(id, title, body) VALUES(?, ?, ?)", (key, f"note {key}", body))
	if what == 2: db.execute("UPDATE notes SET body = ? WHERE id = ?", (body, random.choice(ids)))
	if what == 3: db.execute("UPDATE notes SET title = ? WHERE id = ?", (f"{random.choice(words)} {key}", random.choice(ids)))
	if what == 4 and len(ids) > 20: db.execute("DELETE FROM notes WHERE id = ?", (random.choice(ids),))
PY
		done
		rounds A
		once B || [ $? -eq 1 ]
		rounds B A
		sound || fail "in round $round"
	done
	for name in datastore A B; do
		for word in red blue green fish boat bird tree stone; do found "$name" "$word" >/dev/null; done
	done
}
