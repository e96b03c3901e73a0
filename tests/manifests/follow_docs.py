"""Follows the "fill in" steps of docs/deploy.md in a copy, and looks for placeholders that they left behind.

    python3 follow_docs.py FOLDER     the filled-in copy is left in FOLDER
"""

import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
READER = {
    "PROJECT_ID": "acme-prod",
    "ORG_ID": "987654321000",
    "SOURCE_ID": "5555555555555555555",
    "REGION": "us-east1",
    "WEBHOOK_HOST": "scc.acme.example",
    "APP_HOST": "acme-prod.ue.r.appspot.com",
    "RUN_URL": "https://sysdig-scc-42.us-east1.run.app",
    "SYSDIG_REGION": "eu1",
    "SERVICE_ACCOUNT": "findings-sa",
    "COMPUTE_PROJECT_ID": "acme-shop,acme-depot",
}
# What the page makes of a reader's own words, also of those in a project of a domain.
MADE = {
    "acme-prod": {
        "ACCOUNT_EMAIL": "findings-sa@acme-prod.iam.gserviceaccount.com",
        "IMAGES": "us-east1-docker.pkg.dev/acme-prod/sysdig-scc",
    },
    "acme.test:prod": {
        "ACCOUNT_EMAIL": "findings-sa@prod.acme.test.iam.gserviceaccount.com",
        "IMAGES": "us-east1-docker.pkg.dev/acme.test/prod/sysdig-scc",
    },
    # As Google's console proposes it: it begins with what is to be replaced.
    "my-project-412305": {
        "ACCOUNT_EMAIL": "findings-sa@my-project-412305.iam.gserviceaccount.com",
        "IMAGES": "us-east1-docker.pkg.dev/my-project-412305/sysdig-scc",
    },
}
FILLED = {
    "app.yaml": "PROJECT_ID ORG_ID SOURCE_ID APP_HOST SYSDIG_REGION ACCOUNT_EMAIL COMPUTE_PROJECT_ID",
    "deploy/kubernetes/base/kustomization.yaml": "IMAGES",
    "deploy/kubernetes/overlays/gke/settings.env": "PROJECT_ID ORG_ID SOURCE_ID WEBHOOK_HOST SYSDIG_REGION COMPUTE_PROJECT_ID",
    "deploy/kubernetes/overlays/gke/service-account.yaml": "ACCOUNT_EMAIL",
    "deploy/kubernetes/overlays/gke/ingress.yaml": "WEBHOOK_HOST",
    "deploy/cloud-run/service.yaml": "PROJECT_ID ORG_ID SOURCE_ID IMAGES RUN_URL SYSDIG_REGION ACCOUNT_EMAIL COMPUTE_PROJECT_ID",
}
PLACEHOLDER = re.compile(r"my-project|\b123456789012\b|1234567890123456789|example\.com|REGION|cscc-sa")


def steps():
    """The shell blocks of the page that begin by editing a file."""
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```$", (ROOT / "docs/deploy.md").read_text(), re.MULTILINE | re.DOTALL)
    return [block for block in blocks if block.strip().startswith("sed -i")]


def made():
    """The lines of the page that make names of a reader's own words."""
    lines = re.findall(r"^ *(export (?:ACCOUNT_EMAIL|IMAGES)=.*)$", (ROOT / "docs/deploy.md").read_text(), re.MULTILINE)
    return "\n".join(dict.fromkeys(lines))


def follow(copy, project):
    """What is wrong with the files that are filled in for this project."""
    shutil.copytree(ROOT / "deploy", copy / "deploy")
    shutil.copy(ROOT / "app.yaml", copy)
    found = steps()
    if len(found) != 3:
        sys.exit(f"docs/deploy.md has {len(found)} steps that fill in a file; this test knows 3")
    host = READER["APP_HOST"].replace(READER["PROJECT_ID"], project.split(":")[-1])
    reader = {**READER, "PROJECT_ID": project, "APP_HOST": host}
    for step in found:
        script = f"{made()}\n{step}"
        subprocess.run(["bash", "-euc", script], cwd=copy, env={**reader, "PATH": "/usr/bin:/bin"}, check=True)
    arrived = {**reader, **MADE[project]}
    mistakes = []
    for name, settings in FILLED.items():
        lines = [line for line in (copy / name).read_text().splitlines() if not line.lstrip().startswith("#")]
        mistakes += [f"{name}: still says {line.strip()}" for line in lines if PLACEHOLDER.search(line.replace(project, ""))]
        mistakes += [f"{name}: {s} did not arrive" for s in settings.split() if arrived[s] not in "\n".join(lines)]
    return mistakes


def main():
    copy = pathlib.Path(sys.argv[1])
    mistakes = follow(copy, READER["PROJECT_ID"])
    others = [project for project in MADE if project != READER["PROJECT_ID"]]
    mistakes += [mistake for project in others for mistake in follow(copy / project, project)]
    print("\n".join(mistakes) or "docs/deploy.md: three paths filled in")
    sys.exit(1 if mistakes else 0)


if __name__ == "__main__":
    main()
