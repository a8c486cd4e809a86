"""manager.py ADDRESS FILE - a service manager's end of sd_notify: binds ADDRESS (a path, or @NAME), and writes each datagram to FILE as one line."""
import os
import socket
import sys

s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
name = sys.argv[1]
s.bind("\0" + name[1:] if name[0] == "@" else name)
with open(sys.argv[2], "ab", buffering=0) as out:
    print("listening on " + name, file=sys.stderr, flush=True)
    while True:
        out.write(s.recv(65536).replace(b"\n", b" ") + b"\n")
