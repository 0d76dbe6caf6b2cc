"""The two command lines: the same guest on posada and on QEMU."""

import os
from dataclasses import dataclass


@dataclass
class Guest:
    """What a guest is made of, whoever runs it."""

    kernel: str
    initrd: str = None
    append: str = None
    memory: int = 256  # MiB
    cpus: int = 1
    disk: str = None
    disk_format: str = "raw"
    is_snapshot: bool = False
    has_net: bool = False
    tap: str = None  # an interface, instead of the user network
    queues: int = 1  # of the disk and the tap
    has_debug_exit: bool = False


class Tools:
    """Where things are. Directories come from ./bench."""

    def __init__(self, release, cache, only, series):
        self.cache = cache
        self.series = series  # the kernel of the group soft
        self.only = only  # names of rows, where only some are asked for
        self.program = os.path.join(release, "src/cmd/posada")

    def path(self, name):
        return os.path.join(self.cache, name)

    def first_guest(self, **more):
        """The Multiboot kernel that writes one byte first of all (guest/first.S)."""
        return Guest(self.path("first"), memory=128, has_debug_exit=True, **more)

    def linux_guest(self, series, job, **more):
        return Guest(self.path(f"../kernel-{series}/vmlinuz"), self.path(f"initrd-{series}"),
                     f"console=ttyS0 quiet panic=-1 bench.do={job}", **more)

    def demo_guest(self):
        """The demo's Debian, whole: its disk isn't written to."""
        where = self.path("../guest")
        return Guest(f"{where}/vmlinuz", f"{where}/initrd", "console=ttyS0 root=/dev/vda quiet", memory=1024,
                     cpus=2, disk=f"{where}/root.img", is_snapshot=True, has_net=True)

    def posada(self, guest, accel):
        argv = [self.program, "run", "--quiet", "--accel", accel, "--memory", f"{guest.memory}M",
                "--cpus", str(guest.cpus), "--cpu", "host", "--kernel", guest.kernel,
                "--on-reboot", "stop"]
        if guest.initrd:
            argv += ["--initrd", guest.initrd]
        if guest.append:
            argv += ["--append", guest.append]
        if guest.disk:
            argv += ["--disk", f"{guest.disk},format={guest.disk_format},queues={guest.queues}"]
        if guest.is_snapshot:
            argv += ["--snapshot"]
        if guest.tap:
            argv += ["--net", f"tap={guest.tap},queues={guest.queues}"]
        elif guest.has_net:
            argv += ["--net", "user,host=on"]
        if guest.has_debug_exit:
            argv += ["--debug-exit"]
        return argv

    def qemu(self, guest, accel):
        argv = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none",
                "-serial", "stdio", "-no-reboot", "-M", "q35", "-accel", accel,
                "-cpu", "host" if accel == "kvm" else "max", "-m", str(guest.memory),
                "-smp", str(guest.cpus), "-kernel", guest.kernel]
        if guest.initrd:
            argv += ["-initrd", guest.initrd]
        if guest.append:
            argv += ["-append", guest.append]
        if guest.disk:
            # The last guest may still be about to go, and hold its lock.
            more = ",snapshot=on,file.locking=off" if guest.is_snapshot else ""
            argv += ["-drive", f"file={guest.disk},format={guest.disk_format},if=none,id=disk{more}",
                     "-device", f"virtio-blk-pci,drive=disk,num-queues={guest.queues}"]
        if guest.tap:
            argv += ["-netdev", f"tap,id=net,ifname={guest.tap},script=no,downscript=no,queues={guest.queues}",
                     "-device", f"virtio-net-pci,netdev=net,mq={'on' if guest.queues > 1 else 'off'}"]
        elif guest.has_net:
            argv += ["-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net"]
        if guest.has_debug_exit:
            argv += ["-device", "isa-debug-exit,iobase=0xf4,iosize=4"]
        return argv
