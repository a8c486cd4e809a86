"""daemons.py - a datastore and webservers of one's own: configured, started, asked and ended as an operator does it.

Everything of NAME (datastore, A, B, ...) lies in TOP/NAME, NAME.conf and NAME.log beside it.  Stores may lie elsewhere.  Plain HTTP on loopback."""
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import time

import process
from process import Failed, Sample, wait_for

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.path.abspath(os.environ.get("BIN", os.path.join(ROOT, "build/bin")))
NEVER = 3600  # seconds between check-ins that are not to come by themselves


class Cluster:
    def __init__(self, top, webservers=("A",), resources=None, users=None, interval=NEVER, lines=(), relay=None, rest=2.1):
        """resources and users: where the stores of a webserver lie, if not below TOP: {NAME: PATH}."""
        self.top, self.webservers, self.interval, self.lines = os.path.abspath(top), tuple(webservers), interval, list(lines)
        self.resources, self.users = resources or {}, users or {}
        self.port, self.relay, self.rest, self.running, self.url, self.connections = 0, relay, rest, {}, {}, {}
        for name in ("datastore", *webservers):
            os.makedirs(f"{self.top}/{name}")
            self.configure(name)

    def path(self, name, store):
        """Of a store: resources or users.db."""
        return (self.resources if store == "resources" else self.users).get(name) or f"{self.top}/{name}/{store}"

    def configure(self, name):
        datastore = name == "datastore"
        prefix = "Datastore-" if datastore else ""
        lines = [f"{prefix}User-DB-Path={self.path(name, 'users.db')}", f"{prefix}Web-Store-Path={self.top}/{name}/webstore.db",
                 f"{prefix or 'Webserver-'}Resource-Store={self.path(name, 'resources')}", f"{prefix}State-Directory={self.top}/{name}/state",
                 f"Control-Auth-File={self.top}/control-auth", "Datastore-Insecure-Disable-TLS=true", "Insecure-Disable-HTTPS=true",
                 "Lb-Recognition-Period=0", "Max-Delete-Percent=100", f"Resource-Max-Size={1 << 40}"]
        if self.interval:
            lines.append(f"Datastore-Update-Interval={self.interval}")
        if datastore:
            lines += ["Datastore-Listen-Address=127.0.0.1", f"Datastore-Port={self.port}"]
        else:
            port = self.relay.listening_on if self.relay else self.port
            lines += [f"Datastore=127.0.0.1:{port or 1}", f"External-Addr=127.0.0.1:{8001 + self.webservers.index(name)}",
                      "Sync-Listen-Address=127.0.0.1", "Sync-Port=0", *self.lines]
        with open(f"{self.top}/{name}.conf", "w") as file:
            file.write("\n".join(["[global]", *lines, ""]))

    def configure_all(self, interval, lines=()):
        """Taken at the next start.  interval None: the default."""
        self.interval, self.lines = interval, list(lines)
        for name in ("datastore", *self.webservers):
            self.configure(name)

    def accepts(self, line):
        """Does a webserver of this version know such a line of the configuration?"""
        path = f"{self.top}/try.conf"
        with open(f"{self.top}/{self.webservers[0]}.conf") as file, open(path, "w") as copy:
            copy.write(file.read() + line + "\n")
        done = subprocess.run([f"{BIN}/sameroot-sync", "-c", path, "--check-config"], stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        return done.returncode == 0

    # --- their life ------------------------------------------------------------------------------------------------------------

    def start(self, name):
        """Until it says where it listens, and the datastore until it is ready."""
        program = "sameroot-datastore" if name == "datastore" else "sameroot-sync"
        with open(f"{self.top}/{name}.log", "a+") as log:
            size = os.fstat(log.fileno()).st_size
            self.running[name] = subprocess.Popen([f"{BIN}/{program}", "-c", f"{self.top}/{name}.conf"], stdin=subprocess.DEVNULL,
                                                  stdout=log, stderr=log)
            said = wait_for(f"{name} listens", lambda: self._announced(name, log, size))
        self.url[name] = said
        if name == "datastore":
            self.port = int(said.rpartition(":")[2])
            for other in ("datastore", *self.webservers):
                self.configure(other)
            wait_for("the datastore is ready", lambda: self._get(name, "/readyz", None)[0] == 200)

    def _announced(self, name, log, size):
        log.seek(size)
        said = re.search(r"listening on (\S+)\n", log.read())
        if not said and self.running[name].poll() is not None:
            raise Failed(f"{name} does not start: {self.last_words(name)}")
        return said and said[1]

    def last_words(self, name):
        with open(f"{self.top}/{name}.log") as log:
            return log.read()[-1000:]

    def pid(self, name):
        return self.running[name].pid

    def stop(self, *names):
        """Each that is named and runs, or all."""
        names = [name for name in names or list(self.running) if name in self.running]
        for name in names:
            self.running[name].terminate()
        for name in names:
            self.running.pop(name).wait()
            connection = self.connections.pop(name, None)
            if connection:
                connection.close()

    def kill(self):
        for daemon in self.running.values():
            daemon.kill()
            daemon.wait()
        self.running.clear()
        self.connections.clear()

    def forget(self, name):
        """As if it had never run: its state, and what it left in a store that stays."""
        shutil.rmtree(f"{self.top}/{name}/state", ignore_errors=True)
        shutil.rmtree(f"{self.path(name, 'resources')}/.sameroot", ignore_errors=True)

    # --- asking them -----------------------------------------------------------------------------------------------------------

    def _get(self, name, path, secret):
        """Over a kept connection: status and body."""
        for again in (True, False):
            if name not in self.connections:
                self.connections[name] = http.client.HTTPConnection(self.url[name].rpartition("/")[2], timeout=60)
            try:
                self.connections[name].request("GET", path, headers={"Authorization": f"Bearer {secret}"} if secret else {})
                answer = self.connections[name].getresponse()
                return answer.status, answer.read()
            except (OSError, http.client.HTTPException):
                self.connections.pop(name).close()
                if self.running[name].poll() is not None:
                    raise Failed(f"{name} has ended: {self.last_words(name)}") from None
                if not again:
                    raise
        return None

    def secret(self, name=None):
        """The shared one, or a node's admin token."""
        with open(f"{self.top}/{name}/state/admin-token" if name else f"{self.top}/control-auth") as file:
            return file.read().strip()

    def status(self, name):
        code, body = self._get(name, "/api/admin/status", self.secret(name))
        if code != 200:
            raise Failed(f"{name}: status {code}: {body[:300]}")
        return json.loads(body)

    def tree(self, name="datastore"):
        return json.loads(self._get(name, "/api/tree", self.secret())[1])

    def metrics(self, name):
        """Unlike status() no reason for a webserver to ask the datastore for anything."""
        text = self._get(name, "/metrics", self.secret())[1].decode()
        return {key: float(value) for key, value in re.findall(r"^(sameroot_\S+) (\S+)$", text, re.M)}

    def rounds(self, name):
        """Of a webserver: how many went through."""
        return self.metrics(name).get('sameroot_rounds_total{outcome="ok"}', 0)

    # --- rounds ----------------------------------------------------------------------------------------------------------------

    def once_each(self, name):
        """A round of a webserver whose daemon does not run, from its start to its end: what it took, and what the datastore took."""
        datastore = self.pid("datastore")
        process.reset_high_water(datastore)
        cpu = process.cpu_seconds(datastore)
        sample, said = process.run([f"{BIN}/sameroot-sync", "-c", f"{self.top}/{name}.conf", "--once", "--json"])
        result = json.loads(said)
        sample.requests, sample.sent, sample.received = result["requests"], result["sent"], result["received"]
        return sample, Sample(cpu=process.cpu_seconds(datastore) - cpu, memory=process.high_water(datastore))

    def once(self, name):
        """The same of both together; the larger memory."""
        sample, other = self.once_each(name)
        sample.cpu, sample.memory = sample.cpu + other.cpu, max(sample.memory or 0, other.memory)
        return sample

    def settle(self, *names):
        """After their start, until the first round is over, and no file changed within 2 s of a scan, for that is looked at again by the next one."""
        for name in names or self.webservers:
            wait_for(f"the first round of {name}", lambda: self.rounds(name))
        time.sleep(self.rest)
        for name in names or self.webservers:
            self.round(name)
        for name in names or self.webservers:
            self.round(name)

    def round(self, name):
        """One more round of a running daemon, by SIGUSR1; it has to find all well."""
        return self.timed(name, lambda: None)

    def timed(self, name, change, there=None):
        """From just before change() until the datastore has what was changed (there()) and the webserver knows that."""
        pids = [self.pid("datastore"), self.pid(name)]
        before = self.metrics(name)
        for pid in pids:
            process.reset_high_water(pid)
        began = time.monotonic()
        change()
        self.running[name].send_signal(signal.SIGUSR1)
        if there:
            wait_for("the datastore has it", there, pause=0.0002)
        after = wait_for(f"a round of {name}", lambda: self._well(name, before, there), pause=0.0001)
        sample = Sample(seconds=time.monotonic() - began)
        sample.memory = max(process.high_water(pid) for pid in pids)
        sample.requests, sample.sent, sample.received = (int(after[key] - before[key]) for key in (
            f"sameroot_round_{what}_total" for what in ("requests", "sent_bytes", "received_bytes")))
        return sample

    def _well(self, name, before, changed):
        """Its counters, if it has done a round since and has what the datastore has."""
        now = self.metrics(name)
        rounds = {key for key in now if key.startswith("sameroot_rounds_total") and now[key] > before.get(key, 0)}
        ok = 'sameroot_rounds_total{outcome="ok"}'
        if rounds - {ok}:
            raise Failed(f"{name}: {self.status(name)['trouble']}")
        return ok in rounds and now["sameroot_in_sync"] and (not changed or self.tree(name)["root"] == self.tree()["root"]) and now

    def wait_in_step(self, *names):
        """Until these have the datastore's root."""
        for name in names or self.webservers:
            wait_for(f"{name} is in step", lambda: self._in_step(name), pause=0.02)

    def _in_step(self, name):
        return self.metrics(name).get("sameroot_in_sync") and self.tree(name)["root"] == self.tree()["root"]
