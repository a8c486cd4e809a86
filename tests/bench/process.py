"""process.py - processes, and what they take: time on the wall, time on a processor, memory.  Source: proc(5), clock_getcpuclockid(3)."""
import dataclasses
import os
import subprocess
import threading
import time


class Failed(Exception):
    """A program ended otherwise than it should, or what was waited for did not come."""


@dataclasses.dataclass
class Sample:
    """What one run took; None: it was not looked at."""
    seconds: float = None    # from when a user would begin to wait until he has what he waits for
    cpu: float = None        # seconds on a processor, of all its processes
    memory: int = None       # bytes: the most that the largest of its processes ever had (VmHWM)
    sent: int = None         # bytes on the wire, heads and bodies without TLS, as the one sees it who began
    received: int = None
    requests: int = None
    rate: float = None       # requests a second

    @property
    def bytes(self):
        return None if self.sent is None else self.sent + self.received


def cpu_seconds(pid):
    """Of all its threads so far, also of those that ended; None when it has ended itself."""
    try:
        return time.clock_gettime(~pid << 3 | 2)
    except OSError:
        return None


def _status(pid, key):
    try:
        with open(f"/proc/{pid}/status") as file:
            return next((int(line.split()[1]) * 1024 for line in file if line.startswith(key)), 0)
    except OSError:
        return 0


def high_water(pid):
    """Bytes; 0 when it has ended."""
    return _status(pid, "VmHWM:")


def resident(pid):
    return _status(pid, "VmRSS:")


def reset_high_water(pid):
    try:
        with open(f"/proc/{pid}/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        pass  # then it is the highest so far, which is all the stricter


def family(pid):
    """It, and what it has started."""
    yield pid
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            children = file.read().split()
    except OSError:
        return
    for child in children:
        yield from family(int(child))


class _Watcher(threading.Thread):
    """Looks at the memory of a process and of its children until it has ended.  One of a few milliseconds may be missed: then memory is 0."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.memory, self.over = pid, 0, threading.Event()
        self.start()

    def run(self):
        pause = 0.001
        while not self.over.wait(pause):
            self.memory = max(self.memory, *(high_water(pid) for pid in family(self.pid)))
            pause = min(0.02, pause * 2)


def run(command, statuses=(0,), **options):
    """A program from start to end: its Sample, and what it printed."""
    options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
    began = time.monotonic()
    process = subprocess.Popen(command, **options)
    watcher = _Watcher(process.pid)
    said = process.stdout.read() if process.stdout else ""
    complaint = process.stderr.read() if process.stderr else ""
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    watcher.over.set()
    watcher.join()
    if process.returncode not in statuses:
        raise Failed(f"{' '.join(map(str, command))}: status {process.returncode}: {(complaint or said)[-1500:]}")
    return Sample(seconds=seconds, cpu=usage.ru_utime + usage.ru_stime, memory=watcher.memory or None), said


def wait_for(what, condition, seconds=3600, pause=0.001):
    """Until condition() gives something: that.  What takes long is looked at less often: by a hundredth of what it took so far."""
    began = time.monotonic()
    while not (got := condition()):
        so_far = time.monotonic() - began
        if so_far > seconds:
            raise Failed(f"waited {seconds} s in vain: {what}")
        time.sleep(max(pause, so_far / 100))
    return got
