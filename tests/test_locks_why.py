"""Why a package is locked."""

from dockyard.locks.pins import Pin, find_chains


def test_every_shortest_way_from_an_input_is_found() -> None:
    """A package that two inputs need, one through two others, has two chains; circles end."""
    pins = {
        "flask": Pin("flask", "3", (), ("-r requirements/base.in", "plugin")),
        "jinja2": Pin("jinja2", "3", (), ("flask",)),
        "markupsafe": Pin("markupsafe", "3", (), ("jinja2", "werkzeug")),
        "werkzeug": Pin("werkzeug", "3", (), ("flask",)),
        "plugin": Pin("plugin", "1", (), ("-r requirements/test.in", "flask")),
    }
    assert find_chains("MarkupSafe", pins) == (
        ("requirements/base.in", "flask", "jinja2", "markupsafe"),
        ("requirements/test.in", "plugin", "flask", "jinja2", "markupsafe"),
    )
    assert find_chains("flask", pins)[0] == ("requirements/base.in", "flask")
    assert find_chains("unknown", pins) == ()
