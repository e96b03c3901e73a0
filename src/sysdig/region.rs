//! Where Sysdig Secure is: a region's id, or the address of an installation.

use url::Url;

use crate::calls::is_loopback;

/// The regions' ids and the addresses of Sysdig Secure there. Older regions break the pattern of the newer ones.
pub const REGIONS: [(&str, &str); 10] = [
    ("us1", "https://secure.sysdig.com"),
    ("us2", "https://us2.app.sysdig.com"),
    ("us3", "https://app.us3.sysdig.com"),
    ("us4", "https://app.us4.sysdig.com"),
    ("eu1", "https://eu1.app.sysdig.com"),
    ("eu2", "https://app.eu2.sysdig.com"),
    ("au1", "https://app.au1.sysdig.com"),
    ("in1", "https://app.in1.sysdig.com"),
    ("jp1", "https://app.jp1.sysdig.com"),
    ("me2", "https://app.me2.sysdig.com"),
];

/// Why a text is not the address of a Sysdig installation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegionError {
    /// Neither a region nor a URL.
    #[error("is neither a region ({}) nor a URL", region_ids())]
    Unknown,
    /// A URL that is not http or https, or has no host.
    #[error("is not an http or https address")]
    NotHttp,
    /// User name or password in the URL.
    #[error("holds a user name or password; the token belongs in SYSDIG_TOKEN")]
    Credentials,
    /// Plain http to another machine: the token could be read on the way.
    #[error("is a plain http address of another machine, over which the token would be readable")]
    Plain,
}

/// The base address for `text`: a region's id in any case, or a URL. What people paste from their browser is tolerated:
/// trailing slashes, the `/secure` under which the newer regions keep their pages, a query or fragment.
/// A host without a scheme is taken as https.
pub fn base_url(text: &str) -> Result<Url, RegionError> {
    let text = text.trim();
    if let Some((_, address)) = REGIONS.iter().find(|(id, _)| id.eq_ignore_ascii_case(text)) {
        return Url::parse(address).map_err(|_| RegionError::Unknown);
    }
    let with_scheme = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    let looks_like_host = text.contains("://") || text.contains('.') || text.contains(':');
    let mut url = Url::parse(&with_scheme).ok().filter(|_| looks_like_host).ok_or(RegionError::Unknown)?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(RegionError::NotHttp);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(RegionError::Credentials);
    }
    if url.scheme() == "http" && !is_loopback(&url) {
        return Err(RegionError::Plain);
    }
    url.set_query(None);
    url.set_fragment(None);
    let path = url.path().trim_end_matches('/');
    let path = path.strip_suffix("/secure").unwrap_or(path).trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

fn region_ids() -> String {
    REGIONS.map(|(id, _)| id).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_and_addresses_are_understood() {
        for (text, expected) in [
            ("us1", "https://secure.sysdig.com/"),
            (" EU1 ", "https://eu1.app.sysdig.com/"),
            ("us4", "https://app.us4.sysdig.com/"),
            ("https://app.eu2.sysdig.com/secure/", "https://app.eu2.sysdig.com/"),
            ("https://app.eu2.sysdig.com/secure/#/events/", "https://app.eu2.sysdig.com/"),
            ("https://secure.sysdig.com//", "https://secure.sysdig.com/"),
            ("app.au1.sysdig.com", "https://app.au1.sysdig.com/"),
            ("https://sysdig.example.com:8443/prefix/", "https://sysdig.example.com:8443/prefix"),
            ("http://127.0.0.1:9000", "http://127.0.0.1:9000/"),
            ("http://localhost:9000/", "http://localhost:9000/"),
            ("http://[::1]:9000/", "http://[::1]:9000/"),
        ] {
            assert_eq!(base_url(text).map(String::from), Ok(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_reason() {
        for (text, expected) in [
            ("us9", RegionError::Unknown),
            ("", RegionError::Unknown),
            ("ftp://sysdig.example.com", RegionError::NotHttp),
            ("https://me:pw@sysdig.example.com", RegionError::Credentials),
            ("http://sysdig.example.com", RegionError::Plain),
        ] {
            assert_eq!(base_url(text), Err(expected), "{text}");
        }
    }
}
