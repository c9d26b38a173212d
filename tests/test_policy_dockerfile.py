"""Which line of a Dockerfile made a layer, by what the image's history says."""

from pathlib import Path

import pytest

from dockyard.image import dockerfile

TEXT = """\
# comment
ARG PYTHON_VERSION=3.13

FROM python:${PYTHON_VERSION}-slim AS base
RUN python -m venv \\
    # a comment in between
    --without-pip /opt/venv

FROM base AS packages
RUN --mount=type=cache,target=/root/.cache \\
    pip install \\
      -r lock.txt
COPY src/shop /app/shop
RUN <<EOF
echo COPY src/shop /app/shop
EOF
COPY --chown=1:1 data /data

FROM scratch AS production
COPY --link --from=packages /opt /
COPY --from=packages --chown=65532:65532 /writable/ /
WORKDIR /app
CMD ["python"]
"""


def test_lines_of_a_history() -> None:
    """Stages that a target stands on come first; flags, continuations and the builder's marks are no matter."""
    history = (
        "RUN |1 PYTHON_VERSION=3.13 /bin/sh -c python -m venv     --without-pip /opt/venv # buildkit",
        "RUN /bin/sh -c pip install       -r lock.txt # buildkit",
        "COPY src/shop /app/shop # buildkit",
        "COPY --chown=1:1 data /data # buildkit",
    )
    assert dockerfile.lines(TEXT, "packages", history) == (5, 10, 13, 17)


def test_lines_of_a_stage_from_scratch() -> None:
    """What the stages before it did is not in the image."""
    history = ("COPY /opt / # buildkit", "COPY --chown=65532:65532 /writable/ / # buildkit", "WORKDIR /app")
    assert dockerfile.lines(TEXT, "production", history) == (20, 21, 22)


def test_the_base_has_instructions_that_are_in_no_dockerfile_here() -> None:
    """They are passed over, and what follows is found all the same."""
    history = (
        "/bin/sh -c #(nop) ADD file:abc in / ",
        "RUN /bin/sh -c apt-get update",
        "COPY src/shop /app/shop # buildkit",
    )
    assert dockerfile.lines(TEXT, "packages", history) == (None, None, 13)


def test_a_target_that_is_not_there_stands_for_the_last_stage() -> None:
    """As `docker build` without one does; without any stage there is no line."""
    assert dockerfile.lines(TEXT, "nowhere", ("WORKDIR /app",)) == (22,)
    assert dockerfile.lines("", "production", ("WORKDIR /app",)) == (None,)


def test_instructions_with_variables_are_found_by_likeness() -> None:
    """The history has what they stood for."""
    text = "FROM scratch AS x\nARG V=1\nCOPY build/release-${V}.tar.gz /srv/application/archive/ \n"
    assert dockerfile.lines(text, "x", ("COPY build/release-1.tar.gz /srv/application/archive/ # buildkit",)) == (3,)
    assert dockerfile.lines(text, "x", ("COPY /a /b # buildkit",)) == (None,)


def test_the_same_instruction_twice_has_two_lines() -> None:
    """In the order of the build."""
    text = "FROM scratch\nCOPY a /\nCOPY a /\n"
    assert dockerfile.lines(text, "", ("COPY a / # buildkit",) * 3) == (2, 3, None)


def test_stages_that_stand_on_each_other_end() -> None:
    """A circle is BuildKit's to complain of."""
    text = "FROM b AS a\nWORKDIR /a\nFROM a AS b\nWORKDIR /b\n"
    assert [one.rest for one in dockerfile.chain(text, "a")] == ["/b", "/a"]


@pytest.mark.parametrize("text", ["RUN x \\", "FROM", "COPY a b", "RUN <<EOF\nno end", "\n\n# only words\n"])
def test_texts_that_are_no_whole_dockerfile(text: str) -> None:
    """No error of its own: the build has said what is wrong."""
    assert dockerfile.lines(text, "x", ("COPY a b",)) == (None,)


@pytest.mark.host
def test_the_dockerfile_of_this_repository() -> None:
    """Every layer of the production image is found in it."""
    text = (Path(__file__).parents[1] / "Dockerfile").read_text()
    packages = [f"/layers/{number}/" for number in range(1, 5)]
    history = [
        "COPY /layers/runtime/ / # buildkit",
        "WORKDIR /app",
        *(f"COPY {folder} / # buildkit" for folder in packages),
        "COPY --chown=65532:65532 /layers/writable/ / # buildkit",
        "COPY /layers/application/ / # buildkit",
    ]
    found = dockerfile.lines(text, "production", history)
    lines = text.splitlines()
    signs = ("/layers/runtime/", "WORKDIR", *packages, "/layers/writable/", "/layers/application/")
    for line, words in zip(found, signs, strict=True):
        assert line is not None
        assert words in lines[line - 1]
