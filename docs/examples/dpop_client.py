"""A session bound to a key of this client (DPoP, RFC 9449): python3 dpop_client.py http://127.0.0.1:8080 +14155552671

Needs PyJWT and cryptography. Reads the code from the development inbox.
"""
import base64, hashlib, json, sys, time, urllib.error, urllib.parse, urllib.request, uuid

import jwt
from cryptography.hazmat.primitives.asymmetric import ec


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Client:
    def __init__(self, base):
        self.base = base
        # On a phone: create it in the Android Keystore or the Secure Enclave, which sign and never reveal the key.
        self.key = ec.generate_private_key(ec.SECP256R1())
        point = self.key.public_key().public_numbers()
        x, y = (base64url(number.to_bytes(32, "big")) for number in (point.x, point.y))
        self.jwk = {"crv": "P-256", "kty": "EC", "x": x, "y": y}

    def thumbprint(self):
        return base64url(hashlib.sha256(json.dumps(self.jwk, separators=(",", ":")).encode()).digest())

    def proof(self, method, url, access=None):
        """Returns a new proof. Every call needs its own: the id works once."""
        claims = {"jti": str(uuid.uuid4()), "htm": method, "htu": url, "iat": int(time.time())}
        if access:
            claims["ath"] = base64url(hashlib.sha256(access.encode()).digest())
        return jwt.encode(claims, self.key, algorithm="ES256", headers={"typ": "dpop+jwt", "jwk": self.jwk})

    def call(self, method, path, body=None, access=None, proven=True):
        url = self.base + path
        headers = {"Content-Type": "application/json"}
        if proven:
            headers["DPoP"] = self.proof(method, url.split("?")[0], access)
        if access:
            headers["Authorization"] = "DPoP " + access
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, headers, method=method)
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as refusal:
            return refusal.code, json.load(refusal)


def main(base, phone):
    client = Client(base)
    client.call("POST", "/v1/otp", {"phone_number": phone}, proven=False)
    code = None
    while code is None:
        time.sleep(0.1)
        _, texts = client.call("GET", "/inbox/messages?phone_number=" + urllib.parse.quote(phone), proven=False)
        code = texts[0]["code"] if texts else None

    status, session = client.call("POST", "/v1/login", {"phone_number": phone, "otp": code})
    assert status == 200, session
    claims = jwt.decode(session["access"], options={"verify_signature": False})
    assert claims["cnf"] == {"jkt": client.thumbprint()}
    print("signed in:", session["token_type"] + ", bound to", client.thumbprint())

    status, me = client.call("GET", "/v1/me", access=session["access"])
    assert status == 200, me
    print("called:", me["id"])

    # Someone who copied the refresh token but lacks the key:
    status, refusal = Client(base).call("POST", "/v1/token/refresh", {"refresh": session["refresh"]})
    print("without the key:", status, refusal["code"])

    status, session = client.call("POST", "/v1/token/refresh", {"refresh": session["refresh"]})
    assert status == 200, session
    print("refreshed:", session["token_type"])

    status, answer = client.call("POST", "/v1/token/blacklist", {"refresh": session["refresh"]})
    assert status == 200, answer
    print("signed out")


if __name__ == "__main__":
    main(*sys.argv[1:])
