"""ledger.py T NAME DATABASE... -- COMMAND... - does a round (COMMAND) of webserver T/NAME, and holds it against what it did to the rows of its databases: a version
of a row that the round takes away must be at the datastore, or have been there; or lie in that node's conflict archive; or live on, column by column, in a
merge.  Exit 1 if one is lost, else what COMMAND says.  T/ledger is what the datastore has had so far.
"""
import collections
import json
import os
import pickle
import sqlite3
import struct
import subprocess
import sys

import varint


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


def rows(path):
    """(table, key or None, frozenset of (column, value)) -> how many; NULL is the same as no column, as in a record."""
    found = collections.Counter()
    if not os.path.exists(path):
        return found
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=60)
    db.text_factory = lambda raw: ("text", raw)
    tables = db.execute("SELECT CAST(name AS BLOB) FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite~_%' ESCAPE '~'"
                        " AND name NOT LIKE '~_sameroot~_%' ESCAPE '~'").fetchall()
    for table, in tables:
        table = table.decode()
        columns = [(c[1][1].decode(), c[5]) for c in db.execute(f"PRAGMA table_info({quoted(table)})")]
        for row in db.execute(f"SELECT * FROM {quoted(table)}"):
            values = {name: value for (name, _), value in zip(columns, row)}
            key = tuple(values[name] for name, pk in columns if pk) or None
            found[table, key, frozenset((name, value) for name, value in values.items() if value is not None)] += 1
    return found


def record(data):
    """The canonical record of sameroot-record(5): name, storage class, value."""
    values = set()
    count, at = varint.read(data, 0)
    for _ in range(count):
        n, at = varint.read(data, at)
        name, kind, at = data[at:at + n].decode(), data[at + n], at + n + 1
        if kind < 3:
            value, at = struct.unpack(">q" if kind == 1 else ">d", data[at:at + 8])[0], at + 8
        else:
            n, at = varint.read(data, at)
            value, at = (("text", data[at:at + n]) if kind == 3 else data[at:at + n]), at + n
        values.add((name, value))
    return frozenset(values)


def archived(directory):
    found = set()
    for folder, _, names in os.walk(directory):
        for name in names:
            if not name.endswith(".json"):
                continue
            with open(os.path.join(folder, name)) as file:
                about = json.load(file)
            try:
                with open(os.path.join(folder, about["id"] + ".data"), "rb") as file:
                    found.add((about["path"].split("/")[1], record(file.read())))
            except (FileNotFoundError, IndexError, KeyError, UnicodeDecodeError):
                pass  # no row
    return found


def remember(ever, table, key, values):
    ever.add((table, None, values))
    if key:
        ever.update((table, key, column) for column in values)


def lost(before, now, ever, kept):
    current = {(table, key): values for table, key, values in now if key}
    for (table, key, values), count in before.items():
        if now[table, key, values] >= count or (table, None, values) in ever or (table, values) in kept:
            continue
        merged = current.get((table, key), frozenset())
        if not key or not all(column in merged or (table, key, column) in ever for column in values):
            yield f"lost: {table} {key} {sorted(values, key=str)}"


def main():
    top, name = sys.argv[1:3]
    split = sys.argv.index("--")
    databases = sys.argv[3:split]
    ever = {}
    if os.path.exists(f"{top}/ledger"):
        with open(f"{top}/ledger", "rb") as file:
            ever = pickle.load(file)
    before = {db: rows(f"{top}/{name}/{db}") for db in databases}
    status = subprocess.run(sys.argv[split + 1:]).returncode
    kept = archived(f"{top}/{name}/state/archive")
    for db in databases:
        seen = ever.setdefault(db, set())
        for row in rows(f"{top}/datastore/{db}"):
            remember(seen, *row)
        for loss in lost(before[db], rows(f"{top}/{name}/{db}"), seen, kept):
            print(loss)
            status = 99
    with open(f"{top}/ledger", "wb") as file:
        pickle.dump(ever, file)
    return status


sys.exit(main())
