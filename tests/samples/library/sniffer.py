import magic
from flask import Flask, request

app = Flask(__name__)


@app.post("/")
def kind():
    return magic.from_buffer(request.get_data(), mime=True)


@app.get("/healthz")
def healthz():
    return magic.from_buffer(b"%PDF-1.4", mime=True)
