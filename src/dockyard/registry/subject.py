"""What a statement is about: one image of one platform, by its digest, and what its own labels say of it (pure)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from dockyard.errors import DockyardError

PREFIX = "org.opencontainers.image."


@dataclass(frozen=True)
class Subject:
    """One image: `digest`, `media_type` and `size` are those of its manifest, `config` its configuration."""

    digest: str
    config: Mapping[str, Any]
    media_type: str = "application/vnd.oci.image.manifest.v1+json"
    size: int = 0

    @property
    def labels(self) -> Mapping[str, str]:
        """The image's labels."""
        return (self.config.get("config") or {}).get("Labels") or {}

    @property
    def name(self) -> str:
        """The image's title: its name wherever it is pushed to."""
        return self.label("title")

    @property
    def architecture(self) -> str:
        """The processor that it is for, by the name that images use."""
        return str(self.config.get("architecture") or "")

    @property
    def created(self) -> str:
        """The time that the image is dated with, which is its commit's: 2026-11-21T00:00:00Z."""
        return self.label("created")

    @property
    def epoch(self) -> int:
        """The same in seconds."""
        return int(datetime.strptime(self.created, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp())

    def label(self, key: str) -> str:
        """Return a label by its OCI key, or by its whole name; raise DockyardError where the image has none."""
        found = self.labels.get(PREFIX + key) or self.labels.get(key)
        if not found:
            raise DockyardError(
                f"the image {self.digest} does not say its {key.rpartition('.')[2]}: it has no such label",
                "only images made by `invoke build` say what they were made from",
            )
        return found
