"""Ask a service steadily until standard input ends, at least so many times: `steady_load.py COUNT HOST:PORT…`.

Every fifth request is a POST, which nobody may send twice. What came back is counted by its words and printed as JSON.
"""

import http.client
import itertools
import json
import sys
import threading
import time
from collections import Counter

WORKERS = 8


def ask(host: str, method: str) -> str:
    """Return what a service says to one request on a connection of its own, or what went wrong."""
    connection = http.client.HTTPConnection(host, timeout=30)
    try:
        connection.request(method, "/", body=b"x" * 100 if method == "POST" else None)
        answer = connection.getresponse()
        said = answer.read().decode().strip()
    except (OSError, http.client.HTTPException) as error:
        return f"failed: {method} {host}: {error!r}"
    finally:
        connection.close()
    return said if answer.status == http.client.OK else f"failed: {method} {host}: {answer.status}"


def main(arguments: list[str]) -> None:
    """Ask and count."""
    least, hosts = int(arguments[0]), arguments[1:]
    counted: Counter[str] = Counter()
    lock, over = threading.Lock(), threading.Event()
    numbers = itertools.count()

    def work() -> None:
        while not (over.is_set() and counted.total() >= least):
            number = next(numbers)
            said = ask(hosts[number % len(hosts)], "POST" if number % 5 == 0 else "GET")
            with lock:
                counted[said] += 1
            time.sleep(0.005)

    workers = [threading.Thread(target=work, daemon=True) for _ in range(WORKERS)]
    for worker in workers:
        worker.start()
    sys.stdin.read()
    over.set()
    for worker in workers:
        worker.join(120)
    print(json.dumps(counted))  # noqa: T201 - the result


if __name__ == "__main__":
    main(sys.argv[1:])
