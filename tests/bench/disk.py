"""virtio-blk in a guest: 4 KiB requests, one at a time."""

import os

from phases import measure_phases
from rounds import Row, Side, alternate

TITLE = "virtio-blk, software CPU"
ABOUT = """\
Linux 6.1 with one vCPU and 256 MiB; a static C program (tests/bench/guest/disk.c) makes 4 KiB requests
with O_DIRECT, one at a time, 2000 a phase, on a raw file of 64 MiB. Both programs at their default cache
mode (through the host's page cache): what counts is the way from the guest and back. Time for each
request; CPU time is of all processes, the guest's own work included."""

LIMIT = 180
PER = 1e6  # requests: seconds for so many are microseconds for one
IMAGE_MIB = 64
PHASES = {"disk-read-seq": "read, in order", "disk-read-random": "read, random",
          "disk-write-seq": "write, in order", "disk-write-random": "write, random"}


def make_image(path):
    """Random content, no holes; kept."""
    if os.path.exists(path) and os.path.getsize(path) == IMAGE_MIB << 20:
        return
    with open(path + ".new", "wb") as f:
        for _ in range(IMAGE_MIB):
            f.write(os.urandom(1 << 20))
    os.rename(path + ".new", path)


def measure(tools, rounds):
    guest = tools.linux_guest("6.1", "disk", disk=tools.path("disk.img"))
    make_image(guest.disk)
    ours = Side("posada", lambda: measure_phases(tools.posada(guest, "soft"), PHASES, LIMIT, PER))
    theirs = Side("QEMU", lambda: measure_phases(tools.qemu(guest, "tcg"), PHASES, LIMIT, PER))
    alternate("disk", rounds, [ours, theirs])
    rows = [Row(f"{words}: {figure_words} time a request", ours, theirs, f"{phase} {figure}", "µs")
            for phase, words in PHASES.items() for figure, figure_words in (("wall", "wall"), ("cpu", "CPU"))]
    return [ours, theirs], rows
