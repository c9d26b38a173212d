# The recipe of most tutorials: requirements first, then the source, all in one stage.
FROM python:3.13-slim
ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONPATH=/app/src
WORKDIR /app
COPY requirements.txt .
RUN --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt \
    pip install --no-cache-dir -r requirements.txt
COPY src/shop src/shop
USER 65532:65532
CMD ["gunicorn", "--bind=0.0.0.0:8000", "shop:create_app()"]
