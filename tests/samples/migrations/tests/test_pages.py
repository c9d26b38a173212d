import os

os.environ.setdefault("SECRET_KEY", "for tests only")


def test_it_is_well():
    from app import create_app

    assert create_app().test_client().get("/healthz").text == "well"
