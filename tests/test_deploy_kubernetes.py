"""Deploys to a cluster's stand-in: first and again, bad images, a failing step, two at once, a silent cluster."""

import copy
import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dockyard.deploy import steps
from dockyard.deploy.cluster import LostError, UnhealthyError
from dockyard.deploy.destination import Destination
from dockyard.deploy.kubectl import Kubectl
from dockyard.deploy.kubernetes import Kubernetes, is_settled
from dockyard.deploy.kubernetes_memory import LEASE_SECONDS
from dockyard.deploy.plan import compare_objects
from dockyard.errors import DockyardError
from dockyard.settings import Settings

from .compose_documents import SHOP
from .kubectl_stand_in import KubectlStandIn

PLACE = Destination("cluster", "kubernetes", external={"db": "db.example"}, replicas=3, timeout=120)


def image(letter: str) -> str:
    """Return an image by its digest."""
    return f"registry.example/team/shop@sha256:{letter * 64}"


@pytest.fixture
def kubectl() -> KubectlStandIn:
    """Return kubectl, and behind it a cluster with an empty namespace."""
    return KubectlStandIn()


def connect(
    kubectl: KubectlStandIn, tmp_path: Path, place: Destination = PLACE, document: dict[str, Any] = SHOP
) -> Kubernetes:
    """Return the cluster as a deploy sees it."""
    settings = Settings(tmp_path, app="shop:app", image="team/shop", stack="shop", registry="registry.example")
    cluster = Kubernetes(
        settings, place, Kubectl("shop", run=kubectl.run), lambda *_: document, kubectl.clock, kubectl.sleep
    )
    cluster.lease.now = kubectl.clock
    return cluster


def deploy(cluster: Kubernetes, name: str) -> int:
    """Deploy an image as `invoke deploy` does."""
    cluster.make_objects(image(name))
    return cluster.apply(image(name))


def images(kubectl: KubectlStandIn) -> set[str]:
    """Return the first letters of the digests of the project's pods that run."""
    found = [one for key, one in kubectl.cluster.objects.items() if key[1] == "pods"]
    shown = [one["spec"]["containers"][0]["image"] for one in found if "job-name" not in one["metadata"]["labels"]]
    return {one.partition("sha256:")[2][0] for one in shown if "sha256:" in one}


def test_a_first_deploy_and_the_next(kubectl: KubectlStandIn, tmp_path: Path) -> None:
    """All is made, the release step runs once for each image, old copies stay until new ones are ready."""
    cluster = connect(kubectl, tmp_path)
    assert deploy(cluster, "a") == 1
    assert images(kubectl) == {"a"}
    live = cluster.read_live()
    assert compare_objects(live.objects, cluster.make_objects(image("a"))) == ()
    assert [(one.number, one.outcome) for one in live.versions] == [(1, "runs")]
    kubectl.cluster.least_ready.clear()
    changes = compare_objects(live.objects, connect(kubectl, tmp_path).make_objects(image("b")))
    assert {(one.thing, one.key) for one in changes} == {
        ("deployment web", "containers[web].image"), ("deployment letter-worker", "containers[letter-worker].image"),
    }  # fmt: skip
    assert deploy(connect(kubectl, tmp_path), "b") == 2
    assert images(kubectl) == {"b"}
    assert kubectl.cluster.least_ready["web"] == 3
    assert len(kubectl.cluster.jobs_run) == 2
    with cluster.hold():
        pass  # nobody else does


def test_a_dry_run_writes_nothing(kubectl: KubectlStandIn, tmp_path: Path) -> None:
    """Only reads, and applies that are dry."""
    cluster = connect(kubectl, tmp_path)
    cluster.make_objects(image("a"))
    cluster.read_live()
    assert kubectl.cluster.objects == {}


def test_what_others_changed_is_shown_and_set_right(kubectl: KubectlStandIn, tmp_path: Path) -> None:
    """Also where the Compose files are as they were; what only others have named stays theirs."""
    cluster = connect(kubectl, tmp_path)
    deploy(cluster, "a")
    worker = kubectl.cluster.objects["shop", "deployments", "letter-worker"]
    worker["spec"]["replicas"] = 9
    worker["metadata"]["annotations"]["team"] = "letters"
    (change,) = compare_objects(cluster.read_live().objects, cluster.make_objects(image("a")))
    assert (change.thing, change.key, change.before, change.after) == (
        "deployment letter-worker", "spec.replicas", "9", "3",
    )  # fmt: skip
    deploy(cluster, "a")
    worker = kubectl.cluster.objects["shop", "deployments", "letter-worker"]
    assert (worker["spec"]["replicas"], worker["metadata"]["annotations"]["team"]) == (3, "letters")


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("crash", r"it ended \d times, at last with exit code 3"),
        ("missing", "ImagePullBackOff: the missing is not there"),
        ("config", "CreateContainerConfigError: the config is not there"),
        ("sick", "did not become healthy within 120 s"),
    ],
)
def test_a_bad_image_returns_by_itself(
    kubectl: KubectlStandIn, tmp_path: Path, caplog: pytest.LogCaptureFixture, fault: str, why: str
) -> None:
    """What ran before runs, with no copy fewer at any moment; the failing copy's last lines are shown."""
    caplog.set_level(logging.INFO)
    cluster = connect(kubectl, tmp_path)
    deploy(cluster, "a")
    kubectl.cluster.least_ready.clear()
    kubectl.cluster.faults["bbb"] = fault
    with pytest.raises(UnhealthyError, match=why):
        deploy(cluster, "b")
    assert images(kubectl) == {"a"}
    assert kubectl.cluster.least_ready["web"] == 3
    assert [(one.number, one.outcome) for one in cluster.read_live().versions] == [(2, "failed"), (1, "runs")]
    with cluster.hold():
        pass  # nobody else does
    assert ("fatal: crash" in caplog.text) == (fault == "crash")
    assert compare_objects(cluster.read_live().objects, cluster.make_objects(image("a"))) == ()


def test_a_first_deploy_that_fails_leaves_nothing(kubectl: KubectlStandIn, tmp_path: Path) -> None:
    """But what is remembered of it."""
    kubectl.cluster.faults["aaa"] = "crash"
    with pytest.raises(UnhealthyError):
        deploy(connect(kubectl, tmp_path), "a")
    assert {key[1] for key in kubectl.cluster.objects} == {"configmaps", "leases", "jobs", "pods"}
    assert images(kubectl) == set()


def test_a_release_step_that_fails(kubectl: KubectlStandIn, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """No service was touched; the next deploy of the same image runs it again."""
    caplog.set_level(logging.INFO)
    cluster = connect(kubectl, tmp_path)
    deploy(cluster, "a")
    kubectl.cluster.faults["bbb"] = "job"
    before = copy.deepcopy(kubectl.cluster.objects["shop", "deployments", "web"]["spec"])
    with pytest.raises(UnhealthyError, match="the release step failed: Job has reached the specified backoff limit"):
        deploy(cluster, "b")
    assert kubectl.cluster.objects["shop", "deployments", "web"]["spec"] == before
    assert "fatal: job" in caplog.text
    kubectl.cluster.faults.clear()
    assert deploy(cluster, "b") == 3
    assert images(kubectl) == {"b"}
    assert len(kubectl.cluster.jobs_run) == 3


def test_a_step_that_has_succeeded_is_not_run_again(kubectl: KubectlStandIn, tmp_path: Path) -> None:
    """Once for each image, however often that is deployed."""
    for letter in "aba":
        deploy(connect(kubectl, tmp_path), letter)
    assert images(kubectl) == {"a"}
    assert len(kubectl.cluster.jobs_run) == 2


def test_an_old_copy_that_crashes_does_not_keep_a_new_image_out(kubectl: KubectlStandIn, tmp_path: Path) -> None:
    """Only new copies are judged: what is left of another day, on a node that is lost say, is no sign of the new."""
    deploy(connect(kubectl, tmp_path), "a")
    pods = kubectl.cluster.objects
    left = copy.deepcopy(next(one for key, one in pods.items() if key[1] == "pods" and key[2].startswith("web")))
    left["metadata"] |= {"name": "left", "uid": "left", "ownerReferences": [{"uid": "nobody"}]}
    left["status"]["containerStatuses"][0]["restartCount"] = 9
    pods["shop", "pods", "left"] = left
    deploy(connect(kubectl, tmp_path), "b")
    assert [one.said for one in connect(kubectl, tmp_path).status() if one.name == "left"] != [""]
    assert images(kubectl) == {"a", "b"}


def test_a_rollback(kubectl: KubectlStandIn, tmp_path: Path) -> None:
    """To the one before, or to a number, with the variables of then; the release step does not run."""
    deploy(connect(kubectl, tmp_path, replace(PLACE, environment={"LEVEL": "first"})), "a")
    deploy(connect(kubectl, tmp_path), "b")
    runs = len(kubectl.cluster.jobs_run)
    cluster = connect(kubectl, tmp_path)
    assert cluster.rollback(0) == image("a")
    assert images(kubectl) == {"a"}
    maps = [one["data"] for key, one in kubectl.cluster.objects.items() if key[1] == "configmaps"]
    assert "first" in [data.get("LEVEL") for data in maps]
    assert len(kubectl.cluster.jobs_run) == runs
    assert cluster.rollback(2) == image("b")
    assert images(kubectl) == {"b"}


def test_what_is_named_no_more_goes(kubectl: KubectlStandIn, tmp_path: Path) -> None:
    """A service that left the Compose files, after the others are healthy; what is not ours stays, and so do claims."""
    deploy(connect(kubectl, tmp_path), "a")
    other = {"metadata": {"name": "theirs", "labels": {"app.kubernetes.io/instance": "shop"}}, "spec": {}}
    kubectl.cluster.objects["shop", "services", "theirs"] = {**other, "kind": "Service"}
    fewer = {**SHOP, "services": {key: body for key, body in SHOP["services"].items() if key != "mail"}}
    deploy(connect(kubectl, tmp_path, document=fewer), "a")
    left = {key[2] for key in kubectl.cluster.objects if key[1] in {"deployments", "services"}}
    assert left == {"web", "letter-worker", "db", "theirs"}


def test_two_at_once(kubectl: KubectlStandIn, tmp_path: Path) -> None:
    """The second is told who is at it; a lease whose holder died runs out."""
    one, two = connect(kubectl, tmp_path), connect(kubectl, tmp_path)
    with one.lease.hold():
        with pytest.raises(DockyardError, match="deploys shop at this moment"):
            deploy(two, "a")
        kubectl.now += LEASE_SECONDS
        deploy(two, "a")
        with pytest.raises(DockyardError, match="somebody else deploys shop by now"):
            one.lease.renew()
    assert images(kubectl) == {"a"}


@pytest.mark.parametrize("moment", ["jobs/migrate", "pods?", "apply --server-side"])
def test_an_interrupt_returns(kubectl: KubectlStandIn, tmp_path: Path, moment: str) -> None:
    """Whatever is in the making: what ran before runs."""
    cluster = connect(kubectl, tmp_path)
    deploy(cluster, "a")
    cluster.make_objects(image("b"))
    kubectl.interrupt_at = moment
    with pytest.raises(KeyboardInterrupt):
        cluster.apply(image("b"))
    assert images(kubectl) == {"a"}
    with cluster.hold():
        pass  # nobody else does
    assert [one.outcome for one in cluster.read_live().versions] == ["failed", "runs"]


def test_a_short_silence_is_no_failure(kubectl: KubectlStandIn, tmp_path: Path) -> None:
    """The cluster goes on by itself; the deploy looks again."""
    cluster = connect(kubectl, tmp_path)
    deploy(cluster, "a")
    kubectl.cut_at, kubectl.silence = "pods?", 8
    assert deploy(cluster, "b") == 2
    assert kubectl.silence == 0
    assert images(kubectl) == {"b"}


def test_a_cluster_that_falls_silent(kubectl: KubectlStandIn, tmp_path: Path) -> None:
    """It is told, with what goes on there."""
    cluster = connect(kubectl, tmp_path)
    deploy(cluster, "a")
    kubectl.cut_at, kubectl.silence = "pods?", 10_000
    with pytest.raises(LostError, match="the cluster does not answer"):
        deploy(cluster, "b")
    kubectl.silence = 1
    with pytest.raises(LostError, match="the cluster does not answer"):
        cluster.read_live()


def test_a_namespace_that_is_not_there(kubectl: KubectlStandIn, tmp_path: Path) -> None:
    """It is told before anything is made."""
    kubectl.cluster.namespaces.clear()
    with pytest.raises(DockyardError, match="the cluster has no such namespace"):
        deploy(connect(kubectl, tmp_path), "a")


def test_what_the_cluster_refuses_is_told(kubectl: KubectlStandIn, tmp_path: Path) -> None:
    """In its own words: here a selector that cannot be changed."""
    cluster = connect(kubectl, tmp_path)
    deploy(cluster, "a")
    kubectl.cluster.objects["shop", "deployments", "web"]["spec"]["selector"]["matchLabels"]["old"] = "x"
    kubectl.cluster.applied["shop", "deployments", "web"]["spec"]["selector"]["matchLabels"]["old"] = "x"
    with pytest.raises(DockyardError, match=r"the cluster refuses: .*field is immutable"):
        cluster.make_objects(image("b"))


def test_status_and_logs(kubectl: KubectlStandIn, tmp_path: Path) -> None:
    """Every copy with its health; the command that shows the log of a service."""
    cluster = connect(kubectl, tmp_path)
    deploy(cluster, "a")
    web = [one for one in cluster.status() if one.service == "web"]
    assert {(one.state, one.health, one.image) for one in web} == {("Running", "ready", image("a"))}
    words = cluster.logs("web", follow=True, tail=7).argv
    assert words[-2:] == ("--tail=7", "--follow")
    assert "app.kubernetes.io/instance=shop,app.kubernetes.io/name=web" in words


def test_a_claim_is_made_once_and_never_goes(kubectl: KubectlStandIn, tmp_path: Path) -> None:
    """Its size is the cluster's to change, and its data nobody's to remove."""
    volume = {"type": "volume", "source": "files", "target": "/files", "volume": {}}
    services = {**SHOP["services"], "web": {**SHOP["services"]["web"], "volumes": [volume]}}
    deploy(connect(kubectl, tmp_path, document={**SHOP, "services": services}), "a")
    claim = kubectl.cluster.objects["shop", "persistentvolumeclaims", "shop-files"]
    claim["spec"]["resources"]["requests"]["storage"] = "20Gi"
    deploy(connect(kubectl, tmp_path, document={**SHOP, "services": services}), "b")
    deploy(connect(kubectl, tmp_path), "c")
    assert claim["spec"]["resources"]["requests"]["storage"] == "20Gi"
    assert ("shop", "persistentvolumeclaims", "shop-files") in kubectl.cluster.objects


def test_a_deployment_is_settled_when_it_has_seen_its_change() -> None:
    """A status of before the change counts for nothing, nor does one with an old copy left."""
    done = {"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}
    body = {"metadata": {"generation": 2}, "spec": {"replicas": 2}, "status": done}
    assert is_settled(body)
    assert not is_settled({**body, "metadata": {"generation": 3}})
    assert not is_settled({**body, "status": {**done, "replicas": 3}})
    assert not is_settled(None)


def test_no_kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told as such."""
    monkeypatch.setenv("PATH", str(tmp_path))
    settings = Settings(tmp_path, app="shop:app", image="team/shop", stack="shop")
    with pytest.raises(DockyardError, match="there is no kubectl on this machine"):
        steps.open_cluster(settings, PLACE)


def test_the_words_of_kubectl() -> None:
    """A context, a server, a namespace, and no request without an end."""
    command = Kubectl("shop", "far", "https://k.example").command("get", "--raw", "/x")
    assert command.argv == (
        "kubectl", "--context", "far", "--server", "https://k.example", "--namespace", "shop",
        "--request-timeout=30s", "get", "--raw", "/x",
    )  # fmt: skip
    assert json.dumps(command.input.decode() if command.input else "") == '""'
