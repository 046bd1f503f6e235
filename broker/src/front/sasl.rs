//! Who the client says it is, with `--auth no`: nothing is checked.

use std::sync::Arc;

/// The user name a mechanism's response claims, with the realm if it names none.
pub(crate) fn user(
    mechanism: &str,
    response: Option<&[u8]>,
    realm: &str,
) -> Result<Arc<str>, &'static str> {
    match mechanism {
        "ANONYMOUS" => Ok(qualified("anonymous", realm)),
        "PLAIN" => {
            // RFC 4616: authorization identity, NUL, authentication identity, NUL, password.
            let response = response.unwrap_or_default();
            let mut parts = response.split(|b| *b == 0);
            let (_, user) = (parts.next(), parts.next());
            match user.map(std::str::from_utf8) {
                Some(Ok(user)) if !user.is_empty() => Ok(qualified(user, realm)),
                _ => Err("the PLAIN response names no user"),
            }
        }
        _ => Err("the mechanism was not offered"),
    }
}

fn qualified(user: &str, realm: &str) -> Arc<str> {
    if user.contains('@') || realm.is_empty() {
        Arc::from(user)
    } else {
        Arc::from(format!("{user}@{realm}"))
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn plain_gives_the_authentication_identity_in_the_realm() {
        let user = |r: &[u8]| super::user("PLAIN", Some(r), "QPID");
        assert_eq!(user(b"\0guest\0guest").as_deref(), Ok("guest@QPID"));
        assert_eq!(user(b"admin\0me@HERE\0x").as_deref(), Ok("me@HERE"));
        assert!(user(b"guest").is_err());
        assert!(user(b"").is_err());
        assert!(super::user("CRAM-MD5", None, "QPID").is_err());
    }
}
