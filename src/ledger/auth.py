"""Let only the holder of the token write."""

import hmac
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from flask import current_app, request

from ledger.errors import APIError

P = ParamSpec("P")
R = TypeVar("R")

CHALLENGE = 'Bearer realm="ledger"'


def token_required(view: Callable[P, R]) -> Callable[P, R]:
    """Refuse a request without the bearer token, and every request while no token is configured."""

    @wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        expected = current_app.config["LEDGER_TOKEN"]
        if not expected:
            raise APIError(503, "writing_is_off", "nothing can be recorded: set LEDGER_TOKEN or LEDGER_TOKEN_FILE")
        _check(expected)
        return view(*args, **kwargs)

    return guarded


def _check(expected: str) -> None:
    given = request.authorization
    if given is None or given.type != "bearer" or not given.token:
        headers = {"WWW-Authenticate": CHALLENGE}
        raise APIError(401, "unauthorized", "send the token as: Authorization: Bearer TOKEN", headers)
    if not hmac.compare_digest(given.token.encode(), expected.encode()):
        headers = {"WWW-Authenticate": f'{CHALLENGE}, error="invalid_token"'}
        raise APIError(401, "unauthorized", "the token is not the right one", headers)
