"""From the S3 API's many errors to the few reasons a user can act on."""

from __future__ import annotations

from dataclasses import dataclass

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointResolutionError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    SSLError,
)
from urllib3.exceptions import HTTPError

from ensemble_builder.faults import FaultError
from ensembles_api.contract import Fault
from ensembles_api.reasons import Reason

StorageError = (BotoCoreError, ClientError, HTTPError, OSError)
"""Everything boto3 raises for a request or while its body is read."""

DENIED = frozenset(
    {
        "AccessDenied",
        "AllAccessDisabled",
        "AccountProblem",
        "ExpiredToken",
        "ExpiredTokenException",
        "Forbidden",
        "InvalidAccessKeyId",
        "InvalidIdentityToken",
        "InvalidToken",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "UnauthorizedAccess",
        "XAdminUserNotFound",  # versitygw, for an unknown access key id
    }
)
BUCKET_ERRORS = frozenset({"NoSuchBucket"}) | DENIED - {"AccessDenied", "Forbidden", "UnauthorizedAccess"}
"""Errors of listing that also explain why an object seems absent: forbidden listing explains nothing."""
WRONG_REGION = frozenset(
    {"AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect"}
)
BUSY = frozenset(
    {
        "ConditionalRequestConflict",
        "InternalError",
        "OperationAborted",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
    }
)
ABSENT = frozenset({"NoSuchKey", "NotFound", "NoSuchVersion", "404"})
CHANGED = frozenset({"PreconditionFailed", "412"})
UNSUPPORTED = frozenset({"NotImplemented", "501", "MethodNotAllowed", "XNotImplemented"})


@dataclass(frozen=True)
class Access:
    """What is asked, with whose keys: the words of an error message.

    Args:
        endpoint: URL of the server, for humans.
        bucket: bucket name; empty for this machine's files.
        uri_field: field that names the bucket, e.g. spec.models[0].onnxruntime.source.uri.
        keys_field: field that names the Secret or identity.
    """

    endpoint: str
    bucket: str
    uri_field: str
    keys_field: str

    def uri(self, key: str = "") -> str:
        return f"s3://{self.bucket}/{key}" if self.bucket else f"file:///{key}"


def code_of(error: BaseException) -> str:
    """The S3 error code, empty for errors that are not the server's answer."""
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, ClientError) else ""


def status_of(error: BaseException) -> int:
    """The HTTP status of the server's answer, 0 where there was none."""
    if not isinstance(error, ClientError):
        return 0
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def is_absent(error: BaseException) -> bool:
    return code_of(error) in ABSENT


def is_changed(error: BaseException) -> bool:
    """The object's ETag is not the one asked for (or, on writing if absent, the object is there)."""
    return code_of(error) in CHANGED or status_of(error) == 412  # noqa: PLR2004


def is_unsupported(error: BaseException) -> bool:
    return code_of(error) in UNSUPPORTED or status_of(error) == 501  # noqa: PLR2004


def is_transient(error: BaseException) -> bool:
    """Asking again may help: the network, a busy server, a body cut short."""
    if isinstance(error, ClientError):
        code, status = code_of(error), status_of(error)
        return code in BUSY or status == 429 or (status >= 500 and not is_unsupported(error))  # noqa: PLR2004
    network = (HTTPClientError, IncompleteReadError, HTTPError, ConnectionError, TimeoutError)
    return isinstance(error, network) and not isinstance(error, SSLError)


def fault_of(error: BaseException, access: Access, *, key: str = "", doing: str) -> FaultError:
    """The fault for an error that no retry mended.

    Args:
        error: what boto3 raised.
        access: where it was raised.
        key: the object's key, or empty where the bucket itself was asked.
        doing: a verb phrase, e.g. "reading".
    """
    code, status = code_of(error), status_of(error)
    at = f"{doing} {access.uri(key)} at {access.endpoint}"
    detail = _detail(error)
    if code == "NoSuchBucket":
        return _fault(
            Reason.BUCKET_MISSING, access.uri_field, f"{at}: bucket {access.bucket!r} does not exist"
        )
    if code in WRONG_REGION:
        return _fault(Reason.INVALID_SPEC, "spec.storage.region", f"{at}: the region is wrong: {detail}")
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return _fault(Reason.ACCESS_DENIED, access.keys_field, f"{at}: there are no keys: {detail}")
    if code in DENIED or status in {401, 403}:
        hint = _denied_hint(code, status)
        return _fault(Reason.ACCESS_DENIED, access.keys_field, f"{at}: refused ({code or status}){hint}")
    if code in ABSENT:
        return _fault(Reason.SOURCE_MISSING, access.uri_field, f"{at}: the object does not exist")
    if code == "InvalidBucketName" or isinstance(error, ParamValidationError):
        message = f"{at}: {access.bucket!r} cannot be a bucket's name: correct the uri ({detail})"
        return _fault(Reason.INVALID_SPEC, access.uri_field, message)
    if isinstance(error, EndpointResolutionError):
        return _fault(Reason.INVALID_SPEC, "spec.storage.endpoint", f"{at}: {detail}: correct the URL")
    if isinstance(error, SSLError):
        return _fault(
            Reason.STORAGE_UNAVAILABLE, "spec.storage.endpoint", f"{at}: {detail}; {_ssl_cure(detail)}"
        )
    return _fault(Reason.STORAGE_UNAVAILABLE, "spec.storage.endpoint", f"{at}: {detail}")


CHECK_POLICY = ": check the keys and the bucket's policy"
AMBIGUOUS = " (without s3:ListBucket a missing object looks the same)"


def replaced(access: Access, key: str) -> FaultError:
    """The fault for an object that is not the one that was pinned."""
    message = (
        f"{access.uri(key)} was replaced after it had been pinned: restore the file, or annotate the "
        "resource with ensembles.dev/requestedAt to pin the new one"
    )
    return _fault(Reason.DIGEST_MISMATCH, access.uri_field, message)


def _ssl_cure(detail: str) -> str:
    if "WRONG_VERSION_NUMBER" in detail:
        return "the server speaks no TLS there: write http:// or the port of its TLS"
    return "give the server's CA in spec.storage.caConfigMap"


def _denied_hint(code: str, status: int) -> str:
    match code:
        case "SignatureDoesNotMatch":
            return ": the secret access key is wrong"
        case "InvalidAccessKeyId" | "XAdminUserNotFound":
            return ": the server does not know this access key id"
        case "RequestTimeTooSkewed":
            return ": the clocks of node and storage differ too much"
        case "ExpiredToken" | "ExpiredTokenException" | "InvalidToken":
            return ": the session token has expired; renew the Secret"
        case _ if status == 403:  # noqa: PLR2004
            return f"{CHECK_POLICY}{AMBIGUOUS}"
        case _:
            return ""


def _detail(error: BaseException) -> str:
    if isinstance(error, ClientError):
        message = str(error.response.get("Error", {}).get("Message", "")).strip()
        return f"{code_of(error) or status_of(error)} {message}".strip()
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:300]


def _fault(code: Reason, field: str, message: str) -> FaultError:
    return FaultError(Fault(code=code, field=field, message=message))
