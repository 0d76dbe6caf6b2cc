"""virtio-net in a guest, over the user network, to a server on the host's loopback."""

import socket
import threading

from phases import measure_phases
from rounds import Row, Side, alternate

TITLE = "virtio-net, user network, software CPU"
ABOUT = """\
Linux 6.1 with one vCPU and 256 MiB; a static C program (tests/bench/guest/net.c) downloads 16 MiB from a
server on the host's loopback by TCP, and uploads as much. posada's user network is a process of its own,
QEMU's is in its process; both are libslirp. Time for each MiB; CPU time is of all their processes, the
guest's own work included, the server's not."""

LIMIT = 300
PER = 1000 << 20  # bytes: seconds for so many are milliseconds for a MiB
BYTES = 16 << 20  # as in guest/net.c
PHASES = {"net-download": "download", "net-upload": "upload"}


class Server:
    """Sends or takes BYTES on each connection, as its first byte asks: 'd' or 'u'."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return  # closed
            with connection:
                try:
                    self._answer(connection)
                except OSError:
                    pass  # the guest is gone; its own side says so

    @staticmethod
    def _answer(connection):
        if connection.recv(1) == b"d":
            connection.sendall(bytes(BYTES))
            connection.recv(1)
            return
        left = BYTES
        while left:
            data = connection.recv(1 << 16)
            if not data:
                return
            left -= len(data)
        connection.sendall(b"!")

    def close(self):
        self.socket.close()


def measure(tools, rounds):
    server = Server()
    guest = tools.linux_guest("6.1", "net", has_net=True)
    guest.append += f" bench.host=10.0.2.2:{server.port}"
    ours = Side("posada", lambda: measure_phases(tools.posada(guest, "soft"), PHASES, LIMIT, PER))
    theirs = Side("QEMU", lambda: measure_phases(tools.qemu(guest, "tcg"), PHASES, LIMIT, PER))
    alternate("net", rounds, [ours, theirs])
    server.close()
    rows = [Row(f"{words}: {figure_words} time a MiB", ours, theirs, f"{phase} {figure}", "ms")
            for phase, words in PHASES.items() for figure, figure_words in (("wall", "wall"), ("cpu", "CPU"))]
    return [ours, theirs], rows
