"""virtio-net in a guest, to a server on the host: over the user network, and over a tap."""

import ctypes
import os
import socket
import subprocess
import threading

from phases import measure_phases
from rounds import Row, Side, alternate
from runner import BenchError, BenchSkip

TITLE = "virtio-net, software CPU"
ABOUT = """\
Linux 6.1 with one vCPU and 256 MiB; a static C program (tests/bench/guest/net.c) downloads 16 MiB from a
server on the host by TCP, and uploads as much. User network: posada's is a process of its own, QEMU's is
in its process; both are libslirp. Tap: with all offloads on both sides, without vhost, in a network
namespace of its own; with two queues the guest has two vCPUs and as many connections. Time for each MiB;
CPU time is of all their processes, the guest's own work included, the server's not."""

LIMIT = 300
PER = 1000 << 20  # bytes: seconds for so many are milliseconds for a MiB
BYTES = 16 << 20  # as in guest/net.c
PHASES = {"net-download": "download", "net-upload": "upload"}
HOST = "10.0.2.2"  # what the guest knows its host by, with either network
CLONE_NEWNET = 0x40000000


class Server:
    """Sends or takes what each connection asks for: 'd' or 'u', and how many MiB."""

    def __init__(self, address):
        self.socket = socket.create_server((address, 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return  # closed
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection):
        with connection:
            try:
                self._answer(connection)
            except OSError:
                pass  # the guest is gone; its own side says so

    @staticmethod
    def _answer(connection):
        direction, mib = connection.recv(2)
        if direction == ord("d"):
            connection.sendall(bytes(mib << 20))
            connection.recv(1)
            return
        left = mib << 20
        while left:
            data = connection.recv(1 << 16)
            if not data:
                return
            left -= len(data)
        connection.sendall(b"!")

    def close(self):
        self.socket.close()


def measure_kind(tools, rounds, name, server, **more):
    """Both sides with one kind of network: the sides, and their rows."""
    guest = tools.linux_guest("6.1", "net", **more)
    guest.append += f" bench.host={HOST}:{server.port} bench.size={guest.queues}"
    sides = [Side("posada", lambda: measure_phases(tools.posada(guest, "soft"), PHASES, LIMIT, PER)),
             Side("QEMU", lambda: measure_phases(tools.qemu(guest, "tcg"), PHASES, LIMIT, PER))]
    alternate(f"net, {name}", rounds, sides)
    rows = [Row(f"{name}: {words}, {figure_words} time a MiB", *sides, f"{phase} {figure}", "ms", "< 1 x")
            for phase, words in PHASES.items() for figure, figure_words in (("wall", "wall"), ("cpu", "CPU"))]
    return sides, rows


def make_tap(name, *words):
    """In this thread's namespace, with the address that the guest's program looks for."""
    for command in (["tuntap", "add", "dev", name, "mode", "tap", *words],
                    ["addr", "add", f"{HOST}/24", "dev", name], ["link", "set", name, "up"]):
        done = subprocess.run(["ip", *command], stderr=subprocess.PIPE, check=False)
        if done.returncode:
            raise BenchSkip(f"no tap: {done.stderr.decode().strip()}")


def measure_taps(tools, rounds, out):
    """On a thread that leaves for a namespace of its own: what it starts goes with it."""
    try:
        if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
            raise BenchSkip(f"no network namespace: {os.strerror(ctypes.get_errno())}")
        for name, queues in (("tap", 1), ("tap, 2 queues", 2)):
            tap = f"bench{queues}"
            make_tap(tap, *(["multi_queue"] if queues > 1 else []))
            server = Server(HOST)
            out.append(measure_kind(tools, rounds, name, server, tap=tap, queues=queues, cpus=queues))
            server.close()
            subprocess.run(["ip", "link", "del", tap], check=False)
    except BenchError as e:
        side = Side("posada", None, isinstance(e, BenchSkip))
        side.problem = str(e)
        out.append(([side], [Row("tap", side, None, "", "")]))


def measure(tools, rounds):
    server = Server("127.0.0.1")
    kinds = [measure_kind(tools, rounds, "user network", server, has_net=True)]
    server.close()
    thread = threading.Thread(target=measure_taps, args=(tools, rounds, kinds))
    thread.start()
    thread.join()
    return [side for sides, _ in kinds for side in sides], [row for _, rows in kinds for row in rows]
