from flask import Flask

app = Flask(__name__)


@app.get("/")
def question():
    return "Tea or coffee?"
