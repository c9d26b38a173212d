from flask import Flask

SETTINGS = {"production": {"CURRENCY": "EUR"}, "testing": {"CURRENCY": "XTS", "TESTING": True}}


def create_app(stage):
    app = Flask(__name__)
    app.config.update(SETTINGS[stage])

    @app.route("/")
    def index():
        return app.config["CURRENCY"]

    @app.route("/health")
    def health():
        return {"status": "ok"}

    return app
