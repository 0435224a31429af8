"""Runs a command at a terminal, answers its questions with Enter, and says on the last line how many it asked."""

import os
import pty
import re
import sys

QUESTION = re.compile(rb"(\[[^\]\n]*\]:|\?) ?$")

child, terminal = pty.fork()
if child == 0:
    os.execvp(sys.argv[1], sys.argv[1:])

questions = 0
line = b""
while True:
    try:
        output = os.read(terminal, 4096)
    except OSError:  # the command has ended
        break
    if not output:
        break
    sys.stdout.buffer.write(output)
    line = (line + output).rpartition(b"\n")[2]
    if QUESTION.search(line):
        questions += 1
        line = b""
        os.write(terminal, b"\n")

status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
sys.stdout.buffer.write(b"\n%d\n" % questions)
sys.exit(status)
