#!/usr/bin/env python3
"""Clients of a control socket that do what they shouldn't: hostile-client.py SOCKET. The guest answers a
well-behaved one afterwards, and says its process's number."""
import json
import os
import socket
import sys

PATH = sys.argv[1]


def connect():
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.connect(PATH)  # may have to wait for its place in the queue
    s.settimeout(30)
    return s


def welcome():
    """One that is greeted: those that left may still have their places."""
    while True:
        s = connect()
        if b'"hello"' in s.recv(65536):
            return s
        s.close()


def ask(s, command):
    s.send(json.dumps({"id": 1, "command": command}).encode())
    while True:
        m = json.loads(s.recv(65536))
        if m.get("id") == 1:
            return m


def come_and_go(n):
    for _ in range(n):
        connect().close()


def crowd(n):
    """More at once than may be: those beyond the limit hear why."""
    all_, refused = [], 0
    for _ in range(n):
        all_.append(connect())
        refused += b"too many clients" in all_[-1].recv(65536)
    for s in all_:
        s.close()
    assert 0 < refused < n, refused


def garbage():
    s = welcome()
    for junk in (b"x", b"\0" * 60000, b"[" * 60000, b'{"id":{}}', os.urandom(1000), b"{}"):
        s.send(junk)
        answer = json.loads(s.recv(65536))
        assert answer["event"] == "error", answer
    null = os.open("/dev/null", os.O_RDONLY)
    for n in (1, 16, 17, 100):
        socket.send_fds(s, [b'{"id":1,"command":"status"}'], [null] * n)
    s.close()


def deaf():
    """Asks without reading the answers: its own fault."""
    s = welcome()
    s.setblocking(False)
    try:
        for _ in range(100000):
            s.send(b'{"id":1,"command":"status"}')
    except OSError:
        pass
    return s


come_and_go(100)
crowd(30)
garbage()
left = deaf()
print(json.dumps(ask(welcome(), "status")["result"]["state"]))
