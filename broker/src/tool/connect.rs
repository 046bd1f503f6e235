//! Which broker, and how to connect to it: the URL and the connection options of the reference's tools.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use fletch_amqp::types::Map;
use fletch_client::{ConnectOptions, Connection, Session};

use super::address::{Literal, Term, parse_map};
use super::unique::unique_name;

const PORT: u16 = 5672;

/// The options that all tools have.
#[derive(Debug, Clone, Args)]
pub(super) struct ConnectArgs {
    /// Broker to connect to: [amqp:][user[/password]@][tcp:]host[:port][,...]
    #[arg(short, long, value_name = "URL", default_value = "127.0.0.1")]
    pub(super) broker: String,
    /// Options for the connection, as {name: value, ...}: username, password, sasl-mechanisms, heartbeat, tcp-nodelay,
    /// virtualhost, max-frame-size, max-channels, client-properties
    #[arg(long, value_name = "OPTIONS")]
    pub(super) connection_options: Option<String>,
}

/// A broker's URL.
#[derive(Debug, PartialEq, Eq, Default)]
struct Url {
    user: Option<String>,
    password: Option<String>,
    /// Host and port, in the order to try them.
    hosts: Vec<(String, u16)>,
}

impl Url {
    fn parse(text: &str) -> Result<Url> {
        let mut url = Url::default();
        let rest = text.strip_prefix("amqp:").unwrap_or(text);
        let mut rest = rest.strip_prefix("//").unwrap_or(rest);
        if let Some((login, hosts)) = rest.split_once('@') {
            let (user, password) = match login.split_once(['/', ':']) {
                Some((user, password)) => (user, Some(password.to_owned())),
                None => (login, None),
            };
            (url.user, url.password) = (Some(user.to_owned()), password);
            rest = hosts;
        }
        for place in rest.split(',') {
            url.hosts.push(host(place).with_context(|| format!("invalid URL: {text}"))?);
        }
        Ok(url)
    }
}

fn host(place: &str) -> Result<(String, u16)> {
    for transport in ["ssl:", "rdma:", "ws:", "amqps:"] {
        if place.starts_with(transport) {
            bail!("transport {transport} is not supported yet");
        }
    }
    let place = place.strip_prefix("tcp:").unwrap_or(place);
    let (host, port) = match place.strip_prefix('[').and_then(|literal| literal.split_once(']')) {
        Some((host, port)) => (host, port.strip_prefix(':')),
        // More than one colon is an IPv6 address without its brackets.
        None if place.matches(':').count() > 1 => (place, None),
        None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() {
        bail!("no host");
    }
    let port = match port {
        Some(port) => port.parse().with_context(|| format!("'{port}' is not a port"))?,
        None => PORT,
    };
    Ok((host.to_owned(), port))
}

impl ConnectArgs {
    /// Connects to the first broker that answers.
    pub(super) fn connect(&self, tune: impl FnOnce(&mut ConnectOptions)) -> Result<Connection> {
        let url = Url::parse(&self.broker)?;
        let mut options =
            ConnectOptions { user: url.user, password: url.password, ..Default::default() };
        if let Some(text) = &self.connection_options {
            let given = parse_map(text).context("in --connection-options")?;
            for (name, term) in given {
                set(&mut options, &name, &term)?;
            }
        }
        tune(&mut options);
        let mut failed = None;
        for (host, port) in &url.hosts {
            match Connection::connect((host.as_str(), *port), &options) {
                Ok(connection) => return Ok(connection),
                Err(
                    error @ (fletch_client::Error::Connect { .. } | fletch_client::Error::Io(_)),
                ) => {
                    failed = Some(anyhow::Error::from(error).context(format!("at {host}:{port}")));
                }
                Err(error) => return Err(error).with_context(|| format!("at {host}:{port}")),
            }
        }
        Err(failed.unwrap_or_else(|| anyhow::anyhow!("no broker given")))
    }

    /// Connects, with a session.
    pub(super) fn session(
        &self,
        tune: impl FnOnce(&mut ConnectOptions),
    ) -> Result<(Connection, Session)> {
        let connection = self.connect(tune)?;
        let session = connection.session(&unique_name(), false)?;
        Ok((connection, session))
    }

    /// The user that messages are sent as, if one was named.
    pub(super) fn user(&self) -> Result<Option<String>> {
        let mut options =
            ConnectOptions { user: Url::parse(&self.broker)?.user, ..Default::default() };
        if let Some(text) = &self.connection_options {
            for (name, term) in parse_map(text)? {
                set(&mut options, &name, &term)?;
            }
        }
        Ok(options.user)
    }
}

/// Sets one connection option by the reference's name for it.
fn set(options: &mut ConnectOptions, name: &str, term: &Term) -> Result<()> {
    let literal = &term.literal;
    let text = || match literal {
        Literal::Text(text) => Ok(text.clone()),
        Literal::Int(number) => Ok(number.to_string()),
        other => bail!("connection option {name}: expected text, found {}", other.kind()),
    };
    let number = || match literal {
        Literal::Int(number) => u16::try_from(*number)
            .with_context(|| format!("connection option {name}: {number} is out of range")),
        other => bail!("connection option {name}: expected a number, found {}", other.kind()),
    };
    let boolean = || match literal {
        Literal::Boolean(value) => Ok(*value),
        Literal::Int(0) => Ok(false),
        Literal::Int(1) => Ok(true),
        other => bail!("connection option {name}: expected true or false, found {}", other.kind()),
    };
    match name.replace('_', "-").as_str() {
        "username" => options.user = Some(text()?),
        "password" => options.password = Some(text()?),
        "sasl-mechanism" | "sasl-mechanisms" => options.mechanism = Some(text()?),
        "heartbeat" => options.heartbeat = number()?,
        "tcp-nodelay" => options.no_delay = boolean()?,
        "virtualhost" => options.virtual_host = text()?,
        "max-frame-size" => options.max_frame_size = number()?,
        "max-channels" => options.channel_max = number()?.saturating_sub(1),
        "client-properties" | "properties" => {
            options.properties = match literal.to_value() {
                fletch_amqp::Value::Map(map) => map,
                _ => Map::new(),
            };
        }
        // What asks for no more than we do anyway.
        "reconnect" if !boolean()? => {}
        "transport" if text()? == "tcp" => {}
        "protocol" if text()? == "amqp0-10" => {}
        "transport" => bail!("connection option transport: only tcp is supported yet"),
        "protocol" => bail!("connection option protocol: only amqp0-10 is supported yet"),
        option @ ("reconnect"
        | "reconnect-timeout"
        | "reconnect-limit"
        | "reconnect-interval"
        | "reconnect-interval-min"
        | "reconnect-interval-max"
        | "reconnect-urls"
        | "reconnect-urls-replace"
        | "x-reconnect-on-limit-exceeded"
        | "sasl-service"
        | "sasl-min-ssf"
        | "sasl-max-ssf"
        | "locale"
        | "bounds"
        | "ssl-cert-name"
        | "ssl-ignore-hostname-verification-failure"
        | "container-id"
        | "nest-annotations"
        | "set-to-on-send"
        | "address-passthrough"
        | "max-delivery-attempts"
        | "raise-rejected"
        | "redelivery-timeout") => bail!("connection option {option} is not supported yet"),
        _ => bail!("connection option {name} is not known"),
    }
    Ok(())
}

/// `SECONDS` as the reference takes them, or fractions of one.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_the_reference() {
        let url = |text: &str| {
            let url = Url::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            (url.user, url.password, url.hosts)
        };
        let host = |name: &str, port| (name.to_owned(), port);
        assert_eq!(url("localhost"), (None, None, vec![host("localhost", 5672)]));
        assert_eq!(url("amqp:tcp:h:1,tcp:g"), (None, None, vec![host("h", 1), host("g", 5672)]));
        let (user, password, hosts) = url("guest/secret@10.0.0.1:5673");
        assert_eq!((user.as_deref(), password.as_deref()), (Some("guest"), Some("secret")));
        assert_eq!(hosts, [host("10.0.0.1", 5673)]);
        assert_eq!(url("amqp://me:pw@h:7").2, [host("h", 7)]);
        assert_eq!(url("[::1]:99").2, [host("::1", 99)]);
        assert_eq!(url("::1").2, [host("::1", 5672)]);
        for wrong in ["", "h:x", "ssl:h:5671", "h,", "u@"] {
            assert!(Url::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn options_are_set_or_refused() {
        let set_all = |text: &str| -> Result<ConnectOptions> {
            let mut options = ConnectOptions::default();
            for (name, term) in parse_map(text)? {
                set(&mut options, &name, &term)?;
            }
            Ok(options)
        };
        let options = set_all(
            "{username: a, password: 7, heartbeat: 5, tcp_nodelay: false, reconnect: false}",
        )
        .expect("all known");
        assert_eq!(options.user.as_deref(), Some("a"));
        assert_eq!(options.password.as_deref(), Some("7"));
        assert_eq!((options.heartbeat, options.no_delay), (5, false));
        for wrong in
            ["{reconnect: true}", "{colour: red}", "{heartbeat: x}", "{protocol: amqp1.0}", "x"]
        {
            assert!(set_all(wrong).is_err(), "{wrong}");
        }
    }
}
