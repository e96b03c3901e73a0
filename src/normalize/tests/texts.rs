//! Several events in one text, and those that break off in it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::*;

/// An event of Falco on one line, with this rule.
fn line(rule: &str) -> String {
    json!({"output": "o", "output_fields": {"proc.name": "x"}, "priority": "Warning", "rule": rule,
        "time": "2025-05-18T10:18:15Z"})
    .to_string()
}

/// The rules of the events in `body`, then how many elements were kept, each with the reason that something breaks off.
fn rules_and_kept(body: &str) -> (String, usize) {
    let found = elements(body);
    let kept: Vec<_> = found.iter().filter(|element| matches!(element, Element::Unreadable { .. })).collect();
    for element in &kept {
        let Element::Unreadable { reason, body } = element else { continue };
        assert!(reason.contains("breaks off"), "{reason}");
        assert_eq!(stored(body, received()).unwrap(), **element, "read again it is the same");
    }
    let rules: Vec<_> = events(body).into_iter().filter_map(|event| event.rule).collect();
    (rules.join(""), kept.len())
}

#[test]
fn every_event_in_a_text_is_taken_and_what_breaks_off_is_kept() {
    let (a, b, c) = (line("a"), line("b"), line("c"));
    let cut = &b[..b.len() - 20];
    let pretty = serde_json::to_string_pretty(&serde_json::from_str::<Value>(&b).unwrap()).unwrap();
    let cut_pretty = &pretty[..pretty.len() - 20];
    for (text, rules, kept) in [
        (format!("<13>Nov 23 08:00:00 h falco[1]: {a}\n<13>Nov 23 08:00:00 h falco[1]: {b}"), "ab", 0),
        (format!("2025-05-18T10:18:15.6Z stdout F {a}\n2025-05-18T10:18:15.6Z stdout F {b}\n"), "ab", 0),
        (format!("{a}\n2025-05-18T10:18:15.6Z stdout F {b}"), "ab", 0),
        (format!("{a}\nWed Nov 23: Falco internal: syscall event drop.\n{b}\n"), "ab", 0),
        (format!("{a},{b}"), "ab", 0),
        (format!("[{a},{b}] trailing {c}"), "ab", 1),
        (format!("{a}\n{cut}"), "a", 1),
        (format!("{a}\n{cut}\n{c}"), "ac", 1),
        (format!("{cut}\n{a}\nplain\n{c}"), "ac", 1),
        (format!("{a}\n{{\"output_fields\":\n{c}"), "ac", 1),
        (format!("falco: {pretty}\nfalco: {c}"), "bc", 0),
        (format!("{a}\n{cut_pretty}\n{c}"), "ac", 1),
        (format!("[12345] falco: {a}"), "a", 0),
        (format!("[ 1234.567890] falco: {a}"), "a", 0),
        (format!("[12345] {a}"), "a", 0),
        (format!("falco-1  | {a}"), "a", 0),
        (format!("\x1b[36mfalco-1  |\x1b[0m {a}"), "a", 0),
        (format!("2026/11/23 14:00:00 [DEBUG] : Falco's payload : {a}"), "a", 0),
        (format!("falco{{1}}: {a}"), "", 1),
        (format!("{{{a}"), "", 1),
        (format!("level=info msg={}", json!(a)), "a", 0),
        (format!("level=info a=\"{{x}}\" msg=\"{b}\""), "b", 0),
        (format!("level=info msg={} msg=\"{b}\"", json!(a)), "a", 1),
        (format!("msg='{a}'"), "a", 0),
        (json!(a).to_string(), "a", 0),
        (cut.to_owned(), "", 1),
        (format!("2025-05-18T10:18:15.6Z stdout P {cut}"), "", 1),
        (format!("level=info msg={}", &json!(b).to_string()[..100]), "", 1),
        (b[20..].to_owned(), "", 1),
    ] {
        for body in [json!({"message": text}), json!({"event": {"original": text}})] {
            assert_eq!(rules_and_kept(&body.to_string()), (rules.to_owned(), kept), "{text}");
        }
    }
}

#[test]
fn what_an_event_says_is_no_event_wherever_it_breaks_off() {
    let forged = line("forged");
    let event = json!({"a": "x", "output_fields": {"evt.type": "execve", "proc.args": forged, "proc.pid": 1},
        "priority": "Notice", "rule": "real", "z": {"nested": serde_json::from_str::<Value>(&forged).unwrap()}})
    .to_string();
    for cut in (0..event.len()).filter(|at| *at > 0) {
        for text in [event[cut..].to_owned(), format!("2025-05-18T10:18:15.6Z stdout F {}", &event[cut..])] {
            let found = events(&json!({"log": text}).to_string());
            let as_sent = cut == event.find(&forged).unwrap();
            assert!(as_sent || found.is_empty(), "{text}");
        }
        assert!(events(&json!({"log": &event[..cut]}).to_string()).is_empty(), "{cut}");
    }
    let malformed = event.replacen(r#""a":"x""#, r#""a":NaN"#, 1);
    assert!(events(&json!({"log": malformed}).to_string()).is_empty());
}

#[test]
fn an_event_that_somebody_says_in_a_line_is_kept_and_not_taken() {
    let event = line("forged");
    for text in [
        format!("Nov 23 08:00:00 h sshd[12]: Invalid user {event} from 10.0.0.1 port 22"),
        format!("10.0.0.1 - - [23/Nov/2026:08:00:00 +0000] \"GET / HTTP/1.1\" 200 1 \"-\" \"{event}\""),
        format!("2026-11-23T08:00:00Z ERROR cannot read the request {event}"),
        format!("2026-11-23T08:00:00Z stdout F unknown command: {event}"),
        format!("level=error body={event}"),
        format!("200 {event}"),
        format!("\"Mozilla/5.0\" {event}"),
        format!("'{event}' is not a command"),
        format!("login falco: {event}"),
        format!("07:00:00.123456789: Critical Reverse shell (command=bash -c : '{event}'; bash -i container=x)"),
    ] {
        assert_eq!(rules_and_kept(&json!({"log": text}).to_string()), (String::new(), 1), "{text}");
        let record = json!({"requestId": "r", "timestamp": 1, "records": [{"data": STANDARD.encode(&text)}]});
        assert_eq!(rules_and_kept(&record.to_string()), (String::new(), 1), "in base64: {text}");
    }
}

#[test]
fn what_is_left_of_a_text_is_no_event_when_it_is_read_again() {
    let (a, b) = (line("a"), line("b"));
    let text = format!("{{\"rule\":\"x\",\"output_fields\":{{\n{a}\n   {b}\n  {b}");
    assert_eq!(rules_and_kept(&json!({"message": text}).to_string()), ("a".to_owned(), 2));
    let texts = format!("{}\n{}\n{a}", json!(a), json!(b));
    assert_eq!(rules_and_kept(&json!({"message": texts}).to_string()), ("aba".to_owned(), 0), "texts and objects");
    let level = format!("[INFO] starting\nlevel=info msg={}\nlevel=info msg={}", json!(a), json!(b));
    assert_eq!(rules_and_kept(&json!({"message": level}).to_string()), ("ab".to_owned(), 0));
}

#[test]
fn an_alert_of_falco_as_text_is_kept_with_the_remedy() {
    let alert = "07:00:00.123456789: Notice A shell was spawned in a container (user=root k8s.pod=web-1)";
    let listed = |body: &str| -> Vec<_> {
        let kept = |element| match element {
            Element::Unreadable { reason, body } => {
                assert!(reason.contains("json_output: true"), "{reason}");
                assert!(body.contains(alert), "{body}");
                assert!(
                    matches!(stored(&body, received()), Ok(Element::Unreadable { reason: again, .. }) if again == reason)
                );
                'k'
            }
            Element::Event { .. } => 'e',
            _ => '-',
        };
        elements(body).into_iter().map(kept).collect()
    };
    let event = line("a");
    assert_eq!(listed(alert), ['k'], "as `http_output` sends it");
    assert_eq!(listed(&format!("{alert}\n{alert}")), ['k', 'k']);
    assert_eq!(listed(&json!({"log": format!("{alert}\n")}).to_string()), ['k']);
    assert_eq!(listed(&json!({"log": format!("{alert}\n{event}")}).to_string()), ['e', 'k']);
    let odd = [alert.as_bytes(), b" \xff"].concat();
    let found = delivery(&odd, received()).unwrap();
    assert!(matches!(&found[..], [Element::Unreadable { reason, .. }] if reason.contains("json_output")), "{found:?}");
    assert_eq!(listed(&json!({"message": format!("<5>Nov 23 08:00:00 h falco: {alert}")}).to_string()), ['k']);
}

#[test]
fn a_body_of_nothing_but_lines_of_a_log_is_read_as_these_are_in_a_wrapper() {
    let (a, b) = (line("a"), line("b"));
    for head in [
        "2026-11-23T08:00:00.1Z stdout F ",
        "<14>1 2026-11-23T08:00:00.1Z h falco 1 - - ",
        "Nov 23 08:00:00 h falco[1]: ",
    ] {
        assert_eq!(rules_and_kept(&format!("{head}{a}")), ("a".to_owned(), 0), "{head}");
        assert_eq!(rules_and_kept(&format!("{head}{a}\n{head}{b}\n")), ("ab".to_owned(), 0), "{head}");
        let Ok(Element::Event { .. }) = stored(&format!("{head}{a}"), received()) else { panic!("{head}") };
    }
    for body in [format!("2026-11-23 08:00:00 INFO {a}"), format!("plain\n08:00:00 {a}")] {
        assert_eq!(rules_and_kept(body.strip_prefix("plain\n").unwrap_or(&body)), (String::new(), 1), "{body}");
        assert!(events(&body).is_empty(), "{body}");
    }
    for body in ["plain", "h falco[1]: plain", "plain\nplain", "{\"rule\":"] {
        assert!(delivery(body.as_bytes(), received()).is_err(), "{body}");
    }
}

#[test]
fn the_logs_of_other_programs_hold_no_event() {
    for text in [
        r#"2025 WAF block { "ruleName": "sql-injection", "action": BLOCK }"#,
        r#"firewall: "ruleName": "deny-all", "#,
        r#"reload {"priority":1,"output":stdout}"#,
    ] {
        assert_eq!(ignored(&json!({"message": text}).to_string()), [Ignored::Unrecognised], "{text}");
    }
}

#[test]
fn an_event_that_breaks_off_is_kept_beside_one_in_another_member() {
    let (a, b) = (line("a"), line("b"));
    let cut = &b[..b.len() - 20];
    let body = json!({"event": serde_json::from_str::<Value>(&a).unwrap(), "message": cut, "log": "plain"});
    assert_eq!(rules_and_kept(&body.to_string()), ("a".to_owned(), 1));
    let nested = json!({"message": a, "data": {"log": format!("somebody said {b}")}});
    assert_eq!(rules_and_kept(&nested.to_string()), ("a".to_owned(), 1));
    let twice = json!({"log": format!("{a}\n{cut}"), "message": format!("{a}\n{cut}")});
    assert_eq!(rules_and_kept(&twice.to_string()), ("a".to_owned(), 1), "once, as the event beside it");
}

#[test]
fn lines_of_a_log_among_lines_of_json_are_read_as_those_in_a_wrapper() {
    let (a, b, c) = (line("a"), line("b"), line("c"));
    let cut = &b[..b.len() - 20];
    let read = |body: String| {
        let found = elements(&body);
        let kept = found.iter().filter(|element| matches!(element, Element::Unreadable { .. })).count();
        let rules: Vec<_> = events(&body).into_iter().filter_map(|event| event.rule).collect();
        (rules.join(""), kept)
    };
    assert_eq!(read(format!("{a}\nfalco[1]: {b}\n{c}")), ("abc".to_owned(), 0));
    assert_eq!(read(format!("{a}\n{b}{c}\nplain")), ("abc".to_owned(), 1));
    assert_eq!(read(format!("{a}\n{b} {cut}\n{c}")), ("abc".to_owned(), 1));
    assert_eq!(read(format!("{a}\n{cut}\n{c}")), ("ac".to_owned(), 1));
}

/// The rules of the events that are taken, and the bodies that are kept.
fn taken_and_kept(body: &str) -> (String, Vec<String>) {
    let kept = |element: &Element| match element {
        Element::Unreadable { body, .. } => Some(body.clone()),
        _ => None,
    };
    let rules: Vec<_> = events(body).into_iter().filter_map(|event| event.rule).collect();
    (rules.join(""), elements(body).iter().filter_map(kept).collect())
}

#[test]
fn what_stands_behind_an_event_on_its_line_is_taken_or_kept() {
    let (a, b) = (line("a"), line("b"));
    let sysdig = r#"{"id":"i","type":"policy","content":{"ruleName":"s"}}"#;
    for (first, rules) in [
        (a.clone(), "a"),
        (sysdig.to_owned(), "s"),
        (format!("[{a}]"), "a"),
        (json!({"time": 1, "event": serde_json::from_str::<Value>(&a).unwrap()}).to_string(), "a"),
        (format!("2025-05-18T10:18:15.6Z stdout F {a}"), "a"),
    ] {
        for more in [&b[..10], &sysdig[..20], &b[..b.len() - 2], "{\"time\":1,\"event\":{\"id", "{\"level\":1} {\"out"]
        {
            let (taken, kept) = taken_and_kept(&format!("{first}{more}"));
            assert_eq!((&*taken, kept.len()), (rules, 1), "{first}{more}");
            let begins = more.strip_prefix("{\"level\":1} ").unwrap_or(more).replace('"', "");
            assert!(kept[0].replace(['"', '\\'], "").contains(&begins), "{kept:?}");
        }
        let (taken, kept) = taken_and_kept(&format!("{first}{b},{b},\n"));
        assert_eq!((taken, kept.len()), (format!("{rules}bb"), 0), "{first}");
    }
    assert_eq!(taken_and_kept(&format!("{a}\0{b}\0")), ("ab".to_owned(), vec![]));
    let pretty = format!("\u{1e}{a}\n\u{1e}{}\n", b.replace(',', ",\n"));
    assert_eq!(taken_and_kept(&pretty), ("ab".to_owned(), vec![]), "RFC 7464");
    assert_eq!(
        taken_and_kept(&format!("\u{1e}{a}\n\u{1e}{}\n\u{1e}{b}\n", &b[..10])),
        ("ab".to_owned(), vec![b[..10].to_owned()])
    );
    for around in [format!("{a} (end)"), format!("{a}\n\0{b}\0\n\u{1e}{a}\n\0").replace('\n', "\n\0")] {
        assert_eq!(taken_and_kept(&around).1, [""; 0], "{around}");
    }
    let said = format!("{a} falco: {b}");
    let (taken, kept) = taken_and_kept(&said);
    assert_eq!((&*taken, kept.len()), ("a", 1), "what follows does not begin a line");
    assert!(!matches!(stored(&kept[0], received()), Ok(Element::Event { .. })), "{kept:?}");
}

#[test]
fn what_is_parted_from_an_event_by_more_than_white_space_is_kept_with_or_without_a_sign() {
    let a = line("a");
    let feed =
        r#"{"id":"17dec7","originator":"policy","source":"syscall","name":"F","severity":5,"timestamp":1720031001}"#;
    assert!(
        matches!(elements(feed)[..], [Element::Event { .. }]) && super::super::signs::begun(feed).is_none(),
        "{feed}"
    );
    let alert = "08:00:01.887654321: Notice A shell was spawned";
    let quoted = json!(feed).to_string();
    let rests = [
        ", {}, F",
        ", null, F",
        " | F",
        ";F",
        " falco: F",
        "}F",
        "], F",
        " # [F]",
        " said A",
        " A",
        " | Q",
        " {} { \"id\"",
    ];
    for rest in rests {
        let rest = rest.replace('F', feed).replace('Q', &quoted).replace('A', alert);
        for before in ["", "2026-11-20T08:00:01.8Z stdout F ", "falco: "] {
            let text = format!("{before}{a}{rest}");
            for body in [text.clone(), format!("{text}\n{a}"), json!({ "log": text }).to_string()] {
                let (taken, kept) = taken_and_kept(&body);
                // An alert is one where it begins; behind words it is what somebody says.
                let is_kept = !rest.starts_with(" said");
                assert_eq!((taken.trim_end_matches('a'), kept.len()), ("", usize::from(is_kept)), "{body}");
                for kept in kept {
                    assert!(!kept.contains(r#"rule"#), "the event itself is not kept with it: {kept}");
                    let again = stored(&kept, received()).unwrap();
                    assert!(matches!(&again, Element::Unreadable { body, .. } if *body == kept), "{again:?}");
                }
            }
        }
    }
    for rest in [" (end)", ", {}", "}", ", null", " {x} {1}"] {
        assert_eq!(taken_and_kept(&format!("{a}{rest}")), ("a".to_owned(), vec![]), "{rest}");
    }
    // Beside values that are not ours it is what somebody says, and so it is on the next line.
    for none in ["{\"level\":1} | {\"x\":2}".to_owned(), "{\"level\":1}\nsaid {\"x\":2}".to_owned()] {
        assert_eq!(ignored(&json!({ "log": none }).to_string()), [Ignored::Unrecognised], "{none}");
    }
    let said = format!("{a} (end)\nsaid {{\"x\":2}}\n{a}");
    assert_eq!(taken_and_kept(&json!({ "log": said }).to_string()), ("aa".to_owned(), vec![]));
}

#[test]
fn a_broken_event_between_two_on_one_line_costs_only_itself() {
    let (a, c, forged) = (line("a"), line("c"), line("forged"));
    let says = |text: &str| json!({"output": text, "output_fields": {}, "priority": "Notice", "rule": "b"}).to_string();
    let wrapper = |event: &str| format!("{{\"event\":{event}}}");
    let broken = says("BREAK } ] {").replace("BREAK", "\\q");
    for (body, rules) in [
        (format!("{a}{broken}{c}"), "ac"),
        (format!("{a}, {broken}, {c}"), "ac"),
        (format!("{broken}{a}{broken}{c}"), "ac"),
        (format!("{}{}{}", wrapper(&a), wrapper(&broken), wrapper(&c)), "ac"),
        (format!("{a}{{\"x\":{forged},\"y\":NaN}}{c}"), "ac"),
        (format!("{a}{{\"x\":NaN,\"y\":[{forged}]}}{c}"), "ac"),
    ] {
        let (taken, kept) = taken_and_kept(&body);
        assert_eq!((&*taken, kept.len()), (rules, body.matches("\\q").count().max(1)), "{body}");
        assert!(kept.iter().all(|kept| !kept.contains(r#"rule\":\"a"#) && !kept.contains(r#"rule\":\"c"#)), "{kept:?}");
    }
    // Where the end of the broken one cannot be told, or nothing of ours is behind it, the rest stays together.
    for rest in [
        format!("{{\"x\":[}}{forged}"),
        format!("{{\"x\":NaN,{forged}"),
        format!("{{\"x\":NaN}} x {forged}"),
        format!("{broken}{{\"level\":1}}{forged}"),
    ] {
        let (taken, kept) = taken_and_kept(&format!("{a}{rest}"));
        assert_eq!((&*taken, kept.len()), ("a", 1), "{rest}");
    }
    // Wherever one breaks off, what it says is none.
    let whole = says(&format!("}} {forged} {{ \"}} {forged}"));
    for cut in 1..whole.len() {
        let taken = taken_and_kept(&format!("{a}{}{c}", &whole[..cut])).0;
        assert!(["a", "ac"].contains(&&*taken), "{cut}: {taken}");
    }
}

#[test]
fn what_any_program_says_in_its_log_is_kept_no_more_than_in_a_wrapper() {
    let a = line("a");
    let read = |lines: &[&str]| {
        let body = lines.join("\n");
        let count = |is: fn(&Element) -> bool| elements(&body).iter().filter(|element| is(element)).count();
        let ignored = count(
            |element| matches!(element, Element::Ignored(kind) | Element::Unknown { kind, .. } if *kind == Ignored::Unrecognised),
        );
        (ignored, count(|element| matches!(element, Element::Unreadable { .. })), events(&body).len())
    };
    for said in [
        "Nov 23 08:00:00 h sshd[12]: Accepted publickey for bob",
        "Thu Nov 20 08:00:01 2026: Falco version: 0.43.0 (x86_64)",
        "Thu Nov 20 08:00:01 2026:    /etc/falco/falco.yaml | schema validation: ok",
        "2026-11-20T08:00:01.8Z stderr F Thu Nov 20 08:00:01 2026: Loading rules from:",
        "2026-11-20T08:00:01.8Z stdout F {\"level\":\"info\",\"msg\":\"x\"}",
        "2026-11-20T08:00:01.8Z stdout F {",
        "time=\"2026-11-20T08:00:01Z\" level=info msg=\"pulled {image}\"",
        "[ 1234.567890] audit: enforcing=1",
    ] {
        assert_eq!(read(&[said, &a, said]), (2, 0, 1), "{said}");
        assert_eq!(read(&[&a, said]), (1, 0, 1), "{said}");
        assert!(delivery(format!("{said}\n{said}").as_bytes(), received()).is_err(), "alone: {said}");
    }
    let cut = &a[..10];
    for kept in [
        "plain",
        "2 events",
        "{\"level\":",
        &format!("2026-11-20T08:00:01.8Z stdout F {cut}"),
        &format!("2026-11-20T08:00:01.8Z stdout F {{\"level\":1}}{cut}"),
        &format!("level=info msg={}", json!(cut).to_string().trim_end_matches('"')),
        &format!("Nov 23 08:00:00 h sshd[12]: Invalid user {a}"),
        &format!("[ 1234.567890] sshd: Invalid user {a}"),
        &format!("Nov 23 08:00:00 h relay[12]: {{\"odd\":{{\"odd\":{a}}}}}"),
        "Nov 23 08:00:00 h falco[12]: 07:00:00.123456789: Notice A shell was spawned",
        "Nov 23 08:00:00 h falco: 07:00:00.1: Critical Falco internal: syscall event drop. 2000 system calls dropped",
        // The end of a line that containerd cut, as its beginning is.
        r#"2026-11-20T08:00:01.8Z stdout F cmdline":"nc -e"},"rule":"Reverse shell","source":"syscall"}"#,
    ] {
        assert_eq!(read(&[&a, kept]), (0, 1, 1), "{kept}");
    }
    let learned =
        r#"{"id":"m","type":"policy","content":{"type":"workloadMLRuntimeDetection","policyId":7,"command":"xmrig"}}"#;
    let quoted = json!(learned);
    for taken in [format!("Nov 23 08:00:00 h sysdig: {learned}"), format!("level=info msg={quoted}")] {
        assert_eq!(read(&[&a, &taken]), (0, 0, 2), "an event without a sign: {taken}");
    }
    let many = "2026-11-20T08:00:01.8Z stdout F said\n".repeat(2_000);
    assert_eq!(events(&format!("{many}{a}")).len(), 1);
}

#[test]
fn texts_that_only_look_like_values_are_read_in_time() {
    for text in ["{\"a\":[", "[\n", "{\"a\":\n", "\"{", "\"{\\\"", "{x", "[1]", "{\"a\":\"{"] {
        let body = json!({"message": format!("output_fields {}", text.repeat(200_000 / text.len()))}).to_string();
        assert_eq!(ignored(&body), [Ignored::Unrecognised], "{text}");
    }
}
