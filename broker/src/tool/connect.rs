//! Which broker, and how to connect to it: the URL and the connection options of the reference's tools.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use fletch_amqp::types::Map;
use fletch_client::{ConnectOptions, Connection, Error, Session, v1_0};

use super::address::{Literal, Term, parse_map};
use super::unique::unique_name;

const PORT: u16 = 5672;

/// The options that all tools have.
#[derive(Debug, Clone, Args)]
pub(super) struct ConnectArgs {
    /// Broker to connect to: [amqp:][user[/password]@][tcp:]host[:port][,...]
    #[arg(short, long, value_name = "URL", default_value = "127.0.0.1")]
    pub(super) broker: String,
    /// Protocol to speak
    #[arg(long, value_enum, value_name = "PROTOCOL")]
    pub(super) protocol: Option<Protocol>,
    /// Options for the connection, as {name: value, ...}: protocol, container-id, username, password, sasl-mechanisms, heartbeat, tcp-nodelay,
    /// virtualhost, max-frame-size, max-channels, client-properties
    #[arg(long, value_name = "OPTIONS")]
    pub(super) connection_options: Option<String>,
}

/// What to speak; by default AMQP 0-10.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(super) enum Protocol {
    /// AMQP 0-10.
    #[default]
    #[value(name = "amqp0-10")]
    V0_10,
    /// AMQP 1.0.
    #[value(name = "amqp1.0")]
    V1_0,
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

impl Url {
    /// Connects to the first of the hosts that answers.
    fn first<T>(&self, connect: impl Fn((&str, u16)) -> Result<T, Error>) -> Result<T> {
        let mut failed = None;
        for (host, port) in &self.hosts {
            match connect((host.as_str(), *port)) {
                Ok(connection) => return Ok(connection),
                Err(error @ (Error::Connect { .. } | Error::Io(_))) => {
                    failed = Some(anyhow::Error::from(error).context(format!("at {host}:{port}")));
                }
                Err(error) => return Err(error).with_context(|| format!("at {host}:{port}")),
            }
        }
        Err(failed.unwrap_or_else(|| anyhow::anyhow!("no broker given")))
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
    /// What to speak.
    pub(super) fn protocol(&self) -> Result<Protocol> {
        let given = self.given()?;
        let named = given.iter().find(|(name, _)| name == "protocol").map(|(_, term)| {
            let Literal::Text(text) = &term.literal else { bail!("protocol: expected a name") };
            match Protocol::from_str(text, false) {
                Ok(protocol) => Ok(protocol),
                Err(_) => bail!("connection option protocol: {text} is none that is known"),
            }
        });
        match (self.protocol, named.transpose()?) {
            (Some(said), Some(named)) if said != named => {
                bail!("--protocol and the connection option protocol differ")
            }
            (said, named) => Ok(said.or(named).unwrap_or_default()),
        }
    }

    /// For a tool that speaks AMQP 0-10 alone.
    fn check_0_10(&self) -> Result<()> {
        match self.protocol()? {
            Protocol::V0_10 => Ok(()),
            Protocol::V1_0 => bail!("--protocol amqp1.0: this tool speaks AMQP 0-10 alone"),
        }
    }

    fn given(&self) -> Result<Vec<(String, Term)>> {
        let text = self.connection_options.as_deref();
        let given = text.map(|text| parse_map(text).context("in --connection-options"));
        Ok(given.transpose()?.unwrap_or_default())
    }

    fn options(&self, url: &Url) -> Result<ConnectOptions> {
        let (user, password) = (url.user.clone(), url.password.clone());
        let mut options = ConnectOptions { user, password, ..Default::default() };
        for (name, term) in self.given()? {
            set(&mut options, &name, &term)?;
        }
        Ok(options)
    }

    /// Connects to the first broker that answers.
    pub(super) fn connect(&self, tune: impl FnOnce(&mut ConnectOptions)) -> Result<Connection> {
        self.check_0_10()?;
        let url = Url::parse(&self.broker)?;
        let mut options = self.options(&url)?;
        if options.container_id.is_some() {
            bail!("connection option container-id: AMQP 0-10 has nothing like it");
        }
        tune(&mut options);
        url.first(|address| Connection::connect(address, &options))
    }

    /// The same in AMQP 1.0.
    pub(super) fn connect_1_0(&self) -> Result<v1_0::Connection> {
        let url = Url::parse(&self.broker)?;
        let options = self.options(&url)?;
        url.first(|address| v1_0::Connection::connect(address, &options))
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
        Ok(self.options(&Url::parse(&self.broker)?)?.user)
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
        // Looked at before.
        "protocol" => {}
        "container-id" => options.container_id = Some(text()?),
        "transport" => bail!("connection option transport: only tcp is supported yet"),
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
        for wrong in ["{reconnect: true}", "{colour: red}", "{heartbeat: x}", "x"] {
            assert!(set_all(wrong).is_err(), "{wrong}");
        }
    }
}
