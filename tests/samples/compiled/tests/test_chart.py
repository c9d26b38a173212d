from chart.app import create_app


def test_a_bar_is_a_picture():
    assert create_app().test_client().get("/").data.startswith(b"\x89PNG")
