#!/usr/bin/env bats
# Data that no one here made: two databases (coordinate reference systems of qgis-providers-common, and of proj-data, with its triggers and views) and a document
# tree (freebsd-manpages) from Debian packages go round, are edited on both sides at random, and come out equal.  Skipped where the archive cannot be reached.

# shellcheck disable=SC2034 # lib.bash reads them

load lib

fetch() { # PACKAGE
	(cd "$T" && timeout 60 apt-get download -q "$1" >"$T/apt" 2>&1 || { timeout 60 apt-get update -q >>"$T/apt" 2>&1 && timeout 60 apt-get download -q "$1" >>"$T/apt" 2>&1; }) ||
		skip "$1 cannot be downloaded: $(tail -n 1 "$T/apt")"
	dpkg-deb -x "$T/$1"_*.deb "$T/$1"
}

# DATABASE SEED SIDE COUNT: so many random edits of tables with a primary key, in a few transactions
edit_rows() {
	python3 - "$@" <<'PY'
import random, sqlite3, sys
path, seed, side, count = sys.argv[1:5]
rnd = random.Random(seed)
db = sqlite3.connect(path, timeout=60, isolation_level=None)
quote = lambda name: '"' + name.replace('"', '""') + '"'
tables = {}
for name, in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite~_%' ESCAPE '~' AND name NOT LIKE '~_sameroot~_%' ESCAPE '~'"):
	columns = db.execute(f"PRAGMA table_info({quote(name)})").fetchall()
	key = [c[1] for c in columns if c[5]]
	texts = [c[1] for c in columns if not c[5] and "TEXT" in c[2].upper()]
	if key and name != "usage" and db.execute(f"SELECT count(*) FROM {quote(name)}").fetchone()[0] > 20:
		tables[name] = (key, texts, [c[1] for c in columns])
done = {"update": 0, "delete": 0, "insert": 0, "refused": 0}
for _ in range(int(count)):
	name = rnd.choice(sorted(tables))
	key, texts, columns = tables[name]
	where = " AND ".join(f"{quote(k)} IS ?" for k in key)
	row = db.execute(f"SELECT {', '.join(map(quote, columns))} FROM {quote(name)} LIMIT 1 OFFSET ?",
		(rnd.randrange(db.execute(f"SELECT count(*) FROM {quote(name)}").fetchone()[0]),)).fetchone()
	if row is None:
		continue
	values = [row[columns.index(k)] for k in key]
	what = rnd.choice(("update", "update", "update", "delete", "insert"))
	try:
		if what == "update" and texts:
			db.execute(f"UPDATE {quote(name)} SET {quote(rnd.choice(texts))} = ? WHERE {where}", [f"{side} {rnd.random()}"] + values)
		elif what == "delete":
			db.execute(f"DELETE FROM {quote(name)} WHERE {where}", values)
		elif what == "insert":
			new = list(row)
			at = columns.index(key[-1])
			new[at] = f"{side}-{rnd.randrange(10**9)}" if isinstance(new[at], str) else rnd.randrange(10**6, 10**9)
			db.execute(f"INSERT INTO {quote(name)} VALUES({', '.join('?' * len(new))})", new)
		else:
			continue
		done[what] += 1
	except sqlite3.DatabaseError:
		done["refused"] += 1 # by its own triggers and constraints
print(side, done)
assert done["update"] > 10 and done["delete"] > 2
PY
}

# DIRECTORY SEED SIDE COUNT
edit_files() {
	python3 - "$@" <<'PY'
import os, random, sys
top, seed, side, count = sys.argv[1:5]
rnd = random.Random(seed)
files = sorted(os.path.join(d, f) for d, _, names in os.walk(top) for f in names if ".sameroot" not in d)
dirs = sorted({os.path.dirname(f) for f in files})
for k in range(int(count)):
	path = rnd.choice(files)
	what = rnd.randrange(6)
	if not os.path.exists(path):
		continue
	if what == 0: os.unlink(path)
	elif what == 1: os.rename(path, f"{rnd.choice(dirs)}/{side}-moved-{k}")
	elif what == 2: os.chmod(path, rnd.choice((0o600, 0o644, 0o755)))
	elif what == 3: open(path, "ab").write(f"{side} was here\n".encode())
	elif what == 4: open(path, "wb").write(rnd.randbytes(rnd.randrange(30000)))
	else: open(f"{rnd.choice(dirs)}/{side}-new-{k}", "wb").write(rnd.randbytes(rnd.randrange(3000)))
PY
}

settle() {
	local k
	for k in 1 2 3 4; do
		once A || [ $? -eq 1 ]
		once B || [ $? -eq 1 ]
	done
}

compare() {
	local name db
	assert_same
	for db in users.db webstore.db; do
		dump_schema "$T/A/$db" >"$T/schema"
		for name in datastore B; do
			dump_schema "$T/$name/$db" | diff "$T/schema" - | head -n 20 || true
			dump_schema "$T/$name/$db" | cmp "$T/schema" - || fail "the schema of $db differs: $name"
		done
		for name in datastore A B; do
			[ "$(sql "$T/$name/$db" 'PRAGMA integrity_check')" = ok ] || fail "integrity_check of $db: $name"
		done
	done
}

@test "someone else's database and documents go round and are edited on both sides" {
	command -v apt-get dpkg-deb >/dev/null || skip 'this is no Debian'
	fetch qgis-providers-common
	fetch proj-data
	fetch freebsd-manpages
	for name in datastore A B; do write_config $name Max-Delete-Percent=100; done
	mkdir -p "$T/A/resources"
	cp "$T/qgis-providers-common/usr/share/qgis/resources/srs-template.db" "$T/A/users.db"
	cp "$T/proj-data/usr/share/proj/proj.db" "$T/A/webstore.db"
	cp -a "$T/freebsd-manpages/usr/share/." "$T/A/resources/"
	rows=$({ dump_db "$T/A/users.db" && dump_db "$T/A/webstore.db"; } | wc -l)
	files=$(find "$T/A/resources" -type f | wc -l)
	echo "$rows rows, $files files"
	[ "$rows" -gt 50000 ] && [ "$files" -gt 3000 ]
	start_datastore
	settle
	compare
	for round in 1 2 3; do
		for name in A B; do
			edit_rows "$T/$name/users.db" "$name$round" "$name" 150
			edit_rows "$T/$name/webstore.db" "$name$round" "$name" 150
			edit_files "$T/$name/resources" "$name$round" "$name" 150
		done
		settle
		compare || fail "after edits $round"
	done
	echo "archived: $(conflicts A length) at A, $(conflicts B length) at B"
	root=$(root_of datastore)
	rm -r "$T/A/state" "$T/B/state" # from scratch: the same root
	settle
	compare
	[ "$(root_of datastore)" = "$root" ]
}
