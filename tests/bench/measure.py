"""measure.py - what is measured: workloads have cases, a case has samples of each tool, and reaches say what is to be attained.

A bench has a size (how much of everything), a seed, a directory where all is made, and trees that several workloads look at, made once."""
import dataclasses
import os
import statistics
import sys
import time

import data
import peers
from daemons import Cluster
from process import Sample, run

SLOW = 20  # seconds: what takes longer is run twice only
OURS = "sameroot"
WORKLOADS = {}  # name: (title, function of a Workload), in their order


def workload(name, title):
    def register(function):
        WORKLOADS[name] = (title, function)
        return function
    return register


@dataclasses.dataclass
class Size:
    """How much of everything."""
    runs: int            # of what is not slow
    files: int           # of W1, W2, W7
    many: int            # of W1b
    first: tuple         # of W3: files of 64 KiB, small files
    large: int           # of W4, bytes
    rows: int            # of W5
    commits: int         # of W6, of each kind
    idle: int            # of W7, seconds
    wrk: int             # of W8, seconds
    growth: tuple        # of W9
    patience: int        # seconds that one run of a peer may be known to take
    disk: int            # GB that all of it needs
    rest: float          # seconds from a change to the next scan, which does not trust what changed within 2 s before it

    @property
    def large_mib(self):
        return self.large >> 20

    def words(self, title):
        return title.format(large_mib=self.large_mib, **vars(self))


SIZES = {
    "full": Size(5, 100_000, 1_000_000, (10_000, 100_000), 1 << 30, 1_000_000, 100, 60, 10, (10_000, 100_000, 1_000_000), 600, 60, 2.1),
    "quick": Size(3, 10_000, 20_000, (500, 3000), 32 << 20, 50_000, 6, 10, 1, (1000, 20_000), 10, 3, 2.1),
    "tiny": Size(1, 200, 400, (10, 100), 2 << 20, 1000, 2, 1, 1, (100, 200), 5, 0, 0),
}


@dataclasses.dataclass
class Reach:
    what: str            # as the issue has it
    seen: float          # None: not measured
    limit: float
    unit: str            # bytes, MiB, s, ms, x (a ratio), or of what it is a number
    least: bool = False  # it is to be that or more
    why: str = ""        # it was not measured

    @property
    def met(self):
        return None if self.seen is None else self.seen >= self.limit if self.least else self.seen <= self.limit


class Case:
    """One thing that is done by several tools, alternating."""

    def __init__(self, what):
        self.what, self.samples, self.reaches = what, {}, []

    def reach(self, what, seen, limit, unit="x", least=False, why=""):
        """seen None: it was not measured, and why."""
        self.reaches.append(Reach(what, seen, limit, unit, least, why if seen is None else ""))

    def median(self, tool, quantity="seconds"):
        found = [value for value in (getattr(sample, quantity) for sample in self.samples.get(tool, [])) if value is not None]
        return statistics.median(found) if found else None

    def worst(self, tool):
        """The longest; of a hundred and more the longest but one in a hundred."""
        found = sorted(sample.seconds for sample in self.samples[tool] if sample.seconds is not None)
        return found[-1 - len(found) // 100] if found else None

    def most(self, tool, quantity="memory"):
        return max((getattr(sample, quantity) or 0 for sample in self.samples.get(tool, [])), default=None)

    def ratio(self, peer, quantity="seconds", tool=OURS):
        """Of ours to the peer's; None where one is missing."""
        ours, theirs = self.median(tool, quantity), self.median(peer, quantity)
        return ours / theirs if ours is not None and theirs else None


class Workload:
    def __init__(self, bench, name, title):
        self.bench, self.name, self.title, self.cases, self.remarks, self.failed, self.took = bench, name, title, [], [], None, 0

    def case(self, what):
        self.cases.append(Case(what))
        return self.cases[-1]

    def measure(self, what, tools, runs=None):
        """Each tool's function once, and so on again; it gives a Sample.  A tool whose function is None is absent."""
        case, most, k = self.case(what), runs or self.bench.size.runs, 0
        while k < most:
            longest = 0
            for tool, function in tools.items():
                if function is None:
                    continue
                if self.bench.size.rest:
                    os.sync()
                sample = function()
                case.samples.setdefault(tool, []).append(sample)
                longest = max(longest, sample.seconds or 0)
                self.say(case, tool, sample)
            most, k = min(most, 2) if longest >= SLOW else most, k + 1
        return case

    def series(self, case, tool, n, function):
        """n times one function, for its distribution."""
        for _ in range(n):
            case.samples.setdefault(tool, []).append(function())
        self.say(case, tool, Sample(seconds=case.median(tool)))

    def say(self, case, tool, sample):
        took = f"{sample.rate:.0f}/s" if sample.rate else f"{sample.seconds:.4f} s" if sample.seconds is not None else ""
        print(f"bench: {self.name} {case.what}: {tool} {took}", file=sys.stderr, flush=True)

    @property
    def reaches(self):
        return [reach for case in self.cases for reach in case.reaches]

    def remark(self, text):
        self.remarks.append(text)


def tool(name, function):
    """None if it is absent."""
    return function if peers.have(name) else None


class Bench:
    def __init__(self, top, size, seed):
        self.top, self.size, self.seed, self.clusters, self.stopping, self.copies, self.count = top, size, seed, {}, [], {}, 0
        self.rsync = peers.Rsync(top)

    def rest(self, most=9):
        """Between changes, so that a round after the last one is over."""
        time.sleep(min(self.size.rest, most))

    def fresh(self, what):
        """The name of a directory that was never there."""
        self.count += 1
        return f"{self.top}/{self.count:04}.{what}"

    def tree(self, n, least, most):
        path = self.fresh("tree")
        data.tree(path, n, least, most, self.seed)
        return path

    def cluster(self, **options):
        cluster = Cluster(self.fresh("cluster"), rest=self.size.rest, **options)
        self.stopping.append(cluster.kill)
        return cluster

    def daemon(self, kind, *arguments):
        """Of a peer."""
        daemon = kind(*arguments)
        self.stopping.append(daemon.stop)
        return daemon

    def synced(self, n):
        """A webserver A with n files, and a datastore that has them, too; both stopped.  Made once."""
        if n not in self.clusters:
            cluster = self.cluster(resources={"A": self.tree(n, *((1024, 8192) if n <= 200_000 else (16, 256)))})
            cluster.start("datastore")
            cluster.once("A")
            cluster.start("A")
            cluster.settle()
            cluster.stop()
            self.clusters[n] = cluster
        return self.clusters[n]

    def copied(self, source):
        """What rsync made of a tree; made once."""
        if source not in self.copies:
            target = self.fresh("copy")
            self.rsync(f"{source}/", target)
            self.copies[source] = target
        return self.copies[source]

    def linked(self, source):
        """Hard links to its files, for who leaves something of his own in a tree."""
        target = self.fresh("links")
        os.makedirs(target)
        for entry in os.listdir(source):
            if entry != ".sameroot":
                run(["cp", "-al", f"{source}/{entry}", target])
        return target

    def stop(self):
        """Whatever runs still."""
        for stop in reversed(self.stopping):
            stop()
