//! Who is at the other end of the connection: the peer, or, behind proxies we are told to trust, whom they name.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use actix_web::http::header::{FORWARDED, HeaderMap, HeaderName, X_FORWARDED_FOR};

/// The caller's address. `hops` is how many entries from the right of the forwarding header it stands; what lies
/// further left was written by the caller and proves nothing. Too few entries: the peer's own address.
///
/// Proxies that append to `X-Forwarded-For` (Google's load balancers, App Engine, ingress-nginx) pass `Forwarded` on as the
/// caller wrote it. So `Forwarded` counts only where there is no `X-Forwarded-For` at all.
pub fn address(headers: &HeaderMap, peer: Option<SocketAddr>, hops: usize) -> IpAddr {
    let named = match hops {
        0 => None,
        hops if headers.contains_key(X_FORWARDED_FOR) => x_forwarded_for(headers, hops),
        hops => forwarded(headers, hops),
    };
    named.or(peer.map(|peer| peer.ip())).unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED))
}

/// The address as a key for counting: whole for IPv4, the /64 for IPv6, since one caller owns at least that much.
pub fn key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
    }
}

fn x_forwarded_for(headers: &HeaderMap, hops: usize) -> Option<IpAddr> {
    nth_from_right(headers, &X_FORWARDED_FOR, hops, parse)
}

/// RFC 7239: `for=192.0.2.60;proto=http, for="[2001:db8::1]:4711"`.
fn forwarded(headers: &HeaderMap, hops: usize) -> Option<IpAddr> {
    nth_from_right(headers, &FORWARDED, hops, |element| {
        let pair =
            element.split(';').map(str::trim).find(|pair| pair.len() > 4 && pair[..4].eq_ignore_ascii_case("for="))?;
        parse(&pair[4..])
    })
}

fn nth_from_right(
    headers: &HeaderMap,
    name: &HeaderName,
    hops: usize,
    read: impl Fn(&str) -> Option<IpAddr>,
) -> Option<IpAddr> {
    let values: Vec<&str> = headers.get_all(name).filter_map(|value| value.to_str().ok()).collect();
    let entries: Vec<&str> = values.iter().flat_map(|value| value.split(',')).map(str::trim).collect();
    read(entries.get(entries.len().checked_sub(hops)?)?)
}

/// An address with or without quotes, brackets and port.
fn parse(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches('"');
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.split_once(']')).map(|(address, _)| address);
    bracketed
        .and_then(|address| address.parse().ok())
        .or_else(|| text.parse().ok())
        .or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::HeaderValue;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        map
    }

    fn seen(pairs: &[(&'static str, &'static str)], hops: usize) -> String {
        address(&headers(pairs), Some("10.0.0.1:999".parse().unwrap()), hops).to_string()
    }

    #[test]
    fn headers_count_only_when_told_to_trust_them() {
        let pairs = [("x-forwarded-for", "1.1.1.1, 2.2.2.2, 3.3.3.3")];
        assert_eq!(seen(&pairs, 0), "10.0.0.1");
        assert_eq!(seen(&pairs, 1), "3.3.3.3");
        assert_eq!(seen(&pairs, 2), "2.2.2.2");
        assert_eq!(seen(&pairs, 9), "10.0.0.1");
        assert_eq!(seen(&[], 1), "10.0.0.1");
    }

    #[test]
    fn every_spelling_of_an_address_is_read() {
        assert_eq!(seen(&[("forwarded", "for=9.9.9.9, For=\"[2001:db8::1]:4711\";proto=https")], 1), "2001:db8::1");
        assert_eq!(seen(&[("x-forwarded-for", "1.2.3.4:5678")], 1), "1.2.3.4");
        assert_eq!(seen(&[("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "2.2.2.2")], 2), "1.1.1.1");
        assert_eq!(seen(&[("forwarded", "for=_hidden")], 1), "10.0.0.1");
    }

    #[test]
    fn what_the_caller_says_of_itself_proves_nothing() {
        let appended = ("x-forwarded-for", "6.6.6.6, 35.191.0.9");
        assert_eq!(seen(&[appended], 2), "6.6.6.6");
        assert_eq!(seen(&[("forwarded", "for=9.9.9.9, for=1.1.1.1"), appended], 2), "6.6.6.6");
        let too_few = ("x-forwarded-for", "35.191.0.9");
        assert_eq!(seen(&[("forwarded", "for=9.9.9.9, for=1.1.1.1"), too_few], 2), "10.0.0.1");
        let unreadable = ("x-forwarded-for", "unknown, 35.191.0.9");
        assert_eq!(seen(&[("forwarded", "for=9.9.9.9, for=1.1.1.1"), unreadable], 2), "10.0.0.1");
    }

    #[test]
    fn an_ipv6_caller_is_known_by_its_network() {
        assert_eq!(key("2001:db8:1:2:3:4:5:6".parse().unwrap()).to_string(), "2001:db8:1:2::");
        assert_eq!(key("::ffff:1.2.3.4".parse().unwrap()).to_string(), "1.2.3.4");
    }
}
