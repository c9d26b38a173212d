"""What a base image is, and why one may be missing (pure)."""

from dataclasses import dataclass
from typing import Literal

from dockyard.errors import DockyardError

Source = Literal["registry", "debian"]
ANSWER_SECONDS = 24 * 3600
"""How long a registry's answer counts."""
SILENCE_SECONDS = 15 * 60
"""How long a registry that did not answer is left alone."""


class UnavailableError(DockyardError):
    """A Python has no base image here, while others may: callers name it in their summary and go on."""


@dataclass(frozen=True)
class Base:
    """The image that stands behind `reference`, which is what the Dockerfile's FROM says.

    `image` is its name for the engine (`docker run`, docker-image://). `digest` names its content: the
    registry's manifest, or for Debian packages the image configuration, which names the uncompressed layer.
    `layout` is FOLDER@DIGEST of an OCI layout on this host, empty where the engine must resolve `image`.
    """

    python: str
    reference: str
    source: Source
    image: str
    digest: str
    layout: str = ""

    @property
    def context(self) -> str:
        """The value of the named build context that replaces `reference`.

        BuildKit reads a layout through the client, so that it reaches for no registry at all and a remote
        builder can use it too. An image of the engine, in containerd's store, is looked up in a registry first.
        """
        return f"oci-layout://{self.layout}" if self.layout else f"docker-image://{self.image}"


@dataclass(frozen=True)
class Missing:
    """A Python without a base image here, and why."""

    python: str
    reason: str


@dataclass(frozen=True)
class Answer:
    """What a registry said about a reference: a digest, or why not; `at` is in seconds since the epoch."""

    digest: str = ""
    reason: str = ""
    at: float = 0.0
    absent: bool = False

    def fresh(self, now: float) -> bool:
        """Tell whether it still counts."""
        return 0 <= now - self.at < (ANSWER_SECONDS if self.digest else SILENCE_SECONDS)


def reference(python: str) -> str:
    """Return what the Dockerfile's FROM says for a Python."""
    return f"python:{python}-slim"


def local_name(python: str) -> str:
    """Return the name in the engine of a base made from Debian packages."""
    return f"dockyard-base/{reference(python)}"
