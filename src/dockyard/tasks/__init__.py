"""Dockyard's Invoke tasks: a project's tasks.py imports `namespace` as `ns`."""

from invoke.collection import Collection

from dockyard.tasks import (
    audit,
    base,
    build,
    debug,
    deploy,
    doctor,
    engine,
    init,
    inspect,
    lock,
    push,
    release,
    reproduce,
    stack,
    verify,
)

deployments = Collection("deploy", deploy.status, deploy.logs, deploy.history)
deployments.add_task(deploy.deploy, name="run", default=True)

namespace = Collection(
    init.init,
    build.build,
    build.tag,
    push.push,
    verify.verify,
    reproduce.reproduce,
    inspect.inspect,
    release.release,
    debug.debug,
    lock.lock,
    audit.audit,
    doctor.doctor,
    stack.up,
    stack.down,
    stack.ps,
    stack.logs,
    stack.shell,
    stack.restart,
    deploy.rollback,
    deployments,
    Collection.from_module(engine, "engine"),
    Collection.from_module(base, "base"),
)
