"""Runs in the client pod: removes what lies under prefixes. `forget.py ENDPOINT BUCKET PREFIX…`"""

import sys

import boto3
from botocore.config import Config

endpoint, bucket, *prefixes = sys.argv[1:]
client = boto3.client(
    "s3",
    endpoint_url=endpoint,
    region_name="us-east-1",
    config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 5}),
)
for prefix in prefixes:
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for entry in page.get("Contents", []):
            client.delete_object(Bucket=bucket, Key=entry["Key"])
