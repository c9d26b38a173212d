from flask import Flask, send_from_directory

app = Flask(__name__, static_folder="static")


@app.get("/")
def index():
    return send_from_directory("static/dist", "index.html")
