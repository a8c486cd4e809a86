"""workloads.py - the workloads, each beside its peers.  WORKLOADS has them by name."""
import functools
import os
import time

import data
import peers
from measure import OURS, tool
from process import Sample, wait_for

WORKLOADS = {}


def workload(name, title):
    def register(function):
        WORKLOADS[name] = (title, function)
        return function
    return register


def identity(path):
    status = os.stat(path)
    return status.st_ino, status.st_mtime_ns


def arrival(top, names):
    """A condition: all of these are others below `top` than they are now.  Asked again it goes on where it was."""
    left = [(f"{top}/{name}", identity(f"{top}/{name}")) for name in names]

    def there():
        while left:
            try:
                if identity(left[-1][0]) == left[-1][1]:
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
    w.reach("with watching: one request", quiet.median(OURS, "requests"), 1, "requests")
    w.reach("<= 500 bytes both ways", quiet.median(OURS, "bytes"), 500, "bytes")
    if watched:
        w.reach("with watching: <= 1/500 of rsync's wall", quiet.ratio("rsync"), watched, why="rsync is absent")
    w.reach(f"by a full scan <= {full}x of rsync's wall", scan.ratio("rsync"), full, why="rsync is absent")


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
            time.sleep(2.1)  # not within 2 s of the last
            return cluster.timed("A", lambda: change(numbers, seed), arrival(there, map(data.name, numbers)))

        def theirs():
            """The same change; the time of making it belongs to it, too."""
            sample = bench.rsync(f"{source}/", copy)
            sample.seconds += took[0]
            return sample
        found.append(w.measure(f"{what} changed", {OURS: ours, "rsync": tool("rsync", theirs)}))
    cluster.stop()
    one, hundredth = found
    w.reach("1 file: <= 3 KB", one.median(OURS, "bytes"), 3000, "bytes")
    w.reach("1 file: <= 0.02x of rsync's wall", one.ratio("rsync"), 0.02, why="rsync is absent")
    w.reach("1 %: <= 0.2x of rsync's wall", hundredth.ratio("rsync"), 0.2, why="rsync is absent")
    w.reach("1 %: <= 1.0x of rsync's bytes", hundredth.ratio("rsync", "bytes"), 1.0, why="rsync is absent")


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
        sample = Sample(seconds=time.monotonic() - began, memory=max(peers.process.high_water(d.pids[-1]) for d in devices))
        for device in devices:
            device.stop()
        return sample

    case = w.measure(f"{what}: all of it", {
        OURS: push,
        f"{OURS}, to B": lambda: cluster.once("B"),
        "rsync": tool("rsync", lambda: bench.rsync(f"{source}/", bench.fresh("rsync"))),
        "tar | tar": tool("tar", lambda: peers.tar_pipe(source, bench.fresh("tar")))})
    cluster.stop()
    cluster.forget("A")
    if what == "small" and peers.have("syncthing"):
        if bench.size.slow_peers:
            w.measure(f"{what}: all of it, once", {"syncthing": thing}, 1)
        else:
            w.remark("syncthing takes minutes for it: not run with QUICK")
    w.reach(f"{what}: <= 0.8x of rsync's wall, durable", case.ratio("rsync"), 0.8, why="rsync is absent")
    w.reach(f"{what}: from there to another webserver, the same", case.ratio("rsync", tool=f"{OURS}, to B"), 0.8, why="rsync is absent")
