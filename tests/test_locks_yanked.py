"""What compilers say of yanked versions, and what is made of it."""

from dockyard.locks.failures import describe_yanked

BY_PIP = """\
  WARNING: The candidate selected for download or install is a yanked version: 'Web_App' candidate (version 2.0 at \
http://127.0.0.1:1/files/web_app-2.0-py3-none-any.whl#sha256=7eba (from http://127.0.0.1:1/simple/web-app/))
  Reason for being yanked: broken,  sometimes
WARNING: The candidate selected for download or install is a yanked version: 'router' candidate (version 1.0 at \
http://127.0.0.1:1/files/router-1.0.tar.gz (from http://127.0.0.1:1/simple/router/) (requires-python:>=3.9))
Reason for being yanked: <none given>
"""
BY_UV = """\
Resolved 3 packages in 5ms
warning: `web-app==2.0` is yanked (reason: "broken, "sometimes"")
warning: `router==1.0` is yanked
"""


KEPT = "the lock keeps it until `invoke lock --upgrade-package {0}`, or while an input asks for this very version"


def test_both_compilers_are_understood() -> None:
    """Name, version and reason, where there is one, and what to do."""
    router = f"router==1.0 was yanked from its index, for no reason given; {KEPT.format('router')}"
    start, end = "web-app==2.0 was yanked from its index, because: ", KEPT.format("web-app")
    assert describe_yanked(BY_PIP) == [f"{start}broken, sometimes; {end}", router]
    assert describe_yanked(BY_UV) == [f'{start}broken, "sometimes"; {end}', router]
    assert describe_yanked("Resolved 3 packages in 5ms\n") == []
