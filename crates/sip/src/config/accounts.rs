//! Passwords: those that we show, and those that we ask for.

use std::fmt;

/// Digest credentials (RFC 3261 §22). The password is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User name of the account at the peer.
    pub username: String,
    /// Its password.
    pub password: String,
    /// The only realm the password is used for; any realm if unset.
    pub realm: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .field("password", &"…")
            .field("realm", &self.realm)
            .finish()
    }
}

/// The account by which a trunk shows that it is who it seems to be. The
/// password is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct RequiredAuth {
    /// Its user name.
    pub username: String,
    /// Its password.
    pub password: String,
    /// What we call ourselves in the challenge; holds no quote.
    pub realm: String,
    /// How the password is hashed.
    pub algorithm: DigestAlgorithm,
}

impl fmt::Debug for RequiredAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequiredAuth")
            .field("username", &self.username)
            .field("password", &"…")
            .field("realm", &self.realm)
            .field("algorithm", &self.algorithm)
            .finish()
    }
}

/// How digest authentication hashes (RFC 8760).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DigestAlgorithm {
    /// What every PBX knows.
    #[default]
    Md5,
    /// SHA-256.
    Sha256,
}

impl fmt::Display for DigestAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_not_printed() {
        let credentials = Credentials {
            username: "gw".into(),
            password: "hunter2".into(),
            realm: None,
        };
        assert!(!format!("{credentials:?}").contains("hunter2"));
    }
}
