"""live.py - W6 to W8: what daemons do that run: a change that is there at once, a quiet minute, check-ins served."""
import http.client
import itertools
import os
import random
import re
import subprocess
import time

import data
import peers
from daemons import ROOT
from measure import OURS, tool, workload
from process import Failed, Sample, cpu_seconds, resident, wait_for
from relay import Relay

HELPERS = os.path.abspath(os.path.join(os.environ.get("BUILD", os.path.join(ROOT, "build")), "tests"))
SERVER_THREADS = 2  # http/server.c


# --- W6: from a commit on A to B ------------------------------------------------------------------------------------------------------

def one_file(rand, source, target, serial=itertools.count()):
    """From its close there to when it is here."""
    time.sleep(rand.uniform(0.1, 0.3))
    name = f"{next(serial):06}"
    with open(f"{source}/{name}", "wb") as file:
        file.write(rand.randbytes(2000))
    began = time.monotonic()
    wait_for(f"{name} is in {target}", lambda: os.path.exists(f"{target}/{name}"), 120, 0.0002)
    return Sample(seconds=time.monotonic() - began)


@workload("W6", "from a commit on A until it is visible on B")
def w6(w):
    bench, rand, n = w.bench, random.Random(w.bench.seed), w.bench.size.commits
    cluster = bench.cluster(webservers=("A", "B"), interval=1)
    data.database(cluster.path("A", "users.db"), 1000, bench.seed)
    os.mkdir(cluster.path("A", "resources"))
    for name in ("datastore", "A", "B"):
        cluster.start(name)
    cluster.wait_in_step("A", "B")
    wait_for("B has the database", lambda: os.path.exists(cluster.path("B", "users.db")))
    here, there = (data.connect(cluster.path(name, "users.db")) for name in ("A", "B"))
    value = 0

    def row():
        nonlocal value
        time.sleep(rand.uniform(0.1, 0.3))
        value += 1
        i = rand.randrange(1, 500)
        here.execute("UPDATE history SET n = ? WHERE id = ?", (value, i))
        began = time.monotonic()
        wait_for("the row is on B", lambda: there.execute("SELECT n FROM history WHERE id = ?", (i,)).fetchone() == (value,), 120, 0.0002)
        return Sample(seconds=time.monotonic() - began)

    file, rows = w.case("a file"), w.case("a row")
    w.series(file, OURS, n, lambda: one_file(rand, cluster.path("A", "resources"), cluster.path("B", "resources")))
    w.series(rows, OURS, n, row)
    here.close()
    there.close()
    cluster.stop()
    others(w, file, rand, n)
    for case in (file, rows):
        case.reach("median <= 10 ms", case.median(OURS), 0.010, "ms")
        case.reach("99 % <= 50 ms", case.worst(OURS), 0.050, "ms")
    w.remark("Datastore-Update-Interval=1; worst: of a hundred, the longest but one")


def others(w, case, rand, n):
    bench = w.bench
    if peers.have("lsyncd") and peers.have("rsync"):
        source, target = bench.fresh("source"), bench.fresh("target")
        os.mkdir(source)
        daemon = bench.daemon(peers.Lsyncd, bench.fresh("lsyncd"), source, target)
        w.series(case, "lsyncd, one way", n, lambda: one_file(rand, source, target))
        daemon.stop()
    if not peers.have("syncthing"):
        return
    for delay, what, most in ((1, "syncthing, delay 1 s", n), (None, "syncthing, default", bench.size.patience // 12 % 5)):
        if not most:
            continue
        devices = [bench.daemon(peers.Syncthing, bench.fresh("syncthing"), bench.fresh("folder")) for _ in range(2)]
        for device, other in (devices, devices[::-1]):
            device.share([other], delay)
        for device in devices:
            device.wait_idle(0)
        one_file(rand, devices[0].folder, devices[1].folder)  # until they have found each other
        w.series(case, what, min(n, most), lambda: one_file(rand, devices[0].folder, devices[1].folder))
        for device in devices:
            device.stop()


# --- W7: a quiet minute ---------------------------------------------------------------------------------------------------------------

def idle(w, n, with_peers):
    """What each process takes when nothing changes, by default settings: {who: Sample}."""
    bench, pids = w.bench, {}
    cluster = bench.synced(n)
    source = cluster.path("A", "resources")
    cluster.configure_all(None)
    cluster.start("datastore")
    cluster.start("A")
    cluster.settle()
    pids.update({f"{OURS}-sync": cluster.pid("A"), f"{OURS}-datastore": cluster.pid("datastore")})
    stopping = [cluster]
    if with_peers and peers.have("syncthing"):
        thing = bench.daemon(peers.Syncthing, bench.fresh("syncthing"), bench.linked(source))
        thing.share()
        thing.wait_idle(n)
        pids["syncthing"] = thing.pids[-1]
        stopping.append(thing)
    if with_peers and peers.have("lsyncd") and peers.have("rsync"):
        daemon = bench.daemon(peers.Lsyncd, bench.fresh("lsyncd"), source, bench.copied(source))
        pids["lsyncd"] = daemon.pids[0]
        stopping.append(daemon)
    bench.rest()
    before = {who: cpu_seconds(pid) for who, pid in pids.items()}
    began = time.monotonic()
    time.sleep(bench.size.idle)
    seconds = time.monotonic() - began
    case = w.case(f"{n:,} files, quiet for {bench.size.idle} s")
    for who, pid in pids.items():
        case.samples[who] = [Sample(cpu=(cpu_seconds(pid) - before[who]) * 60 / seconds, memory=resident(pid))]
        w.say(case, who, case.samples[who][0])
    for each in stopping:
        each.stop()
    return case


@workload("W7", "idle for a minute, {files:,} files watched")
def w7(w):
    n, many = w.bench.size.files, w.bench.size.many
    case = idle(w, n, True)
    for who in (f"{OURS}-sync", f"{OURS}-datastore"):
        case.reach(f"{who}: <= 0.02 s of processor", case.median(who, "cpu"), 0.02, "s")
        case.reach(f"{who}: <= 20 MB resident", case.most(who), 20e6, "MiB")
    if many >= 1_000_000:
        case = idle(w, many, False)
        for who in (f"{OURS}-sync", f"{OURS}-datastore"):
            case.reach(f"{who}: <= 150 MB resident", case.most(who), 150e6, "MiB")
    else:
        w.case("1,000,000 files").reach("<= 150 MB resident", None, 150e6, "MiB", why="there are no million files in this size of the bench")
    w.remark("processor: for a minute; memory: resident at its end; settings are the defaults")


# --- W8: check-ins served -------------------------------------------------------------------------------------------------------------

def check_in(w):
    """A cluster whose webserver has just checked in, and the head of that request."""
    bench, relay = w.bench, Relay()
    cluster = bench.cluster(resources={"A": bench.tree(100, 1024, 8192)}, relay=relay)
    bench.stopping.append(relay.close)
    cluster.start("datastore")
    relay.port = cluster.port
    cluster.start("A")
    cluster.settle()
    for _ in range(5):  # beside a round a webserver may ask for other things
        before = relay.counts()
        sample = cluster.round("A")
        wire = tuple(b - a for a, b in zip(before, relay.counts()))
        if wire == (sample.requests, sample.sent, sample.received):
            break
        time.sleep(0.2)
    w.remark("a check-in: {1} + {2} bytes in {0} requests counted on the wire by a relay; ".format(*wire) +
             f"by the daemon {sample.sent} + {sample.received} in {sample.requests}")
    lines = relay.request.decode().split("\r\n\r\n")[0].split("\r\n")
    return cluster, [line for line in lines[1:] if not line.lower().startswith("host:")]


@workload("W8", "check-ins served: GET /api/tree with If-None-Match over keep-alive")
def w8(w):
    bench = w.bench
    cluster, headers = check_in(w)
    url = f"http://127.0.0.1:{cluster.port}/api/tree"
    connection = http.client.HTTPConnection("127.0.0.1", cluster.port, timeout=60)
    connection.request("GET", "/api/tree", headers=dict(line.split(": ", 1) for line in headers))
    if connection.getresponse().status != 304:
        raise Failed("the check-in of before is not answered 304")
    connection.close()
    hello = subprocess.Popen([f"{HELPERS}/bench_hello", str(SERVER_THREADS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    bench.stopping.append(hello.kill)
    bare = re.search(r"http://\S+", hello.stdout.readline())[0]
    for connections in (1, 16):
        def served(of, with_headers):
            return tool("wrk", lambda: peers.wrk(of, bench.size.wrk, connections, with_headers))
        case = w.measure(f"{connections} connection{'s' if connections > 1 else ''}",
                         {OURS: served(url, headers), "bare libmicrohttpd": served(bare, headers)})
        case.reach(">= 0.7x of bare", case.ratio("bare libmicrohttpd", "rate"), 0.7, least=True, why="wrk is absent")
    hello.stdin.close()
    hello.wait()
    cluster.stop()
