"""files.py - W1 to W4: directory trees and one large file, beside rsync and others."""
import filecmp
import os
import random
import time

import data
import peers
from measure import OURS, tool, workload
from process import Failed, Sample, high_water
TO_B = f"{OURS}, to B"  # by another webserver, which has what was before


def arrival(source, target, names):
    """A condition: these are below `target` as they are below `source`.  Asked again it goes on where it was."""
    left = list(names)

    def version(top):
        status = os.stat(f"{top}/{left[-1]}")
        return status.st_size, status.st_mtime_ns

    def there():
        while left:
            try:
                if version(source) != version(target):
                    return False
            except FileNotFoundError:
                return False
            left.pop()
        return True
    return there


# --- W1: nothing changed --------------------------------------------------------------------------------------------------------------

def nothing_changed(w, n, watched, full, others):
    cluster, bench = w.bench.synced(n), w.bench
    source = cluster.path("A", "resources")
    copy = bench.copied(source) if peers.have("rsync") else None
    rsync = tool("rsync", lambda: bench.rsync(f"{source}/", copy))
    cluster.configure_all(3600)
    cluster.start("datastore")
    scan = w.measure("one full scan and round (--once)", {OURS: lambda: cluster.once("A"), "rsync": rsync, **others(source, copy)})
    cluster.start("A")
    cluster.settle()
    quiet = w.measure("a round of the running daemon", {OURS: lambda: cluster.round("A"), "rsync": rsync})
    cluster.stop()
    quiet.reach("with watching: one request", quiet.median(OURS, "requests"), 1, "requests")
    quiet.reach("<= 500 bytes both ways", quiet.median(OURS, "bytes"), 500, "bytes")
    if watched:
        quiet.reach("with watching: <= 1/500 of rsync's wall", quiet.ratio("rsync"), watched, why="rsync is absent")
    scan.reach(f"by a full scan <= {full}x of rsync's wall", scan.ratio("rsync"), full, why="rsync is absent")


@workload("W1", "nothing changed, {files:,} files of 1-8 KiB")
def w1(w):
    def others(source, copy):
        def scanned():
            thing = w.bench.daemon(peers.Syncthing, w.bench.fresh("syncthing"), w.bench.linked(source))
            thing.share()
            thing.wait_idle(w.bench.size.files)
            return thing
        thing = scanned() if peers.have("syncthing") else None
        home = w.bench.fresh("unison")
        os.makedirs(home)
        if peers.have("unison") and copy:
            peers.unison(home, source, copy)
        return {"syncthing": tool("syncthing", lambda: thing.rescan()),
                "unison": copy and tool("unison", lambda: peers.unison(home, source, copy))}
    nothing_changed(w, w.bench.size.files, 1 / 500, 0.35, others)


@workload("W1b", "nothing changed, {many:,} files")
def w1b(w):
    nothing_changed(w, w.bench.size.many, None, 0.3, lambda source, copy: {})


# --- W2: few changed ------------------------------------------------------------------------------------------------------------------

@workload("W2", "1 file, then 1 %, of {files:,} changed")
def w2(w):
    n, bench = w.bench.size.files, w.bench
    cluster = bench.synced(n)
    source, there = cluster.path("A", "resources"), cluster.path("datastore", "resources")
    copy = bench.copied(source) if peers.have("rsync") else None
    cluster.configure_all(3600)
    cluster.start("datastore")
    cluster.start("A")
    cluster.settle()
    found, seed = [], bench.seed
    for what, part in (("1 file", 1 / n), ("1 %", 0.01)):
        took = [0.0]

        def change(numbers, seed):
            began = time.monotonic()
            data.overwrite(source, numbers, seed)
            took[0] = time.monotonic() - began

        def ours(part=part):
            nonlocal seed
            seed += 1
            numbers = data.some(n, part, seed)
            bench.rest(0.3 if len(numbers) == 1 else 9)
            return cluster.timed("A", lambda: change(numbers, seed), arrival(source, there, map(data.name, numbers)))

        def theirs():
            """The same change; the time of making it belongs to it, too."""
            sample = bench.rsync(f"{source}/", copy)
            sample.seconds += took[0]
            return sample
        found.append(w.measure(f"{what} changed", {OURS: ours, "rsync": tool("rsync", theirs)}))
    cluster.stop()
    one, hundredth = found
    one.reach("<= 3 KB", one.median(OURS, "bytes"), 3000, "bytes")
    one.reach("<= 0.02x of rsync's wall", one.ratio("rsync"), 0.02, why="rsync is absent")
    hundredth.reach("<= 0.2x of rsync's wall", hundredth.ratio("rsync"), 0.2, why="rsync is absent")
    hundredth.reach("<= 1.0x of rsync's bytes", hundredth.ratio("rsync", "bytes"), 1.0, why="rsync is absent")


# --- W3: the first synchronisation ----------------------------------------------------------------------------------------------------

@workload("W3", "first synchronisation: {first[0]:,} x 64 KiB; {first[1]:,} x 1-8 KiB")
def w3(w):
    for n, least, most, what in ((w.bench.size.first[0], 65536, 65536, "64 KiB"), (w.bench.size.first[1], 1024, 8192, "small")):
        first(w, n, least, most, what)


def first(w, n, least, most, what):
    bench = w.bench
    source = bench.tree(n, least, most)
    cluster = None

    def push():
        nonlocal cluster
        if cluster:
            cluster.stop()
            cluster.forget("A")
        cluster = bench.cluster(webservers=("A", "B"), resources={"A": source})
        cluster.start("datastore")
        return cluster.once("A")

    def thing():
        """Of two devices: from when the second one is given the folder until it has all."""
        devices = [bench.daemon(peers.Syncthing, bench.fresh("syncthing"), folder) for folder in (bench.linked(source), bench.fresh("thing"))]
        devices[0].share([devices[1]])
        devices[0].wait_idle(n)
        began = time.monotonic()
        devices[1].share([devices[0]])
        devices[1].wait_idle(n)
        sample = Sample(seconds=time.monotonic() - began, memory=max(high_water(d.pids[-1]) for d in devices))
        for device in devices:
            device.stop()
        return sample

    case = w.measure(f"{what}: all of it", {
        OURS: push,
        TO_B: lambda: cluster.once("B"),
        "rsync": tool("rsync", lambda: bench.rsync(f"{source}/", bench.fresh("rsync"))),
        "tar | tar": tool("tar", lambda: peers.tar_pipe(source, bench.fresh("tar")))})
    cluster.stop()
    cluster.forget("A")
    if what == "small" and peers.have("syncthing"):
        if bench.size.patience > 300:
            w.measure(f"{what}: all of it, once", {"syncthing": thing}, 1)
        else:
            w.remark("syncthing takes minutes for it: it is not run in this size of the bench")
    case.reach("<= 0.8x of rsync's wall, durable", case.ratio("rsync"), 0.8, why="rsync is absent")
    case.reach("from there to another webserver, the same", case.ratio("rsync", tool=TO_B), 0.8, why="rsync is absent")


# --- W4: a large file -----------------------------------------------------------------------------------------------------------------

@workload("W4", "a file of {large_mib:,} MiB: 1 byte inserted; 100 overwrites of 4 KiB; a hundredth appended")
def w4(w):
    bench, size = w.bench, w.bench.size.large
    source, copy, store, beside = (bench.fresh(what) for what in ("large", "copy", "castr", "beside"))
    for top in (source, store):
        os.mkdir(top)
    path, index = f"{source}/image", f"{store}.caibx"
    data.large(path, size, bench.seed)
    cluster = bench.cluster(webservers=("A", "B"), resources={"A": source})
    there = cluster.path("datastore", "resources")
    cluster.start("datastore")
    cluster.once("A")
    cluster.once("B")
    cluster.start("A")
    cluster.settle("A")
    if peers.have("rsync"):
        bench.rsync(f"{source}/", copy)
    if peers.have("casync"):
        peers.casync(store, index, path)
    seed, took = bench.seed, 0.0

    def prepare_insertion():
        data.with_insertion(path, beside, random.Random(seed).randrange(size // 4, size * 3 // 4), b"!")
        os.sync()

    def ours(prepare, change):
        nonlocal seed
        seed += 1
        prepare()
        bench.rest(0.3)

        def timed_change():
            nonlocal took
            began = time.monotonic()
            change()
            took = time.monotonic() - began
        return cluster.timed("A", timed_change, arrival(source, there, ["image"]))

    def with_change(function):
        """The same change for the others; the time of making it belongs to it, too."""
        sample = function()
        sample.seconds += took
        return sample

    for what, prepare, change, part in (
            ("1 byte inserted", prepare_insertion, lambda: os.replace(beside, path), 0.4),
            ("100 overwrites", lambda: None, lambda: data.overwrite_blocks(path, 100, 4096, seed), 0.4),
            ("a hundredth appended", lambda: None, lambda: data.append(path, size // 100, seed), 1.0)):
        case = w.measure(what, {
            OURS: lambda prepare=prepare, change=change: ours(prepare, change),
            TO_B: lambda: cluster.once("B"),
            "rsync": tool("rsync", lambda: with_change(lambda: bench.rsync(f"{source}/", copy))),
            "casync": tool("casync", lambda: with_change(lambda: peers.casync(store, index, path)))})
        case.reach(f"<= {part}x of rsync's bytes", case.ratio("rsync", "bytes"), part, why="rsync is absent")
        case.reach("<= 0.5x of rsync's wall", case.ratio("rsync"), 0.5, why="rsync is absent")
        case.reach(f"from there to B (--once), the same: <= {part}x of the bytes", case.ratio("rsync", "bytes", TO_B), part, why="rsync is absent")
        case.reach("from there to B (--once), the same: <= 0.5x of the wall", case.ratio("rsync", tool=TO_B), 0.5, why="rsync is absent")
    cluster.stop()
    for top in (there, cluster.path("B", "resources")):
        if not filecmp.cmp(path, f"{top}/image", shallow=False):
            raise Failed(f"the file is another in {top}")
