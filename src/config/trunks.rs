//! Each `[[trunk]]` in the words of SIP and of signaling.

use std::net::SocketAddr;
use std::time::Duration;

use mxtrunk_call::EarlyMedia;
use mxtrunk_media_io::{Codec, PhoneProfile, SrtpPolicy};
use mxtrunk_signaling::{Permissions, Routes, TransferPolicy, TrunkSettings, Trunks};
use mxtrunk_sip::{Credentials, TrunkConfig, TrunkName};

use super::sip::{self, ForwardedCaller, Transport, Trunk};
use super::{Config, Problem};

impl Config {
    /// The trunks as signaling sees them.
    ///
    /// # Errors
    /// What is wrong with the rules of a trunk.
    pub(crate) fn signaling_trunks(&self) -> Result<Trunks, Vec<Problem>> {
        let settings = self.trunks.iter().map(|trunk| {
            let name = TrunkName(trunk.name.clone());
            Ok::<_, Vec<Problem>>((name, trunk.settings()?))
        });
        Ok(Trunks {
            routes: self.routes(),
            settings: settings.collect::<Result<_, _>>()?,
        })
    }

    /// Which trunks outgoing calls take.
    pub(crate) fn routes(&self) -> Routes {
        Routes(self.trunks.iter().map(Trunk::route).collect())
    }

    /// The trunks as the user agent sees them.
    ///
    /// # Errors
    /// What cannot be read of their passwords and certificates.
    pub(crate) fn sip_trunks(&self) -> Result<Vec<TrunkConfig>, Vec<Problem>> {
        let configs = self.trunks.iter().map(Trunk::for_sip);
        configs
            .collect::<Result<_, _>>()
            .map_err(|problem| vec![problem])
    }
}

impl Config {
    /// Trunks of a file that is sound, for which there is no listener before the next start.
    pub(super) fn unheard_trunks(&self) -> Vec<Problem> {
        let is_heard = |trunk: &Trunk, address: Option<SocketAddr>| {
            let listeners = self.sip.listen.iter();
            let mut fit = listeners.filter(|listener| listener.transport == trunk.transport);
            fit.any(|listener| address.is_none_or(|to| to.is_ipv4() == listener.address.is_ipv4()))
        };
        let unheard = self.trunks.iter().filter(|trunk| {
            let mut targets = trunk.targets().0.into_iter();
            !is_heard(trunk, None) || !targets.all(|target| is_heard(trunk, Some(target.address)))
        });
        let problem = |trunk: &Trunk| {
            Problem::new(
                format!("trunk {:?}", trunk.name),
                "needs a listener of [sip] listen that is opened with the next start",
                "restart the gateway, or leave the trunk out until then",
            )
        };
        unheard.map(problem).collect()
    }

    /// What was said of the trunk at whose PBX something stands, where that is not true of these any more.
    pub(super) fn guesses_of_trunks(&self) -> Vec<Problem> {
        let all = self.ami.problems(&self.trunks);
        let all = all.into_iter().chain(self.feature_codes.problems(self));
        all.map(Problem::until_a_restart).collect()
    }

    /// What there is to say where the same trunks stand in another order: calls try them so.
    pub(crate) fn other_order(&self, next: &Config) -> Option<String> {
        let names = |config: &Config| -> Vec<String> {
            let names = config.trunks.iter().map(|trunk| trunk.name.clone());
            names.collect()
        };
        let (before, after) = (names(self), names(next));
        let sorted = |mut names: Vec<String>| {
            names.sort();
            names
        };
        let is_other = before != after && sorted(before) == sorted(after.clone());
        is_other.then(|| format!("trunk: tried in the order {}", after.join(", ")))
    }
}

impl Trunk {
    /// As the user agent sees it.
    ///
    /// # Errors
    /// When its password or its certificates cannot be read.
    pub(crate) fn for_sip(&self) -> Result<TrunkConfig, Problem> {
        let password = self.password()?;
        let mut config = TrunkConfig::nowhere(&self.name);
        (config.targets, config.names) = self.targets();
        config.tls = self.tls()?;
        config.transport = self.transport.into();
        config.allow.clone_from(&self.allow);
        let auth = self.username.clone().zip(password);
        config.auth = auth.map(|(username, password)| Credentials {
            username,
            password: password.reveal().to_owned(),
            realm: self.realm.clone(),
        });
        config.require_auth = self.required_auth()?;
        config.from_domain.clone_from(&self.domain);
        config.options_every = Duration::from_secs(self.options_seconds);
        config.options_down_after = self.options_down_after;
        config.options_up_after = self.options_up_after;
        config.max_calls = self.max_calls;
        config.new_calls_per_second = self.new_calls_per_second;
        config.headers = self.headers()?;
        config.answer_within = Duration::from_secs(self.answer_within_seconds);
        config.session_expires = Duration::from_secs(self.session_seconds);
        config.trust_identity = self.trust_identity;
        config.identity = self.identity;
        config.forwarded = self.forwarded;
        Ok(config)
    }

    fn settings(&self) -> Result<TrunkSettings, Vec<Problem>> {
        Ok(TrunkSettings {
            profile: self.profile(),
            early_media: match self.early_media {
                sip::EarlyMedia::Connect => EarlyMedia::Connect,
                sip::EarlyMedia::Ignore => EarlyMedia::Ignore,
            },
            transfers: match self.transfer {
                sip::Transfer::Refer => TransferPolicy::Refer,
                sip::Transfer::Bridge => TransferPolicy::Bridge,
            },
            refer_to: self.refer_to(),
            rules: self.rules()?,
            shows_line: self.forwarded_caller == ForwardedCaller::Line,
        })
    }

    /// What its telephones may name in a REFER. Whose word is taken for who they are may have a line pay, too.
    fn refer_to(&self) -> Option<Permissions> {
        match &self.refer_to {
            Some(classes) => Some(classes.iter().copied().collect()),
            None if self.trust_identity => None,
            None => TrunkSettings::default().refer_to,
        }
    }

    fn profile(&self) -> PhoneProfile {
        let codec = |codec: &sip::Codec| match codec {
            sip::Codec::Opus => Codec::Opus,
            sip::Codec::G722 => Codec::G722,
            sip::Codec::Pcmu => Codec::Pcmu,
            sip::Codec::Pcma => Codec::Pcma,
        };
        PhoneProfile {
            codecs: self.codecs.iter().map(codec).collect(),
            srtp: match self.srtp {
                sip::Srtp::Off => SrtpPolicy::Off,
                sip::Srtp::Offered => SrtpPolicy::Offered,
                sip::Srtp::Required => SrtpPolicy::Required,
            },
            nat: match self.nat {
                true => self.addresses(),
                false => Vec::new(),
            },
        }
    }
}

impl From<Transport> for mxtrunk_sip::Transport {
    fn from(transport: Transport) -> Self {
        match transport {
            Transport::Udp => mxtrunk_sip::Transport::Udp,
            Transport::Tcp => mxtrunk_sip::Transport::Tcp,
            Transport::Tls => mxtrunk_sip::Transport::Tls,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::check::tests::SHIPPED;

    fn with(more: &str) -> Config {
        Config::parse(&format!("{SHIPPED}\n{more}")).expect("sound")
    }

    fn trunk(name: &str) -> String {
        format!("[[trunk]]\nname = \"{name}\"\ntarget = \"192.0.2.9:5060\"\n")
    }

    #[test]
    fn a_telephone_of_a_trunk_has_a_line_pay_where_its_trunk_is_trusted_or_the_file_says_so() {
        let refer_to = |keys: &str| {
            let config = with(&format!("{}{keys}", trunk("a")));
            let trunks = config.signaling_trunks().expect("sound");
            let told = trunks.of(&TrunkName("a".into())).refer_to;
            told.map(|classes| classes.to_string())
        };
        let classes = |told: &str| Some(told.to_owned());
        assert_eq!(refer_to(""), classes("internal"));
        assert_eq!(refer_to("trust_identity = true"), None);
        let national = "refer_to = [\"internal\", \"national\"]";
        assert_eq!(refer_to(national), classes("internal, national"));
        let none = "trust_identity = true\nrefer_to = []";
        assert_eq!(refer_to(none), classes("emergency numbers alone"));
    }

    #[test]
    fn the_order_of_trunks_is_told_where_it_alone_is_another() {
        let (a, b) = (trunk("a"), trunk("b"));
        let (one, other) = (with(&format!("{a}{b}")), with(&format!("{b}{a}")));
        let told = one.other_order(&other).expect("another order");
        assert!(told.ends_with("b, a"), "{told}");
        assert_eq!(one.other_order(&one), None);
        assert_eq!(one.other_order(&with(&a)), None);
    }

    #[test]
    fn a_pbx_whose_trunk_has_gone_is_not_guessed_at() {
        let ami = "\n[ami]\naddress = \"127.0.0.1:5038\"\nsecret = \"s\"\ntrunk = \"pbx\"\n";
        let text = SHIPPED.replacen("\n[ami]\n", ami, 1);
        let held = Config::parse(&text).expect("sound");
        let renamed = text.replace("\"pbx\"", "\"carrier\"");
        let next = Config::parse(&renamed).expect("sound");
        let problems = held
            .taking_over(&next)
            .expect_err("[ami] holds from the next start on");
        let told = problems[0].to_string();
        assert!(
            told.contains("ami.trunk") && told.contains("restart"),
            "{told}"
        );
    }

    #[test]
    fn a_trunk_that_takes_another_listener_waits_for_the_next_start() {
        let also_tcp = ", \"tcp:127.0.0.1:5070\"";
        assert!(
            SHIPPED.contains(also_tcp),
            "the shipped file listens elsewhere"
        );
        let held = Config::parse(&SHIPPED.replacen(also_tcp, "", 1)).expect("sound");
        let next = with(&trunk("stream").replace("name", "transport = \"tcp\"\nname"));
        let problems = held.taking_over(&next).expect_err("there is no listener");
        let told = problems[0].to_string();
        assert!(
            told.contains("trunk \"stream\"") && told.contains("next start"),
            "{told}"
        );
    }
}
