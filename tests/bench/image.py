"""Disk images: `posada image convert` beside `qemu-img convert`; a qcow2 disk in a guest."""

import os
import random
import resource
import subprocess
import time

import disk
from rounds import Row, Side, alternate
from runner import BenchError

TITLE = "Disk images"
ABOUT = """\
A raw image of 512 MiB, half of it holes, the rest text-like and random bytes, to and from other formats: both programs
with `-t unsafe` (nothing waits for the disk), their defaults otherwise. CPU time is of all processes. Then the requests of the
group "virtio-blk" on a qcow2 image, which both programs filled with `qemu-img convert`."""

SIZE_MIB = 512
CONVERSIONS = {  # name: source's format, target's, more options
    "raw to qcow2": ("raw", "qcow2", []),
    "qcow2 to raw": ("qcow2", "raw", []),
    "VMDK to qcow2": ("vmdk", "qcow2", []),
    "raw to compressed qcow2": ("raw", "qcow2", ["-c"]),
    "compressed qcow2 to raw": ("compressed", "raw", []),
}


def make_raw(path):
    """Every other MiB is a hole; the rest is half words, half noise. The same each time."""
    source = random.Random(1)
    words = [bytes(source.choices(range(97, 123), k=source.randint(2, 9))) for _ in range(500)]
    with open(path + ".new", "wb") as f:
        f.truncate(SIZE_MIB << 20)
        for mib in range(0, SIZE_MIB, 2):
            text = b" ".join(source.choices(words, k=120000))[: 512 << 10]
            f.seek(mib << 20)
            f.write(text + source.randbytes((1 << 20) - len(text)))
    os.rename(path + ".new", path)


def make_sources(tools):
    """Kept: the raw image, and the others made of it by qemu-img."""
    paths = {name: tools.path(f"image.{name}") for name in ("raw", "qcow2", "vmdk", "compressed")}
    if not os.path.exists(paths["raw"]):
        make_raw(paths["raw"])
    for name, options in (("qcow2", []), ("vmdk", []), ("compressed", ["-c"])):
        if not os.path.exists(paths[name]):
            subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2" if options else name, *options,
                            paths["raw"], paths[name]], check=True)
    return paths


def cpu_of_children():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def convert(program, sources, target):
    """Each conversion once: its wall and CPU time."""
    figures = {}
    for name, (source, to, more) in CONVERSIONS.items():
        form = "qcow2" if source == "compressed" else source
        if os.path.exists(target):
            os.unlink(target)
        cpu, wall = cpu_of_children(), time.monotonic()
        done = subprocess.run([*program, "convert", "-t", "unsafe", "-f", form, "-O", to, *more, sources[source], target],
                              capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchError(f"{name}: {done.stderr.strip()}")
        figures[f"{name} wall"] = time.monotonic() - wall
        figures[f"{name} cpu"] = cpu_of_children() - cpu
    os.unlink(target)
    return figures


def measure(tools, rounds):
    sources, target = make_sources(tools), tools.path("image.target")
    sides = [Side("posada", lambda: convert([tools.program, "image"], sources, target)),
             Side("QEMU", lambda: convert(["qemu-img"], sources, target))]
    alternate("images", rounds, sides)
    rows = [Row(f"{name}: {words} time", *sides, f"{name} {figure}", "s", aim="<= 0.67" if figure == "wall" else "<= 1")
            for name in CONVERSIONS for figure, words in (("wall", "wall"), ("cpu", "CPU"))]
    raw, image = tools.path("disk.img"), tools.path("disk.qcow2")
    disk.make_image(raw)
    if not os.path.exists(image):
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, image], check=True)
    guest = tools.linux_guest("6.1", "disk", disk=image, disk_format="qcow2")
    more_sides, more_rows = disk.measure_kind(tools, rounds, "guest on qcow2: ", disk.PHASES, guest)
    return sides + more_sides, rows + more_rows
