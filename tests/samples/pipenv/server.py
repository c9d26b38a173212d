import logging
import os
from logging.handlers import RotatingFileHandler

from flask import Flask

application = Flask(__name__)
os.makedirs("logs", exist_ok=True)
application.logger.addHandler(RotatingFileHandler("logs/server.log", maxBytes=100_000))
application.logger.setLevel(logging.INFO)


@application.route("/ping")
def ping():
    application.logger.info("pinged")
    return "pong"


@application.route("/log")
def log():
    with open("logs/server.log") as file:
        return file.read()
