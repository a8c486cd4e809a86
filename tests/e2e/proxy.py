"""proxy.py PORT MODE-FILE DIR - a datastore that lies: passes requests on to the real one at PORT, and tampers with them.

MODE-FILE holds "MODE [TIMES]"; after TIMES tamperings it is as if it said pass.  What was tampered with is named on stderr.
  pass               as it is
  busy               503 to everything
  push-cut           the bundle of a push loses its last third
  push-garbage       the bundle of a push gets bytes after its end
  push-flip          a byte in the middle of a push's bundle is another
  push-lost          a push is passed on, its answer is lost
  push-never         a push is not passed on, and no answer comes
  push-late          as push-never, but it is passed on after the next DELETE /api/push/... was answered; its answer goes to DIR/late
  nodes-flip         a byte in the last node of an answer is another
  nodes-zero         a node's content is zeros, its hash stays
  changes-pass       what changed comes with the answer to a check-in; in any other mode it does not, so that webservers walk and fetch
  changes-flip       a byte near the end of that is another
  changes-old        it is that of the answer before
  tree-root          the root that /api/tree tells is another
  tree-cut           the answer of /api/tree is half of it
  bundle-cut         a bundle to a webserver loses its last third
  bundle-garbage     it gets bytes after its end
  bundle-flip        a byte in its middle is another
  bundle-extra       it is asked for with the leaves of the request before as well
  bundle-other       it is the answer to the request before
  bundle-empty       200 without a body
  bundle-held        it comes when DIR/go is there; a push is held by push-held
  error              500 with a body that is no JSON
  KIND-hold          the answer to a request of that KIND (push, nodes, bundle, tree) is there, but held until DIR/go exists
  KIND-wait          the request itself is held until then
  KIND-meanwhile     DIR/meanwhile is run when the answer to a request of that KIND is there, before it is passed on
  tree-at-once       it knows no ?wait=
  tree-drop          a request that waits is cut after a second
  tree-untagged      its answer has no ETag
  tree-start         each answer of /api/tree is 200, at once, and tells another start
  tree-proto         /api/tree says that it is of protocol 2
  speaks-2           who says which protocol it speaks says 2, version 9.9
  slow               what a webserver walks, fetches and pushes comes 0.3 s later
"""
import http.client
import os
import subprocess
import sys
import threading
import time

import httpd

port, mode_file, directory = int(sys.argv[1]), sys.argv[2], sys.argv[3]
lock = threading.Lock()
done = {}  # mode line -> tamperings so far
memory = {"wanted": b"", "changes": b"", "bundle": b"", "late": None}


def say(*words):
    print(*words, file=sys.stderr, flush=True)


def mode_for(kinds):
    """The mode, if it is about one of these kinds of request and still has times left."""
    with open(mode_file) as file:
        status = os.fstat(file.fileno())
        identity = status.st_ino, status.st_mtime_ns  # inodes are used again
        words = file.read().split() or ["pass"]
    if not any(words[0].startswith(kind) for kind in kinds):
        return "pass"
    with lock:
        count = done.get(identity, 0)
        if len(words) > 1 and count >= int(words[1]):
            return "pass"
        done[identity] = count + 1
    say("tamper", words[0], count + 1)
    return words[0]


def until_go():
    end = time.monotonic() + 120
    while not os.path.exists(os.path.join(directory, "go")) and time.monotonic() < end:
        time.sleep(0.02)


def flip(data, at):
    return data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1:]


class Handler(httpd.Handler):
    def ask(self, method, path, headers, body):
        real = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        skip = {"host", "connection", "transfer-encoding", "content-length", "expect"}
        headers = {k: v for k, v in headers.items() if k.lower() not in skip}
        real.request(method, path, body=body if method in ("POST", "PUT") else None, headers=headers)
        answer = real.getresponse()
        data = answer.read()
        real.close()
        return answer.status, answer.getheaders(), data

    def reply(self, status, headers, data):
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                self.send_header(name, value)
        if status != 304:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD" and status != 304:
            self.wfile.write(data)

    def handle_any(self):
        body = self.read_body()
        kinds = ["busy", "error"]
        push = self.command == "POST" and self.path == "/api/push"
        bundle = self.command == "POST" and self.path == "/api/bundle"
        nodes = self.path == "/api/tree/nodes"
        changes = self.path.split("?")[0] == "/api/changes"
        tree = self.path.split("?")[0] == "/api/tree" or changes
        kinds += ["slow"] * (push or bundle or nodes)
        kinds += ["push"] * push + ["bundle"] * bundle + ["nodes"] * nodes + ["tree"] * tree + ["changes"] * changes
        kinds += ["speaks"] * ("Sameroot-Protocol" in self.headers)
        mode = mode_for(kinds)
        if changes and not mode.startswith("changes"):
            self.path = self.path.replace("/api/changes", "/api/tree")
        if mode == "speaks-2":
            self.headers.replace_header("Sameroot-Protocol", "2 9.9")
        if mode == "busy":
            return self.reply(503, [("Content-Type", "application/json")], b'{"error": "unavailable", "detail": "not ready"}')
        if mode == "error":
            return self.reply(500, [], b"\x00\xff<html>oh")
        if mode == "slow":
            time.sleep(0.3)
        if mode.endswith("-wait"):
            until_go()
        if mode in ("tree-at-once", "tree-start"):
            self.path = "/api/tree"
        if mode == "tree-start":
            del self.headers["If-None-Match"]
        if mode == "tree-drop" and "?wait=" in self.path:
            time.sleep(1)
            self.close_connection = True
            return None
        if mode == "push-cut":
            body = body[: len(body) * 2 // 3]
        if mode == "push-garbage":
            body += b"garbage" * 100
        if mode == "push-flip":
            body = flip(body, len(body) // 2)
        while mode in ("push-held", "bundle-held") and not os.path.exists(os.path.join(directory, "go")):
            time.sleep(0.01)
        if mode in ("push-never", "push-late"):
            if mode == "push-late":
                memory["late"] = (dict(self.headers), body)
            self.close_connection = True
            return None
        if mode == "bundle-extra":
            body = memory["wanted"] + body
        elif bundle:
            memory["wanted"] = body
        status, headers, data = self.ask(self.command, self.path, self.headers, body)
        if mode.endswith("-hold"):
            until_go()
        if mode.endswith("-meanwhile"):
            subprocess.run(["bash", os.path.join(directory, "meanwhile")], check=True)
        if mode != "pass":
            say("answer", status)
        if mode == "push-lost":
            self.close_connection = True
            return None
        if bundle and mode == "pass":
            memory["bundle"], data_before = data, memory["bundle"]
        if mode in ("bundle-cut",):
            data = data[: len(data) * 2 // 3]
        if mode == "bundle-garbage":
            data += b"garbage" * 100
        if mode == "bundle-flip":
            data = flip(data, len(data) // 2)
        if mode == "bundle-other":
            data = memory["bundle"]
        if mode == "bundle-empty":
            data = b""
        if mode == "nodes-flip" and data:
            data = flip(data, len(data) - 3)
        if mode == "nodes-zero" and data:
            size = int.from_bytes(data[:4], "big")
            data = data[:20] + bytes(size - 16) + data[4 + size:]
        if mode == "changes-flip" and b"\0" in data:
            data = flip(data, len(data) - 3)
        if mode == "changes-old" and b"\0" in data:
            json, _, now = data.partition(b"\0")
            data, memory["changes"] = json + b"\0" + memory["changes"], now
        if mode == "tree-root" and b'"root":"' in data:
            at = data.index(b'"root":"') + 8
            data = data[:at] + (b"0" if data[at:at + 1] != b"0" else b"1") + data[at + 1:]
        if mode == "tree-start" and b'"start":"' in data:
            at = data.index(b'"start":"') + 9
            data = data[:at] + os.urandom(4).hex().encode() + data[at + 8:]
        if mode == "tree-untagged":
            headers = [(name, value) for name, value in headers if name.lower() != "etag"]
        if mode == "tree-proto":
            data = data.replace(b'"proto":1,', b'"proto":2,')
        if mode == "tree-cut":
            data = data[: len(data) // 2]
        self.reply(status, headers, data)
        if self.command == "DELETE" and self.path.startswith("/api/push/") and memory["late"]:
            late, memory["late"] = memory["late"], None
            status, _, data = self.ask("POST", "/api/push", late[0], late[1])
            with open(os.path.join(directory, "late"), "w") as file:
                file.write(f"{status} {data.decode()}\n")
        return None

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = handle_any


httpd.serve(Handler)
