"""hostile_registry.py DIR PROGRAM HAPROXY - a datastore that lies to a balancer: `PROGRAM --print` for each lie, which knows a list of two webservers from before.

Rows for table.py.  Whatever is told, no line gets into HAProxy's configuration but those of servers, and HAProxy takes it.
"""
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import uuid

import httpd
import table

T, program, haproxy = sys.argv[1:4]
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def one(n, **fields):
    return {"uuid": str(uuid.UUID(int=n)), "name": f"web{n}", "external_addr": f"127.0.0.{n}:8080", "sync_port": 9406, "pin": None, "seen": None, "stale": False} | fields


HONEST = [one(1), one(2)]


def whole(data, status=b"200 OK", more=b""):
    body = data if isinstance(data, bytes) else json.dumps(data).encode()
    return b"HTTP/1.1 " + status + b"\r\n" + more + b"Content-Length: %d\r\n\r\n" % len(body) + body, b"", 0


def serve(answer):
    """(head, what follows without end, the seconds between).  The port."""
    class Handler(httpd.Handler):
        def do_GET(self):
            self.close_connection = True
            first, more, pause = answer
            try:
                self.wfile.write(first)
                while more:
                    time.sleep(pause)
                    self.wfile.write(more)
                if pause:
                    self.connection.recv(1)
            except OSError:
                pass

    server = httpd.Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


def configure(name, port):
    with open(f"{T}/{name}.conf", "w") as file:
        file.write(f"[Global]\nDatastore=127.0.0.1:{port}\nDatastore-Insecure-Disable-TLS=true\nControl-Secret={'s' * 40}\nInsecure-Disable-HTTPS=true\n"
                   f"Bind-Addr=127.0.0.1\nWeb-Port=1\nUpdate-Interval=1\nState-Directory={T}/lb\nHAProxy=/nonexistent\n")
    os.chmod(f"{T}/{name}.conf", 0o600)


def printed(name):
    done = subprocess.run([program, "-c", f"{T}/{name}.conf", "--print"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)
    return done.returncode, done.stdout.decode("latin-1").splitlines(), done.stderr.decode("latin-1").replace("sameroot-lb: ", "")


def knows():
    try:
        db = sqlite3.connect(f"file:{T}/lb/state.db?mode=ro", uri=True)
        known = b"".join(bytes(v) if isinstance(v, bytes) else str(v).encode() for row in db.execute("SELECT * FROM meta WHERE name = 'lb-webservers'") for v in row[1:])
        db.close()
        return b"web2" in known
    except sqlite3.Error:
        return False


configure("honest", serve(whole(HONEST)))
with open(f"{T}/lb.log", "wb") as log:
    balancer = subprocess.Popen([program, "-c", f"{T}/honest.conf"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
end = time.monotonic() + 60
while not knows() and time.monotonic() < end and balancer.poll() is None:
    time.sleep(0.05)
balancer.send_signal(signal.SIGTERM)
balancer.wait(60)
assert knows()
status, AS_IT_WAS, said = printed("honest")
assert status == 0 and sum("    server " in line for line in AS_IT_WAS) == 4, (status, AS_IT_WAS, said)
SERVER = r"    server [\w.-]+ ([0-9.]+|\[[0-9a-f:.]+\]):\d+( cookie [0-9a-f]{16}( ssl verify none| ssl verify required ca-file @system-ca verifyhost [\w.:-]+)?( sni str\([\w.:-]+\))?( track sameroot-health/[\w.-]+)?|( check-ssl verify none)?)"


def outcome(name):
    status, lines, said = printed(name)
    text = f"exit status {status}"
    strange = [line for line in lines if line not in AS_IT_WAS and not re.fullmatch(SERVER, line) and not line.startswith("# left out: ")]
    servers = sum(line.startswith("    server ") and " cookie " in line for line in lines)
    if lines == AS_IT_WAS:
        text += ", the list as it was"
    elif lines:
        text += f", {servers} webserver" + ("" if servers == 1 else "s")
    left = [line[len("# left out: "):] for line in lines if line.startswith("# left out: ")]
    text += "".join(f"; left out: {line}" for line in left[:1])
    if strange:
        text += "; ANOTHER LINE: " + strange[0]
    if lines and lines != AS_IT_WAS:
        with open(f"{T}/printed.cfg", "w", encoding="latin-1") as file:
            file.write("\n".join(lines) + "\n")
        if subprocess.run([haproxy, "-c", "-f", f"{T}/printed.cfg"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
            text += "; HAPROXY REFUSES IT"
    said = said.partition("was not to be had: ")[2] or said
    said = re.sub(r"(timed out) after \d+ .*", r"\1", re.sub(r"127\.0\.0\.1:\d{4,}", "DATASTORE", said.strip()))
    return text + (f": {said.splitlines()[0]}" if said else "")


def row(sent, text):
    table.row("List of webservers", sent, "`sameroot-lb`", text)


class Slow(threading.Thread):
    def __init__(self, name, sent, *answer):
        super().__init__()
        self.name, self.sent = name, sent
        configure(name, serve(answer))
        self.start()

    def run(self):
        self.outcome = outcome(self.name)


slow = [Slow("silent", "nothing", b"", b"", 60), Slow("drip", "a byte every tenth of a second", OK + b"Content-Length: 100000\r\n\r\n", b" ", 0.1),
        Slow("head", "the head of an answer, and nothing", OK + b"Content-Length: 100000\r\n\r\n", b"", 60)]

GOOD = one(3)
for sent, answer in [
    ("302", whole(b"", b"302 Found", b"Location: http://127.0.0.1/\r\n")),
    ("401", whole(b"{}", b"401 No")),
    ("403", whole(b"{}", b"403 No")),
    ("404", whole(b"{}", b"404 No")),
    ("500, whose JSON has a newline", whole({"error": "oh", "detail": "x\n    server evil 6.6.6.6:80"}, b"500 Oh")),
    ("503", whole(b"\0\xff", b"503 Oh")),
    ("garbage", (b"\x16\x03\x01garbage\r\n\r\n", b"", 0)),
    ("nothing, and the end", (b"", b"", 0)),
    ("cut", (OK + b"Content-Length: 900\r\n\r\n[", b"", 0)),
    ("without end", (OK + b"\r\n", b" " * 65536, 0)),
    ("fields without end", (OK, b"X: " + b"y" * 1000 + b"\r\n", 0)),
    ("no JSON", whole(b"garbage")),
    ("1 MB of `[`", whole(b"[" * 1000000)),
    ("1 MB of `{\"a\":`", whole(b'{"a":' * 200000)),
    ("no body", whole(b"")),
    ("an object", whole({})),
    ("`null`", whole(b"null")),
    ("an empty list", whole([])),
    ("a list of numbers", whole([1, 2])),
    ("a list of lists", whole([[], [[]]])),
    ("no UUIDs", whole([one(3, uuid=None), one(4, uuid="x")])),
    ("a UUID that is a number, beside a good one", whole([GOOD, one(4, uuid=4)])),
    ("one UUID twice, at two addresses", whole([GOOD, one(3, external_addr="127.0.0.9:80")])),
    ("one address twice", whole([GOOD, one(4, external_addr="127.0.0.3:8080")])),
    ("names that are numbers", whole([one(4, name=7), GOOD])),
    ("addresses that are numbers", whole([one(3, external_addr=7), one(4, external_addr=[])])),
    ("ports of 0, -1, 99999 and `9406`", whole([one(3, sync_port=0), one(4, sync_port=-1), one(5, sync_port=99999), one(6, sync_port="9406"), one(7)])),
    ("a port of 2^64", whole(json.dumps([GOOD]).replace("9406", str(1 << 64)).encode())),
    ("a NUL in a name", whole([one(3, name="a\0b")])),
    ("invalid UTF-8 in a name", whole(json.dumps([GOOD]).encode().replace(b"web3", b"\xff\xfe"))),
    ("name `\\n    server evil 6.6.6.6:80`", whole([one(3, name="x\n    server evil 6.6.6.6:80")])),
    ("name `\\nbackend evil\\n`", whole([one(3, name="x\nbackend evil\n")])),
    ("name `'\"${HOME}#\\`", whole([one(3, name="'\"${HOME}#\\")])),
    ("name of 1 MB", whole([one(3, name="n" * 1000000)])),
    ("no name", whole([one(3, name="")])),
]:
    configure("lie", serve(answer))
    row(sent, outcome("lie"))
for sent, address in [
    ("`127.0.0.3:80 check`", "127.0.0.3:80 check"), ("`127.0.0.3:80\\n    server evil 6.6.6.6:80`", "127.0.0.3:80\n    server evil 6.6.6.6:80"), ("`127.0.0.3:80\\nbackend evil`", "127.0.0.3:80\nbackend evil"),
    ("`${HOME}:80`", "${HOME}:80"), ("`'x':80`", "'x':80"), ("`\"x\":80`", '"x":80'), ("`127.0.0.3:80#`", "127.0.0.3:80#"), ("`unix@/run/x`", "unix@/run/x"), ("`fd@3`", "fd@3"),
    ("`/run/x`", "/run/x"), ("no host", ":80"), ("no port", "127.0.0.3:"), ("port 0", "127.0.0.3:0"), ("port 65536", "127.0.0.3:65536"), ("port -1", "127.0.0.3:-1"), ("nothing", ""),
    ("`[::1`", "[::1"), ("`::1%lo:80`", "[::1%lo]:80"), ("`[::1]:80`", "[::1]:80"), ("a host of 5,000 bytes", "h" * 5000 + ":80"), ("a host with an escape", "\x1b[2J:80"), ("a NUL", "127.0.0.3:80\0x"),
]:
    configure("lie", serve(whole([one(3, external_addr=address), one(4)])))
    row(f"address {sent}, beside a good one", outcome("lie"))
configure("lie", serve(whole([one(3, external_addr="x y"), one(4, external_addr=":1")])))
row("bad addresses alone", outcome("lie"))
configure("lie", serve(whole([one(n, external_addr=f"127.{n >> 16}.{n >> 8 & 255}.{n & 255}:80") for n in range(1, 5001)])))
row("5,000 webservers", outcome("lie"))
for one_slow in slow:
    one_slow.join()
    row(one_slow.sent, one_slow.outcome)
