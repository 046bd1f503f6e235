//! From which pages a browser may connect (RFC 6454, RFC 6455 section 10.2). A browser lets every page open
//! a WebSocket to every address that the browser reaches, and says in `Origin` whose page it is: a broker
//! behind a firewall, or on the user's own machine, is open to the web unless it looks at that.

use core::net::{IpAddr, Ipv6Addr};

/// A text that is no origin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an origin such as https://console.example:8443, null, or * for all")]
pub struct OriginError;

/// The origins that are let in.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    all: bool,
    listed: Vec<Box<str>>,
}

impl Origins {
    /// Lets one more in: `scheme://host`, `scheme://host:port`, `null` (a page without an origin, such as
    /// a file), or `*` for every one.
    pub fn allow(&mut self, text: &str) -> Result<(), OriginError> {
        match text {
            "*" => self.all = true,
            "null" => self.listed.push(text.into()),
            _ => {
                let (scheme, host) = text.split_once("://").ok_or(OriginError)?;
                let plain = |c: char| c.is_ascii_alphanumeric() || "+-._~:[]%".contains(c);
                if scheme.is_empty() || host.is_empty() || !host.chars().all(plain) {
                    return Err(OriginError);
                }
                self.listed.push(text.into());
            }
        }
        Ok(())
    }

    /// Whether a page of this origin may connect, to what it calls `host`.
    ///
    /// Besides those that are listed, the origin that is the very address it connects to: clients that are
    /// no browsers make one up so, and no page is served here. But not by a name other than `localhost`:
    /// whoever owns a name can let it mean the broker's address once a page of his is loaded from it.
    pub fn allows(&self, origin: &str, host: &str) -> bool {
        let scheme = |scheme| {
            origin
                .split_at_checked(7 + usize::from(scheme == "https://"))
                .and_then(|(start, rest)| start.eq_ignore_ascii_case(scheme).then_some(rest))
        };
        let own = scheme("http://").or_else(|| scheme("https://"));
        self.all
            || self.listed.iter().any(|listed| listed.eq_ignore_ascii_case(origin))
            || own.is_some_and(|own| own.eq_ignore_ascii_case(host) && is_fixed(host))
    }
}

/// Whether nobody can let `host`, with or without a port, mean another address than it does.
fn is_fixed(host: &str) -> bool {
    if let Some((ip, _)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return ip.parse::<Ipv6Addr>().is_ok();
    }
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins(listed: &[&str]) -> Origins {
        let mut origins = Origins::default();
        listed.iter().for_each(|text| origins.allow(text).unwrap());
        origins
    }

    #[test]
    fn without_a_list_only_the_address_itself_is_let_in() {
        let none = origins(&[]);
        for host in
            ["127.0.0.1:8080", "127.0.0.1", "[::1]:8080", "[::1]", "localhost:80", "LocalHost"]
        {
            assert!(none.allows(&format!("http://{host}"), host), "{host}");
            assert!(none.allows(&format!("HTTPS://{host}"), host), "{host}");
        }
        let refused = [
            ("https://evil.example", "127.0.0.1:8080"),
            ("http://127.0.0.1:8081", "127.0.0.1:8080"),
            ("http://localhost:8080", "127.0.0.1:8080"),
            ("http://evil.example:8080", "evil.example:8080"),
            ("http://[evil]:1", "[evil]:1"),
            ("http://1.2.3.4.evil.example", "1.2.3.4.evil.example"),
            ("ftp://127.0.0.1", "127.0.0.1"),
            ("null", "null"),
            ("", ""),
            ("http://", ""),
        ];
        for (origin, host) in refused {
            assert!(!none.allows(origin, host), "{origin} to {host}");
        }
    }

    #[test]
    fn what_is_listed_is_let_in() {
        let some = origins(&["https://console.example", "http://[::1]:3000", "null"]);
        assert!(some.allows("https://Console.example", "broker.example:80"));
        assert!(some.allows("http://[::1]:3000", "broker.example"));
        assert!(some.allows("null", "x"));
        assert!(!some.allows("http://console.example", "broker.example:80"));
        assert!(!some.allows("https://console.example:8443", "broker.example"));
        assert!(origins(&["*"]).allows("https://evil.example", "x"));
    }

    #[test]
    fn what_is_no_origin_cannot_be_listed() {
        for text in [
            "",
            "console.example",
            "https://",
            "://x",
            "https://x/path",
            "https://*.x",
            "http://a b",
        ] {
            assert_eq!(Origins::default().allow(text), Err(OriginError), "{text}");
        }
    }
}
