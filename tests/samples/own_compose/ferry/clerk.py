import os

import redis

if __name__ == "__main__":
    queue = redis.from_url(os.environ["QUEUE_URL"])
    while True:
        _, name = queue.blpop("boarding")
        print("on board:", name.decode(), flush=True)
