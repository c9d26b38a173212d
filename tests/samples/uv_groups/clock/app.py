from datetime import UTC, datetime

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route


async def now(request):
    return PlainTextResponse(datetime.now(UTC).isoformat())


def create_app():
    return Starlette(routes=[Route("/", now)])
