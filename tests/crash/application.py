"""application.py DIRECTORY WHAT - the application of a node, for crash.py.

  begin     its databases and files
  there     changes of each kind: rows and files inserted, changed, deleted, a file moved, directories made and removed, one for a file and a file for one, a mode
  here      changes of another webserver, some of the same rows and files, and some that are the same changes
  more      further ones
  large     a large file, and a directory of files that are worth copying
  reworked  the large file edited in its midst; the directory moved, and of what was in it a copy made
  loose-... the same, as an application does it that asks for no durability: synchronous=NORMAL, no fsync

Every value is a token of its own, so that one can look for it.
"""
import os
import random
import sqlite3
import sys

BIG = 150000
LARGE = 1200000  # travels by itself, and as a delta when it is edited


def synced(path):
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


class Application:
    def __init__(self, directory, durable=True):
        self.directory, self.durable = directory, durable
        self.bases = []

    def sql(self, base, *statements):
        db = sqlite3.connect(f"{self.directory}/{base}", isolation_level=None)
        self.bases.append(db)
        db.execute(f"PRAGMA synchronous = {'EXTRA' if self.durable else 'NORMAL'}")
        db.execute("PRAGMA foreign_keys = ON")
        for statement in statements:
            db.execute(statement)

    def end(self):
        """The last one to close a database would make it durable."""
        if not self.durable:
            os._exit(0)
        for db in self.bases:
            db.close()

    def path(self, name):
        return f"{self.directory}/resources/{name}"

    def sync(self, *names):
        for name in names if self.durable else ():
            synced(self.path(name))

    def file(self, name, text, mode=0o644):
        """A new file, or a new version of it, as careful applications do it: beside it, then in its place."""
        folder = os.path.dirname(self.path(name))
        draft = f"{self.directory}/draft"
        with open(draft, "wb") as file:
            file.write(text.encode("latin-1"))
            file.flush()
            os.fchmod(file.fileno(), mode)
            if self.durable:
                os.fsync(file.fileno())
        os.rename(draft, self.path(name))
        if self.durable:
            synced(folder)
            synced(self.directory)

    def directory_of(self, name):
        os.mkdir(self.path(name))
        self.sync(".")

    def begin(self):
        self.sql("users.db", "PRAGMA journal_mode = WAL",
                 "CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, note TEXT)",
                 "CREATE TABLE logins(id INTEGER PRIMARY KEY, user INTEGER NOT NULL REFERENCES users(id), at TEXT)",
                 "CREATE TABLE bag(text TEXT)",
                 *(f"INSERT INTO users VALUES({i}, '<name {i}>', '<note {i}>')" for i in range(1, 9)),
                 "INSERT INTO logins VALUES(1, 1, '<login 1>'), (2, 2, '<login 2>')", "INSERT INTO bag VALUES('<bag 1>'), ('<bag 1>'), ('<bag 2>')")
        self.sql("webstore.db", "PRAGMA journal_mode = DELETE", "CREATE TABLE boards(id TEXT PRIMARY KEY, title TEXT, body BLOB) WITHOUT ROWID",
                 *(f"INSERT INTO boards VALUES('board {i}', '<title {i}>', '<body {i}>')" for i in range(1, 7)))
        os.makedirs(self.path("."), exist_ok=True)
        for name in ("kept", "gone", "old", "changed", "both", "same", "mode"):
            self.file(name, f"<file {name}>")
        self.file("big", "<file big>" + "b" * BIG)
        for name in ("dir", "olddir", "olddir/below", "moved", "empty", "folder"):
            self.directory_of(name)
        self.file("olddir/below/deep", "<file olddir below deep>")
        self.file("folder/inner", "<file folder inner>")
        self.file("single", "<file single>")
        self.file("dir/inner", "<file dir inner>")
        self.file("olddir/last", "<file olddir last>")

    def large(self):
        self.directory_of("photos")
        for i in range(4):
            self.file(f"photos/{i}", f"<photo {i}>" + chr(97 + i) * 3000)
        self.file("large", random.Random(1).randbytes(LARGE).decode("latin-1"))

    def reworked(self):
        text = random.Random(1).randbytes(LARGE).decode("latin-1")
        self.file("large", text[:LARGE // 2] + "<edited large>" + text[LARGE // 2:])
        os.rename(self.path("photos"), self.path("album"))
        self.sync(".")
        self.file("album/again", "<photo 2>" + "c" * 3000)
        self.file("album/1", "<photo 3>" + "d" * 3000)
        self.file("large-as-it-was", text)

    def there(self):
        self.sql("users.db", "BEGIN", "INSERT INTO users VALUES(10, '<name 10>', NULL)", "INSERT INTO logins VALUES(3, 10, '<login 3>')",
                 "UPDATE users SET name = '<name 1 there>' WHERE id = 1", "DELETE FROM logins WHERE user = 2", "DELETE FROM users WHERE id = 2",
                 "UPDATE users SET name = '<name 3 there>' WHERE id = 3", "UPDATE users SET note = '<note 4 there>' WHERE id = 4",
                 "UPDATE users SET name = '<name 5 same>' WHERE id = 5", "DELETE FROM users WHERE id = 8",
                 "DELETE FROM bag WHERE text = '<bag 2>'", "INSERT INTO bag VALUES('<bag 3>'), ('<bag 1>')", "COMMIT")
        self.sql("webstore.db", "BEGIN", "INSERT INTO boards VALUES('board 10', '<title 10>', NULL)",
                 "UPDATE boards SET title = '<title 1 there>' WHERE id = 'board 1'", "DELETE FROM boards WHERE id = 'board 2'",
                 "UPDATE boards SET title = '<title 3 there>' WHERE id = 'board 3'",
                 "UPDATE boards SET title = '<title 4 same>' WHERE id = 'board 4'", "COMMIT")
        self.file("changed", "<file changed there>")
        self.file("big", "<file big there>" + "B" * BIG)
        self.file("both", "<file both there>")
        self.file("same", "<file same same>")
        os.unlink(self.path("gone"))
        os.rename(self.path("old"), self.path("moved/new"))
        os.chmod(self.path("mode"), 0o600)
        self.sync("mode")
        for name in ("olddir/last", "olddir/below/deep", "folder/inner", "single"):
            os.unlink(self.path(name))
        for name in ("olddir/below", "olddir", "folder"):
            os.rmdir(self.path(name))
        self.directory_of("single")
        self.file("single/inner", "<file single inner>")
        self.file("folder", "<file folder>")
        self.directory_of("newdir")
        self.file("newdir/first", "<file newdir first>")
        self.sync("moved", ".")

    def more(self):
        """On top of `here`."""
        self.sql("users.db", "UPDATE users SET name = '<name 3 more>' WHERE id = 3", "UPDATE users SET note = '<note 6 more>' WHERE id = 6",
                 "DELETE FROM users WHERE id = 20")
        self.sql("webstore.db", "UPDATE boards SET title = '<title 20 more>' WHERE id = 'board 20'")
        self.file("mine", "<file mine more>")

    def here(self):
        self.sql("users.db", "BEGIN", "UPDATE users SET name = '<name 3 here>' WHERE id = 3", "UPDATE users SET name = '<name 4 here>' WHERE id = 4",
                 "UPDATE users SET name = '<name 5 same>' WHERE id = 5", "INSERT INTO users VALUES(20, '<name 20>', '<note 20>')",
                 "UPDATE users SET note = '<note 6 here>' WHERE id = 6", "DELETE FROM users WHERE id = 7", "INSERT INTO bag VALUES('<bag 4>')", "COMMIT")
        self.sql("webstore.db", "BEGIN", "UPDATE boards SET title = '<title 3 here>' WHERE id = 'board 3'",
                 "UPDATE boards SET title = '<title 4 same>' WHERE id = 'board 4'", "DELETE FROM boards WHERE id = 'board 5'",
                 "INSERT INTO boards VALUES('board 20', '<title 20>', '<body 20>')", "COMMIT")
        self.file("both", "<file both here>")
        self.file("same", "<file same same>")
        self.file("mine", "<file mine>")
        self.file("dir/mine", "<file dir mine>")
        os.unlink(self.path("kept"))
        self.sync(".")


if __name__ == "__main__":
    what = sys.argv[2]
    application = Application(sys.argv[1], not what.startswith("loose-"))
    getattr(application, what.removeprefix("loose-"))()
    application.end()
