//! Parsers of option values: text in, typed value or the reason it is refused out.
//! Pure functions; they know nothing of where the text came from.

use std::time::Duration;

/// Why a value is refused, worded to follow "invalid value 'x' for --name: ".
pub(super) type Refusal = String;

/// What a duration without a unit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// Plain numbers are seconds.
    Seconds,
    /// Plain numbers are milliseconds.
    Milliseconds,
}

/// `yes|no|true|false|1|0|on|off`, any case. The empty text is yes: it is what a flag without a
/// value gives (`--no-data-dir`, or `no-data-dir=` in a file).
pub(super) fn boolean(text: &str) -> Result<bool, Refusal> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "true" | "1" | "on" | "" => Ok(true),
        "no" | "false" | "0" | "off" => Ok(false),
        _ => Err("expected yes or no".to_owned()),
    }
}

/// A whole number of at most `max`.
pub(super) fn integer(text: &str, max: u64) -> Result<u64, Refusal> {
    match text.parse::<u64>() {
        Ok(number) if number <= max => Ok(number),
        Ok(_) => Err(format!("the largest allowed is {max}")),
        Err(_) => Err("expected a whole number".to_owned()),
    }
}

/// `10s`, `10ms`, `10us`, `10ns`, a plain number of `unit`, each with an optional fraction.
pub(super) fn duration(text: &str, unit: Unit) -> Result<Duration, Refusal> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let scale = match suffix.trim().to_ascii_lowercase().as_str() {
        "" if unit == Unit::Milliseconds => 1e-3,
        "" | "s" => 1.0,
        "ms" => 1e-3,
        "us" => 1e-6,
        "ns" => 1e-9,
        _ => return Err("expected a duration such as 10s, 1.5s, 10ms, 10us or 10ns".to_owned()),
    };
    number
        .parse::<f64>()
        .ok()
        .and_then(|number| Duration::try_from_secs_f64(number * scale).ok())
        .ok_or_else(|| "expected a duration such as 10s, 1.5s, 10ms, 10us or 10ns".to_owned())
}

/// A number of bytes, with `k`, `m` or `g` for the powers of 1,024.
pub(super) fn size(text: &str) -> Result<u64, Refusal> {
    let refused = || "expected a number of bytes such as 1048576, 512k, 100m or 2g".to_owned();
    let (digits, shift) = match text.as_bytes().last().map(u8::to_ascii_lowercase) {
        Some(b'k') => (&text[..text.len() - 1], 10),
        Some(b'm') => (&text[..text.len() - 1], 20),
        Some(b'g') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    digits.parse::<u64>().ok().and_then(|n| n.checked_mul(1 << shift)).ok_or_else(refused)
}

/// `host:port`, `[v6]:port`, or `:port` for every address: the host, empty for every one, and the port.
pub(super) fn address(text: &str) -> Result<(String, u16), Refusal> {
    let refused = || "expected HOST:PORT, [V6]:PORT or :PORT".to_owned();
    let (host, port) = text.rsplit_once(':').ok_or_else(refused)?;
    let port = port.parse().map_err(|_| refused())?;
    match host.strip_prefix('[').map(|host| host.strip_suffix(']')) {
        Some(Some(v6)) if v6.contains(':') => Ok((v6.to_owned(), port)),
        None if !host.contains([':', '[', ']', '/']) => Ok((host.to_owned(), port)),
        _ => Err(refused()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans_in_every_spelling() {
        for yes in ["yes", "true", "1", "YES", "on", ""] {
            assert_eq!(boolean(yes), Ok(true), "{yes}");
        }
        for no in ["no", "false", "0", "No", "off"] {
            assert_eq!(boolean(no), Ok(false), "{no}");
        }
        assert!(boolean("2").is_err() && boolean("maybe").is_err());
    }

    #[test]
    fn durations_with_units_and_fractions() {
        let seconds = |text| duration(text, Unit::Seconds);
        assert_eq!(seconds("10"), Ok(Duration::from_secs(10)));
        assert_eq!(seconds("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(seconds("10ms"), Ok(Duration::from_millis(10)));
        assert_eq!(seconds("10us"), Ok(Duration::from_micros(10)));
        assert_eq!(seconds("10ns"), Ok(Duration::from_nanos(10)));
        assert_eq!(seconds("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(seconds("0.25ms"), Ok(Duration::from_micros(250)));
        assert_eq!(duration("10000", Unit::Milliseconds), Ok(Duration::from_secs(10)));
        assert_eq!(duration("2s", Unit::Milliseconds), Ok(Duration::from_secs(2)));
        for wrong in ["", "s", "-1", "1.2.3s", "10h", "inf", "1e400"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
        assert!(seconds(&"9".repeat(40)).is_err());
    }

    #[test]
    fn sizes_and_their_overflow() {
        assert_eq!(size("104857600"), Ok(104_857_600));
        assert_eq!(size("100m"), Ok(104_857_600));
        assert_eq!(size("3K"), Ok(3072));
        assert_eq!(size("2g"), Ok(2 << 30));
        for wrong in ["", "k", "-1k", "10x", "1.5g", "17179869184g"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn addresses_have_a_port() {
        let of = |host: &str, port| Ok((host.to_owned(), port));
        assert_eq!(address("127.0.0.1:80"), of("127.0.0.1", 80));
        assert_eq!(address("[::1]:0"), of("::1", 0));
        assert_eq!(address(":8080"), of("", 8080));
        assert_eq!(address("console.example:1"), of("console.example", 1));
        for wrong in
            ["", "8080", "::1", "::1:80", "[::1]", "[x]:1", "host:", "host:65536", "http://a:1"]
        {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }
}
