//! `[feature_codes]`: what is dialled at a PBX that has no manager interface for us.

use mxtrunk_signaling::{FeatureCodes as Codes, LiveTrunks, Switch};
use mxtrunk_sip::TrunkName;
use serde::Deserialize;

use super::{Config, Problem};

/// Where calls go, in a code.
const NUMBER: &str = "{number}";

/// `[feature_codes]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct FeatureCodes {
    trunk: Option<String>,
    do_not_disturb: Option<Pair>,
    forward_always: Option<Pair>,
    forward_busy: Option<Pair>,
    forward_no_answer: Option<Pair>,
}

/// Two codes.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pair {
    on: String,
    off: String,
}

impl Pair {
    fn switch(&self) -> Switch {
        Switch {
            on: self.on.clone(),
            off: self.off.clone(),
        }
    }
}

impl FeatureCodes {
    fn pairs(&self) -> [(&'static str, Option<&Pair>, bool); 4] {
        [
            ("do_not_disturb", self.do_not_disturb.as_ref(), false),
            ("forward_always", self.forward_always.as_ref(), true),
            ("forward_busy", self.forward_busy.as_ref(), true),
            ("forward_no_answer", self.forward_no_answer.as_ref(), true),
        ]
    }

    pub(super) fn problems(&self, config: &Config) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut is_used = false;
        for (key, pair, has_number) in self.pairs() {
            let Some(Pair { on, off }) = pair else {
                continue;
            };
            is_used = true;
            let is_code = |text: &str| {
                let code = |b: u8| b.is_ascii_digit() || b"*#+".contains(&b);
                !text.is_empty() && text.bytes().all(code)
            };
            if on.contains(NUMBER) != has_number || !is_code(&on.replacen(NUMBER, "0", 1)) {
                problems.push(Problem::new(
                    format!("feature_codes.{key}"),
                    format!("{on:?} is no code for that"),
                    match has_number {
                        true => "write digits, * and #, and {number} for where calls go, for instance *72{number}",
                        false => "write digits, * and #, for instance *78",
                    },
                ));
            }
            if !is_code(off) {
                let mend = "write digits, * and #, for instance *79";
                let wrong = format!("{off:?} is no code");
                problems.push(Problem::new(format!("feature_codes.{key}"), wrong, mend));
            }
        }
        if !is_used {
            return problems;
        }
        if config.ami.is_set() {
            problems.push(Problem::new(
                "feature_codes",
                "is set beside [ami]: the PBX would be told twice",
                "leave it out: the manager interface tells both ways",
            ));
        }
        let known = |name: &String| config.trunks.iter().any(|trunk| trunk.name == *name);
        match &self.trunk {
            Some(name) if !known(name) => problems.push(Problem::new(
                "feature_codes.trunk",
                format!("there is no trunk {name:?}"),
                "write the name of the [[trunk]] whose PBX has these codes",
            )),
            None if config.trunks.len() > 1 => problems.push(Problem::new(
                "feature_codes.trunk",
                "is missing, and there are several trunks",
                "write the name of the [[trunk]] whose PBX has these codes",
            )),
            _ => {}
        }
        problems
    }
}

impl Config {
    /// What is dialled at the PBX, which writes numbers as its trunk does.
    pub(crate) fn feature_codes(&self, trunks: LiveTrunks) -> Codes {
        let codes = &self.feature_codes;
        let switch = |pair: &Option<Pair>| pair.as_ref().map(Pair::switch);
        Codes {
            trunk: codes.trunk.clone().map(TrunkName),
            do_not_disturb: switch(&codes.do_not_disturb),
            forward_always: switch(&codes.forward_always),
            forward_busy: switch(&codes.forward_busy),
            forward_no_answer: switch(&codes.forward_no_answer),
            trunks,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::check::tests::{SHIPPED, complaints};

    fn with(keys: &str) -> String {
        SHIPPED.replacen(
            "\n[feature_codes]\n",
            &format!("\n[feature_codes]\n{keys}\n"),
            1,
        )
    }

    #[test]
    fn nothing_is_dialled_unless_codes_are_given() {
        let config = Config::parse(SHIPPED).expect("sound");
        let codes = |config: Config| config.feature_codes(LiveTrunks::default());
        assert!(codes(config).is_empty());
        let config = Config::parse(&with("do_not_disturb = { on = \"*78\", off = \"*79\" }"));
        let codes = codes(config.expect("sound"));
        assert!(!codes.is_empty());
        let switch = codes.do_not_disturb.expect("set");
        assert_eq!((&*switch.on, &*switch.off), ("*78", "*79"));
    }

    #[test]
    fn what_would_dial_something_else_is_refused() {
        for (keys, complaint) in [
            (
                "forward_always = { on = \"*72\", off = \"*73\" }",
                "feature_codes.forward_always",
            ),
            (
                "do_not_disturb = { on = \"*78{number}\", off = \"*79\" }",
                "\"*78{number}\" is no code",
            ),
            (
                "do_not_disturb = { on = \"*78\", off = \"\" }",
                "\"\" is no code",
            ),
            (
                "do_not_disturb = { on = \"*78@x\", off = \"*79\" }",
                "is no code",
            ),
            (
                "trunk = \"none\"\ndo_not_disturb = { on = \"*78\", off = \"*79\" }",
                "no trunk \"none\"",
            ),
        ] {
            let said = complaints(&with(keys));
            assert!(said.contains(complaint), "{keys} gave:\n{said}");
        }
        let beside = with("do_not_disturb = { on = \"*78\", off = \"*79\" }");
        let beside = beside.replacen(
            "\n[ami]\n",
            "\n[ami]\naddress = \"127.0.0.1:5038\"\nsecret = \"s\"\n",
            1,
        );
        assert!(complaints(&beside).contains("beside [ami]"));
    }
}
