"""An authorization server of Authlib on Flask, with a resource that it guards.

`python oauth_server.py PORT LIFE SECRET REFRESH`: client `engine` with that secret; tokens live LIFE seconds; REFRESH is a refresh token
that is there from the start. /token gives tokens, /api wants one, /revoke revokes all, /tokens lists what was given.
"""

import os
import sys
import time

os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"

from authlib.integrations.flask_oauth2 import AuthorizationServer, ResourceProtector
from authlib.oauth2.rfc6749 import ClientMixin, TokenMixin, grants
from authlib.oauth2.rfc6750 import BearerTokenValidator
from flask import Flask, jsonify, request

PORT, LIFE, SECRET, REFRESH = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]


class Client(ClientMixin):
    def get_client_id(self):
        return "engine"

    def get_allowed_scope(self, scope):
        return scope

    def check_client_secret(self, client_secret):
        return client_secret == SECRET

    def check_endpoint_auth_method(self, method, endpoint):
        return method in ("client_secret_basic", "client_secret_post")

    def check_grant_type(self, grant_type):
        return grant_type in ("client_credentials", "refresh_token")


class Token(TokenMixin):
    def __init__(self, fields):
        self.fields, self.given, self.revoked = fields, time.time(), False

    def check_client(self, client):
        return True

    def get_scope(self):
        return self.fields.get("scope", "")

    def get_expires_in(self):
        return self.fields.get("expires_in", LIFE)

    def is_expired(self):
        return time.time() >= self.given + self.get_expires_in()

    def is_revoked(self):
        return self.revoked

    def get_user(self):
        return "engine"

    def get_client(self):
        return CLIENT


CLIENT = Client()
TOKENS = []
REFRESHING = {REFRESH}
CALLS = []

app = Flask(__name__)
app.config["OAUTH2_TOKEN_EXPIRES_IN"] = {"client_credentials": LIFE, "refresh_token": LIFE}
app.config["OAUTH2_REFRESH_TOKEN_GENERATOR"] = True


def save_token(fields, _request):
    TOKENS.append(Token(dict(fields)))
    if "refresh_token" in fields:
        REFRESHING.add(fields["refresh_token"])


class Refresh(grants.RefreshTokenGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_basic", "client_secret_post"]
    INCLUDE_NEW_REFRESH_TOKEN = True

    def authenticate_refresh_token(self, refresh_token):
        if refresh_token in REFRESHING:
            return Token({"refresh_token": refresh_token, "scope": "read"})

    def authenticate_user(self, refresh_token):
        return "engine"

    def revoke_old_credential(self, refresh_token):
        REFRESHING.discard(refresh_token.fields["refresh_token"])


class Own(grants.ClientCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_basic", "client_secret_post"]


server = AuthorizationServer(
    app, query_client=lambda name: CLIENT if name == "engine" else None, save_token=save_token
)
server.register_grant(Own)
server.register_grant(Refresh)


class Validator(BearerTokenValidator):
    def authenticate_token(self, text):
        return next((token for token in TOKENS if token.fields["access_token"] == text), None)


guard = ResourceProtector()
guard.register_token_validator(Validator())


@app.post("/token")
def token():
    return server.create_token_response()


@app.route("/api", methods=["GET", "POST"])
@guard("read")
def api():
    CALLS.append(request.method)
    return jsonify(said=request.get_data(as_text=True), scope=request.args.get("x", ""))


@app.post("/revoke")
def revoke():
    for each in TOKENS:
        each.revoked = True
    return jsonify(revoked=len(TOKENS))


@app.get("/tokens")
def tokens():
    return jsonify(tokens=[each.fields["access_token"] for each in TOKENS], refresh=sorted(REFRESHING), calls=CALLS)


app.run(host="127.0.0.1", port=PORT, threaded=True)
