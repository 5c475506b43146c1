"""The S3 server in the cluster, and the example's files in it."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import yaml
from botocore.config import Config
from botocore.exceptions import ClientError

from livedemo.kubernetes import Cluster
from livedemo.places import NAMESPACE, S3_MANIFEST, S3_NAMESPACE
from livedemo.progress import detail

BUCKET = "models"
PORT = 7070
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
SECRET = "model-storage"  # noqa: S105 - its name


def install(cluster: Cluster, *, fixed_address: bool) -> None:
    """Starts the server and waits for it.

    Args:
        cluster: where.
        fixed_address: the manifest's clusterIP fits the cluster's service range.
    """
    documents = list(yaml.safe_load_all(S3_MANIFEST.read_text()))
    for document in documents:
        if document["kind"] == "Service" and not fixed_address:
            document["spec"].pop("clusterIP", None)
    cluster.apply(*documents)
    cluster.stream("kubectl", "-n", S3_NAMESPACE, "rollout", "status", "deployment/s3", "--timeout=180s")


def give_keys(cluster: Cluster) -> None:
    """The Secret that the example's spec.storage.secretName means."""
    keys = _keys(cluster)
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": SECRET, "namespace": NAMESPACE},
            "stringData": keys,
        }
    )


def upload(cluster: Cluster, folder: Path, prefix: str) -> None:
    """Puts a folder's files under a prefix of the bucket, those that are not there already."""
    keys = _keys(cluster)
    with cluster.forwarded(S3_NAMESPACE, "s3", PORT) as addresses:
        bucket = Bucket(
            boto3.client(
                "s3",
                endpoint_url=f"http://{addresses[PORT]}",
                region_name="us-east-1",
                aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
                aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
                config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 5}),
            )
        )
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            bucket.put(file, f"{prefix}/{file.relative_to(folder).as_posix()}")


@dataclass(frozen=True)
class Bucket:
    client: Any

    def put(self, file: Path, key: str) -> None:
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        if self._digest(key) == digest:
            detail(f"s3://{BUCKET}/{key} is there")
            return
        self.client.put_object(Bucket=BUCKET, Key=key, Body=file.read_bytes(), Metadata={"sha256": digest})
        detail(f"s3://{BUCKET}/{key}  {file.stat().st_size / 1e6:.1f} MB")

    def _digest(self, key: str) -> str:
        try:
            found: str = self.client.head_object(Bucket=BUCKET, Key=key)["Metadata"].get("sha256", "")
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:  # noqa: PLR2004
                return ""
            raise
        return found


def _keys(cluster: Cluster) -> dict[str, str]:
    secret = cluster.get("secret", "s3-keys", "-n", S3_NAMESPACE) or {"data": {}}
    return {key: base64.b64decode(secret["data"][key]).decode() for key in KEYS}
