"""Drives Google's own Python clients against a sandbox. Usage: python_clients.py http://127.0.0.1:PORT

The sandbox must be fresh. Ends with status 0 and the line "ok" when everything is as Security Command Center answers.
"""
import sys

from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import securitycenter_v2 as scc
from google.protobuf import field_mask_pb2
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError

URL = sys.argv[1]
ORGANIZATION = "organizations/123456789012"


def client():
    return scc.SecurityCenterClient(
        credentials=AnonymousCredentials(), transport="rest", client_options={"api_endpoint": URL}
    )


def expect(exception, call):
    try:
        call()
    except exception:
        return
    raise AssertionError(f"expected {exception.__name__}")


def sources(c):
    made = c.create_source(parent=ORGANIZATION, source=scc.Source(display_name="Python", description="d"))
    assert c.get_source(name=made.name).display_name == "Python"
    names = [s.display_name for s in c.list_sources(parent=ORGANIZATION)]
    assert names == ["Sysdig Secure", "Python"], names
    changed = c.update_source(
        source=scc.Source(name=made.name, display_name="Python 2"),
        update_mask=field_mask_pb2.FieldMask(paths=["display_name"]),
    )
    assert (changed.display_name, changed.description) == ("Python 2", "d")
    granted = c.test_iam_permissions(resource=made.name, permissions=["securitycenter.findings.update"])
    assert list(granted.permissions) == ["securitycenter.findings.update"]
    policy = c.get_iam_policy(resource=made.name)
    policy.bindings.add(role="roles/securitycenter.findingsEditor", members=["user:a@example.com"])
    assert c.set_iam_policy(request={"resource": made.name, "policy": policy}).bindings[0].members
    return made.name


def findings(c, source):
    parent = f"{source}/locations/global"
    finding = scc.Finding(
        state=scc.Finding.State.ACTIVE,
        category="Terminal shell in container",
        severity=scc.Finding.Severity.HIGH,
        finding_class=scc.Finding.FindingClass.THREAT,
        resource_name="//compute.googleapis.com/projects/shop/zones/z/instances/42",
        event_time="2026-01-02T03:04:05Z",
        source_properties={"a": "1", "list": [1, 2], "flag": True},
        processes=[scc.Process(name="bash", pid=4711, binary=scc.File(path="/bin/bash", size=12))],
        mitre_attack=scc.MitreAttack(
            primary_tactic=scc.MitreAttack.Tactic.EXECUTION,
            primary_techniques=[scc.MitreAttack.Technique.UNIX_SHELL],
        ),
        kubernetes=scc.Kubernetes(pods=[scc.Kubernetes.Pod(ns="shop", name="web")]),
    )
    made = c.create_finding(parent=parent, finding_id="py1", finding=finding)
    assert made.name == f"{parent}/findings/py1", made.name
    assert made.processes[0].pid == 4711 and made.mute == scc.Finding.Mute.UNDEFINED
    assert made.mitre_attack.primary_techniques == [scc.MitreAttack.Technique.UNIX_SHELL]
    expect(exceptions.Conflict, lambda: c.create_finding(parent=parent, finding_id="py1", finding=finding))
    expect(exceptions.BadRequest, lambda: c.create_finding(parent=parent, finding_id="a-b", finding=finding))
    nowhere = f"{ORGANIZATION}/sources/99/locations/global"
    expect(exceptions.NotFound, lambda: c.create_finding(parent=nowhere, finding_id="a", finding=finding))

    change = scc.Finding(
        name=made.name, severity="LOW", event_time="2026-01-02T03:04:06Z", source_properties={"a": "2", "b": "3"}
    )
    mask = field_mask_pb2.FieldMask(paths=["severity", "event_time", "source_properties.a"])
    changed = c.update_finding(finding=change, update_mask=mask)
    assert changed.severity == scc.Finding.Severity.LOW
    assert changed.source_properties["a"] == "2" and "b" not in changed.source_properties
    assert c.set_finding_state(name=made.name, state="INACTIVE").state == scc.Finding.State.INACTIVE
    assert c.set_mute(name=made.name, mute="MUTED").mute == scc.Finding.Mute.MUTED
    marks = scc.SecurityMarks(name=f"{made.name}/securityMarks", marks={"ack": "true"})
    mask = field_mask_pb2.FieldMask(paths=["marks.ack"])
    assert c.update_security_marks(security_marks=marks, update_mask=mask).marks["ack"] == "true"
    # In JSON the library writes masks in camelCase, keys of maps too: my_key goes out as myKey.
    marks = scc.SecurityMarks(name=f"{made.name}/securityMarks", marks={"my_key": "v"})
    mask = field_mask_pb2.FieldMask(paths=["marks.my_key"])
    assert dict(c.update_security_marks(security_marks=marks, update_mask=mask).marks) == {"ack": "true", "my_key": "v"}
    mask = field_mask_pb2.FieldMask(paths=["finding.security_marks.marks.my_key"])
    shown = list(c.list_findings(request={"parent": parent, "field_mask": mask}))[0].finding
    assert dict(shown.security_marks.marks) == {"my_key": "v"} and not shown.name, shown
    change = scc.Finding(name=made.name, event_time="2026-01-02T03:04:07Z", source_properties={"rule_type": "R"})
    mask = field_mask_pb2.FieldMask(paths=["event_time", "source_properties.rule_type"])
    changed = c.update_finding(finding=change, update_mask=mask)
    assert (changed.source_properties["rule_type"], changed.source_properties["a"]) == ("R", "2")
    system = scc.ExternalSystem(name=f"{made.name}/externalSystems/jira", status="open")
    assert c.update_external_system(external_system=system).status == "open"

    for i in range(2, 14):
        c.create_finding(parent=parent, finding_id=f"py{i}", finding=finding)
    request = {"parent": parent, "filter": 'state="ACTIVE" AND category : "shell"', "page_size": 5}
    listed = [r.finding.name.rsplit("/", 1)[1] for r in c.list_findings(request=request)]
    assert len(listed) == 12 and len(set(listed)) == 12, listed
    one = list(c.list_findings(request={"parent": parent, "filter": f'name="{made.name}"'}))
    assert len(one) == 1 and one[0].resource.gcp_metadata.project_display_name == "shop"
    groups = {g.properties["state"]: g.count for g in c.group_findings(request={"parent": parent, "group_by": "state"})}
    assert groups == {"ACTIVE": 12, "INACTIVE": 1}, groups
    bulk = c.bulk_mute_findings(request={"parent": ORGANIZATION, "filter": 'state="ACTIVE"', "mute_state": "MUTED"})
    bulk.result(timeout=5)
    muted = {"parent": parent, "filter": 'mute="MUTED"', "page_size": 1000}
    assert len(list(c.list_findings(request=muted))) == 13
    clear = scc.BulkMuteFindingsRequest.MuteState.UNDEFINED
    bulk = c.bulk_mute_findings(request={"parent": ORGANIZATION, "filter": 'state="ACTIVE"', "mute_state": clear})
    bulk.result(timeout=5)
    assert len(list(c.list_findings(request=muted))) == 1


def discovery():
    """google-api-python-client knows v1 from its own cache: enum names, ?alt=json."""
    service = build(
        "securitycenter", "v1", credentials=AnonymousCredentials(), client_options={"api_endpoint": URL + "/"}
    )
    calls = service.organizations().sources().findings()
    parent = f"{ORGANIZATION}/sources/5629499534213120001"
    body = {"category": "c", "severity": "HIGH", "eventTime": "2026-01-02T03:04:05.678Z", "resourceName": "//x/y"}
    made = calls.create(parent=parent, findingId="d1", body=body).execute()
    assert made["name"] == f"{parent}/findings/d1", made["name"]
    try:
        calls.create(parent=parent, findingId="d1", body=body).execute()
        raise AssertionError("expected a conflict")
    except HttpError as error:
        assert error.resp.status == 409 and "already exists" in error.reason
    # A filter too long for a line makes the client send a POST that means a GET.
    long_filter = " OR ".join(f'category="{"x" * 50}{i}"' for i in range(60)) + ' OR category="c"'
    listed = calls.list(parent=parent, filter=long_filter).execute()
    assert listed["totalSize"] == 1 and listed["listFindingsResults"][0]["finding"]["severity"] == "HIGH"
    state = {"state": "INACTIVE", "startTime": "2026-01-02T03:04:06Z"}
    assert calls.setState(name=made["name"], body=state).execute()["state"] == "INACTIVE"


c = client()
findings(c, sources(c))
discovery()
print("ok")
