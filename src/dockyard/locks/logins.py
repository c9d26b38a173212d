"""What a build needs to install locks from private indexes: a pip.conf, a netrc and variables, all of them secrets."""

import configparser
import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from dockyard import host
from dockyard.locks import indexes
from dockyard.locks.inputs import Input

if TYPE_CHECKING:
    from dockyard.settings import Settings

USER = re.compile(r"://\$\{([A-Z0-9_]+)\}@")
KEYS = ("index-url", "extra-index-url")


@dataclass(frozen=True)
class Logins:
    """What goes into a build and into no argument: `variables` are those of the locks' addresses, by name."""

    pip_conf: str = field(default="", repr=False)
    netrc: str = field(default="", repr=False)
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)


def find(settings: "Settings", inputs: Iterable[Input], environment: Mapping[str, str]) -> Logins:
    """Collect the logins that a build of this project needs, with pip's configuration on this machine."""
    chosen = {"PIP_INDEX_URL": settings.index_url} if settings.index_url else {}
    return read(inputs, host.pip_conf({**environment, **chosen}), environment)


def read(inputs: Iterable[Input], pip_conf: str, environment: Mapping[str, str]) -> Logins:
    """Collect the logins for the indexes of these inputs and of a pip.conf.

    A user that stands alone in an address or a variable gets its password beside it: not every pip looks into a
    netrc then. A variable that is not set is no error: what it is needed for may be in the build's cache.
    """
    inputs = tuple(inputs)
    named = {name for file in inputs for line in file.lines for name in indexes.VARIABLE.findall(line.text)}
    known = {**dict.fromkeys(named, ""), **environment}
    parser = configparser.RawConfigParser()
    parser.read_string(pip_conf)
    configured = [word for key in KEYS for word in parser.get("global", key, fallback="").split()]
    way = indexes.read(inputs, "", known, None, more=configured)
    variables = {name: word for name in sorted(named) if (word := environment.get(name))}
    for address in indexes.addresses_in(inputs):
        if (match := USER.search(address)) and match[1] in variables:
            variables[match[1]] = urlsplit(_whole(_expanded(address, known), way.logins)).netloc.rpartition("@")[0]
    hidden = tuple(dict.fromkeys((*way.secrets, *(quote(word, safe="") for word in way.secrets))))
    return Logins(_with_logins(parser, way.logins) if configured else pip_conf, way.netrc, variables, hidden)


def _expanded(address: str, known: Mapping[str, str]) -> str:
    return indexes.VARIABLE.sub(lambda match: known[match[1]], address)


def _whole(address: str, logins: Mapping[str, tuple[str, str]]) -> str:
    """Return an address with the password of its user, where one is known."""
    parts = urlsplit(address)
    user, password = logins.get(parts.hostname or "", ("", ""))
    if not parts.username or parts.password or not password:
        return address
    login = f"{quote(user, safe='')}:{quote(password, safe='')}"
    return parts._replace(netloc=f"{login}@{parts.netloc.rpartition('@')[2]}").geturl()


def _with_logins(parser: configparser.RawConfigParser, logins: Mapping[str, tuple[str, str]]) -> str:
    for key in KEYS:
        if words := parser.get("global", key, fallback="").split():
            parser.set("global", key, " ".join(_whole(word, logins) for word in words))
    text = io.StringIO()
    parser.write(text)
    return text.getvalue()
