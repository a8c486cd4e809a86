"""terminal.py PORT CONF WORD COMMAND... - run COMMAND on a pseudo-terminal, with a datastore that is slow until it has shown WORD.

CONF is COMMAND's configuration: its Datastore becomes a relay to PORT, which lets a push through only once WORD stood on the terminal.  What
was shown goes to stdout as it is.  Exit status: COMMAND's; 77: there is no pseudo-terminal here."""
import re
import socket
import sys
import threading

import ptys

port, conf, word, command = int(sys.argv[1]), sys.argv[2], sys.argv[3].encode(), sys.argv[4:]
shown = threading.Event()
LONGEST = 60  # seconds; then WORD does not come


def pump(source, sink, holds):
    while data := source.recv(65536):
        if holds and b"POST /api/push" in data:
            shown.wait(LONGEST)
        sink.sendall(data)
    sink.shutdown(socket.SHUT_WR)


def relay(server):
    while True:
        near, _ = server.accept()
        far = socket.create_connection(("127.0.0.1", port))
        threading.Thread(target=pump, args=(near, far, True), daemon=True).start()
        threading.Thread(target=pump, args=(far, near, False), daemon=True).start()


server = socket.create_server(("127.0.0.1", 0))
with open(conf) as file:
    text = re.sub(r"(?m)^Datastore=.*", f"Datastore=127.0.0.1:{server.getsockname()[1]}", file.read())
with open(conf, "w") as file:
    file.write(text)
terminal = ptys.Terminal(command)
threading.Thread(target=relay, args=(server,), daemon=True).start()
for output in terminal.shown():
    if word in output:
        shown.set()
sys.exit(terminal.wait())
