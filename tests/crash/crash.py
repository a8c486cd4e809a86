#!/usr/bin/env python3
"""crash.py - real daemons stopped at every step, and started again: they have to converge, and nothing may be lost.

  crash.py [--all | --sample N] [--seed S] [--jobs J] [--crash C] [SCENARIO...]   every crash point, or N of each scenario (the default: 12); of C: those
                                                                        crashes alone that begin so, as `cut` or `eio`; --only REGEX: at such steps
  crash.py --replay SCENARIO:K:CRASH:SEED [--keep DIRECTORY]            one of them; what it left stays in DIRECTORY
  crash.py --steps SCENARIO                                             the steps, numbered

A step is a system call that changes the disk or tells others (tests/sim/disk.h).  A scenario is one thing that a daemon does; it is run once to its end, which
counts its steps and says what has to come out.  Then for each step K: the world is put back, the same begins again, and ends at K by

  kill      kill -9 before the step
  half      kill -9 in the midst of it: half of the bytes are written or sent
  cut-HOW   a power cut before it: what was not synced survives as HOW says (nothing, names, data, prefix, random; tests/sim/disk.h)
  ...-twice and the same once more while it mends what the first crash left
  eio       no crash: the step fails with EIO, once
  full      no crash: from the step on the disk is full

and by a power cut after the last step (K is 0).

Without the disk in between it is started again, rounds go on, and then all must hold: every round ends in sync; each node has exactly what the undisturbed run
made of it (so nothing was lost, nothing returned, no deletion nobody asked for); the roots are equal, and what `sameroot verify` computes anew;
each version that the undisturbed run put into a conflict archive is in one; no draft or staged file is left.

Visited so far, each step of each scenario, 12,281 crashes: pull 270 steps and 1,145 crashes, conflict 464 and 2,030, push 183 and 772, fill 529 and 2,200,
commit 201 and 888, refuse 133 and 602, direct 68 and 287, start 122 and 472, found 445 and 1,887, loose 457 and 1,998; and EIO at each of the 382 steps of a
push and its commit.  All converge, since a journal's removal is synced, new directories are before anything is in them, and a commit that met an I/O error is
decided.  What `make check` takes is ten of each, the same ones each time.
"""
import argparse
import collections
import multiprocessing
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time

from world import NODES, PATIENCE, Failure, World

CUTS = ("nothing", "names", "data", "prefix", "random")


# --- scenarios: how the world is before, and what is done ---------------------------------------------------------------------------------

class Scenario:
    victim = "A"
    application = ("begin",)
    exact = True  # else: what an application had not made durable may be as before

    def prepare(self, world):
        """From nothing; the datastore runs at the end."""
        for what in self.application:
            world.application("A", what)
        world.start_datastore()
        for name in "AB":
            if world.once(name):
                raise Failure(f"the first round of {name}: {world.said}")
        self.begin(world)

    def begin(self, world):
        pass

    def afterwards(self, world):
        """What the power cut at the end takes away again: it took nothing of what was pushed."""

    def run(self, world, env):
        """On a world that was put back, until it is done or the victim is dead."""
        world.start_datastore()
        world.once("A", env)


class Pull(Scenario):
    """a webserver takes what another one pushed"""

    def begin(self, world):
        world.application("B", "there")
        world.once("B")


class Conflict(Pull):
    """a webserver takes what another one pushed, with edits of its own: conflicts are archived, rows merged, and its own pushed"""

    def begin(self, world):
        super().begin(world)
        world.application("A", "here")


class Push(Scenario):
    """a webserver pushes changes of each kind"""

    def begin(self, world):
        world.application("A", "there")


class Fill(Scenario):
    """a new webserver is filled"""

    def begin(self, world):
        shutil.rmtree(world.path("A"))
        os.mkdir(world.path("A"))


class Commit(Push):
    """the datastore commits a push"""
    victim = "datastore"

    def run(self, world, env):
        world.start_datastore(env)
        world.count_from_here()
        self.act(world)

    def act(self, world):
        world.visitor = world.begin_once("A")
        while world.visitor.poll() is None and not world.datastore_died():
            time.sleep(0.004)


class Refuse(Commit, Conflict):
    """the datastore refuses a push in part, and commits the rest"""

    def begin(self, world):
        Conflict.begin(self, world)


class Direct(Commit):
    """the datastore finds direct edits of its files, and commits them"""

    def begin(self, world):
        pass

    def act(self, world):
        world.application("datastore", "there", watched=True)
        if not world.datastore_died():
            os.kill(world.daemon.pid, signal.SIGUSR1)
            world.wait(lambda: world.settled())


class Start(Scenario):
    """the datastore starts, and commits what was edited meanwhile"""
    victim = "datastore"

    def begin(self, world):
        world.stop_datastore()
        world.application("datastore", "there")

    def run(self, world, env):
        world.count_from_here()
        if world.start_datastore(env):
            world.wait(lambda: world.settled())


class Found(Start):
    """a datastore is founded, and takes the first push"""

    def prepare(self, world):
        world.application("A", "begin")

    def run(self, world, env):
        world.count_from_here()
        if world.start_datastore(env):
            Commit.act(self, world)


class Loose(Pull):
    """as conflict, with an application that makes nothing durable (synchronous=NORMAL, no fsync)"""
    exact = False

    def run(self, world, env):
        world.application("A", "loose-here", watched=True)
        super().run(world, env)

    def afterwards(self, world):
        world.application("A", "loose-more", watched=True)


class LargePull(Scenario):
    """a webserver takes the delta of a large file, and what was moved and copied"""
    application = ("begin", "large")

    def begin(self, world):
        world.application("B", "reworked")
        world.once("B")


class LargePush(Scenario):
    """a webserver pushes the delta of a large file, and what was moved and copied"""
    application = ("begin", "large")

    def begin(self, world):
        world.application("A", "reworked")


class LargeCommit(LargePush, Commit):
    """the datastore takes the delta of a large file, and what was moved and copied, and commits it"""


SCENARIOS = {kind.__name__.lower(): kind() for kind in (Pull, Conflict, Push, Fill, Commit, Refuse, Direct, Start, Found, Loose, LargePull, LargePush, LargeCommit)}


# --- one crash --------------------------------------------------------------------------------------------------------------------------------

def settings(k, crash):
    """Of the disk."""
    if crash in ("eio", "full"):
        return {"fail" if crash == "eio" else "full": k}
    return {"stop": k, "when": "half" if crash == "half" else "before"}


class Stage:
    """Worlds of one process, one for each scenario, at one path."""

    def __init__(self, top):
        self.top = top
        self.ready = {}
        self.world = World(top)

    def enter(self, name):
        world = self.world
        world.kept = os.path.join(self.top, f"kept-{name}")
        if name not in self.ready:
            shutil.rmtree(world.top, ignore_errors=True)
            os.mkdir(world.top)
            world.found()
            world.configure()
            SCENARIOS[name].prepare(world)
            world.stop_datastore()
            world.keep()
            self.ready[name] = self.undisturbed(name)
        return self.ready[name]

    def undisturbed(self, name):
        """(its steps, what every node has after it, what is archived, the root)"""
        world, scenario = self.world, SCENARIOS[name]
        world.settled = world.settles
        self.act(scenario, {})
        steps = world.steps()
        recover(world)
        finish(world)
        contents = [world.content(node) for node in NODES]
        if not contents[0] == contents[1] == contents[2]:
            raise Failure(f"{name}: the undisturbed run does not converge")
        faults = world.litter()
        if faults:
            raise Failure(f"{name}: the undisturbed run leaves {faults}")
        return steps, contents[0], world.archived(), world.root("datastore")

    def act(self, scenario, settings):
        self.world.watch(scenario.victim)
        arm = self.world.arm if scenario.victim == "datastore" else None
        scenario.run(self.world, self.world.environment(scenario.victim, arm=arm, **settings))

    def crash(self, name, k, crash, seed):
        """Faults; None: step K was not reached."""
        _, want, archived, root = self.enter(name)
        world, scenario = self.world, SCENARIOS[name]
        world.restore()
        world.settled = lambda: world.committed_root() == root
        world.patience = 3 if crash in ("eio", "full") else PATIENCE  # with a full disk it may never be ready
        try:
            self.act(scenario, settings(k, crash) if k else {})
            if k and not self.reached(k, crash):
                return None
            if not k:
                scenario.afterwards(world)
            self.strike(scenario, crash, seed)
            world.patience = PATIENCE
            told = None if scenario.exact or not k else (world.content("datastore"), world.files("A"))
            if crash.endswith("-twice"):
                self.again(scenario, seed)
                self.strike(scenario, crash, seed + 1)
            recover(world)
            finish(world)
            return list(judge(world, scenario.victim, want, archived, told))
        except Failure as failure:
            return [str(failure)]
        finally:
            if world.visitor:
                world.visitor.kill()
                world.visitor.communicate()
                world.visitor = None
            world.stop_datastore(kill=True)


    def reached(self, k, crash):
        return len(self.world.steps()) >= k if crash in ("eio", "full") else self.world.was_stopped()

    def strike(self, scenario, crash, seed):
        """The victim is dead, or dies now."""
        self.world.look_at_the_dead()
        if scenario.victim == "datastore":
            self.world.stop_datastore(kill=True)
        if crash.startswith("cut-"):
            self.world.cut(seed, crash.split("-")[1])

    def again(self, scenario, seed):
        """While it mends what the first crash left."""
        world = self.world
        world.watch(scenario.victim)
        env = world.environment(scenario.victim, stop=1 + seed % 97)
        if scenario.victim == "datastore":
            world.start_datastore(env)
        else:
            world.once(scenario.victim, env)


def recover(world):
    """Rounds until nothing is left to do."""
    if world.daemon is None or world.datastore_died():
        world.stop_datastore(kill=True)
        world.start_datastore()
    if world.visitor:
        world.visitor.communicate()
        world.visitor = None
    for i in range(9):
        if [world.once(name) for name in "ABA"] == [0, 0, 0]:
            if not world.age():
                return
            world.stop_datastore()
            world.start_datastore()
        else:
            time.sleep(0.1 * i)  # what is deleted directly waits a moment
    raise Failure(f"it does not come to rest: {world.said}")


def finish(world):
    world.stop_datastore()


def allowed(key, want, told):
    """What may have become of it.  told: what the datastore had at the crash, and which files survived at A, where their application synced nothing: what the
    datastore did not have yet may be lost, or be torn."""
    values = [want.get(key)]
    if told and told[0].get(key) != want.get(key):
        values += [told[0].get(key), told[1].get(key)]
    return values


def judge(world, victim, want, archived, told):
    for node in NODES:
        has = world.content(node)
        for key in want.keys() | has.keys():
            if has.get(key) not in allowed(key, want, told):
                yield f"{node}: {key}: {has.get(key)}, not {allowed(key, want, told)}"
    roots = {world.root(node) for node in NODES}
    if len(roots) != 1:
        yield f"the roots differ: {roots}"
    if not told and archived - world.archived():
        yield f"not archived: {archived - world.archived()}"
    yield from world.litter()
    fault = world.verify(victim)
    if fault:
        yield fault


# --- which ones -------------------------------------------------------------------------------------------------------------------------------

def crashes(call, path, seed):
    """The ways in which a step is crashed at.  A -shm means nothing once the power is gone."""
    how = CUTS[1 + seed % (len(CUTS) - 1)]
    yield from ("kill", "eio", "full")
    if path.endswith("-shm"):
        return
    if call in ("write", "pwrite", "writev", "send"):
        yield "half"
    yield from ("cut-nothing", f"cut-{how}", f"cut-{how}-twice" if seed % 2 else "kill-twice")


def every_point(name, steps, seed):
    for k, (call, path) in enumerate(steps, 1):
        for crash in crashes(call, path, seed + k):
            yield name, k, crash, seed + k
    yield name, 0, "cut-nothing", seed


def sample(points, steps, n, rnd):
    """So many, of as many calls on different files as there are."""
    kinds = collections.defaultdict(list)
    for point in points:
        call, path = step_of(steps, point)
        kinds[call, re.sub("[0-9a-f]{8,}", "", path), point[2][:3]].append(point)
    chosen = [rnd.choice(kind) for kind in kinds.values()]
    rnd.shuffle(chosen)
    return points[-1:] + chosen[:n - 1]


def step_of(steps, point):
    return steps[point[1] - 1] if point[1] else ("end", "")


# --- running ----------------------------------------------------------------------------------------------------------------------------------

stage = None


def begin_worker(top):
    global stage
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stage = Stage(tempfile.mkdtemp(dir=top))


def work(point):
    return point, stage.crash(*point)


def outcomes(points, jobs, top):
    """(point, faults) of each, in the order in which they come."""
    if jobs > 1:
        with multiprocessing.Pool(jobs, begin_worker, (top,)) as pool:
            yield from pool.imap_unordered(work, points, chunksize=4)
    else:
        yield from map(work, points)


def run(options, top):
    rnd = random.Random(options.seed)
    begin_worker(top)
    points, steps = [], {}
    for name in options.scenario:
        steps[name] = stage.enter(name)[0]
        these = [point for point in every_point(name, steps[name], options.seed) if point[2].startswith(options.crash) and re.search(options.only, " ".join(step_of(steps[name], point)))]
        points += these if options.all else sample(these, steps[name], options.sample, rnd)
    count, missed, failed, begun = collections.Counter(), collections.Counter(), 0, time.monotonic()
    for done, (point, faults) in enumerate(outcomes(points, options.jobs, top), 1):
        count[point[0], point[2][:3]] += faults is not None
        missed[point[0]] += faults is None
        if faults:
            failed += 1
            call, path = step_of(steps[point[0]], point)
            print(f"FAILED {':'.join(map(str, point))} ({call} {path})", *faults[:12], sep="\n    ", flush=True)
        if done % 500 == 0:
            print(f"{done} of {len(points)} after {time.monotonic() - begun:.0f} s, {failed} failed", flush=True)
    for name in options.scenario:
        kinds = {crash: count[name, crash] for crash in ("kil", "hal", "cut", "eio", "ful")}
        print(f"{name}: {SCENARIOS[name].__doc__}: {len(steps[name])} steps; killed before one {kinds['kil']} times, within one {kinds['hal']}, power cuts"
              f" {kinds['cut']}, EIO {kinds['eio']}, disk full {kinds['ful']}" + (f"; {missed[name]} not reached" if missed[name] else ""))
    print(f"{sum(count.values())} faults and crashes, {failed} failed, seed {options.seed}")
    return 1 if failed or not count else 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--sample", type=int, default=12)
    parser.add_argument("--seed", type=int, default=int(os.environ.get("SEED") or random.randrange(10**6)))
    parser.add_argument("--crash", default="")
    parser.add_argument("--only", default="")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--replay")
    parser.add_argument("--keep")
    parser.add_argument("--steps")
    parser.add_argument("scenario", nargs="*")
    options = parser.parse_args()
    options.scenario = options.scenario or list(SCENARIOS)
    shm = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    top = options.keep or tempfile.mkdtemp(prefix="sameroot-crash.", dir=shm)
    try:
        if options.steps:
            for k, (call, path) in enumerate(Stage(top).enter(options.steps)[0], 1):
                print(k, call, path)
            return 0
        if options.replay:
            name, k, crash, seed = options.replay.split(":")
            faults = Stage(top).crash(name, int(k), crash, int(seed))
            print("step not reached" if faults is None else "\n".join(faults) or "all is well")
            return 1 if faults else 0
        return run(options, top)
    finally:
        if not options.keep:
            shutil.rmtree(top, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
