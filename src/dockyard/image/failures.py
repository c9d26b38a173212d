"""Say why a build failed, by the step that failed and its own last lines (pure).

A build's log is full of alarming words that somebody got over: warnings, attempts that were repeated, the lines of
steps that ran beside the one that failed. What counts is the failed step, and of that the end.
"""

import re
from dataclasses import dataclass

from dockyard.errors import CommandError, DockyardError, EngineError, Sign, read_signs

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]")
STEP = re.compile(r"^#(\d+) \[([^\]]+)\] ?(.*)$", re.MULTILINE)
FAILED = re.compile(r"^#(\d+) ERROR: (.*)$", re.MULTILINE)
SECTION = re.compile(r"^ > \[([^\]]+)\] ?(.*?):\n(.*?)^-{6}$", re.MULTILINE | re.DOTALL)
"""What BuildKit repeats of a failed step at the end of its progress: all that is there of it on a terminal."""
PLACE = re.compile(r"^(?:\S*Dockerfile\S*|[\w./-]+):(\d+)\n-{20}$", re.MULTILINE)
LAST_WORDS = re.compile(r"^ERROR: (.*)$", re.MULTILINE)
WARNING = re.compile(r"\s*(?:\S+:\d+:\s*)?(?:npm )?(?:\w*warning|warn|w)\b[:\s]", re.IGNORECASE)
BOILERPLATE = re.compile(
    r"\s*$|.*\[end of output\]|\s*note: This (?:error originates|is an issue with)|hint: See (?:above|below)"
    r"|.*╰─> See above|\[notice\]|\s*[│|] exit code: \d"
)
EXIT_CODE = re.compile(r"exit code: (\d+)$", re.MULTILINE)
SHOWN = 12
"""Lines of a failed step that an error repeats."""
LONGEST = 200
"""Characters of such a line."""
PROCESS = re.compile(r'process ".*" did not complete successfully: ')
"""What BuildKit puts before the end of a program: the command in it is the project's words, not BuildKit's."""
ENGINE_GONE = re.compile(
    r"code = Unavailable|error reading from server: EOF|transport is closing|cannot connect to the docker daemon"
    r"|failed to receive status.*EOF|unexpected EOF$|docker\.sock: connect: ",
    re.IGNORECASE,
)

RACE = Sign(
    "failed to get state for index|parent snapshot .* does not exist|failed to solve: not found"
    r"|NotFound desc = content sha256:\w+: not found",
    "the engine got into its own way, with another build or the removal of an image at the same time",
    "run it again: engines do so now and then",
)
"""BuildKit's own words for a step, a layer or an image that it lost meanwhile."""

NO_SPACE = Sign(
    r"no space left on device|disk quota exceeded",
    "no space is left where the build writes",
    "`invoke doctor` shows how much the engine's disk has; a tmpfs mount has a size of its own",
    reach=8,
)

REFUSALS = (
    Sign(
        r"dockerfile parse error(?: on)? line (\d+): (.*)",
        "line {0} of the Dockerfile cannot be read: {1}",
        "correct that line",
    ),
    Sign(
        r"failed to (?:calculate checksum of ref|compute cache key).* \"(/[^\"]*)\": not found",
        "there is no {0} to copy",
        "is it in the project, and not kept out by .dockerignore? With --from it is looked for in that stage",
    ),
    Sign(
        r"(?:failed to solve: )?(\S+): failed to resolve source metadata for .*(?:dial tcp|lookup|timeout|EOF|request)",
        "the image {0} is not here, and its registry does not answer",
        "check the network, or make {0} a stage of the Dockerfile if it is meant to be one: FROM … AS {0}",
    ),
    Sign(
        r"(?:failed to solve: )?(\S+): failed to resolve source metadata for .*(?:not found|denied|unauthorized)",
        "no registry has the image {0}, or it takes a login",
        "correct its name, or log in; if it is meant to be a stage, name that: FROM … AS {0}",
    ),
    Sign(r"unable to find (user|group) (\S+): no matching", "the image has no {0} {1}", "make it in an earlier line"),
    NO_SPACE,
)
"""What BuildKit itself says of a step that it could not begin or finish."""

OWN_WORDS = (
    Sign(
        r"keep: nothing in the base image matches",
        "`keep` in [tool.dockyard] names what the base image does not have",
        "the lines below say which; correct it, or install the Debian package that holds it in the base stage",
        reach=40,
    ),
    Sign(
        r"exec format error",
        "programs for another kind of processor do not run here",
        "install emulation (the packages qemu-user-static and binfmt-support), "
        "or name a builder that has it with `builder` in [tool.dockyard]",
        reach=2,
    ),
    NO_SPACE,
    Sign(
        r"THESE PACKAGES DO NOT MATCH THE HASHES[^\n]*\n\s*(\S+)[\s\S]*Expected",
        "{0} does not match the hash in its lock",
        "run `invoke lock`; if the hash is right, the index or a proxy changed the file",
        reach=40,
    ),
    Sign(
        r"(?:certificate verify failed|problem confirming the ssl certificate|CERTIFICATE_VERIFY_FAILED)"
        r"(?:[^\n]*(?:\n(?!Collecting)[^\n]*)*\n.*No matching distribution found.*|[^\n]*)\Z",
        "a certificate is not trusted inside the build",
        "set SSL_CERT_FILE to your CA bundle: it is there in each RUN that mounts the secret `ca`",
        reach=12,
    ),
    Sign(
        r"(?:(?:Temporary failure in name resolution|Name or service not known|Failed to resolve|NewConnectionError"
        r"|Network is unreachable)[\s\S]*\(from versions: none\)\n.*No matching distribution found.*"
        r"|Temporary failure (?:in name resolution|resolving)[^\n]*|Could not resolve[^\n]*)\Z",
        "a package index cannot be reached from inside the build",
        "`invoke doctor` checks the network",
        reach=12,
    ),
    Sign(
        r"No matching distribution found for (\S+)\Z",
        "the index has no {0} for this Python",
        "run `invoke lock`: it says which versions there are, or that the index does not answer",
        reach=1,
    ),
    Sign(
        r"pg_config executable not found|\b\w+[-_]config: (?:command )?not found"
        r"|(?:Unknown compiler|can't find Rust compiler|unable to find .?(?:gcc|cc|rustc))"
        r"|(?:command|program) '?[\w.+-]+'? failed: No such file|No such file or directory: '[\w.-]*(?:gcc|g\+\+|cc)'",
        "a package is built from source, and what it is built with is missing",
        "take a package that comes built (psycopg2-binary for psycopg2), or install the Debian packages that hold "
        "its compiler and headers in the stage that builds",
        reach=40,
    ),
    Sign(
        r"E: Unable to locate package (\S+)",
        "Debian has no package {0} in this release",
        "correct its name, and run apt-get update in the same RUN before it is installed",
        reach=4,
    ),
    Sign(
        r"E: (?:Failed to fetch|Some index files failed)|Err:.*\n.*Could not resolve",
        "the Debian mirror cannot be reached from inside the build",
        "check the network and the mirror in the image's apt sources, then try again",
        reach=6,
    ),
)
"""What the failed step said last; each counts only as near to its end as a cause of that kind stands."""

ENDINGS = {
    137: Sign("", "it was killed, most often as memory ran out", "give the engine more memory, or the step less to do"),
    126: Sign("", "what it calls may not be executed", "is it executable, and for this kind of processor?"),
    127: Sign("", "what it calls is not there", "install it in an earlier line of the stage, or correct its name"),
}
"""What exit codes mean, where nothing else is known."""


@dataclass(frozen=True)
class FailedStep:
    """The step at which a build ended: its own lines, BuildKit's words for the error, and its line in the Dockerfile.

    All are empty where the log does not say.
    """

    name: str = ""
    instruction: str = ""
    lines: tuple[str, ...] = ()
    error: str = ""
    place: int = 0

    @property
    def shown(self) -> str:
        """Where it is, for a person."""
        instruction = " ".join(self.instruction.split())
        told = f"[{self.name}] {instruction[:77] + '…' if len(instruction) > 78 else instruction}".strip()
        return f"{told} (line {self.place} of the Dockerfile)" if self.place else told


def plain(log: str) -> str:
    """Return a log without what a terminal is told to draw."""
    return ESCAPE.sub("", log).replace("\r\n", "\n").replace("\r", "\n")


def read_failed_step(log: str) -> FailedStep:
    """Return the step at which a build ended, from BuildKit's progress, plain or as drawn on a terminal."""
    text = plain(log)
    last_words = LAST_WORDS.findall(text)
    error = last_words[-1] if last_words else ""
    places = PLACE.findall(text)
    place = int(places[-1]) if places else 0
    if failed := FAILED.findall(text):
        number, own_error = failed[0]  # others fail because this one did
        names = [(name, instruction) for found, name, instruction in STEP.findall(text) if found == number]
        own = re.findall(rf"^#{number} \d+\.\d+ ?(.*)$", text, re.MULTILINE)
        name, instruction = names[0] if names else ("", "")
        return FailedStep(name, instruction, tuple(own), PROCESS.sub("", f"{own_error}\n{error}"), place)
    if section := SECTION.search(text):
        own = [re.sub(r"^\d+\.\d+ ?", "", line) for line in section[3].splitlines()]
        return FailedStep(section[1], section[2], tuple(own), PROCESS.sub("", error), place)
    return FailedStep(error=PROCESS.sub("", error), place=place)


def is_race(error: CommandError) -> bool:
    """Say whether a build failed by a race inside the engine, which the same build again does not meet."""
    return read_signs((RACE,), read_failed_step(error.output).error) is not None


def explain_failure(error: CommandError) -> DockyardError:
    """Return the error that tells of a failed build: where, why, what to do, and the step's own last lines."""
    step = read_failed_step(error.output)
    if error.returncode == 130:
        return DockyardError("the build was interrupted", "run it again: what was done is in the cache")
    if ENGINE_GONE.search(step.error):
        return EngineError(
            "the Docker Engine stopped answering in the middle of the build",
            "`invoke doctor` looks at it; then build again: finished steps are in its cache",
        )
    where = f" at {step.shown}" if step.name else ""
    telling = [line for line in step.lines if not BOILERPLATE.match(line)]
    serious = [line for line in telling if not WARNING.match(line)]
    judged = "\n".join(line for line in telling if line in serious or "Retry(total=0" in line)
    code = EXIT_CODE.search(step.error)
    sign = read_signs((RACE,), step.error) or read_signs(OWN_WORDS, judged)
    if not sign and code:
        sign = ENDINGS.get(int(code[1]))
    elif not sign:
        sign = read_signs(REFUSALS, f"{step.name} {step.instruction}\n{step.error}")
    own = "".join(f"\n  | {line[:LONGEST]}" for line in (serious or telling)[-SHOWN:])
    if sign:
        return DockyardError(f"the build failed{where}: {sign.message}{own}", sign.hint)
    if own:
        ending = f"exit code {code[1]}" if code else step.error.splitlines()[0][:LONGEST]
        return DockyardError(f"the build failed{where} with {ending}; its last words:{own}", "mend what they tell of")
    said = step.error.partition("\n")[0] or "\n".join(plain(error.output).strip().splitlines()[-SHOWN:])
    return DockyardError(
        f"the build failed{where}: {said or f'BuildKit ended with exit status {error.returncode} and said nothing'}",
        "mend what that tells of; `invoke doctor` looks at the engine",
    )
