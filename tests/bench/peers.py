"""peers.py - other people's programs, each as its manual says that it is used best here.  One that is absent is None, or raises Absent.

rsync       over a pipe to another process, as ssh would do without its cipher; --modify-window=-1, or it misses what changed within a second
casync      into a store of chunks on this disk
syncthing   over TLS on loopback (it has no other way), without discovery, relays and reports
lsyncd      with rsync at a delay of 0
sqlite3_rsync  comes with SQLite 3.47 and later: no Debian package up to 13 has it"""
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import time

import process
from process import Failed, Sample, wait_for

PACKAGES = {"rsync": "rsync", "tar": "tar", "syncthing": "syncthing", "unison": "unison", "casync": "casync", "lsyncd": "lsyncd", "wrk": "wrk",
            "sqlite3_rsync": "sqlite3-tools of SQLite 3.47 or later", "gnuplot": "gnuplot-nox"}
VERSION = {"rsync": "--version", "tar": "--version", "syncthing": "--version", "unison": "-version", "casync": "--version", "lsyncd": "-version",
           "wrk": "-v", "sqlite3_rsync": "--version", "gnuplot": "--version"}


def have(name):
    return shutil.which(name) is not None


def version(name):
    """One line, or None: it is absent."""
    if not have(name):
        return None
    done = subprocess.run([name, VERSION[name]], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return next((m[0].strip("-") for m in [re.search(r"\d[\d.-]*", line) for line in done.stdout.splitlines()] if m), "?")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


# --- one run ------------------------------------------------------------------------------------------------------------------------

class Rsync:
    def __init__(self, top):
        self.shell = f"{top}/here"
        with open(self.shell, "w") as file:
            file.write('#!/bin/sh\nshift\nexec "$@"\n')
        os.chmod(self.shell, 0o755)

    def __call__(self, source, target):
        """A directory or a file."""
        sample, said = process.run(["rsync", "-a", "--modify-window=-1", "--exclude=/.sameroot", "--stats", "-e", self.shell, source,
                                    f"here:{target}"])
        for what in ("sent", "received"):
            setattr(sample, what, int(re.search(f"Total bytes {what}: ([0-9,]+)", said)[1].replace(",", "")))
        return sample


def tar_pipe(source, target):
    os.makedirs(target)
    return process.run(["sh", "-c", 'tar -C "$1" --exclude=./.sameroot -cf - . | tar -C "$2" -xf -', "sh", source, target])[0]


def unison(home, source, target):
    return process.run(["unison", source, target, "-batch", "-auto", "-silent", "-fastcheck", "true", "-ignore", "Name .sameroot"],
                       env={**os.environ, "UNISON": home, "HOME": home})[0]


def _size(top):
    return sum(os.lstat(f"{at}/{name}").st_size for at, _, names in os.walk(top) for name in names)


def casync(store, index, path):
    """What another machine, which has the store's chunks of before, would have to fetch: index and new chunks."""
    before = _size(store)
    sample = process.run(["casync", "make", f"--store={store}", index, path])[0]
    sample.sent, sample.received = _size(store) - before + os.path.getsize(index), 0
    return sample


def sqlite3_rsync(source, target):
    sample, said = process.run(["sqlite3_rsync", source, target, "-v"])
    found = re.search(r"sent ([0-9,]+) bytes, received ([0-9,]+) bytes", said)
    if found:
        sample.sent, sample.received = (int(n.replace(",", "")) for n in found.groups())
    return sample


def wrk(url, seconds, connections, headers=()):
    """Requests a second; the answers' statuses are the caller's business."""
    command = ["wrk", f"-t{min(2, connections)}", f"-c{connections}", f"-d{seconds}s"]
    for line in headers:
        command += ["-H", line]
    said = process.run([*command, url])[1]
    if "Non-2xx" in said or "Socket errors" in said:
        raise Failed(f"wrk: {said}")
    return Sample(rate=float(re.search(r"Requests/sec:\s+([\d.]+)", said)[1]))


# --- daemons ------------------------------------------------------------------------------------------------------------------------

class Daemon:
    process = None

    def launch(self, command, log, **options):
        with open(log, "a") as out:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, **options)

    @property
    def pids(self):
        return [pid for pid in process.family(self.process.pid)]

    def stop(self):
        if not self.process:
            return
        pids = self.pids
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for pid in pids[1:]:
            wait_for(f"process {pid} ends", lambda: not os.path.exists(f"/proc/{pid}"), 30)
        self.process = None


class Syncthing(Daemon):
    """One device with one folder."""
    KEY = "bench"
    OPTIONS = {"globalAnnounceEnabled": "false", "localAnnounceEnabled": "false", "relaysEnabled": "false", "natEnabled": "false",
               "crashReportingEnabled": "false", "urAccepted": "-1", "autoUpgradeIntervalH": "0", "startBrowser": "false",
               "setLowPriority": "false", "reconnectionIntervalS": "1"}

    def __init__(self, home, folder):
        self.home, self.folder, self.port, self.gui = home, folder, free_port(), None
        os.makedirs(folder, exist_ok=True)
        environment = {**os.environ, "HOME": home, "STNOUPGRADE": "1", "STNODEFAULTFOLDER": "1"}
        process.run(["syncthing", "generate", f"--home={home}", "--no-default-folder"], env=environment)
        with open(f"{home}/config.xml") as file:
            text = file.read()
        for option, value in {**self.OPTIONS, "listenAddress": f"tcp://127.0.0.1:{self.port}"}.items():
            text = re.sub(f"<{option}>[^<]*</{option}>", f"<{option}>{value}</{option}>", text)
        with open(f"{home}/config.xml", "w") as file:
            file.write(text)
        self.gui = free_port()
        self.launch(["syncthing", "serve", f"--home={home}", "--no-browser", "--no-restart", f"--gui-address=127.0.0.1:{self.gui}",
                     f"--gui-apikey={self.KEY}"], f"{home}/log", env=environment)
        wait_for("syncthing answers", self._answers, 60, 0.05)
        self.device = self.ask("GET", "/rest/system/status")["myID"]

    def _answers(self):
        try:
            return self.ask("GET", "/rest/system/ping")
        except (OSError, http.client.HTTPException):
            return None

    def ask(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.gui, timeout=3600)
        try:
            connection.request(method, path, body and json.dumps(body), {"X-API-Key": self.KEY, "Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 200:
                raise Failed(f"syncthing: {path}: {answer.status}: {text[:200]}")
            return json.loads(text) if text else {}
        finally:
            connection.close()

    def share(self, others=(), delay=None):
        """Begin: with these devices, and so many seconds between an event and what is done for it (None: the default)."""
        for other in others:
            self.ask("PUT", f"/rest/config/devices/{other.device}", {"deviceID": other.device, "addresses": [f"tcp://127.0.0.1:{other.port}"]})
        folder = {"id": "bench", "path": self.folder, "rescanIntervalS": 3600, "fsWatcherEnabled": True,
                  "devices": [{"deviceID": each.device} for each in (self, *others)]}
        if delay is not None:
            folder["fsWatcherDelayS"] = delay
        self.ask("PUT", "/rest/config/folders/bench", folder)

    def status(self):
        return self.ask("GET", "/rest/db/status?folder=bench")

    def rescan(self):
        began = time.monotonic()
        self.ask("POST", "/rest/db/scan?folder=bench")
        return Sample(seconds=time.monotonic() - began, memory=process.high_water(self.pids[-1]))

    def wait_idle(self, files):
        """Until it knows so many files, and has them."""
        def idle():
            status = self.status()
            return status["state"] == "idle" and status["globalFiles"] >= files and status["needTotalItems"] == 0
        wait_for("syncthing has all", idle, pause=0.02)


class Lsyncd(Daemon):
    def __init__(self, top, source, target):
        os.makedirs(top)
        os.makedirs(target, exist_ok=True)
        self.log = f"{top}/log"
        with open(f"{top}/conf.lua", "w") as file:
            file.write('settings{nodaemon = true, statusFile = "%s/status", statusInterval = 3600, inotifyMode = "CloseWrite or Modify"}\n'
                       'sync{default.rsync, source = "%s", target = "%s", delay = 0, exclude = {"/.sameroot"},\n'
                       '\trsync = {archive = true, _extra = {"--modify-window=-1"}}}\n' % (top, source, target))
        self.launch(["lsyncd", "-log", "Normal", f"{top}/conf.lua"], self.log)
        wait_for("lsyncd has begun", self._begun, 600, 0.05)

    def _begun(self):
        if self.process.poll() is not None:
            raise Failed(f"lsyncd does not start: see {self.log}")
        with open(self.log) as file:
            return "finished" in file.read()
