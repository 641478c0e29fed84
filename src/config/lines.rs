//! `[numbers]` and `[[line]]`

use std::sync::Arc;

use mxtrunk_matrix::Resident;
use mxtrunk_signaling::classes::{Class, Classes, abroad_of, premium_of};
use mxtrunk_signaling::directory::{self, Directory, DirectoryError};
use mxtrunk_signaling::emergency;
use mxtrunk_signaling::numbers::{Number, NumberPlan};
use mxtrunk_sip::{AccountName, Package, TrunkName};
use ruma::UserId;
use serde::{Deserialize, Deserializer};

use super::limits::OwnLimits;
use super::matrix::Language;
use super::register::Register;
use super::sources::Place;
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
    permissions: Option<Vec<Class>>,
    internal: Vec<String>,
    national: Vec<String>,
    international: Vec<String>,
    premium: Option<Vec<String>>,
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
            permissions: None,
            internal: Vec::new(),
            national: Vec::new(),
            international: Vec::new(),
            premium: None,
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
            classes: self.classes(),
        }
    }

    /// What the site says itself goes before what is known of its country.
    fn classes(&self) -> Classes {
        let premium = self.premium.clone();
        let premium = premium.unwrap_or_else(|| premium_of(&self.country));
        Classes(vec![
            (Class::Internal, self.internal.clone()),
            (Class::National, self.national.clone()),
            (Class::International, self.international.clone()),
            (Class::Premium, premium),
            (Class::International, abroad_of(&self.country)),
        ])
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
    extension: Option<String>,
    did: Option<String>,
    caller_id: Option<String>,
    name: Option<String>,
    language: Option<Language>,
    call_waiting: Option<bool>,
    presence: Option<bool>,
    at_pbx: Option<bool>,
    permissions: Option<Vec<Class>>,
    limits: Option<OwnLimits>,
    pub(super) register: Option<Register>,
    pub(super) subscribe: Option<Vec<Package>>,
    /// Where it stands: the first says more than those after it.
    #[serde(skip, default = "in_gateway_toml")]
    pub(super) places: Vec<Place>,
}

fn in_gateway_toml() -> Vec<Place> {
    vec![Place::Config]
}

/// Lines as they stand in the file.
pub(super) fn shared<'de, D: Deserializer<'de>>(lines: D) -> Result<Arc<Vec<Line>>, D::Error> {
    Vec::deserialize(lines).map(Arc::new)
}

/// Whose telephony rooms are looked after, and what they are written to in.
pub(super) fn residents(config: &Config) -> Vec<Resident> {
    let lines = config.lines.iter();
    let residents = lines.filter_map(|line| {
        let language = line.language.unwrap_or(config.matrix.language);
        Some(Resident {
            user: UserId::parse(&line.user).ok()?,
            language: language.into(),
        })
    });
    residents.collect()
}

/// The directory of both sections.
pub(super) fn directory(config: &Config) -> Result<Directory, Vec<Problem>> {
    let (plan, server_name) = (config.numbers.plan(), &config.matrix.server_name);
    let mut problems = Vec::new();
    let mut ready = Vec::new();
    for line in &*config.lines {
        match line.resolve(&plan, server_name, config) {
            Ok(line) => ready.push(line),
            Err(problem) => problems.push(problem),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    Directory::new(plan, ready).map_err(|error| {
        let place = |user: &UserId| {
            let mut lines = config.lines.iter();
            let line = lines.find(|line| line.user == user.as_str());
            line.map(Line::place).unwrap_or_default()
        };
        let places = match &error {
            DirectoryError::SameNumber { first, second, .. } => {
                format!("{} and {}", place(first), place(second))
            }
            DirectoryError::SameUser { user } => place(user),
        };
        let mend = "each person and each number has one line";
        vec![Problem::new(places, error.to_string(), mend)]
    })
}

impl Line {
    /// Whether it logs in at a PBX.
    pub(crate) fn registers(&self) -> bool {
        self.register.is_some()
    }

    /// Where it stands, for a person.
    pub(super) fn place(&self) -> String {
        match self.places.first() {
            None | Some(Place::Config) => format!("line {:?}", self.user),
            Some(place) => format!("line {:?} ({place})", self.user),
        }
    }

    /// Its sources, the first of which says most.
    pub(super) fn source(&self) -> String {
        let words: Vec<_> = self.places.iter().map(Place::word).collect();
        words.join(" + ")
    }

    /// The number by which the PBX calls it, where it is one.
    pub(super) fn extension(&self, plan: &NumberPlan) -> Option<Number> {
        plan.normalise(self.extension.as_deref()?)
    }

    /// Takes from another source's line of the same person what this one does not say.
    pub(super) fn fill_from(&mut self, other: Line) {
        let Line {
            user: _,
            extension,
            did,
            caller_id,
            name,
            language,
            call_waiting,
            presence,
            at_pbx,
            permissions,
            limits,
            register,
            subscribe,
            places,
        } = other;
        self.extension = self.extension.take().or(extension);
        self.did = self.did.take().or(did);
        self.caller_id = self.caller_id.take().or(caller_id);
        self.name = self.name.take().or(name);
        self.language = self.language.take().or(language);
        self.call_waiting = self.call_waiting.or(call_waiting);
        self.presence = self.presence.or(presence);
        self.at_pbx = self.at_pbx.or(at_pbx);
        self.permissions = self.permissions.take().or(permissions);
        self.limits = self.limits.take().or(limits);
        self.register = self.register.take().or(register);
        self.subscribe = self.subscribe.take().or(subscribe);
        self.places.extend(places);
    }

    fn resolve(
        &self,
        plan: &NumberPlan,
        server_name: &str,
        config: &Config,
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
        let extension = self.extension.as_deref().ok_or_else(|| {
            let mend = "write extension, the number by which the PBX calls this person";
            Problem::new(&place, "has no extension", mend)
        })?;
        let extension = number("extension", extension)?;
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
        let trunk = register.and_then(|register| register.trunk(&place, &config.trunks).ok());
        let account = trunk.map(|trunk| directory::Account {
            trunk: TrunkName(trunk.name.clone()),
            name: AccountName(extension.to_string()),
        });
        let permissions = self.permissions.as_ref();
        let permissions = permissions.or(config.numbers.permissions.as_ref());
        let mut line = directory::Line::new(user, extension);
        if let Some(caller_id) = caller_id {
            line.caller_id = caller_id;
        }
        if let Some(permissions) = permissions {
            line.permissions = permissions.iter().copied().collect();
        }
        line.limits = config.limits.of_line(&place, self.limits.as_ref())?;
        line.did = did;
        line.name.clone_from(&self.name);
        line.account = account;
        line.call_waiting = self.call_waiting.unwrap_or(true);
        line.presence = self.presence.unwrap_or(true);
        line.at_pbx = self.at_pbx.unwrap_or(true);
        line.source = self.source();
        Ok(line)
    }
}
