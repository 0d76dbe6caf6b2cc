"""fio in a guest, on a raw and a qcow2 disk: random and in order, one request at a time and several."""

import os
import subprocess

import disk

TITLE = "fio in a guest, software CPU"
ABOUT = """\
Debian's fio in Linux 6.1 with one vCPU and 512 MiB (tests/bench/guest/disk.fio has the jobs): libaio with O_DIRECT, on a
raw file of 64 MiB and on a qcow2 image that `qemu-img convert` made of it. Both programs at their default cache mode. Time
for each request; CPU time is of all processes, the guest's own work included: fio does more for a request than the program
of "virtio-blk", and that is the guest's work, too."""

PHASES = {"random-read": "random reads of 4 KiB", "random-read-16": "random reads of 4 KiB, 16 at once",
          "random-write": "random writes of 4 KiB", "random-write-16": "random writes of 4 KiB, 16 at once",
          "read": "reads of 256 KiB in order, 4 at once", "write": "writes of 256 KiB in order, 4 at once"}


def make_images(tools):
    raw, image = tools.path("disk.img"), tools.path("disk.qcow2")
    disk.make_image(raw)
    if not os.path.exists(image):
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, image], check=True)
    return {"raw": raw, "qcow2": image}


def measure(tools, rounds):
    kinds = []
    for form, image in make_images(tools).items():
        guest = tools.linux_guest("6.1", "fio", memory=512, disk=image, disk_format=form)
        guest.initrd = tools.path("initrd-fio")
        kinds.append(disk.measure_kind(tools, rounds, f"{form}: ", PHASES, guest))
    return [side for sides, _ in kinds for side in sides], [row for _, rows in kinds for row in rows]
