"""data.py - what is synchronised, made from a seed: the same files, rows and changes in each run."""
import os
import random
import sqlite3

MIB = 1024 * 1024
WORDS = "tag source host error warning syslog firewall login query dashboard panel alert limit window session user".split()


# --- directory trees: a hundred files in a directory, a hundred of those in one above ----------------------------------------------

def name(i):
    return f"area{i // 10000:03}/group{i // 100:05}/{i:08x}.csv"


def tree(top, n, least, most, seed=1):
    """n files of least to most bytes."""
    rand = random.Random(seed)
    pool = rand.randbytes(max(2 * most, 2 * MIB))
    for i in range(n):
        if i % 100 == 0:
            os.makedirs(os.path.dirname(f"{top}/{name(i)}"), exist_ok=True)
        size, at = rand.randint(least, most), rand.randrange(MIB)
        with open(f"{top}/{name(i)}", "wb", buffering=0) as file:
            file.write((b"%08x\n" % i + pool[at:at + size])[:size])


def some(n, part, seed):
    """The numbers of `part` of n files or rows, spread."""
    return sorted(random.Random(seed).sample(range(n), max(1, round(n * part))))


def overwrite(top, numbers, seed):
    """Other content of the same size in these files."""
    rand = random.Random(seed)
    for i in numbers:
        path = f"{top}/{name(i)}"
        with open(path, "r+b", buffering=0) as file:
            file.write(rand.randbytes(os.fstat(file.fileno()).st_size))


# --- one large file ------------------------------------------------------------------------------------------------------------------

def large(path, size, seed=1):
    rand = random.Random(seed)
    with open(path, "wb") as file:
        for at in range(0, size, MIB):
            file.write(rand.randbytes(min(MIB, size - at)))


def with_insertion(path, out, at, what):
    """`out` is the file at `path` with some bytes more in it."""
    with open(path, "rb", buffering=0) as source, open(out, "wb", buffering=0) as target:
        _copy(source, target, 0, at)
        target.write(what)
        _copy(source, target, at, os.fstat(source.fileno()).st_size)


def _copy(source, target, at, end):
    while at < end:
        at += os.sendfile(target.fileno(), source.fileno(), at, end - at)


def overwrite_blocks(path, n, size, seed):
    """n pieces of so many bytes, anywhere, in place."""
    rand = random.Random(seed)
    with open(path, "r+b", buffering=0) as file:
        end = os.fstat(file.fileno()).st_size
        for _ in range(n):
            file.seek(rand.randrange(max(1, end - size)))
            file.write(rand.randbytes(size))


def append(path, size, seed):
    with open(path, "ab") as file:
        file.write(random.Random(seed).randbytes(size))


# --- a database: half of the rows have integer keys, half have text keys ---------------------------------------------------------------

def connect(path):
    return sqlite3.connect(path, timeout=30, isolation_level=None)


def key(i):
    return f"{i * 2654435761 % 4294967296:08x}-{i:012x}"


def text(rand, least, most):
    return " ".join(rand.choices(WORDS, k=rand.randint(least, most)))


def database(path, rows, seed=1):
    """About 170 bytes a row."""
    rand = random.Random(seed)
    half = rows // 2
    db = connect(path)
    db.executescript("""PRAGMA journal_mode = WAL; BEGIN;
        CREATE TABLE history(id INTEGER PRIMARY KEY, owner INT, query TEXT NOT NULL, stamp REAL, n INT);
        CREATE TABLE dashboards(id TEXT PRIMARY KEY, owner INT, title TEXT, body BLOB, n INT);""")
    db.executemany("INSERT INTO history VALUES(?, ?, ?, ?, 0)",
                   ((i, i % 1000, text(rand, 15, 25), 1.6e9 + i) for i in range(1, rows - half + 1)))
    db.executemany("INSERT INTO dashboards VALUES(?, ?, ?, ?, 0)",
                   ((key(i), i % 1000, text(rand, 1, 4), rand.randbytes(70)) for i in range(1, half + 1)))
    db.execute("COMMIT")
    db.close()


def change_rows(path, numbers, rows, n):
    """In one transaction: column n of the rows of these numbers, from 0."""
    half = rows // 2
    db = connect(path)
    db.execute("BEGIN IMMEDIATE")
    db.executemany("UPDATE history SET n = ? WHERE id = ?", ((n, i + 1) for i in numbers if i < rows - half))
    db.executemany("UPDATE dashboards SET n = ? WHERE id = ?", ((n, key(i - (rows - half) + 1)) for i in numbers if i >= rows - half))
    db.execute("COMMIT")
    db.close()


def value_of(db, i, rows):
    """Column n of the row of number i; None: there is none."""
    first = rows - rows // 2
    found = db.execute("SELECT n FROM history WHERE id = ?", (i + 1,)) if i < first else \
        db.execute("SELECT n FROM dashboards WHERE id = ?", (key(i - first + 1),))
    return next((n for n, in found), None)
