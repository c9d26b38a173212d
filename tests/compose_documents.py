"""Compose documents as `docker compose config` prints them, of services of many shapes."""

from typing import Any

DIGEST = "sha256:" + "b" * 64
IMAGE = f"registry.example/team/shop@{DIGEST}"
PASSWORD = "correct-horse"
OWN = {"image": "team/shop:production", "command": None, "entrypoint": None, "networks": {"default": None}}
HARDENED = {
    "user": "1000:1001",
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges:true"],
    "tmpfs": ["/tmp:size=64m,mode=1777,noexec"],
}
SHOP: dict[str, Any] = {
    "services": {
        "web": {
            **OWN,
            **HARDENED,
            "environment": {
                "LEVEL": "in$$put",
                "DATABASE_URL": f"postgresql://shop:{PASSWORD}@db/shop",
                "TOKEN_FILE": "/run/secrets/token",
                "DEBUG": None,
            },
            "depends_on": {
                "db": {"condition": "service_healthy"},
                "migrate": {"condition": "service_completed_successfully"},
            },
            "ports": [{"host_ip": "127.0.0.1", "target": 8000, "published": "8000", "protocol": "tcp"}],
            "cpus": 0.5,
            "mem_limit": "268435456",
            "pids_limit": 128,
            "shm_size": "67108864",
            "secrets": [{"source": "token", "target": "/run/secrets/token"}],
            "stop_grace_period": "1m30s",
        },
        "letter_worker": {
            **OWN,
            **HARDENED,
            "command": ["celery", "--app", "shop", "worker"],
            "environment": {"LEVEL": "info"},
            "deploy": {"replicas": 3, "resources": {"limits": {"memory": "128m"}, "reservations": {"cpus": "0.2"}}},
        },
        "migrate": {
            **OWN,
            **HARDENED,
            "command": ["flask", "db", "upgrade"],
            "environment": {"DATABASE_URL": f"postgresql://shop:{PASSWORD}@db/shop"},
        },
        "db": {
            "image": "registry.example/library/postgres:17",
            "environment": {"POSTGRES_PASSWORD": PASSWORD},
            "volumes": [{"type": "volume", "source": "db", "target": "/var/lib/postgresql/data", "volume": {}}],
        },
        "mail": {
            "image": "mailpit/relay:v1",
            "expose": ["1025"],
            "cap_add": ["NET_ADMIN"],
            "healthcheck": {"test": ["CMD-SHELL", "relay ping || exit 1"], "interval": "3s", "retries": 2},
            "volumes": [{"type": "bind", "source": "/srv/mail", "target": "/mail"}],
        },
    },
    "networks": {"default": {"name": "shop_default"}},
    "secrets": {"token": {"name": "shop_token", "file": "/home/x/token"}},
    "volumes": {"db": {"name": "shop_db"}},
}
KEEPER: dict[str, Any] = {
    "services": {
        "web": {
            **OWN,
            "environment": {},
            "ports": [{"target": 8000, "published": "8000", "protocol": "tcp"}],
            "volumes": [{"type": "volume", "source": "app_data", "target": "/data", "volume": {}}],
        }
    },
    "volumes": {"app_data": {"name": "keeper_data"}},
}
"""A service that keeps its data in a folder, and says nothing of limits, health or hardening."""
