"""Ask an engine over its socket without the Docker SDK, which takes longer to import than the answer takes."""

import http.client
import json
import socket
from pathlib import Path
from typing import Any


class _Connection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("docker", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        """Open the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(str(self.path))
        except OSError:
            self.sock.close()
            raise


def ask(path: Path, what: str, *, timeout: float = 10.0) -> Any:
    """Return the engine's JSON answer to GET `what`, or None where no engine answers so within `timeout` seconds."""
    if not path.exists():
        return None
    connection = _Connection(path, timeout)
    try:
        connection.request("GET", what)
        answer = connection.getresponse()
        body = json.loads(answer.read())
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
    return body if answer.status == http.client.OK else None
