"""webapp.py - a web application in front of which a balancer is put, and those who use it.

  webapp.py serve NAME PORT [CERTIFICATE KEY]
                                says NAME to every request; /headers says what it was asked with, /slow takes a second
  webapp.py use URL N FILE      N users with a cookie jar each ask without pause until FILE exists; FILE.begun: all were served; then a line of JSON on stdout:
                                {"requests": n, "failed": n, "why": [...], "users": [["A"], ["A", "B"], ...]}, for each user whom he was served by, one after the other
"""
import asyncio
import http.client
import http.cookies
import json
import os
import ssl
import sys
import threading
import time
import urllib.parse


async def serve(name, port, *tls):
    async def answer(reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                path = head.split()[1]
                if path == b"/slow":
                    await asyncio.sleep(1)
                body = head if path == b"/headers" else name.encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if tls else None
    if tls:
        context.load_cert_chain(*tls)
    server = await asyncio.start_server(answer, "127.0.0.1", port, backlog=512, ssl=context)
    print("listening on 127.0.0.1:%d" % server.sockets[0].getsockname()[1], file=sys.stderr, flush=True)
    async with server:
        await server.serve_forever()


class User(threading.Thread):
    def __init__(self, url, end):
        super().__init__()
        self.url, self.end = url, end
        self.requests, self.failed, self.served, self.why = 0, 0, [], []
        self.jar = http.cookies.SimpleCookie()

    def ask(self, connection):
        cookie = "; ".join("%s=%s" % (k, m.value) for k, m in self.jar.items())
        connection.request("GET", "/", headers={"Cookie": cookie} if cookie else {})
        answer = connection.getresponse()
        body = answer.read().decode()
        for line in answer.headers.get_all("Set-Cookie") or []:
            self.jar.load(line)
        if answer.status != 200:
            raise OSError("%d" % answer.status)
        return body

    def run(self):
        connection = http.client.HTTPConnection(self.url.hostname, self.url.port, timeout=20)
        while not os.path.exists(self.end):
            try:
                self.requests += 1
                by = self.ask(connection)
                if self.served[-1:] != [by]:
                    self.served.append(by)
            except (OSError, http.client.HTTPException) as e:
                self.failed += 1
                self.why.append(repr(e))
                connection.close()


def use(url, n, end):
    users = [User(urllib.parse.urlsplit(url), end) for _ in range(n)]
    for user in users:
        user.start()
    while not all(user.served for user in users):
        time.sleep(0.01)
    open(end + ".begun", "w").close()
    for user in users:
        user.join()
    print(json.dumps({"requests": sum(u.requests for u in users), "failed": sum(u.failed for u in users),
                      "why": sorted({w for u in users for w in u.why}), "users": [u.served for u in users]}))


if sys.argv[1] == "serve":
    asyncio.run(serve(sys.argv[2], int(sys.argv[3]), *sys.argv[4:]))
else:
    use(sys.argv[2], int(sys.argv[3]), sys.argv[4])
