"""python3 record.py FILE COMMAND...: runs COMMAND on a terminal and keeps what it showed in FILE, in asciinema's format (version
2), which `asciinema play` shows again. docs/demo-ha.cast is made by it."""

import codecs
import json
import os
import pty
import sys
import time

COLUMNS, LINES = 140, 40
IDLE = 2.0  # seconds at most between two outputs; a longer wait is shortened


def main():
    path, *command = sys.argv[1:]
    child, terminal = pty.fork()
    if child == 0:
        os.environ.update(TERM="xterm", COLUMNS=str(COLUMNS), LINES=str(LINES))
        os.execvp(command[0], command)
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    with open(path, "w", encoding="utf-8") as file:
        file.write(json.dumps({"version": 2, "width": COLUMNS, "height": LINES, "title": " ".join(command)}) + "\n")
        last, shown = time.monotonic(), 0.0
        while True:
            try:
                part = os.read(terminal, 65536)
            except OSError:  # nobody has it open any more
                break
            if not part:
                break
            now = time.monotonic()
            shown += min(now - last, IDLE)
            last = now
            file.write(json.dumps([round(shown, 3), "o", decode(part)]) + "\n")
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    sys.exit(main())
