"""application.py - what an application does while the daemons below it are killed, and afterwards the judge of what became of its data.

  application.py make DIR                  a node's databases and directories, empty
  application.py change DIR SIDE ROUND N   changes on one side: some N rows and N/4 files, keys of its own and keys that both sides write
  application.py hot DIR SIDE KEY FILE         edits one row of users.db without pause until FILE exists; journals as `change` does
  application.py work DIR SIDE ROUND FILE      a few changes as above, again and again until FILE exists; where a database or a directory is missing or unusable it
                                           goes on with the others
  application.py judge T NAME...           after all came to rest: exit 1 if a file is torn or a committed value is neither current, superseded nor archived
                                           (there, or below T/lost*); in the environment RETURNED=1: what was deleted may be back; STRICT=1: no current
                                           value may be in a conflict archive

A value is a token <SIDE-ROUND-NUMBER> that exists once.  DIR/journal holds a line of JSON for each change: the token and the one it replaced, which is seen
in the same transaction, or by exchanging files, so that nothing is judged by a guess.
"""
import ctypes
import glob
import hashlib
import json
import os
import random
import re
import sqlite3
import sys
import time

TOKEN = re.compile(rb"<[A-Z]-\d+-\d+>")
RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2
libc = ctypes.CDLL(None, use_errno=True)


def connect(directory, name, mode="rw"):
    db = sqlite3.connect(f"file:{directory}/{name}?mode={mode}", uri=True, timeout=60, isolation_level=None)
    db.execute("PRAGMA foreign_keys = ON")
    return db


def make(directory):
    db = connect(directory, "users.db", "rwc")
    db.execute("PRAGMA journal_mode = wal")
    db.execute("CREATE TABLE IF NOT EXISTS kept(key TEXT PRIMARY KEY, value TEXT NOT NULL, filler BLOB)")
    db = connect(directory, "webstore.db", "rwc")
    db.execute("PRAGMA journal_mode = delete")
    db.execute("CREATE TABLE IF NOT EXISTS kept(key TEXT PRIMARY KEY, value TEXT NOT NULL, filler BLOB) WITHOUT ROWID")
    for d in range(8):
        os.makedirs(f"{directory}/resources/d{d}", exist_ok=True)
    os.makedirs(f"{directory}/new", exist_ok=True)


def rename(old, new, flags):
    if libc.renameat2(-100, os.fsencode(old), -100, os.fsencode(new), flags) == 0:
        return True
    error = ctypes.get_errno()
    if error in (2, 17):
        return False
    raise OSError(error, os.strerror(error), new)


def content(token, rnd):
    body = (token + "\n").encode() + rnd.randbytes(rnd.choice((0, 300, 5000, 40000, 400000)))
    return body + hashlib.sha256(body).digest()


def is_whole(data):
    return hashlib.sha256(data[:-32]).digest() == data[-32:]


class Side:
    def __init__(self, directory, side, number, n):
        self.directory, self.side, self.round, self.n = directory, side, number, n
        self.random = random.Random(f"{side}{number}{os.environ.get('SEED', '')}")
        self.count = 0
        self.journal = open(f"{directory}/journal", "a", buffering=1)

    def token(self):
        self.count += 1
        return f"<{self.side}-{self.round}-{self.count}>"

    def key(self):
        if self.random.random() < 0.15:
            return f"shared-{self.random.randrange(60)}"
        return f"{self.side}-{self.random.randrange(4 * self.n)}"

    def note(self, store, key, token, over):
        self.journal.write(json.dumps({"key": f"{store}/{key}", "token": token, "over": over}) + "\n")

    def rows(self, name):
        db = connect(self.directory, name)
        left = self.n // 2
        while left > 0:
            notes = []
            db.execute("BEGIN IMMEDIATE")
            for _ in range(min(left, self.random.randint(1, 60))):
                key, token = self.key(), self.token()
                found = db.execute("SELECT value FROM kept WHERE key = ?", (key,)).fetchone()
                if self.random.random() < 0.08:
                    token = None
                    db.execute("DELETE FROM kept WHERE key = ?", (key,))
                else:
                    db.execute("INSERT INTO kept VALUES(?1, ?2, ?3) ON CONFLICT(key) DO UPDATE SET value = ?2, filler = ?3",
                               (key, token, self.random.randbytes(self.random.choice((0, 50, 2000)))))
                notes.append((name, key, token, found[0] if found else None))
                left -= 1
            db.execute("COMMIT")
            for note in notes:
                self.note(*note)
        db.close()

    def file(self):
        key = self.key()
        path = f"{self.directory}/resources/d{sum(key.encode()) % 8}/{key}"
        new = f"{self.directory}/new/file"
        if self.random.random() < 0.08:
            token = None
            try:
                os.rename(path, new)
            except FileNotFoundError:
                return
        else:
            token = self.token()
            with open(new, "wb") as file:
                file.write(content(token, self.random))
            while not rename(new, path, RENAME_EXCHANGE):
                if not os.path.isdir(os.path.dirname(path)):
                    raise FileNotFoundError(path)
                if rename(new, path, RENAME_NOREPLACE):
                    return self.note("resources", key, token, None)
        with open(new, "rb") as file:
            over = file.read()
        os.unlink(new)
        if not is_whole(over):
            sys.exit(f"{path}: what was there is torn: {len(over)} bytes")
        return self.note("resources", key, token, TOKEN.match(over).group().decode())

    def hot(self, key, until):
        db = connect(self.directory, "users.db")
        while not os.path.exists(until):
            token = self.token()
            db.execute("BEGIN IMMEDIATE")
            found = db.execute("SELECT value FROM kept WHERE key = ?", (key,)).fetchone()
            db.execute("INSERT INTO kept VALUES(?1, ?2, NULL) ON CONFLICT(key) DO UPDATE SET value = ?2", (key, token))
            db.execute("COMMIT")
            self.note("users.db", key, token, found[0] if found else None)
            time.sleep(0.002)
        db.close()

    def work(self, until):
        steps = (lambda: self.rows("users.db"), self.file, lambda: self.rows("webstore.db"))
        while not os.path.exists(until):
            for step in steps:
                try:
                    step()
                except (sqlite3.Error, OSError):
                    pass  # it is not there
            time.sleep(0.2)

    def change(self):
        self.rows("users.db")
        for _ in range(self.n // 4):
            self.file()
        self.rows("webstore.db")


def current(node):
    """key -> token, of everything on one node; and what is torn."""
    values, torn = {}, []
    for name in ("users.db", "webstore.db"):
        db = sqlite3.connect(f"file:{node}/{name}?mode=ro", uri=True, timeout=60)
        if db.execute("PRAGMA integrity_check").fetchone() != ("ok",):
            torn.append(f"{node}/{name}")
        values.update((f"{name}/{key}", value) for key, value in db.execute("SELECT key, value FROM kept"))
    for d in range(8):
        for entry in os.scandir(f"{node}/resources/d{d}"):
            with open(entry.path, "rb") as file:
                data = file.read()
            if not is_whole(data):
                torn.append(entry.path)
                continue
            values[f"resources/{entry.name}"] = TOKEN.match(data).group().decode()
    return values, torn


def archived(nodes):
    tokens = set()
    for path in [path for node in nodes for path in glob.glob(f"{node}/state/archive/*.data")]:
        with open(path, "rb") as file:
            tokens.update(token.decode() for token in TOKEN.findall(file.read()))
    return tokens


def judge(top, names):
    nodes = [f"{top}/{name}" for name in names]
    values, torn = current(nodes[0])
    faults = [f"torn: {path}" for path in torn]
    for node in nodes[1:]:
        others, torn = current(node)
        faults += [f"torn: {path}" for path in torn]
        faults += [f"{node}: {key} is {others.get(key)}, not {values.get(key)}" for key in values.keys() | others.keys()
                   if others.get(key) != values.get(key)]
    committed, superseded, last = {}, set(), {}
    for node in nodes:
        if not os.path.exists(f"{node}/journal"):
            continue
        for line in open(f"{node}/journal"):
            note = json.loads(line)
            if note["token"]:
                committed[note["token"]] = note["key"]
            if note["over"]:
                superseded.add(note["over"])
            if "/shared-" not in note["key"]:
                last[note["key"]] = note["token"]
    kept = archived(nodes + glob.glob(f"{top}/lost*"))
    now = set(values.values())
    if "STRICT" in os.environ:
        faults += [f"archived, and yet current: {token}" for token in kept & now]
    for token, key in committed.items():
        if token not in now and token not in superseded and token not in kept:
            faults.append(f"lost: {key} {token}")
    for key, token in last.items():  # no one else ever wrote these
        if values.get(key) != token and (token or "RETURNED" not in os.environ):
            faults.append(f"{key} is {values.get(key)}, and was last made {token}")
    print(f"{len(committed)} values were committed: {len(now)} are current, {len(superseded)} superseded, {len(kept)} archived; {len(faults)} faults")
    for fault in faults[:40]:
        print(fault)
    return not faults


if sys.argv[1] == "make":
    make(sys.argv[2])
elif sys.argv[1] == "change":
    Side(sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])).change()
elif sys.argv[1] == "hot":
    Side(sys.argv[2], sys.argv[3], 99, 0).hot(*sys.argv[4:6])
elif sys.argv[1] == "work":
    Side(sys.argv[2], sys.argv[3], int(sys.argv[4]), 12).work(sys.argv[5])
elif sys.argv[1] == "judge":
    sys.exit(0 if judge(sys.argv[2], sys.argv[3:]) else 1)
