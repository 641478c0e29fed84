"""Makes the secrets of the site once, and writes everybody's configuration from the templates, each @NAME@ filled in.

Run by the service `prepare` of docker-compose.yml, and by tests/install/compose.rs, which sets other addresses by the environment.
"""

import base64
import json
import os
import re
import secrets
import sys
from pathlib import Path

HERE = Path(__file__).parent
OUT = Path(os.environ.get("OUT", "/out"))

# Who reads which folder, by user and group of its service.
OWNERS = {
    "secrets": (0, 0),
    "people": (991, 991),
    "synapse": (991, 991),
    "synapse-data": (991, 991),
    "registration": (10001, 991),
    "mxtrunk": (10001, 10001),
    "mxtrunk-data": (10001, 10001),
    "asterisk": (10002, 10002),
    "asterisk-data": (10002, 10002),
    "phone-1001": (10003, 10003),
    "phone-1002": (10003, 10003),
    # nobody and nogroup of its image.
    "coturn": (65534, 65534),
}
RANDOM = [
    "AS_TOKEN",
    "HS_TOKEN",
    "ADMIN_TOKEN",
    "REGISTRATION_SECRET",
    "MACAROON_SECRET",
    "FORM_SECRET",
    "TURN_SECRET",
    "PASSWORD_1001",
    "PASSWORD_1002",
]


def addresses():
    """Who is where; the networks of docker-compose.yml unless the environment says otherwise."""
    def said(name, default):
        return os.environ.get(name, default)

    site = said("SITE_ADDRESS", "")
    gateway, pbx, turn = said("GATEWAY", "10.77.0.10"), said("PBX", "10.77.0.20"), said("TURN", "10.77.0.40")
    # On Linux a browser reaches containers at their own addresses; elsewhere, and from other machines, at the published ones.
    outside = "" if site in ("", "127.0.0.1") else site
    # Through TURN it reaches the gateway at its own address alone: coturn takes the published one for itself.
    return {
        "GATEWAY": gateway,
        "PBX": pbx,
        "TURN": turn,
        "HOMESERVER": said("HOMESERVER", "http://synapse:8008"),
        "ADVERTISE": f'"{outside}", "{gateway}"' if outside else "",
        "TURN_SEEN": outside or turn,
        "TURN_EXTERNAL": f"external-ip={outside}/{turn}" if outside else "",
        "TURN_OUTSIDE": f"allowed-peer-ip={outside}" if outside else "",
    }


def kept_secrets():
    path = OUT / "secrets" / "secrets.json"
    kept = json.loads(path.read_text()) if path.exists() else {}
    for name in RANDOM:
        kept.setdefault(name, secrets.token_hex(32))
    # These two a person types.
    for name in ("ALICE", "BOB"):
        kept.setdefault(name, secrets.token_urlsafe(9))
    seed = base64.b64encode(secrets.token_bytes(32)).decode().rstrip("=")
    kept.setdefault("SIGNING_KEY", f"ed25519 a_site {seed}")
    write(path, json.dumps(kept), 0o600)
    return kept


def write(path, text, mode=0o640):
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        file.write(text)
    fresh.replace(path)


def filled(text, values, name):
    for key, value in values.items():
        text = text.replace(f"@{key}@", value)
    # Names are in capitals: @alice:localhost is none.
    left = re.findall(r"@([A-Z][A-Z0-9_]*)@", text)
    if left:
        sys.exit(f"{name}: nothing is known of {left[0]}")
    return text


def main():
    kept = kept_secrets()
    values = {**addresses(), **kept}
    templates = HERE / "templates"
    for template in sorted(path for path in templates.rglob("*") if path.is_file()):
        below = template.relative_to(templates)
        write(OUT / below, filled(template.read_text(), values, below))
    people = {
        "shared_secret": kept["REGISTRATION_SECRET"],
        "people": {"alice": kept["ALICE"], "bob": kept["BOB"]},
        "admin_token": kept["ADMIN_TOKEN"],
    }
    write(OUT / "people" / "people.json", json.dumps(people))
    for name, (user, group) in OWNERS.items():
        folder = OUT / name
        folder.mkdir(parents=True, exist_ok=True)
        if os.environ.get("OWNED") == "no":
            continue
        os.chmod(folder, 0o750)
        for path in [folder, *folder.iterdir()]:
            os.chown(path, user, group)


if __name__ == "__main__":
    main()
