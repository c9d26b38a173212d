"""Look into a running container or an image from within, by its own Python; answer in JSON.

The host sends this file's text to that Python, `python -I -c TEXT VERB ...`, so that nothing has to be mounted: a
remote engine, a read-only root and an image without a shell are all no matter. Nothing newer than Python 3.9 is in it.
"""

import json
import os
import socket
import sys
import time
from collections.abc import Iterator


def watch(port: str, seconds: str) -> object:
    """Wait for the first byte of an answer, which comes when the app is imported, not when its port is open.

    Return the age of process 1 at that moment, by the kernel's clock, and all addresses that are listened on.
    """
    limit = time.monotonic() + float(seconds)
    first = None
    while first is None and time.monotonic() < limit:
        hosts = ["127.0.0.1", "::1", *(host for host, number in listening() if number == int(port))]
        first = next((age() for host in hosts if answers(host, int(port), limit)), None)
        time.sleep(0.005)
    return {"answer": first, "listening": sorted(set(listening()))}


def age() -> float:
    """Return for how many seconds process 1 has been running."""
    ticks = int(read("/proc/1/stat").rpartition(")")[2].split()[19])
    return float(read("/proc/uptime").split()[0]) - ticks / os.sysconf("SC_CLK_TCK")


def listening() -> Iterator[tuple[str, int]]:
    """Yield the addresses that this network namespace listens on."""
    for file, family in (("/proc/net/tcp", socket.AF_INET), ("/proc/net/tcp6", socket.AF_INET6)):
        for row in read(file).splitlines()[1:]:
            words = row.split()
            if words[3] == "0A":
                raw, number = words[1].split(":")
                packed = b"".join(bytes.fromhex(raw[at : at + 8])[::-1] for at in range(0, len(raw), 8))
                yield socket.inet_ntop(family, packed), int(number, 16)


def answers(host: str, port: int, limit: float) -> bool:
    """Ask once, and say whether anything came back."""
    try:
        with socket.create_connection((host, port), max(0.05, limit - time.monotonic())) as there:
            there.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: dockyard\r\nConnection: close\r\n\r\n")
            return bool(there.recv(1))
    except OSError:
        return False


def uncompilable() -> object:
    """Return which of the files that are named on standard input this Python cannot compile, and why."""
    reasons = ((path, why_not(path)) for path in json.load(sys.stdin))
    return {path: reason for path, reason in reasons if reason}


def why_not(path: str) -> str:
    """Say why a file is no Python source of this version, or nothing."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - pathlib would cost a start twice its time
            compile(file.read(), path, "exec", dont_inherit=True)
    except SyntaxError as error:
        return f"{error.msg}, line {error.lineno}" if error.lineno else str(error.msg)
    except Exception as error:  # noqa: BLE001 - whatever the reason is
        return str(error) or type(error).__name__
    return ""


def find(wanted: str) -> object:
    """Return the first paths of a file: by its path, or by the name of a file, folder or module wherever it lies."""
    names = {wanted, wanted + ".py"}
    found = [wanted] if wanted.startswith("/") and os.path.exists(wanted) else []  # noqa: PTH110
    for top in () if wanted.startswith("/") else ("/usr", "/opt", "/etc"):
        for folder, folders, files in os.walk(top):
            found += [f"{folder}/{name}" for name in (*folders, *files) if name in names]
    return sorted(found)[:3]


def processes() -> object:
    """Return this Python's version, and the number, parent and command of each process that runs on it."""
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):  # noqa: PTH208
        try:
            mine = os.path.realpath(f"/proc/{name}/exe") == os.path.realpath(sys.executable)
        except OSError:
            continue
        stat, line = read(f"/proc/{name}/stat"), read(f"/proc/{name}/cmdline")
        if mine and stat and int(name) != os.getpid():
            found.append([int(name), int(stat.rpartition(")")[2].split()[1]), line.replace("\0", " ").strip()])
    return {"version": sys.version_info[:2], "processes": sorted(found)}


def user() -> object:
    """Return who a container runs as, in numbers."""
    return f"{os.getuid()}:{os.getgid()}"


def accounts() -> object:
    """Return what names the users of a container."""
    return read("/etc/passwd")


def read(path: str) -> str:
    """Return the text of a file, empty where there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            return file.read()
    except OSError:
        return ""


if __name__ == "__main__":
    VERBS = {each.__name__: each for each in (watch, uncompilable, find, processes, user, accounts)}
    json.dump(VERBS[sys.argv[1]](*sys.argv[2:]), sys.stdout)
