"""A receiver of callbacks: verifies Standard Webhooks by itself, and answers as its paths say.

receiver.py PORT KEYFILE

POST /ok/…          204
POST /fail/N/…      500 for the first N deliveries of an id, then 204
POST /busy/N/…      503 with Retry-After: 1 for the first N, then 204
POST /hang/N/…      no answer for the first N, then 204
POST /gone/…        410
POST /redirect/…    307 to /ok/redirected
GET  /seen          all that came, as JSON
"""

import base64
import hashlib
import hmac
import json
import sys
import threading
import time

from flask import Flask, jsonify, redirect, request

app = Flask(__name__)
seen = []
tries = {}
lock = threading.Lock()
with open(sys.argv[2]) as file:
    keys = [base64.b64decode(line.strip().removeprefix("whsec_")) for line in file if line.startswith("whsec_")]


def is_signed(body):
    """By any of the keys, and not long ago."""
    name, at = request.headers["webhook-id"], request.headers["webhook-timestamp"]
    if abs(time.time() - int(at)) > 300:
        return False
    signed = f"{name}.{at}.".encode() + body
    given = [part.split(",", 1) for part in request.headers["webhook-signature"].split(" ")]
    wanted = [base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode() for key in keys]
    hits = [any(v == "v1" and hmac.compare_digest(text, sig) for v, text in given) for sig in wanted]
    return bool(hits) and all(hits)


@app.get("/seen")
def all_seen():
    with lock:
        return jsonify(seen)


@app.post("/<what>/<path:rest>")
def delivery(what, rest):
    body = request.get_data()
    name = request.headers.get("webhook-id", "")
    with lock:
        tries[name] = tries.get(name, 0) + 1
        number = tries[name]
        seen.append({
            "path": request.full_path.rstrip("?"), "id": name, "try": number, "signed": is_signed(body),
            "type": request.content_type, "agent": request.headers.get("user-agent", ""),
            "event": json.loads(body),
        })
    first = int(rest.split("/")[0]) if what in ("fail", "busy", "hang") else 0
    if what == "gone":
        return "", 410
    if what == "redirect":
        return redirect("/ok/redirected", 307)
    if number > first:
        return "", 204
    if what == "busy":
        return "", 503, {"Retry-After": "1"}
    if what == "hang":
        time.sleep(3600)
    return "not now", 500


app.run(host="127.0.0.1", port=int(sys.argv[1]), threaded=True)
