"""What `invoke deploy` says before anything is changed."""

from unittest.mock import Mock

import pytest
from invoke.context import Context
from invoke.exceptions import Exit

from dockyard.deploy import steps
from dockyard.deploy.destination import Destination
from dockyard.deploy.plan import Change
from dockyard.settings import Settings
from dockyard.tasks import deploy
from tests.conftest import replace_everywhere


def test_a_dry_run_ends_with_pending_changes(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are shown, nothing is applied, and the exit code is that of a check."""
    cluster = Mock()
    change = Change("service web", "image", "a", "b")
    planned = Mock(destination=Destination("far", "swarm"), image="shop@sha256:1", changes=(change,), cluster=cluster)
    replace_everywhere(monkeypatch, "settings", lambda: settings)
    monkeypatch.setattr(steps, "plan_deploy", lambda *_: planned)
    with pytest.raises(Exit) as ended:
        deploy.deploy(Context(), dry_run=True)
    assert ended.value.code == 1
    assert "service web" in capsys.readouterr().out
    cluster.apply.assert_not_called()
