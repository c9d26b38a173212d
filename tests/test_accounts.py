"""A name for the user that tests run as: when it is given, by which line, and when an image is left alone."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dockyard.verify.matrix import name_user

BASE = "root:x:0:0:root:/root:/bin/bash\n"
LINE = "nonroot:x:65532:65532:nonroot:/tmp:/sbin/nologin\n"


@dataclass
class Containers:
    """An image's containers: those with more options see the file that these mount, if the engine sees it."""

    image: str | None
    local: bool = True
    asked: list[tuple[str, ...]] = field(default_factory=list)

    def look(self, options: tuple[str, ...]) -> str | None:
        """Start one and return its accounts."""
        self.asked.append(options)
        if not options:
            return self.image
        (mount,) = options
        return Path(mount.split("source=")[1].partition(",")[0]).read_text("utf-8") if self.local else None


@pytest.mark.parametrize(
    ("held", "wanted"),
    [
        pytest.param(BASE, f"{BASE}{LINE}", id="a base image"),
        pytest.param(BASE.strip(), f"{BASE}{LINE}", id="no end of the last line"),
        pytest.param("", LINE, id="no accounts at all"),
        pytest.param("a:x:1:65532::/:\n", f"a:x:1:65532::/:\n{LINE}", id="the number of another user's group"),
        pytest.param("65532\n+::::::\n", f"65532\n+::::::\n{LINE}", id="odd lines"),
    ],
)
def test_a_line_is_added_where_the_number_has_none(tmp_path: Path, held: str, wanted: str) -> None:
    """What an image says itself stays, word for word; anybody reads the file, nobody writes it."""
    containers = Containers(held)
    options = name_user(containers.look, tmp_path / "accounts")
    file = tmp_path / "accounts" / "passwd"
    assert options == (f"--mount=type=bind,source={file},target=/etc/passwd,readonly",)
    assert containers.asked == [(), options]
    assert (file.read_text("utf-8"), file.stat().st_mode & 0o777) == (wanted, 0o644)


@pytest.mark.parametrize(
    ("containers", "times"),
    [
        pytest.param(Containers(f"{BASE}{LINE}"), 1, id="a minimal image"),
        pytest.param(Containers("shop:x:65532:1000::/:/bin/sh\n"), 1, id="by another name"),
        pytest.param(Containers(None), 1, id="an image without Python"),
        pytest.param(Containers(BASE, local=False), 2, id="an engine elsewhere"),
    ],
)
def test_nothing_is_mounted(tmp_path: Path, containers: Containers, times: int) -> None:
    """Tests run all the same: USER and LOGNAME have to do."""
    assert name_user(containers.look, tmp_path) == ()
    assert len(containers.asked) == times
