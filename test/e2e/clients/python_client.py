"""Uses a tenant as programs with the official Python client do. Prints one line per step; ends with 1 at the first surprise.

Usage: python_client.py KUBECONFIG [POD], where POD runs and has a shell.
"""

import sys

from kubernetes import client, config, stream, watch

NAMESPACE = "default"
APPLY = "application/apply-patch+yaml"


def expect(what, found, wanted):
    if found != wanted:
        sys.exit(f"{what}: {found!r} instead of {wanted!r}")
    print(f"{what}: ok")


def config_map(name, **data):
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name, labels={"client": "python"}), data=data)


def creates_and_pages(core):
    for i in range(5):
        core.create_namespaced_config_map(NAMESPACE, config_map(f"page-{i}", k=str(i)))
    names, token, version = [], None, None
    while True:
        page = core.list_namespaced_config_map(NAMESPACE, label_selector="client=python", limit=2, _continue=token)
        version = version or page.metadata.resource_version
        expect("every page is of one snapshot", page.metadata.resource_version, version)
        names += [item.metadata.name for item in page.items]
        token = page.metadata._continue
        if not token:
            break
    expect("pages", names, [f"page-{i}" for i in range(5)])
    return version


def watches(core, version):
    core.patch_namespaced_config_map("page-0", NAMESPACE, {"data": {"k": "changed"}})
    core.delete_namespaced_config_map("page-1", NAMESPACE)
    core.create_namespaced_config_map(NAMESPACE, config_map("late", k="v"))
    seen = []
    events = watch.Watch().stream(
        core.list_namespaced_config_map, NAMESPACE, label_selector="client=python", resource_version=version,
        timeout_seconds=20)
    for event in events:
        seen.append((event["type"], event["object"].metadata.name))
        if len(seen) == 3:
            break
    expect("events", seen, [("MODIFIED", "page-0"), ("DELETED", "page-1"), ("ADDED", "late")])


def applies(core):
    for value in ["one", "two"]:
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"}, "data": {"k": value}}
        applied = core.patch_namespaced_config_map(
            "applied", NAMESPACE, body, field_manager="python", _content_type=APPLY)
        expect(f"applied {value}", applied.data, {"k": value})


def is_told_why(core):
    try:
        core.read_namespaced_config_map("absent", NAMESPACE)
    except client.ApiException as error:
        expect("an absent object", error.status, 404)
    else:
        sys.exit("an absent object was read")


def execs(core, pod):
    answer = stream.stream(
        core.connect_get_namespaced_pod_exec, pod, NAMESPACE, command=["sh", "-c", "echo out; echo err >&2; exit 3"],
        stdin=False, stdout=True, stderr=True, tty=False, _preload_content=False)
    answer.run_forever(timeout=30)
    expect("exec's output", (answer.read_stdout(), answer.read_stderr()), ("out\n", "err\n"))
    expect("exec's exit code", answer.returncode, 3)


def main(kubeconfig, pod=None):
    config.load_kube_config(kubeconfig)
    core = client.CoreV1Api()
    watches(core, creates_and_pages(core))
    applies(core)
    is_told_why(core)
    if pod:
        execs(core, pod)


main(*sys.argv[1:])
