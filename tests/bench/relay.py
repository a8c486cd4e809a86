"""relay.py - a wire between a webserver and its datastore that counts what passes, and remembers the last request: the other opinion on
what the daemons count themselves."""
import socket
import threading


class Relay:
    def __init__(self):
        self.port, self.up, self.down, self.requests, self.request = 0, 0, 0, 0, b""  # port: of the datastore
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listening_on = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self.listener.close()

    def counts(self):
        with self.lock:
            return self.requests, self.up, self.down

    def _accept(self):
        while True:
            try:
                client = self.listener.accept()[0]
                server = socket.create_connection(("127.0.0.1", self.port))
            except OSError:
                return
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._carry, args=(client, server, True), daemon=True).start()
            threading.Thread(target=self._carry, args=(server, client, False), daemon=True).start()

    def _carry(self, source, sink, up):
        try:
            while data := source.recv(65536):
                with self.lock:
                    if up:
                        self.up += len(data)
                        if data.startswith((b"GET ", b"POST ", b"PUT ", b"DELETE ")):
                            self.requests, self.request = self.requests + 1, data
                    else:
                        self.down += len(data)
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
