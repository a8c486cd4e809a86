"""answers.py ANSWER... -- COMMAND... - run COMMAND on a pseudo-terminal and give the answers, each once a question waits for it.

A question is what ends in "] " or "]: ".  What was shown goes to stdout as it is.  Exit status: COMMAND's; 76: an answer was not asked for; 77: there is no
pseudo-terminal here."""
import os
import pty
import re
import sys

cut = sys.argv.index("--")
answers, command = sys.argv[1:cut], sys.argv[cut + 1 :]
try:
    pid, terminal = pty.fork()
except OSError as fault:
    print(f"answers.py: {fault}", file=sys.stderr)
    sys.exit(77)
if pid == 0:
    os.execv(command[0], command)
output = b""
while True:
    try:
        data = os.read(terminal, 65536)
    except OSError:  # the other side is closed
        break
    if not data:
        break
    output += data
    if re.search(rb"\]:? $", output) and answers:
        os.write(terminal, answers.pop(0).encode() + b"\n")
sys.stdout.buffer.write(output)
sys.stdout.flush()
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
sys.exit(76 if answers else status)
