//! Which trunk a call takes on its way out.

use mxtrunk_call::Reason;
use mxtrunk_sip::{TrunkName, UserAgent};

use crate::directory::Account;

/// The trunks that calls may take, in the operator's order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Routes(pub Vec<Route>);

/// What one trunk takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The trunk.
    pub trunk: TrunkName,
    /// How the numbers begin that it takes, in the site's own form
    /// (`+33…`, an extension); an empty one is the beginning of every number.
    pub prefixes: Vec<String>,
}

/// How a trunk stands at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TrunkStanding {
    /// It answers.
    pub(crate) is_up: bool,
    /// It has as many calls as may be.
    pub(crate) is_full: bool,
}

impl TrunkStanding {
    /// It has spoken to us, and its limits are the user agent's to keep.
    pub(crate) const SPEAKS: Self = Self {
        is_up: true,
        is_full: false,
    };

    /// How a trunk stands now.
    pub(crate) fn of(phones: &UserAgent, trunk: &TrunkName) -> Self {
        TrunkStanding {
            is_up: phones.trunk_is_up(trunk),
            is_full: phones.trunk_is_full(trunk),
        }
    }

    /// What is in a call's way: the less the better. Full rather than down: the next moment may have room.
    pub(crate) fn obstacle(self) -> u8 {
        match self {
            TrunkStanding { is_up: false, .. } => 2,
            TrunkStanding { is_full: true, .. } => 1,
            _ => 0,
        }
    }

    /// Whether one more leg may go out over it.
    pub(crate) fn check(self) -> Result<(), Reason> {
        match self {
            TrunkStanding { is_up: false, .. } => Err(Reason::Unreachable),
            TrunkStanding { is_full: true, .. } => Err(Reason::Overloaded),
            _ => Ok(()),
        }
    }
}

impl Route {
    /// The longest of its prefixes that a number begins with.
    #[must_use]
    pub fn fits(&self, number: &str) -> Option<&str> {
        let prefixes = self.prefixes.iter().map(String::as_str);
        let fitting = prefixes.filter(|prefix| number.starts_with(prefix));
        fitting.max_by_key(|prefix| prefix.len())
    }
}

impl Routes {
    /// The trunks that take a number: the one with the longest fitting prefix
    /// first, as in any routing table, and of two equal ones the first in the
    /// operator's order. A call for help may take any trunk that calls go out
    /// over, those that fit first.
    #[must_use]
    pub fn of(&self, number: &str, for_help: bool) -> Vec<&Route> {
        let length = |route: &Route| route.fits(number).map(str::len);
        let routes = self.0.iter();
        let mut fitting: Vec<&Route> = routes
            .filter(|route| length(route).is_some() || for_help && !route.prefixes.is_empty())
            .collect();
        // Stable: what is equal keeps its order.
        fitting.sort_by_key(|route| std::cmp::Reverse(length(route)));
        fitting
    }

    /// The trunks that a call of a line takes, in order. One that registers
    /// calls as a desk phone does, over the trunk of its account, whatever the
    /// prefixes say; only a call for help takes another one where that is down.
    #[must_use]
    pub fn ways<'a>(
        &'a self,
        account: Option<&'a Account>,
        number: &str,
        for_help: bool,
    ) -> Vec<&'a TrunkName> {
        let own = account.map(|account| &account.trunk);
        let fitting = match own.is_none() || for_help {
            true => self.of(number, for_help),
            false => Vec::new(),
        };
        let others = fitting.into_iter().map(|route| &route.trunk);
        let others = others.filter(|trunk| own != Some(*trunk));
        own.into_iter().chain(others).collect()
    }
}

#[cfg(test)]
mod tests {
    use mxtrunk_sip::AccountName;

    use super::*;

    fn routes(some: &[(&str, &[&str])]) -> Routes {
        let route = |(name, prefixes): &(&str, &[&str])| Route {
            trunk: TrunkName((*name).to_owned()),
            prefixes: prefixes.iter().map(ToString::to_string).collect(),
        };
        Routes(some.iter().map(route).collect())
    }

    fn names(routes: &Routes, number: &str, for_help: bool) -> Vec<String> {
        let routes = routes.of(number, for_help);
        routes.iter().map(|route| route.trunk.0.clone()).collect()
    }

    #[test]
    fn the_longest_prefix_goes_first_and_the_rest_stand_by_in_order() {
        let routes = routes(&[
            ("pbx", &[""]),
            ("carrier", &["+", "00"]),
            ("paris", &["+331", "+337"]),
            ("second", &[""]),
            ("in-only", &[]),
        ]);
        let all = |number| names(&routes, number, false);
        assert_eq!(all("+33177123456"), ["paris", "carrier", "pbx", "second"]);
        assert_eq!(all("+4930123"), ["carrier", "pbx", "second"]);
        assert_eq!(all("2001"), ["pbx", "second"]);
    }

    #[test]
    fn a_line_that_registers_calls_over_its_own_trunk_and_for_help_over_others_too() {
        let routes = routes(&[("pbx", &[]), ("carrier", &["+"]), ("rescue", &["112"])]);
        let account = Account {
            trunk: TrunkName("pbx".into()),
            name: AccountName("2001".into()),
        };
        let ways = |account, number, for_help| {
            let ways = routes.ways(account, number, for_help).into_iter();
            ways.map(|trunk| trunk.0.clone()).collect::<Vec<_>>()
        };
        assert_eq!(ways(Some(&account), "+33177123456", false), ["pbx"]);
        assert_eq!(
            ways(Some(&account), "112", true),
            ["pbx", "rescue", "carrier"]
        );
        assert_eq!(ways(None, "+33177123456", false), ["carrier"]);
    }

    #[test]
    fn a_number_that_fits_nowhere_takes_no_trunk_unless_it_is_for_help() {
        let routes = routes(&[("paris", &["+33"]), ("in-only", &[]), ("rescue", &["112"])]);
        assert!(names(&routes, "2001", false).is_empty());
        assert_eq!(names(&routes, "112", true), ["rescue", "paris"]);
        assert_eq!(names(&routes, "15", true), ["paris", "rescue"]);
    }
}
