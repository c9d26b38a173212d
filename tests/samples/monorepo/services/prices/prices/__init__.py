from flask import Flask


def make_app(currency="EUR"):
    app = Flask(__name__)

    @app.get("/")
    def price():
        return {"price": 12, "currency": currency}

    return app
