"""What a compile or a build needs to reach the package indexes that the inputs name, and nothing else of the host.

Credentials come from `${NAME}` in an input, from DOCKYARD_INDEX_URL, from ~/.netrc, and for a user without a password
from the host's keyring. They travel to a container on standard input and to a build as secrets, and every text that
comes back has them taken out.
"""

import contextlib
import importlib.util
import netrc
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from dockyard import host, process
from dockyard.errors import CommandError, DockyardError
from dockyard.locks.inputs import SOURCES, Input, InputError, read_options
from dockyard.process import Command, Runner

Keyring = Callable[[str, str], str]
"""Tells the password that a keyring has for an index and a user, "" where it has none."""
VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)\}")
USER = re.compile(r"://\$\{([A-Z0-9_]+)\}@")
KEYS = ("index-url", "extra-index-url")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
SECONDS = 30.0
"""A keyring that is locked may ask its owner; one that waits for longer is given up."""


@dataclass(frozen=True)
class Access:
    """The way to the indexes, for a compile or a build, and what must never be shown: none of it in an argument."""

    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    netrc: str = field(default="", repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    loopback: bool = False
    logins: Mapping[str, tuple[str, str]] = field(default_factory=dict, repr=False)
    """User and password for each host, as they stand in the netrc."""

    ca: str = ""
    """The certificates that a compile is to trust."""

    pip: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What pip's configuration on this machine says of indexes, such as 'index-url', with passwords: for a build."""

    @property
    def pip_conf(self) -> str:
        """Pip's configuration as a file, nothing where there is none."""
        lines = [f"{key} = {value}\n" for key, value in self.pip.items()]
        return "".join(("[global]\n", *lines)) if lines else ""


def ask_keyring(address: str, user: str, runner: Runner = process) -> str:
    """Return a user's password for an index whose address holds no login; nothing where there is none."""
    found = runner.which("keyring")
    program = (found,) if found else (sys.executable, "-m", "keyring") if importlib.util.find_spec("keyring") else ()
    # As pip asks, as it is written, and its host and port.
    names = dict.fromkeys((address.rstrip("/") + "/", address, urlsplit(address).netloc))
    for service in names if program and user else ():
        command = Command((*program, "get", service, user), env={"PYTHONIOENCODING": "utf-8"}, timeout=SECONDS)
        try:
            done = runner.capture(command, check=False)
        except CommandError as error:
            raise DockyardError(error.message, "unlock the keyring, or keep the login in ~/.netrc") from None
        if done.ok and (found := done.stdout.rstrip("\r\n")):
            return found
    return ""


def select_options(inputs: Iterable[Input]) -> list[str]:
    """Return the lines of a closure that say where packages come from, as they are written."""
    lines = (line.text for file in inputs for line in file.lines)
    return list(dict.fromkeys(text for text in lines if text.startswith("-") and not text.startswith(("-r ", "-c "))))


def read_access(
    inputs: Iterable[Input],
    index: str,
    environment: Mapping[str, str],
    *,
    more: Iterable[str] = (),
    keyring: Keyring = ask_keyring,
) -> Access:
    """Collect what the indexes of these inputs need, and `more` addresses.

    Raise where a variable that an input names is not set.
    """
    inputs = tuple(inputs)
    variables: dict[str, str] = {}
    for file, line in [(each, line) for each in inputs for line in each.lines]:
        for name in VARIABLE.findall(line.text):
            if name not in environment:
                wrong = f"${{{name}}} is not set in the environment"
                raise InputError(file.path, line.number, wrong, f"export {name}=…")
            variables[name] = environment[name]
    written = [*list_values(inputs, SOURCES), *([index] if index else ()), *more]
    addresses = [VARIABLE.sub(lambda match: variables.get(match[1], match[0]), address) for address in written]
    for shown, address in zip(written, addresses, strict=True):
        try:
            urlsplit(address)
        except ValueError:  # its words hold the address
            scheme, _, rest = shown.partition("://")  # it cannot be taken apart otherwise
            wrong = f"{scheme}://{rest.rpartition('@')[2]} is no address of an index"
            raise DockyardError(wrong, "correct it; in a password, write %5B for [ and %5D for ]") from None
    logins = _logins(addresses, environment, keyring)
    proxies = {name: environment[name] for known in PROXIES for name in (known, known.lower()) if environment.get(name)}
    passwords = [password for _, password in logins.values()]
    inside: list[str] = []
    for parts in map(urlsplit, (*addresses, *proxies.values())):
        raw = parts.password or (parts.username or "" if "@" in parts.netloc else "")
        inside += [raw, unquote(raw)]
    names = [urlsplit(address).hostname or "" for address in addresses]
    # A user name that stands alone may be a token; one with a password is none, and may be a package's name as well.
    users = {"", *({user for user, password in logins.values() if password} - set(passwords))}
    hosts = list_values(inputs, ("--trusted-host",))  # uv only knows a variable for it
    trusted = {"UV_INSECURE_HOST": " ".join(dict.fromkeys(hosts))} if hosts else {}
    mirror = dict.fromkeys(("PIP_INDEX_URL", "UV_DEFAULT_INDEX"), _bare(index)) if index else {}
    return Access(
        variables={**variables, **proxies, **trusted, **mirror},
        netrc="".join(
            f"machine {host} login {_quoted(user)} password {_quoted(word)}\n" for host, (user, word) in logins.items()
        ),
        secrets=tuple(word for word in dict.fromkeys((*variables.values(), *passwords, *inside)) if word not in users),
        loopback=any(name in {"localhost", "::1"} or name.startswith("127.") for name in names),
        logins=logins,
    )


def read_logins(
    inputs: Iterable[Input], index: str, environment: Mapping[str, str], keyring: Keyring = ask_keyring
) -> Access:
    """Collect the logins for the indexes of these inputs, and pip's configuration on this machine, for `index` if any.

    A user that stands alone in an address or a variable gets its password beside it: not every pip looks into a
    netrc then. A variable that is not set is no error: what it is needed for may be in the build's cache.
    """
    inputs = tuple(inputs)
    named = {name for file in inputs for line in file.lines for name in VARIABLE.findall(line.text)}
    known = {**dict.fromkeys(named, ""), **environment}
    pip = host.read_pip_settings({**environment, "PIP_INDEX_URL": index} if index else environment)
    configured = [address for key in KEYS for address in pip.get(key, "").split()]
    access = read_access(inputs, "", known, more=configured, keyring=keyring)
    variables = {name: word for name in sorted(named) if (word := environment.get(name))}
    for address in list_values(inputs, SOURCES):
        if (match := USER.search(address)) and match[1] in variables:
            whole = _whole(VARIABLE.sub(lambda found: known[found[1]], address), access.logins)
            variables[match[1]] = urlsplit(whole).netloc.rpartition("@")[0]
    hidden = tuple(dict.fromkeys((*access.secrets, *(quote(word, safe="") for word in access.secrets))))
    filled = {key: " ".join(_whole(one, access.logins) for one in pip[key].split()) for key in KEYS if key in pip}
    return replace(access, variables=variables, secrets=hidden, pip={**pip, **filled})


def list_values(inputs: Iterable[Input], names: Sequence[str]) -> list[str]:
    """Return the values of these options as the inputs have them."""
    return [value for line in select_options(inputs) for name, value in read_options(line) if name in names]


def _logins(addresses: Sequence[str], environment: Mapping[str, str], keyring: Keyring) -> dict[str, tuple[str, str]]:
    """Return user and password for each host among the addresses that has them, its own address first."""
    logins: dict[str, tuple[str, str]] = {}
    file = Path(environment.get("NETRC") or Path(environment.get("HOME") or Path.home()) / ".netrc")
    known = None
    with contextlib.suppress(FileNotFoundError, PermissionError):
        try:
            known = netrc.netrc(file) if addresses else None
        except netrc.NetrcParseError as error:
            hint = "correct the file: the indexes' passwords are in it"
            raise DockyardError(f"{file}:{error.lineno}: {error.msg}", hint) from None
    for address in dict.fromkeys(addresses):
        parts = urlsplit(address)
        if not parts.hostname:
            continue
        user, word = unquote(parts.username or ""), unquote(parts.password or "")
        kept = known.authenticators(parts.hostname) if known else None
        if word:
            logins[parts.hostname] = (user, word)
        elif user:
            held = kept[2] if kept and kept[0] == user else ""
            logins.setdefault(parts.hostname, (user, held or keyring(_bare(address), user)))
        elif kept:
            logins.setdefault(parts.hostname, (kept[0] or "", kept[2] or ""))
    return logins


def _bare(address: str) -> str:
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _quoted(word: str) -> str:
    plain = word and not re.search(r"[\s\"\\#]", word)
    return word if plain else '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _whole(address: str, logins: Mapping[str, tuple[str, str]]) -> str:
    """Return an address with the password of its user, where one is known."""
    parts = urlsplit(address)
    user, password = logins.get(parts.hostname or "", ("", ""))
    if not parts.username or parts.password or not password:
        return address
    login = f"{quote(user, safe='')}:{quote(password, safe='')}"
    return parts._replace(netloc=f"{login}@{parts.netloc.rpartition('@')[2]}").geturl()
