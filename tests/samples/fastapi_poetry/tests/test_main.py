from fastapi.testclient import TestClient
from thermo.main import app


def test_the_temperature_has_a_unit():
    assert TestClient(app).get("/").json() == {"temperature": 21.5, "unit": "C"}
