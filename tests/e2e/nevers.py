"""What may never happen, not even once: a value that nobody can read, and one that nobody wrote last.

A suite that fails is run again, for the machine's sake (scripts/test). These are kept in the file that KUBE_REKEY_TEST_NEVERS
names, so that a second run which passes does not hide them."""

import os

from lib import ApiError

# What a server says of a value that it cannot read; whatever the status.
UNREADABLE = ("no matching", "transform", "decrypt", "(re)initializing", "cipher", "authentic")


def unreadable(error):
    said = error.body.decode("utf-8", "replace").lower()
    return any(word in said for word in UNREADABLE)


def note(error, what):
    """Where `error` is one of those: of a client that met `what`. An AssertionError is a value that nobody wrote last."""
    path = os.environ.get("KUBE_REKEY_TEST_NEVERS")
    if path and (isinstance(error, AssertionError) or isinstance(error, ApiError) and unreadable(error)):
        with open(path, "a", encoding="utf-8") as file:
            file.write(f"{what}: {error}\n")
