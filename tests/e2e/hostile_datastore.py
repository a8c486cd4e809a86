"""hostile_datastore.py PORT DIR PROGRAM - a datastore that lies, in front of the real one at PORT, and the webserver B of DIR, a round of PROGRAM at a time.

Of each lie a row for table.py: what was sent in the place of the real answer, and how B's round ended.  Before it another webserver pushes a file and a row, so
that there is something to take, or something is written at B; after it a round is done without a lie.  "Nothing changed" is not said, nor that all is the same after
that round.
"""
import http.client
import json
import os
import re
import sqlite3
import subprocess
import sys
import threading
import time
import uuid

import httpd
import table
import varint
from forge import DIR, FILE, ROW, TABLE, Bundle, entry, frame, header, key_of, keyed, leaf, member, node, plain, push_head, record, string, twins, version

port, T, program = int(sys.argv[1]), sys.argv[2], sys.argv[3]
with open(f"{T}/control-auth") as secret_file:
    AUTH = {"Authorization": "Bearer " + secret_file.read().strip()}
US = str(uuid.UUID(int=0x667))
FILES, DATABASE = 5, 6
GONE = 32
SKIP = {"host", "connection", "transfer-encoding", "content-length", "expect"}


def ask(method, path, headers=AUTH, body=None):
    real = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    real.request(method, path, body=body, headers={k: v for k, v in headers.items() if k.lower() not in SKIP})
    answer = real.getresponse()
    data = answer.read()
    real.close()
    return answer.status, answer.getheaders(), data


def tree():
    return json.loads(ask("GET", "/api/tree", AUTH | {"Sameroot-Key": "want"})[2])


KEY = bytes.fromhex(tree()["key"])


def H(data):
    return keyed(KEY, data)


# --- the server --------------------------------------------------------------------------------------------------------------------------

KINDS = {"POST /api/push": "push", "POST /api/bundle": "bundle", "POST /api/tree/nodes": "nodes", "GET /api/tree": "tree", "GET /api/changes": "changes", "GET /api/blob": "blob",
         "DELETE /api/push": "settle", "PUT /api/webservers": "registry", "PUT /api/upload": "upload", "GET /api/upload": "have"}
lies = {}  # kind of request -> f(handler, body)
told = []  # which were told


class Handler(httpd.Handler):
    disable_nagle_algorithm = True

    def pass_on(self, body, bend=lambda data: data, **headers):
        status, got, data = ask(self.command, self.path, self.headers, body)
        self.answer(status, bend(data) if status < 300 else data, dict(got) | headers)

    def answer(self, status, data=b"", headers=None):
        self.send_response_only(status)
        for name, value in (headers or {}).items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server") and value is not None:
                self.send_header(name, value)
        if status not in (204, 304):
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if status not in (204, 304):
            self.wfile.write(data)

    def raw(self, data, more=b""):
        """`more` without end, if there is any."""
        self.close_connection = True
        try:
            self.wfile.write(data)
            while more:
                self.wfile.write(more)
        except OSError:
            pass

    def handle_any(self):
        body = self.read_body()
        kind = "token" if self.path.endswith("/token") else KINDS.get(f"{self.command} {'/'.join(self.path.partition('?')[0].split('/')[:3])}")
        kind = "nodes" if self.path == "/api/tree/nodes" else kind
        last = self.path.partition("?")[0].split("/")[-1]
        if kind == "changes" and kind not in lies:  # or nothing would be walked and fetched
            kind, self.path = "tree", self.path.replace("/api/changes", "/api/tree")
        kind = last if last in ("pieces", "parts", "delta") else kind
        lie = lies.get(kind)
        if lie:
            told.append(kind)
            return lie(self, body)
        return self.pass_on(body)

    do_GET = do_POST = do_PUT = do_DELETE = handle_any


class Server(httpd.Server):
    def handle_error(self, request, client_address):
        """Who has had enough of a lie hangs up."""


server = Server(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()


def configure(name, to):
    """A webserver NAME that is set up as B is, whose datastore is at port `to`."""
    with open(f"{T}/B.conf") as file:
        text = re.sub(r"(?m)^Datastore=.*", f"Datastore=127.0.0.1:{to}", file.read()).replace(f"{T}/B/", f"{T}/{name}/")
    os.makedirs(f"{T}/{name}", exist_ok=True)
    with open(f"{T}/{name}.conf", "w") as file:
        file.write(text)


# --- what everybody has ------------------------------------------------------------------------------------------------------------------

def rows(path):
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    db.text_factory = bytes
    names = [n.decode() for n, in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '\\_sameroot\\_%' ESCAPE '\\' ORDER BY 1")]
    out = [(n, sorted(map(repr, db.execute(f'SELECT * FROM "{n}"')))) for n in names]
    out += sorted(map(repr, db.execute("SELECT type, name, sql FROM sqlite_master WHERE tbl_name NOT LIKE '\\_sameroot\\_%' ESCAPE '\\'")))
    db.close()
    return out


def files(top):
    out = []
    for here, names, plain in os.walk(os.fsencode(top)):
        if b".sameroot" in names:
            names.remove(b".sameroot")
        for name in sorted(names) + sorted(plain):
            path = os.path.join(here, name)
            content = open(path, "rb").read() if name in plain and not os.path.islink(path) else None
            out.append((os.path.relpath(path, os.fsencode(top)), os.lstat(path).st_mode, content))
    return sorted(out)


def stores_of(name):
    return [rows(f"{T}/{name}/users.db"), rows(f"{T}/{name}/webstore.db"), files(f"{T}/{name}/resources")]


# --- rounds ------------------------------------------------------------------------------------------------------------------------------

pushed = {"prev": None, "file": b"\0", "row": b"\0", "n": 0}


def row_of(n):
    return record(uid=900, name=b"news", email=b"%d" % n, admin=0)


def send(*leaves):
    """From another webserver than B; each is a store, a leaf, and the content of a file or None."""
    info = tree()
    push = str(uuid.uuid4())
    b = Bundle(KEY, push_head(info, US, push, pushed["prev"]))
    for store, one, content in leaves:
        b.frames(frame(store, 0 if content is None else 1, one))
        if content is not None:
            b.data(content)
    status, _, data = ask("POST", "/api/push", AUTH, b.whole())
    assert status == 200 and json.loads(data)["verdict"] == "ok", (status, data)
    pushed["prev"] = push


def news(content=None):
    """A new version of the file `news` and of user 900."""
    pushed["n"] += 1
    content = content if content is not None else b"news %d\n" % pushed["n"]
    to, rec = version(FILE, 0o644, len(content), H(content)), row_of(pushed["n"])
    row = version(ROW, size=len(rec), digest=H(rec))
    send((b"resources", leaf(b"news", to, expect=pushed["file"], is_file=True), content), (b"users.db", leaf(b"users\0" + key_of(900), row, expect=pushed["row"], rec=rec), None))
    pushed.update(file=to, row=row, content=content)


def round_of(name):
    """The exit status; what was the matter with a store, or what it said last."""
    done = subprocess.run([program, "--once", "-c", f"{T}/{name}.conf"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    stores = [line.partition(" warn sameroot-sync: ")[2] for line in lines if " warn sameroot-sync: store " in line]
    ends = [line.removeprefix("sameroot-sync: ") for line in lines if line.startswith("sameroot-sync: ")]
    with open(f"{T}/{name}.log", "ab") as log:
        log.write(done.stdout)
    return done.returncode, (stores[:1] or ends[-1:] or [""])[0]


def filtered(text):
    text = re.sub(r"127\.0\.0\.1:\d+", "DATASTORE", re.sub(r"(history is \w+): it is at .*", r"\1", text))
    text = re.sub(rf"{T}/\w+/", "", text)
    return re.sub(r"\b(seq|epoch) \d+", r"\1 N", re.sub(r"\b(instance|push) [0-9a-f]{8}\b", r"\1 ID", text))


def well(name):
    """A round without a lie: what is not well after it."""
    status, said = round_of(name)
    if status == 0 and stores_of(name) == stores_of("datastore"):
        return ""
    return f"; the round after it: {filtered(said)}" if status else "; NOT THE SAME AFTER IT"


here = [""]


def section(kind):
    here[0] = kind


def archived(name, content):
    top = f"{T}/{name}/state/archive"
    return any(open(os.path.join(top, file), "rb").read() == content for file in os.listdir(top) if file.endswith(".data"))


victims = ["B"]
mine = []  # what was written at the webserver for this lie


def content_of(name, file):
    with open(f"{T}/{name}/resources/{file}", "rb") as opened:
        return opened.read()


def lie(sent, kind, what):
    """A round in which `what` is the answer to requests of that kind; {kind: what} for several.  Who needs an operator after it is followed by another."""
    name = victims[-1]
    before = stores_of(name)
    lies.update(kind if isinstance(kind, dict) else {kind: what})
    told.clear()
    status, said = round_of(name)
    lies.clear()
    outcome = f"exit status {status}: {filtered(said)}" if said else f"exit status {status}"
    outcome += "" if told else "; NOT ASKED"
    after, there = stores_of(name), stores_of("datastore")
    if after != before:
        outcome += "; what is new elsewhere is taken" if all(x in (y, z) for x, y, z in zip(after, before, there)) else "; another state is taken"
    wrong = well(name)
    if mine and mine[0] != content_of(name, "mine"):
        outcome += "; what was new here is " + ("in the conflict archive" if archived(name, mine[0]) else "undone")
    mine.clear()
    table.row(here[0], sent, TAKES[kind if isinstance(kind, str) else list(kind)[-1]], outcome + wrong)
    if wrong:
        victims.append(f"B{len(victims)}")
        configure(victims[-1], server.server_port)
        assert not well(victims[-1])


TAKES = {"tree": "`GET /api/tree`", "changes": "`GET /api/changes`", "nodes": "`POST /api/tree/nodes`", "bundle": "`POST /api/bundle`", "blob": "`GET /api/blob/ID`", "push": "`POST /api/push`",
         "settle": "`DELETE /api/push/ID`", "token": "`PUT /api/webservers/ID/token`", "registry": "`PUT /api/webservers/ID`", "upload": "`PUT /api/upload/ID`",
         "have": "`GET /api/upload/ID`", "pieces": "`POST /api/blob/ID/pieces`", "parts": "`POST /api/blob/ID/parts`", "delta": "`PUT /api/upload/ID/delta`"}


def pull(sent, kind, what):
    news()
    lie(sent, kind, what)


def whole(status, data=b"", **headers):
    return lambda h, body: h.answer(status, data, {k.replace("_", "-"): v for k, v in headers.items()})


def bent(bend, **headers):
    return lambda h, body: h.pass_on(body, bend, **headers)


def raw(data, more=b""):
    return lambda h, body: h.raw(data, more)


def flip(data, at=None):
    at = len(data) // 2 if at is None else at
    return data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1:]


# --- silent ones, which are given up after half a minute: they come first and are looked at last ----------------------------------------------

class Silent(threading.Thread):
    """A webserver of its own, whose datastore answers one kind of request so; nothing of it is changed."""

    def __init__(self, name, kind, sent, head, drip=b""):
        super().__init__()
        self.name, self.sent, self.takes, self.outcome = name, sent, TAKES[kind], None
        lied = kind

        class Slow(Handler):
            def handle_any(self):
                body = self.read_body()
                self.path = self.path.replace("/api/changes", "/api/tree")
                if KINDS.get(f"{self.command} {'/'.join(self.path.split('/')[:3])}") != lied or self.path.endswith("/nodes"):
                    return self.pass_on(body)
                self.close_connection = True
                try:
                    self.wfile.write(head)
                    while drip:
                        time.sleep(0.5)
                        self.wfile.write(drip)
                    self.connection.recv(1)
                except OSError:
                    pass
                return None

            do_GET = do_POST = do_PUT = do_DELETE = handle_any

        own = Server(("127.0.0.1", 0), Slow)
        threading.Thread(target=own.serve_forever, daemon=True).start()
        configure(name, port)
        assert round_of(name)[0] == 0
        news()
        self.before = stores_of(name)
        configure(name, own.server_port)
        self.start()

    def run(self):
        status, said = round_of(self.name)
        self.outcome = f"exit status {status}: {filtered(said)}"
        if stores_of(self.name) != self.before:
            self.outcome += "; the stores changed"
        configure(self.name, port)

    def told(self):
        self.join()
        table.row(here[0], self.sent, self.takes, self.outcome + well(self.name))


OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
slow = [
    Silent("C", "tree", "nothing", b""),
    Silent("D", "bundle", "the head of an answer, and nothing", OK + b"Content-Length: 100000\r\n\r\n"),
    Silent("E", "tree", "a byte every half second", OK + b"Content-Length: 100000\r\n\r\n", b" "),
    Silent("F", "tree", "a line of the head every half second", OK, b"X: y\r\n"),
    Silent("G", "tree", "`100 Continue` every half second", b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
]
configure("B", server.server_port)
assert not well(victims[-1])

# --- HTTP itself -----------------------------------------------------------------------------------------------------------------------------

section("HTTP")


def check_in(sent, what):
    pull(sent, "tree", what)


for status in (302, 401, 403, 404, 413, 500):
    more = {"Location": f"http://127.0.0.1:{port}/api/tree"} if status == 302 else {}
    check_in({302: "302, to the real one"}.get(status, str(status)), whole(status, b"\0\xff<html>oh\x1b[2J\n", **more))
check_in("500, whose JSON has control characters", whole(500, json.dumps({"error": "oh", "detail": "\x1b[2J\nsameroot-sync: in sync\n\0"}).encode()))
check_in("500, whose JSON has 1 MB of text", whole(500, json.dumps({"error": "oh", "detail": "x" * 1000000}).encode()))
check_in("200, without a body", whole(200))
check_in("204", whole(204))
check_in("206", whole(206, b"{"))
check_in("304, though nothing was said to be known", whole(304))
check_in("an answer that is cut", lambda h, body: h.raw(OK + b"Content-Length: 900\r\n\r\n{"))
check_in("no status line", raw(b"garbage\r\n\r\n"))
check_in("a status that is no number", raw(b"HTTP/1.1 two OK\r\n\r\n"))
check_in("status 99999", raw(b"HTTP/1.1 99999 OK\r\n\r\n"))
check_in("HTTP/0.9", raw(b"{}"))
check_in("TLS", raw(b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03" + bytes(116)))
check_in("nothing, and the end", raw(b""))
check_in("`Content-Length: -1`", raw(OK + b"Content-Length: -1\r\n\r\n{}"))
check_in("two Content-Lengths", raw(OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}"))
check_in("a Content-Length of 2^62 bytes, and no more than two of them", raw(OK + b"Content-Length: 4611686018427387904\r\n\r\n{}"))
check_in("a chunk of 2^68 bytes", raw(OK + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nx"))
check_in("a chunk that is none", raw(OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nx"))
check_in("an encoding that nobody asked for", raw(OK + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\0"))
check_in("a field of 200,000 bytes", raw(OK + b"X: " + b"y" * 200000 + b"\r\n\r\n{}"))
check_in("fields without end", raw(OK, b"X: " + b"y" * 1000 + b"\r\n"))
check_in("a body without end", raw(OK + b"\r\n", b" " * 65536))

# --- GET /api/tree ---------------------------------------------------------------------------------------------------------------------------

section("JSON")


def edited(**fields):
    """The real answer with other fields."""
    def edit(data):
        o = json.loads(data)
        o.update(fields)
        return json.dumps(o).encode()
    return bent(edit, ETag=None)


def store_edited(**fields):
    def edit(data):
        o = json.loads(data)
        o["stores"][0].update(fields)
        return json.dumps(o).encode()
    return bent(edit, ETag=None)


check_in("no JSON", bent(lambda data: b"garbage"))
check_in("half of it", bent(lambda data: data[:len(data) // 2]))
check_in("bytes behind it", bent(lambda data: data + b"x"))
check_in("1 MB of `[`", bent(lambda data: b"[" * 1000000))
check_in("a list", bent(lambda data: b"[" + data + b"]"))
check_in("`null`", bent(lambda data: b"null"))
check_in("one member twice", bent(lambda data: data.replace(b"{", b'{"proto":1,', 1)))
check_in("invalid UTF-8", bent(lambda data: data.replace(b'"resources"', b'"\xff\xfe"')))
for name, values in {"proto": ["1", 2, None, 1 << 63], "instance": [7, "x", None], "epoch": [-1, 1.5, "1", 10 ** 30], "seq": [-1, True], "root": ["x", 0, "0" * 32],
                     "history": ["nosuch", 1], "key_id": ["0" * 31], "start": [[]], "push": [{}], "stores": [{}, [1], [{}], "x"]}.items():
    for value in values:
        shown = json.dumps(value)
        check_in(f"`{name}` is " + ("zeros" if value == "0" * 32 else f"{shown[:1]} and {len(shown) - 1} digits" if len(shown) > 20 else f"`{shown}`"), edited(**{name: value}))
for name, value, sent in (("name", "../x", "a store `../x`"), ("name", "", "a store without a name"), ("name", "users.db", "a store twice"), ("name", 7, "a store called 7"),
                          ("kind", "socket", "a store of another kind"), ("leaves", -1, "a store of -1 leaves"), ("root", "x", "a store whose root is no hash"),
                          ("exclude", "x", "exclusions that are no list"), ("exclude", [7], "an exclusion that is 7"), ("exclude", ["%zz"], "an exclusion `%zz`"),
                          ("exclude", ["a%00b"], "an exclusion with a NUL"), ("paused", 7, "a reason for a pause that is 7")):
    check_in(sent, store_edited(**{name: value}))

# --- a history that is not ---------------------------------------------------------------------------------------------------------------

section("History")
other = str(uuid.UUID(int=0x668))
check_in("`known`, and another instance", edited(instance=other))
check_in("`known`, and a lower seq", edited(seq=0))
check_in("`known`, and a lower epoch", edited(epoch=0))
check_in("`known`, and a root that is nowhere", edited(root="1" * 32))
check_in("`foreign`", edited(history="foreign"))
check_in("`ahead`", edited(history="ahead"))
check_in("another tree key's id", edited(key_id="1" * 32))
earlier = tree()
news()
assert not well(victims[-1])
check_in("the answer of two changes ago", edited(**{k: earlier[k] for k in ("seq", "root", "stores")}))
check_in("the root of two changes ago, with the seq of now", edited(**{k: earlier[k] for k in ("root", "stores")}))

# --- nodes -------------------------------------------------------------------------------------------------------------------------------

section("Node")


def frames(*nodes):
    return b"".join((16 + len(data)).to_bytes(4, "big") + name + data for name, data in nodes)


pull("empty", "nodes", bent(lambda data: b""))
pull("cut within a frame", "nodes", bent(lambda data: data[:-3]))
pull("a byte is another", "nodes", bent(lambda data: flip(data, len(data) - 3)))
pull("zeros", "nodes", bent(lambda data: data[:20] + bytes(len(data) - 20)))
pull("a frame of 4 GiB", "nodes", bent(lambda data: b"\xff" * 4 + data[4:]))
pull("a frame of 3 bytes", "nodes", bent(lambda data: b"\0\0\0\3abc"))
pull("a node by the hash of another", "nodes", lambda h, body: h.answer(200, frames((body[:16], node()))))
pull("another node, again and again", "nodes", lambda h, body: h.answer(200, frames((H(node()), node()))))
pull("410", "nodes", whole(410, b'{"error": "gone", "detail": "no"}'))
pull("without end", "nodes", raw(OK + b"\r\n", bytes(65536)))

made = {}


def put(data):
    made[H(data)] = data
    return H(data)


def top(entries_of, name="resources", leaves=1, octets=0, kind=FILES, root=None):
    """The answer of GET /api/tree whose root has this map in a store's place, and its nodes."""
    def edit(data):
        o = json.loads(data)
        o["seq"] += 5
        stores = []
        for s in sorted(o["stores"], key=lambda s: s["name"]):
            digest = bytes.fromhex(s["root"])
            if s["name"] == name:
                digest, s["leaves"], s["bytes"] = entries_of, leaves, octets
                s["root"] = digest.hex()
            stores.append(entry(s["name"].encode(), (kind if s["name"] == name else FILES) if s["kind"] == "files" else DATABASE, digest, s["leaves"], s["bytes"]))
        o["root"] = put(root if root is not None else node(*stores)).hex()
        return json.dumps(o).encode()
    return bent(edit, ETag=None)


def nodes(h, body):
    wanted = [body[i:i + 16] for i in range(0, len(body), 32)]
    have = frames(*[(name, made[name]) for name in dict.fromkeys(wanted) if name in made])
    rest = b"".join(body[i:i + 32] for i in range(0, len(body), 32) if body[i:i + 16] not in made)
    return h.pass_on(rest, lambda data: data + have) if rest else h.answer(200, have)


def crafted(sent, data, **how):
    news()
    lie(sent, {"tree": top(put(data), **how), "nodes": nodes}, None)
    made.clear()


ONE = H(b"x")


def one(name, kind=FILE, digest=ONE, leaves=1, octets=1, mode=0o644):
    return node(entry(name, kind, digest, leaves, octets, mode))


for sent, name in (("file `..`", b".."), ("file `.`", b"."), ("file `a/../../b`", b"a/../../b"), ("file `/etc/passwd`", b"/etc/passwd"), ("name with a NUL", b"a\0b"),
                   ("no name", b""), ("file `.sameroot`", b".sameroot"), ("name of 256 bytes", b"n" * 256), ("name of 4 KiB", b"n" * 4096), ("name of 65,536 bytes", b"n" * 65536)):
    crafted(sent, one(name), octets=1)
crafted("directory `..`", one(b"..", DIR, H(node()), 1, 0), leaves=1)
crafted("directory `.sameroot`", one(b".sameroot", DIR, put(one(b"x")), 1, 1), leaves=1, octets=1)
a, b = entry(b"a", FILE, ONE, 1, 1), entry(b"b", FILE, ONE, 1, 1)
crafted("entries that are not sorted", node(b, a), leaves=2, octets=2)
crafted("an entry twice", node(a, a), leaves=2, octets=2)
crafted("more entries than there are", node(a)[:2] + b"\5" + node(a)[3:])
crafted("257 entries in one node", node(*[entry(b"%03d" % i, FILE, ONE, 1, 1) for i in range(257)]), leaves=257, octets=257)
crafted("2^60 entries", b"\x10\0" + varint.write(1 << 60))
crafted("bytes behind the entries", node(a) + b"x")
crafted("an unknown kind of node", b"\x12" + node(a)[1:])
crafted("an unknown kind of entry", one(b"a", 9))
crafted("mode 4755", one(b"a", mode=0o4755))
crafted("a hash of zeros", one(b"a", digest=bytes(16)))
crafted("a file of two leaves", one(b"a", leaves=2), leaves=2)
crafted("a file of 2^60 bytes", one(b"a", octets=1 << 60), octets=1 << 60)
crafted("a row among files", one(b"a", ROW), octets=1)
crafted("a table among files", one(b"a", TABLE, H(node()), 0, 0), leaves=0)
crafted("a store within a store", one(b"a", FILES, H(node()), 0, 0), leaves=0)
crafted("a database in the place of a store of files", node(), kind=DATABASE, leaves=0)
crafted("counts that are not those of what is below", one(b"d", DIR, put(node(a, b)), 1, 1), leaves=1, octets=1)
crafted("counts that are not those of the store", node(a, b), leaves=1, octets=1)
crafted("attributes at a directory", node(a, attributes=bytes(16)), octets=1)
deep = put(node(a))
for i in range(2050):
    deep = put(one(b"d", DIR, deep, 1, 1))
crafted("2,050 directories within each other", one(b"d", DIR, deep, 1, 1), octets=1)
wide, n = put(node(a)), 1
for i in range(4):
    wide, n = put(node(*[entry(b"%03d" % k, DIR, wide, n, n) for k in range(200)])), n * 200
crafted("four nodes for 1,600,000,000 files", one(b"d", DIR, wide, n, n), leaves=n, octets=n)
ghost = H(b"a node that refers to itself")
made[ghost] = one(b"d", DIR, ghost, 1, 1)
crafted("a directory in itself", one(b"d", DIR, ghost, 1, 1), octets=1)
crafted("an inner node with one child", b"\x11\0\1\0" + put(node(a)) + varint.write(1) * 3, octets=1)
kids = [(put(node(*[entry(b"%d-%03d" % (k, i), FILE, ONE, 1, 1) for i in range(200)])), k) for k in range(2)]
inner = [bytes([k]) + digest + varint.write(200) * 3 for digest, k in kids]
crafted("children that are not sorted", b"\x11\0\2" + inner[1] + inner[0], leaves=400, octets=400)
for k in range(2):
    put(node(*[entry(b"%d-%03d" % (k, i), FILE, ONE, 1, 1) for i in range(200)]))
crafted("names that are not in their place", b"\x11\0\2" + inner[0] + inner[1], leaves=400, octets=400)
crafted("no stores", node(), root=node())
crafted("a file in the place of the stores", node(), root=one(b"resources"))

section("Row or table")


def tables(sent, *entries, count=0, octets=0):
    crafted(sent, node(*entries), name="users.db", leaves=count, octets=octets)


rec = record(uid=66, name=b"Mallory")
evil = put(node(entry(key_of(66), ROW, H(rec), 1, len(rec)), attributes=bytes(16)))
for name in (b"sqlite_sequence", b"SQLite_Stat1", b"sqlite_master", b"_sameroot_meta", b"_SAMEROOT_META", b"nosuch", b"admins", b"users\"; DROP TABLE users; --"):
    evil = put(node(entry(key_of(66), ROW, H(rec), 1, len(rec)), attributes=b"\1" * 16))
    tables(f"table `{name.decode()}`", entry(name, TABLE, evil, 1, len(rec)), count=1, octets=len(rec))

# --- bundles ---------------------------------------------------------------------------------------------------------------------------------

section("Changes")


def behind(make):
    """make(what is behind the JSON) in its place."""
    def bend(data):
        info, nul, changes = data.partition(b"\0")
        assert nul
        return info + b"\0" + make(changes)
    return bent(bend)


def commit(*changes):
    """Each is a store, a leaf, and the content of a file or None."""
    return string(b"".join(string(store) + string(one_leaf) + (b"\0" if content is None else b"\1" + string(content)) for store, one_leaf, content in changes))


def a_file(path, content=b"x", **how):
    return leaf(path, version(FILE, 0o644, len(content), H(content)), is_file=True, **how)


def once_more(changes):
    earlier_changes.append(changes)
    return changes


earlier_changes = []
pull("as they are", "changes", behind(once_more))
pull("none", "changes", bent(lambda data: data.partition(b"\0")[0]))
pull("those of before", "changes", behind(lambda changes: earlier_changes[0]))
pull("those of before, and those of now", "changes", behind(lambda changes: earlier_changes[0] + changes))
pull("twice", "changes", behind(lambda changes: changes * 2))
pull("cut", "changes", behind(lambda changes: changes[:len(changes) // 2]))
pull("a byte is another", "changes", behind(lambda changes: flip(changes, len(changes) // 3)))
pull("zeros", "changes", behind(lambda changes: bytes(len(changes))))
pull("a MB of zeros", "changes", behind(lambda changes: bytes(1 << 20)))
pull("a commit of 2^63 bytes", "changes", behind(lambda changes: varint.write(1 << 63) + changes))
pull("300 of them", "changes", behind(lambda changes: commit(*[(b"resources", a_file(b"%03d" % k), None) for k in range(300)])))
pull("the content of a file is another", "changes", behind(lambda changes: changes.replace(string(pushed["content"]), string(bytes(len(pushed["content"]))))))
pull("the content of a file is shorter", "changes", behind(lambda changes: commit((b"resources", leaf(b"news", pushed["file"], is_file=True), b""))))
pull("the content of a file is one that has 2^40 bytes", "changes",
     behind(lambda changes: commit((b"resources", leaf(b"news", version(FILE, 0o644, 1 << 40, H(b"x")), is_file=True), b"x"))))
for sent, store, one in (("a file `..`", b"resources", a_file(b"..")), ("a file `a/b`", b"resources", a_file(b"a/b")),
                         ("a file `.sameroot`", b"resources", a_file(b".sameroot")), ("a file more", b"resources", a_file(b"zz")),
                         ("all is gone", b"resources", leaf(b"news", version())), ("a file in a database", b"users.db", a_file(b"news")),
                         ("a table is gone", b"users.db", leaf(b"users", version())), ("a store that is not there", b"nosuch", a_file(b"news")),
                         ("a file with flags", b"resources", a_file(b"news", flags=GONE))):
    pull(sent, "changes", behind(lambda changes, store=store, one=one: commit((store, one, None))))
pull("404", "changes", whole(404, b"oh"))

section("Bundle")


def bundle(*leaves, key=KEY):
    """Each is a store, a leaf, and the content of a file or None."""
    b = Bundle(key, b"")
    for store, one_leaf, content in leaves:
        b.frames(frame(store, 0 if content is None else 1, one_leaf))
        if content is not None:
            b.data(content)
    return b


def file_of(path=b"news", content=None, **how):
    return b"resources", leaf(path, pushed["file"] if content is None else version(FILE, 0o644, len(content), H(content)), is_file=True, **how), content or pushed["content"]


def row_leaf(rec=None, table_name=b"users", to=None, uid=900, **how):
    return b"users.db", leaf(table_name + b"\0" + key_of(uid), to or pushed["row"], rec=rec if rec is not None else row_of(pushed["n"]), **how), None


def packed(data):
    return subprocess.run(["zstd", "-q", "-c"], input=data, stdout=subprocess.PIPE, check=True).stdout


def instead(make):
    """make() is the bundle for users.db, which is asked for after that of the files, or before it."""
    return lambda h, body: h.answer(200, make())


def real_or(make, store):
    return lambda h, body: h.answer(200, make()) if store in body[:40] else h.pass_on(body)


def files_are(sent, make):
    pull(sent, "bundle", real_or(make, b"resources"))


def rows_are(sent, make):
    pull(sent, "bundle", real_or(make, b"users.db"))


pull("cut", "bundle", bent(lambda data: plain(data)[:len(plain(data)) * 2 // 3]))
pull("cut, as it is compressed", "bundle", bent(lambda data: data[:len(data) * 2 // 3]))
pull("bytes behind its end", "bundle", bent(lambda data: plain(data) + b"garbage" * 100))
pull("a byte is another", "bundle", bent(lambda data: flip(plain(data))))
pull("empty", "bundle", bent(lambda data: b""))
pull("500", "bundle", whole(500, b"oh"))
pull("a redirection to itself", "bundle", whole(307, Location="/api/bundle"))
pull("not a bundle", "bundle", bent(lambda data: b"nonsense"))
pull("zeros without end", "bundle", raw(OK + b"\r\n", bytes(65536)))
pull("gzip", "bundle", bent(lambda data: subprocess.run(["gzip", "-c"], input=data, stdout=subprocess.PIPE, check=True).stdout))
pull("zstd in zstd", "bundle", bent(lambda data: packed(packed(data))))
pull("zstd that is cut", "bundle", bent(lambda data: packed(data)[:-9]))
files_are("no leaves", lambda: bundle().whole())
files_are("under another tree key", lambda: bundle(file_of(), key=bytes(192)).whole())
files_are("a file that was not asked for", lambda: bundle(file_of(), file_of(b"other", b"x")).whole())
files_are("file `..`", lambda: bundle(file_of(b"..")).whole())
files_are("file `../../etc/passwd`, as names", lambda: bundle(file_of(b"..\0..\0etc\0passwd")).whole())
files_are("file below `.sameroot`", lambda: bundle(file_of(b".sameroot\0marker")).whole())
files_are("a file of another store", lambda: bundle((b"other", *file_of()[1:])).whole())
files_are("a file of the store `..`", lambda: bundle((b"..", *file_of()[1:])).whole())
files_are("a row in its place", lambda: bundle(row_leaf()).whole())
files_are("the file twice", lambda: bundle(file_of(), file_of()).whole())
files_are("another version of it", lambda: bundle(file_of(content=b"evil")).whole())
files_are("content that is not its hash", lambda: bundle((*file_of()[:2], bytes(len(pushed["content"])))).whole())
files_are("content of another length", lambda: bundle((*file_of()[:2], b"x")).whole())
files_are("without its content", lambda: bundle((*file_of()[:2], None)).whole())
files_are("said to be here at another path", lambda: bundle((*file_of(there=b"top")[:2], None)).whole())
files_are("said to be gone, all of it", lambda: bundle((b"resources", leaf(b"news", version(), expect=pushed["file"], flags=GONE), None)).whole())
files_are("a place in the staging directory", lambda: bundle(file_of(stage=b"../../x", inode=7)).whole())
files_are("4 GiB of a file that was not asked for", lambda: bundle().out + member(b"00000001.leaves", frame(b"resources", 1, leaf(b"big", version(FILE, 0o644, 1 << 32, H(b"")), is_file=True)))
          + header(b"00000002.data", 1 << 32) + bytes(100000))
files_are("a symbolic link in its place", lambda: bundle().out + header(b"00000001.leaves", 0, typeflag=b"2", link=b"/etc/passwd") + bytes(1024))
files_are("a frame of 2^60 bytes", lambda: bundle().out + member(b"00000001.leaves", b"\xff" * 8 + b"\x0f" + b"x" * 99) + bytes(1024))
files_are("a frame of 1 MiB, of which the file needs none", lambda: bundle().out + member(b"00000001.leaves", varint.write(1 << 20) + b"x" * 99) + bytes(1024))
files_are("no end", lambda: bundle(file_of()).out)
twin, other_twin = twins()
news(twin)
lie("content that has the unseeded XXH3 of the file, forged", "bundle", real_or(lambda: bundle((*file_of()[:2], other_twin)).whole(), b"resources"))
rows_are("a row that was not asked for", lambda: bundle(row_leaf(), row_leaf(uid=901)).whole())
rows_are("a frame of 200 MiB, for a row of some bytes", lambda: bundle().out + member(b"00000001.leaves", varint.write(200 << 20) + b"x" * 99) + bytes(1024))
rows_are("a row of `sqlite_sequence`", lambda: bundle(row_leaf(table_name=b"sqlite_sequence")).whole())
rows_are("a row of `_sameroot_meta`", lambda: bundle(row_leaf(table_name=b"_sameroot_meta")).whole())
rows_are("a record that is not its hash", lambda: bundle(row_leaf(rec=row_of(0))).whole())
rows_are("another record, with its hash", lambda: bundle(row_leaf(rec=row_of(0), to=version(ROW, size=len(row_of(0)), digest=H(row_of(0))))).whole())
rows_are("a record that is none", lambda: bundle(row_leaf(rec=b"\xff\xff\xff\xff", to=version(ROW, size=4, digest=H(b"\xff\xff\xff\xff")))).whole())
rows_are("a row that is gone", lambda: bundle((b"users.db", leaf(b"users\0" + key_of(900), version(), expect=pushed["row"], flags=GONE), None)).whole())
rows_are("a file in its place", lambda: bundle(file_of()).whole())
rows_are("a row with an unknown flag", lambda: bundle(row_leaf(flags=1 << 20)).whole())

# --- a large file ----------------------------------------------------------------------------------------------------------------------------

section("Large file")


def large(sent, what):
    """All of it is asked for, for how it is cut is not told."""
    news(os.urandom(1 << 20))
    lie(sent, {"pieces": whole(404, b"{}"), "blob": what}, None)


large("a byte of it is another", bent(flip))
large("half of it", bent(lambda data: data[:len(data) // 2]))
large("more than all of it", bent(lambda data: data + b"x"))
large("without end", lambda h, body: h.raw(OK + b"Sameroot-Mtime: 1\r\n\r\n", bytes(65536)))
large("without its time", lambda h, body: h.pass_on(body, **{"Sameroot-Mtime": None}))
large("a time that is none", lambda h, body: h.pass_on(body, **{"Sameroot-Mtime": "1e9"}))
large("206 of a part that was not asked for", lambda h, body: h.answer(206, b"x", {"Content-Range": "bytes 9-9/1048576", "Sameroot-Mtime": "1"}))
large("404", whole(404, b"{}"))

section("Part of a large file")
older = []


def edited(sent, kind, what):
    """Of which an older version is here."""
    old = pushed["content"]
    older[:] = [H(old).hex()]
    news(old[:400000] + os.urandom(8) + old[400008:])
    lie(sent, kind, what)


def of_the_older(h, body):
    h.path = f"/api/blob/{older[0]}/pieces?{re.search('unit=[0-9]+', h.path)[0]}"
    return h.pass_on(body)


def piece(n, data=b""):
    return H(data) + n.to_bytes(4, "big")


edited("404", "pieces", whole(404, b"{}"))
edited("500", "pieces", whole(500, b"oh"))
edited("one of another hash", "pieces", bent(flip))
edited("half of them", "pieces", bent(lambda data: data[:len(data) // 2]))
edited("one more", "pieces", bent(lambda data: data + piece(5)))
edited("pieces without end", "pieces", raw(OK + b"Sameroot-Mtime: 1\r\n\r\n", piece(1 << 18) * 100))
edited("pieces of 0 bytes", "pieces", whole(200, piece(0) * 9, Sameroot_Mtime="1"))
edited("pieces of 1 byte", "pieces", whole(200, piece(1) * 9, Sameroot_Mtime="1"))
edited("a piece of 4 GiB", "pieces", whole(200, piece(0xffffffff), Sameroot_Mtime="1"))
edited("those of the version that is here", "pieces", of_the_older)
edited("without its time", "pieces", lambda h, body: h.pass_on(body, **{"Sameroot-Mtime": None}))
edited("a byte of it is another", "parts", bent(flip))
edited("half of it", "parts", bent(lambda data: data[:len(data) // 2]))
edited("more than all of it", "parts", bent(lambda data: data + b"x"))
edited("without end", "parts", raw(OK + b"Sameroot-Mtime: 1\r\n\r\n", bytes(65536)))
edited("404", "parts", whole(404, b"{}"))

# --- pushes ----------------------------------------------------------------------------------------------------------------------------------

section("Push")


def write(content=None):
    """Something new at the webserver."""
    pushed["n"] += 1
    mine[:] = [content or b"mine %d" % pushed["n"]]
    with open(f"{T}/{victims[-1]}/resources/mine", "wb") as file:
        file.write(mine[0])


def push(sent, what, kind="push"):
    write()
    lie(sent, kind, what)


def answer_edited(**fields):
    return bent(lambda data: json.dumps(json.loads(data) | fields).encode())


def forged(body, verdict="ok", *refusals):
    """As if that was what came of it; not passed on."""
    info, body = tree(), plain(body)
    head = json.loads(body[body.index(b'{"id"'):body.index(b"}") + 1])
    return json.dumps({"verdict": verdict, "id": head["id"], "start": info["start"], "refused": refusals} | {k: info[k] for k in ("instance", "epoch", "seq", "root")}).encode()


def refused(**fields):
    """Not passed on."""
    def what(h, body):
        one_refused = {"store": "resources", "path": "mine", "why": "changed", "kind": 0, "mode": 0, "bytes": 0, "hash": "0" * 32} | fields
        return h.answer(200, forged(body, "refused", one_refused))
    return what


push("500, and it is done", lambda h, body: (ask("POST", h.path, h.headers, body), h.answer(500, b"oh"))[1])
push("500, and it is not done", whole(500, b"oh"))
push("`ok`, and it is not done", lambda h, body: h.answer(200, forged(body)))
push("no JSON", bent(lambda data: b"garbage"))
push("1 MB of `[`", bent(lambda data: b"[" * 1000000))
push("without end", raw(OK + b"\r\n", b" " * 65536))
push("half of it", bent(lambda data: data[:len(data) // 2]))
push("an unknown verdict", answer_edited(verdict="nosuch"))
push("the answer to another push", answer_edited(id=US))
push("a root of zeros", answer_edited(root="0" * 32))
push("an epoch of -1", answer_edited(epoch=-1))
push("refusals that are no list", answer_edited(refused={}))
push("a refusal of the file `..`", refused(path=".."))
push("a refusal of a path of 70,000 bytes", refused(path="x" * 70000))
push("a refusal in the store `../x`", refused(store="../x"))
push("a refusal of a file of mode 4755", refused(kind=1, mode=0o4755))
push("a refusal for an unknown reason", refused(why="nosuch"))
push("a refusal, again and again", refused())
push("`stale`, again and again", lambda h, body: h.answer(409, forged(body, "stale")))
push("`cancelled`, again and again", lambda h, body: h.answer(200, forged(body, "cancelled")))

section("Settling a push")
for sent, what in (("500", whole(500, b"oh")), ("no JSON", bent(lambda data: b"garbage")), ("the answer to another push", answer_edited(id=US)), ("`ok`, and it was not done", answer_edited(verdict="ok")),
                   ("without end", raw(OK + b"\r\n", b" " * 65536)), ("an unknown verdict", answer_edited(verdict="nosuch"))):
    write()
    lies["push"] = whole(500, b"oh")
    round_of(victims[-1])
    lie(sent, "settle", what)

section("Upload")
for sent, kind, what in (("more than there is, of what has come", "have", whole(200, b'{"have": 9999999999}')), ("-1 bytes of what has come", "have", whole(200, b'{"have": -1}')),
                         ("no JSON, of what has come", "have", whole(200, b"garbage")), ("more than was sent", "upload", whole(200, b'{"have": 9999999999}')),
                         ("nothing of it, again and again", "upload", whole(200, b'{"have": 0}')), ("409, again and again", "upload", whole(409, b'{"have": 5}')), ("500", "upload", whole(500, b"oh"))):
    write(os.urandom(1 << 20))
    lie(sent, {"pieces": whole(404, b"{}"), kind: what}, None)

section("Upload of a part")
for sent, kind, what in (("404", "pieces", whole(404, b"{}")), ("one of another hash", "pieces", bent(flip)), ("half of them", "pieces", bent(lambda data: data[:len(data) // 2])),
                         ("pieces without end", "pieces", raw(OK + b"Sameroot-Mtime: 1\r\n\r\n", piece(1 << 18) * 100)), ("pieces of 0 bytes", "pieces", whole(200, piece(0) * 9, Sameroot_Mtime="1")),
                         ("404", "delta", whole(404, b"{}")), ("400", "delta", whole(400, b"{}")), ("500", "delta", whole(500, b"oh")), ("409, again and again", "delta", whole(409, b'{"have": 5}')),
                         ("more than was sent", "delta", whole(200, b'{"have": 9999999999}'))):
    was = content_of(victims[-1], "mine")
    write(was[:400000] + os.urandom(8) + was[400008:])
    lie(sent, kind, what)

section("Who it is")
for sent, what in (("no JSON", whole(200, b"garbage")), ("no number", whole(200, b'{"n": "1"}')), ("the number 0", whole(200, b'{"n": 0}')), ("the number -1", whole(200, b'{"n": -1}')),
                   ("the number 2^62", whole(200, b'{"n": 4611686018427387904}')), ("500", whole(500, b"oh")), ("507, as without room", whole(507, b"oh"))):
    pull(sent, "token", what)
for sent, what in (("500", whole(500, b"oh")), ("a body without end", raw(OK + b"\r\n", b" " * 65536))):
    pull(sent, "registry", what)

section("Slow or silent")
for one_slow in slow:
    one_slow.told()
