import os

from flask import Flask
from redis import Redis
from rq import Queue

from mailer.letters import send

app = Flask(__name__)
queue = Queue("letters", connection=Redis.from_url(os.environ.get("REDIS_URL", "redis://localhost:6379/0")))


@app.post("/letters")
def post():
    return {"job": queue.enqueue(send, "a friend").id}


@app.get("/letters")
def waiting():
    return {"waiting": len(queue), "sent": queue.finished_job_registry.count}


@app.get("/health")
def health():
    return "well"
