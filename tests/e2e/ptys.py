"""ptys.py - a command on a pseudo-terminal.  For answers.py and terminal.py."""
import os
import pty
import sys


class Terminal:
    """It runs from here on.  Where there are no pseudo-terminals: exit status 77."""

    def __init__(self, command):
        try:
            self.pid, self.end = pty.fork()
        except OSError as fault:
            print(f"{os.path.basename(sys.argv[0])}: {fault}", file=sys.stderr)
            sys.exit(77)
        if self.pid == 0:
            os.execv(command[0], command)

    def shown(self):
        """All that was shown so far, each time when there is more; to the end."""
        output = b""
        while True:
            try:
                data = os.read(self.end, 65536)
            except OSError:  # the other side is closed
                data = b""
            if not data:
                break
            output += data
            yield output
        sys.stdout.buffer.write(output)
        sys.stdout.flush()

    def type(self, line):
        os.write(self.end, line.encode() + b"\n")

    def wait(self):
        """The command's exit status."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
