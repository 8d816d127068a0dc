"""A certificate authority of the test's own, made by openssl: keys and certificates that socketkit did not make."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Issued:
    key: str
    certificate: str


class Authority:
    """`Authority(folder, name)`: its certificate is `path`; `issue` certifies a new key for names and addresses."""

    def __init__(self, openssl: str, folder: Path, name: str) -> None:
        self._openssl = openssl
        self._folder = folder / name
        self._folder.mkdir()
        self._key = f"{self._folder}/authority.key"
        self.path = f"{self._folder}/authority.pem"
        self._run("req", "-x509", *NEW_KEY, "-keyout", self._key, "-out", self.path, "-subj", f"/CN={name}", *DAYS)

    def issue(self, *names: str) -> Issued:
        """`names` as openssl has them: `DNS:server.test`, `IP:10.77.0.1`."""
        where = f"{self._folder}/{len(list(self._folder.iterdir()))}"
        issued = Issued(f"{where}.key", f"{where}.pem")
        extensions = Path(f"{where}.extensions")
        extensions.write_text(f"subjectAltName={','.join(names)}\nbasicConstraints=CA:FALSE\n")
        self._run("req", *NEW_KEY, "-keyout", issued.key, "-out", f"{where}.csr", "-subj", "/CN=server")
        signed_by = ["-CA", self.path, "-CAkey", self._key, "-CAcreateserial", "-extfile", str(extensions)]
        self._run("x509", "-req", "-in", f"{where}.csr", "-out", issued.certificate, *signed_by, *DAYS)
        return issued

    def _run(self, *words: str) -> None:
        done = subprocess.run([self._openssl, *words], capture_output=True, text=True, timeout=20, check=False)
        assert done.returncode == 0, done.stderr


NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
DAYS = ("-days", "2")
