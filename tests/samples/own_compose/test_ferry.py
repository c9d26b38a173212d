from ferry.site import app


def test_there_is_one_page():
    assert {str(rule) for rule in app.url_map.iter_rules()} >= {"/"}
