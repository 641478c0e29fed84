"""Makes the accounts of people.json at the homeserver, if they are not there yet, and says how to sign in.

    people.py HOMESERVER FILE
"""

import hashlib
import hmac
import json
import sys
import urllib.error
import urllib.request


def asked(url, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def make(homeserver, secret, name, password):
    url = f"{homeserver}/_synapse/admin/v1/register"
    nonce = asked(url)["nonce"]
    signed = "\0".join([nonce, name, password, "notadmin"]).encode()
    mac = hmac.new(secret.encode(), signed, hashlib.sha1).hexdigest()
    try:
        asked(url, {"nonce": nonce, "username": name, "displayname": name.capitalize(), "password": password,
                    "admin": False, "mac": mac})
    except urllib.error.HTTPError as error:
        said = error.read().decode()
        # Made at an earlier start.
        if "M_USER_IN_USE" not in said:
            sys.exit(f"the homeserver does not make the account {name}: {said}")


def main():
    homeserver, file = sys.argv[1:]
    with open(file, encoding="utf-8") as opened:
        site = json.load(opened)
    for name, password in site["people"].items():
        make(homeserver, site["shared_secret"], name, password)
    alice, bob = site["people"]["alice"], site["people"]["bob"]
    print(f"""
The site is up: http://localhost:8080

  sign in as alice, password {alice}
          or bob,   password {bob}

  In Element, open the dial pad (beside the search) and dial
    1001  a desk phone: you hear yourself
    1002  a desk phone that says something and hangs up
    600   the PBX: you hear yourself
    601   the PBX says something
    610   the PBX calls you back: let it ring, and pick up
    2002  Bob, signed in in another browser; Alice is 2001

  What the gateway does: http://localhost:9010, token {site["admin_token"]}
""")


if __name__ == "__main__":
    main()
