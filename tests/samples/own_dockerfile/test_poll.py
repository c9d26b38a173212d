from poll import app


def test_the_question():
    assert app.test_client().get("/").text.endswith("?")
