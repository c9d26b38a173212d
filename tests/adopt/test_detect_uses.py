"""What becomes of a value that code reads: a variable of any name gets the address that it is used as."""

import pytest

from dockyard.adopt.values import stack_values
from tests.adopt.conftest import detected

APP = "import os\nfrom flask import Flask\napp = Flask(__name__)\n"
LOGIN = "app:${DATABASE_PASSWORD}@database"
PLAIN, ALCHEMY = f"postgresql://{LOGIN}:5432/app", f"postgresql+psycopg2://{LOGIN}:5432/app"
STORE = "redis://valkey:6379/0"


@pytest.mark.parametrize(
    ("packages", "code", "values"),
    [
        # A setting in the application's configuration, by all ways to write one.
        ("psycopg2-binary\nflask-sqlalchemy", "app.config['SQLALCHEMY_DATABASE_URI'] = os.environ['SHELF']",
         {"SHELF": ALCHEMY}),
        ("psycopg2\nflask-sqlalchemy", "app.config.update(SQLALCHEMY_DATABASE_URI=os.environ['SHELF'])",
         {"SHELF": ALCHEMY}),
        ("psycopg2\nflask-sqlalchemy", "app.config.from_mapping({'SQLALCHEMY_DATABASE_URI': os.environ['SHELF']})",
         {"SHELF": ALCHEMY}),
        ("psycopg2\nflask-sqlalchemy", "class Config:\n    SQLALCHEMY_DATABASE_URI = os.environ['SHELF']",
         {"SHELF": ALCHEMY}),
        ("psycopg2\nflask-sqlalchemy", "class Config:\n    SQLALCHEMY_DATABASE_URI: str = os.getenv('SHELF') or 'sqlite://'",
         {"SHELF": ALCHEMY}),
        # An argument, at once or by a name, as it is or mended.
        ("psycopg2\nsqlalchemy", "from sqlalchemy import create_engine\nE = create_engine(os.environ['SHELF'])",
         {"SHELF": ALCHEMY}),
        ("psycopg2\nsqlalchemy", "import sqlalchemy as sa\nE = sa.create_engine(url=os.environ.get('SHELF', 'sqlite://'))",
         {"SHELF": ALCHEMY}),
        ("psycopg2\nsqlalchemy", "from sqlalchemy import create_engine\nwhere = os.environ['SHELF'].strip()\n"
         "where = where.replace('postgres:', 'postgresql:')\nE = create_engine(where)", {"SHELF": ALCHEMY}),
        ("psycopg2\nsqlalchemy", "from sqlalchemy import create_engine\nif where := os.environ.get('SHELF'):\n"
         "    E = create_engine(f'{where}?sslmode=prefer')", {"SHELF": ALCHEMY}),
        # A driver takes no address with a driver's name in it, whatever else is installed.
        ("psycopg2\nsqlalchemy", "import psycopg2\nC = psycopg2.connect(os.environ['SHELF'])", {"SHELF": PLAIN}),
        ("psycopg2\nsqlalchemy", "from psycopg2 import connect\nC = connect(dsn=os.environ['DATABASE_URL'])",
         {"DATABASE_URL": PLAIN}),
        ("psycopg2", "import psycopg2\nC = psycopg2.connect(host=os.environ['A'], port=int(os.environ['B']),\n"
         "    user=os.environ['C'], password=os.environ['D'], dbname=os.environ['E'])",
         {"A": "database", "B": "5432", "C": "app", "D": "${DATABASE_PASSWORD}", "E": "app"}),
        ("psycopg2\nsqlalchemy", "import sqlalchemy as sa\nU = sa.URL.create('postgresql', host=os.environ['A'],\n"
         "    username=os.environ['B'], database=os.environ['C'])", {"A": "database", "B": "app", "C": "app"}),
        ("pymysql", "import pymysql\nC = pymysql.connect(host=os.environ['A'], passwd=os.environ['B'])",
         {"A": "database", "B": "${DATABASE_PASSWORD}"}),
        # The parts of an address, in a text or in Django's mapping.
        ("psycopg2", "U = f\"postgresql+psycopg2://{os.environ['A']}:{os.environ['B']}@{os.environ['C']}:\"\\\n"
         "    f\"{os.environ['D']}/{os.environ['E']}?sslmode=prefer\"",
         {"A": "app", "B": "${DATABASE_PASSWORD}", "C": "database", "D": "5432", "E": "app"}),
        ("psycopg2", "D = {'default': {'ENGINE': 'django.db.backends.postgresql', 'NAME': os.environ['A'],\n"
         "    'USER': 'app', 'PASSWORD': os.environ['B'], 'HOST': os.environ['C']}}",
         {"A": "app", "B": "${DATABASE_PASSWORD}", "C": "database"}),
        ("psycopg2", "import environ\nenv = environ.Env()\nD = {'default': env.db('SHELF')}", {"SHELF": PLAIN}),
        ("psycopg2", "import dj_database_url\nfrom decouple import config\n"
         "D = {'default': config('SHELF', cast=dj_database_url.parse)}", {"SHELF": PLAIN}),
        ("psycopg2", "from pydantic_settings import BaseSettings\nfrom pydantic import PostgresDsn\n"
         "class S(BaseSettings):\n    shelf: PostgresDsn", {"SHELF": PLAIN}),
        # Stores, which ask for no login.
        ("redis", "import redis\nR = redis.Redis.from_url(os.environ['QUEUE'])", {"QUEUE": STORE}),
        ("redis\ncelery", "from celery import Celery\nC = Celery('x', broker=os.environ['A'], backend=os.environ['B'])",
         {"A": STORE, "B": STORE}),
        ("redis\ncelery", "broker_url = os.environ['A']\nresult_backend = os.environ['B']", {"A": STORE, "B": STORE}),
        ("redis", "from redis import Redis\nR = Redis(host=os.environ['A'], port=os.environ['B'], db=os.environ['C'],\n"
         "    password=os.environ['REDIS_PASSWORD'])",
         {"A": "valkey", "B": "6379", "C": "", "REDIS_PASSWORD": ""}),
        ("redis\npsycopg2", "R = f\"redis://{os.environ['A']}:{os.environ['B']}/0\"", {"A": "valkey", "B": "6379"}),
        ("redis", "C = {'default': {'BACKEND': 'django.core.cache.backends.redis.RedisCache',\n"
         "    'LOCATION': os.environ['A']}}", {"A": STORE}),
    ],
)  # fmt: skip
def test_what_a_value_is_used_as(packages: str, code: str, values: dict[str, str]) -> None:
    """By where it goes, where its name does not say it."""
    files = {"app.py": f"{APP}{code}\n", "requirements.txt": f"flask\n{packages}\n"}
    assert stack_values(detected(files)) == values


@pytest.mark.parametrize(
    "code",
    [
        "app.run(host=os.environ['WHERE'])",
        "Thing.objects.create(name=os.environ['WHERE'])",
        "print(os.environ['WHERE'])",
        "U = f\"https://{os.environ['WHERE']}/{os.environ['WHERE']}\"",
        "U = f\"{os.environ['WHERE']}\"",
        "host, port = os.environ['WHERE'].split(':')",
        "database = {'host': os.environ['WHERE']}",
        "plot(backend=os.environ['WHERE'])",
        "where = os.environ['WHERE']\nwhere = where or where\nprint(where)",
        "class S:\n    where: 'list[str]' = os.environ['WHERE']",
    ],
)
def test_what_says_nothing(code: str) -> None:
    """No address is invented for a value that may be anything."""
    files = {"app.py": f"{APP}{code}\n", "requirements.txt": "flask\npsycopg2\nsqlalchemy\nredis\n"}
    assert stack_values(detected(files)) == {"WHERE": ""}
