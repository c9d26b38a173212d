import logging
import os
from logging.handlers import RotatingFileHandler

from flask import Flask, request

application = Flask(__name__)
os.makedirs("logs", exist_ok=True)
application.logger.addHandler(RotatingFileHandler("logs/server.log", maxBytes=100_000))
application.logger.setLevel(logging.INFO)


@application.route("/ping")
def ping():
    application.logger.info("pinged")
    return "pong"


@application.post("/log")
def note():
    application.logger.info(request.form["text"])
    return "", 201


@application.get("/log")
def log():
    with open("logs/server.log") as file:
        return file.read()
