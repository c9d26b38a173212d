"""An OSV service that keeps the contract of the real one: in memory for unit tests, behind a socket for others."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from packaging.version import Version

Answer = tuple[int, Any]


def advisory(identifier: str, package: str, fixed: str, *aliases: str, **more: Any) -> dict[str, Any]:
    """Return a record of everything before a version, laid out as the services of GitHub and PyPI do."""
    events = [{"introduced": "0"}, *([{"fixed": fixed}] if fixed else [])]
    return {
        "schema_version": "1.7.3",
        "id": identifier,
        "aliases": list(aliases),
        "modified": "2026-11-01T00:00:00Z",
        "published": "2026-10-01T00:00:00Z",
        "details": "Something leaks.",
        "affected": [
            {
                "package": {"ecosystem": "PyPI", "name": package, "purl": f"pkg:pypi/{package}"},
                "ranges": [
                    {"type": "GIT", "repo": "https://code.example/it", "events": [{"introduced": "0"}]},
                    {"type": "ECOSYSTEM", "events": events},
                ],
                "versions": [],
            }
        ],
        "references": [{"type": "ADVISORY", "url": f"https://advisories.example/{identifier}"}],
        **more,
    }


@dataclass
class Advisories:
    """The data of a service and its faults: `harm` may put another answer in the place of one, by its path."""

    records: list[dict[str, Any]] = field(default_factory=list)
    trouble: Exception | None = None
    page: int = 1000
    harm: Callable[[str, Answer], Answer | bytes] = lambda _path, answer: answer
    asked: list[str] = field(default_factory=list)
    questions: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Begin with what every service knows."""
        self.records.insert(0, advisory("PYSEC-2019-217", "Jinja2", "2.10.1", "CVE-2019-10906"))

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        """Return status and body for a request."""
        self.asked.append(f"{method} {path}")
        right = self._right(method, path, body)
        given = self.harm(path, right)
        return (200, given) if isinstance(given, bytes) else (given[0], json.dumps(given[1]).encode())

    def _right(self, method: str, path: str, body: bytes) -> Answer:
        if (method, path) == ("POST", "/v1/querybatch"):
            queries = json.loads(body)["queries"]
            self.questions.append(queries)
            if len(queries) > 1000:
                return 400, {"code": 3, "message": "Too many queries."}
            return 200, {"results": [self._matching(query) for query in queries]}
        if method == "GET" and path.startswith("/v1/vulns/"):
            found = [record for record in self.records if record["id"] == path.rpartition("/")[2]]
            return (200, found[0]) if found else (404, {"code": 5, "message": "Bug not found."})
        return 404, {"code": 5, "message": "Not Found"}

    def _matching(self, query: Mapping[str, Any]) -> dict[str, Any]:
        assert query["package"]["ecosystem"] == "PyPI"
        start = int(query.get("page_token") or 0)
        found = [
            {"id": record["id"], "modified": record["modified"]}
            for record in self.records
            if _affects(record, query["package"]["name"], query["version"])
        ]
        shown = found[start : start + self.page]
        more = {"next_page_token": str(start + self.page)} if len(found) > start + self.page else {}
        return {**({"vulns": shown} if shown else {}), **more}


def _affects(record: Mapping[str, Any], package: str, version: str) -> bool:
    for affected in record.get("affected", ()):
        if affected["package"]["name"].lower() == package:
            fixed = [event["fixed"] for event in affected["ranges"][1]["events"] if "fixed" in event]
            return all(Version(version) < Version(each) for each in fixed)
    return False
