"""The Dockerfile and the Compose file."""

import json
import re

import jsonschema
import yaml

from checks import Broken, Check, command
from common import seconds

DOCKERFILE = "deploy/Dockerfile"
COMPOSE = "deploy/compose/compose.yaml"
COMPOSE_CONFIG = "deploy/compose/kmend.yaml"

INSTRUCTIONS = set(
    "ADD ARG CMD COPY ENTRYPOINT ENV EXPOSE FROM HEALTHCHECK LABEL ONBUILD RUN SHELL STOPSIGNAL USER VOLUME WORKDIR".split()
)


def instructions(text):
    """(line number, instruction, rest) with continuation lines joined and comments left out."""
    out, pending, start = [], "", 0
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("#") or (not line.strip() and not pending):
            continue
        start = start if pending else number
        pending += line.strip()
        if pending.endswith("\\"):
            pending = pending[:-1] + " "
            continue
        name, _, rest = pending.partition(" ")
        out.append((start, name, rest.strip()))
        pending = ""
    if pending:
        out.append((start, "UNFINISHED", pending))
    return out


def dockerfile_check(ctx):
    found, stages, parsed = [], [], instructions(ctx.text(DOCKERFILE))
    for line, name, rest in parsed:
        where = f"{DOCKERFILE}:{line}: "
        if name == "UNFINISHED":
            found.append(where + "ends in a continuation")
            continue
        if name not in INSTRUCTIONS:
            found.append(where + f"{name} is no instruction")
            continue
        if not stages and name not in ("FROM", "ARG"):
            found.append(where + f"{name} before the first FROM")
        if not rest:
            found.append(where + f"{name} without arguments")
        if name == "FROM":
            match = re.fullmatch(r"(?:--platform=(\S+) )?(\S+)(?: AS (\S+))?", rest)
            if not match:
                found.append(where + f"FROM {rest} cannot be read")
                continue
            image = match[2]
            if image != "scratch" and match[1] != "$BUILDPLATFORM":
                found.append(where + f"{image} would be emulated where another architecture is built: --platform=$BUILDPLATFORM")
            if image != "scratch" and (":" not in image or image.endswith(":latest")):
                found.append(where + f"{image} has no fixed tag")
            stages.append(match[3] or str(len(stages)))
        if name == "COPY":
            source = re.search(r"--from=(\S+)", rest)
            if source and source[1] not in stages[:-1]:
                found.append(where + f"COPY from {source[1]}, which is no earlier stage")
        if name in ("CMD", "ENTRYPOINT") or (name == "RUN" and rest.startswith("[")):
            try:
                json.loads(rest)
            except ValueError:
                found.append(where + f"{name} is not in its JSON form; a static image has no shell")
        swallowed = re.search(r"\s(FROM|RUN|COPY|ENV|USER|ENTRYPOINT|CMD|LABEL) ", " " + rest)
        if swallowed:
            found.append(where + f"{name} has swallowed a {swallowed[1]}: a backslash too many")
        if name == "RUN" and rest.count("'") % 2:
            found.append(where + "quotes do not match")
    code, out = command("hadolint", "--no-color", ctx.root / DOCKERFILE)
    if code != 0:
        found.append(out.replace(f"{ctx.root}/", "").strip())
    context = set(ctx.text(f"{DOCKERFILE}.dockerignore").splitlines())
    for _, name, rest in parsed:
        for source in rest.split()[:-1] if name == "COPY" and "--from" not in rest else []:
            if "!" + source.removeprefix("./") not in context:
                found.append(f"{DOCKERFILE}.dockerignore: does not let {source} through, which is copied")
    starts = [i for i, (_, name, _) in enumerate(parsed) if name == "FROM"]
    if not starts:
        return found + [f"{DOCKERFILE}: no FROM"]
    last = parsed[starts[-1]:]
    names = [name for _, name, _ in last]
    if [rest for _, name, rest in last if name == "USER"] != ["65532:65532"]:
        found.append(f"{DOCKERFILE}: the image does not run as 65532:65532")
    if last[0][2] != "scratch" or "RUN" in names:
        found.append(f"{DOCKERFILE}: the last stage is not an empty one with only copies")
    if "HEALTHCHECK" in names:
        found.append(f"{DOCKERFILE}: HEALTHCHECK in an image without a shell")
    labels = " ".join(rest for _, name, rest in last if name == "LABEL")
    for label in ("title", "description", "licenses", "revision", "version"):
        if f"org.opencontainers.image.{label}=" not in labels:
            found.append(f"{DOCKERFILE}: no label org.opencontainers.image.{label}")
    manifest = ctx.text("Cargo.toml")
    version = re.search(r'^version = "(.+)"', manifest, re.M)[1]
    if f"ARG VERSION={version}" not in ctx.text(DOCKERFILE):
        found.append(f"{DOCKERFILE}: VERSION is not {version}, the version in Cargo.toml")
    rust = re.search(r'^rust-version = "(.+)"', manifest, re.M)[1]
    if f" rust:{rust}-" not in ctx.text(DOCKERFILE):
        found.append(f"{DOCKERFILE}: does not build with Rust {rust}, the rust-version in Cargo.toml")
    return found


def compose_check(ctx):
    document = ctx.documents(COMPOSE)[0]
    schema = json.loads((ctx.sources / "compose.json").read_text())
    validator = jsonschema.validators.validator_for(schema)(schema)
    found = []
    for error in validator.iter_errors(document):
        found.append(f"{COMPOSE}: {'/'.join(map(str, error.absolute_path))}: {error.message}")
    if found:
        return found
    services = document["services"]
    for name, service in services.items():
        for needed in service.get("depends_on", {}):
            if needed not in services:
                found.append(f"{COMPOSE}: {name} depends on {needed}, which does not exist")
            elif service["depends_on"][needed].get("condition") == "service_healthy" and "healthcheck" not in services[needed]:
                found.append(f"{COMPOSE}: {name} waits for the health of {needed}, which has no healthcheck")
        for network in service.get("networks", []):
            if network not in document["networks"]:
                found.append(f"{COMPOSE}: no network {network}")
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                if not (ctx.root / "deploy/compose" / source).exists():
                    found.append(f"{COMPOSE}: {source} does not exist")
            elif source not in document["volumes"]:
                found.append(f"{COMPOSE}: no volume {source}")
    if set(services["app"]["networks"]) & set(services["kafka"]["networks"]):
        found.append(f"{COMPOSE}: the app can reach the broker past kmend")
    build = services["kmend"]["build"]
    if not (ctx.root / "deploy/compose" / build["context"] / build["dockerfile"]).exists():
        found.append(f"{COMPOSE}: {build['dockerfile']} does not exist in the build context")
    config = yaml.safe_load(ctx.text(COMPOSE_CONFIG))
    drain, grace = seconds(config["shutdown"]["drain_timeout"]), seconds(config["shutdown"]["grace"])
    if drain <= seconds(services["app"]["stop_grace_period"]):
        found.append(f"{COMPOSE_CONFIG}: drain_timeout is not longer than the app's stop_grace_period")
    if seconds(services["kmend"]["stop_grace_period"]) <= drain + grace:
        found.append(f"{COMPOSE}: kmend's stop_grace_period is not more than drain_timeout + grace")
    return found


CHECKS = [
    Check("dockerfile", "the Dockerfile's syntax, and that the image is what the docs say", dockerfile_check, [
        Broken(DOCKERFILE, "WORKDIR /src", "WORKDIRR /src", "no instruction"),
        Broken(DOCKERFILE, "COPY --from=build", "COPY --from=builder", "no earlier stage"),
        Broken(DOCKERFILE, "USER 65532:65532", "USER root", "does not run as 65532"),
        Broken(DOCKERFILE, 'ENTRYPOINT ["/usr/bin/kmend"]', "ENTRYPOINT /usr/bin/kmend", "JSON form"),
        Broken(DOCKERFILE, "rust:1.89-bookworm", "rust:latest", "no fixed tag"),
        Broken(DOCKERFILE, "/out/usr/bin/kmend\n", "/out/usr/bin/kmend \\\n", "swallowed a RUN"),
        Broken(DOCKERFILE, "--platform=$BUILDPLATFORM ", "", "would be emulated"),
        Broken(DOCKERFILE, "install -y --no-install-recommends", "install -y", "DL3015"),
        Broken(f"{DOCKERFILE}.dockerignore", "!src\n", "", "does not let src through"),
        Broken("Cargo.toml", 'version = "0.1.0"', 'version = "0.2.0"', "VERSION is not 0.2.0"),
    ]),
    Check("compose", "the Compose file against the Compose specification", compose_check, [
        Broken(COMPOSE, "stop_grace_period: 20s", "stop_grace_periods: 20s", "stop_grace_periods"),
        Broken(COMPOSE, "read_only: true", "read_only: [true]", "read_only"),
        Broken(COMPOSE, "stop_grace_period: 20s", "stop_grace_period: 16s", "stop_grace_period"),
        Broken(COMPOSE, "networks: [app]", "networks: [app, cluster]", "past kmend"),
        Broken(COMPOSE, "./kmend.yaml:/etc", "./kmendd.yaml:/etc", "does not exist"),
        Broken(COMPOSE_CONFIG, "drain_timeout: 15s", "drain_timeout: 10s", "drain_timeout"),
    ]),
]
