from app import app


def test_greeting():
    assert "Good morning" in app.test_client().get("/").text
