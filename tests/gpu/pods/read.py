"""Runs in the client pod: prints the documents under a prefix as one. `read.py ENDPOINT BUCKET PREFIX`"""

import json
import sys

from s3 import connect

endpoint, bucket, prefix = sys.argv[1:]
client = connect(endpoint)
found = {}
for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
    for entry in page.get("Contents", []):
        if entry["Key"].endswith(".json"):
            body = client.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()
            found[entry["Key"]] = json.loads(body)
print(json.dumps(found, indent=1))
