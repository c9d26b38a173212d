from guestbook.web import app


def test_there_is_a_page_to_sign():
    assert {rule.rule for rule in app.url_map.iter_rules()} >= {"/"}
