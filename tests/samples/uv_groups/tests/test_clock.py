from clock.app import create_app
from starlette.testclient import TestClient


def test_the_time_is_in_utc():
    assert TestClient(create_app()).get("/").text.endswith("+00:00")
