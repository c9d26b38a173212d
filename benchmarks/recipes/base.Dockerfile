# What all recipes start from: as in Docker's official images, the standard library has no bytecode.
# A base made from Debian packages has it, and would hide what the recipes leave to the first start.
FROM python:3.13-slim AS full
RUN find /usr/lib /usr/local/lib -name __pycache__ -prune -exec rm -r {} +

FROM scratch
# One layer, as if the bytecode had never been there.
# hadolint ignore=DL3067
COPY --from=full / /
ENV LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
# Another base in every run of the benchmark: BuildKit knows none of the steps on it.
ARG RUN
RUN echo "$RUN" > /etc/run
