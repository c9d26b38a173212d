import os

import psycopg2
import redis
from flask import Flask, request

app = Flask(__name__)


def database():
    connection = psycopg2.connect(os.environ["DATABASE_URL"])
    with connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS passengers (name text)")
    return connection


@app.route("/", methods=["GET", "POST"])
def passengers():
    with database() as connection, connection.cursor() as cursor:
        if request.method == "POST":
            cursor.execute("INSERT INTO passengers VALUES (%s)", (request.form["name"],))
            redis.from_url(os.environ["QUEUE_URL"]).rpush("boarding", request.form["name"])
        cursor.execute("SELECT name FROM passengers")
        return ", ".join(name for (name,) in cursor.fetchall()) or "an empty ferry"
