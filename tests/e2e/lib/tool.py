"""Tools of tests/unit (tool_*.c), linked with the library that lies beside the product."""

import functools
import json
import os
import queue
import shlex
import shutil
import subprocess
import tempfile
import threading
import unittest

from .parts import ROOT
from .product import binary

_LIBRARIES = ("libcurl", "libcjson", "openssl", "yaml-0.1", "libsodium", "libwebsockets")


@functools.lru_cache(maxsize=None)
def link_tool(name):
    """The path of tests/unit/NAME.c as a program, linked with that build's own flags. It is gone
    when the module's tests are done."""
    build = os.path.dirname(os.path.abspath(binary()))
    with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as file:
        command = shlex.split(next(entry["command"] for entry in json.load(file)
                                   if entry["file"].endswith("/src/base/alloc.c")))
    flags = [flag for flag in command if flag.startswith(("-fsanitize", "-I", "-D"))]
    folder = tempfile.mkdtemp(prefix="kube-rekey-tool-")
    unittest.addModuleCleanup(shutil.rmtree, folder)
    unittest.addModuleCleanup(link_tool.cache_clear)
    libraries = subprocess.run(["pkg-config", "--libs", *_LIBRARIES], capture_output=True,
                               text=True, check=True).stdout.split()
    path = os.path.join(folder, name)
    subprocess.run(
        [command[0], "-std=gnu17", "-g", "-O1", *flags,
         os.path.join(ROOT, "tests", "unit", name + ".c"),
         os.path.join(build, "libkube-rekey-core.a"), *libraries, "-lm", "-lpthread", "-o", path],
        check=True)
    return path


class Tool:
    """A tool in the background, told a line at a time until its input ends."""

    def __init__(self, test, name, *arguments):
        self.process = subprocess.Popen(
            [link_tool(name), *map(str, arguments)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        test.addCleanup(self.close)
        self.lines = queue.SimpleQueue()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))
        self.lines.put(None)

    def line(self):
        line = self.lines.get(timeout=60)
        if line is None:
            raise AssertionError(f"ended: {self.process.stderr.read()}")
        return line

    def tell(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def ask(self, line):
        self.tell(line)
        return self.line()

    def close(self):
        """Ends it as a program should end: by itself, with success."""
        if self.process.stdin.closed:
            return
        self.process.stdin.close()
        try:
            code = self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        words = self.process.stderr.read()
        self.process.stderr.close()
        self.reader.join()
        self.process.stdout.close()
        assert code == 0, f"exit {code}: {words}"
