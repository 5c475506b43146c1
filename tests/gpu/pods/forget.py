"""Runs in the client pod: removes what lies under prefixes. `forget.py ENDPOINT BUCKET PREFIX…`"""

import sys

from s3 import connect

endpoint, bucket, *prefixes = sys.argv[1:]
client = connect(endpoint)
for prefix in prefixes:
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for entry in page.get("Contents", []):
            client.delete_object(Bucket=bucket, Key=entry["Key"])
