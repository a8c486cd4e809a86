"""hostile_links.py DIR SWAP-SO PROGRAM pull|push PID - a directory of a store that changes places with a link to outside of it, while a change is applied below it.

DIR has A and B in step, DIR/outside, with files of the same names, and DIR/aside, a link to that.  A changes DIR/A/resources/d.  pull: B takes it by a round of
PROGRAM; push: the datastore, which runs with SWAP-SO, is pushed it.  Before call K of that node `d` and `aside` change places, for each K up to the last: nothing
outside is touched, and when `d` is back both become the same.  Says how many calls there were.
"""
import ctypes
import os
import shutil
import subprocess
import sys
import time

T, swap, program, way = sys.argv[1:5]
victim = "B" if way == "pull" else "datastore"
inside, aside, outside, arm = f"{T}/{victim}/resources/d", f"{T}/aside", f"{T}/outside", f"{T}/arm"
libc = ctypes.CDLL(None, use_errno=True)


def exchange(a, b):
    assert libc.renameat2(-100, os.fsencode(a), -100, os.fsencode(b), 2) == 0, os.strerror(ctypes.get_errno())


def tree(top):
    out = {}
    for here, names, files in os.walk(top):
        for name in ["."] + names + files:
            path = os.path.join(here, name)
            st = os.lstat(path)
            out[os.path.relpath(path, top)] = st.st_mode, st.st_ino, st.st_mtime_ns, st.st_ctime_ns, open(path, "rb").read() if name in files else None
    return out


def shape(name):
    top = f"{T}/{name}/resources"
    return {path: (mode, content) for path, (mode, _, _, _, content) in tree(top).items() if not path.startswith(".sameroot")}


def change(n):
    """A replaces a file, changes a mode, and makes a file and directories, or deletes them."""
    d, there = f"{T}/A/resources/d", n % 2 == 0
    with open(f"{d}/old", "w") as file:
        file.write(f"{n}\n")
    os.chmod(f"{d}/mode", 0o600 if there else 0o644)
    if there:
        os.makedirs(f"{d}/dir/sub")
        for path in ("new", "dir/sub/file"):
            with open(f"{d}/{path}", "w") as file:
                file.write("x\n")
    elif os.path.exists(f"{d}/new"):
        os.unlink(f"{d}/new")
        shutil.rmtree(f"{d}/dir")


def once(name, **env):
    with open(f"{T}/{name}.log", "ab") as log:
        return subprocess.run([program, "--once", "-c", f"{T}/{name}.conf"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=os.environ | env, timeout=120).returncode


def all_the_same():
    """In the end: the datastore waits for more, before it believes that something was deleted in its own store."""
    end = time.monotonic() + 60
    while once("B" if way == "pull" else "A") != 0 or shape("A") != shape(victim):
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


untouched = tree(outside)
k, on = 0, True
while on:
    k += 1
    change(k)
    if way == "pull":
        assert once("A") == 0
    with open(arm + ".new", "w") as file:
        file.write(f"{k} {inside} {aside}")
    os.rename(arm + ".new", arm)
    if way == "pull":
        once("B", LD_PRELOAD=swap, SR_SWAP_ARM=arm, ASAN_OPTIONS="verify_asan_link_order=0")
    else:
        once("A")
    on = os.path.exists(arm + ".done")
    assert tree(outside) == untouched, f"call {k}: outside is touched"
    if on:
        exchange(inside, aside)
        os.unlink(arm + ".done")
    else:
        os.unlink(arm)
    assert all_the_same(), f"call {k}: not the same afterwards"
print(k - 1)
