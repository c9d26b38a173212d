"""What a compile needs to reach the package indexes that the inputs name, and nothing else of the host.

Credentials come from ~/.netrc, from `${NAME}` in an input, and from DOCKYARD_INDEX_URL. They travel to the
container on standard input, and every text that comes back has them taken out.
"""

import contextlib
import netrc
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from dockyard.errors import DockyardError
from dockyard.locks.inputs import Input, InputError

INDEX = re.compile(r"(?:-i|--index-url|--extra-index-url|-f|--find-links)(?:[ \t]*=[ \t]*|[ \t]+)(\S+)")
OPTION = re.compile(
    r"(?:-i|-f|--index-url|--extra-index-url|--find-links|--trusted-host|--no-binary|--only-binary|--prefer-binary|--pre|--no-index)\b"
)
VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)\}")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@dataclass(frozen=True)
class Access:
    """The way to the indexes: variables for the compiler, a netrc, certificates, and what must never be shown."""

    environment: Mapping[str, str] = field(default_factory=dict)
    netrc: str = ""
    ca: str = ""
    index: str = ""
    secrets: tuple[str, ...] = ()
    loopback: bool = False


def options(inputs: Iterable[Input]) -> list[str]:
    """Return the lines of a closure that say where packages come from, as they are written."""
    return list(dict.fromkeys(line.text for file in inputs for line in file.lines if OPTION.match(line.text)))


def read(inputs: Iterable[Input], index: str, environment: Mapping[str, str], ca: Path | None) -> Access:
    """Collect what the indexes of these inputs need; raise where a variable that an input names is not set."""
    inputs = tuple(inputs)
    variables = {name: environment[name] for file in inputs for name in _variables(file, environment)}
    addresses = [VARIABLE.sub(lambda match: variables[match[1]], address) for address in _addresses(inputs)]
    if index:
        addresses.append(index)
    logins = _logins(addresses, environment)
    proxies = {name: environment[name] for known in PROXIES for name in (known, known.lower()) if environment.get(name)}
    passwords = [password for _, password in logins.values()]
    inside = [part for address in (*addresses, *proxies.values()) for part in _userinfo(address)]
    return Access(
        environment={**variables, **proxies},
        netrc="".join(
            f"machine {host} login {_quoted(user)} password {_quoted(word)}\n" for host, (user, word) in logins.items()
        ),
        ca=_certificates(ca),
        index=_bare(index),
        secrets=tuple(dict.fromkeys(secret for secret in (*variables.values(), *passwords, *inside) if secret)),
        loopback=any(_is_loopback(address) for address in addresses),
    )


def _variables(file: Input, environment: Mapping[str, str]) -> Iterable[str]:
    for line in file.lines:
        for name in VARIABLE.findall(line.text):
            if name not in environment:
                raise InputError(
                    file.path, line.number, f"${{{name}}} is not set in the environment", f"export {name}=…"
                )
            yield name


def _addresses(inputs: Iterable[Input]) -> list[str]:
    found = (INDEX.match(line) for line in options(inputs))
    return [match[1] for match in found if match]


def _logins(addresses: Iterable[str], environment: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return user and password for each host among the addresses that has them, its own address first."""
    known = _netrc(Path(environment.get("NETRC") or Path(environment.get("HOME") or Path.home()) / ".netrc"))
    logins = {}
    for address in addresses:
        parts = urlsplit(address)
        if parts.hostname and parts.username is not None:
            logins[parts.hostname] = (unquote(parts.username), unquote(parts.password or ""))
        elif (
            parts.hostname
            and parts.hostname not in logins
            and known
            and (found := known.authenticators(parts.hostname))
        ):
            logins[parts.hostname] = (found[0] or "", found[2] or "")
    return logins


def _netrc(path: Path) -> netrc.netrc | None:
    with contextlib.suppress(FileNotFoundError, PermissionError):
        try:
            return netrc.netrc(path)
        except netrc.NetrcParseError as error:
            raise DockyardError(
                f"{path}:{error.lineno}: {error.msg}", "correct the file: the indexes' passwords are in it"
            ) from None
    return None


def _certificates(ca: Path | None) -> str:
    if ca is None:
        return ""
    try:
        return ca.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise DockyardError(f"{ca}: the certificates cannot be read: {error.strerror}") from None


def _userinfo(address: str) -> tuple[str, ...]:
    parts = urlsplit(address)
    raw = parts.password or (parts.username or "" if "@" in parts.netloc else "")
    return (raw, unquote(raw))


def _bare(address: str) -> str:
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _is_loopback(address: str) -> bool:
    host = urlsplit(address).hostname or ""
    return host in {"localhost", "::1"} or host.startswith("127.")


def _quoted(word: str) -> str:
    plain = word and not re.search(r"[\s\"\\#]", word)
    return word if plain else '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'
