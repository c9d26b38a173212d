from server import application


def test_pong():
    assert application.test_client().get("/ping").text == "pong"
