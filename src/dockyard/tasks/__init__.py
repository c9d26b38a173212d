"""Dockyard's Invoke tasks: a project's tasks.py imports `namespace` as `ns`."""

from invoke.collection import Collection

from dockyard.tasks import base, build, deploy, init, lock, machine, publish, report, stack, verify

deployments = Collection("deploy", deploy.status, deploy.logs, deploy.history)
deployments.add_task(deploy.deploy, name="run", default=True)

namespace = Collection(
    init.init,
    build.build,
    build.tag,
    publish.push,
    verify.verify,
    verify.reproduce,
    publish.inspect,
    publish.release,
    stack.debug,
    lock.lock,
    verify.audit,
    report.report,
    machine.doctor,
    stack.up,
    stack.down,
    stack.ps,
    stack.logs,
    stack.shell,
    stack.restart,
    deploy.rollback,
    deploy.manifests,
    deployments,
    machine.engine,
    Collection.from_module(base, "base"),
)
