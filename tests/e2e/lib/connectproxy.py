"""A proxy that is asked to CONNECT, as a kubeconfig's proxy-url names one."""

import http.server
import select
import socket
import threading


class ConnectProxy:
    """Listens on a port of its own and knows the addresses of `names`, which no one else does; `status` is all that it answers
    with, where one is given."""

    def __init__(self, names, status=None):
        self.asked = []     # "host:port" of each CONNECT
        self.authorization = set()
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_CONNECT(self):
                proxy.asked.append(self.path)
                proxy.authorization.add(self.headers["Proxy-Authorization"])
                if status:
                    self.send_error(status)
                    return
                host, port = self.path.rsplit(":", 1)
                with socket.create_connection((names[host], int(port))) as server:
                    self.send_response(200)
                    self.end_headers()
                    _relay(self.connection, server)

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()


def _relay(client, server):
    other = {client: server, server: client}
    while True:
        for sock in select.select(list(other), [], [])[0]:
            data = sock.recv(65536)
            if not data:
                return
            other[sock].sendall(data)
