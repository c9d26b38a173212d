from prices import make_app


def test_the_currency_can_be_chosen():
    assert make_app("DKK").test_client().get("/").json["currency"] == "DKK"
