"""growth.py - W9: what grows with the number of leaves, and what does not."""
import time

import data
from files import arrival
from live import HELPERS
from measure import OURS, workload
from process import Sample, high_water, resident, run, wait_for

WALK = "walk, 2 threads"


@workload("W9", "growth: restart, no change, one change, memory")
def w9(w):
    found = {n: grown(w, n) for n in w.bench.size.growth}
    least, most = min(found), max(found)
    small, large = found[least], found[most]
    for who in ("sync", "datastore"):
        large["restart"].reach(f"{who}: <= 1.5x of the walk", large["restart"].ratio(WALK, tool=f"{OURS}-{who}"), 1.5)
    for what, limit in (("seconds", 2), ("bytes", 1.5)):
        large["change"].reach(f"{what} <= {limit}x of those with {least:,}", large["change"].median(OURS, what) / small["change"].median(OURS, what),
                              limit)
    for who in ("sync", "datastore"):
        more = [case["memory"].most(f"{OURS}-{who}") for case in (small, large)]
        large["memory"].reach(f"{who}: < 200 bytes a leaf", (more[1] - more[0]) / (most - least), 200, "bytes")


def grown(w, n):
    bench = w.bench
    cluster = bench.synced(n)
    source, there = cluster.path("A", "resources"), cluster.path("datastore", "resources")
    cluster.configure_all(3600)

    def start(name, ready):
        cluster.stop(name)
        began = time.monotonic()
        cluster.start(name)
        wait_for(f"{name} is there again", ready)
        return Sample(seconds=time.monotonic() - began, memory=high_water(cluster.pid(name)))
    restart = w.measure(f"{n:,}: restart", {
        f"{OURS}-datastore": lambda: start("datastore", lambda: True),
        f"{OURS}-sync": lambda: start("A", lambda: cluster.rounds("A")),
        WALK: lambda: run([f"{HELPERS}/bench_walk", "2", source])[0]})
    cluster.settle()
    w.measure(f"{n:,}: no change", {OURS: lambda: cluster.round("A")})
    k = 0

    def change():
        nonlocal k
        k += 1
        bench.rest(0.3)
        i = k * 7919 % n
        return cluster.timed("A", lambda: data.overwrite(source, [i], bench.seed + k), arrival(source, there, [data.name(i)]))
    changed = w.measure(f"{n:,}: one change", {OURS: change})
    memory = w.case(f"{n:,}: resident")
    for name, who in (("A", "sync"), ("datastore", "datastore")):
        memory.samples[f"{OURS}-{who}"] = [Sample(memory=resident(cluster.pid(name)))]
    cluster.stop()
    return {"restart": restart, "change": changed, "memory": memory}
