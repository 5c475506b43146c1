"""Pins every source of a request to the digest of its bytes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ensemble_builder.artifacts import layout
from ensemble_builder.artifacts.documents import Pin, PinSubject, parse, sha256
from ensemble_builder.artifacts.sources import SourceRef, check_extent, is_folder, sources
from ensemble_builder.commands.log import step
from ensemble_builder.faults import FaultError
from ensemble_builder.storage.bucket import ObjectInfo
from ensemble_builder.storage.folder import AnyBucket
from ensemble_builder.storage.store import Store, split_uri
from ensembles_api.contract import Fault, Location, LockedFile, LockedSource, Request
from ensembles_api.reasons import Reason
from ensembles_api.spec import ConfigMapKey

WORKERS = 16
MOST_FILES = 10_000
"""Files one folder may hold: more is a mistaken prefix."""
WORTH_A_PIN = 1 << 20
"""Bytes from which reading a pin is cheaper than reading the object."""
EXECUTABLE = (b"#!", b"\x7fELF")
"""First bytes of files that get their x-bit back: object storage keeps no modes."""


_MD5 = re.compile("[0-9a-fA-F]{32}")


@dataclass(frozen=True)
class _Object:
    """An object of a source and its path within the source."""

    bucket: AnyBucket
    info: ObjectInfo
    path: str


def pin(request: Request, *, store: Store, config_maps: Path) -> tuple[LockedSource, ...]:
    """Pin all sources, in parallel.

    Args:
        request: what the resource asks for.
        store: storage; inline and ConfigMap texts are uploaded to it.
        config_maps: folder with <name>/<key> files.

    Raises:
        FaultError: of the first source, in the resource's order, that cannot be pinned.
    """
    refs = list(sources(request))
    pinning = _Pinning(store, config_maps)
    with step(f"pinned {len(refs)} sources") as running, ThreadPoolExecutor(WORKERS) as pool:
        store.root  # noqa: B018 - made before threads need it
        found = list(pool.map(pinning.find, refs))
        flat = [(ref, item) for ref, items in zip(refs, found, strict=True) for item in items]
        files = iter(list(pool.map(lambda pair: pinning.read(*pair), flat)))
        locked = tuple(
            LockedSource(field=ref.field, files=tuple(next(files) for _ in items))
            for ref, items in zip(refs, found, strict=True)
        )
        size = sum(file.size for source in locked for file in source.files)
        running.note = f"{len(flat)} files, {size / 1e6:.1f} MB"
    return locked


@dataclass(frozen=True)
class _Pinning:
    store: Store
    config_maps: Path

    def find(self, ref: SourceRef) -> Sequence[_Object | bytes]:
        check_extent(ref)
        source = ref.source
        if source.uri is None:
            return [
                _config_map(self.config_maps, source.config_map, ref.field)
                if source.config_map
                else (source.inline or "").encode()
            ]
        bucket_name, key = split_uri(source.uri, uri_field=f"{ref.field}.uri")
        bucket = self.store.source_bucket(bucket_name, secret_name=source.secret_name, source_field=ref.field)
        if is_folder(source):
            return _folder(bucket, key, ref.field)
        if not key:
            raise _fault(
                Reason.INVALID_SPEC, f"{ref.field}.uri", f"{source.uri} names a bucket; name a file in it"
            )
        info = bucket.head(key)
        if info is None:
            message = (
                f"{source.uri} does not exist at {bucket.access.endpoint}: upload it, or correct the uri"
            )
            raise _fault(Reason.SOURCE_MISSING, f"{ref.field}.uri", message)
        return [_Object(bucket, info, key.rpartition("/")[2])]

    def read(self, ref: SourceRef, found: _Object | bytes) -> LockedFile:
        file = self._text(ref, found) if isinstance(found, bytes) else self._object(ref, found)
        stated = ref.source.sha256
        if stated and stated != file.sha256:
            message = f"the source has sha256 {file.sha256}: restore the file, or state this digest"
            raise _fault(Reason.DIGEST_MISMATCH, f"{ref.field}.sha256", message)
        return file

    def _text(self, ref: SourceRef, data: bytes) -> LockedFile:
        file = LockedFile(
            path=ref.source.config_map.key if ref.source.config_map else "inline",
            sha256=sha256(data),
            size=len(data),
            mode=_mode(data),
        )
        self.store.root.put(self.store.key(layout.blob(file.sha256)), data)
        return file

    def _object(self, ref: SourceRef, found: _Object) -> LockedFile:
        info = found.info
        subject = PinSubject(
            endpoint=self.store.location.endpoint,
            bucket=found.bucket.name,
            key=info.key,
            etag=info.etag,
            size=info.size,
            version_id=info.version_id,
        )
        pinned = self._pinned(subject, found.bucket)
        return LockedFile(
            path=found.path,
            sha256=pinned.sha256,
            size=info.size,
            mode=pinned.mode,
            location=Location(
                bucket=found.bucket.name,
                key=info.key,
                etag=info.etag,
                version_id=info.version_id,
                secret_name=ref.source.secret_name,
            ),
        )

    def _pinned(self, subject: PinSubject, bucket: AnyBucket) -> Pin:
        """The pin of an object: remembered, or found by reading it."""
        worth = subject.size >= WORTH_A_PIN
        root, key = self.store.root, self.store.key(layout.pin(subject.digest()))
        if worth and (data := root.get(key)):
            known = parse(Pin, data)
            if known and known.subject == subject:
                return known
        pinned = read_settled(subject, bucket)
        if worth:
            root.put(key, pinned.canonical())
        return pinned


def read_settled(subject: PinSubject, bucket: AnyBucket) -> Pin:
    """The pin of an object that nobody replaces meanwhile.

    Raises:
        FaultError: SourceChanging where somebody did: nothing was pinned yet, the next try pins the new one.
    """
    try:
        return _read(subject, bucket)
    except FaultError as error:
        if error.fault.code is not Reason.DIGEST_MISMATCH:
            raise
        message = f"{bucket.access.uri(subject.key)} was replaced while it was being read"
        raise _fault(Reason.SOURCE_CHANGING, bucket.access.uri_field, message) from error


def _read(subject: PinSubject, bucket: AnyBucket) -> Pin:
    """The pin of what an object holds. Nothing can check this first reading but the ETag, where it is an MD5.

    With a KMS key it looks like one and is none (S3 API reference, Object): where it differs, two readings
    must agree. The ETag of an object written in parts says nothing: its first reading is believed.

    Raises:
        FaultError: StorageCorrupt where two readings give other bytes; else as Bucket.
    """
    pin, matches = _read_once(subject, bucket)
    if matches:
        return pin
    again, matches = _read_once(subject, bucket)
    if matches or again == pin:
        return again
    message = (
        f"{bucket.access.uri(subject.key)} was read twice with other bytes each time "
        f"(sha256 {pin.sha256} and {again.sha256})"
    )
    raise _fault(Reason.STORAGE_CORRUPT, bucket.access.uri_field, message)


def _read_once(subject: PinSubject, bucket: AnyBucket) -> tuple[Pin, bool]:
    """The pin by one reading, and whether the ETag does not speak against it."""
    digest, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    head = b""
    for chunk in bucket.stream(
        subject.key, end=subject.size, etag=subject.etag, version_id=subject.version_id
    ):
        head = head or chunk[:4]
        digest.update(chunk)
        md5.update(chunk)
    etag = subject.etag.strip('"')
    matches = not _MD5.fullmatch(etag) or etag.lower() == md5.hexdigest()
    return Pin(subject=subject, sha256=digest.hexdigest(), mode=_mode(head)), matches


def _mode(head: bytes) -> int:
    return 0o755 if head.startswith(EXECUTABLE) else 0o644


def _folder(bucket: AnyBucket, prefix: str, field: str) -> list[_Object]:
    found = []
    for info in bucket.list(prefix):
        path = info.key[len(prefix) :]
        if not layout.is_safe(path):
            message = f"{bucket.access.uri(info.key)} has a name that cannot be a file's: rename it"
            raise _fault(Reason.INVALID_MODEL, f"{field}.uri", message)
        found.append(_Object(bucket, info, path))
        if len(found) > MOST_FILES:
            message = (
                f"{bucket.access.uri(prefix)} holds more than {MOST_FILES} files: name a folder further down"
            )
            raise _fault(Reason.INVALID_SPEC, f"{field}.uri", message)
    if not found:
        at = f"{bucket.access.uri(prefix)} at {bucket.access.endpoint}"
        message = f"nothing lies below {at}: upload it, or correct the uri"
        raise _fault(Reason.SOURCE_MISSING, f"{field}.uri", message)
    return found


def _config_map(folder: Path, wanted: ConfigMapKey, field: str) -> bytes:
    try:
        return (folder / wanted.name / wanted.key).read_bytes()
    except FileNotFoundError:
        message = f"ConfigMap {wanted.name!r} has no key {wanted.key!r}, or does not exist: create it"
        raise _fault(Reason.CONFIG_MAP_MISSING, f"{field}.configMap", message) from None


def _fault(code: Reason, field: str, message: str) -> FaultError:
    return FaultError(Fault(code=code, field=field, message=message))
