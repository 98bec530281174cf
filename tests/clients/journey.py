"""Drives the documented client as an app does, on a bad network. Arguments: the page's code, the URL, a phone number."""
import io
import json
import sys
import threading
import time
import urllib.parse
import urllib.request

page, url, phone = sys.argv[1:]
client = {}
exec(compile(open(page).read(), page, "exec"), client)
Latchkey, Refusal = client["Latchkey"], client["Refusal"]

real, losing = urllib.request.urlopen, 0


def lossy(request, **options):
    global losing
    answer = real(request, **options)
    if losing:
        losing -= 1
        answer.close()
        raise ConnectionResetError("the connection was cut")
    return answer


urllib.request.urlopen = lossy


def code_of(request_id):
    end = time.monotonic() + 60
    while time.monotonic() < end:
        texts = json.load(real(f"{url}/inbox/messages?phone_number={urllib.parse.quote(phone)}"))
        for text in texts:
            if text["request_id"] == request_id:
                return text["code"]
        time.sleep(0.05)
    raise AssertionError("the text did not come")


def refusal_of(call):
    try:
        call()
    except Refusal as refusal:
        return refusal
    raise AssertionError("it was not refused")


latchkey = Latchkey(url)
losing = 1
request = latchkey.sign_up(phone, "Ada", "Lovelace")
code = code_of(request["request_id"])
wrong = code[:-1] + str((int(code[-1]) + 1) % 10)
refused = refusal_of(lambda: latchkey.log_in(phone, wrong, request["request_id"]))
assert (refused.code, refused.status, refused.problem["attempts_left"]) == ("otp_incorrect", 401, 4)
losing = 1
user = latchkey.log_in(phone, code, request["request_id"])
assert user["first_name"] == "Ada" and latchkey.kept["device_token"]
assert [one["status"] for one in latchkey.statuses(request["request_id"])][-1] == "verified"
print("signed in")

# The access token is over, several threads find out at the same time, and the answer to their refresh is lost.
before = dict(latchkey.kept)
latchkey.kept["access"] = "over"
found = []
threads = [threading.Thread(target=lambda: found.append(latchkey.call("GET", "/v1/me"))) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert [me["id"] for me in found] == [user["id"]] * 4, found
assert latchkey.kept["refresh"] != before["refresh"]
losing, middle = 1, latchkey.kept["refresh"]
latchkey.refresh(latchkey.kept["access"])
assert latchkey.kept["refresh"] != middle
assert latchkey.call("PATCH", "/v1/me", {"first_name": "Augusta"})["first_name"] == "Augusta"
print("refreshed")

old = dict(latchkey.kept)
latchkey.log_out()
assert list(latchkey.kept) == ["device_token"]
latchkey.kept = old
assert refusal_of(lambda: latchkey.call("GET", "/v1/me")).code == "session_revoked"
print("signed out")

again = latchkey.request_code(phone)
assert latchkey.log_in(phone, code_of(again["request_id"]), again["request_id"])["id"] == user["id"]
print("signed in again")
