"""The settings of the policy: budgets, what is declared, what is accepted, what the trial is given."""

from pathlib import Path

import pytest

from dockyard.errors import SettingsError
from dockyard.settings import Settings, load
from dockyard.verify.rules.judge import refuse_unknown_rules


def read(folder: Path, more: str = "", **environment: str) -> Settings:
    """Return the settings of a project with these lines in its table."""
    text = f'[tool.dockyard]\napp = "shop:app"\nimage = "shop"\n{more}\n'
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")
    return load(folder, environment)


def test_nothing_has_to_be_set(tmp_path: Path) -> None:
    """Without budgets there is no limit; only /tmp may be written by everybody; nothing is accepted."""
    found = read(tmp_path)
    assert (found.size_budget, found.start_budget, found.memory_budget) == (None, None, None)
    assert (found.writable, found.allow, found.trial_environment, found.trial_tmpfs) == (("/tmp",), {}, {}, ())


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("size-budget = 1000", 1000),
        ('size-budget = "35 MB"', 35_000_000),
        ('size-budget = "35mb"', 35_000_000),
        ('size-budget = "1.5 GiB"', 1_610_612_736),
        ('memory-budget = "64 kB"', 64_000),
        ("start-budget = 2", 2.0),
        ("start-budget = 0.5", 0.5),
        ('start-budget = "800 ms"', 0.8),
        ('start-budget = "1 min"', 60.0),
    ],
)
def test_budgets(tmp_path: Path, line: str, value: float) -> None:
    """As numbers or with a unit."""
    assert getattr(read(tmp_path, line), line.split(" ", 1)[0].replace("-", "_")) == value


@pytest.mark.parametrize("key", ["size-budget", "memory-budget", "start-budget"])
@pytest.mark.parametrize(
    "value", ['"much"', '"35 parsecs"', "-1", "0", "true", '"0 MB"', '""', "[1]", "nan", "inf", '"1e9"', '"1 MB 2"']
)
def test_budgets_of_nonsense(tmp_path: Path, key: str, value: str) -> None:
    """Each is told with its key and value, and what would be right."""
    with pytest.raises(SettingsError, match=rf"\[tool\.dockyard\] {key} = .*must be") as caught:
        read(tmp_path, f"{key} = {value}")
    assert "such as" in caught.value.message


def test_a_size_is_no_time_and_a_time_no_size(tmp_path: Path) -> None:
    """Units belong to their kind, and half a byte is none."""
    for line in ('start-budget = "35 MB"', 'size-budget = "2 s"', "size-budget = 0.4"):
        with pytest.raises(SettingsError):
            read(tmp_path, line)


def test_tables_are_read_from_the_file(tmp_path: Path) -> None:
    """As tables of their own, or in one line."""
    table = (
        '[tool.dockyard.allow]\nno-shell = "it is started by a script"\n"no-set-uid:/usr/bin/*" = "the base has them"'
    )
    found = read(tmp_path, table)
    assert found.allow == {"no-shell": "it is started by a script", "no-set-uid:/usr/bin/*": "the base has them"}
    assert read(tmp_path, 'trial-environment = { KEY = "" }').trial_environment == {"KEY": ""}


def test_tables_are_read_from_the_environment(tmp_path: Path) -> None:
    """Pairs, separated by commas; they stand in for the whole table of the file."""
    found = read(tmp_path, 'allow = { no-shell = "x" }', DOCKYARD_ALLOW="stops=it is a batch, labels=later")
    assert found.allow == {"stops": "it is a batch", "labels": "later"}
    assert read(tmp_path, DOCKYARD_TRIAL_ENVIRONMENT="A=1=2,B=").trial_environment == {"A": "1=2", "B": ""}
    assert read(tmp_path, DOCKYARD_SIZE_BUDGET="35 MB").size_budget == 35_000_000
    assert read(tmp_path, DOCKYARD_WRITABLE="").writable == ()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('allow = { "No Shell" = "x" }', "No Shell: is no name of a rule"),
        ('allow = { no-shell = "" }', "no-shell: needs a reason"),
        ('allow = { no-shell = " " }', "no-shell: needs a reason"),
        ("allow = { no-shell = true }", "no-shell: must be a string"),
        ('allow = ["no-shell"]', "must be a table"),
        ('allow = "no-shell"', "must be a table"),
        ('trial-environment = { "A B" = "x" }', "A B: is no name"),
        ('writable = ["tmp"]', "must be an absolute path"),
        ('trial-tmpfs = ["data"]', "must be an absolute path"),
        ('trial-tmpfs = ["/data:uid=0"]', "must be an absolute path"),
    ],
)
def test_what_is_refused(tmp_path: Path, line: str, words: str) -> None:
    """A rule is never switched off by a misspelt name, nor without a reason."""
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, line)
    assert words in caught.value.message


def test_a_misspelt_rule_is_refused_before_an_image_is_read() -> None:
    """The rule that was meant is named; a pattern behind a colon is no part of the name."""
    with pytest.raises(SettingsError, match="no-shel: there is no such rule") as caught:
        refuse_unknown_rules(["no-set-uid:/usr/bin/*", "no-shel"])
    assert caught.value.hint == "did you mean no-shell?"
    refuse_unknown_rules(["no-shell", "no-set-uid:/usr/bin/*"])


def test_an_acceptance_without_a_reason_in_the_environment(tmp_path: Path) -> None:
    """There it is as easily forgotten."""
    with pytest.raises(SettingsError, match="environment: DOCKYARD_ALLOW = 'no-shell': no-shell: needs a reason"):
        read(tmp_path, DOCKYARD_ALLOW="no-shell")
