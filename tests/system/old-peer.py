#!/usr/bin/env python3
"""Plays one side of a recorded dialogue of control protocol 1 (protocol-1.txt) against today's other.

    old-peer.py launcher FIXTURE SECTION VMM KERNEL   as the old launcher, against the program VMM
    old-peer.py vmm                                   as the old guest process, started by today's
                                                      launcher: $OLD_PEER is "FIXTURE SECTION"

An event matches when its word, reason and exit code are those of the record: texts are for people.
Events whose word protocol 1 doesn't know are passed over, as the old launcher did. Ends with 1 and a
sentence at the first difference.
"""
import json
import os
import socket
import subprocess
import sys
import tempfile

KNOWN = ("started", "paused", "stopped", "error")
LIMIT = 60  # seconds for a message


def read_section(path, name):
    lines, inside = [], False
    with open(path, encoding="utf-8") as f:
        for line in f.read().splitlines():
            if line.startswith("["):
                inside = line == f"[{name}]"
            elif inside and line:
                who, text = line.split(": ", 1)
                lines.append((who.split()[0], text))
    return lines


def fail(why):
    print(f"old-peer: {why}")
    sys.exit(1)


def open_for(config, kernel):
    """The descriptors that a recorded configuration speaks of, in their order."""
    ends, fds = [], {}
    disk = tempfile.TemporaryFile()
    disk.truncate(1 << 20)
    fds[config["kernel"]] = os.open(kernel, os.O_RDONLY)
    for name in [config["console-fd"]] + [n["fd"] for n in config["nics"]]:
        ours, theirs = socket.socketpair()
        ends.append(ours)
        fds[name] = os.dup(theirs.fileno())
    for d in config["disks"]:
        fds[d["fd"]] = os.dup(disk.fileno())
    return [fds[i] for i in range(len(fds))], ends


def next_known(sock):
    while True:
        message = sock.recv(65536)
        if not message:
            fail("the guest process has closed its control socket")
        event = json.loads(message)
        if event.get("event") in KNOWN:
            return event


def as_launcher(fixture, section, vmm, kernel):
    lines = read_section(fixture, section)
    control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    control.settimeout(LIMIT)
    child = subprocess.Popen([vmm, "old"], preexec_fn=lambda: os.dup2(theirs.fileno(), 3), close_fds=False)
    theirs.close()
    fds, ends = open_for(json.loads(lines[0][1]), kernel)
    socket.send_fds(control, [lines[0][1].encode()], fds)
    for who, text in lines[1:]:
        if who == "launcher":
            control.send(text.encode())
            continue
        wanted, got = json.loads(text), next_known(control)
        for member in ("event", "reason", "code"):
            if got.get(member) != wanted.get(member):
                fail(f"'{text}' was recorded, and {json.dumps(got)} came")
    control.close()
    child.wait(LIMIT)
    for end in ends:
        end.close()


def as_vmm():
    fixture, section = os.environ["OLD_PEER"].split()
    control = socket.socket(fileno=3)
    control.settimeout(LIMIT)
    lines = read_section(fixture, section)
    config, fds, _, _ = socket.recv_fds(control, 65536, 64)
    if json.loads(config)["version"] != 1 or not fds:
        fail("no configuration came")
    for who, text in lines[1:]:
        if who == "vmm":
            control.send(text.encode())
            continue
        got = json.loads(control.recv(65536))
        if got.get("command") != json.loads(text)["command"] or "id" in got:
            fail(f"'{text}' was recorded, and {json.dumps(got)} came")


if sys.argv[1:2] == ["launcher"]:
    as_launcher(*sys.argv[2:])
else:
    as_vmm()
