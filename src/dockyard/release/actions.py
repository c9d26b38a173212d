"""What a release has the rest of the pipeline do, as values: a test hands in its own and patches nothing."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

from dockyard.bases.resolve import Missing
from dockyard.engine.client import Engine
from dockyard.image import build, records
from dockyard.image.build import Built
from dockyard.process import Completed, capture
from dockyard.registry import access, attest, push, sign
from dockyard.registry.attest import Attached
from dockyard.registry.content import Repository
from dockyard.registry.push import Pushed
from dockyard.registry.sign import Signer
from dockyard.release import preconditions
from dockyard.release.preconditions import Local
from dockyard.release.push import push_variants
from dockyard.settings import Settings
from dockyard.verify import contents, matrix, reproduce, verify
from dockyard.verify.model import Facts
from dockyard.verify.output import Report


@dataclass(frozen=True)
class Signing:
    """How an image is signed."""

    explain_hindrance: Callable[[str], str] = sign.explain_hindrance
    unlock_key: Callable[[str, Mapping[str, str]], Signer] = sign.unlock_key
    has_signature: Callable[[Signer, str], bool] = sign.has_signature
    sign_digest: Callable[[Signer, str], None] = sign.sign_digest


@dataclass(frozen=True)
class Actions:
    """What looks, what builds and checks, and what speaks with the registry."""

    read_project: Callable[[Settings], Local] = preconditions.read_project
    require_ready: Callable[[Settings, Engine], None] = preconditions.require_ready
    capture: Callable[..., Completed] = capture
    build_images: Callable[..., tuple[tuple[Built, ...], tuple[Missing, ...]]] = build.build_images
    verify_image: Callable[..., Report] = verify.verify_image
    read_image: Callable[[Engine, str], Facts] = contents.read_image
    reproduce_image: Callable[..., reproduce.Outcome] = reproduce.reproduce_image
    run_matrix: Callable[..., tuple[tuple[matrix.Outcome, ...], tuple[Missing, ...]]] = matrix.run_matrix
    preflight: Callable[[Engine, list[str]], None] = push.preflight
    open_repository: Callable[[Engine, str], AbstractContextManager[Repository]] = access.open_repository
    push_variants: Callable[..., tuple[Pushed, ...]] = push_variants
    verify_pushed: Callable[[Engine, str, str], int] = push.verify_pushed
    attest_image: Callable[..., tuple[Attached, ...]] = attest.attest_image
    record_run: Callable[[Settings, records.Kind], AbstractContextManager[records.Recording]] = records.record_run
    signing: Signing = Signing()


PIPELINE = Actions()
