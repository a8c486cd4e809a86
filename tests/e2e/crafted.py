"""crafted.py PORT KIND-FILE DIR - a datastore made by hand, whose tree is empty, beside the real one at PORT.

It holds the right secret, and passes on what is no tree (the exchange of tokens, the registry), so that it knows the instance, the key and each webserver's last
push.  GET /api/tree is answered with 200, history "known", a higher seq, every deletion approved, and a tree that is made here, whose nodes are served.  KIND-FILE:
  none    no store at all
  empty   the same stores, each an empty map
  bare    the same stores and tables, without a file or a row
  one     the same stores, and the first entry of each as it is: of a database the first table, and the others without their rows
Everything else - a push, a bundle - is answered 503, and named in DIR/asked.
"""
import ctypes
import http.client
import json
import os
import sys

import httpd
import varint

port, kind_file, directory = int(sys.argv[1]), sys.argv[2], sys.argv[3]
KINDS = {"files": 5, "sqlite": 6}
made = {}  # hash -> node
seqs = [0]


class Hash(ctypes.Structure):
    _fields_ = [("low", ctypes.c_uint64), ("high", ctypes.c_uint64)]


xxhash = ctypes.CDLL("libxxhash.so.0")
xxhash.XXH3_128bits_withSecret.restype = Hash
xxhash.XXH3_128bits_withSecret.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t]


def entries_of(node):
    """The attributes of a bucket, and its entries: (before the hash, hash, leaves, bytes)."""
    size, at = varint.read(node, 1)
    attributes, at = node[at : at + size], at + size
    count, at = varint.read(node, at)
    out = []
    for _ in range(count):
        begin = at
        size, at = varint.read(node, at)
        kind, at = node[at + size], at + size + 1
        if kind in (1, 2):
            _, at = varint.read(node, at)
        name, at = node[at : at + 16], at + 16
        leaves, end = varint.read(node, at)
        octets, end = varint.read(node, end)
        out.append((node[begin : at - 16], name, leaves, octets))
        at = end
    return attributes, out


def put(key, entries, attributes=b""):
    """The node of a map of these entries: its hash."""
    entries = [head + name + varint.write(leaves) + varint.write(octets) for head, name, leaves, octets in entries]
    node = b"\x10" + varint.write(len(attributes)) + attributes + varint.write(len(entries)) + b"".join(entries)
    h = xxhash.XXH3_128bits_withSecret(node, len(node), key, len(key))
    name = h.high.to_bytes(8, "big") + h.low.to_bytes(8, "big")
    made[name] = node
    return name


def ask(method, path, headers, body=None):
    real = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    skip = {"host", "connection", "transfer-encoding", "content-length", "expect", "if-none-match", "sameroot-key"}
    headers = {k: v for k, v in headers.items() if k.lower() not in skip} | ({"Sameroot-Key": "want"} if path == "/api/tree" else {})
    real.request(method, path, body=body, headers=headers)
    answer = real.getresponse()
    return answer.status, answer.read()


def fetch(handler, name):
    """A real node, and all below it, which are served from now on."""
    status, frames = ask("POST", "/api/tree/nodes", handler.headers, name + bytes(16))
    assert status == 200
    while frames:
        size = int.from_bytes(frames[:4], "big")
        made[frames[4:20]] = frames[20 : 4 + size]
        frames = frames[4 + size :]


def remains(key, store, n):
    """What is left of a store: its entries, n of them as they are."""
    entries = entries_of(made[bytes.fromhex(store["root"])])[1]
    if store["kind"] == "files":
        return entries[:n]
    return entries[:n] + [(head, put(key, [], entries_of(made[table])[0]), 0, 0) for head, table, _, _ in entries[n:]]


def craft(handler, info, kind):
    key, stores = bytes.fromhex(info["key"]), []
    for store in sorted(info["stores"], key=lambda s: s["name"]) if kind != "none" else []:
        entries = []
        if kind in ("bare", "one"):
            fetch(handler, bytes.fromhex(store["root"]))
            entries = remains(key, store, 1 if kind == "one" else 0)
        top, leaves, octets = put(key, entries), sum(e[2] for e in entries), sum(e[3] for e in entries)
        name = store["name"].encode()
        store.update(root=top.hex(), leaves=leaves, bytes=octets)
        stores.append((varint.write(len(name)) + name + bytes([KINDS[store["kind"]]]), top, leaves, octets))
    seqs[0] = max(seqs[0] + 1, info["seq"] + 7)
    info.update(seq=seqs[0], history="known", root=put(key, stores).hex())
    info["stores"] = [] if kind == "none" else info["stores"]
    for store in info["stores"]:
        store["approved_seq"] = info["seq"]
    if not handler.headers.get("Sameroot-Key"):
        del info["key"]
    return info


class Handler(httpd.Handler):
    def reply(self, status, data, content="application/json"):
        self.send_response(status)
        self.send_header("Content-Type", content)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def handle_any(self):
        body = self.read_body()
        with open(os.path.join(directory, "asked"), "a") as file:
            print(self.command, self.path, file=file)
        if self.path == "/api/tree":
            status, data = ask("GET", self.path, self.headers)
            assert status == 200, (status, data)
            with open(kind_file) as file:
                info = craft(self, json.loads(data), file.read().strip())
            return self.reply(200, json.dumps(info).encode())
        if self.path.partition("?")[0] == "/api/changes":  # it is of before there was that
            return self.reply(404, b"{}")
        if self.path == "/api/tree/nodes":
            wanted = [body[i : i + 16] for i in range(0, len(body), 32)]
            if any(name not in made for name in wanted):
                return self.reply(410, b"{}")
            below, frames = [], b""
            while wanted:
                name = wanted.pop(0)
                if name in below or name not in made:
                    continue
                below.append(name)
                frames += (16 + len(made[name])).to_bytes(4, "big") + name + made[name]
                wanted += [other for other in made if other in made[name]]
            return self.reply(200, frames, "application/octet-stream")
        if self.path.startswith("/api/webservers/"):
            return self.reply(*ask(self.command, self.path, self.headers, body))
        return self.reply(503, b'{"error": "unavailable", "detail": "not ready"}')

    do_GET = do_POST = do_PUT = do_DELETE = handle_any


httpd.serve(Handler)
