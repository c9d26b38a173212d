"""What is started beside a service for its trial, and its release step."""

from dataclasses import replace

import pytest

from dockyard.errors import DockyardError, SettingsError
from dockyard.process import Completed
from dockyard.settings import Settings
from dockyard.stack.compose import Model, Port, Service
from dockyard.verify import trial
from dockyard.verify.trial import Setup
from tests.scripted_docker import Docker

MODEL = Model((Service("web", "shop"), Service("database", "postgres:17", ports=(Port("", 5432),))))


def test_services_are_selected_by_name() -> None:
    """They publish nothing; one that is not there is told beside those that are."""
    assert trial.select_services(MODEL, ("database",)).services == (replace(MODEL.services[1], ports=()),)
    with pytest.raises(SettingsError, match="trial-services names cache") as caught:
        trial.select_services(MODEL, ("cache",))
    assert caught.value.hint == "they have: web, database"


def test_services_are_hardened() -> None:
    """Each of them, and none is reached from this machine."""
    text = trial.format_override(("database", "cache"))
    assert text.startswith("services:\n  database:\n    ports: !reset []\n")
    assert text.count("cap_drop: [ALL]") == text.count("no-new-privileges:true") == 2


def test_production_is_laid_on_top_where_there_is_such_a_file(settings: Settings) -> None:
    """The services are those that ship."""
    (settings.root / "compose.yaml").touch()
    assert trial.find_trial_files(settings.root) == ("compose.yaml",)
    (settings.root / "compose.production.yaml").touch()
    assert trial.find_trial_files(settings.root) == ("compose.yaml", "compose.production.yaml")


def test_no_services_no_network(settings: Settings) -> None:
    """Nothing is asked of Compose, and no file is needed."""
    with trial.start_attendants(settings, Docker().engine) as network:
        assert network == ""


@pytest.mark.parametrize("network", ["x_default", ""])
def test_a_trial_joins_the_network(network: str) -> None:
    """Its services are reached by their names; without any it has the engine's usual one."""
    docker = Docker()
    docker.says = {"run": Completed(1, "", "refused", 0.1)}
    trial.try_once(docker.engine, "x", Setup(8000, network=network))
    found = [word for word in docker.asked[0].argv if "network" in word]
    assert found == [f"--network={network}"] * bool(network)


@pytest.mark.parametrize("code", [0, 3])
def test_the_release_step(code: int) -> None:
    """It runs as the service would, and its last words are told when it fails."""
    docker = Docker()
    docker.says["run"] = Completed(code, "migrating\n", "no such database\n", 0.1)
    setup = Setup(8000, {"DATABASE": "postgres://s3cret@database/shop"}, network="x_default")
    words = ("flask", "db", "upgrade")
    if code:
        with pytest.raises(
            DockyardError, match=r"`flask db upgrade` ended with status 3\n  \| migrating\n  \| no such"
        ):
            trial.run_release_step(docker.engine, "shop", setup, words)
    else:
        trial.run_release_step(docker.engine, "shop", setup, words)
    command, removed = docker.asked
    assert command.argv[-4:] == ("--entrypoint=flask", "shop", "db", "upgrade")
    assert {"--read-only", "--cap-drop=ALL", "--network=x_default"} <= set(command.argv)
    assert (removed.argv[1], f"--name={removed.argv[-1]}" in command.argv) == ("rm", True)
    assert "--detach" not in command.argv
    assert "s3cret" not in command.display()
