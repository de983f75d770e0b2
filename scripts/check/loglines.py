"""Every line that kmend logs as a warning or an error has an entry in docs/troubleshooting.md.

Messages are read from the tracing macros in src. Where a macro only passes a text on ("{note}", "{end}"),
the texts are read from where they are written; a message of which too little is fixed to be looked up is
a problem of its own. The other way round each entry has to be a line that kmend can print, at that level.
"""

import re
from dataclasses import dataclass

from checks import Broken, Check
from pages import lines_of

PAGE = "docs/troubleshooting.md"
SECTION = "By log line"
ERRORS = "By error"
# What kmend ends with, and what stands in the field `error`.
ERROR_ENUMS = [
    ("src/app.rs", "AppError"), ("src/store/mod.rs", "StoreError"), ("src/tls/error.rs", "TlsError"),
    ("src/upstream/error.rs", "DialError"), ("src/telemetry/logs.rs", "LogError"),
]
# Cannot be met by whoever runs kmend, or only pass another one on.
INSIDE = {"Twice", "Gone", "NoAddress", "Store"}
MENDERS = ["offset_reset", "partition_discovery", "commit_buffer", "assignment_watchdog"]
MACRO = re.compile(r"\btracing::(warn|error|info)!\s*\(")
LITERAL = re.compile(r'"((?:[^"\\]|\\.)*)"', re.S)
PLACEHOLDER = re.compile(r"\{[^{}]*\}")
# What is not part of the program.
ASIDE = {"tests", "simulation", "fuzzing"}
# So much fixed text has to be there to find a line by.
LEAST = 12


@dataclass(frozen=True)
class Line:
    level: str
    text: str
    file: str


def unescaped(literal):
    text = re.sub(r"\\\n\s*", "", literal)
    return text.replace('\\"', '"').replace("\\n", "\n").replace("\\\\", "\\")


def arguments(text, at):
    """The arguments of a call whose opening bracket ends at `at`."""
    out, depth, start = [], 1, at
    while depth:
        char = text[at]
        if char == '"':
            at = LITERAL.match(text, at).end() - 1
        elif char in "([{":
            depth += 1
        elif char in ")]}":
            depth -= 1
        if (char == "," and depth == 1) or depth == 0:
            out.append(text[start:at].strip())
            start = at + 1
        at += 1
    return out


def sources(ctx):
    """(path, text without its unit tests) of each file of the program."""
    for path in sorted((ctx.root / "src").rglob("*.rs")):
        below = path.relative_to(ctx.root)
        if ASIDE & set(below.parts) or below.stem in ASIDE:
            continue
        text = path.read_text(encoding="utf-8")
        yield str(below), re.split(r"^#\[cfg\(test\)\]\nmod \w+ \{", text, flags=re.M)[0]


def body(text, function, file):
    """The body of a function, up to the brace that closes it in the first column of its item."""
    match = re.search(rf"^( *)(?:pub(?:\([a-z]+\))? )?fn {function}\b.*?^\1\}}", text, re.S | re.M)
    if not match:
        raise ValueError(f"{file}: the function {function} is not where it was")
    return match[0]


def literals(text, least=LEAST):
    found = [unescaped(literal) for literal in LITERAL.findall(text)]
    # A key alone ("listen.tls.cert_file") is no sentence.
    return [literal for literal in found if len(PLACEHOLDER.sub("", literal)) >= least and " " in literal]


def variants(text, name, file):
    """variant -> text, of an enum that derives its texts."""
    match = re.search(rf"^pub enum {name} \{{\n(.*?)^\}}", text, re.S | re.M)
    if not match:
        raise ValueError(f"{file}: the enum {name} is not where it was")
    pairs = re.findall(r'#\[error\(\s*"((?:[^"\\]|\\.)*)".*?\)\]\s*(\w+)', match[1], re.S)
    return {variant: unescaped(text) for text, variant in pairs}


class Passed:
    """What stands behind the messages that pass a text on."""

    def __init__(self, files):
        self.files = files

    def text(self, file):
        if file not in self.files:
            raise ValueError(f"{file} is not where it was")
        return self.files[file]

    def notes(self):
        """Notes on the configuration and on certificates."""
        validate = "src/config/validate"
        for file, functions in (
            (f"{validate}/addresses.rs", ["notes", "open_to_others"]),
            (f"{validate}/files.rs", ["notes"]),
            (f"{validate}/sasl.rs", ["notes"]),
            ("src/config/load.rs", ["layers"]),
            ("src/tls/notes.rs", ["notes", "told", "outdated"]),
        ):
            for function in functions:
                yield from literals(body(self.text(file), function, file))

    def ends(self, sides):
        """Why a connection is cut, by whose doing it is."""
        file = "src/session/end.rs"
        text = self.text(file)
        ordinary = set(re.findall(r"End::(\w+)", body(text, "is_ordinary", file)))
        arms = re.findall(r"((?:\|?\s*End::\w+[^=]*?)+)=> (Side::\w+|\*side)", body(text, "side", file))
        side = {name: whose for names, whose in arms for name in re.findall(r"End::(\w+)", names)}
        for variant, said in variants(text, "End", file).items():
            special = variant in ordinary or variant in ("Tls", "Nudged")
            if not special and (side[variant] in sides or side[variant] == "*side"):
                yield said

    def frames(self):
        file = "src/wire/frame.rs"
        return variants(self.text(file), "FrameError", file).values()

    def handshakes(self):
        file = "src/tls/server.rs"
        text = self.text(file)
        errors = variants(text, "HandshakeError", file)
        for line in literals(body(text, "line", file)):
            if "{other}" not in line:
                yield line
                continue
            for variant, said in errors.items():
                if variant not in ("Gone", "Plaintext", "Http"):
                    yield line.replace("{other}", said)

    def refusals(self):
        file = "src/listen/tell.rs"
        return literals(body(self.text(file), "text", file))


def expanded(line, passed):
    """The messages that one macro can print."""
    whole = (line.file, line.text)
    if whole == ("src/listen/tell.rs", "a client was cut off: {what}"):
        said = [f"a client was cut off: {text}" for text in passed.frames()]
    elif whole == ("src/listen/tell.rs", "a client was cut off: {end}"):
        # A broken frame has its own, shorter line.
        ends = [text for text in passed.ends({"Side::Client"}) if not text.startswith("the client sent something that is no")]
        said = [f"a client was cut off: {text}" for text in ends]
    elif whole == ("src/listen/tell.rs", "a connection was cut: {end}"):
        said = [f"a connection was cut: {text}" for text in passed.ends({"Side::Upstream", "Side::Proxy"})]
    elif whole == ("src/listen/tell.rs", "{}"):
        said = passed.handshakes()
    elif line.text.endswith(" refused: {}"):
        said = [line.text.replace("{}", text) for text in passed.refusals()]
    elif line.text == "{note}":
        said = passed.notes()
    else:
        said = [line.text]
    return [Line(line.level, text, line.file) for text in said]


def printed(ctx):
    """(lines, problems): what kmend can log, and what cannot be told."""
    files = dict(sources(ctx))
    passed = Passed(files)
    lines, problems = [], []
    for file, text in files.items():
        for match in MACRO.finditer(text):
            where = f"{file}:{text.count(chr(10), 0, match.start()) + 1}"
            message = next((a for a in arguments(text, match.end()) if a.startswith('"')), None)
            if message is None:
                problems.append(f"{where}: a log line without a text")
                continue
            line = Line(match[1], unescaped(message[1:-1]), file)
            try:
                for one in expanded(line, passed):
                    if len(PLACEHOLDER.sub("", one.text)) < LEAST and one.level != "info":
                        problems.append(f"{where}: {one.text!r} has too little fixed text to be looked up; expand it in loglines.py")
                    else:
                        lines.append(one)
            except (ValueError, KeyError) as error:
                problems.append(f"{where}: {error}")
    return lines, problems


def entries(ctx, page, section, levels=("INFO", "WARN", "ERROR")):
    """(level, text) of each line in the tables of a section. Without levels: of each row."""
    out, inside, depth = [], False, 0
    for _, line, fenced in lines_of(ctx.text(page)):
        heading = None if fenced else re.match(r"(#+) (.+)", line)
        if heading:
            if heading[2] == section:
                inside, depth = True, len(heading[1])
            elif len(heading[1]) <= depth:
                inside = False
        # A bar inside a code span is written as \|.
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if inside and not fenced and len(cells) >= 2 and (not levels or cells[1] in levels):
            for double, single in re.findall(r"``(.+?)``|`([^`]+)`", cells[0]):
                out.append((cells[1].lower(), (double or single).strip()))
    return out


def wildcard(text, mark):
    """A text with gaps, as a pattern."""
    return re.compile(".*".join(re.escape(part) for part in mark.split(text)), re.S)


def same(line, entry):
    """Whether an entry of the page is this line. `...` in it stands for anything."""
    if wildcard(line.text, PLACEHOLDER).fullmatch(entry):
        return True
    fixed = len(entry.replace("...", ""))
    # Longer than what several lines have in common ("a connection was cut: ").
    enough = max(LEAST, min(24, len(PLACEHOLDER.sub("", line.text)) // 3))
    return fixed >= enough and bool(wildcard(entry, re.compile(r"\.\.\.")).fullmatch(PLACEHOLDER.sub("_", line.text)))


def errors_check(ctx):
    files, known, found = dict(sources(ctx)), [text for _, text in entries(ctx, PAGE, ERRORS, None)], []
    for file, name in ERROR_ENUMS:
        if file not in files:
            found.append(f"{file} is not where it was")
            continue
        try:
            texts = variants(files[file], name, file)
        except ValueError as error:
            found.append(str(error))
            continue
        for variant, text in texts.items():
            line = Line("error", text, file)
            if variant not in INSIDE and len(PLACEHOLDER.sub("", text)) >= LEAST and not any(same(line, e) for e in known):
                found.append(f"{file}: {name}::{variant} {text!r} has no entry in {PAGE}, {ERRORS!r}")
    return found


def check(ctx):
    lines, found = printed(ctx)
    known = entries(ctx, PAGE, SECTION)
    if not known:
        return [f"{PAGE}: no section {SECTION!r} with a table of lines"]
    for line in sorted(set(lines), key=lambda line: (line.file, line.text)):
        if line.level == "info":
            continue
        levels = {level for level, entry in known if same(line, entry)}
        if not levels:
            found.append(f"{line.file}: {line.level.upper()} {line.text!r} has no entry in {PAGE}")
        elif line.level not in levels:
            found.append(f"{line.file}: {line.text!r} is logged as {line.level.upper()}, {PAGE} says otherwise")
    pages = [(PAGE, SECTION)] + [(f"docs/{mender}.md", "Log lines") for mender in MENDERS]
    for page, section in pages:
        for level, entry in entries(ctx, page, section):
            if not any(line.level == level and same(line, entry) for line in lines):
                found.append(f"{page}: kmend never logs {entry!r} as {level.upper()}")
    for mender in MENDERS:
        told = [entry for _, entry in entries(ctx, f"docs/{mender}.md", "Log lines")]
        for line in lines:
            if line.file.startswith(f"src/menders/{mender}/") and not any(same(line, entry) for entry in told):
                found.append(f"docs/{mender}.md: {line.level.upper()} {line.text!r} is not among its log lines")
    return list(dict.fromkeys(found))


CHECKS = [
    Check("log-lines", "every WARN and ERROR line has an entry in docs/troubleshooting.md, and each entry is such a line", check, [
        Broken("src/routing/mod.rs", '"the upstream is another cluster than before"', '"the upstream is a different one"', "has no entry"),
        Broken("src/routing/mod.rs", 'tracing::warn!(before, now', 'tracing::error!(before, now', "is logged as ERROR"),
        Broken("src/session/end.rs", "no request within limits.handshake_timeout", "nothing came within the time for it", "has no entry"),
        Broken("src/tls/notes.rs", "the certificate has expired", "the certificate is out of date by now", "has no entry"),
        Broken("src/wire/frame.rs", '"looks like HTTP"', '"seems to be a browser"', "has no entry"),
        Broken("src/app.rs", 'tracing::warn!("second signal")', 'tracing::warn!("{before}")', "too little fixed text"),
        Broken(PAGE, "`second signal`", "`a second signal`", "never logs"),
        Broken("docs/offset_reset.md", "| `the log start moves faster", "| `The log start moves faster", "is not among its log lines"),
    ]),
    Check("errors", "what kmend says when it ends at once has an entry in docs/troubleshooting.md", errors_check, [
        Broken("src/store/mod.rs", "is in use by another kmend", "belongs to a different process", "StoreError::Locked"),
        Broken("src/tls/error.rs", "they cannot be used together", "the key is not the one of it", "TlsError::Pair"),
        Broken("src/upstream/error.rs", "pub enum DialError", "pub enum DiallingError", "is not where it was"),
        Broken(PAGE, "the name cannot be resolved", "the name is unknown", "DialError::Dns"),
    ]),
]
