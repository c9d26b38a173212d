"""The restricted Pod Security Standard as Kubernetes publishes it: each control as a row, and who breaks it.

A path of a row is within a pod's spec; [*] is every entry of a list, `containers` stands for init containers too.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

Allowed = Callable[[Any], bool]
VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
}  # fmt: skip
SYSCTLS = {
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
}  # fmt: skip


def _among(*values: Any) -> Allowed:
    return lambda value: value in values


def _within(allowed: set[str]) -> Allowed:
    return lambda values: set(values or ()) <= allowed


ABSENT = _among(None)
CONTROLS: tuple[tuple[str, str, Allowed], ...] = (
    ("HostProcess", "securityContext.windowsOptions.hostProcess", _among(None, False)),
    ("HostProcess", "containers[*].securityContext.windowsOptions.hostProcess", _among(None, False)),
    ("Host Namespaces", "hostNetwork", _among(None, False)),
    ("Host Namespaces", "hostPID", _among(None, False)),
    ("Host Namespaces", "hostIPC", _among(None, False)),
    ("Privileged Containers", "containers[*].securityContext.privileged", _among(None, False)),
    ("Capabilities", "containers[*].securityContext.capabilities.add", _within({"NET_BIND_SERVICE"})),
    ("Capabilities", "containers[*].securityContext.capabilities.drop", lambda value: "ALL" in (value or ())),
    ("HostPath Volumes", "volumes[*].hostPath", ABSENT),
    ("Host Ports", "containers[*].ports[*].hostPort", _among(None, 0)),
    ("Host Probes / Lifecycle Hooks", "containers[*].startupProbe.httpGet.host", _among(None, "")),
    ("Host Probes / Lifecycle Hooks", "containers[*].readinessProbe.httpGet.host", _among(None, "")),
    ("Host Probes / Lifecycle Hooks", "containers[*].livenessProbe.httpGet.host", _among(None, "")),
    ("Host Probes / Lifecycle Hooks", "containers[*].lifecycle.preStop.httpGet.host", _among(None, "")),
    ("AppArmor", "securityContext.appArmorProfile.type", _among(None, "RuntimeDefault", "Localhost")),
    ("AppArmor", "containers[*].securityContext.appArmorProfile.type", _among(None, "RuntimeDefault", "Localhost")),
    ("SELinux", "securityContext.seLinuxOptions.user", _among(None, "")),
    ("SELinux", "containers[*].securityContext.seLinuxOptions.role", _among(None, "")),
    ("/proc Mount Type", "containers[*].securityContext.procMount", _among(None, "Default")),
    ("Sysctls", "securityContext.sysctls[*].name", _among(None, *SYSCTLS)),
    ("Volume Types", "volumes[*]", lambda volume: set(volume or {"name": ""}) - {"name"} <= VOLUMES),
    ("Privilege Escalation", "containers[*].securityContext.allowPrivilegeEscalation", _among(False)),
    ("Running as Non-root", "containers[*].securityContext.runAsNonRoot", _among(None, True)),
    ("Running as Non-root user", "securityContext.runAsUser", lambda value: value != 0),
    ("Running as Non-root user", "containers[*].securityContext.runAsUser", lambda value: value != 0),
    ("Seccomp", "containers[*].securityContext.seccompProfile.type", _among(None, "RuntimeDefault", "Localhost")),
)
EITHER: tuple[tuple[str, str, Allowed], ...] = (
    ("Running as Non-root", "runAsNonRoot", _among(True)),
    ("Seccomp", "seccompProfile.type", _among("RuntimeDefault", "Localhost")),
)
"""What the pod has to say, or each of its containers."""


def list_violations(pod: Mapping[str, Any]) -> list[str]:
    """Return what a pod's spec does against the standard: the control and the path."""
    containers = [*pod.get("containers", ()), *pod.get("initContainers", ())]
    everything = {**pod, "containers": containers}
    found = [
        f"{control}: {path}"
        for control, path, allowed in CONTROLS
        if not all(allowed(value) for value in _read(everything, path))
    ]
    for control, path, allowed in EITHER:
        of_pod = all(map(allowed, _read(everything, f"securityContext.{path}")))
        of_each = all(map(allowed, _read(everything, f"containers[*].securityContext.{path}")))
        if not of_pod and not of_each:
            found.append(f"{control}: securityContext.{path}")
    return found


def _read(value: Any, path: str) -> Iterator[Any]:
    """Yield what is at a path, None where there is nothing."""
    key, _, rest = path.partition(".")
    inner = value.get(key.removesuffix("[*]")) if isinstance(value, Mapping) else None
    for one in (inner or ()) if key.endswith("[*]") else (inner,):
        yield from _read(one, rest) if rest else (one,)
