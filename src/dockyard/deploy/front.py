"""The front: HAProxy's configuration, which finds the copies of a service by name and lets them go before they end.

The names come from the engine's own name service, so a deploy never touches the front: a copy is known there once it
is healthy, and no longer from the moment that it is to stop.
"""

from dataclasses import dataclass

IMAGE = "haproxy"
"""The official image, for which one of Debian's packages stands in where no registry has it."""
FILE = "/usr/local/etc/haproxy/haproxy.cfg"
HEALTH_PORT = 8404
MOST_COPIES = 64


@dataclass(frozen=True)
class Front:
    """What a front is to do: `port` is the one that copies listen on.

    `names` are those of services, each of many copies; with `fixed`, each is that of one copy.
    """

    listen: int
    names: tuple[str, ...]
    port: int
    domain: str = ""
    fixed: bool = False


def write_config(front: Front) -> str:
    """Return HAProxy's configuration (pure).

    What cannot have reached a server is sent to another one; what may have is sent again only where that does no
    harm. Connections are not kept open to servers: one that ends could lose a request that is already on its way.
    """
    only = f"    http-request deny deny_status 421 unless {{ req.hdr(host),field(1,:) -i {front.domain} }}\n"
    # A connection that fails is tried elsewhere at once; one late answer of a busy machine takes nobody out.
    check = "check inter 1s fall 3 rise 1 resolvers engine"
    if front.fixed:
        # Known at the start: a new configuration must not begin with nobody to send to.
        lines = [f"server {name} {name}:{front.port} {check} init-addr libc,none" for name in front.names]
    else:
        share = MOST_COPIES // len(front.names)
        rule = f"{check} resolve-opts prevent-dup-ip init-addr none"
        lines = [f"server-template {name}- {share} {name}:{front.port} {rule}" for name in front.names]
    servers = "".join(f"    {line}\n" for line in lines)
    return f"""\
global
    log stdout format raw local0 notice
    maxconn 4096
    hard-stop-after 60s

defaults
    mode http
    log global
    timeout connect 1s
    timeout check 3s
    timeout client 60s
    timeout server 60s
    timeout http-request 15s
    timeout queue 15s
    option redispatch 1
    option httpclose
    option forwardfor
    retries 6
    retry-on conn-failure empty-response

resolvers engine
    nameserver engine 127.0.0.11:53
    accepted_payload_size 8192
    resolve_retries 3
    timeout resolve 500ms
    timeout retry 500ms
    hold valid 500ms
    hold obsolete 0s
    hold nx 5s
    hold refused 30s
    hold timeout 30s
    hold other 30s

frontend public
    bind :{front.listen}
{only if front.domain else ""}    http-request disable-l7-retry unless {{ method GET HEAD OPTIONS }}
    default_backend copies

backend copies
    balance leastconn
{servers}
frontend health
    bind 127.0.0.1:{HEALTH_PORT}
    monitor-uri /
"""
