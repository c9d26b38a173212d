"""The ledger on every supported Python, in its test image, against real PostgreSQL and MariaDB."""

import secrets
from dataclasses import replace

from dockyard.engine.client import Engine
from dockyard.image import build
from dockyard.image.names import Variant, local_name
from dockyard.process import capture
from dockyard.settings import Settings

from .test_ledger_databases import KINDS, PASSWORD, run_database

PASSED = 15
"""So many tests, at the least, each store has."""


def test_every_python_keeps_runs_in_every_database(project: Settings, engine: Engine) -> None:
    """The tests of stores pass inside each test image, against servers that only this test's containers reach."""
    pythons = tuple(one for one in project.pythons if one not in project.untested_pythons)
    own = project._replace(image=f"dockyard-stores-{secrets.token_hex(4)}", pythons=pythons)
    try:
        build.build_images(own, build.Request(targets=("test",), pythons=pythons), engine=engine)
        for kind in KINDS:
            with run_database(engine, kind) as database:
                address = database.docker(
                    "inspect", "--format={{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
                )
                url = f"{kind}://ledger:{PASSWORD}@{address}/ledger"
                variables = (f"--env=LEDGER_TEST_{kind.upper()}={url}", "--tmpfs=/tmp", "--read-only", "--cap-drop=ALL")
                for python in pythons:
                    image = local_name(own, Variant("test", python))
                    words = ("-q", "-k", kind, "tests/ledger/test_stores.py")
                    command = engine.command("run", "--rm", *variables, "--tmpfs=/results:mode=1777", image, *words)
                    done = capture(replace(command, timeout=300), check=False)
                    assert done.ok, f"Python {python} on {kind}:\n{done.stdout[-4000:]}{done.stderr[-1000:]}"
                    passed = int(done.stdout.rpartition(" passed")[0].split()[-1])
                    assert passed >= PASSED, done.stdout
    finally:
        named = engine.command("images", "--filter", f"reference={own.image}", "--format={{.Repository}}:{{.Tag}}")
        capture(engine.command("rmi", "--force", *capture(named).stdout.split()), check=False)
