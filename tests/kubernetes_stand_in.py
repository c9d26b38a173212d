"""A stand-in for a cluster's API that obeys the contract as far as a deploy asks it, in memory.

It keeps objects with versions, merges what is applied as server-side apply does (what a manager named before and names
no more goes; lists of named things are merged by their keys), adds defaults, refuses what real ones refuse (a name that
is taken, an old version, a job or config map that cannot change), and runs what controllers run: copies start one at
a time and old ones stop when a new one is ready. Every request passes a second. `faults` says by a part of an image
what becomes of its copies: crash, missing, config or job.
"""

import copy
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

Body = dict[str, Any]
INSTANCE, NAME = "app.kubernetes.io/instance", "app.kubernetes.io/name"
KEYS = ("name", "containerPort", "port", "mountPath", "topologyKey", "ip")
"""What tells the entries of a list apart; lists of anything else are replaced whole."""
DEFAULTS: Mapping[str, Body] = {
    "deployments": {
        "spec": {"replicas": 1, "template": {"spec": {"restartPolicy": "Always", "dnsPolicy": "ClusterFirst"}}}
    },
    "services": {"spec": {"sessionAffinity": "None", "internalTrafficPolicy": "Cluster"}},
    "ingresses": {"spec": {"ingressClassName": "standard"}},
}
PATH = re.compile(r"/(apis?(?:/[a-z0-9.]+)?/v\d+)(?:/namespaces/([^/]+))?/([a-z]+)(?:/([^/]+))?(?:/(log|status))?")
KINDS = {
    "configmaps": "ConfigMap", "services": "Service", "serviceaccounts": "ServiceAccount", "pods": "Pod",
    "persistentvolumeclaims": "PersistentVolumeClaim", "deployments": "Deployment", "jobs": "Job",
    "ingresses": "Ingress", "networkpolicies": "NetworkPolicy", "poddisruptionbudgets": "PodDisruptionBudget",
    "horizontalpodautoscalers": "HorizontalPodAutoscaler", "leases": "Lease",
}  # fmt: skip


@dataclass(frozen=True)
class Refusal(Exception):
    """An answer that is no success, as the API words it."""

    code: int
    reason: str
    message: str

    def body(self) -> Body:
        """Return the Status object."""
        return {
            "kind": "Status", "apiVersion": "v1", "status": "Failure",
            "reason": self.reason, "code": self.code, "message": self.message,
        }  # fmt: skip


@dataclass
class KubernetesStandIn:
    """The objects of a cluster, and its controllers.

    `least_ready` is the fewest ready copies of each deployment since it first had one, `jobs_run` are the names of jobs
    that ran, `calls` the requests.
    """

    namespaces: set[str] = field(default_factory=lambda: {"shop"})
    faults: dict[str, str] = field(default_factory=dict)
    objects: dict[tuple[str, str, str], Body] = field(default_factory=dict)
    applied: dict[tuple[str, str, str], Body] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    least_ready: dict[str, int] = field(default_factory=dict)
    jobs_run: list[str] = field(default_factory=list)
    silent: int = 0
    count: int = 0

    def answer(self, method: str, address: str, content: bytes = b"") -> tuple[int, Body | str]:
        """Return the status and the body of one request, as the API answers it."""
        self.calls.append((method, address))
        parts = urlsplit(address)
        query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        found = PATH.fullmatch(unquote(parts.path))
        if not found or found[3] not in KINDS:
            return 404, Refusal(404, "NotFound", "the server could not find the requested resource").body()
        try:
            body = json.loads(content) if content else {}
            result = self._serve(method, (found[2] or "", found[3], found[4] or ""), found[5] or "", query, body)
        except Refusal as refusal:
            return refusal.code, refusal.body()
        self._control()
        return (201 if method == "POST" else 200), result

    def _serve(
        self, method: str, key: tuple[str, str, str], part: str, query: Mapping[str, str], body: Body
    ) -> Body | str:
        namespace, resource, name = key
        if method == "GET" and not name:
            return self._list(namespace, resource, query.get("labelSelector", ""))
        if namespace not in self.namespaces and method in {"POST", "PATCH"}:
            raise Refusal(404, "NotFound", f'namespaces "{namespace}" not found')
        if method == "POST":
            return self._create(namespace, resource, body)
        if method == "PATCH":
            return self._apply(key, body, dry="dryRun" in query)
        if key not in self.objects:
            raise Refusal(404, "NotFound", f'{resource} "{name}" not found')
        if part == "log":
            return self._log(self.objects[key], query)
        if method == "PUT":
            self._replace(key, body)
        if method == "DELETE":
            return self._delete(key)
        return copy.deepcopy(self.objects[key])

    def _list(self, namespace: str, resource: str, selector: str) -> Body:
        wanted = dict(pair.split("=", 1) for pair in selector.split(",") if pair)
        items = []
        for (its_namespace, its_resource, _), one in sorted(self.objects.items()):
            labels = one["metadata"].get("labels") or {}
            if (its_namespace, its_resource) == (namespace, resource) and wanted.items() <= labels.items():
                # As from the API: the entries of a list do not say their kind.
                items.append(
                    {key: copy.deepcopy(value) for key, value in one.items() if key not in {"kind", "apiVersion"}}
                )
        return {
            "kind": f"{KINDS[resource]}List",
            "apiVersion": "v1",
            "metadata": {"resourceVersion": str(self.count)},
            "items": items,
        }

    def _create(self, namespace: str, resource: str, body: Body) -> Body:
        key = (namespace, resource, body["metadata"]["name"])
        if key in self.objects:
            raise Refusal(409, "AlreadyExists", f'{resource} "{key[2]}" already exists')
        self._store(key, body)
        return copy.deepcopy(self.objects[key])

    def _replace(self, key: tuple[str, str, str], body: Body) -> None:
        version = body["metadata"].get("resourceVersion")
        if version and version != self.objects[key]["metadata"]["resourceVersion"]:
            message = f'Operation cannot be fulfilled on {key[1]} "{key[2]}": the object has been modified'
            raise Refusal(409, "Conflict", message)
        self._store(key, body)

    def _delete(self, key: tuple[str, str, str]) -> Body:
        uid = self.objects.pop(key)["metadata"]["uid"]
        self.applied.pop(key, None)
        for other, one in list(self.objects.items()):
            if any(owner["uid"] == uid for owner in one["metadata"].get("ownerReferences", ())):
                del self.objects[other]
        return {"kind": "Status", "apiVersion": "v1", "status": "Success"}

    def _apply(self, key: tuple[str, str, str], body: Body, *, dry: bool) -> Body:
        """Merge as server-side apply does; without a write for a dry run."""
        live = copy.deepcopy(self.objects.get(key, {}))
        merged = merge(drop(live, self.applied.get(key, {}), body), body)
        if live and key[1] == "jobs" and merged["spec"] != live["spec"]:
            raise Refusal(422, "Invalid", f'Job.batch "{key[2]}" is invalid: spec.template: field is immutable')
        if live.get("immutable") and merged.get("data") != live.get("data"):
            raise Refusal(
                422, "Invalid", f'ConfigMap "{key[2]}" is invalid: data: field is immutable when `immutable` is set'
            )
        if live and key[1] == "deployments" and merged["spec"]["selector"] != live["spec"]["selector"]:
            raise Refusal(422, "Invalid", f'Deployment.apps "{key[2]}" is invalid: spec.selector: field is immutable')
        merged = merge(DEFAULTS.get(key[1], {}), merged)
        if dry:
            return dict(merged)
        self.applied[key] = copy.deepcopy(body)
        if live != merged:
            self._store(key, merged)
        return copy.deepcopy(self.objects[key])

    def _store(self, key: tuple[str, str, str], body: Body) -> None:
        self.count += 1
        before = self.objects.get(key, {})
        meta = {**body["metadata"], "namespace": key[0], "resourceVersion": str(self.count)}
        meta["uid"] = before.get("metadata", {}).get("uid") or f"uid-{self.count}"
        changed = before.get("spec") != body.get("spec")
        meta["generation"] = before.get("metadata", {}).get("generation", 0) + (1 if changed else 0)
        self.objects[key] = {**copy.deepcopy(body), "kind": KINDS[key[1]], "metadata": meta}

    def _log(self, pod: Body, query: Mapping[str, str]) -> str:
        fault = self._fault(pod["spec"]["containers"][0]["image"])
        if fault == "missing" or (query.get("previous") and fault != "crash"):
            raise Refusal(400, "BadRequest", f'container in pod "{pod["metadata"]["name"]}" is waiting to start')
        lines = ["starting", f"fatal: {fault}" if fault else "serving"]
        return "\n".join(lines[-int(query.get("tailLines", 10)) :]) + "\n"

    def _fault(self, image: str) -> str:
        return next((fault for part, fault in self.faults.items() if part in image), "")

    def _control(self) -> None:
        """Let every controller take one step."""
        for (namespace, resource, _), one in list(self.objects.items()):
            if resource == "horizontalpodautoscalers":
                target = self.objects.get((namespace, "deployments", one["spec"]["scaleTargetRef"]["name"]))
                if target and target["spec"]["replicas"] < one["spec"]["minReplicas"]:
                    target["spec"]["replicas"] = one["spec"]["minReplicas"]
                    target["metadata"]["generation"] += 1
            if resource == "deployments":
                self._roll(namespace, one)
            if resource == "jobs":
                self._run(namespace, one)

    def _roll(self, namespace: str, deployment: Body) -> None:
        name, spec = deployment["metadata"]["name"], deployment["spec"]
        template = json.dumps(spec["template"], sort_keys=True)
        pods = [*self._pods_of(namespace, deployment)]
        new = [pod for pod in pods if pod["template"] == template]
        old = [pod for pod in pods if pod["template"] != template]
        for pod in new:
            self._advance(pod)
        ready = [pod for pod in new if _ready(pod)]
        recreate = spec.get("strategy", {}).get("type") == "Recreate"
        if (old and recreate) or (old and len(ready) + len([pod for pod in old if _ready(pod)]) > spec["replicas"]):
            self._end(namespace, old[0])
        elif old and any(not _ready(pod) for pod in old):
            self._end(namespace, next(pod for pod in old if not _ready(pod)))
        elif len(new) < spec["replicas"] and len(new) - len(ready) < 1:
            self._start(namespace, deployment, spec["template"])
        elif len(new) > spec["replicas"]:
            self._end(namespace, new[-1])
        pods = [*self._pods_of(namespace, deployment)]
        available = [pod for pod in pods if _ready(pod)]
        if available or name in self.least_ready:
            self.least_ready[name] = min(self.least_ready.get(name, len(available)), len(available))
        deployment["status"] = {
            "observedGeneration": deployment["metadata"]["generation"],
            "replicas": len(pods),
            "updatedReplicas": len([pod for pod in pods if pod["template"] == template]),
            "availableReplicas": len(available),
        }

    def _start(self, namespace: str, owner: Body, template: Body, labels: Mapping[str, str] | None = None) -> None:
        self.count += 1
        name = f"{owner['metadata']['name']}-{self.count:05}"
        meta = {
            "name": name, "namespace": namespace, "uid": f"uid-{self.count}", "resourceVersion": str(self.count),
            "labels": {**template["metadata"]["labels"], **(labels or {})},
            "ownerReferences": [{"uid": owner["metadata"]["uid"]}],
        }  # fmt: skip
        self.objects[namespace, "pods", name] = {
            "kind": "Pod", "metadata": meta, "spec": copy.deepcopy(template["spec"]),
            "status": {"phase": "Pending"}, "template": json.dumps(template, sort_keys=True),
        }  # fmt: skip

    def _end(self, namespace: str, pod: Body) -> None:
        del self.objects[namespace, "pods", pod["metadata"]["name"]]

    def _pods_of(self, namespace: str, owner: Body) -> Iterator[Body]:
        for (its_namespace, resource, _), one in sorted(self.objects.items()):
            owners = one["metadata"].get("ownerReferences") or [{"uid": ""}]
            if (its_namespace, resource) == (namespace, "pods") and owners[0]["uid"] == owner["metadata"]["uid"]:
                yield one

    def _advance(self, pod: Body) -> None:
        fault = self._fault(pod["spec"]["containers"][0]["image"])
        status: Body = {"name": "it", "restartCount": 0, "state": {"running": {}}}
        if fault == "crash":
            restarts = pod["status"].get("containerStatuses", [{}])[0].get("restartCount", 0) + 1
            state = {"waiting": {"reason": "CrashLoopBackOff"}}
            status |= {"restartCount": restarts, "state": state, "lastState": {"terminated": {"exitCode": 3}}}
        if fault in {"missing", "config"}:
            reason = {"missing": "ImagePullBackOff", "config": "CreateContainerConfigError"}[fault]
            status["state"] = {"waiting": {"reason": reason, "message": f"the {fault} is not there"}}
        ready = "False" if fault in {"crash", "missing", "config", "sick"} else "True"
        pod["status"] = {
            "phase": "Running", "conditions": [{"type": "Ready", "status": ready}], "containerStatuses": [status],
        }  # fmt: skip

    def _run(self, namespace: str, job: Body) -> None:
        if job.get("status", {}).get("conditions"):
            return
        name = job["metadata"]["name"]
        if not [*self._pods_of(namespace, job)]:
            self.jobs_run.append(name)
            self._start(namespace, job, job["spec"]["template"], {"job-name": name})
            return
        failed = self._fault(job["spec"]["template"]["spec"]["containers"][0]["image"]) == "job"
        condition = {"type": "Failed" if failed else "Complete", "status": "True"}
        if failed:
            condition |= {"reason": "BackoffLimitExceeded", "message": "Job has reached the specified backoff limit"}
        job["status"] = {"conditions": [condition]}


def _ready(pod: Body) -> bool:
    return any(one["status"] == "True" for one in pod["status"].get("conditions", ()))


def merge(below: Any, above: Any) -> Any:
    """Return two values laid over each other, lists of named things entry by entry."""
    if isinstance(below, dict) and isinstance(above, dict):
        return {key: merge(below.get(key), above[key]) if key in above else below[key] for key in {**below, **above}}
    if isinstance(below, list) and isinstance(above, list) and (key := _key(below + above)):
        known = {one[key]: one for one in below}
        fresh = [merge(known.get(one[key], {}), one) for one in above]
        return [*fresh, *(one for one in below if one[key] not in {entry[key] for entry in above})]
    return copy.deepcopy(above)


def drop(live: Any, before: Any, now: Any) -> Any:
    """Return what is live without that which its manager named before and names no more."""
    if isinstance(live, dict) and isinstance(before, dict):
        now = now if isinstance(now, dict) else {}
        kept = {}
        for key, value in live.items():
            # Of a map that is named no more, what others have put into it stays.
            inner = drop(value, before[key], now.get(key)) if key in before else value
            if key not in before or key in now or (isinstance(inner, dict) and inner):
                kept[key] = inner
        return kept
    if isinstance(live, list) and isinstance(before, list) and (key := _key(live + before)):
        named = {one[key]: one for one in before}
        wanted = {one[key]: one for one in now} if isinstance(now, list) else {}
        kept_list = [one for one in live if one[key] not in named or one[key] in wanted]
        return [drop(one, named[one[key]], wanted[one[key]]) if one[key] in named else one for one in kept_list]
    return live


def _key(entries: list[Any]) -> str:
    return next((key for key in KEYS if entries and all(isinstance(one, dict) and key in one for one in entries)), "")
