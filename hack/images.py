#!/usr/bin/env python3
"""Writes an OCI archive with the images that Ursa needs where no registry is reachable, made of busybox alone.

  images.py BUSYBOX ARCHIVE

ursa.local/pause:1  holds a pod's namespaces: waits, and ends on SIGTERM
ursa.local/web:1    a web server on port 8080 that names its version and its pod; ends on SIGTERM
ursa.local/web:2    the same with another version

The same busybox gives the same bytes, so that importing again changes nothing.
"""

import hashlib
import io
import json
import platform
import subprocess
import sys
import tarfile

ARCHITECTURES = {"x86_64": ("amd64", None), "aarch64": ("arm64", "v8"), "armv7l": ("arm", "v7"), "i686": ("386", None),
                 "ppc64le": ("ppc64le", None), "s390x": ("s390x", None), "riscv64": ("riscv64", None)}

# As process 1 a shell gets only the signals that it handles: hence the traps.
PAUSE = "trap 'exit 0' TERM INT; while :; do sleep 86400 & wait; done"
WEB = "trap 'exit 0' TERM INT; echo \"web $VERSION on port 8080\"; httpd -f -vv -p 8080 -h /www & wait"
PAGE = "#!/bin/sh\necho 'Content-Type: text/plain'\necho\necho \"This is web $VERSION in pod $(hostname).\"\n"


def layer(files, links=(), folders=()):
    """A layer: files as {path: (mode, bytes)}, links as [(path, target)], folders as [(path, mode)]."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        def add(path, mode, kind, data=b"", target=""):
            entry = tarfile.TarInfo(path)
            entry.mode, entry.type, entry.size, entry.linkname = mode, kind, len(data), target
            tar.addfile(entry, io.BytesIO(data))
        for path, mode in folders:
            add(path, mode, tarfile.DIRTYPE)
        for path, (mode, data) in files.items():
            add(path, mode, tarfile.REGTYPE, data)
        for path, target in links:
            add(path, 0o777, tarfile.SYMTYPE, target=target)
    return out.getvalue()


class Archive:
    def __init__(self):
        self.blobs, self.manifests = {}, []

    def blob(self, media_type, data):
        digest = hashlib.sha256(data).hexdigest()
        self.blobs["blobs/sha256/" + digest] = data
        return {"mediaType": media_type, "digest": "sha256:" + digest, "size": len(data)}

    def json_blob(self, media_type, value):
        return self.blob(media_type, json.dumps(value, sort_keys=True).encode())

    def image(self, name, layers, command, env=(), ports=()):
        architecture, variant = ARCHITECTURES[platform.machine()]
        where = {"os": "linux", "architecture": architecture} | ({"variant": variant} if variant else {})
        path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        config = where | {
            "config": {"Cmd": command, "Env": [path, *env], "WorkingDir": "/", "ExposedPorts": {p: {} for p in ports}},
            "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(x).hexdigest() for x in layers]}}
        manifest = self.json_blob("application/vnd.oci.image.manifest.v1+json", {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": self.json_blob("application/vnd.oci.image.config.v1+json", config),
            "layers": [self.blob("application/vnd.oci.image.layer.v1.tar", x) for x in layers]})
        self.manifests.append(manifest | {"platform": where, "annotations": {"io.containerd.image.name": name}})

    def write(self, path):
        index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": self.manifests}
        files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": json.dumps(index).encode()} | self.blobs
        with open(path, "wb") as out:
            out.write(layer({name: (0o644, data) for name, data in files.items()}))


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    busybox, path = sys.argv[1:]
    with open(busybox, "rb") as file:
        program = file.read()
    applets = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True).stdout.split()
    base = layer(
        folders=[("bin", 0o755), ("etc", 0o755), ("root", 0o700), ("tmp", 0o1777), ("var", 0o755), ("www", 0o755)],
        files={"bin/busybox": (0o755, program),
               "etc/passwd": (0o644, b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n"),
               "etc/group": (0o644, b"root:x:0:\nnogroup:x:65534:\n")},
        links=[("bin/" + applet, "busybox") for applet in applets if applet != "busybox"])
    page = layer({"www/cgi-bin/index.cgi": (0o755, PAGE.encode())}, folders=[("www/cgi-bin", 0o755)])
    archive = Archive()
    archive.image("ursa.local/pause:1", [base], ["/bin/sh", "-c", PAUSE])
    for version in ("1", "2"):
        archive.image("ursa.local/web:" + version, [base, page], ["/bin/sh", "-c", WEB],
                      env=["VERSION=" + version], ports=["8080/tcp"])
    archive.write(path)


if __name__ == "__main__":
    main()
