"""Runs in the client pod: puts what comes on standard input under a key. `put.py ENDPOINT BUCKET KEY`"""

import sys

from s3 import connect

endpoint, bucket, key = sys.argv[1:]
client = connect(endpoint)
body = sys.stdin.buffer.read()
client.put_object(Bucket=bucket, Key=key, Body=body)
print(f"{len(body)} bytes to s3://{bucket}/{key}")
