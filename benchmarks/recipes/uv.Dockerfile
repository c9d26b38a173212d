# The pattern that uv's guide teaches: the lock is bound rather than copied, the cache outlives the build.
# `uv pip sync` stands for `uv sync`, because all recipes install one lock.
FROM python:3.13-slim AS builder
# A named context stands for uv's own image.
# hadolint ignore=DL3022
COPY --from=uv /uv /bin/
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_PYTHON_DOWNLOADS=never
WORKDIR /app
RUN --mount=type=cache,target=/root/.cache/uv \
    --mount=type=bind,source=requirements.txt,target=requirements.txt \
    --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt \
    uv venv && uv pip sync --require-hashes requirements.txt

FROM python:3.13-slim
ENV PATH=/app/.venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONPATH=/app/src
WORKDIR /app
COPY --from=builder /app/.venv /app/.venv
COPY src/shop src/shop
USER 65532:65532
CMD ["gunicorn", "--bind=0.0.0.0:8000", "shop:create_app()"]
