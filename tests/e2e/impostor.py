"""impostor.py LISTEN-PORT REAL-PORT CERTIFICATE KEY CAPTURE - who sits in the datastore's place with a key of its own.

Whatever a webserver says to it over TLS is appended to CAPTURE, and passed on, byte by byte, to the real datastore at REAL-PORT (over TLS,
whatever its key): a man in the middle.  With REAL-PORT 0 it is just another program, and answers 404 to everything.  Each connection and
each failed handshake is named on stderr.
"""
import socket
import ssl
import sys
import threading

listen_port, real_port, certificate, key, capture = int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:6]
server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
server_side.load_cert_chain(certificate, key)
client_side = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
client_side.check_hostname = False
client_side.verify_mode = ssl.CERT_NONE


def say(*words):
    print(*words, file=sys.stderr, flush=True)


def pump(source, target, record):
    try:
        while data := source.recv(65536):
            if record:
                with open(capture, "ab") as file:
                    file.write(data)
            target.sendall(data)
    except OSError:
        pass
    for end in (source, target):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def other_program(victim):
    with open(capture, "ab") as file:
        file.write(victim.recv(65536))
    victim.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\nConnection: close\r\n\r\nnope\n")
    victim.close()


def serve(raw):
    say("connection")
    try:
        victim = server_side.wrap_socket(raw, server_side=True)
        victim.recv(0)
    except OSError as error:
        say("handshake failed:", error)
        return
    if not real_port:
        other_program(victim)
        return
    real = client_side.wrap_socket(socket.create_connection(("127.0.0.1", real_port)))
    threading.Thread(target=pump, args=(real, victim, False), daemon=True).start()
    pump(victim, real, True)


with open(capture, "ab"):
    pass
listener = socket.create_server(("127.0.0.1", listen_port))
say(f"listening on 127.0.0.1:{listener.getsockname()[1]}")
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
