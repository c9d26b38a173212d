from shop import create_app


def test_the_currency():
    assert create_app("testing").test_client().get("/").text == "XTS"
