"""hostile_webserver.py PORT CONTROL-AUTH-FILE - a webserver that has the secret, and a client that has none, against the datastore at PORT.

What was sent and what came of it, as rows for table.py; "nothing changed" is not said, "committed" is.  Slow and silent clients come first and are looked at
last, for they take Client-Timeout.
"""
import http.client
import json
import re
import socket
import subprocess
import sys
import threading
import time
import uuid

import table
from forge import (DIR, EDITED, FILE, ROW, TABLE, UNION, Bundle, entry, frame, header, key_of, keyed, leaf, member, node, push_head, record, string, twins, version)

port, secret = int(sys.argv[1]), open(sys.argv[2]).read().strip()
US = str(uuid.UUID(int=0x666))
AUTH = {"Authorization": "Bearer " + secret}
here = ["", ""]  # the kind of what comes next, and what takes it


def section(kind, takes="`POST /api/push`"):
    here[:] = kind, takes


def say(sent, outcome, takes=None):
    table.row(here[0], sent, takes or here[1], outcome)


def ask(method, path, body=None, headers=AUTH):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    c.request(method, path, body=body, headers=headers)
    answer = c.getresponse()
    data = answer.read()
    c.close()
    return answer.status, data


def words(status, data):
    if status < 300:
        return f"{status}"
    try:
        o = json.loads(data)
        return f"{status}: {o['detail']}"
    except (ValueError, KeyError, TypeError):
        return f"{status}"


def tree():
    return json.loads(ask("GET", "/api/tree", headers=AUTH | {"Sameroot-Key": "want"})[1])


info = tree()
key = bytes.fromhex(info["key"])
last = [None]
H = keyed(key, b"x")


def outcome_of_push(status, data):
    global info
    before = info["root"]
    info = tree()
    text = words(status, data)
    if status in (200, 409):
        answer = json.loads(data)
        text = f"{status}: {answer['verdict']}"
        if answer.get("detail"):
            text += f", {answer['detail']}"
        if answer.get("refused"):
            text += ", " + ", ".join(sorted({r["why"] for r in answer["refused"]}))
    if info["root"] != before:
        text += "; committed"
    return text


def head(**other):
    fields = json.loads(push_head(info, US, str(uuid.uuid4()), last[0]))
    fields.update(other)
    return json.dumps(fields).encode()


def bundle(*leaves, content=(), text=None):
    """leaves: (store, leaf); content: of the last of them."""
    b = Bundle(key, text if text is not None else head())
    if leaves:
        b.frames(*[frame(s, 1 if content and i == len(leaves) - 1 else 0, l) for i, (s, l) in enumerate(leaves)])
    for c in content:
        b.data(c)
    return b


def push(sent, body):
    status, data = ask("POST", "/api/push", body)
    if status in (200, 409) and json.loads(data)["verdict"] in ("ok", "refused"):
        last[0] = json.loads(data)["id"]
    say(sent, outcome_of_push(status, data))


def file_leaf(path, content=b"x", size=None, mode=0o644):
    return leaf(path, version(FILE, mode, len(content) if size is None else size, keyed(key, content)), is_file=True)


def push_file(sent, path, store=b"resources"):
    push(sent, bundle((store, file_leaf(path)), content=[b"x"]).whole())


# --- slow and silent -------------------------------------------------------------------------------------------------------------

def raw(data, size=None):
    s = socket.socket()
    if size:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
    s.connect(("127.0.0.1", port))
    s.settimeout(60)
    s.sendall(data)
    return s


def ends(s, enough=None):
    """What comes until the other side closes it, or is enough: the first line, or that."""
    data = b""
    try:
        while (enough is None or len(data) < enough) and (part := s.recv(65536)):
            data += part
    except ConnectionResetError:
        pass
    except TimeoutError:
        return "it stays open"
    finally:
        s.close()
    return data.split(b"\r\n")[0].decode("latin-1") if data else "closed"


def trickle(data):
    s = raw(b"")
    try:
        for byte in data:
            s.sendall(bytes([byte]))
            time.sleep(0.2)
    except OSError:
        pass
    return ends(s)


class Slow(threading.Thread):
    def __init__(self, sent, what):
        super().__init__()
        self.sent, self.what, self.outcome = sent, what, None
        self.start()

    def run(self):
        self.outcome = self.what()

    def told(self):
        self.join()
        say(self.sent, "the connection is cut after Client-Timeout" if self.outcome in ("closed", "") else self.outcome)


GET = b"GET /api/tree HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + secret.encode() + b"\r\n"
POST = b"POST /api/push HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + secret.encode() + b"\r\n"


def established(s):
    """Does the datastore still hold its end?"""
    pair = f":{port:04X} 0100007F:{s.getsockname()[1]:04X} 01 "
    with open("/proc/net/tcp") as file:
        return any(pair in line for line in file)


def unread():
    """An answer of megabytes, of which nobody takes any until the datastore has given up."""
    s = raw(GET.replace(b"/api/tree", b"/api/blob/" + blob) + b"Connection: close\r\n\r\n", size=4096)
    end = time.monotonic() + 60
    while established(s) and time.monotonic() < end:
        time.sleep(0.05)
    got = 0
    try:
        while part := s.recv(1 << 20):
            got += len(part)
    except ConnectionResetError:
        pass
    s.close()
    return "closed" if 0 < got < BIG else f"{got} bytes of it"


BIG = 32 << 20
blob = keyed(key, bytes(BIG)).hex().encode()
slow = [
    Slow("a connection that says nothing", lambda: ends(raw(b""))),
    Slow("a head that stops half way", lambda: ends(raw(GET))),
    Slow("a head, a byte every 0.2 s", lambda: trickle(GET + b"X-Slow: " + b"y" * 300)),
    Slow("a push of which nothing comes", lambda: ends(raw(POST + b"Content-Length: 100000\r\n\r\n"))),
    Slow("a push that stands still within", lambda: ends(raw(POST + b"Content-Length: 100000\r\n\r\n" + bundle().out))),
    Slow("an answer of 32 MiB that is not read", unread),
]

# --- names -----------------------------------------------------------------------------------------------------------------------------

section("Name")
push_file("file `..`", b"..")
push_file("file `a/../../b`, as one name", b"a/../../b")
push_file("file `img`, `..`, `..`, `b`", b"img\0..\0..\0b")
push_file("file `.`", b".")
push_file("file `/etc/passwd`", b"/etc/passwd")
push_file("file with an empty name between two NUL", b"img\0\0b")
push_file("file without a name", b"")
push_file("name of 256 bytes", b"n" * 256)
push_file("name of 4 KiB", b"n" * 4096)
push_file("path of 65,536 bytes", b"\0".join([b"n" * 15] * 4096))
push_file("path of 2,049 names", b"\0".join([b"n"] * 2049))
push_file("file below `.sameroot`", b".sameroot\0marker")
push_file("name that is no UTF-8", b"\xff\xfe\x80")
push_file("file `Twin`", b"Twin")
push_file("file `twin`", b"twin")
push_file("file `twïn`, composed", b"tw\xc3\xafn")
push_file("the same, decomposed", b"twi\xcc\x88n")
push_file("name of control characters, ESC [ 2 J and a newline", b"\x1b[2J\n\x07")
push_file("file in the store `../resources`", b"a", store=b"../resources")
push_file("file in the store `..`", b"a", store=b"..")
push_file("file in a store that is not configured", b"a", store=b"other")
push_file("file in a store without a name", b"a", store=b"")
push_file("file in a store with a name of 256 bytes", b"a", store=b"s" * 256)

# --- what belongs where ----------------------------------------------------------------------------------------------------------------

section("Row or table")


def push_row(sent, table, store=b"users.db", rec=None, **how):
    rec = rec if rec is not None else record(uid=66, name=b"Mallory")
    to = version(ROW, size=how.pop("size", len(rec)), digest=how.pop("digest", keyed(key, rec)))
    push(sent, bundle((store, leaf(table + b"\0" + key_of(66), to, rec=rec, **how))).whole())


push_row("row of `sqlite_sequence`", b"sqlite_sequence")
push_row("row of `SQLite_Stat1`", b"SQLite_Stat1")
push_row("row of `sqlite_master`", b"sqlite_master")
push_row("row of our own `_sameroot_meta`", b"_sameroot_meta")
push_row("row of `_SAMEROOT_META`", b"_SAMEROOT_META")
push_row("row of a table that is not there", b"nosuch")
push_row("row of a table without a name", b"")
push_row("row of a view", b"admins")
push_row("row for a store of files", b"users", store=b"resources")
push("file for a database", bundle((b"users.db", file_leaf(b"users")), content=[b"x"]).whole())
push_row("row whose record is not its hash", b"users", digest=H)
push_row("row whose record is longer than it says", b"users", size=3)
push_row("row with a record that is none", b"users", rec=b"\xff\xff\xff\xff")
push_row("row with a count of columns that cannot be", b"users", rec=b"\xff\xff\xff\xff\x7f")
push_row("row with a column that is not there", b"users", rec=record(uid=66, name=b"M", nosuch=1))
push_row("row with another key than its record has", b"users", rec=record(uid=67, name=b"M"))
push_row("unknown flag", b"users", flags=1 << 20)
push("key that is none", bundle((b"users.db", leaf(b"users\0\xff\xff", version(ROW, size=1, digest=H), rec=b"\0"))).whole())


def schema(sent, sql, kind=b"table", name=b"t"):
    text = string(kind) + string(name) + string(name) + string(sql)
    push(sent, bundle((b"users.db", leaf(b"t", version(TABLE, digest=H))), (b"users.db", leaf(b"sqlite_master", version(TABLE, digest=keyed(key, text)), rec=text))).whole())


schema("schema: a table made by `ATTACH`", b"ATTACH '/tmp/x' AS y")
schema("schema: a table, and another statement behind it", b"CREATE TABLE t(a); DROP TABLE users")
schema("schema: a virtual table of another module", b"CREATE VIRTUAL TABLE t USING csv(filename='/etc/passwd')")
schema("schema: our own table", b"CREATE TABLE _sameroot_meta(a)", name=b"_sameroot_meta")
schema("schema: `load_extension` in a default", b"CREATE TABLE t(a DEFAULT (load_extension('/tmp/x')))")
schema("schema: no SQL at all", b"\0\xff")

# --- the archive -----------------------------------------------------------------------------------------------------------------------

section("Bundle")


def odd(sent, *members, text=None):
    push(sent, bundle(text=text).out + b"".join(members) + bytes(1024))


F = frame(b"resources", 1, file_leaf(b"new"))
odd("member that is a symbolic link", header(b"00000001.leaves", 0, typeflag=b"2", link=b"/etc/passwd"))
odd("member that is a hard link", header(b"00000001.leaves", 0, typeflag=b"1", link=b"sameroot"))
odd("member that is a character device", header(b"00000001.leaves", 0, typeflag=b"3"))
odd("member that is a block device", header(b"00000001.leaves", 0, typeflag=b"4"))
odd("member that is a FIFO", header(b"00000001.leaves", 0, typeflag=b"6"))
odd("member that is a directory", header(b"00000001.leaves/", 0, typeflag=b"5"))
odd("sparse member (GNU)", member(b"00000001.leaves", F, typeflag=b"S"))
odd("sparse member (pax)", member(b"p", b"22 GNU.sparse.major=1\n", typeflag=b"x"), member(b"00000001.leaves", b"x" * 512))
odd("pax header that names another path", member(b"p", b"24 path=../../etc/passwd\n", typeflag=b"x"), member(b"00000001.leaves", F))
odd("GNU long name", member(b"././@LongLink", b"../" * 200, typeflag=b"L"), member(b"00000001.leaves", F))
odd("member called `../../etc/passwd`", member(b"../../etc/passwd", F))
odd("member of negative size", header(b"00000001.leaves", 0, size_field=b"\xff" * 12))
odd("member of 2^62 bytes", header(b"00000001.leaves", 0, size_field=b"\x80" + (1 << 62).to_bytes(11, "big")))
odd("member of 8 GiB, of which nothing comes", header(b"00000001.leaves", 0, size_field=b"77777777777 "))
odd("member of a size that is no number", header(b"00000001.leaves", 0, size_field=b"12x45678901 "))
odd("member with a wrong sum", member(b"00000001.leaves", F).replace(b"000644 ", b"000777 ", 1))
odd("head twice", bundle().out)
odd("`.leaves` twice by one number", member(b"00000001.leaves", frame(b"resources", 0, leaf(b"gone", version(), is_file=False))) * 2)
odd("`.data` that nothing announced", member(b"00000001.data", b"x"))
odd("`.leaves` that is empty", member(b"00000001.leaves", b""))
two = bundle((b"resources", file_leaf(b"new")), (b"resources", file_leaf(b"new")), content=[b"x"])
push("one path twice", two.whole())
b = bundle((b"resources", file_leaf(b"new")))
b.frames(F)
b.data(b"xx")
push("content of another length than was announced", b.whole())
b = bundle()
b.frames(F)
b.data(b"y")
push("content that is not its hash", b.whole())
one, other = twins()
b = bundle()
b.frames(frame(b"resources", 1, file_leaf(b"new", one)))
b.data(other)
push("content that has the unseeded XXH3 of what was announced, forged", b.whole())
b = bundle((b"resources", file_leaf(b"new")), content=[b"x"])
push("no end", b.out)
push("end with other counts", b.out + member(b"end", (9).to_bytes(8, "big") * 2 + keyed(key, b.said)) + bytes(1024))
push("end with another hash", b.out + member(b"end", (1).to_bytes(8, "big") * 2 + H) + bytes(1024))
push("member behind the end", b.out + b.end() + member(b"more", b"x") + bytes(1024))
push("bytes behind the end", b.whole() + b"garbage")
push("an end of the archive that is not zeros", b.out + b.end() + bytes(512) + b"x" * 512)
push("a frame of 2^60 bytes", bundle().out + member(b"00000001.leaves", b"\xff" * 8 + b"\x0f" + b"x" * 99) + bytes(1024))
push("a frame cut short", bundle().out + member(b"00000001.leaves", F[:-3]) + bytes(1024))
push("not a bundle", b"nonsense")
push("a bundle under another tree key", Bundle(bytes(192), head()).whole())
push("a head of 70,000 bytes", bundle(text=b" " * 70000).whole())
push("a head that is no JSON", bundle(text=b"{").whole())
push("a head whose webserver is the datastore", bundle(text=head(webserver=info["node"])).whole())
push("a head of another start", bundle(text=head(start=US)).whole())
push("a head of another epoch", bundle(text=head(epoch=info["epoch"] + 1)).whole())
push("a head that follows another push", bundle(text=head(prev=US)).whole())
push("1,001 leaves", bundle(*[(b"resources", leaf(b"gone%d" % i, version())) for i in range(1001)]).whole())


def equals(rows, rec):
    """A leaf of rows without a key, equal ones: of `preferences` those with NULL in theirs."""
    return (b"webstore.db", leaf(b"preferences\0" + bytes([2, 0, 4, 16]) + keyed(key, rec), version(ROW, size=rows, digest=keyed(key, rec)), rec=rec))


push("1,001 equal rows, as one leaf", bundle(equals(1001, record(name=b"x"))).whole())
push("600 and 600, as two", bundle(equals(600, record(name=b"x")), equals(600, record(name=b"y"))).whole())
push("2^60 equal rows", bundle(equals(1 << 60, record(name=b"x"))).whole())
push("65 equal rows of 1 MiB, as one leaf", bundle(equals(65, record(name=bytes(1 << 20)))).whole())
push("a file of 2^60 bytes, without content", bundle((b"resources", file_leaf(b"new", size=1 << 60))).whole())



def push_from(sent, there, to=None, content=()):
    at = version(FILE, 0o644, BIG, keyed(key, bytes(BIG))) if to is None else to
    push(sent, bundle((b"resources", leaf(b"new", at, is_file=at[0] == FILE, there=there)), content=content).whole())


push_from("a file that is to be here as `../state/state.db`", b"..\0state\0state.db")
push_from("a file that is to be here as `.sameroot/marker`", b".sameroot\0marker")
push_from("a file that is to be here as nothing", b"")
push_from("a file that is to be here as what is not here", b"nothing")
push_from("a file that is to be here as a directory", b"img")
push_from("a file that is to be here as another", b"big", version(FILE, 0o644, BIG, H))
push_from("a file that is to be here as a shorter one", b"big", version(FILE, 0o644, BIG + 1, keyed(key, bytes(BIG))))
push_from("a directory that is to be here", b"img", version(DIR, 0o755))
push_from("a file that is to be here, and its content", b"big", version(FILE, 0o644, 1, H), content=[b"x"])

# --- dates -----------------------------------------------------------------------------------------------------------------------------

section("Union")
EVER = ((1 << 64) - 1,) * 2


def unite(sent, path, content, as_of, flags=0, since=None):
    to = version(FILE, 0o644, len(content), keyed(key, content))
    push(sent, bundle((b"resources", leaf(path, to, flags=UNION | flags, is_file=True, as_of=as_of, since=since)), content=[content]).whole())


def now():
    return info["epoch"], info["seq"]


unite("a file that is new, as of epoch 2^64 - 1", b"united", b"claimed", EVER)
unite("another, as of now", b"united", b"honest", now())
unite("a file as of epoch 2^64 - 1, and since then", b"united", b"claimed again", EVER, since=EVER)
unite("another, as of now", b"united", b"honest again", now())
unite("what is there, as of seq 2^64 - 1", b"united", b"honest again", (info["epoch"], EVER[1]))
push_file("a file, by an ordinary push", b"other")
unite("another, as of now", b"united", b"honest at last", now())
unite("a file as of epoch 2^64 - 1, where an ordinary push was", b"other", b"claimed", EVER)
unite("the same, said to be edited", b"other", b"claimed", EVER, EDITED)

# --- bombs -----------------------------------------------------------------------------------------------------------------------------

section("Compressed")


def packed(data, *how):
    return subprocess.run(how, input=data, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout


GIB = 1 << 30
b = bundle()
b.frames(frame(b"resources", 1, leaf(b"bomb", version(FILE, 0o644, GIB, H), is_file=True)))
bomb = subprocess.Popen("cat; head -c 1073741824 /dev/zero", shell=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
zstd = subprocess.Popen(["zstd", "-q", "-1", "-c"], stdin=bomb.stdout, stdout=subprocess.PIPE)
bomb.stdin.write(b.out + header(b"00000002.data", GIB))
bomb.stdin.close()
push("1 GiB of zeros in some 100 KiB of zstd", zstd.communicate()[0])
push("zstd in zstd", packed(packed(bundle().whole(), "zstd", "-q", "-c"), "zstd", "-q", "-c"))
push("zstd with a window of 2 GiB", b"\x28\xb5\x2f\xfd\x00\xa8" + b"\x01\x00\x00" * 3)
push("gzip", packed(bundle().whole(), "gzip", "-c"))
push("zstd that is cut", packed(bundle((b"resources", file_leaf(b"new")), content=[b"x"]).whole(), "zstd", "-q", "-c")[:-9])

# --- other requests --------------------------------------------------------------------------------------------------------------------

section("Request", "")


def req(sent, method, path, body=None, headers=AUTH):
    say(sent, words(*ask(method, path, body, headers)), f"`{method} {re.sub(r'[0-9a-f-]{32,}', 'ID', path.partition('?')[0])}`")


for name in ("no secret", "a wrong secret", "a login that is none"):
    req(name, "GET", "/api/tree", headers={} if name == "no secret" else {"Authorization": "Bearer " + "x" * 43} if name == "a wrong secret" else {"Authorization": "Basic !!"})
req("a webserver's secret for what is an admin's", "GET", "/api/admin/status")
req("a check-in that is none", "GET", "/api/tree", headers=AUTH | {"Sameroot-Check-In": "a b c"})
req("since no number", "GET", "/api/changes?since=x&root=" + "0" * 32)
req("since a seq, and no root", "GET", "/api/changes?since=1")
req("since a root that never was", "GET", "/api/changes?since=1&root=" + "0" * 32)
req("another protocol", "GET", "/api/tree", headers=AUTH | {"Sameroot-Protocol": "99 9"})
req("4,097 pairs of a walk", "POST", "/api/tree/nodes", bytes(32 * 4097))
req("a pair and a half", "POST", "/api/tree/nodes", bytes(48))
req("10,001 wanted leaves", "POST", "/api/bundle", b"".join(len(f).to_bytes(4, "big") + f for f in [string(b"resources") + leaf(b"top", version(DIR, 0o755))] * 10001),
    AUTH | {"Sameroot-Root": info["root"]})
req("wanted leaves that are none", "POST", "/api/bundle", b"nonsense", AUTH | {"Sameroot-Root": info["root"]})
req("a list of a place `resources/..%2f..%2fstate`", "GET", "/api/tree/list?path=resources/..%2f..%2fstate")
req("the hash of nothing that is here", "GET", "/api/blob/" + "0" * 32)
def ranges(*list):
    return b"".join(at.to_bytes(8, "big") + n.to_bytes(8, "big") for at, n in list)


PIECES, PARTS = (f"/api/blob/{blob.decode()}/{what}" for what in ("pieces?unit=16384", "parts"))
req("how nothing that is here is cut", "POST", f"/api/blob/{'0' * 32}/pieces?unit=2048", ranges((0, 1)))
req("into pieces of 1 byte", "POST", PIECES.replace("16384", "1"), ranges((0, 1)))
req("into pieces of 2^64 + 2048 bytes", "POST", PIECES.replace("16384", str((1 << 64) + 2048)), ranges((0, 1)))
for path in (PIECES, PARTS):
    req("no ranges", "POST", path, b"")
    req("ranges that are none", "POST", path, b"nonsense")
    req("4,097 ranges", "POST", path, ranges(*((k, 1) for k in range(4097))))
    req("a range twice", "POST", path, ranges((0, 9), (0, 9)))
    req("a range of 2^64 - 1 bytes", "POST", path, ranges((1, (1 << 64) - 1)))
    req("a range beyond the end", "POST", path, ranges((BIG - 1, 2)))
req("an upload of 2^60 bytes", "PUT", f"/api/upload/{H.hex()}?store=resources&size={1 << 60}&offset=0", b"x")
req("an upload for a database", "PUT", f"/api/upload/{H.hex()}?store=users.db&size={2 << 20}&offset=0", b"x")
req("an upload beyond its end", "PUT", f"/api/upload/{H.hex()}?store=resources&size={2 << 20}&offset={3 << 20}", b"x")


def step(at, n, data=b""):
    return at.to_bytes(8, "big") + n.to_bytes(8, "big") + data


DELTA, NEW = f"/api/upload/{H.hex()}/delta?store=resources&size={2 << 20}&offset=0&old=", (1 << 64) - 1
req("a delta to nothing", "PUT", DELTA, step(0, 1))
req("a delta to nothing that is here", "PUT", DELTA + "0" * 32, step(0, 1))
req("a delta of 2^60 bytes", "PUT", DELTA.replace(str(2 << 20), str(1 << 60)) + blob.decode(), step(0, 1))
req("half a step of a delta", "PUT", DELTA + blob.decode(), bytes(8))
req("a step of 0 bytes", "PUT", DELTA + blob.decode(), step(0, 0))
req("a step beyond the end of the older file", "PUT", DELTA + blob.decode(), step(BIG - 1, 2))
req("a step of 2^64 - 1 bytes", "PUT", DELTA + blob.decode(), step(0, NEW))
req("a step of more new bytes than follow", "PUT", DELTA + blob.decode(), step(NEW, 99, b"x"))
req("steps that come to another hash", "PUT", DELTA + blob.decode(), step(0, 2 << 20))
req("steps beyond the file's size", "PUT", DELTA + blob.decode(), step(0, 2 << 20) + step(0, 1))
PUT = f"/api/webservers/{US}"
req("a webserver that is new", "PUT", PUT, json.dumps({"name": "evil"}))
for whose, other in ("nobody's UUID", str(uuid.UUID(int=0))), ("the datastore's own UUID", info["node"]):
    req("a webserver of " + whose, "PUT", f"/api/webservers/{other}", json.dumps({"name": "evil"}))
    req("a token of " + whose, "PUT", f"/api/webservers/{other}/token", json.dumps({"old": None, "n": 1, "new": US, "addr": "a", "interval": 1}))
    req("all pushes of " + whose + ", to be cancelled", "DELETE", f"/api/push/all?webserver={other}")
    req("a check-in of " + whose, "GET", "/api/tree", headers=AUTH | {"Sameroot-Check-In": f"{other.replace('-', '')} - 0 0 - -"})
req("a webserver's word of itself, 70,000 bytes", "PUT", PUT, json.dumps({"name": "x" * 70000}))
req("of a status of 60,000 bytes", "PUT", PUT, json.dumps({"status": {"x": "y" * 60000}}))
req("3,000 levels of JSON", "PUT", PUT, b"[" * 3000)
req("one member twice", "PUT", PUT, b'{"name":"a","name":"b"}')
req("a port of 99999", "PUT", PUT, json.dumps({"sync_port": 99999}))
req("control characters in its name", "PUT", PUT, json.dumps({"name": "\x1b[2J\nserver evil 1.2.3.4:80"}))
req("a pin that is none", "PUT", PUT, json.dumps({"pin": "sha256//x\nbackend evil"}))
req("a token's number of 2^63", "PUT", PUT + "/token", json.dumps({"old": None, "n": 1 << 63, "new": US, "addr": "a", "interval": 1}))
req("200,000 entries of an archive, in 600 KB", "PUT", PUT + "/conflicts", '{"base":null,"token":"%s","total":1,"bytes":1,"removed":[],"added":[{}%s]}' % (US, ",{}" * 199999))
req("an archive's entries that are none", "PUT", PUT + "/conflicts", json.dumps({"base": None, "token": US, "total": 1, "bytes": 1, "added": [{"id": "../../x"}], "removed": []}))
for i in range(9):
    answer = ask("PUT", f"/api/webservers/{uuid.UUID(int=0x700 + i)}", json.dumps({"name": f"many{i}"}))
    if answer[0] != 204:
        break
say("more webservers than there is room for", words(*answer), "`PUT /api/webservers/ID`")

# --- waiting for news --------------------------------------------------------------------------------------------------------------------

section("Waiting", "`GET /api/tree`")


def etag():
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    c.request("GET", "/api/tree", headers=AUTH)
    answer = c.getresponse()
    answer.read()
    c.close()
    return answer.getheader("ETag")


def parked():
    """Or None, as long as there is no place to ask at."""
    found = re.search(rb"^sameroot_http_waiting_requests (\d+)", ask("GET", "/metrics")[1], re.M)
    return int(found[1]) if found else None


def nobody_waits():
    end = time.monotonic() + 60
    while (left := parked()) != 0 and time.monotonic() < end:
        time.sleep(0.05)
    return "nobody waits any more" if left == 0 else f"{left} wait"


def wait(sent, seconds, match=None):
    say(sent, words(*ask("GET", f"/api/tree?wait={seconds}", headers=AUTH | {"If-None-Match": match or etag()})))


def waits(n):
    return (f"GET /api/tree?wait=3600 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {secret}\r\nIf-None-Match: {etag()}\r\n\r\n" * n).encode()


def tries(data):
    try:
        return raw(data)
    except OSError:
        return None  # closed for others


def from_elsewhere():
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=60, source_address=("127.0.0.2", 0))
    c.request("GET", "/api/tree", headers=AUTH)
    answer = c.getresponse()
    return words(answer.status, answer.read())


def flood(sent, connections, each, read):
    """How many of them find a place is nobody's business; that others do is."""
    asked = waits(each)
    crowd = [s for s in (tries(asked) for _ in range(connections)) if s]
    meanwhile = from_elsewhere()
    got = {ends(s, enough=1).split(" ")[1:2] == ["304"] for s in crowd if read}
    for s in crowd:
        s.close()
    say(sent, "; ".join(["304 for some"] * (True in got) + [f"a check-in from elsewhere meanwhile: {meanwhile}", nobody_waits()]))


for text, seconds in ("-1 s", "-1"), ("no number", ""), ("a number and more", "1x"), ("1.5 s", "1.5"), ("hexadecimal", "0x10"):
    wait("a wait of " + text, seconds)
wait("a wait of an hour, with an interval of 1 s", "3600")
wait("a wait of 2^64 s", str(1 << 64))
wait("a wait of 10^400 s", "1" + "0" * 400)
wait("a wait of an hour, with a root that never was", "3600", '"' + "0" * 32 + '"')
wait("a wait of an hour, with what is no root", "3600", "*\x7f\"x")
flood("300 connections that wait, with one secret", 300, 1, True)
flood("100 connections that wait 100 times each", 100, 100, True)
flood("300 connections that wait and are closed", 300, 1, False)

# --- HTTP itself -----------------------------------------------------------------------------------------------------------------------

section("HTTP", "the HTTP server")


def wire(sent, data, more=b"Connection: close\r\n\r\n"):
    """The status and the words of the first answer; and whether what is behind it was taken for a request.  Of an error within a body, libmicrohttpd's answer
    or the end is there first."""
    s = raw(data + more)
    got = b""
    try:
        while part := s.recv(65536):
            got += part
    except ConnectionResetError:
        pass
    s.close()
    if data.startswith(POST + b"Transfer-Encoding: chunked\r\n\r\n") and got.split(b" ")[1:2] in ([], [b"400"], [b"413"]) and b"no such path" not in got:
        return say(sent, "400, 413 or nothing; then closed")
    if not got:
        return say(sent, "closed")
    first, _, rest = got.partition(b"\r\n\r\n")
    length = re.search(rb"Content-Length: (\d+)", first)
    text = words(int(first.split(b" ")[1]), rest[:int(length[1])] if length else rest)
    return say(sent, text + ("; what follows is answered" if b"no such path" in rest else "; then closed"))


NEXT = b"GET /api/smuggled HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
wire("Content-Length and Transfer-Encoding", POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", NEXT)
wire("two Content-Lengths", POST + b"Content-Length: 0\r\nContent-Length: 40\r\n\r\n", NEXT)
wire("`Content-Length: -1`", POST + b"Content-Length: -1\r\n\r\n", NEXT)
wire("`Content-Length: +5`", POST + b"Content-Length: +5\r\n\r\n", NEXT)
wire("`Content-Length: 0x10`", POST + b"Content-Length: 0x10\r\n\r\n", NEXT)
wire("a Content-Length of 40 digits", POST + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n", NEXT)
wire("`Transfer-Encoding: chunked, identity`", POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", NEXT)
wire("`Transfer-Encoding : chunked`", POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", NEXT)
wire("`Transfer-Encoding: xchunked`", POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", NEXT)
wire("a chunk of 2^68 bytes", POST + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nx", NEXT)
wire("a chunk of `-1` bytes", POST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\nx", NEXT)
wire("`Content: 4`, `-Length` on the next line", POST + b"Content: 4\r\n -Length\r\n\r\nabcd", NEXT)
wire("a field on two lines", GET + b"X-A: b\r\n c\r\n\r\n", NEXT)
wire("a Content-Length on two lines", POST + b"Content-Length: 4\r\n 0\r\n\r\nabcd", NEXT)
wire("`Transfer-Encoding: chunked` on two lines, and a Content-Length", POST + b"Content-Length: 4\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", NEXT)
wire("no Host", b"GET /api/tree HTTP/1.1\r\n\r\n", NEXT)
wire("two Hosts", GET + b"Host: y\r\n\r\n", NEXT)
wire("a NUL in a field", GET + b"X-A: b\0c\r\n\r\n", NEXT)
wire("101 fields", GET + b"X: y\r\n" * 99 + b"\r\n", NEXT)
wire("a head of 20,000 bytes", GET + b"X: " + b"y" * 20000 + b"\r\n\r\n", NEXT)
wire("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"")
wire("`CONNECT`", b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n")
wire("a target with `..%2f`", b"GET /api/results/..%2f..%2fetc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", NEXT)
wire("a target with `%00`", b"GET /api/blob/a%00b HTTP/1.1\r\nHost: x\r\n\r\n", NEXT)
wire("a target with `%zz`", b"GET /api/blob/%zz HTTP/1.1\r\nHost: x\r\n\r\n", NEXT)
wire("a target that is a URL", b"GET http://elsewhere/ HTTP/1.1\r\nHost: x\r\n\r\n", NEXT)
wire("not HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), b"")

section("Slow or silent", "the HTTP server")
for s in slow:
    s.told()

if tree()["root"] != info["root"]:
    say("all of the above", "it changed something")
