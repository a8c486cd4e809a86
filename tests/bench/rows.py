"""rows.py - W5: a SQLite database, beside sqlite3_rsync, and rsync of its file while nobody writes to it."""
import shutil
import time

import data
import peers
from measure import OURS, tool, workload
from process import Sample

ABSENT = "sqlite3_rsync is absent"


@workload("W5", "SQLite, {rows:,} rows, integer and text keys")
def w5(w):
    bench, n = w.bench, w.bench.size.rows
    original = bench.fresh("original.db")
    data.database(original, n, bench.seed)
    cluster = None

    def push():
        nonlocal cluster
        if cluster:
            cluster.stop()
        database = bench.fresh("users.db")
        shutil.copyfile(original, database)
        cluster = bench.cluster(users={"A": database})
        cluster.start("datastore")
        return cluster.once("A")

    first = w.measure("first", {
        OURS: push,
        "sqlite3_rsync": tool("sqlite3_rsync", lambda: peers.sqlite3_rsync(original, bench.fresh("replica.db"))),
        "rsync of the file": tool("rsync", lambda: bench.rsync(original, bench.fresh("file.db")))})
    first.reach("<= 1.0x of sqlite3_rsync's wall", first.ratio("sqlite3_rsync"), 1.0, why=ABSENT)
    later(w, cluster, n)


def commits(w, database, plain, n):
    """What the application pays for its triggers: beside the same commit without them.  Nobody else is there."""
    shutil.copyfile(database, plain)
    db = data.connect(plain)
    for name, in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        db.execute(f'DROP TRIGGER "{name}"')
    db.close()
    value = 0

    def commit(path):
        def run():
            nonlocal value
            value += 1
            began = time.monotonic()
            data.change_rows(path, range(value % 7, n, max(1, n // 10_000)), n, -value)
            return Sample(seconds=time.monotonic() - began)
        return run

    w.measure("commit of 10,000 rows by the application", {OURS: commit(database), "without triggers": commit(plain)})


def rows_read(cluster):
    return next(store["rows_read"] for store in cluster.status("A")["stores"] if store["name"] == "users.db")


def later(w, cluster, n):
    bench = w.bench
    database, replica, file = cluster.path("A", "users.db"), bench.fresh("replica.db"), bench.fresh("file.db")
    seen = data.connect(cluster.path("datastore", "users.db"))
    application = data.connect(database)
    value = took = last = 0

    def checkpoint():
        """As an application does it now and then: what rsync and sqlite3_rsync then find is in the file itself."""
        application.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def change(part):
        nonlocal value, took, last
        value += 1
        numbers = range(value % 100, n, 100) if part else [value * 7919 % n]
        last = numbers[-1]
        began = time.monotonic()
        data.change_rows(database, numbers, n, value)
        took = time.monotonic() - began

    def there():
        """The last row of the last change."""
        return data.value_of(seen, last, n) == value

    def peer(function):
        """Of the same change; the time of making it belongs to it, too."""
        checkpoint()
        sample = function()
        sample.seconds += took
        return sample

    others = {"sqlite3_rsync": tool("sqlite3_rsync", lambda: peer(lambda: peers.sqlite3_rsync(database, replica))),
              "rsync of the file": tool("rsync", lambda: peer(lambda: bench.rsync(database, file)))}
    for function in others.values():
        if function:
            function()

    def by_scan(part):
        def run():
            change(part)
            sample = cluster.once("A")
            sample.seconds += took
            return sample
        return run

    scan = w.measure("nothing changed, one round (--once)", {OURS: lambda: cluster.once("A"), **others})
    one_scan = w.measure("1 row, one round (--once)", {OURS: by_scan(False), **others})
    cluster.start("A")
    cluster.settle()
    before = rows_read(cluster)
    quiet = w.measure("nothing changed, a round of the daemon", {OURS: lambda: cluster.round("A")})
    read = rows_read(cluster) - before
    one = w.measure("1 row, the daemon", {OURS: lambda: cluster.timed("A", lambda: change(False), there), **others})
    hundredth = w.measure("1 %, the daemon", {OURS: lambda: cluster.timed("A", lambda: change(True), there), **others})
    cluster.stop("A")
    line, triggers = "Change-Capture=triggers", None
    if cluster.accepts(line):
        cluster.configure_all(3600, [line])
        cluster.start("A")
        cluster.settle()
        triggers = w.measure("1 row, the daemon with triggers", {OURS: lambda: cluster.timed("A", lambda: change(False), there), **others})
    cluster.stop()
    seen.close()
    application.close()
    if triggers:
        commits(w, database, bench.fresh("plain.db"), n)
    quiet.reach("no row is read", read, 0, "rows")
    one.reach("<= 2 KB", one.median(OURS, "bytes"), 2000, "bytes")
    one_scan.reach("<= 1.1x of sqlite3_rsync's wall by a full scan", one_scan.ratio("sqlite3_rsync"), 1.1, why=ABSENT)
    (triggers or one).reach("<= 0.1x of sqlite3_rsync's wall by triggers or page hashes", (triggers or one).ratio("sqlite3_rsync"), 0.1, why=ABSENT)
    hundredth.reach("<= 0.07x of sqlite3_rsync's bytes", hundredth.ratio("sqlite3_rsync", "bytes"), 0.07, why=ABSENT)
    hundredth.reach("<= 0.6x of sqlite3_rsync's wall", hundredth.ratio("sqlite3_rsync"), 0.6, why=ABSENT)
    if not triggers:
        w.remark(f"{line} is not known to this version: 1 row was found by a scan")
    if scan.ratio("rsync of the file"):
        w.remark(f"beside rsync of the file, which is no copy of a live database: 1 row {one.ratio('rsync of the file'):.2f}x of its wall, "
                 f"1 % {hundredth.ratio('rsync of the file'):.2f}x, {hundredth.ratio('rsync of the file', 'bytes'):.3f}x of its bytes")
