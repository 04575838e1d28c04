"""Threads that work until their block ends."""

import threading


class Background:
    """`with` starts the threads that whoever derives from it has made, and ends them: they look at self._stop."""

    def __init__(self):
        self._stop, self._threads = threading.Event(), []

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()
