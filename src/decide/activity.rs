//! What was done: processes, files, connections, indicators.

use std::net::IpAddr;

use super::drift;
use crate::event::runtime::Runtime;
use crate::finding::{Connection, File, FileOperation, Indicator, Int64, Operation, Process, Protocol};
use crate::text::command_line::{base_name, is_path, is_windows_path, split, words};
use crate::text::secrets::{redact, redact_arguments};
use crate::text::{cut, printable};

/// Most arguments listed of one process.
const MOST_ARGUMENTS: usize = 32;
/// The longest command line looked at, in bytes.
const LONGEST_LINE: usize = 8 * 1024;
/// The longest argument, in bytes.
const LONGEST_ARGUMENT: usize = 256;
/// The longest path or name, in bytes.
const LONGEST_NAME: usize = 1024;

/// The process that triggered the event, then its parent.
pub(super) fn processes(event: &Runtime) -> Vec<Process> {
    if is_container_start(event) {
        return Vec::new();
    }
    let learned = event.learned.as_ref();
    let command = event
        .field("proc.cmdline")
        .or_else(|| event.field("proc.exeline"))
        .or_else(|| learned.and_then(|learned| learned.command.as_deref()));
    let path = event
        .field("proc.exepath")
        .or_else(|| learned.and_then(|learned| learned.exe.as_deref()))
        .or_else(|| event.field("proc.exe").filter(|exe| is_path(exe)));
    let mut process = described(event.field("proc.name"), path, event.field("proc.args"), command);
    process.pid = number(event.field("proc.pid").or_else(|| event.field("proc.vpid")));
    process.parent_pid = number(event.field("proc.ppid").or_else(|| event.field("proc.pvpid")));
    process.user_id = number(event.field("user.uid"));
    let parent_path = event.field("proc.pexepath").or_else(|| event.field("proc.pexe").filter(|exe| is_path(exe)));
    let mut parent = described(event.field("proc.pname"), parent_path, None, event.field("proc.pcmdline"));
    parent.pid = process.parent_pid.filter(|_| parent != Process::default());
    [process, parent].into_iter().filter(|process| *process != Process::default()).collect()
}

/// Whether a container was started and no process: the sensor tells of it as if one called `container:3ad7b26ded6d` had
/// done it. Older rules print only its command line.
pub(super) fn is_container_start(event: &Runtime) -> bool {
    let called = event.field("proc.name").or_else(|| event.field("proc.cmdline"));
    called.is_some_and(|name| name.starts_with("container:"))
}

fn described(name: Option<&str>, path: Option<&str>, args: Option<&str>, command: Option<&str>) -> Process {
    // A program's path may have blanks in it.
    let behind = |path: &str| command?.strip_prefix(path).filter(|rest| rest.is_empty() || rest.starts_with(' '));
    let told = path.and_then(|path| Some((path, behind(path)?.trim_start())));
    let (first, rest) = told.or_else(|| command.map(split)).unwrap_or_default();
    let line = args.unwrap_or(rest);
    let cut_off = line.len() > LONGEST_LINE;
    let program = if first.is_empty() { name.unwrap_or_default() } else { first };
    let shown = redact_arguments(program, cut(line, LONGEST_LINE));
    let words = words(&shown, is_windows_path(path.unwrap_or(program)));
    let truncated = cut_off || words.len() > MOST_ARGUMENTS || words.iter().any(|word| word.len() > LONGEST_ARGUMENT);
    let from_command = || Some(base_name(first)).filter(|name| !name.is_empty());
    let from_path = || path.filter(|path| is_windows_path(path)).map(base_name);
    Process {
        // Before the program, a shell may be told an environment: `PGPASSWORD=… psql`.
        name: name.or_else(from_command).or_else(from_path).map(|name| bounded(&redact(name))),
        binary: path.map(|path| File { path: Some(bounded(path)), ..File::default() }),
        args: words
            .into_iter()
            .take(MOST_ARGUMENTS)
            .map(|word| printable(cut(word, LONGEST_ARGUMENT)).into_owned())
            .collect(),
        arguments_truncated: truncated.then_some(true),
        ..Process::default()
    }
}

/// The file the event is about, when it is about one; of a link or a new name, both paths.
pub(super) fn files(event: &Runtime) -> Vec<File> {
    const NAMES: &[&str] = &[
        "fd.name",
        "fs.path.name",
        "fs.path.target",
        "evt.arg.path",
        "evt.arg.name",
        "evt.arg.target",
        "evt.arg.oldpath",
        "evt.arg.filename",
        "evt.arg.pathname",
        "evt.abspath",
        "file.path",
    ];
    let is_file = |path: &&str| is_path(path) && !path.contains("->");
    const OTHERS: &[&str] = &["evt.arg.linkpath", "evt.arg.newpath", "fs.path.source"];
    // The target of a link is what it leads to, that of a renaming is the new name.
    const RENAMED: &[&str] = &["evt.arg.oldpath", "fs.path.source"];
    const NEW_NAMES: &[&str] = &["evt.arg.newpath", "fs.path.target"];
    let operation = operation(event);
    let is_renaming = operation == Some(Operation::Rename);
    let named = |names: &'static [&'static str]| names.iter().filter_map(|name| event.field(name)).filter(is_file);
    let renamed = || named(RENAMED).next().filter(|_| is_renaming);
    let path = renamed().or_else(|| named(NAMES).next());
    let new_name = named(NEW_NAMES).filter(|_| is_renaming);
    // One path may be told under several names.
    let other = new_name.chain(named(OTHERS)).find(|other| Some(*other) != path);
    if path.is_none() && other.is_none() {
        return executed(event);
    }
    let operation = operation.map(|operation| FileOperation { r#type: Some(operation) });
    let file = |path: &str, sha256: Option<String>| File {
        path: Some(bounded(path)),
        sha256,
        operations: operation.clone().into_iter().collect(),
        ..File::default()
    };
    let program = |path: &str| event.field("proc.exepath") == Some(path);
    let sha256 =
        |path: &str| digest(event, OF_FILE).or_else(|| if program(path) { digest(event, OF_PROGRAM) } else { None });
    let about = path.map(|path| file(path, sha256(path)));
    about.into_iter().chain(other.map(|other| file(other, None))).collect()
}

/// The executable, when its digest is known or the event is about executables: drift and malware.
fn executed(event: &Runtime) -> Vec<File> {
    let sha256 = digest(event, OF_PROGRAM).or_else(|| digest(event, OF_FILE));
    let about =
        || event.origin.engine.as_deref() == Some("malware") || drift::is_seen(event) || drift::is_reported(event);
    let about = sha256.is_some() || about();
    let path = event.field("proc.exepath").filter(|_| about);
    path.map(|path| File {
        path: Some(bounded(path)),
        sha256,
        operations: vec![FileOperation { r#type: Some(Operation::Execute) }],
        ..File::default()
    })
    .into_iter()
    .collect()
}

/// Digests of the file that the event is about.
const OF_FILE: &[&str] = &["file.hash.sha256", "file.sha256", "malware.sha256", "evt.hash"];
/// Digests of the program that ran; of whatever file it opened they say nothing.
const OF_PROGRAM: &[&str] = &["proc.hash.sha256", "proc.exe.sha256", "proc.hash"];

fn digest(event: &Runtime, names: &[&str]) -> Option<String> {
    let digest = names.iter().find_map(|name| event.field(name))?.trim_start_matches("sha256:");
    (digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit())).then(|| digest.to_ascii_lowercase())
}

fn operation(event: &Runtime) -> Option<Operation> {
    if event.field("evt.is_open_write") == Some("true") {
        return Some(Operation::Write);
    }
    if event.field("evt.is_open_read") == Some("true") {
        return Some(Operation::Read);
    }
    match event.field("evt.type")? {
        "open" | "openat" | "openat2" | "creat" => Some(Operation::Open),
        "rename" | "renameat" | "renameat2" => Some(Operation::Rename),
        "execve" | "execveat" => Some(Operation::Execute),
        "read" | "pread" | "readv" => Some(Operation::Read),
        "write" | "pwrite" | "writev" => Some(Operation::Write),
        _ => None,
    }
}

/// The fields of one end of a connection, as seen from the machine.
#[derive(Clone, Copy)]
struct Side {
    address: &'static str,
    port: &'static str,
}

const LOCAL: Side = Side { address: "fd.lip", port: "fd.lport" };
const REMOTE: Side = Side { address: "fd.rip", port: "fd.rport" };

/// Whether the other side opened the connection.
fn is_accepted(event: &Runtime) -> bool {
    let is_client = |name: &str| event.field(name).is_some_and(|end| event.field("fd.cip") == Some(end));
    matches!(event.field("evt.type"), Some("accept" | "accept4"))
        || event.field("fd.is_server") == Some("true")
        || (is_client("fd.rip") && !is_client("fd.lip"))
}

/// The network connection, when there is one.
pub(super) fn connections(event: &Runtime) -> Vec<Connection> {
    let address = |name: &str| event.field(name).and_then(ip);
    let port = |name: &str| event.field(name).and_then(|port| port.parse().ok());
    // Older senders write the connection only into the sentence: `(fd.name=10.8.0.4:39552->203.0.113.7:8080 …)`.
    let in_summary = || event.summary.as_deref().and_then(mentioned);
    let named = event.field("fd.name").and_then(tuple).or_else(in_summary).unwrap_or_default();
    // The sensor's own end is the client's, unless it took the connection.
    let (client, server) = if is_accepted(event) { (REMOTE, LOCAL) } else { (LOCAL, REMOTE) };
    let connection = Connection {
        source_ip: address("fd.cip")
            .or_else(|| address(client.address).filter(|_| named.source_ip.is_none()))
            .or(named.source_ip),
        source_port: port("fd.cport").or(named.source_port).or_else(|| port(client.port)),
        destination_ip: address("fd.sip")
            .or_else(|| address(server.address).filter(|_| named.destination_ip.is_none()))
            .or(named.destination_ip),
        destination_port: port("fd.sport").or(named.destination_port).or_else(|| port(server.port)),
        protocol: event.field("fd.l4proto").and_then(Protocol::from_name),
    };
    let known = connection.source_ip.is_some() || connection.destination_ip.is_some();
    if known { vec![connection] } else { Vec::new() }
}

/// The first connection that a sentence mentions.
fn mentioned(text: &str) -> Option<Connection> {
    let ends = |c: char| c.is_whitespace() || matches!(c, '=' | '(' | ')' | ',' | '"');
    text.match_indices("->").take(4).find_map(|(at, arrow)| {
        let start = text[..at].rfind(ends).map_or(0, |start| start + 1);
        let after = at + arrow.len();
        let end = text[after..].find(ends).map_or(text.len(), |end| after + end);
        tuple(&text[start..end])
    })
}

/// `10.8.0.4:39552->203.0.113.7:8080`, also with addresses of version 6.
fn tuple(name: &str) -> Option<Connection> {
    let (source, destination) = name.split_once("->")?;
    let (source_ip, source_port) = endpoint(source)?;
    let (destination_ip, destination_port) = endpoint(destination)?;
    Some(Connection {
        source_ip: Some(source_ip),
        source_port: Some(source_port),
        destination_ip: Some(destination_ip),
        destination_port: Some(destination_port),
        protocol: None,
    })
}

fn endpoint(text: &str) -> Option<(String, u16)> {
    let (address, port) = text.trim().rsplit_once(':')?;
    Some((ip(address.trim_start_matches('[').trim_end_matches(']'))?, port.parse().ok()?))
}

/// The address in its canonical spelling; addresses of version 4 in the clothes of version 6 are undressed.
pub(super) fn ip(text: &str) -> Option<String> {
    let address: IpAddr = text.trim().parse().ok()?;
    let address = address.to_canonical();
    (!address.is_unspecified()).then(|| address.to_string())
}

/// Public addresses of others, and names that were asked for.
pub(super) fn indicator(event: &Runtime, connections: &[Connection]) -> Option<Indicator> {
    let own = own_address(event, connections.first());
    let peers = connections.iter().flat_map(|c| [c.destination_ip.as_deref(), c.source_ip.as_deref()]);
    let others = peers.flatten().filter(|ip| is_public(ip) && own.as_deref() != Some(*ip));
    let mut indicator = Indicator { ip_addresses: others.map(str::to_owned).collect(), ..Indicator::default() };
    indicator.ip_addresses.dedup();
    let names = ["fd.sip.name", "fd.rip.name", "dns.name", "evt.dns.name"];
    indicator.domains =
        names.iter().filter_map(|name| event.field(name)).filter(|name| is_domain(name)).take(4).map(bounded).collect();
    indicator.domains.dedup();
    (indicator != Indicator::default()).then_some(indicator)
}

/// The address of the machine itself, which is the victim's: told, or the end from which a connection of this kind is
/// seen. Which end it is stays unknown of data under way.
fn own_address(event: &Runtime, connection: Option<&Connection>) -> Option<String> {
    let connection = connection?;
    event.field("fd.lip").and_then(ip).or_else(|| match event.field("evt.type")? {
        "connect" => connection.source_ip.clone(),
        "accept" | "accept4" => connection.destination_ip.clone(),
        _ => None,
    })
}

fn is_domain(name: &str) -> bool {
    name.contains('.')
        && name.len() <= 253
        && name.parse::<IpAddr>().is_err()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
}

/// Whether the address can be reached from anywhere, as far as its digits tell.
fn is_public(text: &str) -> bool {
    match text.parse() {
        Ok(IpAddr::V4(ip)) => {
            let shared = ip.octets()[0] == 100 && (64..128).contains(&ip.octets()[1]);
            let reserved =
                ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_multicast() || ip.is_broadcast();
            !(shared || reserved || ip.is_unspecified())
        }
        Ok(IpAddr::V6(ip)) => {
            !(ip.is_loopback()
                || ip.is_unspecified()
                || ip.is_multicast()
                || ip.is_unique_local()
                || ip.is_unicast_link_local())
        }
        Err(_) => false,
    }
}

/// A number of a process or user; `-1`, and the same in 32 bits without a sign, is how the kernel says that there is none.
fn number(text: Option<&str>) -> Option<Int64> {
    text?.parse().ok().filter(|number: &i64| *number >= 0 && *number != i64::from(u32::MAX)).map(Int64)
}

pub(super) fn bounded(text: &str) -> String {
    printable(cut(text, LONGEST_NAME)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tuple_names_both_ends() {
        let found = tuple("10.8.0.4:39552->203.0.113.7:8080").unwrap();
        assert_eq!((found.source_ip.as_deref(), found.source_port), (Some("10.8.0.4"), Some(39552)));
        assert_eq!((found.destination_ip.as_deref(), found.destination_port), (Some("203.0.113.7"), Some(8080)));
        let six = tuple("::ffff:10.8.0.4:39552->2001:db8::7:443").unwrap();
        assert_eq!(six.source_ip.as_deref(), Some("10.8.0.4"));
        assert_eq!(six.destination_ip.as_deref(), Some("2001:db8::7"));
        let sentence = "Redirect by bash (fd.name=10.8.0.4:39552->203.0.113.7:8080 user=root)";
        assert_eq!(mentioned(sentence), Some(found));
        assert_eq!(mentioned("a -> b ->"), None);
        assert_eq!(tuple("/etc/x"), None);
        assert_eq!(tuple("a->b"), None);
    }

    #[test]
    fn what_stands_for_the_program_may_hold_a_secret() {
        let process = described(None, None, None, Some("PGPASSWORD=hunter2 psql -h x"));
        assert_eq!(
            (process.name.as_deref(), process.args.join(" ").as_str()),
            (Some("PGPASSWORD=[redacted]"), "psql -h x")
        );
        let named = described(Some("PGPASSWORD=hunter2"), None, None, None);
        assert_eq!(named.name.as_deref(), Some("PGPASSWORD=[redacted]"));
    }

    #[test]
    fn private_addresses_indicate_nothing() {
        for private in ["10.1.2.3", "192.168.0.1", "127.0.0.1", "100.64.0.1", "169.254.169.254", "fd00::1", "nonsense"]
        {
            assert!(!is_public(private), "{private}");
        }
        assert!(is_public("203.0.113.7") && is_public("2001:4860:4860::8888"));
    }
}
