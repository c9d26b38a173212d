"""The types of a run record, as docs/reference/run-record.schema.json has them."""

from typing import Literal, NotRequired, TypedDict

Kind = Literal["build", "test", "verify", "audit", "reproduce", "lock", "push", "release", "deploy"]
Outcome = Literal["passed", "failed", "interrupted"]


class StepRecord(TypedDict):
    """One step of a run, its start counted from that of the run."""

    name: str
    started_seconds: float
    duration_seconds: float
    cached: NotRequired[bool]
    outcome: NotRequired[Outcome]


class LayerRecord(TypedDict):
    """One layer of an image."""

    size_bytes: int
    created_by: str
    digest: NotRequired[str]


class PackageRecord(TypedDict):
    """A package that an image has."""

    name: str
    version: str
    type: Literal["python", "debian"]


class ImageRecord(TypedDict):
    """The image that a run made, looked at or pushed."""

    reference: str
    digest: str
    size_bytes: NotRequired[int]
    pull_bytes: NotRequired[int]
    layers: NotRequired[list[LayerRecord]]
    packages: NotRequired[list[PackageRecord]]


class CacheRecord(TypedDict):
    """How much of a build came from the cache."""

    steps: int
    cached: int


class TestsRecord(TypedDict):
    """The result of a test run."""

    passed: int
    failed: int
    skipped: int
    coverage_percent: float | None


class FindingRecord(TypedDict):
    """What a rule found; `accepted` is the reason where the settings accept it."""

    rule: str
    severity: str
    message: str
    path: str
    accepted: str | None


class VerifyRecord(TypedDict):
    """What an image was found to be."""

    rules: int
    violations: int
    accepted: int
    start_seconds: float | None
    stop_seconds: float | None
    memory_bytes: int | None
    findings: list[FindingRecord]


class VulnerabilityRecord(TypedDict):
    """One advisory against one locked package."""

    id: str
    package: str
    version: str
    severity: str
    score: float | None
    fixed_in: list[str]
    accepted: bool


class AuditRecord(TypedDict):
    """What is known against the locks."""

    packages: int
    vulnerabilities: list[VulnerabilityRecord]


class ReproduceRecord(TypedDict):
    """What a build without cache gave."""

    verdict: Literal["identical", "recompressed", "different"]
    existing: str
    rebuilt: str
    differences: int


# `from` is a word of Python's own.
ChangeRecord = TypedDict("ChangeRecord", {"name": str, "from": str | None, "to": str | None})


class LockRecord(TypedDict):
    """What became of the locks."""

    locks: int
    changes: list[ChangeRecord]


class ReleaseRecord(TypedDict):
    """A release as the registry has it."""

    version: str
    tags: list[str]
    signed: bool
    unsigned_because: str | None
    sbom: bool
    provenance: bool
    changed: bool


class DeployRecord(TypedDict, total=False):
    """A version that was brought to a destination."""

    destination: str
    action: Literal["deploy", "rollback"]
    kind: str
    number: int | None
    previous: str | None
    changes: int


class EngineRecord(TypedDict):
    """The engine that did the work."""

    kind: str
    version: str


class GitRecord(TypedDict):
    """The commit that was worked on."""

    commit: str
    branch: str | None
    tag: str | None
    dirty: bool


class Details(TypedDict, total=False):
    """What only some kinds of runs have to tell."""

    target: str
    python: str
    platform: str
    error: str | None
    steps: list[StepRecord]
    image: ImageRecord | None
    cache: CacheRecord
    tests: TestsRecord
    verify: VerifyRecord
    audit: AuditRecord
    reproduce: ReproduceRecord
    lock: LockRecord
    release: ReleaseRecord
    deploy: DeployRecord
    engine: EngineRecord


class RunRecord(Details):
    """One run of the pipeline, as docs/reference/run-record.schema.json describes it."""

    schema: str
    id: str
    kind: Kind
    project: str
    started: str
    duration_seconds: float
    outcome: Outcome
    dockyard: str
    ci: str | None
    git: GitRecord | None
