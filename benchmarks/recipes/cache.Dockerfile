# One stage whose downloads outlive the build, and bytecode for what was installed.
FROM python:3.13-slim
ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONPATH=/app/src
WORKDIR /app
RUN --mount=type=cache,target=/root/.cache/pip \
    --mount=type=bind,source=requirements.txt,target=requirements.txt \
    --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt \
    pip install --no-compile --no-deps --require-hashes -r requirements.txt \
    && python -m compileall -q -j 0 "$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
COPY src/shop src/shop
USER 65532:65532
CMD ["gunicorn", "--bind=0.0.0.0:8000", "shop:create_app()"]
