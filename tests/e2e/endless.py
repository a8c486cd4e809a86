"""endless.py - who sits in a daemon's place, and answers whatever is asked without end."""
import httpd


class Handler(httpd.Handler):
    def handle_any(self):
        self.read_body()
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        try:
            while True:
                self.wfile.write(b" " * (1 << 20))
        except OSError:
            pass  # it had enough

    do_GET = do_POST = do_PUT = do_DELETE = handle_any


httpd.serve(Handler)
