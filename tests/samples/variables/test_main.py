import os

os.environ.update(SESSION_KEY="for tests only", SUPPORT_ADDRESS="nobody@example.com")

from main import app


def test_the_page_size_has_a_default():
    assert app.test_client().get("/").json["page"] == 20
