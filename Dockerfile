# Targets: development (live reload, every tool), test (what nox runs), production (minimal, hardened), and slim (all
# that production has, on the base image itself: for those who need a shell).
# It builds with a bare `docker buildx build .`; `invoke build` adds tags, labels, a base and a cache.
# Secrets, all optional: `ca` is the host's CA bundle, `pip` a pip.conf that names a private index, `netrc` its logins.

ARG PYTHON_VERSION=3.13
# Python's images set PYTHON_VERSION to their full version inside, so the locks' folder has a name of its own.
ARG LOCKS=requirements/${PYTHON_VERSION}

# The files that build a minimal image. In another project, a named context of this name replaces the stage.
FROM scratch AS dockyard
COPY src/dockyard/rootfs.py src/dockyard/parts.py src/dockyard/wheels.py src/dockyard/keep.py src/dockyard/slim.py /

FROM python:${PYTHON_VERSION}-slim AS python

# Four stages ask the index at once, and some name servers answer only so many questions at a time: pip's five tries
# can all fall into one such pause.
FROM python AS base
ENV LANG=C.UTF-8 \
    PIP_CERT=/etc/ssl/certs/ca-certificates.crt \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_RETRIES=10 \
    PIP_ROOT_USER_ACTION=ignore \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# With bytecode for its library, Python starts sooner in every step below. /opt/pip is the base's pip, which the
# environment's Python runs itself: `pip --python` would start it twice.
RUN --network=none --mount=type=bind,from=dockyard,target=/dockyard \
    python /dockyard/rootfs.py library \
    && python -m venv --without-pip /opt/venv \
    && ln -s "$(python -c 'import pip; print(pip.__path__[0])')" /opt/pip


# The layers of the production image: each depends on its content alone, see rootfs.py. What a stage makes lies in a
# folder of its own: BuildKit reads all that lies beside what it copies or mounts, which would be the whole base.
FROM base AS runtime-layer
# Paths that no scan finds, with : between them: `keep` in [tool.dockyard].
ARG KEEP=""
RUN --network=none --mount=type=bind,from=dockyard,target=/dockyard \
    mkdir /app \
    && python /dockyard/rootfs.py runtime /layers/runtime \
    && python -m dockyard.keep /layers/runtime "${KEEP}" \
    && python /dockyard/rootfs.py application /layers/runtime /app

# The lock in four parts, each with a stage and a layer of its own: a new version of one package changes one part,
# and BuildKit knows the others again by their content. What is to be built from source is kept apart likewise.
FROM base AS locks
ARG LOCKS
ARG TARGETPLATFORM
RUN --network=none --mount=type=bind,from=dockyard,target=/dockyard \
    --mount=type=bind,source=${LOCKS},target=/tmp/locks \
    python /dockyard/parts.py /tmp/locks/production.txt /locks 4 \
    && python /dockyard/wheels.py select /tmp/locks "${TARGETPLATFORM}" /locks/sources

# The one stage with compilers, where anything is built at all. Debian packages that it needs go behind /built/wheels.
FROM base AS wheels
RUN --mount=type=bind,from=dockyard,target=/dockyard \
    --mount=type=bind,from=locks,source=/locks/sources,target=/sources \
    --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt \
    --mount=type=secret,id=pip,target=/etc/pip.conf \
    --mount=type=secret,id=netrc,target=/root/.netrc \
    python /dockyard/wheels.py build /sources /built/wheels

FROM base AS packages-1
RUN --mount=type=cache,id=dockyard-pip,target=/root/.cache/pip \
    --mount=type=bind,from=dockyard,target=/dockyard \
    --mount=type=bind,from=locks,source=/locks/1.txt,target=/tmp/lock.txt \
    --mount=type=bind,from=wheels,source=/built/wheels,target=/wheels \
    --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt \
    --mount=type=secret,id=pip,target=/etc/pip.conf \
    --mount=type=secret,id=netrc,target=/root/.netrc \
    python /dockyard/wheels.py install /wheels /tmp/lock.txt \
    /opt/venv/bin/python /opt/pip install --no-compile --no-deps --require-hashes -r /tmp/lock.txt \
    && python /dockyard/rootfs.py packages /layers/packages-1 /opt/venv

FROM base AS packages-2
RUN --mount=type=cache,id=dockyard-pip,target=/root/.cache/pip \
    --mount=type=bind,from=dockyard,target=/dockyard \
    --mount=type=bind,from=locks,source=/locks/2.txt,target=/tmp/lock.txt \
    --mount=type=bind,from=wheels,source=/built/wheels,target=/wheels \
    --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt \
    --mount=type=secret,id=pip,target=/etc/pip.conf \
    --mount=type=secret,id=netrc,target=/root/.netrc \
    python /dockyard/wheels.py install /wheels /tmp/lock.txt \
    /opt/venv/bin/python /opt/pip install --no-compile --no-deps --require-hashes -r /tmp/lock.txt \
    && python /dockyard/rootfs.py packages /layers/packages-2 /opt/venv

FROM base AS packages-3
RUN --mount=type=cache,id=dockyard-pip,target=/root/.cache/pip \
    --mount=type=bind,from=dockyard,target=/dockyard \
    --mount=type=bind,from=locks,source=/locks/3.txt,target=/tmp/lock.txt \
    --mount=type=bind,from=wheels,source=/built/wheels,target=/wheels \
    --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt \
    --mount=type=secret,id=pip,target=/etc/pip.conf \
    --mount=type=secret,id=netrc,target=/root/.netrc \
    python /dockyard/wheels.py install /wheels /tmp/lock.txt \
    /opt/venv/bin/python /opt/pip install --no-compile --no-deps --require-hashes -r /tmp/lock.txt \
    && python /dockyard/rootfs.py packages /layers/packages-3 /opt/venv

FROM base AS packages-4
RUN --mount=type=cache,id=dockyard-pip,target=/root/.cache/pip \
    --mount=type=bind,from=dockyard,target=/dockyard \
    --mount=type=bind,from=locks,source=/locks/4.txt,target=/tmp/lock.txt \
    --mount=type=bind,from=wheels,source=/built/wheels,target=/wheels \
    --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt \
    --mount=type=secret,id=pip,target=/etc/pip.conf \
    --mount=type=secret,id=netrc,target=/root/.netrc \
    python /dockyard/wheels.py install /wheels /tmp/lock.txt \
    /opt/venv/bin/python /opt/pip install --no-compile --no-deps --require-hashes -r /tmp/lock.txt \
    && python /dockyard/rootfs.py packages /layers/packages-4 /opt/venv

FROM base AS writable-layer
RUN --network=none --mount=type=bind,from=dockyard,target=/dockyard \
    mkdir /data && python /dockyard/rootfs.py application /layers/writable /data

FROM base AS application-layer
COPY src/ledger /app/ledger
RUN --network=none --mount=type=bind,from=dockyard,target=/dockyard \
    python /dockyard/rootfs.py application /layers/application /app


FROM base AS test-packages
ARG LOCKS
RUN --mount=type=cache,id=dockyard-pip,target=/root/.cache/pip \
    --mount=type=bind,from=dockyard,target=/dockyard \
    --mount=type=bind,source=${LOCKS}/test.txt,target=/tmp/lock.txt \
    --mount=type=bind,from=wheels,source=/built/wheels,target=/wheels \
    --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt \
    --mount=type=secret,id=pip,target=/etc/pip.conf \
    --mount=type=secret,id=netrc,target=/root/.netrc \
    python /dockyard/wheels.py install /wheels /tmp/lock.txt \
    /opt/venv/bin/python /opt/pip install --no-compile --no-deps --require-hashes -r /tmp/lock.txt

FROM test-packages AS test
WORKDIR /app
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    HYPOTHESIS_STORAGE_DIRECTORY=/tmp/hypothesis
COPY pyproject.toml bootstrap tasks.py noxfile.py ./
COPY docs/reference docs/reference
COPY src src
COPY tests tests
RUN mkdir -m 1777 /results
USER 65532:65532
ENTRYPOINT ["python", "-m", "coverage", "run", "--data-file=/results/.coverage", "-m", "pytest", "-p", "no:cacheprovider", "-m", "not host"]


FROM base AS development-packages
ARG LOCKS
RUN --mount=type=cache,id=dockyard-pip,target=/root/.cache/pip \
    --mount=type=bind,from=dockyard,target=/dockyard \
    --mount=type=bind,source=${LOCKS}/development.txt,target=/tmp/lock.txt \
    --mount=type=bind,from=wheels,source=/built/wheels,target=/wheels \
    --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt \
    --mount=type=secret,id=pip,target=/etc/pip.conf \
    --mount=type=secret,id=netrc,target=/root/.netrc \
    python /dockyard/wheels.py install /wheels /tmp/lock.txt \
    /opt/venv/bin/python /opt/pip install --no-compile --no-deps --require-hashes -r /tmp/lock.txt

FROM development-packages AS development
WORKDIR /app
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    FLASK_APP=ledger:create_app \
    FLASK_DEBUG=1 \
    PORT=8000 \
    PYTHONPATH=/app/src
COPY src/ledger src/ledger
RUN mkdir -m 0750 /data && chown 65532:65532 /data
USER 65532:65532
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --start-interval=0.5s \
    CMD ["python", "-m", "ledger.probe"]
CMD ["sh", "-c", "exec flask run --host 0.0.0.0 --port $PORT"]


# No EXPOSE here: BuildKit's versions write it differently into the history, so engines would give different digests.
FROM scratch AS production
ENV LANG=C.UTF-8 \
    PATH=/opt/venv/bin:/usr/local/bin:/usr/bin \
    PORT=8000 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
COPY --link --from=runtime-layer /layers/runtime/ /
# The runtime has this folder already. Further down, this line would have every build merge all layers.
WORKDIR /app
COPY --link --from=packages-1 /layers/packages-1/ /
COPY --link --from=packages-2 /layers/packages-2/ /
COPY --link --from=packages-3 /layers/packages-3/ /
COPY --link --from=packages-4 /layers/packages-4/ /
COPY --link --from=writable-layer --chown=65532:65532 /layers/writable/ /
COPY --link --from=application-layer /layers/application/ /
USER 65532:65532
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=3s --start-period=20s --start-interval=0.5s \
    CMD ["python", "-m", "ledger.probe"]
CMD ["gunicorn", "--config", "python:ledger.gunicorn_conf", "ledger:create_app()"]


FROM base AS slim-layer
RUN --network=none --mount=type=bind,from=dockyard,target=/dockyard \
    --mount=type=bind,from=production,target=/image \
    --mount=type=bind,from=python,target=/base \
    python -m dockyard.slim /layers/slim /image /base

FROM python AS slim
ENV LANG=C.UTF-8 \
    PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PORT=8000 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
COPY --link --from=slim-layer /layers/slim/ /
WORKDIR /app
COPY --link --from=writable-layer --chown=65532:65532 /layers/writable/ /
USER 65532:65532
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=3s --start-period=20s --start-interval=0.5s \
    CMD ["python", "-m", "ledger.probe"]
CMD ["gunicorn", "--config", "python:ledger.gunicorn_conf", "ledger:create_app()"]


# The last stage is what a bare build makes.
FROM production
