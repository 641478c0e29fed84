//! The file that tells the homeserver about us.

use std::fmt::Write as _;

use crate::MatrixConfig;
use crate::namespace::Namespace;

/// The id under which we are registered at the homeserver.
pub const APPSERVICE_ID: &str = "mxtrunk";

/// The third-party protocols that clients look telephone numbers up by. The presence of
/// `m.protocol.pstn` alone makes Element show its dial pad; older ones know the other name.
pub const PROTOCOLS: [&str; 2] = ["m.protocol.pstn", "im.vector.protocol.pstn"];

/// The registration file, as YAML. `url` is where the homeserver reaches us.
#[must_use]
pub fn registration_yaml(config: &MatrixConfig, url: &str) -> String {
    let namespace = Namespace::new(config);
    let mut yaml = String::from(
        "# Tells the homeserver about mxtrunk. It holds secrets: only the homeserver may read it.\n",
    );
    let mut line = |text: &str| {
        writeln!(yaml, "{text}").expect("writing to a string does not fail");
    };
    line(&format!("id: {APPSERVICE_ID}"));
    line(&format!("url: {}", quoted(url)));
    line(&format!("as_token: {}", quoted(config.as_token.expose())));
    line(&format!("hs_token: {}", quoted(config.hs_token.expose())));
    line(&format!(
        "sender_localpart: {}",
        quoted(&config.sender_localpart)
    ));
    line("# Call events come in bursts: a limit would lose candidates.");
    line("rate_limited: false");
    line("receive_ephemeral: false");
    line("namespaces:");
    line("  users:");
    line("    - exclusive: true");
    line(&format!("      regex: {}", quoted(&namespace.user_regex())));
    line("  aliases:");
    line("    - exclusive: true");
    line(&format!(
        "      regex: {}",
        quoted(&namespace.alias_regex())
    ));
    line("  rooms: []");
    line("# Clients show a dial pad because of these.");
    line("protocols:");
    for protocol in PROTOCOLS {
        line(&format!("  - {protocol}"));
    }
    yaml
}

/// A single-quoted YAML scalar (YAML 1.2 section 7.3.2): nothing in it is special but the quote.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Secret;

    #[test]
    fn the_registration_names_what_synapse_asks_for() {
        let config = MatrixConfig::new(
            "http://127.0.0.1:8008",
            "matrix.example.org",
            Secret::new("as'1"),
            Secret::new("hs"),
            ([127, 0, 0, 1], 9000).into(),
        );
        let yaml = registration_yaml(&config, "http://127.0.0.1:9000");
        let expected = "\
id: mxtrunk
url: 'http://127.0.0.1:9000'
as_token: 'as''1'
hs_token: 'hs'
sender_localpart: 'mxtrunk'
# Call events come in bursts: a limit would lose candidates.
rate_limited: false
receive_ephemeral: false
namespaces:
  users:
    - exclusive: true
      regex: '@tel_.*:matrix\\.example\\.org'
  aliases:
    - exclusive: true
      regex: '#mxtrunk_.*:matrix\\.example\\.org'
  rooms: []
# Clients show a dial pad because of these.
protocols:
  - m.protocol.pstn
  - im.vector.protocol.pstn
";
        let body = yaml.split_once('\n').unwrap().1;
        assert_eq!(body, expected);
    }
}
