# Reads {"components", "claims": [{"at", "schema", "value"}]} and prints what is wrong with the values, as a JSON list.
import json
import sys

import jsonschema_rs

asked = json.load(sys.stdin)
faults = []
for claim in asked["claims"]:
    schema = {"components": asked["components"], **claim["schema"]}
    try:
        jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **claim["schema"]})
        judge = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
    except Exception as error:
        faults.append(f"{claim['at']}: not a schema: {error}")
        continue
    for fault in judge.iter_errors(claim["value"]):
        where = "/".join(map(str, fault.instance_path))
        faults.append(f"{claim['at']}: /{where}: {fault.message}")
json.dump(faults, sys.stdout)
