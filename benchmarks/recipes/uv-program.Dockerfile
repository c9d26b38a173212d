# The program uv, out of its wheel on PyPI; `--output` puts it into a folder that stands for uv's own image.
FROM python:3.13-slim AS wheel
RUN --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt \
    python -m pip install --cert /etc/ssl/certs/ca-certificates.crt --no-cache-dir --no-compile --target /wheel uv==0.13.8

FROM scratch
COPY --from=wheel /wheel/bin/uv /
