#!/usr/bin/env python3
"""Runs the recorded families against fresh servers and compares the failures with the lists. See hack/oracle.sh."""

import argparse
import dataclasses
import glob
import hashlib
import json
import math
import os
import re
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ADMIN_TOKEN = "replay-admin-token"

# Every process that was started: what still runs at the end, however that came, is killed.
STARTED = []

# The controllers that ran when requests and transcripts were recorded; without the tenant's there is no namespace, and what
# upstream's API server does for custom resources is a controller here.
RECORDED_CONTROLLERS = (
    "--controllers=tenant,namespace,serviceaccount,root-ca-certificate-publisher,garbage-collector,"
    "clusterrole-aggregation-controller,customresourcedefinition-controller"
)

# What a reason in a list starts with that a person wrote, because Ursa is meant to differ.
ON_PURPOSE = "on purpose: "

# Seconds: a longer wait of one case would be a longer wait of everyone who runs hack/test.sh.
SAMPLED_WAIT_MAX = 10

# Of all cases of a family, what must pass where messages are compared too, and within a tenant. There is no list of those
# that fail: the lists are of what a server does in its own tenant.
SHARE, SHARE_WITH_TEXTS = 0.97, 0.90

# What kubectl prints differs from version to version.
RECORDED_KUBECTL = "1.32"


@dataclasses.dataclass
class Family:
    """Cases that one tool replays, and how."""
    name: str
    files: str
    tool: str
    server: list
    flags: list
    # Servers, each with a tool of its own: where cases of one server would disturb each other, or to use every core.
    servers: int = 1
    # Of the cases expected to fail, many of which wait for a deadline, so many run where not all are asked for.
    sample: int | None = None
    # A case whose outcome depends on time is run once more, alone, before it counts as unexpected.
    retry: bool = False

    @property
    def takes_texts(self):
        return self.tool == "replay"

    @property
    def takes_tenant(self):
        return self.tool in ("replay", "transcript")


FAMILIES = [
    Family("api-kinds", "api/kinds/*.json", "replay", ["--scheduler=false", RECORDED_CONTROLLERS], ["--jobs", "4"], servers=2),
    Family("api-semantics", "api/semantics/*.json", "replay", ["--scheduler=false", RECORDED_CONTROLLERS], ["--jobs", "8"], servers=2, sample=60, retry=True),
    Family("api-extension", "api/extension/*.json", "replay", ["--scheduler=false", RECORDED_CONTROLLERS], ["--jobs", "8"], servers=2, sample=30, retry=True),
    Family("transcripts", "transcripts/*.t", "transcript", ["--scheduler=false", RECORDED_CONTROLLERS], ["--jobs", "4", "--timeout", "20"], sample=4, retry=True),
    Family("scheduling", "scheduling/*.json", "verdicts", [], ["--volume-controller", "--deadline", "6"], servers=4, sample=3, retry=True),
    Family("controllers", "controllers/*.json", "outcomes", ["--scheduler=false"], ["--jobs", "12", "--deadline", "12"], sample=12, retry=True),
]


class Server:
    """A fresh `ursa server` without a node, on a free port. To be used in a `with`."""

    def __init__(self, ursa, flags, tokens, log, tenant=None):
        self.flags = [ursa, "server", "--secure-port", "0", "--node-agent=false", "--token-auth-file", tokens, *flags]
        self.log = log
        self.tenant = tenant
        self.prefix = f"/tenants/{tenant}" if tenant else ""

    def __enter__(self):
        self.scratch = tempfile.TemporaryDirectory(prefix="ursa-oracle-")
        data = os.path.join(self.scratch.name, "data")
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([*self.flags, "--data-dir", data], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        STARTED.append(self.process)
        try:
            self.url = self.ready(os.path.join(data, "admin.kubeconfig"))
            self.kubeconfig = self.write_kubeconfig()
            if self.tenant:
                self.create_tenant(os.path.join(data, "admin.kubeconfig"))
        except BaseException:
            self.__exit__()
            raise
        return self

    def ready(self, kubeconfig):
        context = ssl._create_unverified_context()
        deadline, state = time.monotonic() + 60, "not started"
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                sys.exit(f"the server ended with {self.process.returncode}; its log is {self.log}")
            try:
                with open(kubeconfig, encoding="utf-8") as file:
                    url = re.search(r"https://[^/\s\"']+", file.read())[0]
                request = urllib.request.Request(url + "/readyz", headers={"Authorization": "Bearer " + ADMIN_TOKEN})
                with urllib.request.urlopen(request, timeout=5, context=context):
                    return url
            except (OSError, TypeError) as error:
                state = error
            time.sleep(0.05)
        sys.exit(f"the server is not ready after 60 s ({state}); its log is {self.log}")

    def create_tenant(self, kubeconfig):
        """Makes the tenant, and waits until it can be used."""
        command = [self.flags[0], "tenant", "create", self.tenant, "--kubeconfig", kubeconfig]
        made = subprocess.run(command, capture_output=True, text=True, timeout=60)
        if made.returncode != 0:
            sys.exit(f"tenant {self.tenant} is not created: {made.stderr.strip()}")

    def write_kubeconfig(self):
        path = os.path.join(self.scratch.name, "kubeconfig")
        with open(path, "w", encoding="utf-8") as file:
            json.dump({
                "apiVersion": "v1", "kind": "Config", "current-context": "oracle",
                "clusters": [{"name": "oracle", "cluster": {"server": self.url + self.prefix, "insecure-skip-tls-verify": True}}],
                "users": [{"name": "admin", "user": {"token": ADMIN_TOKEN}}],
                "contexts": [{"name": "oracle", "context": {"cluster": "oracle", "user": "admin"}}]}, file)
        return path

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.scratch.cleanup()


def waits(recorded):
    """Seconds that a part of a recorded case waits at most for an answer to change."""
    if isinstance(recorded, list):
        return sum(map(waits, recorded))
    if not isinstance(recorded, dict):
        return 0
    own = recorded["until"].get("seconds", 10) if isinstance(recorded.get("until"), dict) else 0
    return own + sum(map(waits, recorded.values()))


def case_names(path):
    """The cases of a file, and how long each waits where it fails: a transcript is one case."""
    if path.endswith(".t"):
        return {os.path.basename(path)[:-2]: 0}
    with open(path, encoding="utf-8") as file:
        return {case["name"]: waits(case) for case in json.load(file)}


def sample(cases, size, waiting):
    """Some of the cases, the same in every run, and none that waits for long."""
    quick = [case for case in cases if waiting.get(case, 0) <= SAMPLED_WAIT_MAX]
    return set(sorted(quick, key=lambda name: hashlib.sha256(name.encode()).digest())[:size])


def replay(family, args, server, files, cases, out):
    """Runs the tool for some cases; returns {case: why it failed}, or why the tool itself failed."""
    tool = os.path.join(args.oracle, "..", "tools", family.tool)
    only = "|".join(map(re.escape, cases))
    if family.tool == "transcript":
        target = ["--kubeconfig", server.kubeconfig, "--only", f"/({only})\\.t$"]
    else:
        target = ["--server", server.url, "--token", ADMIN_TOKEN, "--insecure", "--only", f"^({only})$"]
        target += ["--prefix", server.prefix] if server.prefix else []
        target += ["--texts"] if args.texts else []
    failures, ended, last = {}, False, None
    command = [sys.executable, tool, *target, *family.flags, *(["--verbose"] if args.verbose and family.tool != "transcript" else []), *files]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace") as process:
        STARTED.append(process)
        for line in process.stdout:
            out.write(line)
            if line.startswith("DIFF "):
                last, _, why = line[5:].rstrip("\n").partition(": ")
                if family.tool == "transcript":
                    last = os.path.basename(last)[:-2]
                failures[last] = why
            elif line.startswith("  --- expected ") and not failures[last]:
                verb = re.search(r"kubectl (\S+)", line)
                failures[last] = f"kubectl {verb[1]}" if verb else "a command"
            ended = ended or bool(re.fullmatch(r"\d+ passed, \d+ failed\n", line))
    return failures if ended else f"{family.tool} broke off; its output is {out.name}"


def read_list(path):
    """{case: reason} of what fails, and the names of those in it that fail by chance."""
    if not os.path.exists(path):
        return {}, set()
    with open(path, encoding="utf-8") as file:
        lines = [line.rstrip("\n") for line in file if line.strip() and not line.startswith("#")]
    parts = [line.partition(" ") for line in lines]
    return {name.removeprefix("~"): why for name, _, why in parts}, {name[1:] for name, _, _ in parts if name.startswith("~")}


def write_list(path, family, reasons, chance):
    passes = "one of them passes" if family.sample is None else "one of those few of them passes that it runs; hack/oracle.sh --full runs all"
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"# Cases of {family.name} that fail, each with a reason. hack/test.sh fails when another one fails or {passes}.\n")
        file.write("# What has a ~ in front passes or fails by chance and counts as neither.\n")
        for name in sorted(reasons):
            file.write(f"{'~' * (name in chance)}{name} {reasons[name]}\n")


def update_list(path, family, every, wanted, failures, add):
    """Writes the list anew: takes off what passes and what is gone, rewords the rest, and adds what fails if it may."""
    known, chance = read_list(path)
    # What did not run keeps its reason, and so does what a person wrote.
    reasons = {case: why for case, why in known.items()
               if case in every and (case not in wanted or case in chance or (case in failures and why.startswith(ON_PURPOSE)))}
    for case, why in failures.items():
        if case not in reasons and (case in known or add):
            reasons[case] = reason(why)
    write_list(path, family, reasons, chance & every)
    reworded = sum(known[case] != why for case, why in reasons.items() if case in known)
    print(f"{family.name}: {len(set(reasons) - set(known))} added to {os.path.relpath(path, ROOT)}, {len(set(known) - set(reasons))} removed, {reworded} reworded")


def reason(why):
    """What differs, without the values that were recorded and what is another in every run."""
    why = re.sub(r"\bv[0-9a-f]{9}\b", "{ns}", re.sub(r"\bgot node \S+", "got a node", why))
    why = re.sub(r"^step \S+ ", "", re.sub(r" \(\+\d+\)$", "", why))
    what, code = why.split(": ")[0], re.search(r"code: (want|missing, want|not expected, got) (\d+)(?:, got (\d+))?", why)
    field = re.match(r"(?:(?P<what>[A-Z]+ \S+): )?\.(?P<path>\S*): (?P<how>missing|not expected|want)", why)
    if code:
        why = what + {"want": f" answers {code[3]} instead of {code[2]}", "missing, want": f" succeeds instead of {code[2]}",
                      "not expected, got": f" answers {code[2]}"}[code[1]]
    elif field:
        how = {"missing": "lacks", "not expected": "adds", "want": "differs in"}[field["how"]]
        why = f"{field['what'] or ''} {how} {field['path']}"
    else:
        why = re.sub(r"want .*, got", "got", why)
    return re.sub(r"\s+", " ", why).strip()[:160] or "differs"


def spread(files, parts):
    """The files in so many parts of about the same number of cases."""
    groups = [([], []) for _ in range(parts)]
    for path, cases in sorted(files.items(), key=lambda item: -len(item[1])):
        smallest = min(groups, key=lambda group: len(group[1]))
        smallest[0].append(path)
        smallest[1].extend(cases)
    return [group for group in groups if group[1]]


def run_cases(family, args, files, log, out):
    """Runs cases given as {file: [case]} on as many servers as the family wants; returns {case: why it failed}."""
    failures, broken, lock = {}, [], threading.Lock()

    def one(part):
        try:
            with Server(args.ursa, family.server, os.path.join(args.oracle, "tokens.csv"), log, args.tenant) as server:
                found = replay(family, args, server, part[0], part[1], out)
                ended = server.process.poll()
        except SystemExit as error:
            found, ended = str(error), None
        with lock:
            if isinstance(found, str):
                broken.append(found)
            else:
                failures.update(found)
            if ended is not None:
                broken.append(f"the server ended with {ended}; its log is {log}")

    threads = [threading.Thread(target=one, args=(part,), daemon=True) for part in spread(files, family.servers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if broken:
        sys.exit(f"{family.name}: " + "; ".join(broken))
    return failures


def kubectl_version():
    shown = subprocess.run(["kubectl", "version", "--client", "-o", "json"], capture_output=True, check=True).stdout
    version = json.loads(shown)["clientVersion"]
    return version["major"] + "." + version["minor"].rstrip("+")


def run(family, args):
    """Runs a family; returns how many cases passed and how many went against the list."""
    began = time.monotonic()
    if family.tool == "transcript" and kubectl_version() != RECORDED_KUBECTL:
        print(f"skipped: {family.name} were recorded with kubectl {RECORDED_KUBECTL}, and here is {kubectl_version()}")
        return 0, 0
    path = os.path.join(ROOT, "test/oracle", family.name + ".txt")
    known, chance = read_list(path)
    expected = set(known) - chance
    files = {file: case_names(file) for file in sorted(glob.glob(os.path.join(args.oracle, family.files)))}
    waiting = {case: seconds for cases in files.values() for case, seconds in cases.items()}
    every = set(waiting)
    sampled = set(known) if args.full else set() if args.texts or args.tenant else expected if family.sample is None else sample(expected, family.sample, waiting)
    wanted = {case for case in every if re.search(args.only, case) and (case not in known or case in sampled)}

    def chosen(cases):
        return {file: mine for file, names in files.items() if (mine := [name for name in names if name in cases])}

    folder = os.path.join(ROOT, "target/oracle")
    os.makedirs(folder, exist_ok=True)
    output = os.path.join(folder, family.name + (".tenant" if args.tenant else "") + (".texts" if args.texts else ""))
    log = output + ".log"
    open(log, "wb").close()
    with open(output + ".out", "w", encoding="utf-8") as out:
        failures = run_cases(family, args, chosen(wanted), log, out)
        if family.retry:
            odd = {case for case in wanted - chance if (case in failures) != (case in known)}
            # Many at once are no accident of timing.
            if 0 < len(odd) <= 20 and not (args.texts or args.tenant):
                again = run_cases(family, args, chosen(odd), log, out)
                failures = {case: why for case, why in failures.items() if case not in odd} | again
    with open(log, encoding="utf-8", errors="replace") as file:
        panics = [line.strip() for line in file if "panicked" in line]

    if args.texts or args.tenant:
        return summarize_share(family, args, failures, len(every), len(wanted), panics, began)
    if args.update:
        update_list(path, family, every, wanted, failures, args.add)
    new = [] if args.add else sorted(set(failures) - set(known))
    fixed = [] if args.update else sorted((wanted & expected) - set(failures))
    gone = [] if args.update else sorted(set(known) - every)
    for case in new:
        print(f"FAILS {case}: {failures[case]}")
    for case in fixed:
        print(f"PASSES {case}: take it off {os.path.relpath(path, ROOT)} ({known[case]})")
    for case in gone:
        print(f"GONE {case}: there is no such case; take it off {os.path.relpath(path, ROOT)}")
    for line in panics[:5]:
        print(f"PANIC {line}")
    passed, unexpected = len(wanted - chance - set(failures)), len(new) + len(fixed) + len(gone) + len(panics)
    print(f"{family.name}: {passed} of {len(every)} passed, {len(set(failures) & expected)} failed as listed, {len(chance & wanted)} by chance, "
          f"{len(every) - len(wanted)} not run, {unexpected} unexpected, {time.monotonic() - began:.0f} s", flush=True)
    return passed, unexpected


def summarize_share(family, args, failures, all_cases, ran, panics, began):
    """What is listed did not run and counts as failed. Returns how many cases passed and how many too few."""
    where = (f" in tenant {args.tenant}" if args.tenant else "") + (" with texts" if args.texts else "")
    for case in sorted(failures) if args.full or args.only else []:
        print(f"FAILS {case}: {failures[case]}")
    for line in panics[:5]:
        print(f"PANIC {line}")
    passed = ran - len(failures)
    asked = ran if args.only else all_cases
    needed = 0 if args.only else math.ceil(asked * (SHARE_WITH_TEXTS if args.texts else SHARE))
    print(f"{family.name}{where}: {passed} of {asked} passed, {needed} are needed, {time.monotonic() - began:.0f} s", flush=True)
    return passed, max(0, needed - passed) + len(panics)


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("families", nargs="*")
    parser.add_argument("--oracle", required=True)
    parser.add_argument("--ursa", required=True)
    parser.add_argument("--only", default="")
    parser.add_argument("--tenant")
    for flag in ("texts", "full", "update", "add", "verbose"):
        parser.add_argument("--" + flag, action="store_true")
    args = parser.parse_args()
    args.update = args.update or args.add
    if args.update and (args.texts or args.tenant):
        sys.exit("the lists in test/oracle are of tenant system and without texts: --update goes with neither --tenant nor --texts")
    args.full = args.full or args.update
    # `api kinds` means the same as `kinds`, and `api` alone all of its three.
    names = set(args.families)
    narrowed = any("api-" + name in {family.name for family in FAMILIES} for name in names)
    chosen = [family for family in FAMILIES if not names or family.name in names or family.name.removeprefix("api-") in names
              or ("api" in names and not narrowed and family.name.startswith("api-"))]
    unknown = [name for name in names if name != "api" and not any(name in (family.name, family.name.removeprefix("api-")) for family in FAMILIES)]
    if unknown:
        sys.exit(f"there is no family {unknown[0]!r}; there are api (kinds, semantics, extension), transcripts, scheduling, controllers")
    chosen = [family for family in chosen if (not args.texts or family.takes_texts) and (not args.tenant or family.takes_tenant)]
    try:
        totals = [run(family, args) for family in chosen]
    finally:
        for process in STARTED:
            process.kill()
    passed, unexpected = sum(total[0] for total in totals), sum(total[1] for total in totals)
    print(f"{passed} passed, {unexpected} failed")
    sys.exit(1 if unexpected else 0)


if __name__ == "__main__":
    main()
