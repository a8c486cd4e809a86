"""answers.py ANSWER... -- COMMAND... - run COMMAND on a pseudo-terminal and give the answers, each once a question waits for it.

A question is what ends in "] " or "]: ".  What was shown goes to stdout as it is.  Exit status: COMMAND's; 76: an answer was not asked for; 77: there is no
pseudo-terminal here."""
import re
import sys

import ptys

cut = sys.argv.index("--")
answers, command = sys.argv[1:cut], sys.argv[cut + 1 :]
terminal = ptys.Terminal(command)
for output in terminal.shown():
    if re.search(rb"\]:? $", output) and answers:
        terminal.type(answers.pop(0))
status = terminal.wait()
sys.exit(76 if answers else status)
