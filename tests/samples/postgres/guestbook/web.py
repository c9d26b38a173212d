import os

import psycopg
from flask import Flask, request

app = Flask(__name__)


def connect():
    return psycopg.connect(os.environ["GUESTBOOK_STORE"])


@app.post("/")
def sign():
    with connect() as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS guest (name text)")
        connection.execute("INSERT INTO guest VALUES (%s)", (request.form["name"],))
    return "", 201


@app.get("/")
def guests():
    with connect() as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS guest (name text)")
        return "\n".join(name for (name,) in connection.execute("SELECT name FROM guest"))
