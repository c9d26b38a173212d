"""What an image is made of, attached in a real registry that has no referrers API, and read back by `inspect`."""

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from dockyard.engine.client import Engine
from dockyard.errors import DockyardError
from dockyard.image import build
from dockyard.process import Command, capture
from dockyard.registry import documents, inspection
from dockyard.registry.content import fallback_tag, open_repository
from dockyard.registry.errors import RegistryError
from dockyard.registry.push import push_images
from dockyard.settings import Settings, load

from .registry_process import Authority, Programs, RunningRegistry, Shape, login, running

TABLE = '[tool.dockyard]\napp = "shop:app"\nimage = "{image}"\npython = "3.13"\n'
DOCKERFILE = """\
FROM python:3.13-slim AS base
FROM scratch AS dockyard
FROM base AS runtime-layer
RUN --mount=type=bind,from=dockyard,target=/dockyard python /dockyard runtime /layers
FROM scratch AS production
COPY --link --from=runtime-layer /layers/runtime/ /
"""


@pytest.fixture
def registry(programs: Programs, tmp_path: Path) -> Iterator[RunningRegistry]:
    """Yield a registry with TLS and a password, trusted and logged in to."""
    with ExitStack() as stack:
        authority = Authority(programs.openssl, tmp_path / "authority").make()
        made = stack.enter_context(running(programs, tmp_path / "registry", Shape(authority.issue())))
        yield made


@pytest.fixture
def sailor(engine: Engine, registry: RunningRegistry, tmp_path: Path) -> Engine:
    """Return the engine as seen by a user who has logged in and trusts the registry."""
    config = login(tmp_path / "docker", registry.host)
    bundle = tmp_path / "authority" / "ca.crt"
    changes = {
        "DOCKER_HOST": engine.address()["DOCKER_HOST"],
        "DOCKER_CONFIG": str(config),
        "SSL_CERT_FILE": str(bundle),
    }
    return replace(engine, environment={**engine.environment, **changes})


@pytest.fixture
def shop(engine: Engine, unique: str, tmp_path: Path) -> Settings:
    """Return the settings of a small project whose image, a bare runtime, is built."""
    root = tmp_path / "shop"
    (root / "requirements" / "3.13").mkdir(parents=True)
    (root / "requirements" / "production.in").write_text("")
    (root / "requirements" / "3.13" / "production.txt").write_text("# nothing\n")
    (root / "pyproject.toml").write_text(TABLE.format(image=unique))
    (root / "Dockerfile").write_text(DOCKERFILE)
    (root / ".gitignore").write_text(".dockyard/\n")
    environment = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    named = ("-c", "user.name=t", "-c", "user.email=t@t")
    for words in (("init", "--quiet"), ("add", "--all"), (*named, "commit", "--quiet", "--message", "x")):
        capture(Command(("git", *words), cwd=root, env=environment))
    settings = load(root, {})
    build.build_images(settings, build.Request(), engine=engine)
    return settings


def test_documents_refer_to_the_image_and_leave_it_alone(
    shop: Settings, sailor: Engine, registry: RunningRegistry, tmp_path: Path
) -> None:
    """Attached, found by the fallback tag, read back whole; twice is once; the digest is what was pushed."""
    reference = f"{registry.host}/{shop.image}:1.0"
    capture(sailor.command("tag", f"{shop.image}:production", reference))
    try:
        (pushed,) = push_images(sailor, [reference])
        bill, origin = documents.attest_image(shop, reference, engine=sailor)
        assert {made.fields["subject"]["digest"] for made in (bill, origin)} == {pushed.digest}
        assert documents.attest_image(shop, reference, engine=sailor) == (bill, origin)
        with open_repository(sailor, reference) as repository:
            assert repository.read_document("1.0").digest == pushed.digest
            listed = repository.read_document(fallback_tag(pushed.digest)).fields["manifests"]
            assert [one["digest"] for one in listed] == [bill.digest, origin.digest]
        found = inspection.inspect_image(shop, reference, engine=sailor)
        (image,) = found.images
        assert (found.where, image.digest) == ("registry", pushed.digest)
        kinds = {one.kind: one for one in image.attachments}
        assert kinds.keys() == {"SBOM", "provenance"}
        packages = {one["name"] for one in json.loads(kinds["SBOM"].content)["components"]}
        assert packages >= {"libc6", "tzdata"}
        statement = json.loads(kinds["provenance"].content)
        assert statement["subject"][0]["digest"] == {"sha256": pushed.digest.partition(":")[2]}
        assert statement["predicateType"] == documents.PREDICATE
        assert kinds["SBOM"].media_type == documents.SBOM_TYPE
        assert image.size == sum(layer.size for layer in image.layers)
        assert image.size + 10_000 > pushed.size
    finally:
        capture(sailor.command("rmi", reference), check=False)


def test_two_attestations_are_the_same_bytes(shop: Settings, sailor: Engine, registry: RunningRegistry) -> None:
    """The same image under two names: the documents have the same digests in both places."""
    references = [f"{registry.host}/{shop.image}{end}" for end in (":1.0", "/copy:2.0")]
    for reference in references:
        capture(sailor.command("tag", f"{shop.image}:production", reference))
    try:
        push_images(sailor, references)
        first, second = (documents.attest_image(shop, one, engine=sailor) for one in references)
        assert [one.digest for one in first] == [one.digest for one in second]
    finally:
        capture(sailor.command("rmi", *references), check=False)


def test_nothing_to_attach_to(shop: Settings, sailor: Engine, registry: RunningRegistry) -> None:
    """An image that was never pushed, and one that is not there to be looked at."""
    with pytest.raises(RegistryError):
        documents.attest_image(shop, f"{registry.host}/{shop.image}:1.0", engine=sailor)
    with pytest.raises(DockyardError, match="there is no image"):
        inspection.inspect_image(shop, f"{registry.host}/{shop.image}:1.0", engine=sailor)
    assert not registry.blobs()


def test_an_image_of_the_engine(shop: Settings, engine: Engine) -> None:
    """Without a registry in its name it is looked at where it is, with the same facts."""
    found = inspection.inspect_image(shop, f"{shop.image}:production", engine=engine)
    (image,) = found.images
    assert (found.where, found.reference) == ("engine", f"{shop.image}:production")
    assert image.platform.startswith("linux/")
    (layer,) = image.layers
    assert layer.instruction == "COPY /layers/runtime/ /"
    assert layer.diff_id.startswith("sha256:")
    assert layer.size > 1_000_000
    assert image.attachments == ()
