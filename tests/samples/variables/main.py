import os

from flask import Flask, jsonify

app = Flask(__name__)
app.secret_key = os.environ["SESSION_KEY"]
app.config["SUPPORT_ADDRESS"] = os.environ["SUPPORT_ADDRESS"]
app.config["PAGE_SIZE"] = int(os.getenv("PAGE_SIZE", "20"))


@app.route("/")
def index():
    return jsonify(support=app.config["SUPPORT_ADDRESS"], page=app.config["PAGE_SIZE"])
