//! The words between us and a notifier: SUBSCRIBE, and what its answer means.

use std::time::Duration;

use rsipstack::sip::{Header, HeadersExt, Method, Request};

use super::SubscriptionConfig;
use crate::address;
use crate::config::Transport;
use crate::message::{Head, Sender};
use crate::registration::{Answer, RegistrationConfig, refusal, route, seconds};
use crate::snapshot::DialogSnapshot;
use crate::target::{Hop, Target};
use crate::transact::Outcome;

/// Whose words they are, and to whom.
pub(super) struct Ends<'a> {
    pub(super) config: &'a SubscriptionConfig,
    pub(super) account: Option<&'a RegistrationConfig>,
    pub(super) domain: Option<&'a str>,
    pub(super) notifier: &'a Target,
    /// As whom the trunk asks where no account does.
    pub(super) trunk_user: &'a str,
}

impl Ends<'_> {
    /// The dialog before anything was said in it: it has no tag of the peer's.
    pub(super) fn open(&self, call_id: String, local_tag: String) -> DialogSnapshot {
        let own_host = self.notifier.domain();
        let host = self.domain.unwrap_or(&own_host);
        let user = &self.config.user;
        // A PBX may take whoever names itself as one of its telephones for that telephone.
        let from = self
            .account
            .map_or(self.trunk_user, |account| &account.user);
        let target = self.notifier.uri(user, self.domain);
        DialogSnapshot {
            trunk: self.config.trunk.clone(),
            transport: self.notifier.hop.transport,
            call_id,
            local: format!("<{}>", address::sip_uri(from, host)),
            local_tag,
            remote: format!("<{}>", address::sip_uri(user, host)),
            remote_tag: String::new(),
            local_cseq: 0,
            remote_target: target,
            route_set: Vec::new(),
            peer: self.next().address,
            account: self.config.account.clone(),
            refusal: None,
        }
    }

    /// Where the first SUBSCRIBE goes.
    fn next(&self) -> Hop {
        let proxy = self.account.and_then(|account| account.proxy);
        Hop {
            address: proxy.unwrap_or(self.notifier.hop.address),
            ..self.notifier.hop
        }
    }
}

/// A SUBSCRIBE, without credentials. `None` where the target is no URI.
pub(super) fn subscribe(
    sender: &Sender<'_>,
    dialog: &DialogSnapshot,
    config: &SubscriptionConfig,
    proxy: Option<std::net::SocketAddr>,
    expires: Duration,
) -> Option<Request> {
    let mut request = match dialog.remote_tag.is_empty() {
        true => first(sender, dialog, proxy)?,
        false => sender.in_dialog(dialog, Method::Subscribe, dialog.local_cseq)?,
    };
    request.headers.push(contact(sender, config));
    let event = config.package.name();
    request.headers.push(Header::Event(event.into()));
    let accept = config.package.content_type();
    request.headers.push(Header::Accept(accept.into()));
    let expires = expires.as_secs().to_string();
    request.headers.push(Header::Expires(expires.into()));
    Some(request)
}

fn first(
    sender: &Sender<'_>,
    dialog: &DialogSnapshot,
    proxy: Option<std::net::SocketAddr>,
) -> Option<Request> {
    let mut request = sender.request(Head {
        method: Method::Subscribe,
        uri: address::parse_uri(&dialog.remote_target)?,
        from: format!("{};tag={}", dialog.local, dialog.local_tag),
        to: dialog.remote.clone(),
        call_id: &dialog.call_id,
        cseq: dialog.local_cseq,
    });
    if let Some(address) = proxy {
        let transport = dialog.transport;
        let route = route(Hop { transport, address });
        request.headers.push(Header::Route(route.into()));
    }
    Some(request)
}

fn contact(sender: &Sender<'_>, config: &SubscriptionConfig) -> Header {
    let mut uri = address::sip_uri(&config.line, &sender.local.to_string());
    uri.push_str(Transport::uri_parameter(sender.transport));
    Header::Contact(format!("<{uri}>").into())
}

/// What came of a SUBSCRIBE that asked for `asked`; a challenge is the
/// caller's to judge.
pub(super) fn read(outcome: &Outcome, asked: Duration) -> Answer {
    let Outcome::Final(response) = outcome else {
        return Answer::Silence;
    };
    let status = response.status_code.code();
    if !(200..300).contains(&status) {
        return refusal(response);
    }
    // RFC 6665 §4.2.1.1 has it say for how long.
    let granted = response
        .expires_header()
        .and_then(|expires| seconds(expires.value()));
    match granted.unwrap_or(asked) {
        granted if granted.is_zero() && !asked.is_zero() => Answer::Refused {
            status,
            retry_after: None,
        },
        granted => Answer::Bound { granted },
    }
}

#[cfg(test)]
mod tests {
    use rsipstack::sip::{Response, StatusCode};

    use super::super::Package;
    use super::*;
    use crate::config::{AccountName, NamedTarget, TrunkName};
    use crate::registration::tests::config as account;
    use crate::target::{Place, Rank};

    const HOUR: Duration = Duration::from_secs(3_600);

    fn config() -> SubscriptionConfig {
        SubscriptionConfig {
            trunk: TrunkName("pbx".into()),
            line: "2001".into(),
            account: Some(AccountName("2001".into())),
            user: "*97".into(),
            package: Package::MessageSummary,
            expires: HOUR,
        }
    }

    fn notifier(name: Option<&str>) -> Target {
        let name = name.map(|name| NamedTarget {
            name: name.into(),
            port: None,
            priority: 0,
            weight: 1,
        });
        let rank = Rank {
            priority: (0, 0),
            weight: 1,
        };
        let address = ([192, 0, 2, 1], 5060).into();
        let place = Place {
            address,
            rank,
            name,
        };
        Target::new(place, Transport::Tcp)
    }

    fn written(domain: Option<&str>, then: impl FnOnce(&mut DialogSnapshot)) -> String {
        written_to(&notifier(None), domain, then)
    }

    fn written_to(
        notifier: &Target,
        domain: Option<&str>,
        then: impl FnOnce(&mut DialogSnapshot),
    ) -> String {
        let sender = Sender {
            transport: Transport::Tcp,
            local: ([192, 0, 2, 9], 5070).into(),
            user_agent: "test",
        };
        let mut account = account("2001", "alice");
        account.proxy = Some(([192, 0, 2, 5], 5080).into());
        let config = config();
        let ends = Ends {
            config: &config,
            account: Some(&account),
            domain,
            notifier,
            trunk_user: "mxtrunk",
        };
        let mut dialog = ends.open("c".into(), "t".into());
        assert_eq!(dialog.peer, ([192, 0, 2, 5], 5080).into());
        dialog.local_cseq = 3;
        then(&mut dialog);
        let request = subscribe(&sender, &dialog, &config, account.proxy, HOUR);
        request.expect("a host").to_string()
    }

    #[test]
    fn a_subscribe_names_the_account_what_is_watched_and_the_way() {
        let text = written(Some("pbx.example.org"), |_| {});
        assert!(text.starts_with("SUBSCRIBE sip:*97@pbx.example.org;transport=TCP SIP/2.0\r\n"));
        for line in [
            "From: <sip:alice@pbx.example.org>;tag=t\r\n",
            "To: <sip:*97@pbx.example.org>\r\n",
            "Contact: <sip:2001@192.0.2.9:5070;transport=tcp>\r\n",
            "Route: <sip:192.0.2.5:5080;transport=tcp;lr>\r\n",
            "Event: message-summary\r\n",
            "Accept: application/simple-message-summary\r\n",
            "Expires: 3600\r\n",
            "CSeq: 3 SUBSCRIBE\r\n",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
        let text = written(None, |_| {});
        let line = "SUBSCRIBE sip:*97@192.0.2.1:5060;transport=TCP SIP/2.0\r\n";
        assert!(text.starts_with(line), "{text}");
    }

    #[test]
    fn a_notifier_that_is_known_by_name_is_called_by_it() {
        let text = written_to(&notifier(Some("pbx.example.org")), None, |_| {});
        let line = "SUBSCRIBE sip:*97@pbx.example.org;transport=TCP SIP/2.0\r\n";
        assert!(text.starts_with(line), "{text}");
        assert!(text.contains("To: <sip:*97@pbx.example.org>\r\n"), "{text}");
        assert!(text.contains("From: <sip:alice@pbx.example.org>;tag=t\r\n"));
    }

    #[test]
    fn in_a_dialog_it_goes_the_dialogs_way() {
        let text = written(None, |dialog| {
            dialog.remote_tag = "r".into();
            dialog.remote_target = "sip:mail@192.0.2.1:5090".into();
        });
        assert!(text.starts_with("SUBSCRIBE sip:mail@192.0.2.1:5090 SIP/2.0\r\n"));
        assert!(text.contains("To: <sip:*97@192.0.2.1>;tag=r\r\n"), "{text}");
        assert!(!text.contains("Route:"), "{text}");
    }

    #[test]
    fn an_acceptance_says_for_how_long_and_one_for_nothing_is_none() {
        let read = |headers: Vec<Header>, asked| {
            let response = Response {
                status_code: StatusCode::OK,
                headers: headers.into(),
                ..Response::default()
            };
            read(&Outcome::Final(response), asked)
        };
        let expires = |seconds: &str| vec![Header::Expires(seconds.into())];
        let bound = |granted| Answer::Bound { granted };
        assert_eq!(read(expires("60"), HOUR), bound(HOUR / 60));
        assert_eq!(read(Vec::new(), HOUR), bound(HOUR));
        assert!(matches!(read(expires("0"), HOUR), Answer::Refused { .. }));
        let nothing = Duration::ZERO;
        assert_eq!(read(expires("0"), nothing), bound(nothing));
    }
}
