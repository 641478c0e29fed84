//! `[numbers]` and `[[line]]`

use mxtrunk_signaling::directory::{self, Directory};
use mxtrunk_signaling::emergency;
use mxtrunk_signaling::numbers::{Number, NumberPlan};
use mxtrunk_sip::{AccountName, Package, TrunkName};
use ruma::UserId;
use serde::Deserialize;

use super::register::Register;
use super::sip::Trunk;
use super::{Config, Problem};

/// `[numbers]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Numbers {
    pub(crate) country: String,
    national_prefix: String,
    international_prefix: String,
    extension_digits: usize,
    dialable: Vec<String>,
    emergency: Option<Vec<String>>,
}

impl Default for Numbers {
    fn default() -> Self {
        Numbers {
            country: "33".into(),
            national_prefix: "0".into(),
            international_prefix: "00".into(),
            extension_digits: 5,
            dialable: Vec::new(),
            emergency: None,
        }
    }
}

impl Numbers {
    pub(super) fn plan(&self) -> NumberPlan {
        NumberPlan {
            country: self.country.clone(),
            national_prefix: self.national_prefix.clone(),
            international_prefix: self.international_prefix.clone(),
            extension_digits: self.extension_digits,
            dialable: self.dialable.clone(),
            emergency: self.emergency(),
        }
    }

    /// As set, else those of the country.
    fn emergency(&self) -> Vec<String> {
        let of_country = || {
            let numbers = emergency::numbers_of(&self.country).iter();
            numbers.map(ToString::to_string).collect()
        };
        self.emergency.clone().unwrap_or_else(of_country)
    }

    pub(super) fn problems(&self) -> Vec<Problem> {
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        let wrong = self
            .emergency()
            .into_iter()
            .filter(|number| !digits(number) || !(2..=8).contains(&number.len()));
        let emergency = wrong.map(|number| {
            Problem::new(
                "numbers.emergency",
                format!("{number:?} is no emergency number"),
                "write each as it is dialled, 2 to 8 digits, for instance \"112\"",
            )
        });
        [
            (
                "numbers.country",
                &self.country,
                "write the calling code without +, for instance 33",
            ),
            (
                "numbers.national_prefix",
                &self.national_prefix,
                "write digits, for instance 0, or nothing",
            ),
            (
                "numbers.international_prefix",
                &self.international_prefix,
                "write digits, for instance 00",
            ),
        ]
        .into_iter()
        .filter(|(_, value, _)| !digits(value))
        .map(|(key, value, mend)| {
            Problem::new(key, format!("{value:?} is not made of digits"), mend)
        })
        .chain(emergency)
        .collect()
    }
}

/// `[[line]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Line {
    pub(super) user: String,
    pub(super) extension: String,
    did: Option<String>,
    caller_id: Option<String>,
    name: Option<String>,
    pub(super) register: Option<Register>,
    pub(super) subscribe: Option<Vec<Package>>,
}

/// The directory of both sections.
pub(super) fn directory(config: &Config) -> Result<Directory, Vec<Problem>> {
    let (plan, server_name) = (config.numbers.plan(), &config.matrix.server_name);
    let mut problems = Vec::new();
    let mut ready = Vec::new();
    for line in &config.lines {
        match line.resolve(&plan, server_name, &config.trunks) {
            Ok(line) => ready.push(line),
            Err(problem) => problems.push(problem),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    Directory::new(plan, ready).map_err(|error| {
        vec![Problem::new(
            "line",
            error.to_string(),
            "each person and each number has one line",
        )]
    })
}

impl Line {
    /// Whether it logs in at a PBX.
    pub(crate) fn registers(&self) -> bool {
        self.register.is_some()
    }

    /// Where in the file it is, for a person.
    pub(super) fn place(&self) -> String {
        format!("line {:?}", self.user)
    }

    fn resolve(
        &self,
        plan: &NumberPlan,
        server_name: &str,
        trunks: &[Trunk],
    ) -> Result<directory::Line, Problem> {
        let place = self.place();
        let user = UserId::parse(&self.user).map_err(|_| {
            Problem::new(
                &place,
                "is no Matrix id",
                format!("write @name:{server_name}"),
            )
        })?;
        if user.server_name().as_str() != server_name {
            return Err(Problem::new(
                place,
                format!("is a user of {}, not of {server_name}", user.server_name()),
                "only users of your own homeserver can have a line",
            ));
        }
        let number = |key: &str, raw: &str| -> Result<Number, Problem> {
            plan.normalise(raw).ok_or_else(|| {
                Problem::new(
                    &place,
                    format!("{key} {raw:?} is no number"),
                    "write digits, with + for an outside number",
                )
            })
        };
        let extension = number("extension", &self.extension)?;
        let did = self
            .did
            .as_deref()
            .map(|raw| number("did", raw))
            .transpose()?;
        let caller_id = self
            .caller_id
            .as_deref()
            .map(|raw| number("caller_id", raw))
            .transpose()?;
        let register = self.register.as_ref();
        // What is wrong with it is complained about with the accounts.
        let trunk = register.and_then(|register| register.trunk(&place, trunks).ok());
        let account = trunk.map(|trunk| directory::Account {
            trunk: TrunkName(trunk.name.clone()),
            name: AccountName(extension.to_string()),
        });
        Ok(directory::Line {
            user,
            caller_id: caller_id.unwrap_or_else(|| extension.clone()),
            extension,
            did,
            name: self.name.clone(),
            account,
        })
    }
}
