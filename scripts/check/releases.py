"""The workflows, and the scripts of deployment and release."""

import re

import yaml

from checks import Broken, Check, command

FOLDER = ".github/workflows"
RELEASE = f"{FOLDER}/release.yml"
CI = f"{FOLDER}/ci.yml"
SCRIPTS = ["scripts/release", "scripts/check-deploy", "scripts/check-image", "scripts/check-apiserver", "scripts/check-prometheus", "scripts/tools"]


def uses(job):
    return [step["uses"] for step in job["steps"] if "uses" in step]


def workflow_check(ctx):
    found = []
    files = sorted((ctx.root / FOLDER).glob("*.yml"))
    code, out = command("actionlint", "-no-color", "-shellcheck", "shellcheck", *files)
    if code != 0:
        found.append(out.replace(f"{ctx.root}/", "").strip())
    for file in files:
        where, text = f"{FOLDER}/{file.name}", file.read_text()
        for line in text.splitlines():
            action = re.search(r"uses: (\S+)(.*)", line)
            if action and not re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action[1] + action[2]):
                found.append(f"{where}: {action[1]} is not pinned by its commit, with the version as a comment")
        workflow = yaml.safe_load(text)
        if workflow.get("permissions") not in ({}, {"contents": "read"}):
            found.append(f"{where}: everything may {workflow.get('permissions')}")
        for name, job in workflow["jobs"].items():
            if "timeout-minutes" not in job:
                found.append(f"{where}: job {name} has no limit of time")
            if any(step.get("uses", "").startswith("actions/checkout@") and (step.get("with") or {}).get("persist-credentials") is not False
                   for step in job["steps"]):
                found.append(f"{where}: job {name} keeps its token in the work tree")
            # Whatever is not ours to say (a tag's name, a title) comes as a variable, never as text of the script.
            for step in job["steps"]:
                if "${{" in step.get("run", ""):
                    found.append(f"{where}: an expression within a script of job {name}")
    jobs = yaml.safe_load(ctx.text(RELEASE))["jobs"]
    for name in ("image", "publish"):
        if not any(each.startswith("actions/attest-build-provenance@") for each in uses(jobs[name])):
            found.append(f"{RELEASE}: job {name} attests nothing")
    targets = jobs["binary"]["strategy"]["matrix"]["target"]
    if targets != ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"]:
        found.append(f"{RELEASE}: binaries for {targets}")
    script = ctx.text("scripts/release")
    for verb in re.findall(r"scripts/release (\w+)", "\n".join(step.get("run", "") for job in jobs.values() for step in job["steps"])):
        if not re.search(rf"^  {verb}\) ", script, re.M):
            found.append(f"{RELEASE}: scripts/release has no verb {verb}")
    return found


def script_check(ctx):
    code, out = command("shellcheck", *[ctx.root / path for path in SCRIPTS])
    return [out.replace(f"{ctx.root}/", "").strip()] if code != 0 else []


CHECKS = [
    Check("workflows", "the workflows, by actionlint, and what they may do", workflow_check, [
        Broken(RELEASE, "runs-on: ubuntu-24.04", "runs-on: ubuntu-24.4", "ubuntu-24.4"),
        Broken(RELEASE, "needs: verify", "needs: verified", "verified"),
        Broken(RELEASE, "@11bd71901bbe5b1630ceea73d27597364c9af683 # v4.2.2", "@v4", "not pinned"),
        Broken(RELEASE, "permissions: {}", "permissions: write-all", "everything may"),
        Broken(RELEASE, 'build "$TARGET"', 'build ${{ matrix.target }}', "an expression within a script"),
        Broken(RELEASE, "scripts/release chart", "scripts/release charts", "no verb charts"),
        Broken(RELEASE, "persist-credentials: false", "persist-credentials: true", "keeps its token"),
        Broken(RELEASE, "steps.push.outputs.digest", "steps.pushed.outputs.digest", "pushed"),
        Broken(CI, "    timeout-minutes: 90\n", "", "no limit of time"),
    ]),
    Check("scripts", "the scripts of deployment and release, by shellcheck", script_check, [
        Broken("scripts/release", 'install -m 755 "$built"', "install -m 755 $built", "SC2086"),
    ]),
]
