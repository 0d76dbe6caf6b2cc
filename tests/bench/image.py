"""Disk images: `posada image convert` beside `qemu-img convert`."""

import os
import random
import resource
import subprocess
import time

from disk import into_page_cache
from rounds import Row, Side, alternate
from runner import BenchError

TITLE = "Disk images"
ABOUT = """\
A raw image of 2 GiB, every other MiB a hole, the rest half text-like, half random bytes, to and from other formats. "Pieces": one
of 512 MiB in whose first half every other 64 KiB are a hole, and in whose second half some of the blocks of 4 KiB are written
zeros. Compression: the first 512 MiB of the large one. Both programs with `-t unsafe` (nothing waits for the disk; qemu-img's
default), their defaults otherwise; all in the page cache. CPU time is of all processes. Before each run as much memory is
written and freed as it will take, until that is fast: the benchmark's host may be a virtual machine, whose free memory its own
host takes back, and giving it again costs more than the conversion. As that may happen at any time, the figures are those of
the fastest run, of two a round. Each result is compared with its source once."""

MIB = 1 << 20
WARM_UPS = 3  # at most
TRIES = 2  # a round; those with compression take long, and are tried once
SOURCES = {  # name: the raw image it is made of, its format, more options
    "qcow2": ("raw", "qcow2", []),
    "vmdk": ("raw", "vmdk", []),
    "compressed": ("small", "qcow2", ["-c"]),
    "pieces-qcow2": ("pieces", "qcow2", []),
}
CONVERSIONS = {  # name: source, its format, the target's format, more options
    "raw to qcow2": ("raw", "raw", "qcow2", []),
    "qcow2 to raw": ("qcow2", "qcow2", "raw", []),
    "raw to raw": ("raw", "raw", "raw", []),
    "VMDK to qcow2": ("vmdk", "vmdk", "qcow2", []),
    "raw to qcow2, pieces": ("pieces", "raw", "qcow2", []),
    "qcow2 to raw, pieces": ("pieces-qcow2", "qcow2", "raw", []),
    "raw to compressed qcow2": ("small", "raw", "qcow2", ["-c"]),
    "compressed qcow2 to raw": ("compressed", "qcow2", "raw", []),
}


def with_zeros(data, source):
    for start in range(0, MIB, 4096):
        if source.random() < 0.3:
            data[start:start + 4096] = bytes(4096)
    return data


def plain_parts(i, data, _):
    """What of the MiB i is written, and from where in it."""
    return [(0, data)] if i % 2 == 0 else []


def parts_in_pieces(i, data, source):
    if i >= 256:
        return [(0, with_zeros(data, source))]
    return [(start, data[start:start + (64 << 10)]) for start in range(0, MIB, 128 << 10)]


RAW = {"raw": (2048, plain_parts), "small": (512, plain_parts), "pieces": (512, parts_in_pieces)}  # MiB


def make_raw(path, mib, parts):
    """The same each time."""
    source = random.Random(1)
    words = [bytes(source.choices(range(97, 123), k=source.randint(2, 9))) for _ in range(500)]
    text = b" ".join(source.choices(words, k=240000))
    with open(path + ".new", "wb") as f:
        f.truncate(mib * MIB)
        for i in range(mib):
            start = source.randrange(len(text) - MIB // 2)
            data = bytearray(text[start:start + MIB // 2] + source.randbytes(MIB // 2))
            for inside, part in parts(i, data, source):
                f.seek(i * MIB + inside)
                f.write(part)
    os.rename(path + ".new", path)


def make_sources(tools):
    """Kept: the raw images, and the others made of them by qemu-img."""
    paths = {name: tools.path(f"convert.{name}") for name in (*RAW, *SOURCES)}
    for name, (mib, parts) in RAW.items():
        if not os.path.exists(paths[name]):
            make_raw(paths[name], mib, parts)
    for name, (raw, form, options) in SOURCES.items():
        if not os.path.exists(paths[name]):
            subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", form, *options, paths[raw], paths[name]], check=True)
    return paths


def cpu_of_children():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


class Memory:
    """The page cache's, which a virtual machine's host may have taken back: then it is slow when it is used again."""

    def __init__(self, path):
        self.path = path
        self.best = None  # seconds a MiB

    def take(self, size):
        """So much, and gives it back."""
        zeros, began = bytes(MIB), time.monotonic()
        with open(self.path, "wb") as f:
            for _ in range(0, size, MIB):
                f.write(zeros)
        took = (time.monotonic() - began) / (size / MIB)
        os.unlink(self.path)
        self.best = min(took, self.best or took)
        return took

    def warm_up(self, size):
        """Until it is as fast as it was before."""
        self.take(size)
        for _ in range(WARM_UPS):
            if self.take(size) < 1.5 * self.best:
                break


def convert_once(program, name, paths, target):
    """Wall and CPU time."""
    source, form, to, more = CONVERSIONS[name]
    cpu, wall = cpu_of_children(), time.monotonic()
    done = subprocess.run([*program, "convert", "-t", "unsafe", "-f", form, "-O", to, *more, paths[source], target],
                          capture_output=True, text=True, check=False)
    wall, cpu = time.monotonic() - wall, cpu_of_children() - cpu
    if done.returncode:
        raise BenchError(f"{name}: {done.stderr.strip()}")
    return wall, cpu


def compare(name, paths, target):
    source, form, to, _ = CONVERSIONS[name]
    done = subprocess.run(["qemu-img", "compare", "-f", form, "-F", to, paths[source], target],
                          capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"{name}: {(done.stdout + done.stderr).strip()}")


def convert(program, paths, target, memory, compared):
    """Each conversion, in its fastest run; those that aren't in compared are looked at."""
    figures = {}
    for name, (source, _, _, more) in CONVERSIONS.items():
        runs = []
        for _ in range(1 if more else TRIES):
            into_page_cache(paths[source])
            memory.warm_up(os.stat(paths[source]).st_blocks * 512)
            runs.append(convert_once(program, name, paths, target))
            if name not in compared:
                compare(name, paths, target)
                compared.add(name)
            os.unlink(target)
        figures[f"{name} wall"], figures[f"{name} cpu"] = (min(values) for values in zip(*runs))
    return figures


def measure(tools, rounds):
    paths, target = make_sources(tools), tools.path("convert.target")
    if os.path.exists(target):
        os.unlink(target)
    memory, ours, theirs = Memory(target), set(), set()
    sides = [Side("posada", lambda: convert([tools.program, "image"], paths, target, memory, ours)),
             Side("QEMU", lambda: convert(["qemu-img"], paths, target, memory, theirs))]
    alternate("images", rounds, sides)
    return sides, [Row(f"{name}: {words} time", *sides, f"{name} {figure}", "s", how=min,
                       aim="<= 0.67" if figure == "wall" else "<= 1")
                   for name in CONVERSIONS for figure, words in (("wall", "wall"), ("cpu", "CPU"))]
