import os

from flask import Flask
from flask_babel import Babel, gettext
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy

db = SQLAlchemy()


class Visit(db.Model):
    id = db.Column(db.Integer, primary_key=True)


def create_app():
    app = Flask(__name__)
    app.config["SECRET_KEY"] = os.environ["SECRET_KEY"]
    app.config["SQLALCHEMY_DATABASE_URI"] = os.environ.get("DATABASE_URL", "sqlite:///visits.db")
    db.init_app(app)
    Migrate(app, db)
    Babel(app, default_locale="de")

    @app.post("/")
    def visit():
        db.session.add(Visit())
        db.session.commit()
        return "", 201

    @app.get("/")
    def index():
        return gettext("Visits: %(count)s", count=db.session.query(Visit).count())

    @app.get("/healthz")
    def healthz():
        return "well"

    return app
