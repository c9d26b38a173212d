# The yardstick for a step that compiles: a container, and a layer of what it made, with nothing done to it.
FROM python:3.13-slim AS made
RUN --network=none --mount=source=src/shop,target=/app/shop mkdir /made && cp -r /app /made
FROM python:3.13-slim
WORKDIR /app
COPY --link --from=made /made/ /
