import io

import cairo
from flask import Flask, Response


def create_app():
    app = Flask(__name__)

    @app.get("/")
    def bar():
        surface = cairo.ImageSurface(cairo.FORMAT_RGB24, 40, 10)
        cairo.Context(surface).paint()
        picture = io.BytesIO()
        surface.write_to_png(picture)
        return Response(picture.getvalue(), mimetype="image/png")

    return app
