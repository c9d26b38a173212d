"""A name for the user that tests run as: when it is given, with which lines, and when an image is left alone."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from dockyard.verify.matrix import Accounts, add_user, name_user, parse_accounts

BASE = Accounts("root:x:0:0:root:/root:/bin/bash\n", "root:x:0:\nstaff:x:50:\n")
LINE = "nonroot:x:65532:65532:nonroot:/tmp:/sbin/nologin\n"
NAMED = Accounts(f"{BASE.passwd}{LINE}", f"{BASE.group}nonroot:x:65532:\n")


@dataclass
class Containers:
    """An image's containers: those with more options see the files that these mount, if the engine sees them."""

    image: Accounts | None
    local: bool = True
    asked: list[tuple[str, ...]] = field(default_factory=list)

    def look(self, options: tuple[str, ...]) -> Accounts | None:
        """Start one and return its accounts."""
        self.asked.append(options)
        if not options:
            return self.image
        if not self.local:
            return None
        texts = [Path(option.split("source=")[1].partition(",")[0]).read_text("utf-8") for option in options]
        return Accounts(*texts)


@pytest.mark.parametrize(
    ("held", "wanted"),
    [
        pytest.param(BASE, NAMED, id="a base image"),
        pytest.param(Accounts(BASE.passwd.strip(), BASE.group.strip()), NAMED, id="no end of the last line"),
        pytest.param(Accounts("", ""), Accounts(LINE, "nonroot:x:65532:\n"), id="no accounts at all"),
        pytest.param(NAMED, None, id="a minimal image"),
        pytest.param(replace(BASE, passwd="shop:x:65532:1000::/:/bin/sh\n"), None, id="by another name"),
        pytest.param(replace(BASE, group="web:x:65532:\n"), Accounts(NAMED.passwd, "web:x:65532:\n"), id="a group"),
        pytest.param(replace(BASE, passwd="a:x:1:65532::/:\n"), Accounts(f"a:x:1:65532::/:\n{LINE}", NAMED.group),
                     id="the number of another user's group"),
        pytest.param(replace(BASE, passwd="65532\n+::::::\n"), Accounts(f"65532\n+::::::\n{LINE}", NAMED.group),
                     id="odd lines"),
    ],
)  # fmt: skip
def test_lines_are_added_where_the_number_has_none(held: Accounts, wanted: Accounts | None) -> None:
    """What an image says itself stays, word for word."""
    assert add_user(held) == wanted


def test_files_are_mounted_that_anybody_reads_and_nobody_writes(tmp_path: Path) -> None:
    """Only once a container has shown that they are there."""
    containers = Containers(BASE)
    options = name_user(containers.look, tmp_path / "accounts")
    assert options == tuple(
        f"--mount=type=bind,source={tmp_path}/accounts/{name},target=/etc/{name},readonly"
        for name in ("passwd", "group")
    )
    assert containers.asked == [(), options]
    assert {file.stat().st_mode & 0o777 for file in (tmp_path / "accounts").iterdir()} == {0o644}


@pytest.mark.parametrize(
    ("containers", "times"),
    [
        pytest.param(Containers(NAMED), 1, id="the image has the line"),
        pytest.param(Containers(None), 1, id="an image without Python"),
        pytest.param(Containers(BASE, local=False), 2, id="an engine elsewhere"),
    ],
)
def test_nothing_is_mounted(tmp_path: Path, containers: Containers, times: int) -> None:
    """Tests run all the same: USER and LOGNAME have to do."""
    assert name_user(containers.look, tmp_path) == ()
    assert len(containers.asked) == times


@pytest.mark.parametrize("answer", ["", "null", "[]", "{}", '{"passwd": ""}', '{"passwd": 1, "group": ""}'])
def test_no_answer(answer: str) -> None:
    """Nothing is made up."""
    assert parse_accounts(answer) is None
    assert parse_accounts('{"passwd": "a", "group": "b"}') == Accounts("a", "b")
