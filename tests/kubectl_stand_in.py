"""kubectl's few words that a deploy uses, answered by the stand-in of a cluster without a process."""

import json
from dataclasses import dataclass, field
from typing import Any

from dockyard.process import Command, Completed

from .kubernetes_stand_in import KINDS, KubernetesStandIn

GROUPS = {"v1": "api/v1"}


@dataclass
class KubectlStandIn:
    """Runs commands against a cluster; at the second command with `cut_at` it falls silent, for `silence` commands."""

    cluster: KubernetesStandIn = field(default_factory=KubernetesStandIn)
    now: float = 1_800_000_000.0
    cut_at: str = ""
    seen: int = 0
    silence: int = 0
    interrupt_at: str = ""

    def clock(self) -> float:
        """Return the time."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    def run(self, command: Command, *, check: bool = True) -> Completed:
        """Return what kubectl would have said."""
        assert not check
        words = list(command.argv[1:])
        self.now += 1
        if self.interrupt_at and self.interrupt_at in " ".join(words):
            self.interrupt_at = ""
            raise KeyboardInterrupt
        self.seen += bool(self.cut_at) and self.cut_at in " ".join(words)
        if self.seen > 1 and self.silence:
            self.silence -= 1
            return Completed(1, "", "Unable to connect to the server: dial tcp: i/o timeout\n", 0.1)
        while words[0].startswith("--"):
            words = words[1:] if "=" in words[0] else words[2:]
        return self._answer(words, command.input or b"")

    def _answer(self, words: list[str], content: bytes) -> Completed:
        if words[0] == "apply":
            return self._apply(content.decode().splitlines(), dry="--dry-run=server" in words)
        methods = {"get": "GET", "create": "POST", "replace": "PUT", "delete": "DELETE"}
        assert words[1] == "--raw", words
        code, body = self.cluster.answer(methods[words[0]], words[2], content)
        return said(code, body)

    def _apply(self, documents: list[str], *, dry: bool) -> Completed:
        made = []
        for one in map(json.loads, documents):
            resource = next(resource for resource, kind in KINDS.items() if kind == one["kind"])
            group = f"api/{one['apiVersion']}" if "/" not in one["apiVersion"] else f"apis/{one['apiVersion']}"
            path = f"/{group}/namespaces/shop/{resource}/{one['metadata']['name']}"
            query = "?fieldManager=dockyard&force=true" + ("&dryRun=All" if dry else "")
            code, body = self.cluster.answer("PATCH", path + query, json.dumps(one).encode())
            if code >= 400:
                return said(code, body)
            made.append(body)
        return said(200, made[0] if len(made) == 1 else {"kind": "List", "items": made})


def said(code: int, body: Any) -> Completed:
    """Return an answer of the API as kubectl prints it."""
    if code < 400:
        return Completed(0, body if isinstance(body, str) else json.dumps(body), "", 0.1)
    return Completed(1, "", f"Error from server ({body['reason']}): {body['message']}\n", 0.1)
