"""What a command showed on a terminal, kept and shown again.

    python3 record.py FILE COMMAND...    runs COMMAND, and keeps what it showed in FILE: asciinema's format, version 2
    python3 record.py --play FILE [N]    shows it again, N times as fast; as `asciinema play FILE` does

The times in FILE are the true ones. Its header tells a player to wait no longer than IDLE seconds between two outputs, and its
title says so. docs/demo-ha.cast is made by it.
"""

import codecs
import fcntl
import json
import os
import pty
import struct
import sys
import termios
import time

COLUMNS, LINES = 140, 40
IDLE = 2.0


def record(path, command):
    child, terminal = pty.fork()
    if child == 0:
        os.environ.update(TERM="xterm", COLUMNS=str(COLUMNS), LINES=str(LINES))
        os.execvp(command[0], command)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    began, events = time.monotonic(), []
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # nobody has it open any more
            break
        if not part:
            break
        os.write(sys.stdout.fileno(), part)
        events.append([round(time.monotonic() - began, 3), "o", decode(part)])
    seconds = events[-1][0] if events else 0.0
    title = (f"{' '.join(command)}: {int(seconds) // 60} min {int(seconds) % 60} s in truth; "
             f"where nothing was shown for longer than {IDLE:g} s, {IDLE:g} s are played")
    with open(path, "w", encoding="utf-8") as file:
        header = {"version": 2, "width": COLUMNS, "height": LINES, "duration": seconds, "idle_time_limit": IDLE, "title": title}
        for line in [header, *events]:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def play(path, speed):
    with open(path, encoding="utf-8") as file:
        header, *events = map(json.loads, file)
    print(header["title"])
    last = 0.0
    for at, _, text in events:
        time.sleep(min(at - last, header["idle_time_limit"]) / speed)
        last = at
        sys.stdout.write(text)
        sys.stdout.flush()
    return 0


def main():
    if sys.argv[1:2] == ["--play"] and len(sys.argv) in (3, 4):
        return play(sys.argv[2], float((sys.argv + ["1"])[3]))
    if len(sys.argv) < 3 or sys.argv[1].startswith("-"):
        print(__doc__, file=sys.stderr)
        return 64
    return record(sys.argv[1], sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
