//! Whose session a request belongs to. A session is a text that says who and until when, under a code that only this
//! process can make: nothing is kept of it here, and after a restart all are over.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use ruma::{OwnedUserId, UserId};
use sha2::Sha256;

/// How long one lasts. The page begins another by itself, for as long as the homeserver vouches for the person.
pub(crate) const LIFE: Duration = Duration::from_secs(15 * 60);

/// The longest text that is looked at, bytes: an Mxid has 255.
const LONGEST: usize = 512;

/// Bytes of the time in front, and of the code behind.
const TIME: usize = 8;
const CODE: usize = 32;

/// Begins sessions, and knows its own. Times are since the process began.
pub(crate) struct Sessions {
    key: [u8; 32],
}

impl Sessions {
    pub(crate) fn new(key: [u8; 32]) -> Self {
        Sessions { key }
    }

    /// A session of this person.
    pub(crate) fn begin(&self, user: &UserId, now: Duration) -> String {
        let until = u64::try_from((now + LIFE).as_millis()).unwrap_or(u64::MAX);
        let mut text = until.to_be_bytes().to_vec();
        text.extend_from_slice(user.as_bytes());
        let code = self.code(&text).finalize().into_bytes();
        text.extend_from_slice(&code);
        URL_SAFE_NO_PAD.encode(text)
    }

    /// Whose it is; `None`: it is none of ours, or is over.
    pub(crate) fn owner(&self, session: &str, now: Duration) -> Option<OwnedUserId> {
        if session.len() > LONGEST {
            return None;
        }
        let text = URL_SAFE_NO_PAD.decode(session).ok()?;
        let (said, code) = text.split_at_checked(text.len().checked_sub(CODE)?)?;
        // In constant time: how far a guess was right must not show in how long we take.
        self.code(said).verify_slice(code).ok()?;
        let (until, user) = said.split_at_checked(TIME)?;
        let until = u64::from_be_bytes(until.try_into().ok()?);
        if now.as_millis() >= u128::from(until) {
            return None;
        }
        UserId::parse(std::str::from_utf8(user).ok()?).ok()
    }

    fn code(&self, text: &[u8]) -> Hmac<Sha256> {
        let mut code =
            Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        code.update(text);
        code
    }
}

#[cfg(test)]
mod tests {
    use ruma::user_id;

    use super::*;

    const NOW: Duration = Duration::from_secs(1_000);

    #[test]
    fn a_session_is_its_persons_until_it_is_over() {
        let sessions = Sessions::new([7; 32]);
        let session = sessions.begin(user_id!("@alice:x"), NOW);
        let owner = |now| sessions.owner(&session, now);
        assert_eq!(owner(NOW).as_deref(), Some(user_id!("@alice:x")));
        let last = NOW + LIFE - Duration::from_millis(1);
        assert!(owner(last).is_some());
        assert_eq!(owner(NOW + LIFE), None);
    }

    #[test]
    fn a_session_that_was_changed_anywhere_is_nobodys() {
        let sessions = Sessions::new([7; 32]);
        let session = sessions.begin(user_id!("@alice:x"), NOW);
        let bytes = URL_SAFE_NO_PAD.decode(&session).expect("our own");
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let changed = URL_SAFE_NO_PAD.encode(changed);
            assert_eq!(sessions.owner(&changed, NOW), None, "byte {at}");
        }
        for cut in 0..session.len() {
            assert_eq!(sessions.owner(&session[..cut], NOW), None);
        }
        assert_eq!(sessions.owner(&"A".repeat(10_000), NOW), None);
    }

    #[test]
    fn a_session_of_another_process_is_nobodys() {
        let session = Sessions::new([7; 32]).begin(user_id!("@alice:x"), NOW);
        assert_eq!(Sessions::new([8; 32]).owner(&session, NOW), None);
    }
}
