"""NBD serving: `posada image serve` beside qemu-nbd, with one client; qcow2 with cold and warm metadata."""

import os
import random
import subprocess
import time

import disk
from rounds import Row, Side, alternate
from runner import BenchError, cpu_of

TITLE = "NBD serving"
ABOUT = """\
`posada image serve` and `qemu-nbd`, both with their defaults, on a UNIX socket, with the same client
(tests/bench/nbd-client.c, over libnbd). Images of 64 MiB, filled; and a qcow2 of 64 GiB in which every 32 MiB have one
cluster, so that each request needs another part of the L2 tables: all of them for the first time since the server began
("cold metadata"), and again ("warm"). The files are in the host's page cache. Time for each request, of 4 KiB
unless it says more, one at a time or 16 at once; CPU time is the server's."""

LIMIT = 60
REGION = 32 << 20
N_REGIONS = 2048
SMALL = [  # on the images of 64 MiB: phases as nbd-client's
    ("read-1", "random reads", "read,4096,4096,1,8000"),
    ("read-16", "random reads, 16 at once", "read,4096,4096,16,16000"),
    ("write-1", "random writes", "write,4096,4096,1,8000"),
    ("write-16", "random writes, 16 at once", "write,4096,4096,16,16000"),
    ("stream", "reads of 256 KiB in order, 16 at once", "read,262144,0,16,2048"),
]
COLD_READ = ("cold-read", "random reads, cold metadata", f"read,4096,{REGION},1,{N_REGIONS}")
WARM_READ = ("warm-read", "random reads, warm metadata", f"read,4096,{REGION},1,{N_REGIONS}")
COLD_WRITE = ("cold-write", "random writes, cold metadata", f"write,4096,{REGION},1,{N_REGIONS}")
WARM_WRITE = ("warm-write", "random writes, warm metadata", f"write,4096,{REGION},1,{N_REGIONS}")
RUNS = [  # image, its format, the phases with one server
    ("disk.img", "raw", SMALL),
    ("disk.qcow2", "qcow2", SMALL),
    ("wide.qcow2", "qcow2", [COLD_READ, WARM_READ]),
    ("wide.qcow2", "qcow2", [COLD_WRITE, WARM_WRITE]),
]


def make_images(tools):
    """Kept. In the wide one, the clusters of a region lie anywhere in the file, as a guest's do."""
    raw, image, wide = (tools.path(name) for name in ("disk.img", "disk.qcow2", "wide.qcow2"))
    disk.make_image(raw)
    if not os.path.exists(image):
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, image], check=True)
    if os.path.exists(wide):
        return
    order = list(range(N_REGIONS))
    random.Random(1).shuffle(order)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", wide + ".new", str(N_REGIONS * REGION)], check=True)
    subprocess.run(["qemu-io", "-f", "qcow2", "-t", "unsafe", wide + ".new"], check=True, text=True,
                   input="".join(f"write -P 7 {i * REGION} 64k\n" for i in order), stdout=subprocess.DEVNULL)
    os.rename(wide + ".new", wide)


class Server:
    """One of the programs, for one client; it ends when that is gone, and here at the latest."""

    def __init__(self, argv, socket):
        self.socket = socket
        if os.path.exists(socket):
            os.unlink(socket)
        self.process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def __enter__(self):
        deadline = time.monotonic() + LIMIT
        while not os.path.exists(self.socket):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise BenchError(f"it doesn't serve: {self.process.stderr.read().strip()}")
            time.sleep(0.01)
        return self

    def __exit__(self, *_):
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stderr.close()


def expect(client, word):
    line = client.stdout.readline().split()
    if not line or line[0] != word:
        raise BenchError(f"the client: {client.stderr.read().strip()}")
    return line


def run_phases(tools, server, prefix, phases):
    """The wall and CPU time of each phase, in seconds a million requests."""
    argv = [tools.path("nbd-client"), f"nbd+unix:///?socket={server.socket}"]
    argv += [f"{name},{spec}" for name, _, spec in phases]
    figures = {}
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          bufsize=1) as client:
        for name, _, spec in phases:
            expect(client, "begin")
            before = cpu_of(server.process.pid)
            client.stdin.write("\n")
            wall = int(expect(client, "end")[2]) / 1e9
            count = int(spec.split(",")[-1]) / 1e6
            figures[f"{prefix} {name} wall"] = wall / count
            figures[f"{prefix} {name} cpu"] = (cpu_of(server.process.pid) - before) / count
            client.stdin.write("\n")
    return figures


def measure_side(tools, command):
    figures = {}
    socket = tools.path("nbd.socket")
    for image, form, phases in RUNS:
        disk.into_page_cache(tools.path(image))
        with Server(command(tools.path(image), form, socket), socket) as server:
            figures |= run_phases(tools, server, image, phases)
    return figures


def measure(tools, rounds):
    make_images(tools)
    sides = [Side("posada", lambda: measure_side(tools, lambda image, form, socket: [
                 tools.program, "image", "serve", "--once", "-f", form, "--socket", socket, image])),
             Side("QEMU", lambda: measure_side(tools, lambda image, form, socket: [
                 "qemu-nbd", "-f", form, "-k", socket, image]))]
    alternate("serving", rounds, sides)
    rows = [Row(f"{form}: {words}: {figure_words} time a request", *sides, f"{image} {name} {figure}", "µs", aim="<= 1")
            for image, form, phases in RUNS for name, words, _ in phases
            for figure, figure_words in (("wall", "wall"), ("cpu", "CPU"))]
    return sides, rows
