"""The Google Cloud scripts, run under the real gcloud against a local stand-in for Google's services.

Run with: python3 tests/scripts/test_scripts.py
"""

import concurrent.futures
import http.server
import json
import os
import pathlib
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import unittest

from fake_google import Fake, etag

SCRIPTS = pathlib.Path(__file__).resolve().parents[2] / "scripts"
TOKEN = "a-token-for-the-tests"
EMAIL = "cscc-sa@acme.iam.gserviceaccount.com"
MEMBER = f"serviceAccount:{EMAIL}"
FINDINGS = "roles/securitycenter.findingsEditor"
SOURCE = "organizations/123/sources/77"
SERVICES = "IAM CLOUDRESOURCEMANAGER SECURITYCENTER SECRETMANAGER".split()


class Story(unittest.TestCase):
    """A fresh fake and a fresh folder for each story."""

    def setUp(self):
        self.fake = self.enterContext(Fake())
        self.cloud = self.fake.cloud
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))

    def spies(self):
        """A folder with a curl and a gcloud that note their arguments and then do what the real ones do."""
        folder = self.folder / "bin"
        self.arguments = self.folder / "arguments"
        self.arguments.touch()
        folder.mkdir(exist_ok=True)
        for tool in ("curl", "gcloud"):
            spy = folder / tool
            spy.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >>"{self.arguments}"\nexec "{shutil.which(tool)}" "$@"\n')
            spy.chmod(0o755)
        return folder

    def run_script(self, name, *arguments, expect=0, **variables):
        environment = {
            "PATH": f"{self.spies()}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "CLOUDSDK_CONFIG": str(self.folder / "gcloud"),
            "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "true",
            "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "true",
            "CLOUDSDK_AUTH_ACCESS_TOKEN": TOKEN,
            "RETRY_PAUSE_SECS": "0",
            **{f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{s}": self.fake.url for s in SERVICES},
            **variables,
        }
        environment = {name: value for name, value in environment.items() if value is not None}
        done = subprocess.run(
            ["bash", str(SCRIPTS / name), *arguments],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )
        self.assertEqual(done.returncode, expect, done.stdout + done.stderr)
        self.assertNotIn(TOKEN, done.stdout + done.stderr, "the token is never printed")
        self.assertNotIn(TOKEN, self.arguments.read_text(), "the token never stands in an argument list")
        return done.stdout + done.stderr

    def findings_keys(self, *arguments, **variables):
        settings = {"PROJECT_ID": "acme", "ORG_ID": "123", "SERVICE_ACCOUNT": "cscc-sa", "SOURCE_ID": "77", **variables}
        return self.run_script("generate_gcloud_keys", *arguments, **settings)

    def compute_keys(self, *arguments, **variables):
        settings = {"COMPUTE_PROJECT_ID": "shop,depot", "COMPUTE_SERVICE_ACCOUNT": "compute-sa", **variables}
        return self.run_script("generate_compute_keys", *arguments, **settings)

    def identity(self, *arguments, **variables):
        settings = {"PROJECT_ID": "acme", "ORG_ID": "123", "SERVICE_ACCOUNT": "cscc-sa", "SOURCE_ID": "77", **variables}
        return self.run_script("setup_workload_identity", *arguments, **settings)


class GenerateGcloudKeys(Story):
    def test_makes_an_account_that_edits_findings_of_one_source_and_a_private_key_file(self):
        self.findings_keys()
        self.assertEqual(list(self.cloud.accounts), [EMAIL])
        self.assertEqual(self.cloud.members(SOURCE, FINDINGS), [MEMBER])
        self.assertEqual(self.cloud.policy("organizations/123")["bindings"], [])
        key = self.folder / "cscc-sa.json"
        self.assertEqual(json.loads(key.read_text())["client_email"], EMAIL)
        self.assertEqual(stat.S_IMODE(key.stat().st_mode), 0o600)
        self.assertEqual(self.cloud.tokens, {f"Bearer {TOKEN}"})

    def test_a_second_run_changes_nothing(self):
        self.findings_keys()
        before = list(self.cloud.changes)
        output = self.findings_keys()
        self.assertEqual(self.cloud.changes, before)
        self.assertEqual(output.count("already"), 3, output)

    def test_a_dry_run_changes_nothing_and_prints_the_plan(self):
        output = self.findings_keys("--dry-run")
        self.assertEqual(self.cloud.changes, [])
        self.assertFalse((self.folder / "cscc-sa.json").exists())
        self.assertIn("gcloud iam service-accounts create cscc-sa --project acme", output)
        self.assertIn("nothing was changed", output)

    def test_without_a_source_the_right_is_on_the_organisation_with_a_warning(self):
        output = self.findings_keys(SOURCE_ID=None, KEY_LOCATION="elsewhere.json")
        self.assertEqual(self.cloud.members("organizations/123", FINDINGS), [MEMBER])
        self.assertIn("warning: SOURCE_ID is not set", output)
        self.assertTrue((self.folder / "elsewhere.json").exists())

    def test_the_grants_of_others_are_kept_even_when_they_change_meanwhile(self):
        guest = {"role": FINDINGS, "members": ["user:guest@example.com"], "condition": {"title": "for a week", "expression": "true"}}
        self.cloud.policies[SOURCE] = {"version": 3, "etag": etag(9), "bindings": [guest]}
        self.cloud.races = 1
        output = self.findings_keys()
        self.assertIn("somebody else changed the policy", output)
        self.assertIn(guest, self.cloud.policy(SOURCE)["bindings"])
        self.assertIn({"role": FINDINGS, "members": [MEMBER]}, self.cloud.policy(SOURCE)["bindings"])
        self.assertEqual(self.cloud.members(SOURCE, "roles/viewer"), ["user:somebody@example.com"])

    def test_an_account_that_is_not_known_everywhere_yet_is_waited_for(self):
        self.cloud.shy = 2
        self.findings_keys(SOURCE_ID=None)
        self.assertEqual(self.cloud.members("organizations/123", FINDINGS), [MEMBER])

    def test_all_missing_variables_are_named_at_once(self):
        output = self.run_script("generate_gcloud_keys", PROJECT_ID="acme", expect=1)
        self.assertIn("not set: ORG_ID SERVICE_ACCOUNT", output)
        self.assertEqual(self.cloud.changes, [])

    def test_a_file_that_is_not_this_accounts_key_is_never_overwritten(self):
        (self.folder / "cscc-sa.json").write_text("my notes")
        output = self.findings_keys(expect=1)
        self.assertIn("is not a key of", output)
        self.assertEqual((self.folder / "cscc-sa.json").read_text(), "my notes")

    def test_a_forbidden_policy_names_the_role_that_is_needed(self):
        self.cloud.forbidden.add(SOURCE)
        output = self.findings_keys(expect=1)
        self.assertIn("roles/securitycenter.sourcesAdmin", output)

    def test_an_organisation_that_forbids_keys_is_told_of_the_way_without(self):
        self.cloud.forbidden.add("orgpolicy")
        output = self.findings_keys(expect=1)
        self.assertIn("setup_workload_identity", output)
        self.assertFalse((self.folder / "cscc-sa.json").exists())

    def test_the_token_is_not_sent_in_the_clear_to_another_machine(self):
        output = self.findings_keys(SCC_ENDPOINT="http://scc.example.com", expect=1)
        self.assertIn("neither https nor this machine", output)


class GenerateComputeKeys(Story):
    def test_grants_only_reading_in_each_project_and_runs_twice(self):
        self.compute_keys()
        member = "serviceAccount:compute-sa@shop.iam.gserviceaccount.com"
        for project in ("shop", "depot"):
            self.assertEqual(
                self.cloud.policy(f"projects/{project}")["bindings"],
                [{"role": "roles/compute.viewer", "members": [member]}],
            )
        self.assertEqual(stat.S_IMODE((self.folder / "compute-sa.json").stat().st_mode), 0o600)
        before = list(self.cloud.changes)
        self.compute_keys()
        self.assertEqual(self.cloud.changes, before)


class GrantActing(Story):
    NAME = "projects/shop/roles/sysdigSccActing"

    def grant(self, action, *arguments, **variables):
        settings = {"COMPUTE_PROJECT_ID": "shop", "ACCOUNT": EMAIL, "INTEGRITY_ACTION": action, **variables}
        return self.run_script("grant_acting", *arguments, **settings)

    def permissions(self):
        return {name.rsplit(".", 1)[1] for name in self.cloud.roles[self.NAME]["includedPermissions"]}

    def test_the_role_has_what_the_mode_needs_and_no_more(self):
        self.grant("relearn-or-report")
        look = {"get", "list"}
        self.assertEqual(self.permissions(), look | {"setShieldedInstanceIntegrityPolicy"})
        self.assertEqual(self.cloud.members("projects/shop", self.NAME), [MEMBER])
        before = list(self.cloud.changes)
        self.grant("relearn-or-report")
        self.assertEqual(self.cloud.changes, before, "a second run changes nothing")
        self.grant("stop", INTEGRITY_SNAPSHOT_FIRST="true")
        self.assertEqual(self.permissions(), look | {"stop", "createSnapshot", "create"})
        self.grant("report")
        self.assertEqual(self.cloud.members("projects/shop", self.NAME), [], "report needs none of it")

    def test_a_dry_run_changes_nothing_and_an_unknown_action_is_refused(self):
        output = self.grant("suspend", "--dry-run")
        self.assertIn("compute.instances.suspend", output)
        self.assertIn("INTEGRITY_ACTION must be", self.grant("shutdown", expect=1))
        self.assertEqual(self.cloud.changes, [])


class SetupWorkloadIdentity(Story):
    def test_gke_lends_the_account_to_the_kubernetes_account_without_a_key(self):
        self.identity("gke", COMPUTE_PROJECT_ID="shop", SECRETS="webhook-token")
        self.assertEqual(
            self.cloud.members(f"projects/-/serviceAccounts/{EMAIL}", "roles/iam.workloadIdentityUser"),
            ["serviceAccount:acme.svc.id.goog[sysdig-scc/sysdig-scc]"],
        )
        self.assertEqual(self.cloud.members("projects/shop", "roles/compute.viewer"), [MEMBER])
        secret = "projects/acme/secrets/webhook-token"
        self.assertEqual(self.cloud.members(secret, "roles/secretmanager.secretAccessor"), [MEMBER])
        self.assertEqual(self.cloud.keys, {})
        before = list(self.cloud.changes)
        self.identity("gke", COMPUTE_PROJECT_ID="shop", SECRETS="webhook-token")
        self.assertEqual(self.cloud.changes, before)

    def test_cloud_run_says_what_to_write_into_the_service(self):
        output = self.identity("cloud-run")
        self.assertIn(f"serviceAccountName: {EMAIL}", output)
        self.assertEqual((list(self.cloud.accounts), self.cloud.keys), ([EMAIL], {}))

    def test_app_engine_gets_what_its_instances_need_to_start(self):
        self.identity("app-engine")
        self.assertEqual(self.cloud.members("projects/acme", "roles/logging.logWriter"), [MEMBER])

    def test_an_unknown_platform_is_refused(self):
        self.assertIn("there is no platform", self.identity("mainframe", expect=1))


class Teardown(Story):
    EVERYTHING = {
        "PROJECT_ID": "acme",
        "ORG_ID": "123",
        "SERVICE_ACCOUNT": "cscc-sa",
        "SOURCE_ID": "77",
        "COMPUTE_PROJECT_ID": "shop,depot",
        "COMPUTE_SERVICE_ACCOUNT": "compute-sa",
        "SECRETS": "webhook-token",
    }

    def bindings(self):
        return [b for policy in self.cloud.policies.values() for b in policy["bindings"] if "serviceAccount" in str(b)]

    def test_leaves_nothing_behind_and_runs_twice(self):
        self.findings_keys()
        self.compute_keys()
        self.identity("gke", COMPUTE_PROJECT_ID="shop", SECRETS="webhook-token")
        self.run_script("grant_acting", COMPUTE_PROJECT_ID="shop", ACCOUNT=EMAIL, INTEGRITY_ACTION="stop")
        # The account's own policy disappears with the account, in the fake by hand.
        self.cloud.policies.pop(f"projects/-/serviceAccounts/{EMAIL}")
        self.run_script("teardown", "--yes", **self.EVERYTHING)
        self.assertEqual((self.cloud.accounts, self.cloud.keys, self.bindings()), ({}, {}, []))
        self.assertEqual([f.name for f in self.folder.glob("*.json")], [])
        before = list(self.cloud.changes)
        self.run_script("teardown", "--yes", **self.EVERYTHING)
        self.assertEqual(self.cloud.changes, before)

    def test_asks_first(self):
        self.findings_keys()
        output = self.run_script("teardown", expect=1, **self.EVERYTHING)
        self.assertIn("--yes", output)
        self.assertEqual(list(self.cloud.accounts), [EMAIL])

    def test_a_dry_run_changes_nothing(self):
        self.findings_keys()
        before = list(self.cloud.changes)
        output = self.run_script("teardown", "--dry-run", **self.EVERYTHING)
        self.assertEqual(self.cloud.changes, before)
        self.assertIn("would run: gcloud iam service-accounts delete", output)
        self.assertTrue((self.folder / "cscc-sa.json").exists())

    def test_a_dry_run_that_cannot_look_does_not_say_what_is_there(self):
        self.cloud.forbidden.update([SOURCE, "organizations/123"])
        output = self.run_script(
            "teardown", "--dry-run", PROJECT_ID="acme", ORG_ID="123", SERVICE_ACCOUNT="cscc-sa", SOURCE_ID="77"
        )
        for where in ["source 77", "organization 123"]:
            self.assertIn(f"{FINDINGS} on {where}: unknown; would be taken from {MEMBER} if granted", output)
            self.assertNotIn(f"{where}: not granted", output)
        self.assertIn(f"roles/logging.logWriter on project acme: not granted to {MEMBER}", output)

    def test_the_rest_is_undone_when_the_organisation_may_not_be_seen(self):
        self.findings_keys()
        self.cloud.forbidden.add("organizations/123")
        output = self.run_script(
            "teardown", "--yes", PROJECT_ID="acme", ORG_ID="123", SERVICE_ACCOUNT="cscc-sa", SOURCE_ID="77"
        )
        self.assertIn("organisation 123 was left as it is", output)
        self.assertEqual((self.cloud.accounts, self.bindings()), ({}, []))

    def test_an_account_made_by_somebody_else_loses_the_right_but_stays(self):
        self.cloud.accounts[EMAIL] = {"email": EMAIL, "projectId": "acme", "description": "made by hand"}
        self.findings_keys()
        output = self.run_script(
            "teardown", "--yes", PROJECT_ID="acme", ORG_ID="123", SERVICE_ACCOUNT="cscc-sa", SOURCE_ID="77"
        )
        self.assertIn("left alone", output)
        self.assertEqual(list(self.cloud.accounts), [EMAIL])
        self.assertEqual(self.bindings(), [])


class SendSampleEvent(Story):
    """Against a door that wants the token."""

    def setUp(self):
        super().setUp()
        self.deliveries = deliveries = []

        class Door(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                right = self.headers["Authorization"] == f"Bearer {TOKEN}"
                if right:
                    deliveries.append(json.loads(body))
                answer = b'{"accepted":1}' if right else b'{"error":"wrong token"}'
                self.send_response(200 if right else 401)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Door)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        self.url = f"http://127.0.0.1:{server.server_address[1]}/events"

    def send(self, *arguments, **variables):
        return self.run_script("send_sample_event", *arguments, **{"WEBHOOK_URL": self.url, **variables})

    def test_each_run_sends_a_new_event_and_prints_the_answer(self):
        tokens = f"{TOKEN},an-older-one"
        self.assertIn('{"accepted":1}', self.send(WEBHOOK_AUTHENTICATION_TOKEN=tokens))
        self.send(WEBHOOK_AUTHENTICATION_TOKEN=tokens)
        self.send("--kind", "falco", WEBHOOK_AUTHENTICATION_TOKEN=tokens)
        first, second, falco = self.deliveries
        self.assertNotEqual(first[0]["id"], second[0]["id"])
        self.assertTrue(first[0]["id"].isalnum() and len(first[0]["id"]) <= 32)
        self.assertEqual(falco["rule"], "Terminal shell in container")

    def test_a_refusal_is_an_error(self):
        self.assertIn("401", self.send(WEBHOOK_AUTHENTICATION_TOKEN="wrong", expect=22))

    def test_the_token_is_not_sent_in_the_clear_to_another_machine(self):
        output = self.send("--url", "http://connector.example.com/events", WEBHOOK_AUTHENTICATION_TOKEN=TOKEN, expect=1)
        self.assertIn("neither https nor this machine", output)

    def test_a_reference_is_not_mistaken_for_the_token(self):
        output = self.send(WEBHOOK_AUTHENTICATION_TOKEN="sm://acme/webhook-token", expect=1)
        self.assertIn("gcloud secrets versions access", output)


def run_class(name):
    """One class in a process of its own; gcloud spends most of its time starting, so two at once take half as long."""
    return subprocess.run(
        [sys.executable, "-m", "unittest", "-v", f"test_scripts.{name}"],
        cwd=pathlib.Path(__file__).parent,
        stderr=subprocess.STDOUT,
        stdout=subprocess.PIPE,
        text=True,
    )


def main():
    names = [name for name, value in globals().items() if isinstance(value, type) and issubclass(value, Story) and value is not Story]
    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        runs = list(pool.map(run_class, names))
    print("".join(run.stdout for run in runs))
    sys.exit(max(run.returncode for run in runs))


if __name__ == "__main__":
    main()
