//! What the linter says of policies, and what it keeps quiet about.

use super::*;

fn rules(condition: &str) -> Vec<&'static str> {
    let text = format!("audiences: [a]\nallow_everything: true\ncondition: |\n  {condition}\n");
    let mut found: Vec<_> = lint(&Policy::read(&text, "p").unwrap()).into_iter().map(|remark| remark.rule).collect();
    found.dedup();
    found
}

const GOOD: &str = "assertion.swname == 'CONFIDENTIAL_SPACE' && assertion.dbgstat == 'disabled-since-boot' \
    && assertion.submods.container.image_digest \
    == 'sha256:1111111111111111111111111111111111111111111111111111111111111111' && assertion.submods.gce.project_id == 'p'";
const VM: &str = "assertion.swname == 'GCE' && assertion.submods.gce.project_id == 'p'";

// Looking at every condition twice would take longer than anybody waits.
#[test]
fn conditions_within_conditions_are_looked_at_once() {
    let nested = (0..40).fold("assertion.secboot".to_owned(), |inner, _| format!("({inner}) ? assertion.a : {VM}"));
    assert!(rules(&nested).contains(&"any-project"));
}

#[test]
fn every_branch_must_ask_for_itself() {
    let all = ["no-software-name", "debug-image-passes", "any-image", "any-project"].as_slice();
    let space = "assertion.swname == 'CONFIDENTIAL_SPACE'";
    for (condition, expected) in [
        (GOOD.to_owned(), [].as_slice()),
        (VM.to_owned(), &[]),
        (format!("({GOOD}) || ({VM})"), &[]),
        (format!("({GOOD}) || assertion.secboot"), all),
        (format!("{GOOD} || assertion.secboot"), all),
        (format!("assertion.secboot ? assertion.secboot : ({GOOD})"), all),
        (format!("!(!({GOOD}) && !assertion.secboot)"), all),
        (format!("({GOOD}) && (assertion.secboot || assertion.oemid == 11129)"), &[]),
        (
            format!("({GOOD}) || ({space} && assertion.submods.gce.project_id == 'p')"),
            &["debug-image-passes", "any-image"],
        ),
        (
            format!("{space} && assertion.dbgstat != 'enabled' && has(assertion.submods.gce.project_id)"),
            &["any-project"],
        ),
    ] {
        assert_eq!(rules(&condition), expected, "{condition}");
    }
}

#[test]
fn what_is_true_of_strangers_asks_for_nothing() {
    let project = "assertion.submods.gce.project_id";
    let digest = "assertion.submods.container.image_digest";
    let owner = "assertion.submods.gce.project_id == 'p'";
    let ours = format!("sha256:{}", "1".repeat(64));
    let image = &format!("assertion.submods.container.image_digest == '{ours}'");
    let debug = "assertion.dbgstat == 'disabled-since-boot'";
    let support = "assertion.submods.confidential_space.support_attributes";
    for (instead, of, rule) in [
        (format!("{project} != 'evil'"), owner, "any-project"),
        (format!("!({project} == 'evil')"), owner, "any-project"),
        (format!("!({project} in ['evil'])"), owner, "any-project"),
        (format!("{project} == {project}"), owner, "any-project"),
        (format!("size({project}) > 0"), owner, "any-project"),
        (format!("{project}.startsWith('')"), owner, "any-project"),
        (format!("{project}.matches('^.*$')"), owner, "any-project"),
        (format!("{project} >= ''"), owner, "any-project"),
        ("size(assertion.google_service_accounts) > 0".to_owned(), owner, "any-project"),
        ("assertion.sub.contains('/projects/')".to_owned(), owner, "any-project"),
        (format!("{digest} != '{ours}'"), image, "any-image"),
        (format!("{digest}.startsWith('sha256:')"), image, "any-image"),
        ("assertion.dbgstat == 'enabled'".to_owned(), debug, "debug-image-passes"),
        (format!("!('STABLE' in {support})"), debug, "debug-image-passes"),
        (
            "assertion.swname != 'CONFIDENTIAL_SPACE'".to_owned(),
            "assertion.swname == 'CONFIDENTIAL_SPACE'",
            "no-software-name",
        ),
    ] {
        assert_eq!(rules(&GOOD.replace(of, &instead)), [rule], "{instead}");
    }
    for (instead, of) in [
        (format!("!({project} != 'p')"), owner),
        ("'a@p.iam.gserviceaccount.com' in assertion.google_service_accounts".to_owned(), owner),
        ("assertion.google_service_accounts.exists(a, a.endsWith('@p.iam.gserviceaccount.com'))".to_owned(), owner),
        ("assertion.sub.extract('/projects/{p}/') == 'p'".to_owned(), owner),
        ("assertion.dbgstat != 'enabled'".to_owned(), debug),
        (format!("'STABLE' in {support}"), debug),
    ] {
        assert_eq!(rules(&GOOD.replace(of, &instead)), [""; 0], "{instead}");
    }
}

#[test]
fn names_like_those_that_are_asked_for_are_free_to_strangers() {
    let project = "assertion.submods.gce.project_id";
    let accounts = "assertion.google_service_accounts";
    let path = "https://www.googleapis.com/compute/v1/projects";
    let mail = "acme-data.iam.gserviceaccount.com";
    let told = |term: &str| rules(&GOOD.replace("assertion.submods.gce.project_id == 'p'", term));
    for term in [
        format!("{project}.startsWith('acme')"),
        format!("{project}.endsWith('-data')"),
        format!("{project}.contains('acme-data')"),
        format!("{project}.matches('^acme-[a-z]+$')"),
        format!("{project}.matches('^acme-[0-9]+$')"),
        format!("size({project}) == 9"),
        format!("{project}.size() == size('acme-data')"),
        format!("{accounts}.exists(a, a.startsWith('score@'))"),
        format!("{accounts}.exists(a, a.startsWith('score@acme'))"),
        format!("{accounts}.exists(a, a.contains('acme-data'))"),
        format!("{accounts}.exists(a, a.contains('@acme-data'))"),
        format!("{accounts}.exists(a, a.endsWith('{mail}'))"),
        format!("{accounts}.exists(a, a.endsWith('-compute@developer.gserviceaccount.com'))"),
        "assertion.sub.contains('acme-data')".to_owned(),
        "assertion.sub.endsWith('/instances/job-7')".to_owned(),
        "assertion.sub.contains('/zones/europe-west4-a/instances/job-7')".to_owned(),
        format!("assertion.sub.startsWith('{path}/acme')"),
        "assertion.submods.gce.project_number.startsWith('1234')".to_owned(),
    ] {
        assert!(told(&term).contains(&"any-project"), "{term}: {:?}", told(&term));
    }
    for term in [
        format!("{project} in ['acme-data', 'acme-data907', 'acme-datazq']"),
        format!("{project}.startsWith('example.com:')"),
        format!("{{'acme-data': true}}[{project}]"),
        format!("{accounts} == ['score@{mail}']"),
        format!("{accounts}.exists(a, a.endsWith('@{mail}'))"),
        format!("{accounts}.exists(a, a.matches('^[a-z]+@acme-data[.]iam[.]gserviceaccount[.]com$'))"),
        format!("assertion.sub.startsWith('{path}/acme-data/')"),
        "assertion.sub.contains('/projects/acme-data/')".to_owned(),
        "assertion.submods.gce.instance_id == '4455667788990011223'".to_owned(),
    ] {
        assert_eq!(told(&term), [""; 0], "{term}");
    }
    let mapped = |made: &str, term: &str| {
        let text = format!(
            "audiences: [a]\nmapping:\n  attribute.p: {made:?}\ncondition: |\n  assertion.swname == 'GCE' && {term}\n"
        );
        lint(&Policy::read(&text, "p").unwrap()).into_iter().map(|remark| remark.rule).collect::<Vec<_>>()
    };
    assert_eq!(mapped(project, "attribute.p.startsWith('acme')"), ["any-project"]);
    assert_eq!(mapped(project, "attribute.p == 'acme'"), [""; 0]);
    assert_eq!(mapped(&format!("{project}.contains('acme') ? 'ours' : ''"), "attribute.p == 'ours'"), ["any-project"]);
}

#[test]
fn debug_images_pass_where_nothing_keeps_them_out() {
    let support = "assertion.submods.confidential_space.support_attributes";
    let debug = "debug-image-passes";
    let told = |software: &str, term: &str| {
        rules(&format!("{software} && assertion.submods.gce.project_id == 'p' && {term}")).contains(&debug)
    };
    let space = "assertion.swname == 'CONFIDENTIAL_SPACE'";
    for (term, passes) in [
        ("true == assertion.secboot", true),
        ("assertion.dbgstat in ['disabled-since-boot', 'enabled']", true),
        ("has(assertion.dbgstat)", true),
        ("assertion.dbgstat.startsWith('')", true),
        ("assertion.dbgstat == 'disabled-since-boot'", false),
        ("assertion.dbgstat in ['disabled-since-boot']", false),
        (&format!("has({support})"), false),
        (&format!("!has({support})"), true),
        (&format!("size({support}) > 0"), false),
        (&format!("'USABLE' in {support}"), false),
        (&format!("'EXPERIMENTAL' in {support}"), true),
    ] {
        assert_eq!(told(space, term), passes, "{term}");
    }
    for (software, passes) in [
        ("assertion.hwmodel == 'GCP_AMD_SEV'", true),
        ("assertion.eat_profile.contains('/confidential-vm/')", false),
        ("assertion.swname != 'CONFIDENTIAL_SPACE'", false),
        ("assertion.swname != 'GCE'", true),
        ("assertion.swname in ['CONFIDENTIAL_SPACE', 'GCE']", true),
        ("has(assertion.submods.container)", true),
        ("assertion.swname == 'GCE'", false),
        ("!has(assertion.submods.container)", false),
    ] {
        assert_eq!(told(software, "assertion.secboot"), passes, "{software}");
    }
    let family = |family: &str| {
        let text = format!(
            "audiences: [a]\nfamily: {family}\ncondition: {space} && assertion.submods.gce.project_id == 'p'\n"
        );
        lint(&Policy::read(&text, "p").unwrap()).iter().any(|remark| remark.rule == debug)
    };
    assert_eq!(["any", "confidential_space", "confidential_vm"].map(family), [true, true, false]);
}

#[test]
fn what_a_wrong_value_does_is_told_as_it_is() {
    let why = |term: &str| {
        let text = format!("audiences: [a]\ncondition: |\n  {GOOD} && {term}\n");
        let found = lint(&Policy::read(&text, "p").unwrap());
        found.into_iter().map(|remark| (remark.level, remark.why)).collect::<Vec<_>>()
    };
    for (term, level, told) in [
        ("assertion.dbgstat == 'enable'", Level::Error, "never true"),
        ("assertion.dbgstat != 'enable'", Level::Error, "always true"),
        ("assertion.hwmodel in ['INTEL_TDX', 'GCP_AMD_SEV']", Level::Warning, "adds nothing"),
        ("assertion.hwmodel in ['INTEL_TDX']", Level::Error, "never true"),
    ] {
        let found = why(term);
        assert!(found.len() == 1 && found[0].0 == level && found[0].1.contains(told), "{term}: {found:?}");
    }
}

#[test]
fn all_of_a_list_that_is_not_empty_is_no_matter() {
    let all = "assertion.google_service_accounts.all(a, a == 'x')";
    let sized = |size: &str| rules(&format!("{GOOD} && {size} && {all}"));
    assert_eq!(sized("size(assertion.google_service_accounts) > 0"), [""; 0]);
    assert_eq!(sized("0 < assertion.google_service_accounts.size()"), [""; 0]);
    assert_eq!(sized("size(assertion.swversion) > 0"), ["all-of-nothing"]);
}

#[test]
fn a_mapped_attribute_asks_for_what_it_is_made_of() {
    let text = |condition: &str| {
        format!("audiences: [a]\nmapping: {{attribute.p: assertion.submods.gce.project_id}}\ncondition: {condition}\n")
    };
    let rules = |condition: &str| lint(&Policy::read(&text(condition), "p").unwrap()).len();
    assert_eq!(rules("assertion.swname == 'GCE' && attribute.p == 'p'"), 0);
    assert_eq!(rules("assertion.swname == 'GCE' && assertion.secboot"), 1, "a mapping alone asks for nothing");
}

#[test]
fn constants_are_told_and_do_not_let_everything_pass_unsaid() {
    for (condition, whole) in [
        ("true".to_owned(), true),
        ("1 == 1".to_owned(), true),
        ("!false".to_owned(), true),
        (format!("{GOOD} || true"), true),
        (format!("{GOOD} || 1 == 1"), true),
        (format!("({GOOD}) || [1].all(x, x > 0)"), true),
        ("assertion.secboot ? true : 'a' in ['a']".to_owned(), true),
        (format!("{GOOD} && true"), false),
        (format!("{GOOD} || 1 == 2"), false),
    ] {
        assert_eq!(rules(&condition), ["constant-condition"], "{condition}");
        let unsaid = Policy::read(&format!("audiences: [a]\ncondition: |\n  {condition}\n"), "p");
        assert_eq!(matches!(unsaid, Err(super::super::PolicyError::AllowsEverything)), whole, "{condition}");
    }
    let deny = Policy::read("audiences: [a]\ncondition: 'false'\n", "p").unwrap();
    assert_eq!(lint(&deny).iter().map(|remark| remark.level).collect::<Vec<_>>(), [Level::Note]);
}

#[test]
fn what_can_never_hold_is_told() {
    let vm = |rest: &str| rules(&format!("{VM} && {rest}"));
    for (rest, rule) in [
        ("assertion.x.matches('(')", "invalid-pattern"),
        ("google.subject == 'x'", "unmapped-attribute"),
        ("has(attribute.a.b)", "unmapped-attribute"),
    ] {
        assert_eq!(vm(rest)[0], rule);
    }
    let of = |head: &str| {
        let text = format!("audiences: [a]\n{head}\ncondition: {VM} && attribute.a == 'x'\n");
        lint(&Policy::read(&text, "p").unwrap()).into_iter().map(|remark| remark.rule).collect::<Vec<_>>()
    };
    assert_eq!(of("mapping: {attribute.a: assertion.swname}"), [""; 0]);
    assert_eq!(of("mapping: {attribute.a: google.subject}"), ["unmapped-attribute"]);
    assert_eq!(of("issuer: http://x.example\nmapping: {attribute.a: assertion.swname}"), ["issuer-address"]);
}

#[test]
fn the_latest_image_is_told_however_it_is_asked_for() {
    let attributes = "assertion.submods.confidential_space.support_attributes";
    for (term, expected) in [
        (format!("'LATEST' in {attributes}"), true),
        (format!("{attributes}.exists(a, a == 'LATEST')"), true),
        (format!("{attributes}.exists(a, a in ['LATEST', 'x'])"), true),
        (format!("{attributes}.exists(a, a == 'STABLE')"), false),
        (format!("{attributes}.all(a, a != 'LATEST')"), false),
    ] {
        assert_eq!(rules(&format!("{GOOD} && {term}")).contains(&"latest-image"), expected, "{term}");
    }
}

#[test]
fn numbers_in_a_list_are_numbers_too() {
    for (condition, expected) in [
        ("assertion.submods.gce.instance_id == 1", true),
        ("assertion.submods.gce.instance_id in [1, 2]", true),
        ("assertion.submods.gce.project_number in ['1', 2u]", true),
        ("assertion.submods.gce.instance_id in ['1', '2']", false),
    ] {
        assert_eq!(rules(condition).contains(&"number-for-text"), expected, "{condition}");
    }
}

#[test]
fn an_empty_condition_is_told_once_and_with_advice_that_works() {
    let error = Policy::read("audiences: [a]\ncondition: ''\n", "p").unwrap_err();
    let told = format!("{:#}", anyhow::Error::from(error));
    assert_eq!(told.matches("is empty").count(), 1, "{told}");
    assert!(told.contains("allow_everything: true"), "{told}");
    assert!(Policy::read("audiences: [a]\ncondition: 'true'\nallow_everything: true\n", "p").is_ok());
}

#[test]
fn a_provider_that_is_off_is_told_how_it_comes_back() {
    let why = |state: &str| {
        let text = format!(
            r#"{{"attributeCondition": "{GOOD}", "oidc": {{"issuerUri": "https://confidentialcomputing.googleapis.com",
                "allowedAudiences": ["a"]}}, {state}}}"#
        );
        lint(&Policy::read(&text, "p").unwrap()).into_iter().map(|remark| remark.why).collect::<Vec<_>>()
    };
    let [disabled, deleted] = [r#""disabled": true"#, r#""state": "DELETED""#].map(why);
    assert!(disabled.len() == 1 && disabled[0].contains("enable it"), "{disabled:?}");
    assert!(deleted.len() == 1 && deleted[0].contains("providers undelete"), "{deleted:?}");
}

#[test]
fn of_other_issuers_tokens_no_claim_is_known() {
    let told = |issuer: &str, term: &str| {
        let text = format!("audiences: [a]\nissuer: {issuer}\ncondition: |\n  {GOOD} && {term}\n");
        lint(&Policy::read(&text, "p").unwrap())
            .into_iter()
            .map(|remark| (remark.level, remark.rule))
            .collect::<Vec<_>>()
    };
    let google = crate::attest::policy::accepted::GOOGLE;
    for (term, there) in [
        ("assertion.tdx.attester_tcb_status == 'UpToDate'", [(Level::Warning, "unknown-claim")].as_slice()),
        ("assertion.tdx.exists(t, t.attester_tcb_status == 'UpToDate')", &[(Level::Warning, "unknown-claim")]),
        ("assertion.tdx.dbgstat == 'disabled'", &[(Level::Warning, "unknown-claim")]),
        ("assertion.dbgstat == 'disabled'", &[(Level::Error, "dbgstat-value")]),
        ("assertion.hwmodel == 'INTEL_TDX'", &[(Level::Error, "hwmodel-value")]),
        ("assertion.submods.nvidia_gpu.gpus[0].count == 1", &[(Level::Note, "unknown-claim")]),
        ("assertion.submods.nvidia_gpu.gpus.exists(g, g.count == 1)", &[(Level::Note, "unknown-claim")]),
    ] {
        assert_eq!(told(google, term), there, "{term}");
        assert_eq!(told("https://portal.trustauthority.intel.com", term), [], "{term}");
    }
}

#[test]
fn a_provider_for_other_tokens_is_told_nothing_of_machines() {
    let told = |issuer: &str| {
        let text = format!(
            r#"{{"attributeCondition": "assertion.repository == 'acme/app'", "attributeMapping": {{"google.subject":
                "assertion.sub"}}, "oidc": {{"issuerUri": "{issuer}", "allowedAudiences": ["{STS}"]}}}}"#
        );
        lint(&Policy::read(&text, "p").unwrap()).into_iter().map(|remark| remark.rule).collect::<Vec<_>>()
    };
    for issuer in ["https://token.actions.githubusercontent.com", "https://app.terraform.io"] {
        assert_eq!(told(issuer), [""; 0], "{issuer}");
    }
    let of_machines = ["no-software-name", "debug-image-passes", "any-project", "long-subject", "shared-audience"];
    assert_eq!(told("https://portal.eu.trustauthority.intel.com"), of_machines);
    let own = "issuer: https://x.example\nfamily: confidential_space\ncondition: assertion.secboot\naudiences: [a]\n";
    assert!(lint(&Policy::read(own, "p").unwrap()).iter().any(|remark| remark.rule == "any-project"));
}

#[test]
fn only_the_whole_environment_holds_more_than_was_asked_for() {
    let whole =
        |term: &str| rules(&format!("{GOOD} && (assertion.submods.container.{term})")).contains(&"whole-environment");
    assert!(whole("env == {'MODE': 'x'}"));
    for term in ["env_override == {}", "env_override == {'MODE': 'x'}"] {
        assert!(!whole(term), "{term}");
    }
}
