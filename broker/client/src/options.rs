//! What a connection asks for.

use std::time::Duration;

use fletch_amqp::types::Map;
use fletch_amqp::v0_10::{ClientConfig, ClientMechanism};

use crate::TlsOptions;

/// How to connect. The default is ANONYMOUS, no heartbeats, and half a minute for every answer.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// The user name; without one, ANONYMOUS is used.
    pub user: Option<String>,
    /// The password.
    pub password: Option<String>,
    /// The mechanisms allowed, separated by spaces; `None` for those that fit `user`.
    pub mechanism: Option<String>,
    /// TLS, unless the broker is to be spoken to in the clear.
    pub tls: Option<TlsOptions>,
    /// The virtual host to open.
    pub virtual_host: String,
    /// Seconds between heartbeats, 0 for none.
    pub heartbeat: u16,
    /// How long to wait for the connection, for the TLS handshake, and for the answer to any one call.
    pub timeout: Duration,
    /// How long [`crate::Session::send`] may wait while the broker holds it back; `None` for as long as it does.
    pub send_timeout: Option<Duration>,
    /// The largest frame to ask for.
    pub max_frame_size: u16,
    /// The highest channel number to ask for.
    pub channel_max: u16,
    /// Send small segments at once.
    pub no_delay: bool,
    /// Messages sent and not known to be complete, above which `send` waits.
    pub send_window: u32,
    /// Properties to add to those that name this process.
    pub properties: Map,
    /// AMQP 1.0: the name of this container; a new one for each connection if none.
    pub container_id: Option<String>,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        let amqp = ClientConfig::default();
        ConnectOptions {
            user: None,
            password: None,
            mechanism: None,
            tls: None,
            virtual_host: String::new(),
            heartbeat: 0,
            timeout: Duration::from_secs(30),
            send_timeout: None,
            max_frame_size: amqp.max_frame_size,
            channel_max: amqp.channel_max,
            no_delay: true,
            send_window: 5000,
            properties: Map::new(),
            container_id: None,
        }
    }
}

impl ConnectOptions {
    /// The protocol's part of these options.
    pub(crate) fn amqp(&self) -> ClientConfig {
        ClientConfig {
            mechanisms: self.mechanisms(),
            virtual_host: self.virtual_host.clone(),
            properties: self.client_properties(),
            channel_max: self.channel_max,
            max_frame_size: self.max_frame_size,
            heartbeat: self.heartbeat,
            ..ClientConfig::default()
        }
    }

    pub(crate) fn mechanisms(&self) -> Vec<ClientMechanism> {
        let known = |name: &str| {
            let user = self.user.as_deref();
            let response = match name.to_ascii_uppercase().as_str() {
                "ANONYMOUS" => user.unwrap_or("anonymous").as_bytes().to_vec(),
                "EXTERNAL" => user.unwrap_or_default().as_bytes().to_vec(),
                "PLAIN" => {
                    // RFC 4616: authorization identity, NUL, authentication identity, NUL, password.
                    let password = self.password.as_deref().unwrap_or_default();
                    ["", user?, password].join("\0").into_bytes()
                }
                _ => return None,
            };
            Some(ClientMechanism { name: name.to_ascii_uppercase(), response: Some(response) })
        };
        match &self.mechanism {
            Some(names) => names.split_whitespace().filter_map(known).collect(),
            None if self.user.is_some() => known("PLAIN").into_iter().collect(),
            None => known("ANONYMOUS").into_iter().collect(),
        }
    }

    /// What management shows of a client: the names are the reference client's.
    pub(crate) fn client_properties(&self) -> Map {
        let mut properties = Map::new()
            .with("product", "fletch-client")
            .with("version", env!("CARGO_PKG_VERSION"))
            .with("platform", std::env::consts::OS)
            .with("qpid.client_process", process_name())
            .with("qpid.client_pid", i64::from(std::process::id()))
            .with("qpid.client_ppid", i64::from(std::os::unix::process::parent_id()));
        properties.extend(self.properties.iter().map(|(key, value)| (key, value.clone())));
        properties
    }
}

/// The name this process was started by.
pub(crate) fn process_name() -> String {
    let process = std::env::args_os().next().map(std::path::PathBuf::from);
    let name = process.as_deref().and_then(|path| path.file_name()?.to_str());
    name.unwrap_or("fletch-client").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mechanisms_follow_from_the_user() {
        let mut options = ConnectOptions::default();
        assert_eq!(options.mechanisms()[0].name, "ANONYMOUS");
        options.user = Some("guest".into());
        options.password = Some("secret".into());
        let plain = &options.mechanisms()[0];
        assert_eq!(plain.name, "PLAIN");
        assert_eq!(plain.response.as_deref(), Some(&b"\0guest\0secret"[..]));
        options.mechanism = Some("external anonymous SCRAM-X".into());
        let names: Vec<_> = options.mechanisms().into_iter().map(|m| m.name).collect();
        assert_eq!(names, ["EXTERNAL", "ANONYMOUS"]);
    }

    #[test]
    fn plain_needs_a_user() {
        let options = ConnectOptions { mechanism: Some("PLAIN".into()), ..Default::default() };
        assert!(options.mechanisms().is_empty());
    }
}
