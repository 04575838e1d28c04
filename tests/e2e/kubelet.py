"""What a kubelet does for a static pod, and no more: it restarts the server when its manifest means something else. The
server is the real kube-apiserver; the kubelet is this."""

import threading
import time

import yaml


PATIENCE = 180  # s: other work may share the machine's cores


class Kubelet:
    """One for one server. `away` keeps the times at which the server was not ready, from its stop on."""

    LATE = 1.0  # how long after the change the server stops; a real one looks each 20 s, or at once by inotify

    def __init__(self, server):
        self.server, self.manifest = server, server.write_manifest()
        self.away, self.faults = [], []
        self._pod, self._ended = self._read(), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join()

    def _read(self):
        with open(self.manifest, encoding="utf-8") as file:
            return yaml.safe_load(file)

    def _watch(self):
        while not self._ended.wait(0.1):
            try:
                self._look()
            except Exception as error:  # pylint: disable=broad-except
                self.faults.append(error)
                return

    def _look(self):
        pod = self._read()
        if pod == self._pod:
            return
        self._pod = pod
        container, = pod["spec"]["containers"]
        assert container["command"] == ["kube-apiserver", *self.server.arguments()], container
        time.sleep(self.LATE)
        begun = time.monotonic()
        self.server.stop(PATIENCE)
        self.server.start().wait_ready(PATIENCE)
        self.away.append((begun, time.monotonic()))
