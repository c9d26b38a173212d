from app import app


def test_robots_are_told():
    assert "User-agent" in app.test_client().get("/static/robots.txt").text
