"""wire.py PORT MODE-FILE DIR - a wire to 127.0.0.1:PORT that breaks: bytes pass as they are, HTTP or TLS, in constant memory.

MODE-FILE holds one of
  pass
  cut-up BYTES      when so many bytes went to PORT since this mode was read, the connection is closed, both ways; then as pass
  cut-down BYTES    the same for what comes from PORT
  hold-up BYTES     when so many went to PORT, nothing passes to it until the mode is another; hold-down in the same way
DIR/bytes always holds how many bytes went up and came down, DIR/held is there while something is held.
"""
import os
import socket
import sys
import threading
import time

port, mode_file, directory = int(sys.argv[1]), sys.argv[2], sys.argv[3]
lock = threading.Lock()
total = {"up": 0, "down": 0}
mode = {"identity": None, "words": ["pass"], "from": {"up": 0, "down": 0}, "done": False}


def say(*words):
    print(*words, file=sys.stderr, flush=True)


def look():
    """The mode; lock is held."""
    status = os.stat(mode_file)
    identity = status.st_ino, status.st_mtime_ns
    if identity != mode["identity"]:
        with open(mode_file) as file:
            words = file.read().split() or ["pass"]
        mode.update(identity=identity, words=words, done=False)
        mode["from"] = dict(total)
    return mode["words"]


def put(name, text):
    with open(os.path.join(directory, name + ".new"), "w") as file:
        file.write(text)
    os.replace(os.path.join(directory, name + ".new"), os.path.join(directory, name))


def judge(way, n):
    """May these n bytes pass?  True, False (cut), or None: not yet."""
    with lock:
        words = look()
        if words[0].endswith("-" + way) and not mode["done"] and total[way] - mode["from"][way] + n > int(words[1]):
            if words[0].startswith("hold"):
                put("held", "")
                return None
            mode["done"] = True
            say("cut", way, total[way] - mode["from"][way])
            return False
        total[way] += n
        put("bytes", f"{total['up']} {total['down']}\n")
    return True


def shut(*ends):
    for end in ends:
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def carry(source, sink, way):
    try:
        while data := source.recv(65536):
            while (verdict := judge(way, len(data))) is None:
                time.sleep(0.02)
            if not verdict:
                break
            sink.sendall(data)
    except OSError:
        pass
    shut(source, sink)


def serve(client):
    try:
        server = socket.create_connection(("127.0.0.1", port))
    except OSError:
        client.close()
        return
    down = threading.Thread(target=carry, args=(server, client, "down"), daemon=True)
    down.start()
    carry(client, server, "up")
    down.join()
    client.close()
    server.close()


listener = socket.create_server(("127.0.0.1", 0))
put("bytes", "0 0\n")
say(f"listening on 127.0.0.1:{listener.getsockname()[1]}")
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
