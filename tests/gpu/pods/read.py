"""Runs in the client pod: prints the documents under a prefix as one. `read.py ENDPOINT BUCKET PREFIX`"""

import json
import sys

import boto3
from botocore.config import Config

endpoint, bucket, prefix = sys.argv[1:]
client = boto3.client(
    "s3",
    endpoint_url=endpoint,
    region_name="us-east-1",
    config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 5}),
)
found = {}
for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
    for entry in page.get("Contents", []):
        if entry["Key"].endswith(".json"):
            body = client.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()
            found[entry["Key"]] = json.loads(body)
print(json.dumps(found, indent=1))
