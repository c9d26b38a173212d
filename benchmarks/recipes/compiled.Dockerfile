# Everything has bytecode, the standard library and the source too: PyPI's own service is packed in this way.
FROM python:3.13-slim AS python
RUN python -m compileall -q -j 0 "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" || true

FROM python AS builder
ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt
RUN python -m venv /opt/shop
WORKDIR /build
COPY requirements.txt .
RUN --mount=type=cache,target=/root/.cache/pip \
    --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt \
    /opt/shop/bin/pip install --no-compile --no-deps --require-hashes -r requirements.txt \
    && python -m compileall -q -j 0 /opt/shop

FROM python
ENV PATH=/opt/shop/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONPATH=/app/src
WORKDIR /app
COPY --from=builder /opt/shop /opt/shop
COPY src/shop src/shop
RUN python -m compileall -q src
USER 65532:65532
CMD ["gunicorn", "--bind=0.0.0.0:8000", "shop:create_app()"]
