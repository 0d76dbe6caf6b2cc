"""What is done to a running guest: saved, restored, given a disk, and its freed memory taken back."""

import os
import time

from control import Posada, Qemu
from rounds import Row, Side, alternate
from runner import BenchError, Run, children_of

TITLE = "A running guest: save, restore, hot-plug, memory given back; software CPU"
ABOUT = """\
Linux 6.1, one vCPU; tests/bench/guest/live.c runs in it. Save and restore: 512 MiB, of which 256 MiB are
filled with what doesn't compress; save is from the command to its end with the file complete (posada:
`posada save`; QEMU: QMP migrate to a file, until it is completed), restore from exec of the program
to the first line that the restored guest writes; the file is in the page cache. QEMU has no lazy restore.
Hot-plug: from the command to the uevent in the guest that a disk is there; removal, until it is gone.
Memory: 768 MiB; the guest fills 512 MiB and frees them; what its processes hold five seconds later beyond
what they held before."""

LIMIT = 120
SETTLE_SECONDS = 5
BALLOON = ["-device", "virtio-balloon-pci,free-page-reporting=on"]


def tick_guest(tools):
    guest = tools.linux_guest("6.1", "tick", memory=512)
    guest.append += " bench.size=256"
    return guest


def first_tick(argv, env=None):
    """Milliseconds from exec to the first whole line of a restored guest."""
    with Run(argv, LIMIT, env) as run:
        run.wait_for("tick ")
        return run.result.find("tick ").wall * 1e3


def posada_save_restore(tools):
    path = tools.path("guest.save")
    with Posada(tools, tick_guest(tools), LIMIT) as guest:
        guest.run.wait_for("bench: filled")
        guest.run.wait_for("tick 20")
        figures = {"save": guest.command("save", guest.NAME, path) * 1e3}
        guest.run.finish()
        restore = [tools.program, "restore", path, "--quiet", "--name", "restored"]
        figures["lazy"] = first_tick(restore, guest.env)
        figures["eager"] = first_tick(restore + ["--eager"], guest.env)
    os.unlink(path)
    return figures


def qemu_save_restore(tools):
    path, guest = tools.path("guest.migrate"), tick_guest(tools)
    with Qemu(tools, guest, LIMIT) as qemu:
        qemu.run.wait_for("bench: filled")
        qemu.run.wait_for("tick 20")
        began = time.monotonic()
        qemu.command("migrate-set-parameters", **{"max-bandwidth": 1 << 40})
        qemu.command("migrate", uri=f"exec:cat > {path}")
        while qemu.command("query-migrate").get("status") not in ("completed", "failed"):
            time.sleep(0.001)
        figures = {"save": (time.monotonic() - began) * 1e3}
        qemu.command("quit")
    figures["eager"] = first_tick(tools.qemu(guest, "tcg") + ["-incoming", f"exec:cat {path}"])
    os.unlink(path)
    return figures


def make_spare_disk(tools):
    path = tools.path("spare.img")
    with open(path, "wb") as f:
        f.truncate(16 << 20)
    return path


def seconds_to(run, count, text):
    """Until the guest has written the count-th line that starts with text: when that came."""
    run.wait_for(text, count)
    return run.result.find_all(text)[count - 1].wall


def plug_figures(run, add, remove):
    figures = {}
    run.wait_for("bench: watching")
    time.sleep(1)  # the guest has nothing else to do by then
    for name, act, text in (("add", add, "bench: add"), ("remove", remove, "bench: remove")):
        before = len(run.result.find_all(text))
        began = time.monotonic() - run.started
        command = act()
        figures[name] = (seconds_to(run, before + 1, text) - began) * 1e3
        if command and command.wait() != 0:
            raise BenchError(f"{name}: exit status {command.returncode}")
    return figures


def posada_plug(tools):
    path = make_spare_disk(tools)
    with Posada(tools, tools.linux_guest("6.1", "plug"), LIMIT) as guest:
        return plug_figures(guest.run, lambda: guest.start("attach", guest.NAME, "--disk", path),
                            lambda: guest.start("detach", guest.NAME, "disk0"))


def qemu_plug(tools):
    path = make_spare_disk(tools)
    with Qemu(tools, tools.linux_guest("6.1", "plug"), LIMIT,
              ["-device", "pcie-root-port,id=spare-port,chassis=1"]) as qemu:
        def add():
            qemu.command("blockdev-add", driver="raw", **{"node-name": "spare"},
                         file={"driver": "file", "filename": path})
            qemu.command("device_add", driver="virtio-blk-pci", drive="spare", id="spare", bus="spare-port")

        def remove():
            qemu.command("device_del", id="spare")
        return plug_figures(qemu.run, add, remove)


def resident(pid):
    """MiB of memory that a tree of processes holds, what it shares counted once."""
    total = 0
    for process in children_of(pid):
        try:
            with open(f"/proc/{process}/smaps_rollup", encoding="ascii") as f:
                total += next(int(line.split()[1]) for line in f if line.startswith("Pss:"))
        except (ProcessLookupError, FileNotFoundError):
            pass  # it has ended, and holds nothing any more
    return total / 1024


def give_back(run):
    run.wait_for("bench: init")
    before = resident(run.pid)
    run.wait_for("bench: filled")
    held = resident(run.pid)
    run.wait_for("bench: freed")
    time.sleep(SETTLE_SECONDS)
    return {"held": held - before, "kept": resident(run.pid) - before}


def free_guest(tools):
    guest = tools.linux_guest("6.1", "free", memory=768)
    guest.append += " bench.size=512"
    return guest


def posada_give_back(tools):
    with Run(tools.posada(free_guest(tools), "soft"), LIMIT) as run:
        return give_back(run)


def qemu_give_back(tools):
    with Run(tools.qemu(free_guest(tools), "tcg") + BALLOON, LIMIT) as run:
        return give_back(run)


def measure(tools, rounds):
    pairs = {}
    for name, ours, theirs in (("save", posada_save_restore, qemu_save_restore),
                               ("plug", posada_plug, qemu_plug),
                               ("memory", posada_give_back, qemu_give_back)):
        pairs[name] = (Side(f"posada, {name}", lambda f=ours: f(tools)),
                       Side(f"QEMU, {name}", lambda f=theirs: f(tools)))
    sides = [side for pair in pairs.values() for side in pair]
    alternate("guest", rounds, sides)
    rows = [
        Row("save", *pairs["save"], "save", "ms"),
        Row("restore, everything read first", *pairs["save"], "eager", "ms"),
        Row("restore, memory on demand", *pairs["save"], "lazy", "ms"),
        Row("hot-plug of a disk", *pairs["plug"], "add", "ms"),
        Row("removal of a disk", *pairs["plug"], "remove", "ms"),
        Row("memory that 512 MiB in use took", *pairs["memory"], "held", "MiB"),
        Row("memory still held after they were freed", *pairs["memory"], "kept", "MiB"),
    ]
    return sides, rows
