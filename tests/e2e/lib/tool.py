"""The tools of tests/unit: programs over the library that lies beside the product."""

import json
import os
import shlex
import subprocess

from .parts import ROOT
from .product import binary


def link_tool(name, folder):
    """Links tests/unit/`name`.c into `folder`, with the flags of the build that is tested; its path."""
    build = os.path.dirname(os.path.abspath(binary()))
    with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as file:
        command = shlex.split(next(entry["command"] for entry in json.load(file)
                                   if entry["file"].endswith("/src/base/alloc.c")))
    flags = [flag for flag in command if flag.startswith(("-fsanitize", "-I", "-D"))]
    libraries = subprocess.run(
        ["pkg-config", "--libs", "libcurl", "libcjson", "openssl", "yaml-0.1", "libsodium"],
        capture_output=True, text=True, check=True).stdout.split()
    tool = os.path.join(folder, name)
    subprocess.run(
        [command[0], "-std=gnu17", "-g", "-O1", *flags, os.path.join(ROOT, "tests", "unit", name + ".c"),
         os.path.join(build, "libkube-rekey-core.a"), *libraries, "-lm", "-lpthread", "-o", tool],
        check=True)
    return tool
