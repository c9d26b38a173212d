"""Find a Docker Engine and talk to it: the only module that imports the Docker SDK."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dockyard.execute import Command

if TYPE_CHECKING:
    import docker

    from dockyard.settings import Settings


@dataclass(frozen=True)
class Engine:
    """A Docker Engine that answers, with the CLI, buildx and Compose that drive it.

    `environment` is what every command for it needs (DOCKER_HOST, DOCKER_CONFIG, PATH …); `snapshotter`
    says whether it keeps images in containerd's store, which attestations and `rewrite-timestamp` need.
    """

    kind: str
    version: str
    snapshotter: bool
    cpus: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)

    def command(self, *argv: str, **options: Any) -> Command:
        """Return the `docker …` command that talks to this engine; options are those of Command."""
        env = {**self.environment, **options.pop("env", {})}
        return Command(("docker", *argv), env=env, **options)

    def client(self) -> "docker.DockerClient":
        """Return an SDK client for this engine."""
        raise NotImplementedError


def find(settings: "Settings", *, say: Callable[[str], None]) -> Engine:
    """Return the engine the settings ask for, starting the embedded one where none is reachable."""
    raise NotImplementedError
