"""From exec to the first guest instruction."""

from rounds import Row, Side, alternate
from runner import Run

TITLE = "Start: exec to the first guest instruction"
ABOUT = """\
A Multiboot kernel whose first instructions write a byte to the serial port; the time from exec of the
program until that byte has come out of its standard output. 128 MiB, one vCPU. Then the guest ends by
the debug exit port; CPU time is of the whole run, all processes. QEMU runs its firmware before it
enters the kernel, and that is part of its start."""

LIMIT = 60
DEBUG_EXIT_STATUS = 3  # the guest writes 1; the port's convention makes it 1 * 2 + 1


def measure_start(argv):
    with Run(argv, LIMIT) as run:
        run.wait_for_byte()
        result = run.finish(statuses=(DEBUG_EXIT_STATUS,))
    return {"first": result.first_byte * 1e3, "cpu": result.cpu * 1e3}


def measure(tools, rounds):
    plain, with_net = tools.first_guest(), tools.first_guest(has_net=True)

    def posada(name, accel, guest, may_skip=False):
        return Side(f"posada, {name}", lambda: measure_start(tools.posada(guest, accel)), may_skip)

    def qemu(name, accel, guest, may_skip=False):
        return Side(f"QEMU, {name}", lambda: measure_start(tools.qemu(guest, accel)), may_skip)

    pairs = [
        ("soft / TCG", posada("soft", "soft", plain), qemu("TCG", "tcg", plain)),
        ("soft / TCG, user network", posada("soft, net", "soft", with_net),
         qemu("TCG, net", "tcg", with_net)),
        ("kvm", posada("kvm", "kvm", plain, True), qemu("kvm", "kvm", plain, True)),
        ("auto", posada("auto", "auto", plain), None),
    ]
    sides = [side for pair in pairs for side in pair[1:] if side]
    alternate("start", rounds, sides)
    rows = [Row(f"{name}: first instruction", ours, theirs, "first", "ms", "< 15 ms")
            for name, ours, theirs in pairs]
    rows += [Row(f"{name}: the fastest round", ours, theirs, "first", "ms", how=min)
             for name, ours, theirs in pairs]
    rows += [Row(f"{name}: CPU time of the run", ours, theirs, "cpu", "ms")
             for name, ours, theirs in pairs]
    return sides, rows
