"""Write the Dockerfile that a person would: targets production, test and development, on Dockyard's payload (pure)."""

import json
import re
from collections.abc import Iterable

from dockyard.adopt import values
from dockyard.adopt.commands import django_program
from dockyard.adopt.model import Frontend, Project
from dockyard.adopt.needs import COMPILER
from dockyard.adopt.versions import ARGUMENT

SECRETS = "--mount=type=secret,id=ca --mount=type=secret,id=pip --mount=type=secret,id=netrc"
DATA = "/data"
"""Where single files at the top of the application really lie: a volume can hold a folder only."""


def render_dockerfile(project: Project) -> str:
    """Return the text of the Dockerfile."""
    blocks = [
        _head(project),
        *([_frontend(project.frontend)] if project.frontend else []),
        _runtime(project),
        ["FROM base AS packages", "ARG LOCKS", *_install("production", " --layers /layers")],
        _application(project),
        _test(project),
        _development(project),
        _production(project),
    ]
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def volumes(project: Project) -> tuple[str, ...]:
    """Return the folders of the image that the service writes."""
    writable = project.writable.value
    return tuple(dict.fromkeys((*writable.folders, *([DATA] if writable.files else []))))


def _head(project: Project) -> list[str]:
    libraries = project.libraries.value
    packages = dict.fromkeys((*libraries.build, *libraries.run))
    return [
        "# Targets: production (minimal, hardened), test (what `nox -s tests` runs) and development (live reload).",
        "# `dockyard build` gives it a base image, tags and labels, and the program behind the stage `dockyard`.",
        f"ARG PYTHON_VERSION={project.python.value}",
        "# Python's images set PYTHON_VERSION to their full version inside: the locks' folder has a name of its own.",
        "ARG LOCKS=requirements/${PYTHON_VERSION}",
        *(["# `dockyard build` gives the version that git's tags say."] if project.version.value.from_git else []),
        *([f"ARG {ARGUMENT}=0.0.0"] if project.version.value.from_git else []),
        "",
        "FROM scratch AS dockyard",
        "FROM python:${PYTHON_VERSION}-slim AS base",
        "ENV LANG=C.UTF-8 PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PYTHONPATH=/app",
        "# The program that makes all layers; production has none of it.",
        "COPY --from=dockyard / /dockyard/",
        *(_apt(packages, f"What {project.libraries.source}.") if packages else []),
        "RUN --network=none python /dockyard library",
    ]


def _apt(packages: Iterable[str], why: str) -> list[str]:
    wanted = set(packages)
    compilers = "--compilers " if wanted & set(COMPILER) else ""
    names = " ".join(sorted(wanted - set(COMPILER)))
    command = f"RUN --mount=type=secret,id=ca \\\n    python /dockyard packages {compilers}{names}".rstrip()
    return [f"# {why}", *command.splitlines()]


def _frontend(frontend: Frontend) -> list[str]:
    return [
        "# Node comes from the package index, locked as all else, and builds the front end; the image has none of it.",
        "FROM base AS frontend",
        "ARG LOCKS",
        *_apt(("libstdc++6",), "")[1:],
        *_install("frontend", ""),
        "ENV PATH=/opt/venv/bin:$PATH",
        "WORKDIR /app",
        *copy_lines(frontend.inputs, frozenset(path for path in frontend.inputs if "." in path), ""),
        "RUN --mount=type=secret,id=ca NODE_EXTRA_CA_CERTS=/run/secrets/ca npm ci && npm run build",
    ]


def _runtime(project: Project) -> list[str]:
    writable = "".join(f" --writable {folder}" for folder in volumes(project))
    owned = ["COPY --link --from=runtime --chown=65532:65532 /layers/writable/ /"] if writable else []
    return [
        "# Python and the libraries that it loads, kept with the base. KEEP (`keep`) holds what no scan finds.",
        "FROM base AS runtime",
        'ARG KEEP=""',
        f'RUN --network=none python /dockyard runtime /layers --keep "${{KEEP}}" --folder /app{writable}',
        "FROM scratch AS interpreter",
        "COPY --link --from=runtime /layers/runtime/ /",
        *owned,
        "WORKDIR /app",
    ]


def _install(lock: str, options: str) -> list[str]:
    source = f"--mount=source=${{LOCKS}}/{lock}.txt,target=/tmp/lock.txt"
    return [
        f"RUN --mount=type=cache,id=dockyard,target=/root/.cache {source} \\",
        f"    {SECRETS} \\",
        f"    python /dockyard install /tmp/lock.txt{options}",
    ]


def _application(project: Project) -> list[str]:
    steps = [f"RUN {step.command}" for step in project.build.value]
    environment = _build_environment(project) if any(step.runs_app for step in project.build.value) else {}
    needs = [
        "# The steps below run the application's own code, so it needs its packages.",
        "COPY --from=packages /layers/1/opt/venv /opt/venv",
        "ENV PATH=/opt/venv/bin:$PATH",
    ]
    links = [f"RUN {link}" for link in _links(project)]
    return [
        "FROM base AS application",
        *(needs if steps else []),
        "WORKDIR /app",
        *copies(project),
        *_version(project),
        *(["# Settings are read at import: these stand in for them in the build alone."] if environment else []),
        *(f"ARG {name}={json.dumps(value)}" for name, value in environment.items()),
        *steps,
        *(["# A volume holds folders only: the file lies in one."] if links else []),
        *links,
        "RUN --network=none python /dockyard application /layers/application /app",
    ]


def _build_environment(project: Project) -> dict[str, str]:
    """Return what the application's own code asks for at import: values that parse, and are nobody's secret."""
    given = values.stack_values(project)
    required = [one.name for one in project.variables.value if one.required]
    found = {name: re.sub(r"\$\{\w+\}", "build", given.get(name, "")) or "build" for name in required}
    if _sets_django(project):
        found["DJANGO_SETTINGS_MODULE"] = project.django_production
    return found


def _sets_django(project: Project) -> bool:
    """Return whether manage.py, or its absence, leaves production without its settings."""
    production = project.django_production
    return bool(production) and (
        production != project.django_settings or "-m" in django_program(project.source_files, project.app.value.root)
    )


def _version(project: Project, *, metadata: bool = True) -> list[str]:
    """Return the lines that say the project's version to code that asks for it."""
    version = project.version.value
    lines = [f"ARG {ARGUMENT}"] if version.from_git and (metadata or version.environment) else []
    if version.environment:
        lines.append(f"ENV {' '.join(f'{name}=${{{ARGUMENT}}}' for name in version.environment)}")
    if not version.name or not metadata:
        return lines
    if version.said_in:
        target = f"/tmp/{version.said_in.rpartition('/')[2]}"  # noqa: S108 - in the build
        mount, said = f" --mount=source={version.said_in},target={target}", f"--project {target}"
    else:
        mount, said = "", f'--version "${{{ARGUMENT}}}"'
    root = f"{project.app.value.root}/" if project.app.value.root else ""
    files = "".join(f" --file {path.removeprefix(root)}" for path in version.files)
    command = f"python /dockyard metadata {version.name} {said}{files}"
    return [
        *lines,
        *([f"RUN --network=none{mount} \\", f"    {command}"] if mount else [f"RUN --network=none {command}"]),
    ]


def _links(project: Project) -> list[str]:
    return [f"ln -s {DATA}/{path.rpartition('/')[2]} {path}" for path in project.writable.value.files]


def copies(project: Project) -> list[str]:
    """Return the lines that copy the sources into the current folder, and what the front end's build made."""
    root = f"{project.app.value.root}/" if project.app.value.root else ""
    output = project.frontend.output if project.frontend else ""
    lines = copy_lines(project.sources.value, project.source_files, root)
    return [*lines, *([f"COPY --from=frontend /app/{output} {output.removeprefix(root)}"] if output else [])]


def copy_lines(paths: Iterable[str], files: frozenset[str], root: str) -> list[str]:
    """Return the lines that copy files, all in one, and folders, each in its own, without `root` before them."""
    ordered = tuple(paths)
    alone = [path for path in ordered if path in files]
    lines = [_copy(*alone, "./")] if alone else []
    return lines + [_copy(path, path.removeprefix(root)) for path in ordered if path not in files]


def _copy(*words: str) -> str:
    # In its plain form the instruction divides its words at spaces.
    return (
        f"COPY {json.dumps(words, ensure_ascii=False)}"
        if any(" " in word for word in words)
        else f"COPY {' '.join(words)}"
    )


def _test(project: Project) -> list[str]:
    folders = tuple(dict.fromkeys((*volumes(project), *project.writable.value.local)))
    made = [f"mkdir -p {' '.join(folders)}", f"chown 65532:65532 {' '.join(folders)}"] if folders else []
    beside = (*project.test_settings, *project.test_files)
    tests = project.tests.value
    with_tests = tests not in {"", ".", *project.sources.value}
    return [
        "FROM base AS test",
        "ARG LOCKS",
        *_install("test", ""),
        "ENV PATH=/opt/venv/bin:$PATH",
        "WORKDIR /app",
        *copies(project),
        *_version(project),
        *(f"RUN {step.command}" for step in project.build.value if not step.runs_app),
        *([_copy(tests, tests)] if with_tests else []),
        *([_copy(*beside, "./")] if beside else []),
        f"RUN {' && '.join(['mkdir -m 1777 /results', *made, *_links(project)])}",
        *(["# The root is read-only while tests run, but for these."] if folders else []),
        *([f"VOLUME {json.dumps(folders)}"] if folders else []),
        "USER 65532:65532",
        f"ENTRYPOINT {json.dumps(test_command(project))}",
    ]


def test_command(project: Project) -> list[str]:
    """Return the command of the test image, which takes pytest's arguments."""
    command = ["python", "-m", "pytest", "-p", "no:cacheprovider"]
    if project.app.value.framework == "django":
        command += [f"--ds={project.django_settings}", "-o", "python_files=tests.py test_*.py *_test.py"]
    return command


def development_command(project: Project) -> list[str]:
    """Return the command of the development image: it reloads what changed."""
    app, port = project.app.value, str(project.port)
    if app.framework == "flask":
        return ["flask", "--app", app.reference, "run", "--debug", "--host", "0.0.0.0", "--port", port]  # noqa: S104
    if app.framework == "django":
        return [*django_program(project.source_files, project.app.value.root), "runserver", f"0.0.0.0:{port}"]
    reload = (
        ["--reload"] if not app.command and project.program in {"uvicorn", "gunicorn", "granian", "hypercorn"} else []
    )
    return [project.program, *reload, *project.server.value[1:]]


def _development(project: Project) -> list[str]:
    return [
        "FROM test AS development",
        "ENTRYPOINT []",
        f"CMD {json.dumps(development_command(project))}",
        _healthcheck(project, "10s"),
    ]


def _healthcheck(project: Project, interval: str) -> str:
    path, port = project.health.value, project.port
    if not path:
        # Any answer will do, and no less: a server listens before its workers have imported the application.
        said = f"h = HTTPConnection('127.0.0.1', {port}, timeout=2); h.request('HEAD', '/'); h.getresponse()"
        program = f"from http.client import HTTPConnection; {said}"
    else:
        program = f"from urllib.request import urlopen; urlopen('http://127.0.0.1:{port}{path}', timeout=2)"
    times = f"--interval={interval} --timeout=3s --start-period=20s --start-interval=0.5s"
    return f"HEALTHCHECK {times} \\\n    CMD {json.dumps(['python', '-c', program])}"


def _production(project: Project) -> list[str]:
    production = project.django_production
    return [
        "FROM interpreter AS production",
        "ENV LANG=C.UTF-8 PATH=/opt/venv/bin:/usr/local/bin:/usr/bin \\",
        "    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PYTHONPATH=/app",
        *_version(project, metadata=False),
        # Django's commands, such as the release step, would take other settings, or none.
        *([f"ENV DJANGO_SETTINGS_MODULE={production}"] if _sets_django(project) else []),
        "COPY --link --from=packages /layers/1/ /",
        "COPY --link --from=application /layers/application/ /",
        "USER 65532:65532",
        # It has a handler for this signal alone, as any Python has: process 1 ends by nothing that it has none for.
        *(["STOPSIGNAL SIGINT"] if project.program == "waitress-serve" or project.app.value.command else []),
        _healthcheck(project, "30s"),
        f"CMD {json.dumps(list(project.server.value))}",
    ]
