"""The systemd unit: as systemd reads it, how much it leaves open, and its times against the configuration's."""

import configparser
import re
import tempfile
from pathlib import Path

from checks import Broken, Check, command
from common import seconds

UNIT = "deploy/systemd/kmend.service"
CONFIG = "deploy/systemd/kmend.yaml"
# systemd-analyze's own scale, 0 to 100: below 20 it says "OK".
EXPOSURE = 20


class Directives(dict):
    """What may stand more than once is kept as a list."""

    def __setitem__(self, key, value):
        if key in self and isinstance(value, list) and isinstance(self[key], list):
            self[key].extend(value)
        else:
            super().__setitem__(key, value)


def unit(ctx):
    parser = configparser.RawConfigParser(dict_type=Directives, strict=False, interpolation=None, delimiters=("=",), comment_prefixes=("#", ";"))
    parser.optionxform = str
    parser.read_string(ctx.text(UNIT))
    return {section: {key: value.splitlines() for key, value in parser[section].items()} for section in parser.sections()}


def verified(ctx):
    """What `systemd-analyze verify` says. The binary is not installed here, so that another stands in for it."""
    text = re.sub(r"/usr/local/bin/kmend\b", "/bin/true", ctx.text(UNIT))
    with tempfile.TemporaryDirectory(prefix="kmend-unit-") as name:
        file = Path(name) / "kmend.service"
        file.write_text(text)
        # It ends with 0 for a directive that it does not know, and says so.
        code, out = command("systemd-analyze", "verify", "--man=no", file)
        found = [f"{UNIT}: systemd-analyze verify: {line}" for line in out.splitlines()] or ([f"{UNIT}: verify ends with {code}"] if code else [])
        code, out = command("systemd-analyze", "security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE}", file)
        if code != 0:
            found.append(f"{UNIT}: systemd-analyze security: {out.strip().splitlines()[-1]}")
    return found


def unit_check(ctx):
    found = verified(ctx)
    service = unit(ctx)["Service"]
    wants = {
        "DynamicUser": "yes", "StateDirectory": "kmend", "ProtectSystem": "strict", "NoNewPrivileges": "yes",
        "CapabilityBoundingSet": "", "ProtectHome": "yes", "PrivateDevices": "yes", "MemoryDenyWriteExecute": "yes",
        # 64 and 78: kmend's codes for a wrong command line and a wrong configuration.
        "RestartPreventExitStatus": "64 78", "Restart": "on-failure",
    }
    for key, want in wants.items():
        if " ".join(service.get(key, ["missing"])) != want:
            found.append(f"{UNIT}: {key} is {service.get(key)}, and not {want!r}")
    if "@system-service" not in service.get("SystemCallFilter", []):
        found.append(f"{UNIT}: system calls are not filtered")
    if "/bin/kill -HUP $MAINPID" not in service.get("ExecReload", []):
        found.append(f"{UNIT}: reload does not send SIGHUP")
    if int(service.get("LimitNOFILE", ["0"])[0]) < 65536:
        found.append(f"{UNIT}: too few descriptors: each client takes two")
    config = ctx.documents(CONFIG)[0]
    drain, grace = seconds(config["shutdown"]["drain_timeout"]), seconds(config["shutdown"]["grace"])
    if seconds(service.get("TimeoutStopSec", ["0s"])[0]) <= drain + grace:
        found.append(f"{UNIT}: TimeoutStopSec is not more than drain_timeout + grace, {drain + grace:g} s")
    for name, mender in config["menders"].items():
        if mender["mode"] != "observe":
            found.append(f"{CONFIG}: mender {name} does not start in observe")
    return found


CHECKS = [
    Check("systemd", "the unit, by systemd-analyze verify and security, and its times", unit_check, [
        Broken(UNIT, "NoNewPrivileges=yes", "NoNewPrivilegess=yes", "NoNewPrivilegess"),
        Broken(UNIT, "SystemCallFilter=@system-service", "SystemCallFilter=@system-services", "@system-services"),
        Broken(UNIT, "RestrictNamespaces=yes\n", "RestrictNamespaces=no\nPrivateTmp=no\nProtectClock=no\nProtectHostname=no\n", "security"),
        Broken(UNIT, "TimeoutStopSec=20s", "TimeoutStopSec=10s", "TimeoutStopSec"),
        Broken(UNIT, "kill -HUP", "kill -USR1", "SIGHUP"),
        Broken(UNIT, "DynamicUser=yes", "User=root", "DynamicUser"),
        Broken(CONFIG, "drain_timeout: 10s", "drain_timeout: 30s", "TimeoutStopSec"),
    ]),
]
