"""Runs a container's program in a network of its own, as Modal does.

``python network.py SOCKET PORT PROGRAM ARGUMENT…`` brings up the loopback of the network namespace
that it was started in, leaves a child behind that joins connections to SOCKET with PORT there, and
becomes the program. SOCKET exists once something listens on PORT.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
import socket
import struct
import sys
import threading
import time

SIOCGIFFLAGS, SIOCSIFFLAGS, SIOCSIFNAME, IFF_UP = 0x8913, 0x8914, 0x8923, 1
SIZE = 1 << 16
PR_SET_PDEATHSIG = 1


def bring_up_loopback() -> None:
    """Under the name of a container's interface: Modal's client asks that for its address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        fcntl.ioctl(probe, SIOCSIFNAME, struct.pack("16s16s", b"lo", b"eth0"))
        asked = fcntl.ioctl(probe, SIOCGIFFLAGS, struct.pack("16sh", b"eth0", 0))
        _, flags = struct.unpack("16sh", asked)
        fcntl.ioctl(probe, SIOCSIFFLAGS, struct.pack("16sh", b"eth0", flags | IFF_UP))


def pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(SIZE):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def join(outside: socket.socket, port: int) -> None:
    with outside:
        try:
            inside = socket.create_connection(("127.0.0.1", port))
        except OSError:
            return
        with inside:
            back = threading.Thread(target=pump, args=(inside, outside), daemon=True)
            back.start()
            pump(outside, inside)
            back.join()


def is_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def forward(path: str, port: int, container: int) -> None:
    """Until the container is killed: a stop leaves time for requests that are being answered."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # With its container, however that ends: nobody else knows of it.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != container:
        os._exit(0)
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    while not is_open(port):
        time.sleep(0.05)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    while True:
        outside, _ = listener.accept()
        threading.Thread(target=join, args=(outside, port), daemon=True).start()


def main() -> None:
    path, port, *command = sys.argv[1:]
    bring_up_loopback()
    container = os.getpid()
    if os.fork() == 0:
        forward(path, int(port), container)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
