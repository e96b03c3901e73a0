"""A small stateful stand-in for the Google Cloud services that the scripts call through the real gcloud.

Knows service accounts, keys and IAM policies of anything that has one. Every call that changes
something is kept in `changes`, every refusal to understand is a 404 that a test will notice.
"""

import base64
import json
import re
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Refusal(Exception):
    """Ends a call with a status and Google's error body."""

    def __init__(self, status, code, message):
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


def etag(version):
    """gcloud insists on base64."""
    return base64.b64encode(f"version {version}".encode()).decode()


class Cloud:
    """What the fake remembers."""

    def __init__(self):
        self.accounts = {}  # e-mail -> account
        self.keys = {}  # e-mail -> [key id]
        self.policies = {}  # resource -> policy
        self.roles = {}  # full name -> custom role
        self.changes = []
        self.tokens = set()
        self.races = 0  # how many setIamPolicy calls on a source still lose against somebody else
        self.shy = 0  # how many grants still fail because a new account is not known yet
        self.forbidden = set()  # resources whose policy may not be read

    def policy(self, resource):
        # An account is the same thing under its project and under "-".
        resource = re.sub(r"projects/[^/]+/serviceAccounts", "projects/-/serviceAccounts", resource)
        return self.policies.setdefault(resource, {"version": 1, "etag": etag(0), "bindings": []})

    def members(self, resource, role):
        found = [b["members"] for b in self.policy(resource)["bindings"] if b["role"] == role]
        return found[0] if found else []

    def answer(self, method, path, query, body):
        for pattern, verb, act in ROUTES:
            match = re.fullmatch(pattern, path)
            if match and verb == method:
                return act(self, match, query, body)
        raise Refusal(404, "NOT_FOUND", f"the fake has no {method} {path}")

    def list_accounts(self, match, _query, _body):
        return {"accounts": [a for a in self.accounts.values() if a["projectId"] == match["project"]]}

    def account_email(self, match):
        email = urllib.parse.unquote(match["email"])
        if email not in self.accounts:
            raise Refusal(404, "NOT_FOUND", "Unknown service account")
        return email

    def create_account(self, match, _query, body):
        project, name = match["project"], body["accountId"]
        email = f"{name}@{project}.iam.gserviceaccount.com"
        if email in self.accounts:
            raise Refusal(409, "ALREADY_EXISTS", f"Service account {name} already exists within project {project}.")
        account = {
            "name": f"projects/{project}/serviceAccounts/{email}",
            "projectId": project,
            "uniqueId": "100000000000000000001",
            "email": email,
            **body.get("serviceAccount", {}),
        }
        self.accounts[email] = account
        self.changes.append(("create account", email))
        return account

    def delete_account(self, match, _query, _body):
        email = self.account_email(match)
        del self.accounts[email]
        self.keys.pop(email, None)
        self.changes.append(("delete account", email))
        return {}

    def create_key(self, match, _query, _body):
        email = self.account_email(match)
        if "orgpolicy" in self.forbidden:
            raise Refusal(400, "FAILED_PRECONDITION", "Key creation is not allowed on this service account.")
        key_id = f"key{len(self.keys.setdefault(email, [])) + 1}"
        self.keys[email].append(key_id)
        self.changes.append(("create key", email))
        # Not a key of anything: the fake needs only the members that the scripts look at.
        content = {"type": "service_account", "private_key_id": key_id, "client_email": email}
        return {
            "name": f"projects/-/serviceAccounts/{email}/keys/{key_id}",
            "privateKeyType": "TYPE_GOOGLE_CREDENTIALS_FILE",
            "privateKeyData": base64.b64encode(json.dumps(content).encode()).decode(),
        }

    def list_roles(self, match, _query, _body):
        return {"roles": [role for name, role in self.roles.items() if name.startswith(f"projects/{match['project']}/")]}

    def role_name(self, match):
        name = f"projects/{match['project']}/roles/{match['role']}"
        if name not in self.roles:
            raise Refusal(404, "NOT_FOUND", f"The role {name} was not found")
        return name

    def get_role(self, match, _query, _body):
        return self.roles[self.role_name(match)]

    def create_role(self, match, _query, body):
        name = f"projects/{match['project']}/roles/{body['roleId']}"
        self.roles[name] = {"name": name, "etag": etag(0), **body["role"]}
        self.changes.append(("create role", name))
        return self.roles[name]

    def update_role(self, match, _query, body):
        name = self.role_name(match)
        self.roles[name]["includedPermissions"] = body["includedPermissions"]
        self.changes.append(("update role", name))
        return self.roles[name]

    def get_policy(self, match, _query, _body):
        resource = urllib.parse.unquote(match["resource"])
        if resource in self.forbidden:
            raise Refusal(403, "PERMISSION_DENIED", f"no permission to read the policy of {resource}")
        return self.policy(resource)

    def set_policy(self, match, _query, body):
        resource = urllib.parse.unquote(match["resource"])
        current, wanted = self.policy(resource), body["policy"]
        if self.races and "/sources/" in resource:
            self.races -= 1
            current["etag"] = etag("somebody else")
            current["bindings"].append({"role": "roles/viewer", "members": ["user:somebody@example.com"]})
        if self.shy and "iam.gserviceaccount.com" in json.dumps(wanted):
            self.shy -= 1
            raise Refusal(400, "INVALID_ARGUMENT", "Service account cscc-sa@acme.iam.gserviceaccount.com does not exist.")
        if wanted.get("etag") not in (None, current["etag"]):
            raise Refusal(409, "ABORTED", "There were concurrent policy changes.")
        wanted["etag"] = etag(len(self.changes) + 1)
        wanted.setdefault("bindings", [])  # gcloud leaves an empty list out
        current.clear()
        current.update(wanted)
        self.changes.append(("set policy", resource))
        return wanted


ACCOUNTS = r"/v1/projects/(?P<project>[^/]+)/serviceAccounts"
ACCOUNT = r"/v1/projects/[^/]+/serviceAccounts/(?P<email>[^/:]+)"
ROLES = r"/v1/projects/(?P<project>[^/]+)/roles"

ROUTES = [
    (ROLES, "GET", Cloud.list_roles),
    (ROLES, "POST", Cloud.create_role),
    (ROLES + r"/(?P<role>[^/:]+)", "GET", Cloud.get_role),
    (ROLES + r"/(?P<role>[^/:]+)", "PATCH", Cloud.update_role),
    (ACCOUNTS, "GET", Cloud.list_accounts),
    (ACCOUNTS, "POST", Cloud.create_account),
    (ACCOUNT, "DELETE", Cloud.delete_account),
    (ACCOUNT + r"/keys", "POST", Cloud.create_key),
    (r"/v[12]/(?P<resource>.+):getIamPolicy", "POST", Cloud.get_policy),
    (r"/v[12]/(?P<resource>.+):getIamPolicy", "GET", Cloud.get_policy),
    (r"/v[12]/(?P<resource>.+):setIamPolicy", "POST", Cloud.set_policy),
]


class Fake:
    """The fake on a free port of this machine: `with Fake() as fake: fake.url, fake.cloud`."""

    def __enter__(self):
        self.cloud = cloud = Cloud()

        class Handler(BaseHTTPRequestHandler):
            def serve(self):
                parts = urllib.parse.urlsplit(self.path)
                cloud.tokens.add(self.headers.get("Authorization"))
                text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                try:
                    status, answer = 200, cloud.answer(
                        self.command, parts.path, urllib.parse.parse_qs(parts.query), json.loads(text or b"{}")
                    )
                except Refusal as refusal:
                    status = refusal.status
                    answer = {"error": {"code": status, "message": refusal.message, "status": refusal.code}}
                body = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = serve

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
