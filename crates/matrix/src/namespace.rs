//! Which Mxids are ours, and which number each of them stands for.

use std::fmt::Write as _;

use ruma::{OwnedRoomAliasId, OwnedUserId, RoomAliasId, ServerName, UserId};

use crate::{MatrixConfig, StartError};

/// The longest Mxid that Matrix allows, in bytes (specification, appendices, "User Identifiers").
const LONGEST_MXID: usize = 255;

/// Leaves room for a prefix and a number within [`LONGEST_MXID`].
const LONGEST_SERVER_NAME: usize = 180;

/// The Mxids that belong to the gateway.
#[derive(Debug, Clone)]
pub(crate) struct Namespace {
    server_name: String,
    prefix: String,
    sender_localpart: String,
}

impl Namespace {
    pub(crate) fn new(config: &MatrixConfig) -> Self {
        Namespace {
            server_name: config.server_name.clone(),
            prefix: config.user_prefix.clone(),
            sender_localpart: config.sender_localpart.clone(),
        }
    }

    /// As [`Namespace::new`], but refuses settings that no Mxid can be made of.
    pub(crate) fn checked(config: &MatrixConfig) -> Result<Self, StartError> {
        let namespace = Namespace::new(config);
        let parsed = ServerName::parse(&namespace.server_name);
        if parsed.is_err() || namespace.server_name.len() > LONGEST_SERVER_NAME {
            return Err(StartError::ServerName(namespace.server_name));
        }
        for part in [&namespace.prefix, &namespace.sender_localpart] {
            if part.is_empty() || part.len() > 32 || !part.bytes().all(is_plain) {
                return Err(StartError::Localpart(part.clone()));
            }
        }
        Ok(namespace)
    }

    /// The service account.
    pub(crate) fn service_account(&self) -> OwnedUserId {
        self.mxid(&self.sender_localpart)
    }

    /// The virtual user of a number.
    ///
    /// A local part may hold `a-z 0-9 . _ - / + =` only, so every other byte is written as `=xx`
    /// (specification, appendices, "Mapping from other character sets"); `=` itself too, which makes
    /// the way back unambiguous. What would make the Mxid too long, which is far beyond any
    /// telephone number, is cut off.
    pub(crate) fn virtual_user_of(&self, number: &str) -> OwnedUserId {
        let room =
            LONGEST_MXID.saturating_sub("@:".len() + self.prefix.len() + self.server_name.len());
        let mut escaped = String::new();
        for byte in number.bytes() {
            let width = if is_plain(byte) { 1 } else { 3 };
            if escaped.len() + width > room {
                break;
            }
            if is_plain(byte) {
                escaped.push(char::from(byte));
            } else {
                write!(escaped, "={byte:02x}").expect("writing to a string does not fail");
            }
        }
        self.mxid(&format!("{}{escaped}", self.prefix))
    }

    /// The number of a virtual user; `None` when the user is not one of ours.
    pub(crate) fn number_of(&self, user: &UserId) -> Option<String> {
        if user.server_name().as_str() != self.server_name {
            return None;
        }
        let escaped = user.localpart().strip_prefix(&self.prefix)?;
        let number = unescape(escaped)?;
        // `=61` is an "a" that we would never write: two Mxids must not stand for one number.
        (!number.is_empty() && self.virtual_user_of(&number) == user).then_some(number)
    }

    /// Whether this is a virtual user or the service account.
    pub(crate) fn owns(&self, user: &UserId) -> bool {
        user.server_name().as_str() == self.server_name
            && (user.localpart() == self.sender_localpart
                || user.localpart().starts_with(&self.prefix))
    }

    /// The alias of a room of the service account's own.
    pub(crate) fn alias(&self, code: &str) -> OwnedRoomAliasId {
        let alias = format!("#{}_{code}:{}", self.sender_localpart, self.server_name);
        RoomAliasId::parse(alias)
            .expect("server name and sender are checked at start, the code is hexadecimal")
    }

    /// The homeserver's name.
    pub(crate) fn server_name(&self) -> &str {
        &self.server_name
    }

    /// Whether the user lives on our homeserver.
    pub(crate) fn is_local(&self, user: &UserId) -> bool {
        user.server_name().as_str() == self.server_name
    }

    /// A regular expression that matches the virtual users.
    pub(crate) fn user_regex(&self) -> String {
        format!(
            "@{}.*:{}",
            literal(&self.prefix),
            literal(&self.server_name)
        )
    }

    /// A regular expression that matches the aliases of our own rooms.
    pub(crate) fn alias_regex(&self) -> String {
        format!(
            "#{}_.*:{}",
            literal(&self.sender_localpart),
            literal(&self.server_name)
        )
    }

    fn mxid(&self, localpart: &str) -> OwnedUserId {
        UserId::parse(format!("@{localpart}:{}", self.server_name))
            .expect("server name and fixed parts are checked at start, the rest is escaped and of bounded length")
    }
}

/// Bytes that stand for themselves in a local part.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-' | b'/' | b'+')
}

fn unescape(escaped: &str) -> Option<String> {
    let mut bytes = escaped.bytes();
    let mut number = Vec::with_capacity(escaped.len());
    while let Some(byte) = bytes.next() {
        if byte != b'=' {
            number.push(byte);
            continue;
        }
        let high = char::from(bytes.next()?).to_digit(16)?;
        let low = char::from(bytes.next()?).to_digit(16)?;
        number.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(number).ok()
}

fn literal(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if !c.is_ascii_alphanumeric() && c != '_' {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use ruma::user_id;

    use super::*;
    use crate::Secret;

    fn namespace() -> Namespace {
        let config = MatrixConfig::new(
            "http://127.0.0.1:8008",
            "localtest",
            Secret::new("a"),
            Secret::new("h"),
            ([127, 0, 0, 1], 0).into(),
        );
        Namespace::checked(&config).unwrap()
    }

    #[test]
    fn what_people_dial_becomes_a_legal_local_part() {
        let expected = [
            ("600", "@tel_600:localtest"),
            ("+4930123", "@tel_+4930123:localtest"),
            ("*98", "@tel_=2a98:localtest"),
            ("#31#", "@tel_=2331=23:localtest"),
            ("Anna", "@tel_=41nna:localtest"),
            ("a=b", "@tel_a=3db:localtest"),
            ("über", "@tel_=c3=bcber:localtest"),
        ];
        for (number, mxid) in expected {
            assert_eq!(namespace().virtual_user_of(number), mxid, "{number}");
        }
    }

    #[test]
    fn the_way_back_gives_what_was_dialled() {
        for number in [
            "600",
            "+4930123",
            "*98",
            "#31#",
            "Anna.B-c/d_e",
            "a=2ab",
            "über",
            " 1 2",
        ] {
            let user = namespace().virtual_user_of(number);
            assert_eq!(namespace().number_of(&user).as_deref(), Some(number));
        }
    }

    proptest::proptest! {
        #[test]
        fn any_number_comes_back_as_it_went(number in ".{1,20}") {
            let user = namespace().virtual_user_of(&number);
            proptest::prop_assert_eq!(namespace().number_of(&user), Some(number));
        }
    }

    #[test]
    fn a_mxid_that_we_would_not_write_stands_for_no_number() {
        let strangers = [
            user_id!("@alice:localtest"),
            user_id!("@tel_:localtest"),
            user_id!("@tel_=61:localtest"),
            user_id!("@tel_=2A98:localtest"),
            user_id!("@tel_=2:localtest"),
            user_id!("@tel_=ff:localtest"),
            user_id!("@tel_600:elsewhere"),
        ];
        for user in strangers {
            assert_eq!(namespace().number_of(user), None, "{user}");
        }
    }

    #[test]
    fn an_absurdly_long_number_still_gives_a_mxid() {
        let user = namespace().virtual_user_of(&"*1".repeat(5_000));
        assert!(user.as_str().len() <= LONGEST_MXID);
    }

    #[test]
    fn the_service_account_and_all_virtual_users_are_ours() {
        assert!(namespace().owns(user_id!("@mxtrunk:localtest")));
        assert!(namespace().owns(user_id!("@tel_600:localtest")));
        assert!(!namespace().owns(user_id!("@alice:localtest")));
        assert!(!namespace().owns(user_id!("@tel_600:elsewhere")));
    }

    #[test]
    fn settings_that_no_mxid_can_be_made_of_are_refused() {
        let mut config = MatrixConfig::new(
            "http://127.0.0.1:8008",
            "not a server",
            Secret::new("a"),
            Secret::new("h"),
            ([127, 0, 0, 1], 0).into(),
        );
        assert!(Namespace::checked(&config).is_err());
        config.server_name = "localtest".to_owned();
        config.user_prefix = "Tel ".to_owned();
        assert!(Namespace::checked(&config).is_err());
    }
}
