"""Locks with the hashes of certain platforms only: the same from both compilers and from any index."""

import pytest

from dockyard.errors import DockyardError
from dockyard.locks.check import check_project, lock_path
from dockyard.locks.plan import Wish
from dockyard.tasks.lock import describe_outcome, make_and_print
from tests.conftest import replace_everywhere

from .package_index import Index, serving
from .test_locks import RESOLVERS, Yard, stocked, tools, yard

__all__ = ["tools", "yard"]

AMD, ARM = "linux/amd64", "linux/arm64"
EVERYWHERE = ("win_amd64", "macosx_11_0_arm64", "musllinux_1_2_x86_64", "manylinux_2_99_x86_64", "manylinux_2_17_s390x")
PYPROJECT = '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'


def many(python: str) -> Index:
    """Return an index with a package for every platform, one for few, and one from source only."""
    index, tag = stocked(), f"cp{python.replace('.', '')}"
    here = [f"{tag}-{tag}-manylinux_2_17_{machine}.manylinux2014_{machine}" for machine in ("x86_64", "aarch64")]
    index.add_wheels("hull", "2.0", *here, f"{tag}-abi3-manylinux2014_x86_64")
    index.add_wheels("hull", "2.0", *(f"{tag}-{tag}-{name}" for name in EVERYWHERE), "cp36-cp36m-manylinux2014_x86_64")
    index.add_source("hull", "2.0", {"setup.py": ""})
    index.add_wheels("mast", "1.0", f"{tag}-{tag}-manylinux2014_x86_64")
    index.add_source("mast", "1.0", {"setup.py": ""})
    return index


def write(yard: Yard, index: Index, production: str = "-r base.in\nserver\nhull\n", **inputs: str) -> None:
    """Write the inputs, with what builds packages from source."""
    yard.write(index, production=production, build="router\n", **inputs)


def names(yard: Yard, index: Index, purpose: str, package: str) -> set[str]:
    """Return the names of the files that a lock of a package has the hashes of."""
    known = {f"sha256:{file.digest}": file.name for file in index.files}
    return {known[digest].partition(f"{package}-")[2] for digest in yard.pins(purpose)[package].hashes}


@pytest.mark.parametrize("form", ["html", "json"])
@pytest.mark.parametrize("resolver", RESOLVERS)
def test_only_what_the_platforms_install_is_locked(yard: Yard, resolver: str, form: str) -> None:
    """By either compiler, from either kind of index page; other purposes keep every hash; the check agrees."""
    python = yard.settings.python
    tag = f"cp{python.replace('.', '')}"
    with serving(many(python)) as index:
        index.json = form == "json"
        yard.settings = yard.with_settings(resolver=resolver, hashes="platform", platforms=(AMD,))
        write(yard, index, test="-r base.in\nhull\n")
        yard.lock()
        amd = {
            f"2.0-{tag}-{tag}-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
            f"2.0-{tag}-abi3-manylinux2014_x86_64.whl",
        }
        assert names(yard, index, "production", "hull") == amd
        assert names(yard, index, "production", "webapp") == {"1.1-py3-none-any.whl"}
        assert names(yard, index, "base", "webapp") == {"1.1-py3-none-any.whl"}
        assert names(yard, index, "production", "server") == {"3.0-py3-none-any.whl"}
        assert len(names(yard, index, "test", "hull")) == 10
        assert check_project(yard.settings) == ()
        before = yard.tree()
        assert not yard.lock(Wish(everything=True)).files
        assert yard.tree() == before
        yard.settings = yard.with_settings(platforms=(AMD, ARM))
        assert {each.mend for each in check_project(yard.settings)} == {"invoke lock"}
        yard.lock()
        assert names(yard, index, "production", "hull") - amd == {
            f"2.0-{tag}-{tag}-manylinux_2_17_aarch64.manylinux2014_aarch64.whl"
        }


def test_both_compilers_keep_the_same(yard: Yard) -> None:
    """Hashes and what is built from source, whatever made the lock."""
    with serving(many(yard.settings.python)) as index:
        yard.settings = yard.with_settings(hashes="platform", platforms=(AMD, ARM))
        files = index.address.replace("/simple", "/files")
        write(yard, index, f"-r base.in\nserver\nhull\nmast\nspeed @ {files}/speed-1.2.3-py3-none-any.whl\n")
        yard.lock(resolver="pip-tools")
        assert names(yard, index, "production", "speed") == {"1.2.3-py3-none-any.whl"}
        by_pip_tools = yard.tree()
        yard.lock(Wish(everything=True), resolver="uv")
        by_uv = {path: text.replace(b"# by: uv 0.13.8", b"# by: pip-tools 7.6.2") for path, text in yard.tree().items()}
    assert by_uv == by_pip_tools


@pytest.mark.parametrize("resolver", RESOLVERS)
def test_what_is_built_from_source_is_listed(
    yard: Yard, resolver: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the lock, in the table and as JSON; the check says that there is no lock of what builds it."""
    with serving(many(yard.settings.python)) as index:
        yard.settings = yard.with_settings(resolver=resolver, hashes="platform", platforms=(AMD, ARM))
        yard.write(index, production="-r base.in\nserver\nmast\n")
        outcome = yard.lock()
        lock = yard.settings.root / lock_path(yard.settings.python, "production")
        assert "# built from source: mast on linux/arm64\n" in lock.read_text()
        assert "1.0.tar.gz" in names(yard, index, "production", "mast")
        assert [(each.package, each.platforms) for each in outcome.built] == [("mast", (ARM,))]
        assert describe_outcome(outcome)["built"][0]["locks"] == (str(lock.relative_to(yard.settings.root)),)
        assert [each.message for each in check_project(yard.settings)] == [
            "mast is built from source, and nothing says what builds it"
        ]
        replace_everywhere(monkeypatch, "find_engine", lambda _settings: yard.engine)
        make_and_print(yard.settings, Wish(), dry_run=False, as_json=False)
        assert "mast" in capsys.readouterr().out
        write(yard, index, "-r base.in\nserver\nmast\n")
        yard.lock()
    assert check_project(yard.settings) == ()


@pytest.mark.parametrize("resolver", RESOLVERS)
def test_what_cannot_be_installed_or_built_is_an_error(yard: Yard, resolver: str) -> None:
    """It names package, platform and remedy, and no lock is written."""
    with serving(many(yard.settings.python)) as index:
        index.files = [file for file in index.files if file.name != "mast-1.0.tar.gz"]
        yard.settings = yard.with_settings(resolver=resolver, hashes="platform", platforms=(AMD, ARM))
        write(yard, index, "-r base.in\nserver\nmast\n")
        with pytest.raises(DockyardError, match=r"production\.txt cannot be made for linux/arm64: .*mast") as caught:
            yard.lock()
    assert "take linux/arm64 out of platforms" in caught.value.hint
    assert not list(yard.settings.root.rglob("*.txt"))
