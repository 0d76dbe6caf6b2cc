"""Memory of the processes beyond the guest's RAM."""

import threading
import time

from rounds import Row, Side, alternate
from runner import BenchError, BenchSkip, Run, children_of

TITLE = "Memory beyond guest RAM"
ABOUT = """\
Pss (memory shared with other processes counts in part) of all mappings of the processes but the guest's
RAM, while the guest idles: a guest that only halts, on KVM; a Linux 6.1 with busybox, on soft and TCG.
"guest process" is `posada-vmm` alone, "all" adds its launcher. 256 MiB, or 128 MiB for the halting
guest; one vCPU. Debian 12 with systemd has 1 GiB and two vCPUs; the figure is the most that was seen at any
time up to its login prompt. Page tables and other kernel memory don't count. Another process's mappings can be read
by root only."""

LIMIT = 120
RAM_SLACK_KB = 4096
SETTLE_SECONDS = 1
PERIOD_SECONDS = 0.1


def mappings(pid):
    """(permissions, size in KiB, Pss in KiB) of each mapping of a process."""
    found = []
    try:
        with open(f"/proc/{pid}/smaps", encoding="ascii", errors="replace") as f:
            for line in f:
                word, rest = line.split(maxsplit=1)
                if not word.endswith(":"):
                    found.append([rest.split()[0], 0, 0])
                elif word == "Size:":
                    found[-1][1] = int(rest.split()[0])
                elif word == "Pss:":
                    found[-1][2] = int(rest.split()[0])
    except PermissionError as e:
        raise BenchSkip("the guest process's mappings can only be read by root") from e
    return found


def is_ram(mapping, memory):
    permissions, size, _ = mapping
    over = size - memory * 1024
    return permissions.startswith("rw-") and 0 <= over <= RAM_SLACK_KB


def memory_of(pid, memory):
    """MiB of all processes of a tree, and of the one that has the guest's RAM, without that."""
    total, guest_process = 0, []
    for process in children_of(pid):
        all_of_it = mappings(process)
        rest = sum(m[2] for m in all_of_it if not is_ram(m, memory)) / 1024
        total += rest
        if any(is_ram(m, memory) for m in all_of_it):
            guest_process.append(rest)
    if len(guest_process) != 1:
        raise BenchError(f"{len(guest_process)} processes seem to have the guest's RAM")
    return {"all": total, "guest": guest_process[0]}


def measure_halted(argv, guest):
    with Run(argv, LIMIT) as run:
        run.wait_for_byte()
        time.sleep(SETTLE_SECONDS)
        return memory_of(run.pid, guest.memory)


def measure_idle(argv, guest):
    with Run(argv, LIMIT) as run:
        run.wait_for("bench: idle")
        return memory_of(run.pid, guest.memory)


def watch_peak(pid, memory, done, peak):
    while not done.wait(PERIOD_SECONDS):
        try:
            peak.append(memory_of(pid, memory)["guest"])
        except (BenchError, OSError):
            pass  # it hasn't begun, or a process has just ended


def measure_boot(argv, guest):
    done, peak = threading.Event(), []
    with Run(argv, LIMIT) as run:
        watcher = threading.Thread(target=watch_peak, args=(run.pid, guest.memory, done, peak))
        watcher.start()
        try:
            run.wait_for_text("posada-demo login: ")
        finally:
            done.set()
            watcher.join()
        memory_of(run.pid, guest.memory)  # says why where it can't be had
    return {"peak": max(peak)}


def measure(tools, rounds):
    halted, idle = tools.first_guest(append="stay"), tools.linux_guest("6.1", "idle")
    ours_kvm = Side("posada, kvm, halted", lambda: measure_halted(tools.posada(halted, "kvm"), halted), True)
    qemu_kvm = Side("QEMU, kvm, halted", lambda: measure_halted(tools.qemu(halted, "kvm"), halted), True)
    ours_soft = Side("posada, soft, Linux", lambda: measure_idle(tools.posada(idle, "soft"), idle))
    qemu_tcg = Side("QEMU, TCG, Linux", lambda: measure_idle(tools.qemu(idle, "tcg"), idle))
    debian = tools.demo_guest()
    ours_boot = Side("posada, soft, Debian", lambda: measure_boot(tools.posada(debian, "soft"), debian))
    qemu_boot = Side("QEMU, TCG, Debian", lambda: measure_boot(tools.qemu(debian, "tcg"), debian))
    sides = [ours_kvm, qemu_kvm, ours_soft, qemu_tcg, ours_boot, qemu_boot]
    alternate("memory", rounds, sides)
    return sides, [
        Row("kvm, halted guest: guest process", ours_kvm, qemu_kvm, "guest", "MiB", "< 8 MiB"),
        Row("kvm, halted guest: all", ours_kvm, qemu_kvm, "all", "MiB"),
        Row("soft / TCG, idle Linux: guest process", ours_soft, qemu_tcg, "guest", "MiB"),
        Row("soft / TCG, idle Linux: all", ours_soft, qemu_tcg, "all", "MiB"),
        Row("soft / TCG, Debian boots: guest process, at most", ours_boot, qemu_boot, "peak", "MiB", "< 64 MiB"),
    ]
