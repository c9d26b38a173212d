# Targets: development (live reload, every tool), test (what nox runs), production (minimal, hardened), and slim (the
# same with a shell, on the base image). A bare `docker buildx build .` will do; `invoke build` adds a base, tags, labels.
# Secrets, all optional: `ca` is the host's CA bundle, `pip` a pip.conf that names a private index, `netrc` its logins.
ARG PYTHON_VERSION=3.13 WHEELS_FROM=compiled
# Python's images set PYTHON_VERSION to their full version inside, so the locks' folder has a name of its own.
ARG LOCKS=requirements/${PYTHON_VERSION}

# The program that makes all layers. In another project, a named context of this name replaces the stage.
FROM scratch AS dockyard
COPY src/dockyard/payload /
FROM python:${PYTHON_VERSION}-slim AS python
# With bytecode for its library and the program, Python starts sooner in every step below.
FROM python AS base
ENV LANG=C.UTF-8 PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
COPY --from=dockyard / /dockyard/
RUN --network=none python /dockyard library

# What a stage makes lies in a folder of its own: BuildKit reads all that lies beside what it copies or mounts.
FROM base AS runtime
ARG KEEP=""
RUN --network=none python /dockyard runtime /layers --library --keep "${KEEP}" --folder /app --writable /data
# `invoke build` keeps these layers, packed, with the base. Further down, WORKDIR would have every build merge all layers.
FROM scratch AS interpreter
COPY --link --from=runtime /layers/runtime/ /
COPY --link --from=runtime /layers/library/ /
COPY --link --from=runtime --chown=65532:65532 /layers/writable/ /
WORKDIR /app

# What is built from source, anew only where that changes, in the one stage with compilers; Debian packages that this needs
# go behind /built/wheels. Where a lock has nothing to build, `invoke build` says WHEELS_FROM=scratch: two steps less.
FROM base AS sources
ARG LOCKS TARGETPLATFORM
RUN --network=none --mount=source=${LOCKS},target=/tmp/locks \
    python /dockyard select /tmp/locks "${TARGETPLATFORM}" /built/sources
FROM base AS compiled
RUN --mount=from=sources,source=/built/sources,target=/sources \
    --mount=type=secret,id=ca --mount=type=secret,id=pip --mount=type=secret,id=netrc \
    python /dockyard wheels /sources /built/wheels
FROM ${WHEELS_FROM} AS wheels
WORKDIR /built/wheels

# Four layers of packages, each package always in the same one, large ones in the first: a new version changes one layer.
FROM base AS packages
ARG LOCKS
RUN --mount=type=cache,id=dockyard,target=/root/.cache --mount=from=wheels,source=/built/wheels,target=/wheels \
    --mount=source=${LOCKS}/production.txt,target=/tmp/lock.txt \
    --mount=type=secret,id=ca --mount=type=secret,id=pip --mount=type=secret,id=netrc \
    python /dockyard install /tmp/lock.txt --wheels /wheels --layers /layers --parts 4

FROM base AS application
RUN --network=none --mount=source=src/ledger,target=/app/ledger python /dockyard application /layers/application /app

FROM base AS test
ARG LOCKS
RUN --mount=type=cache,id=dockyard,target=/root/.cache --mount=from=wheels,source=/built/wheels,target=/wheels \
    --mount=source=${LOCKS}/test.txt,target=/tmp/lock.txt \
    --mount=type=secret,id=ca --mount=type=secret,id=pip --mount=type=secret,id=netrc \
    python /dockyard install /tmp/lock.txt --wheels /wheels && mkdir -m 1777 /results
WORKDIR /app
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin HYPOTHESIS_STORAGE_DIRECTORY=/tmp/hypothesis
COPY pyproject.toml bootstrap tasks.py noxfile.py ./
COPY docs/reference docs/reference
COPY src src
COPY tests tests
USER 65532:65532
ENTRYPOINT ["python", "-m", "coverage", "run", "--data-file=/results/.coverage", "-m", "pytest", "-p", "no:cacheprovider", "-m", "not host"]

FROM base AS development
ARG LOCKS
RUN --mount=type=cache,id=dockyard,target=/root/.cache --mount=from=wheels,source=/built/wheels,target=/wheels \
    --mount=source=${LOCKS}/development.txt,target=/tmp/lock.txt \
    --mount=type=secret,id=ca --mount=type=secret,id=pip --mount=type=secret,id=netrc \
    python /dockyard install /tmp/lock.txt --wheels /wheels && mkdir -m 0750 /data && chown 65532:65532 /data
WORKDIR /app
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin PYTHONPATH=/app/src FLASK_APP=ledger:create_app FLASK_DEBUG=1 PORT=8000
COPY src/ledger src/ledger
USER 65532:65532
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --start-interval=0.5s CMD ["python", "-m", "ledger.probe"]
CMD ["sh", "-c", "exec flask run --host 0.0.0.0 --port $PORT"]

# No EXPOSE here: BuildKit's versions write it differently into the history, so engines would give different digests.
FROM interpreter AS production
ENV LANG=C.UTF-8 PATH=/opt/venv/bin:/usr/local/bin:/usr/bin PORT=8000 PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
COPY --link --from=packages /layers/1/ /
COPY --link --from=packages /layers/2/ /
COPY --link --from=packages /layers/3/ /
COPY --link --from=packages /layers/4/ /
COPY --link --from=application /layers/application/ /
USER 65532:65532
HEALTHCHECK --interval=30s --timeout=3s --start-period=20s --start-interval=0.5s CMD ["python", "-m", "ledger.probe"]
CMD ["gunicorn", "--config", "python:ledger.gunicorn_conf", "ledger:create_app()"]

FROM base AS slim-layer
RUN --network=none --mount=from=production,target=/image --mount=from=python,target=/base \
    python /dockyard slim /layers/slim /image /base

FROM python AS slim
ENV LANG=C.UTF-8 PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin PORT=8000 PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
COPY --link --from=slim-layer /layers/slim/ /
WORKDIR /app
COPY --link --from=runtime --chown=65532:65532 /layers/writable/ /
USER 65532:65532
HEALTHCHECK --interval=30s --timeout=3s --start-period=20s --start-interval=0.5s CMD ["python", "-m", "ledger.probe"]
CMD ["gunicorn", "--config", "python:ledger.gunicorn_conf", "ledger:create_app()"]
FROM production
