# Two stages: the first makes a virtual environment, the second takes nothing else from it.
FROM python:3.13-slim AS builder
ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt
RUN python -m venv /opt/venv
WORKDIR /build
COPY requirements.txt .
RUN --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt \
    /opt/venv/bin/pip install --no-cache-dir -r requirements.txt

FROM python:3.13-slim
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONPATH=/app/src
WORKDIR /app
COPY --from=builder /opt/venv /opt/venv
COPY src/shop src/shop
USER 65532:65532
CMD ["gunicorn", "--bind=0.0.0.0:8000", "shop:create_app()"]
