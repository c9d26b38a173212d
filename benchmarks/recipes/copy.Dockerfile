# The yardstick for a changed line of source: nothing but the copy.
FROM python:3.13-slim
WORKDIR /app
COPY src/shop src/shop
