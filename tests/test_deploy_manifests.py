"""Compose documents as a cluster's objects: what each service becomes, hardened, without the value of any secret."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from dockyard.deploy.destination import Destination
from dockyard.deploy.goal import Goal, parse_size
from dockyard.deploy.kustomize import (
    check_files,
    lay_out,
    lay_out_base,
    lay_out_overlay,
    read_release,
    write_documents,
    write_files,
)
from dockyard.deploy.manifests import Manifest, list_notes, list_objects
from dockyard.deploy.model import Check, read_habits, read_workloads
from dockyard.deploy.pods import Release, format_cpus, format_size
from dockyard.errors import ChangesPending, SettingsError, UsageError
from dockyard.image.dockerfile import parse_dockerfile
from dockyard.settings import Settings

from .compose_documents import IMAGE, KEEPER, PASSWORD, SHOP
from .pod_security import list_violations

PLACE = Destination("cluster", "kubernetes", domain="shop.example", external={"db": "db.example"}, health="/healthz")


def describe(document: dict[str, Any] = SHOP, place: Destination = PLACE, dockerfile: str = "FROM scratch") -> Release:
    """Return what is to run of a document."""
    goal = Goal("shop", "team/shop", (8000,), place, IMAGE, document)
    return Release("shop", place, read_workloads(goal, read_habits(parse_dockerfile(dockerfile))))


def find(release: Release, kind: str, name: str) -> dict[str, Any]:
    """Return one object's spec."""
    made = {(one["kind"], one["metadata"]["name"]): one for one in list_objects(release)}
    spec: dict[str, Any] = made[kind, name]["spec"]
    return spec


def list_jobs(release: Release) -> list[Manifest]:
    """Return the steps that run once."""
    return [one for one in list_objects(release) if one["kind"] == "Job"]


def container(release: Release, name: str) -> dict[str, Any]:
    """Return the container of a deployment."""
    only: dict[str, Any] = find(release, "Deployment", name)["template"]["spec"]["containers"][0]
    return only


def test_each_service_has_its_role() -> None:
    """What serves, works, runs once, keeps data, and what is somebody else's program."""
    roles = {one.name: one.role for one in describe().workloads}
    assert roles == {
        "web": "web",
        "letter_worker": "worker",
        "migrate": "one-shot",
        "db": "database",
        "mail": "service",
    }


def test_the_kinds_of_objects() -> None:
    """A web has an entrance, a scale and a budget; a worker no service; a release step is a job; data is elsewhere."""
    release = describe()
    kinds: dict[str, list[str]] = {}
    for one in list_objects(release):
        kinds.setdefault(one["metadata"]["name"].partition("-")[0], []).append(one["kind"])
    assert kinds == {
        "shop": ["ServiceAccount", "NetworkPolicy"],
        "web": ["ConfigMap", "Deployment", "Service", "NetworkPolicy", "Ingress", "HorizontalPodAutoscaler",
                "PodDisruptionBudget"],
        "letter": ["ConfigMap", "Deployment", "PodDisruptionBudget"],
        "migrate": ["Job"],
        "db": ["Service"],
        "mail": ["Deployment", "Service"],
    }  # fmt: skip
    assert find(release, "Service", "db") == {"type": "ExternalName", "externalName": "db.example"}


@pytest.mark.parametrize("document", [SHOP, KEEPER], ids=["shop", "keeper"])
def test_the_restricted_standard_holds(document: dict[str, Any]) -> None:
    """Every pod of every service, also where the Compose files say nothing of hardening."""
    release = describe(document)
    pods = [one["spec"]["template"]["spec"] for one in list_objects(release) if one["kind"] in {"Deployment", "Job"}]
    assert pods
    for pod in pods:
        assert list_violations(pod) == []
        assert pod["automountServiceAccountToken"] is False
    own = [pod for pod in pods if pod["containers"][0]["image"] == IMAGE]
    assert all(pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"] for pod in own)


@pytest.mark.parametrize(
    ("change", "control"),
    [
        ({"hostNetwork": True}, "Host Namespaces"),
        ({"volumes": [{"name": "x", "hostPath": {"path": "/"}}]}, "HostPath Volumes"),
        ({"volumes": [{"name": "x", "nfs": {}}]}, "Volume Types"),
        ({"securityContext": {"runAsNonRoot": True}}, "Seccomp"),
        ({"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}}, "Running as Non-root"),
        ({"securityContext": {"runAsUser": 0, "runAsNonRoot": True}}, "Running as Non-root user"),
        ({"containers": [{}]}, "Privilege Escalation"),
        ({"initContainers": [{"securityContext": {"privileged": True}}]}, "Privileged Containers"),
        ({"containers": [{"securityContext": {"capabilities": {"drop": ["NET_RAW"]}}}]}, "Capabilities"),
        ({"containers": [{"ports": [{"hostPort": 80}]}]}, "Host Ports"),
    ],
)
def test_the_table_of_the_standard_sees(change: dict[str, Any], control: str) -> None:
    """Each breach of the standard: a table that finds nothing proves nothing."""
    pod = find(describe(), "Deployment", "web")["template"]["spec"]
    assert control in " ".join(list_violations({**pod, **change}))


def test_no_value_of_a_secret_is_written() -> None:
    """Not that of a variable, not that of a database that is not made; files and harmless variables are."""
    text = "".join(lay_out_base(describe()).values())
    assert PASSWORD not in text
    web = container(describe(), "web")
    reference = {"secretKeyRef": {"name": "shop-environment", "key": "DATABASE_URL"}}
    assert web["env"] == [{"name": "DATABASE_URL", "valueFrom": reference}]
    (settings,) = [one for one in list_objects(describe()) if one["metadata"]["name"].startswith("web-")
                   and one["kind"] == "ConfigMap"]  # fmt: skip
    assert settings["data"] == {"DEBUG": "", "LEVEL": "in$put", "TOKEN_FILE": "/run/secrets/token"}
    assert settings["immutable"] is True
    assert web["envFrom"] == [{"configMapRef": {"name": settings["metadata"]["name"]}}]


def test_a_changed_variable_is_another_config_map() -> None:
    """So that copies start anew with it, and the way back finds the old one."""
    names = [
        container(describe(place=replace(PLACE, environment={"LEVEL": level})), "web")["envFrom"][0]["configMapRef"]
        for level in ("info", "debug", "info")
    ]
    assert names[0] == names[2] != names[1]


def test_limits_health_and_end() -> None:
    """Limits of the Compose files, requests below them, three probes, and time for the last requests."""
    release = describe()
    web = container(release, "web")
    assert web["resources"] == {
        "requests": {"cpu": "125m", "memory": "256Mi"},
        "limits": {"cpu": "500m", "memory": "256Mi"},
    }
    assert container(release, "letter-worker")["resources"] == {
        "requests": {"cpu": "200m", "memory": "128Mi"},
        "limits": {"memory": "128Mi"},
    }
    probes = [web[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")]
    assert {(probe["path"], probe["port"]) for probe in probes} == {("/healthz", 8000)}
    assert web["lifecycle"] == {"preStop": {"sleep": {"seconds": 5}}}
    assert find(release, "Deployment", "web")["template"]["spec"]["terminationGracePeriodSeconds"] == 95
    relay = container(release, "mail")["readinessProbe"]
    assert relay["exec"] == {"command": ["sh", "-c", "relay ping || exit 1"]}
    assert (relay["periodSeconds"], relay["failureThreshold"]) == (3, 2)
    assert "livenessProbe" not in container(release, "letter-worker")


def test_the_check_of_the_dockerfile_is_that_of_the_web() -> None:
    """Where no path is named; a worker of the same image is not asked, and the Dockerfile's user counts."""
    text = 'FROM x\nUSER 4242\nHEALTHCHECK --interval=20s --start-period=2m --retries=5 CMD ["probe", "-v"]\n'
    release = describe(KEEPER, replace(PLACE, health=""), text)
    (web,) = release.workloads
    assert web.check == Check(("probe", "-v"), "", 20, 30, 5, 120)
    assert (web.user, web.group) == (4242, -1)
    shell = read_habits(parse_dockerfile("FROM x\nHEALTHCHECK CMD curl -f localhost\n")).check
    assert shell == Check(("sh", "-c", "curl -f localhost"))
    assert read_habits(parse_dockerfile("FROM x\nHEALTHCHECK NONE\n")).check is None


def test_memory_and_secrets_are_mounted() -> None:
    """A tmpfs in memory with its size, shared memory too; each secret as the file that Compose makes it."""
    spec = find(describe(), "Deployment", "web")["template"]["spec"]
    volumes = {one["name"]: one for one in spec["volumes"]}
    assert volumes["memory-tmp"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "64Mi"}
    assert volumes["memory-dev-shm"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "64Mi"}
    source = {"secret": {"name": "shop-token", "items": [{"key": "token", "path": "token"}]}}
    assert volumes["secrets"]["projected"]["sources"] == [source]
    assert {one["name"]: one["mountPath"] for one in spec["containers"][0]["volumeMounts"]} == {
        "memory-tmp": "/tmp", "memory-dev-shm": "/dev/shm", "secrets": "/run/secrets",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "modes", "replicas"),
    [("claim", ["ReadWriteOnce"], 1), ("shared", ["ReadWriteMany"], None), ("scratch", None, None)],
)
def test_a_volume_is_what_the_destination_says(kind: str, modes: list[str] | None, replicas: int | None) -> None:
    """A claim of one node has one copy, which ends before the next one starts; others are scaled."""
    release = describe(KEEPER, replace(PLACE, volumes={"app_data": kind}))
    claims = [one["spec"]["accessModes"] for one in list_objects(release) if one["kind"] == "PersistentVolumeClaim"]
    assert claims == ([modes] if modes else [])
    web = find(release, "Deployment", "web")
    assert web.get("replicas") == replicas
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    assert web["strategy"] == ({"type": "Recreate"} if replicas else rolling)
    assert web["template"]["spec"]["securityContext"]["fsGroup"] == 65532


def test_replicas() -> None:
    """The scale says how many copies run where there is one; the Compose files are stronger than the destination."""
    release = describe(place=replace(PLACE, replicas=4))
    assert "replicas" not in find(release, "Deployment", "web")
    assert find(release, "HorizontalPodAutoscaler", "web")["minReplicas"] == 4
    assert find(release, "HorizontalPodAutoscaler", "web")["maxReplicas"] == 8
    assert find(release, "Deployment", "letter-worker")["replicas"] == 3
    fixed = describe(place=replace(PLACE, replicas=4, max_replicas=4))
    assert find(fixed, "Deployment", "web")["replicas"] == 4


def test_a_load_balancer_that_exists() -> None:
    """Without a front the service itself asks for the load balancer, and there is no ingress."""
    release = describe(place=replace(PLACE, front=False, port=443))
    web = find(release, "Service", "web")
    assert (web["type"], web["ports"][0]["port"], web["ports"][0]["targetPort"]) == ("LoadBalancer", 443, 8000)
    assert "Ingress" not in {one["kind"] for one in list_objects(release)}


def test_the_release_step_of_the_destination() -> None:
    """It stands for those of the Compose files, and is another job for another image: a job cannot be changed."""
    place = replace(PLACE, release=("flask", "upgrade"))
    (job,) = list_jobs(describe(place=place))
    assert job["spec"]["template"]["spec"]["containers"][0]["args"] == ["flask", "upgrade"]
    assert job["spec"]["backoffLimit"] == 0
    goal = Goal("shop", "team/shop", (8000,), place, IMAGE.replace("b", "c"), SHOP)
    (other,) = list_jobs(Release("shop", place, read_workloads(goal)))
    assert other["metadata"]["name"] != job["metadata"]["name"]
    assert list_jobs(describe(place=place))[0]["metadata"]["name"] == job["metadata"]["name"]


def test_what_is_left_out_is_said() -> None:
    """A folder of one machine, a capability, a database without a host, and every secret that has to be there."""
    notes = "\n".join(list_notes(describe(place=replace(PLACE, external={}))))
    assert "volumes: /srv/mail on /mail is a folder of one machine" in notes
    assert "cap_add: NET_ADMIN" in notes
    assert 'external = { db = "HOST" }' in notes
    assert "secret shop-token with the key token" in notes
    assert "secret shop-environment with the key DATABASE_URL" in notes


def test_names_that_a_cluster_has_otherwise() -> None:
    """What others ask for by its name is told; a name that is taken is refused."""
    web, mail = SHOP["services"]["web"], SHOP["services"]["mail"]
    told = "Mail_Out is called mail-out in the cluster: what asks for it has to as well"
    assert told in list_notes(describe({"services": {"web": web, "Mail_Out": mail}}))
    assert told not in list_notes(describe())
    for name in ("shared", "WEB"):
        with pytest.raises(SettingsError, match=f"the service {name} would be '{name.lower()}' in a cluster"):
            list_objects(describe({"services": {"web": web, name: mail}}))


def test_requests_go_to_the_port_of_the_settings() -> None:
    """Wherever the Compose files list it."""
    web = {**SHOP["services"]["web"], "ports": [{"target": 9000}, {"target": 8000}]}
    release = describe({"services": {"web": web}})
    rule = find(release, "Ingress", "web")["rules"][0]["http"]["paths"][0]
    assert rule["backend"]["service"]["port"] == {"number": 8000}


def test_the_files_are_what_the_objects_are(tmp_path: Path) -> None:
    """Read by another reader, the base holds the same values; twice the same bytes; the overlay is written once."""
    release = describe()
    files, once = lay_out_base(release), lay_out_overlay(release)
    assert files == lay_out_base(describe())
    index = yaml.safe_load(files["base/kustomization.yaml"])
    read = [one for name in index["resources"] for one in yaml.safe_load_all(files[f"base/{name}"])]
    by_name = lambda one: (one["kind"], one["metadata"]["name"])  # noqa: E731
    assert sorted(read, key=by_name) == sorted(list_objects(release), key=by_name)
    write_files(tmp_path, files, once)
    (tmp_path / "overlay/kustomization.yaml").write_text("mine")
    (tmp_path / "base/mine.yaml").write_text("mine")
    (tmp_path / "base/gone.yaml").write_text(files["base/web.yaml"])
    (tmp_path / "base/web.yaml").write_text("changed")
    with pytest.raises(ChangesPending, match=r"not as the Compose files say: base/web.yaml, base/gone.yaml"):
        check_files(tmp_path, files)
    assert write_files(tmp_path, files, once) == ("base/web.yaml", "base/gone.yaml")
    assert not (tmp_path / "base/gone.yaml").exists()
    check_files(tmp_path, files)
    assert (tmp_path / "base/mine.yaml").read_text() == "mine"
    assert (tmp_path / "overlay/kustomization.yaml").read_text() == "mine"


@pytest.mark.parametrize(
    "value",
    ["", "no", "ON", "null", "1", "0x1", "1e3", "12:30", "a: b", "a #b", "- x", "é", "a\nb", " a", "~", "{}", "::", "=",
     "!x", "&x", "*x", "%x", "@x", "`x", "'", '"', "a,b", "[a", "key:", 0, 1.5, True, None, [], {}, [1, "2", {"a": []}],
     {"a": {"b": [{"c": 1, "d": [{"e": "x"}]}]}}, [{"a": 1, "b": 2}, {"c": {}}], "2026-11-26", ".5", "y", "a"],
)  # fmt: skip
def test_yaml_is_read_as_it_was_written(value: Any) -> None:
    """Whatever a value looks like, another reader finds it again, below any key and in any list."""
    document = {"first": value, "list": [value, {"inner": value}], "map": {"key": value}}
    assert yaml.safe_load(write_documents([document], {"inner": "why", "key": "two\nlines"})) == document


def test_amounts() -> None:
    """As Compose writes them in, as Kubernetes writes them out."""
    sizes = ("64m", "1g", "268435456", "1.5k", "", "512kb")
    assert [parse_size(text) for text in sizes] == [2**26, 2**30, 2**28, 1536, 0, 2**19]
    assert [format_size(size) for size in (2**26, 2**30, 1536, 1000)] == ["64Mi", "1Gi", "1536", "1000"]
    assert [format_cpus(cpus) for cpus in (1, 0.5, 2.25, 0.0001)] == ["1", "500m", "2250m", "1m"]


def test_a_project_without_a_dockerfile_of_ours(tmp_path: Path) -> None:
    """The numbers that Dockyard's images have are taken where nothing names a user."""
    settings = Settings(tmp_path, app="shop:app", image="team/shop", stack="shop")
    release = read_release(settings, PLACE, IMAGE, KEEPER)
    security = find(release, "Deployment", "web")["template"]["spec"]["securityContext"]
    assert (security["runAsUser"], security["runAsGroup"]) == (65532, 65532)


def test_one_host_takes_the_compose_files(tmp_path: Path) -> None:
    """There is nothing to write for it."""
    with pytest.raises(UsageError, match="far is one host: it takes the Compose files as they are"):
        lay_out(Settings(tmp_path, app="shop:app", image="team/shop"), Destination("far", "compose"), IMAGE)


def test_a_stage_has_the_habits_of_those_it_stands_on() -> None:
    """What a stage does not say itself counts as the stage says that it is FROM; other stages do not."""
    text = "FROM x AS base\nUSER 7:8\nFROM y AS other\nUSER 9\nFROM base AS production\nHEALTHCHECK CMD a\nFROM other\n"
    habits = read_habits(parse_dockerfile(text))
    assert (habits.user, habits.group, habits.check) == (7, 8, Check(("sh", "-c", "a")))
    assert read_habits(parse_dockerfile(text), "none").user == 9
