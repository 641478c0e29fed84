//! Who has which telephone line.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use mxtrunk_media_io::Priority;
use mxtrunk_sip::{AccountName, TrunkName};
use ruma::{OwnedUserId, UserId};

use crate::classes::{Class, Permissions};
use crate::limits::Limits;
use crate::numbers::{Number, NumberPlan, Permission};
use crate::shown_number::shown;

/// An account at a PBX that a line registers at, as a desk phone does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The trunk whose PBX it is.
    pub trunk: TrunkName,
    /// Its name in the SIP user agent, the line's extension.
    pub name: AccountName,
}

/// One person's telephone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The person's Matrix id, `@alice:example.org`.
    pub user: OwnedUserId,
    /// The number by which the PBX calls this person.
    pub extension: Number,
    /// The person's number from outside, where there is one.
    pub did: Option<Number>,
    /// What called telephones are shown; the extension where nothing is set.
    pub caller_id: Number,
    /// The name that called telephones are shown.
    pub name: Option<String>,
    /// The account whose calls are this line's, both ways; without one a
    /// trunk brings calls by number, and any trunk takes them.
    pub account: Option<Account>,
    /// Whether a second call rings while the person has one.
    pub call_waiting: bool,
    /// Whether others see that its telephone rings or is in a call.
    pub presence: bool,
    /// Whether the PBX is told by AMI of its settings and its calls.
    pub at_pbx: bool,
    /// What this person may call.
    pub permissions: Permissions,
    /// How much of it.
    pub limits: Limits,
    /// Where the line stands, for people: `gateway.toml`, `csv`, …
    pub source: String,
}

impl Line {
    /// A line with these numbers and nothing else, which may call what lines may by default.
    #[must_use]
    pub fn new(user: OwnedUserId, extension: Number) -> Self {
        Line {
            user,
            caller_id: extension.clone(),
            extension,
            did: None,
            name: None,
            account: None,
            call_waiting: true,
            presence: true,
            at_pbx: true,
            permissions: Permissions::default(),
            limits: Limits::none(),
            source: String::new(),
        }
    }
}

/// Why a line may not call what was dialled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotDialled {
    /// It is no number.
    NoNumber,
    /// No pattern of the site fits it.
    NotDialable(Number),
    /// The line may not call this class.
    NotPermitted(Number, Class),
}

/// A directory that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    /// Two lines would answer the same number.
    #[error(
        "lines of {first} and {second} both have the number {number}: give each number to one line"
    )]
    SameNumber {
        /// The number.
        number: Number,
        /// One user.
        first: OwnedUserId,
        /// The other.
        second: OwnedUserId,
    },
    /// One person has two lines.
    #[error("{user} has two lines: keep one")]
    SameUser {
        /// The user.
        user: OwnedUserId,
    },
}

/// The lines of a site, and how it writes numbers.
#[derive(Debug, Clone)]
pub struct Directory {
    plan: NumberPlan,
    lines: Vec<Line>,
    by_user: HashMap<OwnedUserId, usize>,
    by_number: HashMap<Number, usize>,
    by_account: HashMap<AccountName, usize>,
}

impl Directory {
    /// Puts lines in order.
    ///
    /// # Errors
    /// Where two lines claim the same number or the same person.
    pub fn new(plan: NumberPlan, lines: Vec<Line>) -> Result<Self, DirectoryError> {
        let mut by_user = HashMap::new();
        let mut by_number: HashMap<Number, usize> = HashMap::new();
        let mut by_account = HashMap::new();
        for (index, line) in lines.iter().enumerate() {
            if by_user.insert(line.user.clone(), index).is_some() {
                return Err(DirectoryError::SameUser {
                    user: line.user.clone(),
                });
            }
            if let Some(account) = &line.account {
                by_account.insert(account.name.clone(), index);
            }
            for number in std::iter::once(&line.extension).chain(&line.did) {
                let first = by_number
                    .insert(number.clone(), index)
                    .filter(|first| *first != index);
                if let Some(first) = first {
                    return Err(DirectoryError::SameNumber {
                        number: number.clone(),
                        first: lines[first].user.clone(),
                        second: line.user.clone(),
                    });
                }
            }
        }
        Ok(Directory {
            plan,
            lines,
            by_user,
            by_number,
            by_account,
        })
    }

    /// The line of a Matrix user.
    #[must_use]
    pub fn line_of(&self, user: &UserId) -> Option<&Line> {
        self.by_user.get(user).map(|index| &self.lines[*index])
    }

    /// Every line.
    #[must_use]
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// What a line calls when it dials this. An emergency number always may be.
    ///
    /// # Errors
    /// Why it may not be called.
    pub fn dialled_by(&self, line: &Line, raw: &str) -> Result<Number, NotDialled> {
        let number = self.plan.normalise(raw).ok_or(NotDialled::NoNumber)?;
        match self.plan.permission(&number) {
            Permission::Emergency => return Ok(number),
            Permission::Refused => return Err(NotDialled::NotDialable(number)),
            Permission::Everything | Permission::Pattern(_) => {}
        }
        match self.plan.class_of(&number).0 {
            class if line.permissions.has(class) => Ok(number),
            class => Err(NotDialled::NotPermitted(number, class)),
        }
    }

    /// The line that a trunk calls, by extension or DID, in whatever form the trunk writes it.
    #[must_use]
    pub fn line_called(&self, raw: &str) -> Option<&Line> {
        let number = self.plan.normalise(raw)?;
        self.by_number.get(&number).map(|index| &self.lines[*index])
    }

    /// The line that a trunk calls: what is sent to a line's account is for that line, whatever number was dialled.
    #[must_use]
    pub fn line_called_as(&self, account: Option<&AccountName>, raw: &str) -> Option<&Line> {
        let own = account.and_then(|account| self.line_of_account(account));
        own.or_else(|| self.line_called(raw))
    }

    /// The line that registers at this account.
    #[must_use]
    pub fn line_of_account(&self, account: &AccountName) -> Option<&Line> {
        let index = self.by_account.get(account)?;
        Some(&self.lines[*index])
    }

    /// The name under which a number appears in Matrix: that of the line which has it, else the number.
    #[must_use]
    pub fn display_name(&self, number: &str) -> String {
        let named = self
            .line_called(number)
            .and_then(|line| line.name.as_deref());
        match named {
            Some(name) => format!("{name} ({})", shown(number)),
            None => shown(number),
        }
    }

    /// How a call to this number is treated under load.
    #[must_use]
    pub fn priority_of(&self, called: &str) -> Priority {
        match self.plan.is_emergency(called) {
            true => Priority::Emergency,
            false => Priority::Normal,
        }
    }

    /// How this site writes numbers.
    #[must_use]
    pub fn plan(&self) -> &NumberPlan {
        &self.plan
    }
}

/// The directory of the moment. A reload puts another in its place; whoever has taken one goes on with that.
#[derive(Debug, Clone)]
pub struct LiveDirectory(Arc<RwLock<Arc<Directory>>>);

impl LiveDirectory {
    /// Begins with this one.
    #[must_use]
    pub fn new(directory: Directory) -> Self {
        LiveDirectory(Arc::new(RwLock::new(Arc::new(directory))))
    }

    /// The one that holds now.
    #[must_use]
    pub fn now(&self) -> Arc<Directory> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// From now on this one holds.
    pub fn replace(&self, directory: Directory) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(directory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(id: &str) -> OwnedUserId {
        UserId::parse(id).expect("a test user")
    }

    fn line(user: &str, extension: &str, did: Option<&str>) -> Line {
        let number = |raw| NumberPlan::french().normalise(raw).expect("a test number");
        Line {
            did: did.map(number),
            ..Line::new(UserId::parse(user).expect("a test user"), number(extension))
        }
    }

    #[test]
    fn a_line_calls_what_its_classes_allow_and_help_always() {
        let plan = NumberPlan {
            emergency: vec!["112".into()],
            dialable: ["2XXX", "+33.", "+49."].map(String::from).to_vec(),
            ..NumberPlan::french()
        };
        let mut alice = line("@alice:x", "2001", None);
        alice.permissions = [Class::Internal, Class::National].into_iter().collect();
        let directory = Directory::new(plan.clone(), vec![alice.clone()]).unwrap();
        let dials = |raw: &str| directory.dialled_by(&alice, raw);
        let number = |raw: &str| plan.normalise(raw).expect("a test number");
        assert_eq!(dials("2002"), Ok(number("2002")));
        assert_eq!(dials("0177123456"), Ok(number("+33177123456")));
        let abroad = NotDialled::NotPermitted(number("+4930123456"), Class::International);
        assert_eq!(dials("+4930123456"), Err(abroad));
        assert_eq!(
            dials("+4412345678"),
            Err(NotDialled::NotDialable(number("+4412345678")))
        );
        assert_eq!(dials("caf\u{e9}"), Err(NotDialled::NoNumber));
        assert_eq!(dials("112"), Ok(number("112")));
        alice.permissions = [].into_iter().collect();
        assert_eq!(directory.dialled_by(&alice, "+33112"), Ok(number("112")));
    }

    #[test]
    fn whoever_has_taken_a_directory_goes_on_with_it_when_another_takes_its_place() {
        let of = |lines| Directory::new(NumberPlan::french(), lines).unwrap();
        let live = LiveDirectory::new(of(vec![line("@alice:x", "2001", None)]));
        let taken = live.now();
        live.replace(of(vec![line("@bob:x", "2002", None)]));
        assert!(taken.line_called("2001").is_some());
        assert!(live.now().line_called("2001").is_none());
        assert!(live.now().line_called("2002").is_some());
    }

    #[test]
    fn a_line_is_found_by_user_by_extension_and_by_its_outside_number() {
        let lines = vec![
            line("@alice:x", "2001", Some("+33177000001")),
            line("@bob:x", "2002", None),
        ];
        let directory = Directory::new(NumberPlan::french(), lines).unwrap();
        assert_eq!(
            directory
                .line_of(&user("@bob:x"))
                .unwrap()
                .extension
                .as_str(),
            "2002"
        );
        assert_eq!(directory.line_called("2001").unwrap().user, "@alice:x");
        assert_eq!(
            directory.line_called("0177000001").unwrap().user,
            "@alice:x"
        );
        assert_eq!(directory.line_called("2003"), None);
        assert_eq!(directory.line_of(&user("@eve:x")), None);
    }

    #[test]
    fn what_is_sent_to_a_lines_account_is_for_that_line_whatever_was_dialled() {
        let mut alice = line("@alice:x", "2001", None);
        let name = AccountName("2001".into());
        alice.account = Some(Account {
            trunk: TrunkName("pbx".into()),
            name: name.clone(),
        });
        let lines = vec![alice, line("@bob:x", "2002", None)];
        let directory = Directory::new(NumberPlan::french(), lines).unwrap();
        let called = |account: Option<&AccountName>, raw| {
            let line = directory.line_called_as(account, raw);
            line.map(|line| line.user.to_string())
        };
        let (alice, bob) = (Some("@alice:x".to_owned()), Some("@bob:x".to_owned()));
        assert_eq!(called(Some(&name), "alice-desk"), alice);
        assert_eq!(called(Some(&name), "2002"), alice);
        assert_eq!(called(None, "2001"), alice);
        let stranger = AccountName("2009".into());
        assert_eq!(called(Some(&stranger), "2002"), bob);
    }

    #[test]
    fn two_lines_cannot_share_a_number_or_a_person() {
        let twice = vec![line("@alice:x", "2001", None), line("@bob:x", "2001", None)];
        assert!(matches!(
            Directory::new(NumberPlan::french(), twice),
            Err(DirectoryError::SameNumber { .. })
        ));
        let person = vec![
            line("@alice:x", "2001", None),
            line("@alice:x", "2002", None),
        ];
        assert!(matches!(
            Directory::new(NumberPlan::french(), person),
            Err(DirectoryError::SameUser { .. })
        ));
    }
}
