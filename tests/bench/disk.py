"""virtio-blk in a guest: requests of 4 and 256 KiB, one at a time, and of two CPUs at once with one and two queues."""

import os

from phases import measure_phases
from rounds import Row, Side, alternate

TITLE = "virtio-blk, software CPU"
ABOUT = """\
Linux 6.1 with one vCPU and 256 MiB; a static C program (tests/bench/guest/disk.c) makes requests of 4 KiB (or
more, where a row says so) with O_DIRECT, one at a time, 2000 a phase (512 large ones), on a raw file of 64 MiB. Both programs at their default cache
mode (through the host's page cache): what counts is the way from the guest and back. Two CPUs: a guest
with two vCPUs, four threads bound to each, all at once with 2000 requests a thread. Time for each request;
CPU time is of all processes, the guest's own work included."""

LIMIT = 180
PER = 1e6  # requests: seconds for so many are microseconds for one
IMAGE_MIB = 64
PHASES = {"disk-read-seq": "read, in order", "disk-read-random": "read, random",
          "disk-write-seq": "write, in order", "disk-write-random": "write, random",
          "disk-read-large": "read of 256 KiB, in order", "disk-write-large": "write of 256 KiB, in order"}
PHASES_AT_ONCE = {"disk-read-cpus": "read, random", "disk-write-cpus": "write, random"}


def make_image(path):
    """Random content, no holes; kept."""
    if os.path.exists(path) and os.path.getsize(path) == IMAGE_MIB << 20:
        return
    with open(path + ".new", "wb") as f:
        for _ in range(IMAGE_MIB):
            f.write(os.urandom(1 << 20))
    os.rename(path + ".new", path)


def into_page_cache(path):
    """Where it may no longer be: who comes first would read it from the disk."""
    with open(path, "rb", buffering=0) as f:
        while f.read(1 << 20):
            pass


def measure_guest(argv, phases, image):
    into_page_cache(image)
    return measure_phases(argv, phases, LIMIT, PER)


def measure_kind(tools, rounds, prefix, phases, guest):
    """Both sides with one guest: the sides, and their rows."""
    sides = [Side("posada", lambda: measure_guest(tools.posada(guest, "soft"), phases, guest.disk)),
             Side("QEMU", lambda: measure_guest(tools.qemu(guest, "tcg"), phases, guest.disk))]
    alternate(f"disk, {prefix}".rstrip(":, "), rounds, sides)
    rows = [Row(f"{prefix}{words}: {figure_words} time a request", *sides, f"{phase} {figure}", "µs", aim="<= 1")
            for phase, words in phases.items() for figure, figure_words in (("wall", "wall"), ("cpu", "CPU"))]
    return sides, rows


def measure(tools, rounds):
    image = tools.path("disk.img")
    make_image(image)
    kinds = [measure_kind(tools, rounds, "", PHASES, tools.linux_guest("6.1", "disk", disk=image))]
    for queues, words in ((1, "1 queue"), (2, "2 queues")):
        guest = tools.linux_guest("6.1", "disk", disk=image, queues=queues, cpus=2)
        guest.append += f" bench.size={guest.cpus}"
        kinds.append(measure_kind(tools, rounds, f"2 CPUs, {words}: ", PHASES_AT_ONCE, guest))
    return [side for sides, _ in kinds for side in sides], [row for _, rows in kinds for row in rows]
