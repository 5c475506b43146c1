"""The S3 client of the programs that run in the client pod."""

from typing import Any

import boto3
from botocore.config import Config


def connect(endpoint: str) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 5}),
    )
