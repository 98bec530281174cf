"""Passes Latchkey's webhook on to Sparrow SMS (Nepal): python3 sparrow_adapter.py PORT, with WEBHOOK_SECRET and SPARROW_TOKEN."""
import base64, hashlib, hmac, json, os, sys, time, urllib.error, urllib.parse, urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = base64.b64decode(os.environ["WEBHOOK_SECRET"].removeprefix("whsec_"))
OPERATOR = os.environ.get("SPARROW_URL", "https://api.sparrowsms.com/v2/sms/")
WRONG_NUMBER = (1007, 1011)


def signed(headers, body):
    stamp = headers.get("webhook-timestamp", "")
    if not stamp.isdigit() or abs(time.time() - int(stamp)) > 300:
        return False
    message = f"{headers.get('webhook-id', '')}.{stamp}.".encode() + body
    right = "v1," + base64.b64encode(hmac.digest(SECRET, message, hashlib.sha256)).decode()
    return any(hmac.compare_digest(right, one) for one in headers.get("webhook-signature", "").split())


def send(sms):
    form = {"token": os.environ["SPARROW_TOKEN"], "from": os.environ.get("SPARROW_FROM", "InfoSMS"),
            "to": sms["phone_number"].removeprefix("+977"), "text": sms["text"]}
    try:
        with urllib.request.urlopen(OPERATOR, urllib.parse.urlencode(form).encode(), timeout=8):
            return 200, {}
    except urllib.error.HTTPError as refusal:
        code = json.loads(refusal.read() or b"{}").get("response_code", refusal.code)
        return (422, {"reason": "number_unreachable", "code": code}) if code in WRONG_NUMBER else (403, {"code": code})
    except urllib.error.URLError as error:  # not reached: nothing was sent. After a timeout it may have been: 504
        return (504, {}) if isinstance(error.reason, TimeoutError) else (422, {"reason": "provider_unavailable"})
    except OSError:  # connection lost or timed out after the request was sent
        return 504, {}


class Webhook(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        status, answer = send(json.loads(body)) if signed(self.headers, body) else (401, {})
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Webhook).serve_forever()
