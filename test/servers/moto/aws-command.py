"""The command `aws SERVICE OPERATION --name value ...`, by botocore, which moto brings."""

import json
import sys

import botocore.session

service, operation, *flags = sys.argv[1:]
client = botocore.session.get_session().create_client(service)
names = ["".join(part.title() for part in flag[2:].split("-")) for flag in flags[::2]]
response = getattr(client, operation.replace("-", "_"))(**dict(zip(names, flags[1::2])))
del response["ResponseMetadata"]
print(json.dumps(response, indent=4, default=str))
