"""Web frameworks: how an application of each is known, and what to say where it is none that can be served (data)."""

CLASSES = {
    "flask.Flask": ("flask", "wsgi"),
    "apiflask.APIFlask": ("flask", "wsgi"),
    "flask_openapi3.OpenAPI": ("flask", "wsgi"),
    "connexion.App": ("connexion", "asgi"),
    "connexion.FlaskApp": ("connexion", "asgi"),
    "bottle.Bottle": ("bottle", "wsgi"),
    "bottle.default_app": ("bottle", "wsgi"),
    "bottle.app": ("bottle", "wsgi"),
    "cherrypy.Application": ("cherrypy", "wsgi"),
    "connexion.AsyncApp": ("connexion", "asgi"),
    "cherrypy.tree.mount": ("cherrypy", "wsgi"),
    "eve.Eve": ("flask", "wsgi"),
    "falcon.App": ("falcon", "wsgi"),
    "falcon.API": ("falcon", "wsgi"),
    "fastapi.FastAPI": ("fastapi", "asgi"),
    "starlette.applications.Starlette": ("starlette", "asgi"),
    "quart.Quart": ("quart", "asgi"),
    "litestar.Litestar": ("litestar", "asgi"),
    "falcon.asgi.App": ("falcon", "asgi"),
    "blacksheep.Application": ("blacksheep", "asgi"),
    "sanic.Sanic": ("sanic", "asgi"),
    "aiohttp.web.Application": ("aiohttp", "aiohttp"),
    "django.core.wsgi.get_wsgi_application": ("django", "wsgi"),
    "django.core.asgi.get_asgi_application": ("django", "asgi"),
}
SERVERS_OF = {"dash.Dash": ("dash", "wsgi")}
"""Classes whose objects hold the application in their attribute `server`."""

PYRAMID = ("pyramid", "wsgi")
METHODS = {"make_wsgi_app": PYRAMID, "wsgifunc": ("web.py", "wsgi")}
"""Methods that return an application, whatever object they are of."""

PLAIN = {("environ", "start_response"): ("python", "wsgi"), ("scope", "receive", "send"): ("python", "asgi")}
"""The arguments of an application that no framework makes."""

STARTS = {
    "streamlit": "streamlit run {path} --server.address=0.0.0.0 --server.port=$PORT --server.headless=true",
    "panel": "panel serve {path} --address 0.0.0.0 --port $PORT",
    "bokeh": "bokeh serve {path} --address 0.0.0.0 --port $PORT",
}
"""How an application is started that its framework's own program serves, and no server could."""

PASTE = "production.ini"
ENTRY = '''"""The application with the settings that production.ini gives it, as `pserve production.ini` starts it."""

import configparser
import logging.config
from pathlib import Path

from {module} import {factory}

INI = Path("production.ini").resolve()
DEFAULTS = {{"here": str(INI.parent), "__file__": str(INI)}}

ini = configparser.ConfigParser(DEFAULTS)
ini.read(INI, "utf-8")
if ini.has_section("loggers"):
    logging.config.fileConfig(INI, DEFAULTS, disable_existing_loggers=False)
settings = {{name: value for name, value in ini["app:main"].items() if name not in ("use", *DEFAULTS)}}
application = {factory}(DEFAULTS, **settings)
'''
"""A module that stands in for pserve, which finds the factory by an installation of the project: the image has none."""

OWN_SERVERS = ("tornado", "gradio", "nicegui", "twisted", "jupyter_server", "aiohttp", "uvicorn", "Zope2")
"""What a program imports that serves by itself: no module of it holds an application that a server could take."""

ADVICE = {
    "dash": "write `server = app.server` into {path}, below the app: that is what a server takes",
    "bottle": 'write `app = bottle.default_app()` into {path}, and what runs it below `if __name__ == "__main__":`',
    "web": "write `application = app.wsgifunc()` into {path}",
    "cherrypy": "write `application = cherrypy.tree.mount(…)` into {path}, in place of cherrypy.quickstart(…)",
    "hug": "say --app {module}:__hug_wsgi__",
    **dict.fromkeys(
        ("flask", "fastapi", "starlette", "quart", "falcon", "sanic", "litestar"),
        "make the application at the top of {path}, or in a function create_app that returns it",
    ),
}
"""What makes an application of a framework one that a server can take, where it is not."""

NOT_SHIPPED = {"example", "examples", "sample", "samples", "doc", "docs", "demo", "demos", "benchmarks", "playground"}
"""Folders whose applications show something, and are not what the project ships."""
