"""world.py - a datastore and the webservers A and B below one directory, for crash.py: begun once, put back as often as one likes, run, looked at.

Each node is a machine of its own: what is below its directory loses power together.  The disk of the one that is to crash is watched by build/tests/disk.so.
"""
import ctypes
import hashlib
import http.client
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.environ.get("BUILD") or os.path.join(HERE, "../../build")
BIN, TESTS = os.path.join(BUILD, "bin"), os.path.join(BUILD, "tests")
TOKEN = re.compile(rb"<[a-z0-9 ]+>")
NODES = ("datastore", "A", "B")
PATIENCE = 60  # seconds until something is said to hang


class Failure(Exception):
    pass


def die_with_us():
    ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL


class World:
    def __init__(self, top):
        self.top = os.path.join(top, "world")
        self.kept = os.path.join(top, "kept")  # the template of the scenario at hand
        self.log = os.path.join(top, "log")
        self.arm = os.path.join(top, "arm")
        self.daemon = None
        self.port = 0
        self.said = ""
        self.patience = PATIENCE
        self.visitor = None  # a round of a webserver that is under way

    def path(self, *names):
        return os.path.join(self.top, *names)

    # --- making it ---------------------------------------------------------------------------------------------------

    def found(self):
        """Nothing but configurations, and one secret for all."""
        for name in NODES:
            os.makedirs(self.path(name))
        os.makedirs(self.path("tmp"))
        with open(self.path("control-auth"), "w") as file:
            file.write("a-secret-that-only-this-test-knows-and-that-is-long-enough\n")
        os.chmod(self.path("control-auth"), 0o600)

    def configure(self):
        for name in NODES:
            its = "Datastore-" if name == "datastore" else ""
            lines = ["[global]",
                     f"{its}User-DB-Path={self.path(name, 'users.db')}",
                     f"{its}Web-Store-Path={self.path(name, 'webstore.db')}",
                     f"{its or 'Webserver-'}Resource-Store={self.path(name, 'resources')}",
                     f"{its}State-Directory={self.path(name, 'state')}",
                     f"Control-Auth-File={self.path('control-auth')}",
                     "Datastore-Insecure-Disable-TLS=true", "Insecure-Disable-HTTPS=true",
                     "Datastore-Update-Interval=3600", "Max-Delete-Percent=100", "Lb-Recognition-Period=0", "Shutdown-Timeout=1"]
            if its:
                lines += ["Datastore-Listen-Address=127.0.0.1", f"Datastore-Port={self.port}"]
            else:
                lines += [f"Datastore=127.0.0.1:{self.port}", f"External-Addr=127.0.0.1:{8000 + ord(name)}",
                          "Sync-Listen-Address=127.0.0.1", "Sync-Port=0"]
            with open(self.path(f"{name}.conf"), "w") as file:
                file.write("\n".join(lines) + "\n")

    def keep(self):
        """As it is now it will be after restore()."""
        shutil.rmtree(self.kept, ignore_errors=True)
        self.copy(self.top, self.kept)

    def restore(self):
        shutil.rmtree(self.top, ignore_errors=True)
        self.copy(self.kept, self.top)

    @staticmethod
    def copy(source, target):
        subprocess.run(["cp", "-a", source, target], check=True)

    # --- running it --------------------------------------------------------------------------------------------------

    def environment(self, watched=None, **settings):
        env = dict(os.environ, TMPDIR=self.path("tmp"), LC_ALL="C.UTF-8")
        if watched:
            env.update(LD_PRELOAD=os.path.join(TESTS, "disk.so"), SR_DISK_ROOT=self.path(watched), SR_DISK_LOG=self.log,
                       ASAN_OPTIONS="verify_asan_link_order=0")
            env.update({f"SR_DISK_{name.upper()}": str(value) for name, value in settings.items() if value is not None})
        return env

    def watch(self, name):
        """What is at that node now is durable; steps count from here, or from arm() on."""
        if os.path.exists(self.arm):
            os.unlink(self.arm)
        self.powercut("begin", self.log, self.path(name))

    def count_from_here(self):
        open(self.arm, "w").close()

    @staticmethod
    def powercut(*words):
        return subprocess.run([os.path.join(TESTS, "powercut"), *map(str, words)], check=True, stdout=subprocess.PIPE, text=True).stdout

    def steps(self):
        """(call, path below the world) of each counted step."""
        lines = [line.split(" ", 2) for line in self.powercut("steps", self.log).splitlines() if line != "stopped"]
        return [(call, path.replace(self.top + "/", "")) for _, call, path in lines]

    def was_stopped(self):
        return self.powercut("steps", self.log).endswith("stopped\n")

    def cut(self, seed, how):
        self.powercut("cut", self.log, seed, how)

    def start_datastore(self, env=None):
        """False: it ended before it was ready, as one that is watched may."""
        self.configure()
        with open(self.path("datastore.log"), "ab") as log:
            before = log.tell()
            self.daemon = subprocess.Popen([f"{BIN}/sameroot-datastore", "-c", self.path("datastore.conf")], stdin=subprocess.DEVNULL, stdout=log,
                                           stderr=log, env=env or self.environment(), preexec_fn=die_with_us)
        listening = self.wait(lambda: self.listens(before))
        if not listening and not env:
            raise Failure(f"the datastore ended: {tail(self.path('datastore.log'))}")
        self.configure()
        return listening and self.wait(self.is_ready)

    def wait(self, condition):
        """False: the datastore ended first; or patience did, with a disk that has a fault."""
        end = time.monotonic() + self.patience
        while not condition():
            if self.daemon.poll() is not None:
                return False
            if time.monotonic() > end and self.patience < PATIENCE:
                return False
            if time.monotonic() > end:
                raise Failure("it hangs")
            time.sleep(0.004)
        return True

    def listens(self, since):
        with open(self.path("datastore.log"), "rb") as file:
            file.seek(since)
            found = re.search(rb"listening on [^\n]*:(\d+)\n", file.read())
        if found:
            self.port = int(found.group(1))
        return found

    def ask(self, path):
        with open(self.path("control-auth")) as file:
            secret = file.read().strip()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers={"Authorization": f"Bearer {secret}"})
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return answer.read()

    def is_ready(self):
        try:
            self.ask("/readyz")
            return True
        except (OSError, http.client.HTTPException):
            return False

    def tree(self):
        try:
            said = json.loads(self.ask("/api/tree"))
            return said["seq"], said["root"]
        except (OSError, http.client.HTTPException, ValueError):  # it dies in the midst of its answer
            return None

    def committed_root(self):
        said = self.tree()
        return said and said[1]

    def settles(self):
        """It has committed nothing more for a while: for when one does not know yet what it will commit."""
        before = self.tree()
        time.sleep(1)
        return before is not None and self.tree() == before

    def datastore_died(self):
        return self.daemon.poll() is not None

    def look_at_the_dead(self):
        if self.daemon and (self.daemon.poll() or 0) < 0 and self.daemon.poll() != -9:
            raise Failure(f"the datastore died of signal {-self.daemon.poll()}: {tail(self.path('datastore.log'))}")

    def stop_datastore(self, kill=False):
        if self.daemon is None:
            return
        if self.daemon.poll() is None:
            self.daemon.kill() if kill else self.daemon.terminate()
        status = self.daemon.wait(PATIENCE)
        self.daemon = None
        if not kill and status not in (0, -9):
            raise Failure(f"the datastore ended with {status}")

    def begin_once(self, name, env=None):
        return subprocess.Popen([f"{BIN}/sameroot-sync", "--once", "-c", self.path(f"{name}.conf")], stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env or self.environment(), text=True,
                                preexec_fn=die_with_us)

    def once(self, name, env=None):
        """A round; its exit status."""
        process = self.begin_once(name, env)
        try:
            said, _ = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            raise Failure(f"a round of {name} hangs")
        with open(self.path(f"{name}.log"), "a") as log:
            log.write(said)
        self.said = said
        if process.returncode < 0 and process.returncode != -9:
            raise Failure(f"a round of {name} died of signal {-process.returncode}: {said[-400:]}")
        return process.returncode

    def application(self, name, what, watched=False):
        """An application of that node does `what` (application.py of this directory).  watched: the disk sees it, and counts none of its steps."""
        env = self.environment(name, arm=self.path("never")) if watched else self.environment()
        subprocess.run([sys.executable, f"{HERE}/application.py", self.path(name), what], check=True, env=env)

    # --- looking at it -----------------------------------------------------------------------------------------------

    def content(self, name):
        """What is there: (store, table or path, key) -> value."""
        found = {}
        for base in ("users.db", "webstore.db"):
            if os.path.exists(self.path(name, base)):
                found.update(database(self.path(name, base), base))
        return found | self.files(name)

    def files(self, name):
        found, top = {}, self.path(name, "resources")
        for folder, directories, files in os.walk(top):
            directories[:] = [directory for directory in directories if directory != ".sameroot"]
            below = os.path.relpath(folder, top)
            mode = oct(os.stat(folder).st_mode & 0o777)
            if below != ".":
                found["resources", below, ""] = mode
            for file in files:
                with open(os.path.join(folder, file), "rb") as opened:
                    data, mode = opened.read(), oct(os.fstat(opened.fileno()).st_mode & 0o777)
                found["resources", os.path.join(below, file), ""] = (mode, len(data), hashlib.sha256(data).hexdigest(), tokens(data))
        return found

    def archived(self):
        """The tokens in any node's conflict archive."""
        found = set()
        for name in NODES:
            for folder, _, files in os.walk(self.path(name, "state/archive")):
                for file in files:
                    if file.endswith(".data"):
                        with open(os.path.join(folder, file), "rb") as opened:
                            found.update(tokens(opened.read()))
        return found

    def age(self):
        """What waits for its time to be swept, the beginnings of content for a day and of entries of an archive for an hour, is older than that.  False: there is
        none."""
        ago, any_of_it = time.time() - 2 * 86400, False
        for name in NODES:
            parts = self.path(name, "resources/.sameroot/parts")
            for part in os.listdir(parts) if os.path.isdir(parts) else ():
                os.utime(os.path.join(parts, part), (ago, ago))
                any_of_it = True
            archive = self.path(name, "state/archive")
            for part in os.listdir(archive) if os.path.isdir(archive) else ():
                if not part.endswith((".json", ".data")) and part[:4] != "2001":
                    os.rename(os.path.join(archive, part), os.path.join(archive, "2001" + part[4:]))
                    any_of_it = True
        return any_of_it

    def litter(self):
        """Files that nobody needs any more: drafts, and what is staged for an apply or a push that is over."""
        found = [f"tmp/{name}" for name in os.listdir(self.path("tmp"))]
        for name in NODES:
            for place in ("resources/.sameroot/stage", "resources/.sameroot/parts", "state/stage", "state/parts"):
                if os.path.isdir(self.path(name, place)):
                    found += [f"{name}/{place}/{file}" for file in os.listdir(self.path(name, place))]
            for folder, _, files in os.walk(self.path(name)):
                found += [os.path.relpath(os.path.join(folder, file), self.top) for file in files if is_litter(os.path.join(folder, file))]
        return found

    def root(self, name):
        """As state.db has it, with no daemon running."""
        done = subprocess.run([f"{BIN}/sameroot", "status", "--json", "-c", self.path(f"{name}.conf")], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, env=self.environment())
        if not done.stdout:
            raise Failure(f"status of {name}: {done.returncode}: {done.stderr}")
        said = json.loads(done.stdout)
        return said["root"] if name == "datastore" else said["datastore"]["root"]

    def verify(self, name):
        done = subprocess.run([f"{BIN}/sameroot", "verify", "-c", self.path(f"{name}.conf")], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, env=self.environment())
        return None if done.returncode == 0 else f"verify {name}: status {done.returncode}: {done.stdout}"


def is_litter(path):
    if path.endswith("-journal"):  # SQLite leaves one that was never begun, and ignores it
        with open(path, "rb") as file:
            return file.read(1) not in (b"", b"\0")
    return path.endswith((".new", ".tmp", ".part"))


def tail(path):
    with open(path, errors="replace") as file:
        return file.read()[-400:]


def tokens(data):
    return frozenset(token.decode() for token in TOKEN.findall(data))


def database(path, base):
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=PATIENCE)
    found = {}
    try:
        if db.execute("PRAGMA integrity_check").fetchone() != ("ok",):
            raise Failure(f"{path} is corrupt")
        tables = [name for name, in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '~_sameroot~_%' ESCAPE '~'"
                                               " AND name NOT LIKE 'sqlite~_%' ESCAPE '~'")]
        for table in tables:
            for row in db.execute(f'SELECT * FROM "{table}"'):
                key = row[0] if table != "bag" else row
                found[base, table, key] = row if table != "bag" else found.get((base, table, key), 0) + 1
    finally:
        db.close()
    return found
