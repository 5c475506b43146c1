"""Runs in the client pod: puts what comes on standard input under a key. `put.py ENDPOINT BUCKET KEY`"""

import sys

import boto3
from botocore.config import Config

endpoint, bucket, key = sys.argv[1:]
client = boto3.client(
    "s3",
    endpoint_url=endpoint,
    region_name="us-east-1",
    config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 5}),
)
body = sys.stdin.buffer.read()
client.put_object(Bucket=bucket, Key=key, Body=body)
print(f"{len(body)} bytes to s3://{bucket}/{key}")
