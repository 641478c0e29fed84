//! What a certificate says, as far as we ask it.

use std::net::IpAddr;

use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A certificate that was read.
#[derive(Debug)]
pub(super) struct Certificate {
    /// Whom it is for.
    names: Vec<String>,
    addresses: Vec<IpAddr>,
    /// Until when it holds, as a person reads it.
    pub(super) not_after: String,
    pub(super) not_before: String,
    /// SubjectPublicKeyInfo, in DER.
    pub(super) public_key: Vec<u8>,
}

impl Certificate {
    /// Reads DER; `None` where it is no certificate.
    pub(super) fn read(der: &CertificateDer<'_>) -> Option<Self> {
        let (_, read) = X509Certificate::from_der(der).ok()?;
        let (names, addresses) = identities(&read);
        Some(Self {
            names,
            addresses,
            not_after: read.validity().not_after.to_string(),
            not_before: read.validity().not_before.to_string(),
            public_key: read.public_key().raw.to_vec(),
        })
    }

    /// Whether it is for the peer of this name or address. A wildcard stands
    /// for nothing but itself (RFC 5922 §7.2).
    pub(super) fn is_for(&self, name: &str) -> bool {
        match name.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(address) => {
                // Old tools write an address as a name.
                let text = address.to_string();
                self.addresses.contains(&address) || self.names.contains(&text)
            }
            Err(_) => {
                let name = name.trim_end_matches('.');
                self.names.iter().any(|own| own.eq_ignore_ascii_case(name))
            }
        }
    }

    /// Whom it is for, in a text.
    pub(super) fn identities(&self) -> String {
        let addresses = self.addresses.iter().map(IpAddr::to_string);
        let all: Vec<_> = self.names.iter().cloned().chain(addresses).collect();
        match all.is_empty() {
            true => "nobody".to_owned(),
            false => all.join(", "),
        }
    }
}

/// The identities of RFC 5922 §7.1: the SIP URIs among the alternative names;
/// without such, the DNS names; without any alternative name the common name,
/// which is all that the tools of many a PBX write.
fn identities(read: &X509Certificate<'_>) -> (Vec<String>, Vec<IpAddr>) {
    let Ok(Some(extension)) = read.subject_alternative_name() else {
        let common = read.subject().iter_common_name();
        let names = common.filter_map(|name| name.as_str().ok());
        return (names.map(str::to_owned).collect(), Vec::new());
    };
    let (mut uris, mut hosts, mut addresses) = (Vec::new(), Vec::new(), Vec::new());
    for name in &extension.value.general_names {
        match name {
            GeneralName::URI(uri) => uris.extend(sip_domain(uri)),
            GeneralName::DNSName(host) => hosts.push((*host).trim_end_matches('.').to_owned()),
            GeneralName::IPAddress(bytes) => addresses.extend(address(bytes)),
            _ => {}
        }
    }
    match uris.is_empty() {
        true => (hosts, addresses),
        false => (uris, addresses),
    }
}

/// The domain of `sip:domain`; one with a user is a person's, and no host's.
fn sip_domain(uri: &str) -> Option<String> {
    let (scheme, rest) = uri.split_once(':')?;
    let is_sip = scheme.eq_ignore_ascii_case("sip") && !rest.contains('@');
    let host = rest.split([';', '?']).next()?.trim_end_matches('.');
    (is_sip && !host.is_empty()).then(|| host.to_owned())
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{SanType, string::Ia5String};

    use super::*;
    use crate::tls::tests::Authority;

    fn with(names: &[SanType], common: &str) -> Certificate {
        let (chain, _) = Authority::new().issue(names.to_vec(), common);
        Certificate::read(&chain[0]).expect("a certificate")
    }

    fn text(text: &str) -> Ia5String {
        text.try_into().expect("ASCII")
    }

    #[test]
    fn a_certificate_is_for_the_hosts_and_addresses_among_its_names() {
        let names = [
            SanType::DnsName(text("pbx.example")),
            SanType::IpAddress(IpAddr::from([192, 0, 2, 1])),
        ];
        let read = with(&names, "other.example");
        assert!(read.is_for("PBX.example") && read.is_for("pbx.example."));
        assert!(read.is_for("192.0.2.1"));
        assert!(!read.is_for("other.example") && !read.is_for("192.0.2.2"));
        assert_eq!(read.identities(), "pbx.example, 192.0.2.1");
    }

    #[test]
    fn where_it_names_a_sip_domain_its_hosts_do_not_count() {
        let names = [
            SanType::URI(text("sip:example.org")),
            SanType::DnsName(text("pbx.example.org")),
        ];
        let read = with(&names, "");
        assert!(read.is_for("example.org"));
        assert!(!read.is_for("pbx.example.org"));
        let names = [
            SanType::URI(text("sip:ada@example.org")),
            SanType::DnsName(text("pbx.example.org")),
        ];
        assert!(with(&names, "").is_for("pbx.example.org"));
    }

    #[test]
    fn the_common_name_counts_where_there_is_no_other() {
        assert!(with(&[], "pbx.example").is_for("pbx.example"));
        assert!(with(&[], "192.0.2.1").is_for("192.0.2.1"));
    }

    #[test]
    fn a_wildcard_stands_for_itself_alone() {
        let read = with(&[SanType::DnsName(text("*.carrier.example"))], "");
        assert!(!read.is_for("sip.carrier.example"));
        assert!(read.is_for("*.carrier.example"));
    }
}
